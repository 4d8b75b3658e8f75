//! Ends that misbehave at the level of the protocol: forged frames, not an honest API. Whatever they
//! say, an honest end does not panic, blames nobody else, and its application hears none of it.

mod client_to_primary;
mod client_to_secondary;
mod primary_to_client;
mod random;
mod secondary_to_client;

use bytes::Bytes;
use smallvec::smallvec;

use super::world::span;
use crate::ids::{GrantId, PathId, SessionId, StreamId};
use crate::wire::{
    AddPath, Aggregate, ControlFrame, Extent, FinalSize, Grant, GrantDone, GrantOutcome,
    GrantRefused, GrantStatus, Hello, Hole, Join, Joined, MaxOffset, PathStatus, PathStatusState,
    Raw, Refused, RetirePath, Revoke, Sealed, StreamDone, Welcome,
};

/// One of each frame, but for those that have one of these names.
fn frames_but(allowed: &[&str]) -> Vec<ControlFrame> {
    let mut frames = frames();
    frames.retain(|frame| !allowed.contains(&frame.name()));
    assert_eq!(
        frames.len() + allowed.len(),
        19,
        "there is no frame of one of these names"
    );
    frames
}

fn frames() -> Vec<ControlFrame> {
    let (path, stream, grant) = (PathId(1), StreamId(1), GrantId(0));
    let sealed = Sealed {
        seq: 0,
        bytes: Bytes::from_static(&[0; 20]),
    };
    let extent = Extent::Fixed(span(0, 9));
    vec![
        ControlFrame::Hello(Hello {
            join_key_thumbprint: [0; 32],
        }),
        ControlFrame::PathStatus(PathStatus {
            path,
            state: PathStatusState::Active,
        }),
        ControlFrame::GrantStatus(GrantStatus {
            grant,
            outcome: GrantOutcome::Done { end: 9 },
        }),
        ControlFrame::Hole(Hole {
            stream,
            ranges: smallvec![span(0, 9)],
        }),
        ControlFrame::StreamDone(StreamDone { stream }),
        ControlFrame::MaxOffset(MaxOffset { stream, offset: 9 }),
        ControlFrame::Welcome(Welcome {
            session: SessionId([1; 16]),
        }),
        ControlFrame::AddPath(AddPath {
            path,
            addrs: smallvec![([203, 0, 113, 2], 4433).into()],
            server_name: "kwik.test".to_owned(),
            pin: [0; 32],
            ticket: Bytes::new(),
        }),
        ControlFrame::RetirePath(RetirePath { path }),
        ControlFrame::Aggregate(Aggregate {
            stream,
            plain_end: 0,
            final_size: None,
        }),
        ControlFrame::FinalSize(FinalSize { stream, size: 9 }),
        ControlFrame::Grant(Grant {
            grant,
            path,
            stream,
            extent,
            max_offset: 0,
            sealed: sealed.clone(),
        }),
        ControlFrame::Revoke(Revoke { grant, end: 0 }),
        ControlFrame::Raw(Raw { path, sealed }),
        ControlFrame::Join(Join {
            session: SessionId([1; 16]),
            path,
            ticket: Bytes::new(),
            join_key: [0; 32],
            proof: [0; 64],
        }),
        ControlFrame::Joined(Joined),
        ControlFrame::Refused(Refused { code: 0 }),
        ControlFrame::GrantRefused(GrantRefused { grant, code: 0 }),
        ControlFrame::GrantDone(GrantDone {
            grant,
            written: smallvec![],
            more: false,
        }),
    ]
}

//! A secondary that breaks the protocol costs its path, and nothing else: the application sees the
//! streams of its primary with the bytes that belong there.

use bytes::Bytes;
use kwik_core::error::code;
use kwik_core::ids::{GrantId, PathId, SessionId, StreamId};
use kwik_core::wire::{
    AddPath, Aggregate, ControlFrame, FinalSize, Grant, GrantDone, GrantOutcome, GrantStatus,
    Hello, Hole, Joined, MaxOffset, PathStatus, PathStatusState, Ranges, Raw, RetirePath, Revoke,
    Sealed, SegmentHeader, SegmentOwner, StreamDone, Welcome,
};
use kwik_sim::{Setting, Stage};

use crate::SECOND;
use kwik_sim::raw::{Cue, End, Line, RawPeer, always};

const BYTES: u64 = 4 << 20;

/// Runs a transfer from a primary, an honest secondary (path 2) and one that joins and then does
/// `attack` at every grant (path 1). The transfer must end well, and the application must have seen
/// nothing but it.
fn survives(attack: impl Fn(&mut Line<'_>, &Grant) + 'static) -> Stage {
    let setting = Setting::new(1, 2, BYTES);
    let mut stage = setting.build();
    let script = always(move |line: &mut Line<'_>, cue: &Cue| match cue {
        Cue::Frame(ControlFrame::Join(_)) => line.send(&ControlFrame::Joined(Joined)),
        Cue::Frame(ControlFrame::Grant(grant)) => attack(line, grant),
        Cue::Frame(_) | Cue::Up | Cue::Room | Cue::Alarm => {}
    });
    let hostile = RawPeer::server(setting.crypto, setting.identity(2), script);
    stage.world.install(stage.secondaries[0], hostile);
    stage.run_to_end(60 * SECOND);
    let report = stage.report("isolation");
    assert!(report.is_success(), "{report}");
    assert_eq!(stage.reader().streams().count(), 1, "one answer");
    let peer: &RawPeer = stage.world.node(stage.secondaries[0]);
    let was_granted = |frame: &ControlFrame| matches!(frame, ControlFrame::Grant(_));
    assert!(
        peer.log().frames.iter().any(was_granted),
        "it had its chance"
    );
    stage
}

/// As [`survives`]; the client must close the path with this code, and take nothing from it.
fn costs_the_path(code: u64, attack: impl Fn(&mut Line<'_>, &Grant) + 'static) {
    let mut stage = survives(attack);
    stage.world.run_for(SECOND);
    let peer: &RawPeer = stage.world.node(stage.secondaries[0]);
    assert_eq!(peer.log().closed_with, [code]);
    assert_eq!(stage.report("").percent_of(PathId(1)), 0);
}

fn header(grant: &Grant, offset: u64) -> SegmentHeader {
    SegmentHeader {
        owner: SegmentOwner::Grant(grant.grant),
        offset,
    }
}

#[test]
fn it_can_open_no_application_stream() {
    survives(|line, _| assert_eq!(line.open_bidi(), None));
}

#[test]
fn bytes_under_a_grant_that_was_never_given_cost_the_path() {
    costs_the_path(code::GRANT, |line, grant| {
        let owner = SegmentOwner::Grant(GrantId(grant.grant.0 + 1_000_000));
        let offset = grant.extent.range().start();
        line.segment(SegmentHeader { owner, offset }, &[0; 100]);
    });
}

#[test]
fn bytes_outside_the_grant_cost_the_path() {
    costs_the_path(code::GRANT, |line, grant| {
        line.segment(header(grant, grant.extent.range().end()), &[0; 100]);
    });
    costs_the_path(code::GRANT, |line, grant| {
        let start = grant.extent.range().start();
        // Below the first grant of all there is nothing to write over.
        let offset = start
            .checked_sub(50)
            .unwrap_or_else(|| grant.extent.range().end());
        line.segment(header(grant, offset), &[0; 100]);
    });
}

#[test]
fn bytes_at_the_far_end_of_all_offsets_cost_the_path() {
    costs_the_path(code::GRANT, |line, grant| {
        line.segment(header(grant, (1 << 62) - 10), &[0; 100]);
    });
}

#[test]
fn bytes_in_the_name_of_the_primary_cost_the_path() {
    costs_the_path(code::UNEXPECTED, |line, grant| {
        let owner = SegmentOwner::Primary(grant.stream);
        let offset = grant.extent.range().start();
        line.segment(SegmentHeader { owner, offset }, &[0; 100]);
    });
}

#[test]
fn a_header_that_means_nothing_costs_the_path() {
    costs_the_path(code::ENCODING, |line, _| line.uni(&[0xff; 40], End::Finish));
}

#[test]
fn a_segment_that_ends_within_its_header_says_nothing() {
    survives(|line, grant| {
        let bytes = header(grant, grant.extent.range().start()).encode();
        line.uni(&bytes[..7], End::Finish);
        line.uni(&bytes[..7], End::Reset);
        line.uni(&[], End::Finish);
    });
}

#[test]
fn a_segment_that_never_goes_on_is_granted_to_another() {
    let mut stage = survives(|line, grant| {
        let bytes = header(grant, grant.extent.range().start()).encode();
        line.uni(&bytes[..7], End::Open);
    });
    assert_eq!(stage.report("").percent_of(PathId(1)), 0);
}

#[test]
fn a_grant_that_is_called_done_without_its_bytes_is_granted_to_another() {
    survives(|line, grant| {
        let written = [grant.extent.range()].into_iter().collect();
        line.send(&ControlFrame::GrantDone(GrantDone {
            grant: grant.grant,
            written,
            more: false,
        }));
    });
}

#[test]
fn control_frames_that_are_not_a_secondarys_cost_the_path() {
    let stream = StreamId(1);
    let sealed = Sealed {
        seq: 0,
        bytes: Bytes::from_static(&[0; 32]),
    };
    let add_path = AddPath {
        path: PathId(7),
        addrs: ["203.0.113.9:4433".parse().expect("an address")]
            .into_iter()
            .collect(),
        server_name: "kwik.sim".to_owned(),
        pin: [0; 32],
        ticket: Bytes::from_static(&[0; 100]),
    };
    let raw = Raw {
        path: PathId(1),
        sealed,
    };
    let outcome = GrantOutcome::Done { end: 10 };
    let frames = [
        ControlFrame::Welcome(Welcome {
            session: SessionId([0; 16]),
        }),
        ControlFrame::AddPath(add_path),
        ControlFrame::RetirePath(RetirePath { path: PathId(2) }),
        ControlFrame::Aggregate(Aggregate {
            stream,
            plain_end: 0,
            final_size: None,
        }),
        ControlFrame::FinalSize(FinalSize { stream, size: 1 }),
        ControlFrame::Raw(raw),
        ControlFrame::Hello(Hello {
            join_key_thumbprint: [0; 32],
        }),
        ControlFrame::MaxOffset(MaxOffset { stream, offset: 0 }),
        ControlFrame::StreamDone(StreamDone { stream }),
        ControlFrame::Hole(Hole {
            stream,
            ranges: Ranges::new(),
        }),
        ControlFrame::PathStatus(PathStatus {
            path: PathId(2),
            state: PathStatusState::Dead,
        }),
        ControlFrame::GrantStatus(GrantStatus {
            grant: GrantId(0),
            outcome,
        }),
        ControlFrame::Revoke(Revoke {
            grant: GrantId(0),
            end: 0,
        }),
    ];
    for frame in frames {
        costs_the_path(code::UNEXPECTED, move |line, _| line.send(&frame));
    }
    costs_the_path(code::UNEXPECTED, |line, grant| {
        line.send(&ControlFrame::Grant(grant.clone()));
    });
}

#[test]
fn a_frame_that_cannot_be_decoded_costs_the_path() {
    let done = ControlFrame::GrantDone(GrantDone {
        grant: GrantId(0),
        written: Ranges::new(),
        more: false,
    });
    // The type of GRANT_DONE with a payload that ends within its first field.
    let kind = done.encode()[0];
    costs_the_path(code::ENCODING, move |line, _| {
        line.send_bytes(&[kind, 1, 0xc0]);
    });
}

#[test]
fn a_frame_of_an_unknown_type_is_skipped() {
    let mut stage = survives(|line, grant| {
        // An unknown type in two bytes, then a real frame.
        line.send_bytes(&[0x7f, 0xff, 3, 1, 2, 3]);
        line.send(&ControlFrame::GrantRefused(kwik_core::wire::GrantRefused {
            grant: grant.grant,
            code: 9,
        }));
    });
    stage.world.run_for(SECOND);
    let peer: &RawPeer = stage.world.node(stage.secondaries[0]);
    assert_eq!(peer.log().closed_with, [0_u64; 0]);
}

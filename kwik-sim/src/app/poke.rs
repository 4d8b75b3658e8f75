//! Calls that an application has no business to make.
//!
//! Owns one call of everything, with names that nothing has, in whatever state a session is: each
//! must return, and say that there is no such thing. What it changed all the same would show in the
//! transfers.

use std::ops::ControlFlow;

use bytes::Bytes;
use kwik_core::endpoint::{self, Endpoint};
use kwik_core::ids::{ByteRange, GrantId, PathId, SegmentId, SessionHandle, StreamId};
use kwik_core::path::{PathSpec, RawTarget};
use kwik_core::plan::{PlanSpec, Spread};

use crate::clock::Moment;

/// Makes every call on a session, whatever its role and state. `ordinal` varies the names.
///
/// # Panics
///
/// If a call does not say that there is no such thing.
pub fn everything(endpoint: &mut Endpoint, moment: Moment, session: SessionHandle, ordinal: u64) {
    let now = moment.now;
    if let Some(mut view) = endpoint.client(now, session) {
        client(&mut view, ordinal);
    }
    if let Some(mut view) = endpoint.primary(now, session) {
        primary(&mut view, ordinal);
    }
    if let Some(mut view) = endpoint.secondary(now, session) {
        secondary(&mut view, ordinal);
    }
    // More often than it asked for, and twice at one time.
    endpoint.handle_timeout(now);
    endpoint.handle_timeout(now);
}

/// Ids that no stream has: a unidirectional one, the control carrier, one far away, the largest.
fn no_streams(ordinal: u64) -> [StreamId; 4] {
    let far = (1 << 40) + 4 * ordinal;
    [StreamId(2), StreamId(0), StreamId(far), StreamId(u64::MAX)]
}

fn data() -> Bytes {
    Bytes::from_static(b"nobody wants this")
}

fn client(view: &mut endpoint::Client<'_>, ordinal: u64) {
    for stream in no_streams(ordinal) {
        refused(view.write(stream, &mut data()).is_err());
        refused(view.write_slice(stream, b"").is_err());
        refused(view.finish(stream).is_err());
        refused(view.reset(stream, ordinal).is_err());
        let read = view.read(stream, usize::MAX, &mut |_| ControlFlow::Continue(()));
        refused(read.is_err());
        refused(view.stop(stream, u64::MAX).is_err());
    }
    let _ = view.paths();
    let _ = view.stats();
    let _ = view.session_id();
}

fn primary(view: &mut endpoint::Primary<'_>, ordinal: u64) {
    let range = ByteRange::new(ordinal, ordinal + 10).expect("not empty");
    let (path, segment) = (PathId(u64::MAX - ordinal), SegmentId(u64::MAX - ordinal));
    for stream in no_streams(ordinal) {
        refused(view.write(stream, &mut data()).is_err());
        refused(view.write_slice(stream, b"").is_err());
        refused(view.finish(stream).is_err());
        refused(view.reset(stream, ordinal).is_err());
        let read = view.read(stream, 0, &mut |_| ControlFlow::Break(()));
        refused(read.is_err());
        refused(view.stop(stream, ordinal).is_err());
        refused(view.set_offset(stream, u64::MAX).is_err());
        refused(view.open_segment_at(stream, ordinal).is_err());
        refused(view.delegate(stream, range, path, data()).is_err());
        let spec = PlanSpec {
            command: data(),
            spread: Spread::Pull,
        };
        refused(view.plan(stream, range, spec).is_err());
        for target in [RawTarget::Cursor(stream), RawTarget::At(stream, u64::MAX)] {
            refused(view.send_raw(path, target, data()).is_err());
        }
    }
    refused(view.send_raw(path, RawTarget::Message, data()).is_err());
    refused(view.write_segment(segment, &mut data()).is_err());
    refused(view.finish_segment(segment).is_err());
    refused(view.revoke(GrantId(u64::MAX - ordinal)).is_err());
    refused(view.retire_path(path).is_err());
    refused(view.retire_path(PathId(0)).is_err());
    let nowhere = PathSpec {
        addrs: smallvec::SmallVec::new(),
        server_name: String::new(),
        pin: [0; 32],
    };
    refused(view.add_path(nowhere).is_err());
    let _ = view.paths();
    let _ = view.client_addr();
}

fn secondary(view: &mut endpoint::Secondary<'_>, ordinal: u64) {
    let (grant, segment) = (GrantId(u64::MAX - ordinal), SegmentId(u64::MAX - ordinal));
    for stream in no_streams(ordinal) {
        refused(view.open_segment_at(stream, ordinal).is_err());
    }
    refused(view.open_segment(grant).is_err());
    refused(view.write_segment(segment, &mut data()).is_err());
    refused(view.finish_segment(segment).is_err());
    refused(view.finish_grant(grant).is_err());
    refused(view.refuse_grant(grant, ordinal).is_err());
    let _ = view.session_id();
}

/// A call must have been refused.
#[track_caller]
fn refused(is_refused: bool) {
    assert!(
        is_refused,
        "a call with a name that nothing has went through"
    );
}

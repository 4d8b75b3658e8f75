//! Calls with names of what is over.
//!
//! Owns one call of everything on what a session has ended ([`Past`]), and on a session that has ended
//! itself. Each must return what its documentation says, and change nothing: what it changed all the
//! same would show in the transfers.

use std::fmt::Debug;
use std::ops::ControlFlow;

use bytes::Bytes;
use kwik_core::carrier::ReadState;
use kwik_core::endpoint::{self, Endpoint};
use kwik_core::error::{Misuse, StreamError};
use kwik_core::ids::{ByteRange, GrantId, PathId, SegmentId, SessionHandle, StreamId};
use kwik_core::path::{PathSpec, RawTarget};
use kwik_core::plan::{PlanSpec, Spread};

use super::past::Past;
use crate::clock::Moment;

/// Names that something may have, or have had, or not yet: none of them helps in a session that has
/// ended.
const ANY: [u64; 6] = [0, 1, 2, 4, 5, 1000];

/// Makes every call on what is over in a session, whatever its role.
///
/// # Panics
///
/// If a call is not refused as it is documented.
pub fn everything(endpoint: &mut Endpoint, moment: Moment, session: SessionHandle, past: &Past) {
    let now = moment.now;
    if let Some(mut view) = endpoint.client(now, session) {
        // It may have ended a moment ago.
        let is_closed = view.reset(StreamId(u64::MAX), 1) == Err(Misuse::Closed);
        assert!(is_closed || !past.is_closed, "it goes on after its end");
        match is_closed {
            true => client_closed(&mut view, past),
            false => client(&mut view, past),
        }
    }
    if let Some(mut view) = endpoint.primary(now, session) {
        let is_closed = view.revoke(GrantId(u64::MAX)) == Err(Misuse::Closed);
        assert!(is_closed || !past.is_closed, "it goes on after its end");
        match is_closed {
            true => primary_closed(&mut view),
            false => primary(&mut view, past),
        }
    }
    if let Some(mut view) = endpoint.secondary(now, session) {
        match past.is_closed {
            true => secondary_closed(&mut view),
            false => secondary(&mut view, past),
        }
    }
    // The unread rest of a client's session would be dropped by it.
    if past.is_closed && endpoint.client(now, session).is_none() {
        endpoint.close(now, session, 77);
        endpoint.close(now, session, 78);
    }
}

/// Bytes that nobody is to read.
fn data() -> Bytes {
    Bytes::from_static(b"this comes too late")
}

fn spec() -> PlanSpec {
    PlanSpec {
        command: data(),
        spread: Spread::Pull,
    }
}

fn range(start: u64, end: u64) -> ByteRange {
    ByteRange::new(start, end).expect("ordered")
}

/// Reads, and must not be given a byte.
fn nothing(_: Bytes) -> ControlFlow<()> {
    panic!("a byte of a stream that was read to its end")
}

/// A call must have been refused, and so.
#[track_caller]
fn refused<T: Debug, E: Into<StreamError>>(
    result: Result<T, E>,
    is_documented: impl Fn(&StreamError) -> bool,
) {
    match result.map_err(Into::into) {
        Err(error) if is_documented(&error) => {}
        other => panic!("a call on what is over: {other:?}"),
    }
}

/// The sending half has ended.
fn has_ended(error: &StreamError) -> bool {
    matches!(
        error,
        StreamError::Misuse(Misuse::Finished(_) | Misuse::UnknownStream(_))
            | StreamError::Stopped(_)
    )
}

fn is_gone(error: &StreamError) -> bool {
    matches!(error, StreamError::Misuse(Misuse::UnknownStream(_)))
}

fn is_lost(error: &StreamError) -> bool {
    matches!(error, StreamError::SessionLost(_))
}

fn is_closed(error: &StreamError) -> bool {
    *error == StreamError::Misuse(Misuse::Closed)
}

fn is_no_segment(error: &StreamError) -> bool {
    matches!(error, StreamError::Misuse(Misuse::UnknownSegment(_)))
}

fn is_no_grant(error: &StreamError) -> bool {
    matches!(error, StreamError::Misuse(Misuse::UnknownGrant(_)))
}

fn is_no_path(error: &StreamError) -> bool {
    matches!(error, StreamError::Misuse(Misuse::UnknownPath(_)))
}

fn is_bad_range(error: &StreamError) -> bool {
    matches!(error, StreamError::Misuse(Misuse::BadRange(_)))
}

fn client(view: &mut endpoint::Client<'_>, past: &Past) {
    for &stream in &past.sent {
        refused(view.write(stream, &mut data()), has_ended);
        refused(view.write_slice(stream, b""), has_ended);
        refused(view.finish(stream), has_ended);
    }
    for &stream in &past.settled {
        refused(view.reset(stream, 1), has_ended);
    }
    for &stream in &past.read {
        refused(view.read(stream, usize::MAX, &mut nothing), is_gone);
        refused(view.stop(stream, 1), is_gone);
    }
}

fn client_closed(view: &mut endpoint::Client<'_>, past: &Past) {
    refused(view.open_stream(), is_closed);
    for stream in ANY.map(StreamId) {
        refused(view.write(stream, &mut data()), is_lost);
        refused(view.write_slice(stream, b""), is_lost);
        refused(view.finish(stream), is_lost);
        refused(view.reset(stream, 1), is_closed);
    }
    for &stream in &past.read {
        refused(view.read(stream, usize::MAX, &mut nothing), is_lost);
        refused(view.stop(stream, 1), is_closed);
    }
    let _ = view.paths();
    let _ = view.stats();
}

fn primary(view: &mut endpoint::Primary<'_>, past: &Past) {
    primary_streams(view, past);
    for &segment in &past.segments {
        refused(view.write_segment(segment, &mut data()), is_no_segment);
        assert_eq!(view.finish_segment(segment), Ok(()));
    }
    for &grant in &past.grants {
        refused(view.revoke(grant), is_no_grant);
    }
    for &path in past.paths.iter().chain(&[PathId::PRIMARY]) {
        refused(view.retire_path(path), is_no_path);
        refused(view.send_raw(path, RawTarget::Message, data()), is_no_path);
        for &stream in &past.sent {
            let late = view.delegate(stream, range(0, 1), path, data());
            assert!(late.is_err(), "a path that has ended was granted: {late:?}");
        }
    }
}

fn primary_streams(view: &mut endpoint::Primary<'_>, past: &Past) {
    // No answer is so long.
    let beyond = range(1 << 50, (1 << 50) + 1);
    let path = PathId(1);
    for &stream in &past.sent {
        refused(view.write(stream, &mut data()), has_ended);
        refused(view.write_slice(stream, b""), has_ended);
        refused(view.finish(stream), has_ended);
        for offset in [0, 1, 1 << 50] {
            refused(view.set_offset(stream, offset), has_ended);
        }
        refused(
            view.send_raw(path, RawTarget::Cursor(stream), data()),
            has_ended,
        );
        refused(
            view.send_raw(path, RawTarget::At(stream, 0), data()),
            has_ended,
        );
        // What is below the end may still be brought; nothing is behind it.
        let refusal = |error: &StreamError| has_ended(error) || is_bad_range(error);
        refused(view.open_segment_at(stream, 1 << 50), refusal);
        refused(view.delegate(stream, beyond, path, data()), refusal);
        refused(view.plan(stream, beyond, spec()), refusal);
    }
    for &stream in &past.settled {
        refused(view.reset(stream, 1), has_ended);
        refused(view.open_segment_at(stream, 0), has_ended);
        refused(view.delegate(stream, range(0, 1), path, data()), has_ended);
        refused(view.plan(stream, range(0, 1), spec()), has_ended);
    }
    for &stream in &past.read {
        match view.read(stream, usize::MAX, &mut nothing) {
            Ok(ReadState::Finished) => {}
            other => refused(other, is_gone),
        }
        refused(view.stop(stream, 1), is_gone);
    }
}

fn primary_closed(view: &mut endpoint::Primary<'_>) {
    refused(view.open_stream(), is_closed);
    let (byte, path) = (range(0, 1), PathId(1));
    for stream in ANY.map(StreamId) {
        refused(view.write(stream, &mut data()), is_lost);
        refused(view.write_slice(stream, b""), is_lost);
        refused(view.finish(stream), is_lost);
        refused(view.reset(stream, 1), is_closed);
        refused(view.read(stream, usize::MAX, &mut nothing), is_lost);
        refused(view.stop(stream, 1), is_closed);
        refused(view.set_offset(stream, 0), is_lost);
        refused(view.open_segment_at(stream, 0), is_lost);
        refused(view.delegate(stream, byte, path, data()), is_lost);
        refused(view.plan(stream, byte, spec()), is_lost);
        let target = RawTarget::Cursor(stream);
        refused(view.send_raw(path, target, data()), is_lost);
    }
    for id in ANY {
        refused(view.write_segment(SegmentId(id), &mut data()), is_lost);
        refused(view.finish_segment(SegmentId(id)), is_lost);
        refused(view.revoke(GrantId(id)), is_closed);
        refused(view.retire_path(PathId(id)), is_closed);
        let message = view.send_raw(PathId(id), RawTarget::Message, data());
        refused(message, is_lost);
    }
    let spec = PathSpec {
        addrs: [([127, 0, 0, 1], 1).into()].into_iter().collect(),
        server_name: "late".to_owned(),
        pin: [0; 32],
    };
    refused(view.add_path(spec), is_closed);
    view.close(79);
}

fn secondary(view: &mut endpoint::Secondary<'_>, past: &Past) {
    for &segment in &past.segments {
        refused(view.write_segment(segment, &mut data()), is_no_segment);
        refused(view.finish_segment(segment), is_no_segment);
    }
    for &grant in &past.grants {
        refused(view.open_segment(grant), is_no_grant);
        assert_eq!(view.finish_grant(grant), Ok(()));
        assert_eq!(view.refuse_grant(grant, 1), Ok(()));
    }
}

fn secondary_closed(view: &mut endpoint::Secondary<'_>) {
    for id in ANY {
        refused(view.open_segment(GrantId(id)), is_no_grant);
        refused(view.open_segment_at(StreamId(id), 0), is_bad_range);
        refused(
            view.write_segment(SegmentId(id), &mut data()),
            is_no_segment,
        );
        refused(view.finish_segment(SegmentId(id)), is_no_segment);
        // Whether there ever was such a grant.
        let _ = view.finish_grant(GrantId(id));
        let _ = view.refuse_grant(GrantId(id), 1);
    }
    view.close(79);
}

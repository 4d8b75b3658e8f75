//! Names that exist, in the wrong state: each call is refused with the error that is documented, and
//! what is done right afterwards still brings all of the content.

use std::ops::ControlFlow;

use bytes::Bytes;
use kwik_core::carrier::ReadState;
use kwik_core::endpoint::{Client, Primary, Secondary};
use kwik_core::error::{Misuse, StreamError, code};
use kwik_core::ids::{ByteRange, GrantId, PathId, SegmentId, StreamId};
use kwik_core::path::RawTarget;
use kwik_core::plan::{PlanSpec, Spread};
use kwik_sim::app::{AnswerOn, Ask, Conduct, Delivery, Ends, Pace, Request};
use kwik_sim::content::Content;
use kwik_sim::host::KwikNode;
use kwik_sim::{Setting, Stage};

use crate::SECOND;

const SEED: u64 = 1;
const KIB: u64 = 1 << 10;

/// A world whose primary was asked for so many bytes on the client's stream and has not answered, with
/// secondaries that take grants and do nothing by themselves.
fn by_hand(bytes: u64) -> (Stage, StreamId) {
    let mut setting = Setting::new(SEED, 2, 0).delivery(Delivery::ByHand);
    setting.secondaries = vec![Conduct::Mute; 2];
    let request = Request {
        bytes,
        answer_on: AnswerOn::SameStream,
    };
    let pace = Pace::Eager;
    setting.asks = vec![Ask {
        request,
        pace,
        ends: Ends::Whole,
    }];
    let mut stage = setting.build();
    stage.world.run_for(SECOND);
    let stream = stage.primary_app().unanswered()[0].0;
    (stage, stream)
}

fn primary<T>(stage: &mut Stage, act: impl FnOnce(&mut Primary<'_>) -> T) -> T {
    let acted = stage.on_primary(act).expect("a session");
    stage.world.run_for(SECOND / 10);
    acted
}

fn client<T>(stage: &mut Stage, act: impl FnOnce(&mut Client<'_>) -> T) -> T {
    stage.on_client(act).expect("a session")
}

fn secondary<T>(stage: &mut Stage, act: impl FnOnce(&mut Secondary<'_>) -> T) -> T {
    let host = stage.secondaries[0];
    let acted = stage.world.act(host, |node: &mut KwikNode, moment| {
        let (app, host) = node.app_mut::<kwik_sim::app::Secondary>(moment);
        let session = app.sessions()[0];
        let mut view = host.endpoint.secondary(moment.now, session);
        act(view.as_mut().expect("joined"))
    });
    stage.world.run_for(SECOND / 10);
    acted
}

fn content(stream: StreamId, range: ByteRange) -> Bytes {
    let len = usize::try_from(range.len()).expect("small");
    Content::new(SEED).make(stream.0, range.start(), len)
}

fn range(start: u64, end: u64) -> ByteRange {
    ByteRange::new(start, end).expect("ordered")
}

fn spec() -> PlanSpec {
    PlanSpec {
        command: Bytes::new(),
        spread: Spread::Pull,
    }
}

/// Bytes that nobody may read.
fn wrong() -> Bytes {
    Bytes::from_static(b"wrong bytes")
}

fn write(view: &mut Primary<'_>, stream: StreamId, range: ByteRange) {
    let mut bytes = content(stream, range);
    view.write(stream, &mut bytes).expect("allowed");
    assert!(bytes.is_empty(), "within the credit");
}

fn write_at(view: &mut Primary<'_>, stream: StreamId, range: ByteRange) -> SegmentId {
    let segment = view.open_segment_at(stream, range.start());
    let segment = segment.expect("allowed");
    let mut bytes = content(stream, range);
    view.write_segment(segment, &mut bytes).expect("allowed");
    assert!(bytes.is_empty(), "within the credit");
    view.finish_segment(segment).expect("open");
    segment
}

fn ends_well(stage: &mut Stage) {
    stage.run_to_end(stage.world.time() + 20 * SECOND);
    let report = stage.report("calls by hand");
    assert!(report.is_success(), "{report}");
    assert_eq!(stage.reader().conflicts(), 0);
    assert_eq!(stage.primary_app().errors(), []);
}

#[test]
fn a_finished_plain_stream_takes_nothing_more() {
    let (mut stage, stream) = by_hand(10);
    let finished: StreamError = Misuse::Finished(stream).into();
    primary(&mut stage, |view| {
        write(view, stream, range(0, 10));
        // The plain part cannot be written again.
        let back = Misuse::BadRange(ByteRange::from(9));
        assert_eq!(view.set_offset(stream, 9), Err(back.clone().into()));
        assert_eq!(view.open_segment_at(stream, 9), Err(back.into()));
        let piece = range(9, 20);
        let late = view.delegate(stream, piece, PathId(1), wrong());
        assert_eq!(late, Err(Misuse::BadRange(piece).into()));
        assert_eq!(view.finish(stream), Ok(()));
        refuse_all(view, stream, &finished);
    });
    ends_well(&mut stage);
    // The client has all of it, and the primary knows.
    let unknown: StreamError = Misuse::UnknownStream(stream).into();
    primary(&mut stage, |view| {
        refuse_all(view, stream, &unknown);
        assert_eq!(view.reset(stream, 1), Err(Misuse::UnknownStream(stream)));
        assert_eq!(view.stop(stream, 1), Err(Misuse::UnknownStream(stream)));
    });
}

/// Every call that adds to the end of a stream.
fn refuse_all(view: &mut Primary<'_>, stream: StreamId, with: &StreamError) {
    let byte = range(0, 1);
    assert_eq!(view.write(stream, &mut wrong()).as_ref(), Err(with));
    assert_eq!(view.write_slice(stream, b"").as_ref(), Err(with));
    assert_eq!(view.finish(stream).as_ref(), Err(with));
    assert_eq!(view.set_offset(stream, 100).as_ref(), Err(with));
    assert_eq!(view.open_segment_at(stream, 0).as_ref(), Err(with));
    assert_eq!(view.plan(stream, byte, spec()).as_ref(), Err(with));
    let granted = view.delegate(stream, byte, PathId(1), wrong());
    assert_eq!(granted.as_ref(), Err(with));
    let raw = view.send_raw(PathId(1), RawTarget::Cursor(stream), wrong());
    assert_eq!(raw.as_ref(), Err(with));
}

#[test]
fn ranges_that_somebody_has_cannot_be_given_again() {
    let (mut stage, stream) = by_hand(100 * KIB);
    primary(&mut stage, |view| {
        view.set_offset(stream, 0).expect("allowed");
    });
    let (granted, planned) = (range(0, 40 * KIB), range(60 * KIB, 80 * KIB));
    let grant = primary(&mut stage, |view| {
        let grant = view.delegate(stream, granted, PathId(1), Bytes::new());
        view.plan(stream, planned, spec()).expect("free");
        let cursor = view.write(stream, &mut content(stream, range(40 * KIB, 41 * KIB)));
        assert_eq!(cursor, Ok(1024), "behind the grant");
        for (start, end) in [(0, 1), (39, 41), (50, 61), (79, 90)] {
            let wanted = range(start * KIB, end * KIB);
            let taken: StreamError = Misuse::RangeTaken(wanted).into();
            let again = view.delegate(stream, wanted, PathId(2), Bytes::new());
            assert_eq!(again, Err(taken.clone()));
            assert_eq!(view.plan(stream, wanted, spec()), Err(taken));
        }
        for offset in [0, 70 * KIB] {
            let taken = Misuse::RangeTaken(range(offset, offset + 1));
            assert_eq!(view.set_offset(stream, offset), Err(taken.into()));
        }
        let empty = range(50 * KIB, 50 * KIB);
        let nothing = view.delegate(stream, empty, PathId(1), Bytes::new());
        assert_eq!(nothing, Err(Misuse::BadRange(empty).into()));
        let raw = view.send_raw(PathId(1), RawTarget::At(stream, 50 * KIB), wrong());
        let rest = ByteRange::from(50 * KIB);
        assert_eq!(
            raw,
            Err(Misuse::RangeTaken(rest).into()),
            "it may meet the plan"
        );
        grant.expect("free")
    });
    // Taken back twice; its end is told once.
    primary(&mut stage, |view| {
        assert_eq!(view.revoke(grant), Ok(()));
        assert_eq!(view.revoke(grant), Ok(()));
    });
    stage.world.run_for(SECOND);
    primary(&mut stage, |view| {
        assert_eq!(view.revoke(grant), Err(Misuse::UnknownGrant(grant)));
        write_at(view, stream, granted);
        write(view, stream, range(41 * KIB, 60 * KIB));
        view.set_offset(stream, 80 * KIB).expect("behind the plan");
        write(view, stream, range(80 * KIB, 100 * KIB));
        assert_eq!(view.finish(stream), Ok(()));
        assert_eq!(view.finish(stream), Err(Misuse::Finished(stream).into()));
        assert_eq!(
            view.write(stream, &mut wrong()),
            Err(Misuse::Finished(stream).into())
        );
        // Nothing is behind the end.
        let beyond = range(100 * KIB, 101 * KIB);
        let granted = view.delegate(stream, beyond, PathId(1), Bytes::new());
        assert_eq!(granted, Err(Misuse::BadRange(beyond).into()));
        let segment = view.open_segment_at(stream, 100 * KIB);
        let bad = Misuse::BadRange(ByteRange::from(100 * KIB));
        assert_eq!(segment, Err(bad.into()));
    });
    ends_well(&mut stage);
}

#[test]
fn a_segment_that_was_finished_takes_nothing_more() {
    let (mut stage, stream) = by_hand(20);
    primary(&mut stage, |view| {
        view.set_offset(stream, 0).expect("allowed");
    });
    primary(&mut stage, |view| {
        let segment = write_at(view, stream, range(0, 20));
        assert_eq!(view.finish_segment(segment), Ok(()), "left as it is");
        let unknown = Misuse::UnknownSegment(segment);
        assert_eq!(
            view.write_segment(segment, &mut wrong()),
            Err(unknown.into())
        );
        let never = SegmentId(segment.0 + 1);
        let unknown = Misuse::UnknownSegment(never);
        assert_eq!(view.finish_segment(never), Err(unknown.into()));
        // As many as may be open, and one more.
        let opened: Vec<SegmentId> =
            std::iter::from_fn(|| view.open_segment_at(stream, 5).ok()).collect();
        let limit = Misuse::Limit("open segments");
        assert_eq!(view.open_segment_at(stream, 5), Err(limit.into()));
        for segment in opened {
            view.finish_segment(segment).expect("open");
        }
        view.set_offset(stream, 20).expect("allowed");
        view.finish(stream).expect("all is written");
    });
    ends_well(&mut stage);
}

#[test]
fn a_write_that_came_up_short_holds_the_cursor_until_it_is_given_up() {
    let size = 64 << 20;
    let (mut stage, stream) = by_hand(size);
    let unfinished: StreamError = Misuse::WriteUnfinished(stream).into();
    let taken = primary(&mut stage, |view| {
        let whole = range(0, size);
        let mut bytes = content(stream, whole);
        let taken = view.write(stream, &mut bytes).expect("open") as u64;
        assert!(taken < size, "more than QUIC takes");
        assert_eq!(view.set_offset(stream, taken), Err(unfinished.clone()));
        let rest = range(taken, size);
        let granted = view.delegate(stream, rest, PathId(1), Bytes::new());
        assert_eq!(granted, Err(unfinished.clone()));
        assert_eq!(view.plan(stream, rest, spec()), Err(unfinished));
        assert_eq!(view.write(stream, &mut Bytes::new()), Ok(0));
        assert_eq!(view.set_offset(stream, taken), Ok(()));
        view.plan(stream, rest, spec()).expect("free");
        view.finish(stream).expect("all is planned");
        taken
    });
    assert!(taken > 0);
    ends_well(&mut stage);
}

#[test]
fn a_path_that_was_retired_gets_nothing_more() {
    let (mut stage, stream) = by_hand(10);
    let (path, own) = (PathId(1), PathId::PRIMARY);
    for wait in [SECOND / 10, 5 * SECOND] {
        let is_first = wait < SECOND;
        primary(&mut stage, |view| {
            let unknown = Misuse::UnknownPath(path);
            if is_first {
                assert_eq!(view.retire_path(path), Ok(()));
            }
            assert_eq!(view.retire_path(path), Err(unknown.clone()));
            let granted = view.delegate(stream, range(0, 10), path, Bytes::new());
            assert_eq!(granted, Err(unknown.clone().into()));
            for target in [RawTarget::Message, RawTarget::Cursor(stream)] {
                let raw = view.send_raw(path, target, wrong());
                assert_eq!(raw, Err(unknown.clone().into()));
            }
            assert_eq!(view.retire_path(own), Err(Misuse::UnknownPath(own)));
        });
        stage.world.run_for(wait);
    }
    primary(&mut stage, |view| {
        // No refused grant has made the stream another kind.
        write(view, stream, range(0, 10));
        view.finish(stream).expect("all is written");
    });
    ends_well(&mut stage);
    assert_eq!(stage.stats().expect("a session").regranted_bytes, 0);
}

/// One grant after the other, each ended in another way, and each then tried once more.
#[test]
fn a_grant_that_has_ended_is_written_no_more() {
    let (mut stage, stream) = by_hand(50);
    primary(&mut stage, |view| {
        view.set_offset(stream, 0).expect("allowed");
    });
    let grants = primary(&mut stage, |view| {
        let pieces = (0..5).map(|i| range(10 * i, 10 * i + 10));
        let grant = |piece| view.delegate(stream, piece, PathId(1), Bytes::new());
        pieces.map(grant).collect::<Result<Vec<GrantId>, _>>()
    });
    let [filled, refused, begun, revoked, given_up] = grants.expect("free")[..] else {
        panic!("five grants")
    };
    let bytes = |start: u64, len: u64| content(stream, range(start, start + len));
    let revoked_segment = secondary(&mut stage, |view| {
        let segment = view.open_segment(filled).expect("granted");
        let limit: StreamError = Misuse::Limit("open segments of a grant").into();
        assert_eq!(view.open_segment(filled), Err(limit.clone()));
        assert_eq!(view.open_segment_at(stream, 5), Err(limit));
        let outside = view.write_segment(segment, &mut content(stream, range(0, 11)));
        assert_eq!(outside, Err(Misuse::BadRange(range(0, 10)).into()));
        let beyond = view.open_segment_at(stream, 50);
        assert_eq!(beyond, Err(Misuse::BadRange(range(50, 51)).into()));
        assert_eq!(view.write_segment(segment, &mut bytes(0, 10)), Ok(10));
        assert_ended(view, filled);
        let late = view.write_segment(segment, &mut wrong());
        assert_eq!(late, Err(StreamError::Stopped(code::ENDED)));
        assert_eq!(view.finish_segment(segment), Ok(()));
        let unknown = Misuse::UnknownSegment(segment);
        assert_eq!(view.finish_segment(segment), Err(unknown.into()));

        assert_eq!(view.refuse_grant(refused, 5), Ok(()));
        assert_ended(view, refused);

        // Refused after the first bytes: these count.
        let segment = view.open_segment_at(stream, 20).expect("granted");
        assert_eq!(view.write_segment(segment, &mut bytes(20, 4)), Ok(4));
        assert_eq!(view.refuse_grant(begun, 5), Ok(()));
        assert_ended(view, begun);
        let late = view.write_segment(segment, &mut wrong());
        assert_eq!(late, Err(StreamError::Stopped(code::ENDED)));

        assert_eq!(view.finish_grant(given_up), Ok(()));
        assert_ended(view, given_up);
        view.open_segment(revoked).expect("granted")
    });
    primary(&mut stage, |view| view.revoke(revoked)).expect("live");
    secondary(&mut stage, |view| {
        assert_ended(view, revoked);
        let late = view.write_segment(revoked_segment, &mut wrong());
        assert_eq!(late, Err(StreamError::Stopped(code::ENDED)));
    });
    stage.world.run_for(5 * SECOND);
    assert_eq!(stage.primary_app().done(), [(filled, 10)]);
    primary(&mut stage, |view| {
        for grant in [filled, refused, begun, revoked, given_up] {
            assert_eq!(view.revoke(grant), Err(Misuse::UnknownGrant(grant)));
        }
        write_at(view, stream, range(10, 20));
        write_at(view, stream, range(24, 50));
        view.finish(stream).expect("all is written");
    });
    ends_well(&mut stage);
    let stats = stage.stats().expect("a session");
    assert_eq!((stats.duplicate_bytes, stats.conflict_bytes), (0, 0));
    assert_eq!(stage.secondary_app(0).closed(), []);
}

/// A grant that has ended has no more segments, and ending it again changes nothing.
fn assert_ended(view: &mut Secondary<'_>, grant: GrantId) {
    let unknown = Misuse::UnknownGrant(grant);
    assert_eq!(view.open_segment(grant), Err(unknown.into()));
    assert_eq!(view.finish_grant(grant), Ok(()));
    assert_eq!(view.finish_grant(grant), Ok(()));
    assert_eq!(view.refuse_grant(grant, 9), Ok(()));
    let never = GrantId(grant.0 + 1000);
    assert_eq!(view.finish_grant(never), Err(Misuse::UnknownGrant(never)));
}

#[test]
fn a_client_stream_that_is_over_takes_and_gives_nothing_more() {
    let (mut stage, stream) = by_hand(10);
    let unknown = Misuse::UnknownStream(stream);
    let finished: StreamError = Misuse::Finished(stream).into();
    client(&mut stage, |view| {
        // The request was finished, and all of it has arrived.
        assert_eq!(view.write(stream, &mut wrong()), Err(finished.clone()));
        assert_eq!(view.finish(stream), Err(finished.clone()));
        assert_eq!(view.reset(stream, 1), Err(Misuse::Finished(stream)));
        let nothing = view.read(stream, 100, &mut |_| panic!("nothing was written"));
        assert_eq!(nothing, Ok(ReadState::Blocked));
    });
    primary(&mut stage, |view| {
        let again = view.read(stream, 100, &mut |_| panic!("all was read"));
        assert_eq!(again, Ok(ReadState::Finished));
        assert_eq!(view.stop(stream, 1), Err(Misuse::UnknownStream(stream)));
        write(view, stream, range(0, 10));
        view.finish(stream).expect("all is written");
    });
    ends_well(&mut stage);
    client(&mut stage, |view| {
        let mut sink = |_| ControlFlow::Continue(());
        let read = view.read(stream, 100, &mut sink);
        assert_eq!(read, Err(unknown.clone().into()));
        assert_eq!(view.stop(stream, 1), Err(unknown.clone()));
        assert_eq!(view.stop(stream, 1), Err(unknown.clone()));
        assert_eq!(view.write(stream, &mut wrong()), Err(unknown.into()));
    });
    assert_eq!(stage.reader().bytes(), 10);
}

//! One write cursor, holes, open grants and the end of a stream.

use std::time::Duration;

use bytes::Bytes;

use super::{Fate, OTHER, PATH, assert_open, fates, is_active, joined, window};
use crate::error::{Misuse, StreamError};
use crate::event::PrimaryEvent;
use crate::ids::{ByteRange, GrantId, PathId, StreamId};
use crate::path::RawTarget;
use crate::ranges::RangeSet;
use crate::session::tests::apps::Service;
use crate::session::tests::content::content;
use crate::session::tests::net::Side;
use crate::session::tests::world::{What, World, fill_command, span};
use crate::wire::LostReason;

fn send_raw(
    world: &mut World,
    path: PathId,
    target: RawTarget,
    bytes: u64,
) -> Result<GrantId, StreamError> {
    world
        .primary(|p, cx| {
            p.session
                .send_raw(cx.now, path, target, fill_command(bytes), cx.carriers)
        })
        .map(|grant| grant.expect("a stream is granted"))
}

fn try_write(world: &mut World, stream: StreamId, at: u64) -> Result<usize, StreamError> {
    let mut data = content(stream, span(at, at + 10));
    world.primary(|p, cx| p.session.write(cx.now, stream, &mut data, cx.carriers))
}

fn try_finish(world: &mut World, stream: StreamId) -> Result<(), StreamError> {
    world.primary(|p, cx| p.session.finish(cx.now, stream, cx.carriers))
}

fn missing(ranges: &[(u64, u64)]) -> RangeSet {
    ranges
        .iter()
        .map(|&(start, end)| span(start, end))
        .collect()
}

#[test]
fn set_offset_a_segment_and_finish_lose_nothing() {
    let mut world = joined();
    let stream = world.open_stream();
    world.write(stream, (0, 1000), false);
    world.settle();
    world.set_offset(stream, 5000);
    // The end would be cut off, or a hole left, without a word.
    assert_eq!(
        try_finish(&mut world, stream),
        Err(Misuse::RangeUncovered(span(1000, 5000)).into())
    );
    world.write_at(stream, (1000, 5000));
    world.settle();
    world.write(stream, (5000, 6000), true);
    world.settle();
    assert!(world.is_whole(stream, 6000));
}

#[test]
fn a_write_behind_a_delegated_range_does_not_enter_it() {
    let mut world = joined();
    let stream = world.open_stream();
    world.write(stream, (0, 100), false);
    world.settle();
    let grant = world.delegate(stream, (100, 2000), PATH);
    // Byte for byte: a cursor left behind would put these at 100.
    world.write(stream, (2000, 3000), true);
    world.settle();
    assert!(world.is_whole(stream, 3000));
    assert_eq!(fates(&mut world, grant), [Ok(2000)]);
}

/// [OVL-1]
#[test]
fn a_write_into_a_granted_range_is_misuse() {
    let mut world = joined();
    world.secondary(1, |s, _| s.service = Service::Ignore);
    let stream = world.open_stream();
    world.set_offset(stream, 50);
    world.delegate(stream, (0, 50), PATH);
    world.delegate(stream, (50, 100), PATH);
    world.set_offset(stream, 200);
    let taken = world.primary(|p, cx| p.session.set_offset(cx.now, stream, 20, cx.carriers));
    assert_eq!(taken, Err(Misuse::RangeTaken(span(20, 21)).into()));
    let again = world.primary(|p, cx| {
        p.session.delegate(
            cx.now,
            stream,
            span(40, 60),
            OTHER,
            Bytes::new(),
            cx.carriers,
        )
    });
    assert_eq!(again, Err(Misuse::RangeTaken(span(40, 60)).into()));
}

/// [END-2]: FINAL_SIZE leaves at once, the bytes below it are on their way: no hole that nobody
/// holds, however long the reader waits there.
#[test]
fn a_final_size_ahead_of_the_primarys_own_bytes_is_no_hole() {
    let mut world = joined();
    let stream = world.open_stream();
    let size = 3 * window();
    world.set_offset(stream, size);
    let hold = world.hold(PathId::PRIMARY, Side::Client, What::Segments);
    world.write_at(stream, (0, size));
    world.settle();
    // What was not accepted yet is still to come: the end cannot be said before.
    assert!(matches!(
        try_finish(&mut world, stream),
        Err(StreamError::Misuse(Misuse::RangeUncovered(_)))
    ));
    world.lift(hold);
    assert!(world.settle_until(|world| world.primary(|p, _| p.is_idle())));
    let hold = world.hold(PathId::PRIMARY, Side::Client, What::Segments);
    world.finish(stream);
    world.settle();
    let read = world.read_to(stream);
    assert!(read < size, "the rest is on its way");
    // Longer than any hole may last, and shorter than QUIC's patience.
    world.advance(Duration::from_secs(100));
    world.client(|c, _| assert_eq!(c.readers[&stream].end, None));
    world.lift(hold);
    world.settle();
    assert!(world.is_whole(stream, size));
    assert_open(&mut world);
}

/// [END-9]: a lost range that the primary does nothing about fails the read; nothing else does.
#[test]
fn a_lost_range_that_nobody_takes_fails_the_read_in_time() {
    let mut world = joined();
    world.secondary(1, |s, _| s.service = Service::Short(400));
    let stream = world.open_stream();
    let grant = world.delegate(stream, (0, 1000), PATH);
    world.write(stream, (1000, 2000), true);
    world.settle();
    let lost: Fate = Err((LostReason::Short, missing(&[(400, 1000)])));
    assert_eq!(fates(&mut world, grant), [lost]);
    world.advance(Duration::from_secs(29));
    world.client(|c, _| assert_eq!(c.readers[&stream].end, None));
    world.advance(Duration::from_secs(2));
    let end = world.client(|c, _| c.readers[&stream].end.clone());
    assert_eq!(end, Some(Err(StreamError::Hole(span(400, 1000)))));
}

/// [END-9]: a slow primary that brings other streams first comes to the lost range later; one that never
/// comes to it does not hold up the reader for ever.
#[test]
fn a_lost_range_may_wait_longer_while_the_primary_is_at_work() {
    let mut world = joined();
    world.secondary(1, |s, _| s.service = Service::Short(400));
    let stream = world.open_stream();
    world.delegate(stream, (0, 1000), PATH);
    world.write(stream, (1000, 2000), true);
    let other = world.open_stream();
    world.settle();
    for second in 0..119 {
        world.write(other, (second, second + 1), false);
        world.advance(Duration::from_secs(1));
        let end = world.client(|c, _| c.readers[&stream].end.clone());
        assert_eq!(end, None, "after {second} s");
    }
    world.advance(Duration::from_secs(2));
    let end = world.client(|c, _| c.readers[&stream].end.clone());
    assert_eq!(end, Some(Err(StreamError::Hole(span(400, 1000)))));
}

#[test]
fn a_lost_range_that_is_granted_again_fails_no_read() {
    let mut world = joined();
    world.secondary(1, |s, _| s.service = Service::Short(400));
    world.secondary(2, |s, _| s.service = Service::Ignore);
    let stream = world.open_stream();
    world.delegate(stream, (0, 1000), PATH);
    world.settle();
    world.advance(Duration::from_secs(27));
    // Somebody is to bring it now; that clock is another one.
    world.delegate(stream, (400, 1000), OTHER);
    world.settle();
    world.advance(Duration::from_secs(4));
    world.write_at(stream, (400, 1000));
    world.advance(Duration::from_secs(60));
    assert_eq!(world.read_to(stream), 1000);
    world.client(|c, _| assert_eq!(c.readers[&stream].end, None));
}

/// [GRANT-7]: until an open grant has ended, nobody knows where the next byte goes.
#[test]
fn an_open_grant_keeps_everything_behind_it_to_itself() {
    let mut world = joined();
    world.secondary(1, |s, _| s.service = Service::Ignore);
    let stream = world.open_stream();
    world.write(stream, (0, 100), false);
    world.settle();
    send_raw(&mut world, PATH, RawTarget::Cursor(stream), 500).expect("the first");
    let second = send_raw(&mut world, OTHER, RawTarget::Cursor(stream), 500);
    assert_eq!(second, Err(Misuse::RangeTaken(ByteRange::from(100)).into()));
    assert!(matches!(
        try_write(&mut world, stream, 100),
        Err(StreamError::Misuse(Misuse::RangeTaken(_)))
    ));
    let far = world.primary(|p, cx| {
        p.session.delegate(
            cx.now,
            stream,
            span(1 << 30, 1 << 31),
            OTHER,
            Bytes::new(),
            cx.carriers,
        )
    });
    assert!(
        matches!(far, Err(StreamError::Misuse(Misuse::RangeTaken(_)))),
        "{far:?}"
    );
}

#[test]
fn the_cursor_goes_on_where_an_open_grant_ended() {
    let mut world = joined();
    let stream = world.open_stream();
    world.write(stream, (0, 100), false);
    world.settle();
    let grant = send_raw(&mut world, PATH, RawTarget::Cursor(stream), 5000).expect("free");
    // `finish` waits for the end that only the secondary knows.
    world.settle();
    assert_eq!(fates(&mut world, grant), [Ok(5100)]);
    world.write(stream, (5100, 6000), true);
    world.settle();
    assert!(world.is_whole(stream, 6000));
}

/// An open grant of more than the window, ended by the secondary alone: the reader sees the
/// end [FLOW-6] [GRANT-2].
#[test]
fn an_open_grant_of_many_windows_comes_to_its_end() {
    let mut world = joined();
    let stream = world.open_stream();
    let size = 5 * window() + 77;
    let grant = send_raw(&mut world, PATH, RawTarget::Cursor(stream), size).expect("free");
    world.finish(stream);
    world.settle();
    assert!(world.is_whole(stream, size));
    assert_eq!(fates(&mut world, grant), [Ok(size)]);
    world.assert_no_carrier_leaks(PATH);
}

/// [GRANT-7]: a lost open grant ends at its highest byte, where the cursor goes; only what is missing
/// below is reported.
#[test]
fn a_lost_open_grant_ends_at_its_highest_byte() {
    let mut world = joined();
    // GRANT_DONE is lost with the path, too: it would say where the grant ended.
    let holds = [What::Segments, What::Control].map(|what| world.hold(PATH, Side::Client, what));
    let stream = world.open_stream();
    let grant = send_raw(&mut world, PATH, RawTarget::Cursor(stream), 5000).expect("free");
    world.settle();
    let carrier = world.segment_in_flight(PATH);
    // The header, bytes up to 1000, and those from 2000 to 3000.
    world.deliver(PATH, Side::Client, carrier, (0, 1016));
    world.deliver(PATH, Side::Client, carrier, (2016, 3016));
    world.settle();
    world.cut(PATH);
    holds.into_iter().for_each(|hold| world.lift(hold));
    world.advance(Duration::from_secs(5));
    let lost: Fate = Err((LostReason::Path, missing(&[(1000, 2000)])));
    assert_eq!(fates(&mut world, grant), [lost]);
    assert!(!is_active(&mut world, PATH));
    world.delegate(stream, (1000, 2000), OTHER);
    world.write(stream, (3000, 4000), true);
    world.settle();
    assert!(world.is_whole(stream, 4000));
}

/// [END-2] [GRANT-18]: counting live grants alone would end the stream below bytes that were
/// delivered; counting all, behind a hole for ever.
#[test]
fn the_end_after_a_revoke_is_the_highest_byte_that_came() {
    let mut world = joined();
    let stream = world.open_stream();
    let grant = world.delegate(stream, (0, 10_000), PATH);
    let hold = world.hold(PATH, Side::Client, What::Segments);
    world.settle();
    let carrier = world.segment_in_flight(PATH);
    world.deliver(PATH, Side::Client, carrier, (0, 6016));
    world.settle();
    world
        .primary(|p, cx| p.session.revoke(cx.now, grant, cx.carriers))
        .expect("live");
    world.set_offset(stream, 4000);
    world.finish(stream);
    world.settle();
    world.client(|c, _| assert_eq!(c.readers[&stream].end, None, "the end is not decided yet"));
    // What was written but never arrives: the path dies.
    world.cut(PATH);
    world.lift(hold);
    world.advance(Duration::from_secs(5));
    assert!(world.is_whole(stream, 6000), "{:?}", world.read_to(stream));
    assert_open(&mut world);
}

/// The rest of a half-accepted write would land behind the range.
#[test]
fn the_cursor_does_not_move_under_an_unfinished_write() {
    let mut world = joined();
    let stream = world.open_stream();
    world.limit_reader(stream, 0);
    world.set_offset(stream, 10);
    world.write_at(stream, (0, 10));
    world.settle();
    let mut data = content(stream, span(10, 3 * window()));
    let whole = data.len();
    let written = world.primary(|p, cx| p.session.write(cx.now, stream, &mut data, cx.carriers));
    assert!(written.expect("open") < whole);
    let unfinished = Err(Misuse::WriteUnfinished(stream).into());
    let moved = world.primary(|p, cx| p.session.set_offset(cx.now, stream, 0, cx.carriers));
    assert_eq!(moved, unfinished);
    let cursor = whole as u64 - data.len() as u64 + 10;
    let granted = world.primary(|p, cx| {
        let range = span(cursor, cursor + 100);
        p.session
            .delegate(cx.now, stream, range, PATH, Bytes::new(), cx.carriers)
    });
    assert_eq!(granted.map(|_| ()), unfinished);
    // Once the write is through, it may.
    world.limit_reader(stream, u64::MAX);
    while !data.is_empty() {
        world.settle();
        world
            .primary(|p, cx| p.session.write(cx.now, stream, &mut data, cx.carriers))
            .expect("open");
    }
    world.delegate(stream, (3 * window(), 3 * window() + 100), PATH);
    world.finish(stream);
    world.settle();
    assert!(world.is_whole(stream, 3 * window() + 100));
}

#[test]
fn a_hole_is_told_to_the_primarys_application_only_if_nobody_brings_it() {
    let mut world = joined();
    let stream = world.open_stream();
    world.delegate(stream, (0, 1000), PATH);
    world.write(stream, (1000, 2000), true);
    world.settle();
    assert!(world.is_whole(stream, 2000));
    world.primary(|p, _| {
        assert!(
            !p.events
                .iter()
                .any(|event| matches!(event, PrimaryEvent::Hole { .. }))
        );
    });
}

//! Aggregated streams: what the primary itself writes, and where they end.

use bytes::Bytes;

use super::bench::{Bench, bidi, range, uni};
use crate::carrier::Input;
use crate::config::Config;
use crate::error::{Misuse, StreamError, code};
use crate::event::{PrimaryEvent, StreamEvent};
use crate::ids::{PathId, SegmentId, StreamId};
use crate::wire::{
    Aggregate, ControlFrame, FinalSize, Hole, LostReason, Revoke, SegmentOwner, StreamDone,
};

const MIB: u64 = 1 << 20;

impl Bench {
    pub(super) fn open_segment(
        &mut self,
        stream: StreamId,
        offset: u64,
    ) -> Result<SegmentId, StreamError> {
        self.session
            .open_segment_at(self.now, stream, offset, &mut self.quic)
    }

    pub(super) fn write_segment(
        &mut self,
        segment: SegmentId,
        len: u64,
    ) -> Result<usize, StreamError> {
        let mut data = Bytes::from(vec![2; usize::try_from(len).unwrap_or(0)]);
        self.session
            .write_segment(self.now, segment, &mut data, &mut self.quic)
    }

    pub(super) fn finish_segment(&mut self, segment: SegmentId) -> Result<(), StreamError> {
        self.session
            .finish_segment(self.now, segment, &mut self.quic)
    }

    /// A stream that is aggregated at 0 and has credit.
    pub(super) fn aggregated(&mut self, credit: u64) -> StreamId {
        let stream = self.stream();
        self.set_offset(stream, 0).expect("aggregated");
        self.max_offset(stream, credit);
        self.frames();
        self.events();
        stream
    }
}

fn aggregate(stream: StreamId, plain_end: u64) -> ControlFrame {
    ControlFrame::Aggregate(Aggregate {
        stream,
        plain_end,
        final_size: None,
    })
}

fn final_size(stream: StreamId, size: u64) -> ControlFrame {
    ControlFrame::FinalSize(FinalSize { stream, size })
}

fn writable(stream: StreamId) -> PrimaryEvent {
    PrimaryEvent::Stream(StreamEvent::Writable(stream))
}

/// [AGG-2]
#[test]
fn set_offset_aggregates_a_stream_behind_its_plain_bytes() {
    let mut bench = Bench::new();
    let stream = bench.stream();
    bench.write(stream, 10);
    bench.set_offset(stream, 100).expect("set");
    assert_eq!(bench.frames(), [aggregate(stream, 10)]);
    assert_eq!(bench.write(stream, 5), 0, "no credit yet");
    bench.max_offset(stream, 1000);
    assert_eq!(bench.events(), [writable(stream)]);
    assert_eq!(bench.write(stream, 5), 5);
    assert_eq!(
        bench.segments(),
        [(SegmentOwner::Primary(stream), range(100, 105), false)]
    );
    assert_eq!(
        bench.carrier(stream).sent.len(),
        11,
        "nothing more on the plain carrier"
    );
    assert_eq!(
        bench.set_offset(stream, 9),
        Err(Misuse::BadRange(crate::ids::ByteRange::from(9)).into())
    );
}

/// [SEG-10]
#[test]
fn writes_share_a_segment_until_it_is_full() {
    let mut bench = Bench::new();
    let stream = bench.aggregated(10 * MIB);
    for _ in 0..3 {
        assert_eq!(bench.write(stream, 600_000), 600_000);
    }
    let owner = SegmentOwner::Primary(stream);
    let segments = [
        (owner, range(0, MIB), true),
        (owner, range(MIB, 1_800_000), false),
    ];
    assert_eq!(bench.segments(), segments);
}

/// [FLOW-1] [SEG-4]
#[test]
fn no_byte_goes_past_the_credit_and_no_carrier_is_left_open_there() {
    let mut bench = Bench::new();
    let stream = bench.aggregated(100);
    assert_eq!(bench.write(stream, 150), 100);
    let owner = SegmentOwner::Primary(stream);
    assert_eq!(bench.segments(), [(owner, range(0, 100), true)]);
    assert!(bench.events().is_empty());
    bench.max_offset(stream, 100);
    assert!(bench.events().is_empty(), "no news");
    bench.max_offset(stream, 101);
    assert_eq!(bench.events(), [writable(stream)]);
}

/// [SEG-4]: nor if the write ended with the credit and nobody asks for more.
#[test]
fn a_write_that_uses_up_the_credit_leaves_no_carrier_open() {
    let mut bench = Bench::new();
    let stream = bench.aggregated(100);
    assert_eq!(bench.write(stream, 100), 100);
    let owner = SegmentOwner::Primary(stream);
    assert_eq!(bench.segments(), [(owner, range(0, 100), true)]);
}

#[test]
fn a_write_waits_for_a_carrier_and_for_room() {
    let mut bench = Bench::new();
    let stream = bench.aggregated(MIB);
    bench.quic.uni_credit = 0;
    assert_eq!(bench.write(stream, 10), 0);
    bench.quic.uni_credit = 1;
    bench.input(Input::UniCredit(PathId::PRIMARY));
    assert_eq!(bench.events(), [writable(stream)]);
    bench.quic.room = 20;
    assert_eq!(bench.write(stream, 10), 4, "behind the header");
    bench.quic.room = 20;
    bench.input(Input::Writable(uni(3)));
    assert_eq!(bench.events(), [writable(stream)]);
}

#[test]
fn delegate_from_the_cursor_then_write_lands_behind_the_range() {
    let mut bench = Bench::new();
    let path = bench.path();
    let stream = bench.stream();
    bench
        .delegate(stream, range(0, 100), path)
        .expect("delegated");
    bench.max_offset(stream, MIB);
    assert_eq!(bench.write(stream, 10), 10);
    assert_eq!(
        bench.segments(),
        [(SegmentOwner::Primary(stream), range(100, 110), false)]
    );
}

#[test]
fn a_write_ends_at_the_border_of_a_grant_and_then_is_misuse() {
    let mut bench = Bench::new();
    let path = bench.path();
    let stream = bench.aggregated(MIB);
    bench
        .delegate(stream, range(50, 60), path)
        .expect("delegated");
    assert_eq!(bench.write(stream, 70), 50);
    assert_eq!(
        bench.events(),
        [writable(stream)],
        "the rest is to be tried, and refused"
    );
    let taken = Misuse::RangeTaken(range(50, 70));
    assert_eq!(bench.try_write(stream, 20), Err(taken.into()));
    assert_eq!(
        bench.set_offset(stream, 55),
        Err(Misuse::RangeTaken(range(55, 56)).into())
    );
    bench.set_offset(stream, 60).expect("past the grant");
    assert_eq!(bench.write(stream, 5), 5);
    let owner = SegmentOwner::Primary(stream);
    assert_eq!(
        bench.segments(),
        [(owner, range(0, 50), true), (owner, range(60, 65), false)]
    );
}

#[test]
fn the_cursor_does_not_move_under_an_unfinished_write() {
    let mut bench = Bench::new();
    let path = bench.path();
    let stream = bench.aggregated(100);
    assert_eq!(bench.write(stream, 150), 100);
    let unfinished = StreamError::Misuse(Misuse::WriteUnfinished(stream));
    assert_eq!(bench.set_offset(stream, 500), Err(unfinished.clone()));
    assert_eq!(
        bench.delegate(stream, range(100, 200), path),
        Err(unfinished)
    );
    bench
        .delegate(stream, range(0, 50), path)
        .expect("a range below may be granted again");
    bench.write(stream, 0);
    bench
        .set_offset(stream, 500)
        .expect("the rest was given up");
}

#[test]
fn an_unfinished_plain_write_goes_on_at_the_cursor_after_aggregation() {
    let mut bench = Bench::new();
    let path = bench.path();
    let stream = bench.stream();
    bench.quic.room = 5;
    assert_eq!(bench.write(stream, 20), 5);
    bench.quic.room = usize::MAX;
    bench
        .delegate(stream, range(100, 200), path)
        .expect("delegated");
    bench.max_offset(stream, MIB);
    assert_eq!(
        bench.events(),
        [writable(stream)],
        "the plain carrier is not waited for"
    );
    assert_eq!(bench.write(stream, 15), 15);
    assert_eq!(
        bench.segments(),
        [(SegmentOwner::Primary(stream), range(5, 20), false)]
    );
}

/// [END-2]
#[test]
fn finish_over_a_gap_is_misuse() {
    let mut bench = Bench::new();
    let stream = bench.aggregated(MIB);
    bench.write(stream, 10);
    bench.set_offset(stream, 20).expect("set");
    let uncovered = Misuse::RangeUncovered(range(10, 20));
    assert_eq!(bench.finish(stream), Err(uncovered.into()));
    let segment = bench.open_segment(stream, 10).expect("segment");
    assert_eq!(bench.write_segment(segment, 10), Ok(10));
    bench.finish(stream).expect("covered");
    assert_eq!(bench.frames(), [final_size(stream, 20)]);
    assert_eq!(bench.finish(stream), Err(Misuse::Finished(stream).into()));
    assert_eq!(
        bench.try_write(stream, 1),
        Err(Misuse::Finished(stream).into())
    );
}

/// [END-2]
#[test]
fn the_final_size_counts_what_is_present_and_waits_for_draining_grants() {
    let mut bench = Bench::new();
    let path = bench.path();
    let stream = bench.aggregated(MIB);
    let grant = bench
        .delegate(stream, range(0, 100), path)
        .expect("delegated");
    bench
        .session
        .revoke(bench.now, grant, &mut bench.quic)
        .expect("revoked");
    bench.set_offset(stream, 40).expect("set");
    bench.frames();
    bench.finish(stream).expect("what drains may come");
    assert!(bench.frames().is_empty(), "the end is not certain");
    bench.lost(grant, LostReason::Revoked, 100, &[range(60, 100)]);
    assert_eq!(bench.frames(), [final_size(stream, 60)]);
}

#[test]
fn the_final_size_is_not_below_a_live_grant() {
    let mut bench = Bench::new();
    let path = bench.path();
    let stream = bench.aggregated(MIB);
    bench.write(stream, 10);
    bench
        .delegate(stream, range(10, 100), path)
        .expect("delegated");
    bench
        .delegate(stream, range(100, 200), path)
        .expect("delegated");
    bench.frames();
    bench.finish(stream).expect("finish");
    assert_eq!(bench.frames(), [final_size(stream, 200)]);
}

/// [END-1]
#[test]
fn a_lost_range_can_be_brought_after_finish_but_nothing_beyond_the_end() {
    let mut bench = Bench::new();
    let path = bench.path();
    let stream = bench.aggregated(MIB);
    let grant = bench
        .delegate(stream, range(0, 100), path)
        .expect("delegated");
    bench.finish(stream).expect("finish");
    bench.lost(grant, LostReason::Path, 100, &[range(30, 100)]);
    let other = bench.path();
    let bad = StreamError::Misuse(Misuse::BadRange(range(30, 101)));
    assert_eq!(bench.delegate(stream, range(30, 101), other), Err(bad));
    bench.delegate(stream, range(30, 60), other).expect("again");
    let segment = bench.open_segment(stream, 60).expect("or by ourselves");
    let bad = StreamError::Misuse(Misuse::BadRange(range(60, 101)));
    assert_eq!(bench.write_segment(segment, 41), Err(bad));
    assert_eq!(bench.write_segment(segment, 40), Ok(40));
}

/// [END-5]
#[test]
fn stream_done_ends_the_carrier_and_forgets_the_rest() {
    let mut bench = Bench::new();
    let stream = bench.aggregated(MIB);
    bench.write(stream, 10);
    bench.finish(stream).expect("finish");
    assert!(
        !bench.carrier(stream).finished,
        "the end is said on control"
    );
    bench.client(&ControlFrame::StreamDone(StreamDone { stream }));
    assert!(bench.carrier(stream).finished);
    assert!(bench.events().is_empty());
    bench.input(Input::Finished(bidi(stream)));
    assert_eq!(
        bench.events(),
        [PrimaryEvent::Stream(StreamEvent::Finished(stream))]
    );
    // Late frames are ignored [STR-6].
    bench.max_offset(stream, 2 * MIB);
    bench.client(&ControlFrame::StreamDone(StreamDone { stream }));
    assert!(!bench.session.is_closed());
}

/// [END-5]
#[test]
fn stream_done_before_the_final_size_is_a_violation() {
    let mut bench = Bench::new();
    let stream = bench.aggregated(MIB);
    bench.client(&ControlFrame::StreamDone(StreamDone { stream }));
    assert!(bench.session.is_closed());
}

/// [END-7]
#[test]
fn reset_takes_the_grants_and_the_segments_of_the_stream_along() {
    let mut bench = Bench::new();
    let path = bench.path();
    let stream = bench.aggregated(MIB);
    bench.write(stream, 10);
    let segment = bench.open_segment(stream, 500).expect("segment");
    bench.write_segment(segment, 10).expect("written");
    let grant = bench
        .delegate(stream, range(20, 100), path)
        .expect("delegated");
    bench.frames();
    bench
        .session
        .reset(bench.now, stream, 77, &mut bench.quic)
        .expect("reset");
    assert_eq!(
        bench.frames(),
        [ControlFrame::Revoke(Revoke { grant, end: 0 })]
    );
    assert_eq!(bench.carrier(stream).reset, Some(77));
    assert_eq!(
        bench.quic.carriers[&3].reset,
        Some(77),
        "the cursor's segment"
    );
    assert_eq!(
        bench.quic.carriers[&7].reset,
        Some(77),
        "the application's segment"
    );
    let unknown = StreamError::Misuse(Misuse::UnknownSegment(segment));
    assert_eq!(bench.write_segment(segment, 1), Err(unknown));
    // What the client says about it is late, not wrong [STR-6].
    bench.max_offset(stream, 2 * MIB);
    bench.client(&ControlFrame::StreamDone(StreamDone { stream }));
    bench.lost(grant, LostReason::Gone, 100, &[range(20, 100)]);
    assert!(!bench.session.is_closed());
    assert!(matches!(
        bench.events()[..],
        [PrimaryEvent::GrantLost { .. }]
    ));
}

/// [END-8]
#[test]
fn a_stop_of_an_aggregated_stream_revokes_its_grants() {
    let mut bench = Bench::new();
    let path = bench.path();
    let stream = bench.aggregated(MIB);
    let grant = bench
        .delegate(stream, range(20, 100), path)
        .expect("delegated");
    bench.frames();
    bench.stop(bidi(stream), 5);
    assert_eq!(
        bench.frames(),
        [ControlFrame::Revoke(Revoke { grant, end: 0 })]
    );
    assert_eq!(bench.carrier(stream).reset, Some(5));
}

/// [GRANT-17]
#[test]
fn a_segment_may_enter_a_grant() {
    let mut bench = Bench::new();
    let path = bench.path();
    let stream = bench.aggregated(MIB);
    let grant = bench
        .delegate(stream, range(0, 100), path)
        .expect("delegated");
    let segment = bench.open_segment(stream, 50).expect("segment");
    assert_eq!(bench.write_segment(segment, 50), Ok(50));
    assert_eq!(bench.write_segment(segment, 10), Ok(10), "and leave it");
    bench.finish_segment(segment).expect("finished");
    bench
        .finish_segment(segment)
        .expect("again: it is finished");
    let owner = SegmentOwner::Primary(stream);
    assert_eq!(
        bench.segments(),
        [(owner, range(50, 110), true)],
        "one carrier"
    );
    // What we wrote is not lost with the grant [GRANT-13].
    bench.lost(grant, LostReason::NotStarted, 100, &[range(0, 100)]);
    let PrimaryEvent::GrantLost { missing, .. } = &bench.events()[0] else {
        panic!()
    };
    assert_eq!(missing.iter().collect::<Vec<_>>(), [range(0, 50)]);
}

/// [SEG-7]
#[test]
fn open_segments_are_bounded() {
    let mut config = Config::default();
    config.server.segments_open_max = 2;
    let mut bench = Bench::with_config(config);
    let stream = bench.aggregated(MIB);
    let first = bench.open_segment(stream, 0).expect("one");
    bench.open_segment(stream, 100).expect("two");
    let limit = StreamError::Misuse(Misuse::Limit("open segments"));
    assert_eq!(bench.open_segment(stream, 200), Err(limit));
    bench.finish_segment(first).expect("finish");
    bench.open_segment(stream, 200).expect("room again");
    assert!(
        bench.segments().is_empty(),
        "a carrier is opened with the first byte"
    );
}

#[test]
fn a_segment_without_credit_is_told_of_when_there_is_some() {
    let mut bench = Bench::new();
    let stream = bench.aggregated(100);
    let segment = bench.open_segment(stream, 90).expect("segment");
    assert_eq!(bench.write_segment(segment, 20), Ok(10));
    bench.max_offset(stream, 200);
    assert_eq!(bench.events(), [PrimaryEvent::SegmentWritable(segment)]);
}

#[test]
fn uni_credit_wakes_the_lowest_byte_first() {
    let mut bench = Bench::new();
    let stream = bench.aggregated(MIB);
    bench.set_offset(stream, 500).expect("set");
    bench.quic.uni_credit = 0;
    bench.write(stream, 10);
    let segment = bench.open_segment(stream, 90).expect("segment");
    bench.write_segment(segment, 20).expect("blocked");
    bench.input(Input::UniCredit(PathId::PRIMARY));
    assert_eq!(
        bench.events(),
        [PrimaryEvent::SegmentWritable(segment), writable(stream)]
    );
}

/// [SEG-8]
#[test]
fn a_segment_whose_header_is_incomplete_is_reset_not_finished() {
    let mut bench = Bench::new();
    let stream = bench.aggregated(MIB);
    bench.quic.room = 7;
    assert_eq!(bench.write(stream, 10), 0);
    bench.write(stream, 0);
    bench.set_offset(stream, 100).expect("set");
    assert_eq!(bench.quic.carriers[&3].reset, Some(code::ENDED));
    assert!(!bench.quic.carriers[&3].finished);
}

/// [SEG-13]
#[test]
fn a_stopped_segment_is_reset_and_the_stream_goes_on() {
    let mut bench = Bench::new();
    let stream = bench.aggregated(MIB);
    bench.write(stream, 10);
    bench.stop(uni(3), 9);
    assert_eq!(bench.quic.carriers[&3].reset, Some(9));
    assert_eq!(bench.write(stream, 10), 10);
    assert_eq!(bench.segments().last().map(|s| s.1), Some(range(10, 20)));
}

/// [END-10]
#[test]
fn a_hole_in_our_own_bytes_is_told_unless_they_are_on_their_way() {
    let mut bench = Bench::new();
    let stream = bench.aggregated(MIB);
    bench.write(stream, 100);
    bench.finish(stream).expect("finish");
    let ranges = [range(0, 40)].into_iter().collect();
    let hole = ControlFrame::Hole(Hole { stream, ranges });
    bench.client(&hole);
    assert!(bench.events().is_empty(), "on their way");
    bench.input(Input::Finished(uni(3)));
    bench.client(&hole);
    let missing = [range(0, 40)].into_iter().collect();
    assert_eq!(bench.events(), [PrimaryEvent::Hole { stream, missing }]);
}

/// [SEG-6]
#[test]
fn far_segments_give_way_to_near_ones() {
    let mut bench = Bench::new();
    let path = bench.path();
    let stream = bench.aggregated(100 * MIB);
    bench
        .delegate(stream, range(0, 10 * MIB), path)
        .expect("delegated");
    bench.write(stream, 10);
    assert_eq!(bench.quic.carriers[&3].priority, -10);
}

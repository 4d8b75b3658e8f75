//! Plans: the planner's answers are carried out, and every loss is mended or told.

use std::time::Duration;

use bytes::Bytes;

use super::bench::{Bench, Carrier, bidi, range, uni};
use crate::carrier::Input;
use crate::error::{Misuse, StreamError};
use crate::event::PrimaryEvent;
use crate::ids::{ByteRange, PathId, SegmentId, StreamId};
use crate::plan::{PlanSpec, Spread};
use crate::ranges::RangeSet;
use crate::wire::{
    ControlFrame, Grant, GrantOutcome, Hole, LostReason, PathStatusState, SegmentOwner, StreamDone,
};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

impl Bench {
    fn plan(&mut self, stream: StreamId, range: ByteRange) -> Result<(), StreamError> {
        self.plan_as(stream, range, Spread::Pull)
    }

    fn plan_as(
        &mut self,
        stream: StreamId,
        range: ByteRange,
        spread: Spread,
    ) -> Result<(), StreamError> {
        let spec = PlanSpec {
            command: Bytes::from_static(b"file"),
            spread,
        };
        self.session
            .plan(self.now, stream, range, spec, &mut self.quic)
    }

    /// The pieces that the primary itself was given since the last call.
    fn own_ranges(&mut self) -> Vec<(ByteRange, SegmentId)> {
        let mut own = Vec::new();
        for event in self.events() {
            if let PrimaryEvent::OwnRange { range, segment, .. } = event {
                own.push((range, segment));
            }
        }
        own
    }

    /// Writes all of these pieces, and they arrive.
    fn write_own(&mut self, own: &[(ByteRange, SegmentId)]) {
        for (range, segment) in own {
            let written = self.write_segment(*segment, range.len()).expect("written");
            assert_eq!(written as u64, range.len());
        }
        self.all_arrives();
    }

    /// The client has all finished segments.
    fn all_arrives(&mut self) {
        let finished = |(id, carrier): (&u64, &Carrier)| {
            (id & 0b10 != 0 && carrier.finished).then_some(uni(*id))
        };
        let arrived: Vec<_> = self.quic.carriers.iter().filter_map(finished).collect();
        for carrier in arrived {
            self.input(Input::Finished(carrier));
        }
    }

    /// The client reports these grants done.
    fn all_done(&mut self, grants: &[Grant]) {
        for grant in grants {
            self.done(grant.grant, grant.extent.range().end());
        }
    }
}

fn ranges(grants: &[Grant]) -> Vec<ByteRange> {
    grants.iter().map(|grant| grant.extent.range()).collect()
}

#[test]
fn a_plan_waits_for_the_first_credit_and_is_spoken_for_at_once() {
    let mut bench = Bench::new();
    let path = bench.path();
    let stream = bench.stream();
    bench.plan(stream, range(0, 10 * MIB)).expect("planned");
    assert!(matches!(bench.frames()[..], [ControlFrame::Aggregate(_)]));
    assert!(bench.events().is_empty());
    let taken = |range| StreamError::Misuse(Misuse::RangeTaken(range));
    let inside = range(MIB, 2 * MIB);
    assert_eq!(bench.delegate(stream, inside, path), Err(taken(inside)));
    assert_eq!(bench.plan(stream, inside), Err(taken(inside)));
    bench.finish(stream).expect("covered by the plan");
    let frames = bench.frames();
    let [ControlFrame::FinalSize(frame)] = &frames[..] else {
        panic!("{frames:?}")
    };
    assert_eq!(frame.size, 10 * MIB);
    bench.max_offset(stream, 8 * MIB);
    assert_eq!(bench.grants().len(), 8);
    assert_eq!(bench.own_ranges().len(), 2);
}

#[test]
fn everything_is_brought_once_by_all_together() {
    let mut bench = Bench::new();
    let paths = [bench.path(), bench.path()];
    let stream = bench.stream();
    let total = 20 * MIB;
    bench.plan(stream, range(0, total)).expect("planned");
    bench.finish(stream).expect("finish");
    bench.frames();
    let mut brought = RangeSet::new();
    let mut by_path = [0, 0];
    for _ in 0..1000 {
        let read_to = brought.first().map_or(0, ByteRange::end);
        bench.max_offset(stream, read_to + 8 * MIB);
        let grants = bench.grants();
        let own = bench.own_ranges();
        let all = ranges(&grants)
            .into_iter()
            .chain(own.iter().map(|own| own.0));
        for range in all {
            assert!(range.end() <= read_to + 8 * MIB, "beyond the window");
            assert_eq!(brought.insert(range), range.len(), "twice");
        }
        for grant in &grants {
            let which = paths
                .iter()
                .position(|path| *path == grant.path)
                .expect("ours");
            by_path[which] += grant.extent.range().len();
        }
        bench.pass(Duration::from_millis(20));
        bench.write_own(&own);
        bench.all_done(&grants);
    }
    assert!(brought.contains(range(0, total)));
    assert!(
        by_path.iter().all(|bytes| *bytes > total / 10),
        "{by_path:?}"
    );
    let own = bench
        .segments()
        .iter()
        .map(|segment| segment.1.len())
        .sum::<u64>();
    assert_eq!(own + by_path[0] + by_path[1], total);
    assert!(
        bench.events().is_empty(),
        "the grants of a plan are the plan's business"
    );
    bench.client(&ControlFrame::StreamDone(StreamDone { stream }));
    assert!(bench.carrier(stream).finished);
}

#[test]
fn an_own_piece_fills_one_carrier_that_ends_with_it() {
    let mut bench = Bench::new();
    let stream = bench.stream();
    bench.plan(stream, range(0, 64 * KIB)).expect("planned");
    bench.max_offset(stream, 8 * MIB);
    let own = bench.own_ranges();
    let [(piece, segment)] = own[..] else {
        panic!("{own:?}")
    };
    assert_eq!(piece, range(0, 64 * KIB));
    assert_eq!(bench.write_segment(segment, 100), Ok(100));
    let rest = piece.len() - 100;
    let too_much = StreamError::Misuse(Misuse::BadRange(range(100, piece.end() + 1)));
    assert_eq!(bench.write_segment(segment, rest + 1), Err(too_much));
    assert_eq!(
        bench.write_segment(segment, rest).map(|n| n as u64),
        Ok(rest)
    );
    assert_eq!(
        bench.segments(),
        [(SegmentOwner::Primary(stream), piece, true)]
    );
    bench
        .finish_segment(segment)
        .expect("it has ended by itself");
    bench.finish(stream).expect("covered");
}

#[test]
fn what_quic_has_taken_is_still_to_be_done() {
    let mut bench = Bench::new();
    let stream = bench.stream();
    bench.plan(stream, range(0, 100 * MIB)).expect("planned");
    bench.max_offset(stream, 8 * MIB);
    let mut taken = 0;
    while let Some(&(range, segment)) = bench.own_ranges().first() {
        bench.write_segment(segment, range.len()).expect("written");
        taken += range.len();
        assert!(taken <= 2 * MIB, "it runs ahead of its link");
    }
    bench.input(Input::Finished(uni(3)));
    assert_eq!(bench.own_ranges().len(), 1, "it arrived");
}

#[test]
fn what_a_dead_path_lost_goes_to_another() {
    let mut bench = Bench::new();
    let (dying, living) = (bench.path(), bench.path());
    let stream = bench.stream();
    bench.plan(stream, range(0, 100 * MIB)).expect("planned");
    bench.max_offset(stream, 100 * MIB);
    let grants = bench.grants();
    let own = bench.own_ranges();
    let lost: Vec<&Grant> = grants.iter().filter(|grant| grant.path == dying).collect();
    bench.path_status(dying, PathStatusState::Dead);
    let part = lost[0].extent.range();
    let missing = range(part.start() + 1000, part.end());
    bench.lost(lost[0].grant, LostReason::Path, part.end(), &[missing]);
    assert!(bench.grants().is_empty(), "the others have enough to do");
    let kept: Vec<Grant> = grants
        .iter()
        .filter(|g| g.path == living)
        .cloned()
        .collect();
    bench.all_done(&kept[..1]);
    let again = bench.grants();
    assert_eq!(ranges(&again), [missing]);
    assert_eq!(again[0].path, living);
    let part = lost[1].extent.range();
    bench.lost(lost[1].grant, LostReason::Path, part.end(), &[part]);
    bench.write_own(&own);
    assert_eq!(bench.own_ranges()[0].0, part, "or to the primary itself");
}

#[test]
fn a_path_that_refused_gets_nothing_of_the_plan_again() {
    let mut bench = Bench::new();
    let path = bench.path();
    let stream = bench.stream();
    bench.plan(stream, range(0, 2 * MIB)).expect("planned");
    bench.max_offset(stream, 8 * MIB);
    let mut own = bench.own_ranges();
    for grant in bench.grants() {
        let range = grant.extent.range();
        bench.lost(grant.grant, LostReason::Refused(1), range.end(), &[range]);
    }
    while !own.is_empty() {
        bench.write_own(&own);
        own = bench.own_ranges();
    }
    assert!(bench.grants().is_empty());
    bench.finish(stream).expect("all is written");
    assert_eq!(bench.session.paths()[0].path, path);
}

#[test]
fn an_own_piece_that_is_finished_short_goes_to_another() {
    let mut bench = Bench::new();
    let path = bench.path();
    let stream = bench.stream();
    bench.plan(stream, range(0, 128 * KIB)).expect("planned");
    bench.max_offset(stream, 8 * MIB);
    let (own, grants) = (bench.own_ranges(), bench.grants());
    bench.write_segment(own[0].1, 1000).expect("written");
    bench.finish_segment(own[0].1).expect("finished");
    bench.all_done(&grants);
    let again = bench.grants();
    assert_eq!(
        ranges(&again),
        [range(own[0].0.start() + 1000, own[0].0.end())]
    );
    assert_eq!(again[0].path, path);
}

#[test]
fn a_plan_that_nobody_writes_is_told_and_given_up() {
    let mut bench = Bench::new();
    let stream = bench.stream();
    bench.plan(stream, range(0, MIB)).expect("planned");
    bench.max_offset(stream, 8 * MIB);
    let mut told = RangeSet::new();
    for _ in 0..10 {
        for event in bench.events() {
            if let PrimaryEvent::OwnRange { segment, .. } = event {
                bench.finish_segment(segment).expect("finished");
            } else if let PrimaryEvent::Hole { missing, .. } = event {
                told.insert_all(&missing);
            }
        }
    }
    assert_eq!(told, RangeSet::from(range(0, MIB)));
    assert_eq!(
        bench.finish(stream),
        Err(Misuse::RangeUncovered(range(0, MIB)).into()),
        "it is the application's again"
    );
}

#[test]
fn a_path_that_becomes_active_later_joins_in_at_once() {
    let mut bench = Bench::new();
    let path = bench.added_path();
    let stream = bench.stream();
    bench.plan(stream, range(0, 100 * MIB)).expect("planned");
    bench.max_offset(stream, 8 * MIB);
    assert!(bench.grants().is_empty());
    bench.path_status(path, PathStatusState::Active);
    assert_eq!(bench.grants().len(), 8);
    bench
        .session
        .retire_path(bench.now, path, &mut bench.quic)
        .expect("retired");
    bench.max_offset(stream, 9 * MIB);
    assert!(bench.grants().is_empty());
}

#[test]
fn grants_of_a_plan_wait_for_room_on_the_path() {
    let mut config = crate::config::Config::default();
    config.server.grants_per_path_max = 3;
    let mut bench = Bench::with_config(config);
    let path = bench.path();
    let streams = [bench.stream(), bench.stream()];
    for stream in streams {
        bench.plan(stream, range(0, 100 * MIB)).expect("planned");
        bench.max_offset(stream, 8 * MIB);
    }
    let grants = bench.grants();
    assert_eq!(grants.len(), 3);
    // A slot that becomes free goes to the plan that was not served last.
    bench.all_done(&grants[..1]);
    let again = bench.grants();
    assert_eq!(again.len(), 1);
    assert_eq!((again[0].path, again[0].stream), (path, streams[0]));
}

/// [GRANT-14]
#[test]
fn a_limit_of_the_client_is_learned() {
    let mut bench = Bench::new();
    let path = bench.path();
    let stream = bench.stream();
    bench.plan(stream, range(0, 100 * MIB)).expect("planned");
    bench.max_offset(stream, 8 * MIB);
    let grants = bench.grants();
    let refused = grants[1].extent.range();
    bench.lost(
        grants[1].grant,
        LostReason::Limit,
        refused.end(),
        &[refused],
    );
    assert!(bench.grants().is_empty(), "one at a time from now on");
    bench.all_done(&grants[..1]);
    assert_eq!(bench.grants().len(), 1);
    let limit = StreamError::Misuse(Misuse::Limit("grants of a path"));
    let other = bench.aggregated(MIB);
    assert_eq!(bench.delegate(other, range(0, 10), path), Err(limit));
}

#[test]
fn rotation_gives_equal_pieces_to_everybody() {
    let mut bench = Bench::new();
    let (one, two) = (bench.path(), bench.path());
    let stream = bench.stream();
    let spread = Spread::Rotate {
        range_bytes: 64 * KIB,
    };
    bench
        .plan_as(stream, range(0, 100 * MIB), spread)
        .expect("planned");
    bench.max_offset(stream, 8 * MIB);
    let grants = bench.grants();
    let owners: Vec<PathId> = grants.iter().map(|grant| grant.path).collect();
    assert_eq!(owners, [one, two, one, two]);
    assert!(ranges(&grants).iter().all(|range| range.len() == 64 * KIB));
    assert_eq!(bench.own_ranges().len(), 2);
}

/// A part of each range made up for all that was missing, so that a rotation went on waiting for such
/// a path. It is remembered from plan to plan.
#[test]
fn who_brings_a_part_of_each_range_is_not_given_more() {
    for reason in [LostReason::NotStarted, LostReason::Short] {
        let mut bench = Bench::new();
        let (partial, honest) = (bench.path(), bench.path());
        let stream = bench.stream();
        let spread = Spread::Rotate {
            range_bytes: 64 * KIB,
        };
        bench
            .plan_as(stream, range(0, 100 * MIB), spread)
            .expect("planned");
        bench.max_offset(stream, 100 * MIB);
        let (mut lost, mut honest_grants) = (0, 0);
        for _ in 0..40 {
            for grant in bench.grants() {
                let range = grant.extent.range();
                if grant.path == partial {
                    let rest = self::range(range.start() + KIB, range.end());
                    bench.lost(grant.grant, reason, range.end(), &[rest]);
                    lost += 1;
                } else {
                    assert_eq!(grant.path, honest);
                    bench.done(grant.grant, range.end());
                    honest_grants += 1;
                }
            }
            let own = bench.own_ranges();
            bench.write_own(&own);
        }
        assert!(lost <= 6, "three, and what it had then: {lost}");
        assert!(honest_grants > 20, "{honest_grants}");
        let next = bench.stream();
        bench.plan(next, range(0, 100 * MIB)).expect("planned");
        bench.max_offset(next, 100 * MIB);
        assert!(bench.grants().iter().all(|grant| grant.path == honest));
    }
}

#[test]
fn a_failure_now_and_then_costs_a_path_nothing() {
    let mut bench = Bench::new();
    bench.path();
    let stream = bench.stream();
    let spread = Spread::Rotate {
        range_bytes: 64 * KIB,
    };
    bench
        .plan_as(stream, range(0, 100 * MIB), spread)
        .expect("planned");
    bench.max_offset(stream, 100 * MIB);
    let mut given = 0;
    while given < 400 {
        let grants = bench.grants();
        assert!(!grants.is_empty(), "after {given}");
        for grant in grants {
            let range = grant.extent.range();
            given += 1;
            if given % 100 == 0 {
                let reason = LostReason::NotStarted;
                bench.lost(grant.grant, reason, range.end(), &[range]);
            } else {
                bench.done(grant.grant, range.end());
            }
        }
        let own = bench.own_ranges();
        bench.write_own(&own);
    }
}

#[test]
fn sizes_follow_the_measured_goodput() {
    let mut bench = Bench::new();
    let path = bench.path();
    let stream = bench.stream();
    bench.plan(stream, range(0, 1000 * MIB)).expect("planned");
    bench.max_offset(stream, 500 * MIB);
    // 256 KiB in 100 ms, again and again: 2.5 MiB/s.
    for _ in 0..20 {
        bench.pass(Duration::from_millis(100));
        let grants = bench.grants();
        for grant in &grants {
            bench.status(grant.grant, GrantOutcome::Progress { present: 128 * KIB });
        }
        bench.all_done(&grants);
    }
    let size = bench
        .grants()
        .last()
        .map(|grant| grant.extent.range().len());
    assert!(size.is_some_and(|size| size >= 256 * KIB), "{size:?}");
    assert_eq!(bench.session.paths()[0].path, path);
}

#[test]
fn a_hole_in_a_planned_range_goes_to_the_primary() {
    let mut bench = Bench::new();
    bench.path();
    let stream = bench.stream();
    bench.plan(stream, range(0, MIB)).expect("planned");
    bench.max_offset(stream, 8 * MIB);
    let mut grants = bench.grants();
    let mut own = bench.own_ranges();
    while !grants.is_empty() || !own.is_empty() {
        bench.all_done(&grants);
        bench.write_own(&own);
        (grants, own) = (bench.grants(), bench.own_ranges());
    }
    bench.finish(stream).expect("covered");
    let hole = range(300 * KIB, 301 * KIB);
    let ranges = [hole].into_iter().collect();
    bench.client(&ControlFrame::Hole(Hole { stream, ranges }));
    assert_eq!(
        bench
            .own_ranges()
            .iter()
            .map(|own| own.0)
            .collect::<Vec<_>>(),
        [hole]
    );
    assert!(bench.grants().is_empty());
}

#[test]
fn a_plan_ends_with_its_stream() {
    let mut bench = Bench::new();
    bench.path();
    let stream = bench.stream();
    bench.plan(stream, range(0, 100 * MIB)).expect("planned");
    bench.max_offset(stream, 8 * MIB);
    let grants = bench.grants();
    let own = bench.own_ranges();
    bench.stop(bidi(stream), 1);
    bench.events();
    bench.frames();
    for grant in grants {
        let range = grant.extent.range();
        bench.lost(grant.grant, LostReason::Gone, range.end(), &[range]);
    }
    assert!(bench.grants().is_empty());
    assert!(bench.events().is_empty());
    let unknown = StreamError::Misuse(Misuse::UnknownSegment(own[0].1));
    assert_eq!(bench.write_segment(own[0].1, 1), Err(unknown));
}

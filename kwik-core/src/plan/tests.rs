//! Claims about the planner, one by one.

mod arbitrary;

use std::time::{Duration, Instant};

use super::*;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

fn range(start: u64, end: u64) -> ByteRange {
    ByteRange::new(start, end).expect("in order")
}

fn path(id: u64) -> Writer {
    Writer::Path(PathId(id))
}

fn candidate(writer: Writer) -> Candidate {
    Candidate {
        writer,
        pace: Pace::default(),
        is_demoted: false,
        has_room: true,
    }
}

/// So many bytes a second, and 20 ms from an order to its first bytes.
fn pace(bytes_per_second: Option<u64>) -> Pace {
    let steady = |rate| Pace::steady(rate, Duration::from_millis(20));
    bytes_per_second.map_or_else(Pace::default, steady)
}

/// The primary and `paths` secondaries, all of unknown speed.
fn everybody(paths: u64) -> Vec<Candidate> {
    std::iter::once(Writer::Own)
        .chain((1..=paths).map(path))
        .map(candidate)
        .collect()
}

fn deal(planner: &mut Planner, window_end: u64, candidates: &[Candidate]) -> Vec<Assignment> {
    std::iter::from_fn(|| {
        planner.next_assignment(Offer {
            window_end,
            candidates,
        })
    })
    .collect()
}

#[test]
fn every_writer_has_work_in_small_pieces_from_the_start() {
    let mut planner = Planner::new(range(0, 64 * MIB), Spread::Pull);
    let dealt = deal(&mut planner, 8 * MIB, &everybody(2));
    assert_eq!(dealt.len(), 24);
    assert!(dealt.iter().all(|next| next.range.len() == 64 * KIB));
    for (index, next) in dealt.iter().enumerate() {
        let turn = everybody(2)[index % 3].writer;
        assert_eq!(next.writer, turn, "in turn, the primary first");
    }
}

#[test]
fn the_writer_that_brings_it_first_gets_the_lowest_range() {
    let mut list = everybody(3);
    list[2].pace = pace(Some(20 * MIB));
    list[3].pace = pace(Some(10 * MIB));
    let mut planner = Planner::new(range(0, 64 * MIB), Spread::Pull);
    let dealt = deal(&mut planner, 8 * MIB, &list);
    assert_eq!(dealt[0].writer, path(2));
    assert_eq!(dealt[0].range, range(0, 256 * KIB));
    let order: Vec<Writer> = dealt.iter().map(|next| next.writer).collect();
    let first = |writer| order.iter().position(|other| *other == writer);
    assert!(
        first(path(3)) < first(path(1)),
        "who is not measured comes last: {order:?}"
    );
}

#[test]
fn a_slow_writer_holds_little_of_the_window_and_a_fast_one_not_all_of_it() {
    let mut list = everybody(2);
    for (candidate, rate) in list.iter_mut().zip([1000, 10, 100]) {
        candidate.pace = pace(Some(rate * MIB));
    }
    let mut planner = Planner::new(range(0, 64 * MIB), Spread::Pull);
    let mut parts = BTreeMap::new();
    for next in deal(&mut planner, 21 * MIB, &list) {
        *parts.entry(next.writer).or_insert(0) += next.range.len();
    }
    assert!(
        parts.get(&path(1)).is_none_or(|part| *part <= 2 * MIB),
        "{parts:?}"
    );
    assert!(parts[&Writer::Own] <= 8 * MIB, "{parts:?}");
    assert!(parts[&path(2)] > 0, "{parts:?}");
}

#[test]
fn a_writer_that_would_hold_up_the_reader_gets_nothing() {
    let mut list = everybody(1);
    list[0].pace = pace(Some(100 * MIB));
    list[1].pace = pace(Some(50 * KIB));
    let mut planner = Planner::new(range(0, 64 * MIB), Spread::Pull);
    let dealt = deal(&mut planner, 8 * MIB, &list);
    assert!(
        dealt.iter().all(|next| next.writer == Writer::Own),
        "{dealt:?}"
    );
    // With an endless window it would be in time.
    let dealt = deal(&mut planner, 200 * MIB, &list);
    assert!(
        dealt.iter().all(|next| next.writer == Writer::Own),
        "and at the end neither"
    );
    let mut planner = Planner::new(range(0, 1000 * MIB), Spread::Pull);
    let dealt = deal(&mut planner, 1000 * MIB, &list);
    assert!(dealt.iter().any(|next| next.writer == path(1)), "{dealt:?}");
}

#[test]
fn a_slow_writer_takes_what_only_it_can_take() {
    let mut list = everybody(1);
    list[0].pace = pace(Some(100 * MIB));
    list[1].pace = pace(Some(50 * KIB));
    let mut planner = Planner::new(range(0, 64 * KIB), Spread::Pull);
    let dealt = deal(&mut planner, 8 * MIB, &list);
    assert_eq!(dealt.len(), 1);
    let lost = RangeSet::from(dealt[0].range);
    planner.on_lost(Writer::Own, dealt[0].range, &lost, Loss::Barren);
    let again = deal(&mut planner, 8 * MIB, &list);
    assert_eq!(again.first().map(|next| next.writer), Some(path(1)));
}

#[test]
fn a_lost_range_goes_to_another_writer() {
    let list = everybody(2);
    let mut planner = Planner::new(range(0, 64 * MIB), Spread::Pull);
    let dealt = deal(&mut planner, 8 * MIB, &list);
    let lost = dealt
        .iter()
        .find(|next| next.writer == path(1))
        .copied()
        .expect("dealt");
    planner.on_lost(
        path(1),
        lost.range,
        &RangeSet::from(lost.range),
        Loss::Barren,
    );
    let dealt = deal(&mut planner, 8 * MIB, &list);
    assert_eq!(dealt.len(), 1, "the others have enough to do");
    assert_eq!(dealt[0].writer, path(1));
    assert!(!dealt[0].range.overlaps(lost.range));
    planner.on_done(Writer::Own, range(0, 64 * KIB));
    let dealt = deal(&mut planner, 8 * MIB, &list);
    assert_eq!(
        dealt,
        [Assignment {
            writer: Writer::Own,
            range: lost.range
        }]
    );
}

#[test]
fn a_writer_that_refused_gets_nothing_of_the_plan_again() {
    let list = everybody(1);
    let mut planner = Planner::new(range(0, 64 * MIB), Spread::Pull);
    let dealt = deal(&mut planner, 8 * MIB, &list);
    for refused in dealt.iter().filter(|next| next.writer == path(1)) {
        planner.on_lost(
            path(1),
            refused.range,
            &RangeSet::from(refused.range),
            Loss::Refused,
        );
    }
    assert!(deal(&mut planner, 8 * MIB, &list).is_empty());
    planner.on_done(Writer::Own, dealt[0].range);
    assert!(
        deal(&mut planner, 8 * MIB, &list)
            .iter()
            .all(|next| next.writer == Writer::Own)
    );
}

#[test]
fn a_writer_that_brings_nothing_three_times_is_left_out() {
    let list = everybody(1);
    let mut planner = Planner::new(range(0, 64 * MIB), Spread::Pull);
    let mut losses = 0;
    for _ in 0..10 {
        let dealt = deal(&mut planner, 8 * MIB, &list);
        for next in dealt.iter().filter(|next| next.writer == path(1)) {
            planner.on_lost(
                path(1),
                next.range,
                &RangeSet::from(next.range),
                Loss::Barren,
            );
            losses += 1;
        }
    }
    assert_eq!(losses, 8, "what it had at the third, and nothing more");
}

#[test]
fn who_is_demoted_gets_work_if_there_is_nobody_else() {
    let mut list = everybody(2);
    list[1].is_demoted = true;
    for spread in [Spread::Pull, Spread::Rotate { range_bytes: MIB }] {
        let mut planner = Planner::new(range(0, 64 * MIB), spread);
        let dealt = deal(&mut planner, 64 * MIB, &list);
        assert!(dealt.len() > 2);
        assert!(dealt.iter().all(|next| next.writer != list[1].writer));
        let dealt = deal(&mut planner, 64 * MIB, &list[1..2]);
        assert!(!dealt.is_empty(), "it may make up for it");
    }
}

#[test]
fn few_failures_are_pardoned_and_none_is_forgotten() {
    let mut standing = Standing::default();
    for _ in 0..2 {
        standing.on_failed();
        standing.on_brought();
    }
    assert!(!standing.is_demoted(), "twice is bad luck");
    standing.on_failed();
    assert!(
        standing.is_demoted(),
        "a range for each failure is no excuse"
    );
    (0..1000).for_each(|_| standing.on_brought());
    assert!(!standing.is_demoted(), "but many are");
    (0..3).for_each(|_| standing.on_failed());
    assert!(standing.is_demoted(), "whatever it brought, it has stopped");
}

#[test]
fn a_plan_that_nobody_writes_is_stranded() {
    let list = [candidate(Writer::Own)];
    let mut planner = Planner::new(range(0, MIB), Spread::Pull);
    for _ in 0..2 {
        for next in deal(&mut planner, 8 * MIB, &list) {
            planner.on_lost(
                next.writer,
                next.range,
                &RangeSet::from(next.range),
                Loss::Barren,
            );
        }
    }
    assert!(deal(&mut planner, 8 * MIB, &list).is_empty());
    assert_eq!(
        planner.take_stranded(&list),
        Some(RangeSet::from(range(0, MIB)))
    );
    assert!(planner.is_done());
}

#[test]
fn a_conflict_goes_back_to_the_primary() {
    let list = everybody(2);
    let mut planner = Planner::new(range(0, MIB), Spread::Pull);
    let dealt = deal(&mut planner, 8 * MIB, &list);
    for next in &dealt {
        if next.writer == path(1) {
            let missing = RangeSet::from(next.range);
            planner.on_lost(path(1), next.range, &missing, Loss::Conflict);
        } else {
            planner.on_done(next.writer, next.range);
        }
    }
    let again = deal(&mut planner, 8 * MIB, &list);
    assert!(!again.is_empty());
    assert!(
        again.iter().all(|next| next.writer == Writer::Own),
        "{again:?}"
    );
}

/// A secondary that left out every other byte of its piece held up the reader for a round trip for every
/// fourth of them.
#[test]
fn fragments_are_dealt_many_at_a_time() {
    let list = everybody(1);
    let spread = Spread::Rotate {
        range_bytes: 64 * KIB,
    };
    let mut planner = Planner::new(range(0, 64 * KIB), spread);
    let piece = range(0, 64 * KIB);
    assert_eq!(deal(&mut planner, MIB, &list[1..]).len(), 1);
    let missing: RangeSet = (0..1000).map(|n| range(2 * n, 2 * n + 1)).collect();
    planner.on_lost(path(1), piece, &missing, Loss::Excused);
    assert_eq!(deal(&mut planner, MIB, &list[..1]).len(), 64);
}

#[test]
fn rotation_waits_for_a_slow_writer_and_passes_over_a_dead_one() {
    let mut list = everybody(2);
    let mut planner = Planner::new(
        range(0, 64 * MIB),
        Spread::Rotate {
            range_bytes: 64 * KIB,
        },
    );
    let dealt = deal(&mut planner, 8 * MIB, &list);
    assert_eq!(dealt.len(), 12, "four each");
    let starts = dealt.iter().map(|next| next.range.start() / (64 * KIB));
    assert!(starts.eq(0..12), "{dealt:?}");
    for (index, next) in dealt.iter().enumerate() {
        assert_eq!(next.writer, list[index % 3].writer);
    }
    planner.on_done(dealt[1].writer, dealt[1].range);
    assert!(
        deal(&mut planner, 8 * MIB, &list).is_empty(),
        "it is the primary's turn"
    );
    list.remove(1);
    planner.on_done(Writer::Own, dealt[0].range);
    planner.on_done(dealt[2].writer, dealt[2].range);
    let dealt = deal(&mut planner, 8 * MIB, &list);
    let order: Vec<Writer> = dealt.iter().map(|next| next.writer).collect();
    assert_eq!(order, [Writer::Own, path(2)]);
}

#[test]
fn rotation_does_not_wait_for_a_writer_that_lost_all_that_the_window_shows() {
    let piece = 64 * KIB;
    let list = everybody(1);
    let mut planner = Planner::new(range(0, 64 * MIB), Spread::Rotate { range_bytes: piece });
    let dealt = deal(&mut planner, 2 * piece, &list);
    assert_eq!(dealt.len(), 2);
    planner.on_lost(
        path(1),
        dealt[1].range,
        &RangeSet::from(dealt[1].range),
        Loss::Barren,
    );
    planner.on_done(Writer::Own, dealt[0].range);
    // It is the primary's turn, then the path's, which must not have the range again.
    let dealt = deal(&mut planner, 2 * piece, &list);
    assert_eq!(
        dealt,
        [Assignment {
            writer: Writer::Own,
            range: range(piece, 2 * piece)
        }]
    );
    planner.on_lost(
        Writer::Own,
        dealt[0].range,
        &RangeSet::from(dealt[0].range),
        Loss::Excused,
    );
    assert_eq!(
        deal(&mut planner, 2 * piece, &list).len(),
        1,
        "both lost it: it is tried again"
    );
}

#[test]
fn a_path_that_comes_later_joins_in_at_once() {
    for spread in [
        Spread::Pull,
        Spread::Rotate {
            range_bytes: 64 * KIB,
        },
    ] {
        let mut planner = Planner::new(range(0, 64 * MIB), spread);
        deal(&mut planner, 8 * MIB, &everybody(0));
        let dealt = deal(&mut planner, 8 * MIB, &everybody(1));
        assert_eq!(
            dealt.first().map(|next| next.writer),
            Some(path(1)),
            "{spread:?}"
        );
    }
}

#[test]
fn credit_that_opens_by_a_little_is_not_dealt_in_crumbs() {
    let list = everybody(1);
    let mut planner = Planner::new(range(0, 64 * MIB), Spread::Pull);
    let dealt = deal(&mut planner, 100 * KIB, &list);
    let end = dealt.iter().map(|next| next.range.end()).max();
    assert!(dealt.len() <= 6, "{dealt:?}");
    assert!(end <= Some(100 * KIB));
    planner.on_done(dealt[0].writer, dealt[0].range);
    assert!(deal(&mut planner, 100 * KIB + 10, &list).len() <= 1);
}

#[test]
fn a_pace_is_measured_while_the_writer_rates() {
    let start = epoch();
    let at = |ms| start + Duration::from_millis(ms);
    let mut pace = Pace::default();
    assert_eq!(pace.work_bytes(), 512 * KIB, "not known yet");
    pace.on_bytes(at(0), MIB / 2);
    assert_eq!(pace.work_bytes(), MIB, "twice what it brought");
    pace.on_bytes(at(50), MIB / 2);
    assert_eq!(pace.bytes_per_second(), None);
    pace.on_bytes(at(100), MIB / 2);
    assert_eq!(pace.bytes_per_second(), Some(10 * MIB));
    assert_eq!(pace.work_bytes(), MIB * 3 / 2, "for 150 ms");
    pace.on_idle();
    pace.on_bytes(at(5_000), 1);
    pace.on_bytes(at(5_100), MIB);
    assert_eq!(
        pace.bytes_per_second(),
        Some(10 * MIB),
        "idle time does not count"
    );
    pace.on_first_bytes(Duration::from_millis(200));
    pace.on_first_bytes(Duration::from_millis(300));
    assert_eq!(pace.work_bytes(), 4 * MIB, "for two turnarounds");
    let second = Duration::from_secs(1);
    assert_eq!(pace.time_to_bring(0, 8 * MIB), Some(second));
    assert_eq!(pace.time_to_bring(5 * MIB, 5 * MIB), Some(second));
}

/// Some moment: nothing but differences counts.
#[expect(
    clippy::disallowed_methods,
    reason = "an instant can be made in no other way"
)]
fn epoch() -> Instant {
    Instant::now()
}

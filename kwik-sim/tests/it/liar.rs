//! A secondary that keeps every rule and writes other bytes than the content has. Nobody can stop it
//! from that inside its grants; nowhere else does a byte of it arrive, and what happens where the
//! primary writes too is a matter of policy.

use kwik_core::config::Overlap;
use kwik_core::endpoint::Primary;
use kwik_core::error::{CloseReason, code};
use kwik_core::event::PathEvent;
use kwik_core::ids::{ByteRange, PathId, StreamId};
use kwik_core::path::PathPhase;
use kwik_core::plan::Spread;
use kwik_core::ranges::RangeSet;
use kwik_sim::app::{Conduct, Delivery, StreamRead};
use kwik_sim::content::Content;
use kwik_sim::{Setting, Stage};

use crate::SECOND;

const LIAR: PathId = PathId(1);

const POLICIES: [Overlap; 3] = [Overlap::FirstWins, Overlap::PrimaryWins, Overlap::Reject];

/// A world with a liar and an honest secondary.
fn setting(seed: u64, bytes: u64, overlap: Overlap) -> Setting {
    let mut setting = Setting::new(seed, 2, bytes);
    setting.secondaries[0] = Conduct::Lies;
    setting.config.client.overlap = overlap;
    setting
}

fn answer(stage: &Stage) -> (StreamId, StreamRead) {
    let mut streams = stage.reader().streams();
    let (stream, read) = streams.next().expect("an answer");
    assert_eq!(streams.count(), 0, "one answer");
    (stream, read.clone())
}

/// Every forged byte lies in `allowed`.
#[track_caller]
fn lies_within(read: &StreamRead, allowed: &RangeSet) {
    let outside = read.forged.iter().find(|&range| !allowed.contains(range));
    assert_eq!(outside, None, "{allowed:?}");
}

#[test]
fn a_lie_reaches_the_reader_inside_the_grants_of_the_liar_only() {
    let range_bytes = 16 << 10;
    let deliveries = [
        Delivery::Delegate { range_bytes },
        Delivery::Plan(Spread::Pull),
        Delivery::Plan(Spread::Rotate { range_bytes }),
    ];
    for seed in 0..3 {
        for (delivery, overlap) in deliveries
            .into_iter()
            .flat_map(|d| POLICIES.map(|p| (d, p)))
        {
            let mut stage = setting(seed, 700_000, overlap).delivery(delivery).build();
            stage.run_to_end(10 * SECOND);
            let report = stage.report("liar");
            assert!(report.is_success(), "{overlap:?} {report}");
            let (stream, read) = answer(&stage);
            assert!(read.forged_bytes() > 0, "no lie: {report}");
            lies_within(&read, &stage.secondary_app(0).granted(stream));
            // Nothing was written twice, so that there is nothing to compare.
            assert_eq!(stage.reader().conflicts(), 0);
            assert_eq!(phase(&mut stage), PathPhase::Active);
        }
    }
}

fn phase(stage: &mut Stage) -> PathPhase {
    let paths = stage.paths();
    let liar = paths.iter().find(|info| info.path == LIAR);
    liar.expect("it is listed").phase
}

const KIB: u64 = 1 << 10;

/// What nobody writes at first, so that the reader waits and all the rest is buffered.
const GAP: (u64, u64) = (0, 4 * KIB);
/// What the liar is granted; the primary writes the first half of it too.
const GRANTED: (u64, u64) = (4 * KIB, 68 * KIB);
const CONTESTED: (u64, u64) = (4 * KIB, 36 * KIB);
const REST: (u64, u64) = (68 * KIB, 100 * KIB);

/// Who is first where both write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    Primary,
    Liar,
}

fn range((start, end): (u64, u64)) -> ByteRange {
    ByteRange::new(start, end).expect("ordered")
}

fn write_at(primary: &mut Primary<'_>, stream: StreamId, part: (u64, u64)) {
    let segment = primary.open_segment_at(stream, part.0).expect("allowed");
    let len = usize::try_from(range(part).len()).expect("small");
    let mut bytes = Content::new(1).make(stream.0, part.0, len);
    primary.write_segment(segment, &mut bytes).expect("allowed");
    assert!(bytes.is_empty(), "within the first credit");
    primary.finish_segment(segment).expect("open");
}

/// A transfer in which the liar and the primary write the same range, with a reader that waits until
/// both have.
fn contest(overlap: Overlap, first: First) -> Stage {
    let setting = setting(1, REST.1, overlap).delivery(Delivery::ByHand);
    let mut stage = setting.build();
    stage.world.run_for(SECOND);
    let (stream, _) = stage.primary_app().unanswered()[0];
    let act = |stage: &mut Stage, act: &dyn Fn(&mut Primary<'_>)| {
        stage.on_primary(|primary| act(primary)).expect("a session");
        stage.world.run_for(SECOND);
    };
    act(&mut stage, &|primary| {
        primary.set_offset(stream, REST.1).expect("allowed");
    });
    let grant = |primary: &mut Primary<'_>| {
        let granted = primary.delegate(stream, range(GRANTED), LIAR, b"content"[..].into());
        granted.expect("allowed");
    };
    let write = |primary: &mut Primary<'_>| {
        write_at(primary, stream, CONTESTED);
        write_at(primary, stream, REST);
    };
    match first {
        First::Primary => {
            act(&mut stage, &write);
            act(&mut stage, &grant);
        }
        First::Liar => {
            act(&mut stage, &grant);
            act(&mut stage, &write);
        }
    }
    let is_lost = stage
        .primary_app()
        .path_events()
        .iter()
        .any(|(_, event)| *event == PathEvent::Dead(LIAR));
    if is_lost {
        act(&mut stage, &|primary| {
            write_at(primary, stream, (CONTESTED.1, GRANTED.1));
        });
    }
    act(&mut stage, &|primary| {
        write_at(primary, stream, GAP);
        primary.finish(stream).expect("all is written");
    });
    stage.run_to_end(20 * SECOND);
    let report = stage.report("contest");
    assert!(report.is_success(), "{overlap:?} {first:?} {report}");
    assert!(stage.reader().conflicts() > 0, "{overlap:?} {first:?}");
    stage
}

fn lied_to(stage: &Stage) -> RangeSet {
    let (_, read) = answer(stage);
    read.forged
}

/// [OVL-2] [OVL-3]
#[test]
fn the_primarys_bytes_stay_where_they_were_first() {
    for overlap in [Overlap::FirstWins, Overlap::PrimaryWins] {
        let mut stage = contest(overlap, First::Primary);
        let forged = lied_to(&stage);
        assert!(!forged.overlaps(range(CONTESTED)), "{overlap:?}");
        assert!(
            forged.overlaps(range((CONTESTED.1, GRANTED.1))),
            "{overlap:?}"
        );
        assert_eq!(phase(&mut stage), PathPhase::Active, "no violation");
    }
}

/// [OVL-4]
#[test]
fn who_contradicts_the_primary_loses_the_path_if_that_is_rejected() {
    let mut stage = contest(Overlap::Reject, First::Primary);
    assert_eq!(lied_to(&stage), RangeSet::new());
    assert_eq!(phase(&mut stage), PathPhase::Dead);
    let closed = stage.secondary_app(0).closed();
    assert_eq!(closed, [CloseReason::Peer(code::CONFLICT)]);
}

/// [OVL-2]
#[test]
fn a_lie_that_came_first_is_replaced_as_the_policy_says() {
    for (overlap, stays) in [
        (Overlap::FirstWins, true),
        (Overlap::PrimaryWins, false),
        (Overlap::Reject, false),
    ] {
        let stage = contest(overlap, First::Liar);
        let forged = lied_to(&stage);
        assert_eq!(forged.overlaps(range(CONTESTED)), stays, "{overlap:?}");
        // Under the last policy the liar is found out, and the primary writes all of it.
        let rest = forged.overlaps(range((CONTESTED.1, GRANTED.1)));
        assert_eq!(rest, overlap != Overlap::Reject, "{overlap:?}");
        lies_within(&answer(&stage).1, &RangeSet::from(range(GRANTED)));
    }
}

/// [OVL-4] says so whoever came first.
#[test]
fn who_lied_before_the_primary_wrote_loses_the_path_too() {
    let mut stage = contest(Overlap::Reject, First::Liar);
    assert_eq!(phase(&mut stage), PathPhase::Dead);
    let closed = stage.secondary_app(0).closed();
    assert_eq!(closed, [CloseReason::Peer(code::CONFLICT)]);
}

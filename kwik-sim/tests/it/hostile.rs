//! A hostile secondary in a world with an honest one: whatever it does, the client gets every byte
//! from the others, in bounded time and bounded memory, and only the guilty path pays.

use std::time::Duration;

use kwik_core::error::code;
use kwik_core::event::PathEvent;
use kwik_core::ids::PathId;
use kwik_core::path::PathPhase;
use kwik_core::plan::Spread;
use kwik_sim::app::{Conduct, Consequence, Delivery, Hostility, Pace};
use kwik_sim::rng::{Chance, Purpose};
use kwik_sim::{Scenario, Setting, Stage};

use crate::SECOND;

/// The paths of the hostile secondary and of the honest one.
const HOSTILE: PathId = PathId(1);
const HONEST: PathId = PathId(2);

/// Two for each way to share the work.
const SEEDS: u64 = 6;

const WINDOW_BYTES: u64 = 256 << 10;

const RANGE_BYTES: u64 = 16 << 10;

/// A world with a hostile secondary and an honest one.
fn setting(hostility: Hostility, seed: u64) -> Setting {
    let chance = Chance::new(seed, Purpose::Schedule, 1);
    let bytes = chance.between(0, 512 << 10, 1 << 20);
    let range_bytes = RANGE_BYTES;
    let mut setting = Setting::new(seed, 2, bytes).delivery(match seed % 3 {
        0 => Delivery::Delegate { range_bytes },
        1 => Delivery::Plan(Spread::Pull),
        _ => Delivery::Plan(Spread::Rotate { range_bytes }),
    });
    setting.config.client.stream_window_bytes = WINDOW_BYTES;
    setting.secondaries[0] = Conduct::Hostile(hostility);
    setting
}

/// What the bystanders are promised, whatever happens.
#[track_caller]
fn survives(hostility: Hostility, setting: &Setting, limit: Duration) -> Stage {
    let mut stage = setting.build();
    stage.run_to_end(limit);
    let report = stage.report("hostile");
    let named = format!("{hostility:?}: {report}");
    assert!(report.is_success(), "{named}");
    assert!(!stage.hostile_log(0).deeds.is_empty(), "no chance: {named}");
    // What comes late must do no harm either; a dial may take half a minute.
    stage.world.run_for(32 * SECOND);
    let report = stage.report("hostile");
    assert!(report.is_success(), "{named}");
    assert_eq!(stage.reader().streams().count(), 1, "{named}");
    let dead = |event: &&(Duration, PathEvent)| event.1 == PathEvent::Dead(HONEST);
    assert_eq!(stage.reader().path_events().iter().find(dead), None);
    assert_eq!(phase(&mut stage, HONEST), PathPhase::Active, "{named}");
    let stats = stage.stats().expect("a session");
    let window = setting.config.client.stream_window_bytes;
    assert!(stats.buffered_bytes_max <= window, "{named}: {stats:?}");
    assert_eq!(stats.buffered_bytes, 0, "{named}");
    stage
}

fn phase(stage: &mut Stage, path: PathId) -> PathPhase {
    let paths = stage.paths();
    let info = paths.iter().find(|info| info.path == path);
    info.map(|info| info.phase).expect("it is listed")
}

/// The hostile path has ended as it must, or lives as it may.
#[track_caller]
fn pays(hostility: Hostility, stage: &mut Stage) {
    let dead = |event: &&(Duration, PathEvent)| event.1 == PathEvent::Dead(HOSTILE);
    let deaths = stage.reader().path_events().iter().filter(dead).count();
    let phase = phase(stage, HOSTILE);
    let log = stage.hostile_log(0);
    let expected = match hostility.consequence() {
        Consequence::PathDies(code) => (PathPhase::Dead, 1, vec![code]),
        Consequence::PathMayDie(code) if phase == PathPhase::Dead => (phase, 1, vec![code]),
        Consequence::PathLeaves => (PathPhase::Dead, 1, vec![]),
        Consequence::PathMayDie(_) | Consequence::Harmless => (PathPhase::Active, 0, vec![]),
    };
    let mut closed_with = log.closed_with.clone();
    if hostility == Hostility::IgnoresJoin {
        // A dial that leads to no join is made again and again [PATH-5].
        closed_with.dedup();
    }
    let seen = (phase, deaths, closed_with);
    assert_eq!(seen, expected, "{hostility:?} {log:?}");
}

/// Lives through worlds with this hostility.
#[track_caller]
fn over_seeds(hostility: Hostility) {
    let (limit, death) = clocks(hostility);
    for seed in 0..SEEDS {
        let mut stage = survives(hostility, &setting(hostility, seed), limit);
        pays(hostility, &mut stage);
        let dead = |event: &&(Duration, PathEvent)| event.1 == PathEvent::Dead(HOSTILE);
        let ended = stage.reader().path_events().iter().find(dead);
        let took = ended.map(|(at, _)| at.saturating_sub(stage.hostile_log(0).deeds[0]));
        assert!(took <= Some(death), "{hostility:?} seed {seed}: {took:?}");
    }
}

/// How long a transfer may take, which is 0.2 s for honest ones, and how long a guilty path may live
/// after the deed.
fn clocks(hostility: Hostility) -> (Duration, Duration) {
    if hostility == Hostility::GoesSilentAfterJoin {
        (4 * SECOND, 3 * SECOND)
    } else if hostility == Hostility::IgnoresJoin {
        // Three dial deadlines, because something is heard of it [PATH-5].
        (32 * SECOND, 31 * SECOND)
    } else if BRINGS_NOTHING.contains(&hostility) {
        // A start clock is five seconds. An application that goes on granting to such a secondary
        // pays for it again and again.
        (60 * SECOND, SECOND)
    } else if [Hostility::Perforates, Hostility::Sieves].contains(&hostility) {
        // Every gap is granted again by itself.
        (30 * SECOND, SECOND)
    } else {
        (2 * SECOND, SECOND / 5)
    }
}

/// What is granted to these is lost only when a clock runs out.
const BRINGS_NOTHING: [Hostility; 7] = [
    Hostility::DripFeeds,
    Hostility::NeverReads,
    Hostility::DeafFlood,
    Hostility::DoneLies,
    Hostility::HoldsHeader,
    Hostility::ResetsSegments,
    Hostility::Stalls,
];

/// Stories that need a world of their own are told below.
const SPECIAL: [Hostility; 4] = [
    Hostility::BeyondCredit,
    Hostility::DoneEndless,
    Hostility::DripFeeds,
    Hostility::LongSegment,
];

fn told_here(guilty: bool) -> impl Iterator<Item = Hostility> {
    let wanted = move |hostility: &Hostility| {
        let dies = matches!(hostility.consequence(), Consequence::PathDies(_));
        dies == guilty && !SPECIAL.contains(hostility)
    };
    Hostility::ALL.into_iter().filter(wanted)
}

#[test]
fn who_breaks_a_rule_loses_the_path_and_nobody_else_anything() {
    told_here(true).for_each(over_seeds);
}

#[test]
fn what_no_rule_forbids_costs_time_at_the_most() {
    told_here(false).for_each(over_seeds);
}

/// [GRANT-12]: a byte a second of the grant at which the reader waits keeps no clock from running out.
#[test]
fn who_drips_is_not_waited_for() {
    over_seeds(Hostility::DripFeeds);
}

/// A rotation waits for whoever has enough to do; so it must not go on giving to a secondary that
/// brings a part of each range and lets a clock run out for the rest, or says that this was all.
#[test]
fn who_brings_a_part_of_each_range_is_left_out_of_a_rotation() {
    for hostility in [Hostility::Stalls, Hostility::Sieves] {
        let spread = Spread::Rotate {
            range_bytes: 64 << 10,
        };
        let mut setting = Setting::new(1, 2, 4 << 20).delivery(Delivery::Plan(spread));
        setting.secondaries[0] = Conduct::Hostile(hostility);
        let mut stage = survives(hostility, &setting, 25 * SECOND);
        pays(hostility, &mut stage);
    }
}

/// [CTL-9]
#[test]
fn a_list_without_end_costs_the_path() {
    for seed in 0..SEEDS {
        let mut setting = setting(Hostility::DoneEndless, seed);
        setting.delivery = Delivery::Delegate {
            range_bytes: 48 << 10,
        };
        let mut stage = survives(Hostility::DoneEndless, &setting, 2 * SECOND);
        pays(Hostility::DoneEndless, &mut stage);
    }
}

/// [FLOW-8]: the reader is slow, so that the grants reach past the credit.
#[test]
fn bytes_beyond_the_credit_cost_the_path() {
    for seed in 0..SEEDS {
        let mut setting = setting(Hostility::BeyondCredit, seed).pace(Pace::Slow {
            bytes: 8 << 10,
            every: Duration::from_millis(20),
        });
        setting.config.client.stream_window_bytes = 100 << 10;
        setting.delivery = Delivery::Delegate {
            range_bytes: 80 << 10,
        };
        let mut stage = survives(Hostility::BeyondCredit, &setting, 10 * SECOND);
        pays(Hostility::BeyondCredit, &mut stage);
        let log = stage.hostile_log(0);
        assert_eq!(log.closed_with, [code::FLOW_CONTROL], "seed {seed}");
    }
}

/// [SEG-10]
#[test]
fn a_segment_that_is_too_long_costs_the_path() {
    for seed in 0..SEEDS {
        let mut setting = setting(Hostility::LongSegment, seed);
        setting.config.client.stream_window_bytes = 8 << 20;
        setting.asks[0].request.bytes = 8 << 20;
        setting.delivery = Delivery::Delegate {
            range_bytes: 3 << 19,
        };
        let mut stage = survives(Hostility::LongSegment, &setting, 4 * SECOND);
        pays(Hostility::LongSegment, &mut stage);
    }
}

#[test]
fn a_hostility_survives_its_text_form_and_is_listed_once() {
    let mut all = Hostility::ALL.to_vec();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), Hostility::ALL.len());
    let mut scenario = Scenario::new(1, all.len(), 1000);
    for (server, hostility) in scenario.secondaries.iter_mut().zip(all) {
        server.conduct = Conduct::Hostile(hostility);
    }
    assert_eq!(Scenario::from_text(&scenario.to_text()), Ok(scenario));
}

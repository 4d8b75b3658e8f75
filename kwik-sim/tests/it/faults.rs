//! Bad days: hosts that die, pause or are cut off, readers that rest.

use std::time::Duration;

use kwik_core::config::ClientConfig;
use kwik_core::error::{CloseReason, StreamError};
use kwik_core::event::PathEvent;
use kwik_core::ids::PathId;
use kwik_core::ranges::RangeSet;
use kwik_sim::app::{Ask, Conduct, Delivery, Pace};
use kwik_sim::link::LinkSpec;
use kwik_sim::{CryptoMode, Setting, Stage};

use crate::SECOND;

const MIB: u64 = 1 << 20;

/// The paths that the client gave up, and when.
fn deaths(stage: &Stage) -> Vec<(Duration, PathId)> {
    let events = stage.reader().path_events().iter();
    events
        .filter_map(|&(at, event)| match event {
            PathEvent::Dead(path) => Some((at, path)),
            PathEvent::Added(_) | PathEvent::Active(_) | PathEvent::Retired(_) => None,
        })
        .collect()
}

/// Runs to the end; all must have arrived.
fn ends_well(stage: &mut Stage, limit: Duration) {
    stage.run_to_end(limit);
    let report = stage.report("fault");
    eprintln!("{report}");
    assert!(report.is_success(), "{report}");
}

fn reaches_percent(stage: &mut Stage, percent: u64) {
    assert!(
        stage.run_until_percent(percent, 20 * SECOND),
        "{percent} % in time"
    );
}

#[test]
fn a_dead_secondary_is_noticed_in_time_and_what_it_owed_is_granted_again_exactly() {
    for seed in 0..4 {
        let delegate = Delivery::Delegate {
            range_bytes: 256 << 10,
        };
        let mut stage = Setting::new(seed, 2, 8 * MIB).delivery(delegate).build();
        reaches_percent(&mut stage, 30);
        let killed_at = stage.world.time();
        stage.world.crash(stage.secondaries[0]);
        ends_well(&mut stage, 20 * SECOND);

        let silence_max = ClientConfig::default().path_silence_max;
        let deaths = deaths(&stage);
        assert_eq!(deaths.len(), 1, "{deaths:?}");
        assert_eq!(deaths[0].1, PathId(1));
        let noticed = deaths[0].0 - killed_at;
        assert!(noticed <= silence_max + SECOND, "noticed after {noticed:?}");

        // Each lost grant is told once, and what is missing is missing: nothing comes twice.
        let losses = stage.primary_app().losses();
        assert!(!losses.is_empty());
        let mut missing = RangeSet::new();
        for loss in losses {
            assert!(
                RangeSet::from(loss.granted).contains_all(&loss.missing),
                "{loss:?}"
            );
            let new: u64 = loss.missing.iter().map(|range| missing.insert(range)).sum();
            assert_eq!(new, loss.missing.bytes(), "told twice: {loss:?}");
        }
        let stats = stage.stats().expect("a session");
        assert_eq!(stats.regranted_bytes, missing.bytes());
        assert_eq!(stats.duplicate_bytes, 0);
        assert_eq!(stage.primary_app().errors(), []);
    }
}

/// Whether a set lies within another.
trait ContainsAll {
    fn contains_all(&self, part: &RangeSet) -> bool;
}

impl ContainsAll for RangeSet {
    fn contains_all(&self, part: &RangeSet) -> bool {
        part.iter().all(|range| self.contains(range))
    }
}

#[test]
fn an_outage_of_all_links_for_two_seconds_kills_no_path() {
    for seed in 0..3 {
        let mut stage = Setting::new(seed, 2, 8 * MIB).build();
        reaches_percent(&mut stage, 30);
        stage.world.set_isolated(stage.client, true);
        stage.world.run_for(2 * SECOND);
        stage.world.set_isolated(stage.client, false);
        ends_well(&mut stage, 30 * SECOND);
        assert_eq!(deaths(&stage), []);
    }
}

/// The servers' own clocks have backed off when the outage ends: they answer probes long before they
/// send again what was lost. Nobody is blamed for that, or shut out of what is left.
#[test]
fn after_an_outage_the_secondaries_go_on_bringing_their_share() {
    let link = LinkSpec {
        latency: SECOND / 20,
        ..LinkSpec::default()
    };
    for seed in 0..3 {
        let mut stage = Setting::new(seed, 2, 16 * MIB).link(link.clone()).build();
        reaches_percent(&mut stage, 5);
        stage.world.set_isolated(stage.client, true);
        stage.world.run_for(SECOND * 42 / 10);
        stage.world.set_isolated(stage.client, false);
        ends_well(&mut stage, 60 * SECOND);
        assert_eq!(deaths(&stage), []);
        let stats = stage.stats().expect("a session");
        assert_eq!(stats.regranted_bytes, 0, "no grant was lost");
        let report = stage.report("outage");
        for path in [PathId(1), PathId(2)] {
            let share = report.percent_of(path);
            assert!(share >= 8, "{path}: {share} %: {report}");
        }
    }
}

#[test]
fn a_pause_of_the_client_kills_no_path() {
    for (seed, pause) in [(0, 2), (1, 5), (2, 12)] {
        let mut stage = Setting::new(seed, 2, 8 * MIB).build();
        reaches_percent(&mut stage, 30);
        stage.world.set_paused(stage.client, true);
        stage.world.run_for(pause * SECOND);
        stage.world.set_paused(stage.client, false);
        ends_well(&mut stage, 60 * SECOND);
        assert_eq!(deaths(&stage), []);
    }
}

#[test]
fn a_short_pause_of_a_secondary_does_not_kill_its_path() {
    let mut stage = Setting::new(1, 2, 8 * MIB).build();
    reaches_percent(&mut stage, 30);
    stage.world.set_paused(stage.secondaries[0], true);
    stage.world.run_for(SECOND / 2);
    stage.world.set_paused(stage.secondaries[0], false);
    ends_well(&mut stage, 20 * SECOND);
    assert_eq!(deaths(&stage), []);
}

#[test]
fn a_secondary_that_was_paused_for_too_long_is_given_up_and_does_no_harm_afterwards() {
    let mut stage = Setting::new(1, 2, 8 * MIB).build();
    reaches_percent(&mut stage, 30);
    stage.world.set_paused(stage.secondaries[0], true);
    ends_well(&mut stage, 20 * SECOND);
    assert_eq!(deaths(&stage).len(), 1);
    stage.world.set_paused(stage.secondaries[0], false);
    stage.world.run_for(5 * SECOND);
    assert_eq!(stage.reader().fault(), None);
}

#[test]
fn a_secondary_whose_link_goes_dark_in_one_direction_is_given_up() {
    for to_client in [true, false] {
        let mut stage = Setting::new(1, 2, 8 * MIB).build();
        reaches_percent(&mut stage, 30);
        let (client, secondary) = (stage.client, stage.secondaries[1]);
        if to_client {
            stage.world.link(secondary, client).set_cut(true);
        } else {
            stage.world.link(client, secondary).set_cut(true);
        }
        ends_well(&mut stage, 20 * SECOND);
        let dead: Vec<_> = deaths(&stage).into_iter().map(|(_, path)| path).collect();
        assert_eq!(dead, [PathId(2)]);
    }
}

#[test]
fn a_secondary_that_restarts_without_its_state_is_given_up() {
    let mut stage = Setting::new(1, 2, 8 * MIB).build();
    reaches_percent(&mut stage, 30);
    stage.world.restart(stage.secondaries[0]);
    ends_well(&mut stage, 20 * SECOND);
    assert_eq!(deaths(&stage).len(), 1);
}

#[test]
fn when_all_secondaries_die_the_primary_brings_the_rest() {
    let mut stage = Setting::new(1, 3, 8 * MIB).build();
    reaches_percent(&mut stage, 30);
    for secondary in stage.secondaries.clone() {
        stage.world.crash(secondary);
    }
    ends_well(&mut stage, 20 * SECOND);
    assert_eq!(deaths(&stage).len(), 3);
}

#[test]
fn a_secondary_that_is_down_from_the_start_costs_nothing_but_its_help() {
    let mut stage = Setting::new(1, 2, 4 * MIB).build();
    stage.world.crash(stage.secondaries[0]);
    ends_well(&mut stage, 30 * SECOND);
    assert_eq!(stage.secondary_app(1).errors(), []);
}

#[test]
fn a_secondary_that_refuses_or_stays_mute_holds_nobody_up() {
    for conduct in [Conduct::Refuses(1), Conduct::Mute] {
        let mut setting = Setting::new(1, 2, 4 * MIB);
        setting.secondaries[0] = conduct;
        let mut stage = setting.build();
        ends_well(&mut stage, 60 * SECOND);
        assert!(stage.secondary_app(0).grants() > 0, "{conduct:?}");
        let share = stage.report("").percent_of(PathId(1));
        assert_eq!(share, 0, "{conduct:?}");
    }
}

#[test]
fn what_is_held_for_a_resting_reader_is_bounded() {
    let rest = Pace::Rest {
        after: MIB,
        length: 20 * SECOND,
    };
    let mut setting = Setting::new(1, 2, 12 * MIB).pace(rest);
    setting.config.client.stream_window_bytes = 2 * MIB;
    let mut stage = setting.build();
    assert!(stage.run_until_bytes(MIB, 10 * SECOND));
    stage.world.run_for(10 * SECOND);
    let stats = stage.stats().expect("a session");
    assert!(stats.buffered_bytes > MIB, "{stats:?}");
    assert!(stats.buffered_bytes <= 2 * MIB, "{stats:?}");
    assert!(stage.reader().bytes() == MIB);
    ends_well(&mut stage, 40 * SECOND);
    let stats = stage.stats().expect("a session");
    assert!(stats.buffered_bytes_max <= 2 * MIB, "{stats:?}");
    assert_eq!(deaths(&stage), []);
}

#[test]
fn a_slow_reader_gets_everything_and_no_server_is_blamed() {
    let slow = Pace::Slow {
        bytes: 32 << 10,
        every: SECOND / 50,
    };
    let mut setting = Setting::new(1, 2, 4 * MIB).pace(slow);
    setting.config.client.stream_window_bytes = MIB;
    let mut stage = setting.build();
    ends_well(&mut stage, 60 * SECOND);
    assert_eq!(deaths(&stage), []);
}

#[test]
fn a_resting_reader_does_not_hold_up_another_stream() {
    let mut setting = Setting::new(1, 2, 4 * MIB);
    let eager = setting.asks[0];
    let resting = Ask {
        pace: Pace::Rest {
            after: 1000,
            length: 30 * SECOND,
        },
        ..eager
    };
    setting.asks = vec![resting, eager];
    let mut stage = setting.build();
    let client = stage.client;
    let first_ends = stage.world.run_until(10 * SECOND, |world| {
        let reader: &kwik_sim::app::Reader = world.app(client);
        reader.streams().any(|(_, read)| read.ended_at.is_some())
    });
    assert!(first_ends);
    ends_well(&mut stage, 60 * SECOND);
}

#[test]
fn the_loss_of_the_primary_is_a_typed_error_and_no_hang() {
    let mut stage = Setting::new(1, 2, 32 * MIB).build();
    reaches_percent(&mut stage, 30);
    let killed_at = stage.world.time();
    stage.world.crash(stage.primary);
    let client = stage.client;
    stage.world.run_until(60 * SECOND, |world| {
        world
            .app::<kwik_sim::app::Reader>(client)
            .closed()
            .is_some()
    });
    let (at, reason) = stage.reader().closed().cloned().expect("the session ends");
    assert_eq!(reason, CloseReason::TimedOut);
    assert!(at - killed_at <= 31 * SECOND, "after {:?}", at - killed_at);
    let errors: Vec<_> = stage
        .reader()
        .streams()
        .map(|(_, read)| read.error.clone())
        .collect();
    let lost = StreamError::SessionLost(CloseReason::TimedOut);
    assert_eq!(errors, [Some(lost)]);
}

#[test]
fn a_primary_with_another_key_is_not_spoken_to() {
    for crypto in [CryptoMode::Null, CryptoMode::Rustls] {
        let mut setting = Setting::new(1, 1, MIB);
        setting.crypto = crypto;
        // The identities follow from the seed: this is the right address of another world.
        let target = Setting::new(2, 1, MIB).dial_target();
        setting.primary_pin = Some(target.pin);
        let mut stage = setting.build();
        stage.run_to_end(10 * SECOND);
        let (_, reason) = stage.reader().closed().expect("the session ends");
        assert_eq!(*reason, CloseReason::PinMismatch, "{crypto:?}");
        assert_eq!(stage.reader().connected_at(), None);
    }
}

#[test]
fn a_secondary_with_another_key_is_left_out() {
    let mut setting = Setting::new(1, 2, 4 * MIB);
    setting.secondary_pins.insert(0, [7; 32]);
    let mut stage = setting.build();
    ends_well(&mut stage, 20 * SECOND);
    assert_eq!(deaths(&stage).len(), 1);
    assert_eq!(stage.secondary_app(0).sessions(), []);
    assert_eq!(stage.report("").percent_of(PathId(1)), 0);
}

#[test]
fn reordered_and_doubled_datagrams_do_no_harm() {
    for seed in 0..3 {
        let link = LinkSpec {
            reorder_ppm: 20_000,
            duplicate_ppm: 50_000,
            loss_ppm: 5_000,
            ..LinkSpec::default()
        };
        let mut stage = Setting::new(seed, 2, 4 * MIB).link(link).build();
        ends_well(&mut stage, 20 * SECOND);
        let links = [(0, 1), (1, 0)].map(|(a, b)| {
            let hosts = [stage.client, stage.primary];
            stage.world.link(hosts[a], hosts[b]).stats()
        });
        assert!(links.iter().all(|stats| stats.duplicated > 0), "{links:?}");
    }
}

#[test]
fn wall_clocks_that_differ_by_a_little_do_no_harm() {
    let mut stage = Setting::new(1, 2, 2 * MIB).build();
    stage.world.set_wall_clock_ahead(stage.secondaries[0], 4);
    stage.world.set_wall_clock_ahead(stage.secondaries[1], -4);
    ends_well(&mut stage, 20 * SECOND);
    assert_eq!(deaths(&stage), []);
}

#[test]
fn a_secondary_whose_wall_clock_is_a_day_off_is_left_out() {
    let mut stage = Setting::new(1, 1, 2 * MIB).build();
    stage
        .world
        .set_wall_clock_ahead(stage.secondaries[0], 86_400);
    ends_well(&mut stage, 20 * SECOND);
    assert_eq!(stage.secondary_app(0).sessions(), []);
}

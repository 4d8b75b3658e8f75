//! Real endpoints on bad networks: each transfer completes, or its loss is known at the client.

use std::time::Duration;

use kwik_core::event::PathEvent;
use kwik_sim::link::{Burst, EcnPolicy, LinkSpec, LinkStats};
use kwik_sim::{Report, Setting, Stage};

use crate::SECOND;

const MIB: u64 = 1 << 20;

/// Slow enough that 4 MiB from three servers take more than three seconds.
fn slow() -> LinkSpec {
    LinkSpec {
        bandwidth_bits_per_second: Some(3_000_000),
        queue_max_bytes: 64 << 10,
        ..LinkSpec::default()
    }
}

/// The sum over all links, as far as `count` says.
fn total(stage: &mut Stage, count: fn(LinkStats) -> u64) -> u64 {
    let client = stage.client;
    let mut servers = stage.secondaries.clone();
    servers.push(stage.primary);
    let mut both = |server| {
        let up = stage.world.link(client, server).stats();
        count(up) + count(stage.world.link(server, client).stats())
    };
    servers.into_iter().map(&mut both).sum()
}

/// Paths that were given up.
fn deaths(stage: &Stage) -> usize {
    let events = stage.reader().path_events().iter();
    let is_death = |(_, event): &&(Duration, PathEvent)| matches!(event, PathEvent::Dead(_));
    events.filter(is_death).count()
}

/// Runs to the end; all must have arrived, and for a while after that all must be quiet.
fn ends_well(stage: &mut Stage, limit: Duration) -> Report {
    stage.run_to_end(limit);
    let report = stage.report("network");
    assert!(report.is_success(), "{report}");
    stage.world.run_for(5 * SECOND);
    assert_eq!(stage.world.fault(), None);
    assert_eq!(stage.reader().fault(), None);
    report
}

/// The client is rebound every two seconds during a transfer.
fn rebound(seed: u64, address: bool) {
    let mut stage = Setting::new(seed, 2, 4 * MIB).link(slow()).build();
    let mut rebinds = 0;
    while stage.reader().done_at().is_none() && stage.world.time() < 60 * SECOND {
        stage.world.run_for(2 * SECOND);
        stage.world.rebind(stage.client, address);
        rebinds += 1;
    }
    let report = ends_well(&mut stage, 60 * SECOND);
    assert!(rebinds >= 2, "{rebinds} rebinds: {report}");
    assert!(total(&mut stage, |stats| stats.astray) > 0);
    assert_eq!(deaths(&stage), 0, "seed {seed}: {report}");
}

#[test]
fn a_client_that_is_seen_at_another_port_every_two_seconds_gets_everything() {
    for seed in 0..5 {
        rebound(seed, false);
    }
}

#[test]
fn a_client_that_is_seen_at_another_address_every_two_seconds_gets_everything() {
    for seed in 0..5 {
        rebound(seed, true);
    }
}

#[test]
fn a_black_hole_for_large_datagrams_in_mid_transfer_stops_nobody() {
    for (seed, payload_max_bytes) in [(0, 1200), (1, 1201), (2, 1300), (3, 1400), (4, 1451)] {
        let mut stage = Setting::new(seed, 2, 4 * MIB).link(slow()).build();
        assert!(stage.run_until_percent(40, 20 * SECOND));
        assert_eq!(total(&mut stage, |stats| stats.oversized), 0);
        let mut servers = stage.secondaries.clone();
        servers.push(stage.primary);
        for server in servers {
            for (from, to) in [(stage.client, server), (server, stage.client)] {
                stage.world.link(from, to).spec_mut().payload_max_bytes = payload_max_bytes;
            }
        }
        ends_well(&mut stage, 60 * SECOND);
        let oversized = total(&mut stage, |stats| stats.oversized);
        assert!(oversized > 0, "{payload_max_bytes}: nothing was too large");
    }
}

#[test]
fn a_storm_of_congestion_marks_stops_nobody() {
    for (seed, ppm) in [(0, 10_000), (1, 300_000), (2, 1_000_000)] {
        let link = LinkSpec {
            ecn: EcnPolicy::Mark { ppm },
            ..LinkSpec::default()
        };
        let mut stage = Setting::new(seed, 2, MIB).link(link).build();
        ends_well(&mut stage, 60 * SECOND);
        assert!(total(&mut stage, |stats| stats.ecn_marked) > 5);
        assert_eq!(deaths(&stage), 0);
    }
}

#[test]
fn bleached_marks_are_no_hindrance() {
    let link = LinkSpec {
        ecn: EcnPolicy::Bleach,
        ..LinkSpec::default()
    };
    let mut stage = Setting::new(1, 2, MIB).link(link).build();
    let report = ends_well(&mut stage, 5 * SECOND);
    let bleached = total(&mut stage, |stats| stats.ecn_bleached);
    assert!(bleached > 0, "{report}");
}

#[test]
fn a_transfer_survives_that_one_datagram_in_twenty_is_corrupted() {
    for seed in 0..5 {
        let link = LinkSpec {
            corrupt_ppm: 50_000,
            ..LinkSpec::default()
        };
        let mut stage = Setting::new(seed, 2, MIB).link(link).build();
        ends_well(&mut stage, 60 * SECOND);
        assert!(total(&mut stage, |stats| stats.corrupted) > 30);
    }
}

#[test]
fn a_transfer_survives_jitter_and_losses_in_runs() {
    for seed in 0..5 {
        let link = LinkSpec {
            jitter: Duration::from_millis(20),
            burst: Some(Burst {
                start_ppm: 2_000,
                length_mean: 10,
            }),
            duplicate_ppm: 50_000,
            ..LinkSpec::default()
        };
        let mut stage = Setting::new(seed, 2, MIB).link(link).build();
        ends_well(&mut stage, 60 * SECOND);
        assert!(total(&mut stage, |stats| stats.burst_lost) > 5);
        assert!(total(&mut stage, |stats| stats.jittered) > 500);
    }
}

#[test]
fn a_transfer_survives_the_loss_of_some_of_the_first_datagrams() {
    for (seed, drop_first) in [0b1, 0b10, 0b11, 0b1010, 0b1100, 0b1111]
        .into_iter()
        .enumerate()
    {
        let link = LinkSpec {
            drop_first,
            ..LinkSpec::default()
        };
        let mut stage = Setting::new(seed as u64, 2, MIB).link(link).build();
        ends_well(&mut stage, 60 * SECOND);
        assert!(total(&mut stage, |stats| stats.dropped_first) >= 6);
    }
}

#[test]
fn wall_clocks_that_jump_in_mid_transfer_stop_nobody() {
    const DAY: i64 = 86_400;
    for seconds in [DAY, -DAY] {
        let mut stage = Setting::new(1, 2, 4 * MIB).link(slow()).build();
        assert!(stage.run_until_percent(40, 20 * SECOND));
        stage.world.jump_wall_clock(stage.client, seconds);
        stage.world.jump_wall_clock(stage.primary, -seconds);
        stage.world.jump_wall_clock(stage.secondaries[0], seconds);
        ends_well(&mut stage, 60 * SECOND);
        assert_eq!(deaths(&stage), 0);
    }
}

#[test]
fn a_client_that_sleeps_for_an_hour_comes_to_an_end() {
    let mut stage = Setting::new(1, 2, 4 * MIB).link(slow()).build();
    assert!(stage.run_until_percent(40, 20 * SECOND));
    stage.world.set_paused(stage.client, true);
    stage.world.run_for(3600 * SECOND);
    stage.world.set_paused(stage.client, false);
    stage.run_to_end(stage.world.time() + 60 * SECOND);
    stage.world.run_for(60 * SECOND);
    assert_eq!(stage.world.fault(), None);
    // Whoever lived on meanwhile has forgotten the session: it is over, and the client knows.
    let reader = stage.reader();
    assert!(reader.done_at().is_some() || reader.fault().is_some());
}

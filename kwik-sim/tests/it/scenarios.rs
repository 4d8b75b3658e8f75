//! The presets that show what KWIK is for, over several seeds and losses, and under TLS.

use std::time::Duration;

use kwik_core::ids::PathId;
use kwik_sim::link::LinkSpec;
use kwik_sim::scenario::presets::preset;
use kwik_sim::scenario::{FaultKind, When, Who};
use kwik_sim::{CryptoMode, Report, Setting, Stage};

use crate::{SECOND, lossy};

const MIB: u64 = 1 << 20;

/// A server that owes less than this may as well owe nothing: it is under way.
const OWED_BYTES: u64 = 64 << 10;

/// What is varied in a preset.
#[derive(Clone)]
pub(crate) struct Terms {
    pub(crate) seed: u64,
    /// How much the client asks for.
    pub(crate) bytes: u64,
    /// The links, all alike.
    pub(crate) link: LinkSpec,
    /// How the connections are protected.
    pub(crate) crypto: CryptoMode,
    /// When it is given up.
    pub(crate) limit: Duration,
}

/// Plays one of the presets that show what KWIK is for, in which nothing but a secondary's crash
/// happens.
pub(crate) fn play(name: &'static str, terms: &Terms) -> Report {
    let scenario = (preset(name).expect("a preset").build)(terms.seed);
    let setting = Setting::new(terms.seed, scenario.secondaries.len(), terms.bytes)
        .link(terms.link.clone())
        .delivery(scenario.sharing.delivery());
    let mut stage = Setting {
        crypto: terms.crypto,
        ..setting
    }
    .build();
    for fault in scenario.faults {
        match (fault.at, fault.what) {
            (When::Percent(percent), FaultKind::Crash(Who::Secondary(victim))) => {
                wait_until_it_owes(&mut stage, victim, u64::from(percent), terms);
                stage.world.crash(stage.secondaries[victim]);
            }
            (at, what) => panic!("{name}: nobody plays {what:?} at {at:?}"),
        }
    }
    stage.run_to_end(terms.limit);
    stage.report(name)
}

/// Waits until so many percent have arrived, and the secondary owes some of the rest.
fn wait_until_it_owes(stage: &mut Stage, victim: usize, percent: u64, terms: &Terms) {
    let is_time = |stage: &mut Stage| {
        let arrived = stage.arrived_bytes() * 100 / terms.bytes;
        arrived >= percent && (stage.owed_by(victim) >= OWED_BYTES || arrived >= 75)
    };
    while !is_time(stage) && stage.world.time() < terms.limit {
        stage.world.run_for(Duration::from_millis(2));
    }
}

/// Plays a preset under several seeds, half of them with losses up to 2 % and half of them under TLS;
/// each must end well and in time, and be as `check` says.
fn over_seeds(name: &'static str, bytes: u64, check: impl Fn(&Report)) {
    let losses = [0, 20_000, 0, 10_000, 0, 20_000, 5_000, 10_000];
    // Four under TLS: what is shown with a mock must hold with the real thing.
    let cryptos = [CryptoMode::Null, CryptoMode::Rustls].map(|crypto| [crypto; 2]);
    let cryptos = cryptos.as_flattened().iter().cycle();
    for ((seed, loss_ppm), &crypto) in (0..).zip(losses).zip(cryptos) {
        // At 100 Mbit/s a server needs 0.17 s for all of it. Most of the bound is for losses, which
        // halve a congestion window again and again, and for the silence before a death.
        let limit = match loss_ppm {
            0 => 4 * SECOND,
            _ => 15 * SECOND,
        };
        let terms = Terms {
            seed,
            bytes,
            link: lossy(loss_ppm),
            crypto,
            limit,
        };
        let report = play(name, &terms);
        eprintln!("{crypto:?}, loss {loss_ppm} ppm, {report}");
        assert!(report.is_success(), "{crypto:?} {report}");
        check(&report);
    }
}

#[test]
fn the_primary_alone_brings_everything_without_a_grant() {
    over_seeds("primary-alone", 2 * MIB, |report| {
        let stats = report.stats.expect("a session");
        assert_eq!((stats.grants, stats.regranted_bytes), (0, 0), "{report}");
        assert_eq!(report.shares.len(), 1, "{report}");
    });
}

#[test]
fn one_secondary_shares_the_work() {
    over_seeds("one-secondary", 2 * MIB, every_server_brings_something);
}

#[test]
fn two_secondaries_share_the_work() {
    over_seeds("two-secondaries", 2 * MIB, every_server_brings_something);
}

fn every_server_brings_something(report: &Report) {
    assert!(
        report.shares.iter().all(|&(_, bytes)| bytes > 0),
        "{report}"
    );
}

#[test]
fn in_rotation_every_server_brings_its_turn() {
    over_seeds("all-at-once", 2 * MIB, |report| {
        for path in [0, 1, 2] {
            assert!(report.percent_of(PathId(path)) >= 10, "{report}");
        }
    });
}

#[test]
fn what_a_lost_secondary_owed_is_brought_by_the_others() {
    over_seeds("secondary-crash", 8 * MIB, |report| {
        let stats = report.stats.expect("a session");
        assert!(stats.regranted_bytes > 0, "{report}");
    });
}

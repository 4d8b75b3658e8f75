//! Worlds of all kinds: links, windows, readers, secondaries and mishaps as the seed draws them.
//!
//! In each of them an honest server can always reach the client in the end, so the client must get
//! everything. `WEATHER_FROM` and `WEATHER_SEEDS` choose the seeds.

use std::time::Duration;

use kwik_core::ids::PathId;
use kwik_core::plan::Spread;
use kwik_sim::app::{AnswerOn, Ask, Conduct, Delivery, Pace, Request};
use kwik_sim::link::LinkSpec;
use kwik_sim::rng::{Chance, Purpose};
use kwik_sim::{Setting, Stage};

use crate::SECOND;

/// Seeds that are lived through if nothing else is said.
const SEEDS: u64 = 60;

/// Everything must have arrived by then: some links are slow, some readers rest, and a dial that is
/// lost is given up after ten seconds.
const LIMIT: Duration = Duration::from_secs(120);

/// One draw after the other.
struct Draw {
    chance: Chance,
    ordinal: u64,
}

impl Draw {
    fn between(&mut self, low: u64, high: u64) -> u64 {
        self.ordinal += 1;
        self.chance.between(self.ordinal, low, high)
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        let at = self.between(0, of.len() as u64 - 1);
        of[usize::try_from(at).expect("an index")]
    }

    fn millis(&mut self, of: &[u64]) -> Duration {
        Duration::from_millis(self.one(of))
    }
}

/// What goes wrong, and when.
#[derive(Clone, Copy, Debug)]
struct Mishap {
    /// How much has been read, in percent.
    at_percent: u64,
    /// How long after that.
    after: Duration,
    kind: Kind,
    /// Which secondary, if it concerns one.
    secondary: usize,
    length: Duration,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Crash,
    Restart,
    Retire,
    /// Of the client's links, or of the one to the secondary.
    Cut {
        all: bool,
    },
    Pause(Whose),
}

#[derive(Clone, Copy, Debug)]
enum Whose {
    Client,
    Primary,
    Secondary,
}

const KINDS: [Kind; 8] = [
    Kind::Crash,
    Kind::Restart,
    Kind::Retire,
    Kind::Cut { all: true },
    Kind::Cut { all: false },
    Kind::Pause(Whose::Client),
    Kind::Pause(Whose::Primary),
    Kind::Pause(Whose::Secondary),
];

/// Links whose losses and round trips do not make a transfer last for minutes.
fn link(draw: &mut Draw) -> LinkSpec {
    let (latency, loss_ppm) = draw.one(&[(1, 0), (1, 30_000), (10, 0), (10, 10_000), (80, 1_000)]);
    LinkSpec {
        latency: Duration::from_millis(latency),
        bandwidth_bits_per_second: draw.one(&[Some(5_000_000), Some(50_000_000), None]),
        queue_max_bytes: draw.one(&[20_000, 64_000, 256_000]),
        loss_ppm,
        reorder_ppm: draw.one(&[0, 10_000]),
        reorder_delay: draw.millis(&[1, 10]),
        duplicate_ppm: draw.one(&[0, 20_000]),
        ..LinkSpec::default()
    }
}

fn setting(draw: &mut Draw, seed: u64) -> Setting {
    let secondaries = draw.one(&[1, 2, 3]);
    let mut setting = Setting::new(seed, secondaries, 0).link(link(draw));
    let conducts = [
        Conduct::HONEST,
        Conduct::HONEST,
        Conduct::HONEST,
        Conduct::Refuses(1),
    ];
    setting.secondaries = (0..secondaries).map(|_| draw.one(&conducts)).collect();
    setting.delivery = draw.one(&[
        Delivery::Plan(Spread::Pull),
        Delivery::Plan(Spread::Rotate {
            range_bytes: 65_536,
        }),
        Delivery::Delegate {
            range_bytes: 100_000,
        },
    ]);
    setting.config.client.stream_window_bytes = draw.one(&[64 << 10, 512 << 10, 8 << 20]);
    setting.config.client.session_window_bytes = draw.one(&[256 << 10, 64 << 20]);
    let (count, bytes) = draw.one(&[(1, 100_000), (1, 2_000_000), (3, 300_001), (8, 100_000)]);
    let paces = [
        Pace::Eager,
        Pace::Slow {
            bytes: 40_000,
            every: Duration::from_millis(5),
        },
        Pace::Rest {
            after: 30_000,
            length: 4 * SECOND,
        },
    ];
    let ask = |draw: &mut Draw| Ask {
        request: Request {
            bytes,
            answer_on: draw.one(&[AnswerOn::SameStream, AnswerOn::OwnStream]),
        },
        pace: draw.one(&paces),
    };
    setting.asks = (0..count).map(|_| ask(draw)).collect();
    setting
}

fn mishaps(draw: &mut Draw, secondaries: u64) -> Vec<Mishap> {
    let count = draw.between(0, 2);
    let mishap = |draw: &mut Draw| Mishap {
        at_percent: draw.between(0, 90),
        after: draw.millis(&[0, 20, 1000]),
        kind: draw.one(&KINDS),
        secondary: usize::try_from(draw.between(0, secondaries - 1)).expect("an index"),
        length: draw.millis(&[100, 1000, 5000]),
    };
    let mut mishaps: Vec<_> = (0..count).map(|_| mishap(draw)).collect();
    mishaps.sort_by_key(|mishap| mishap.at_percent);
    mishaps
}

fn befall(stage: &mut Stage, mishap: Mishap) {
    let (client, secondary) = (stage.client, stage.secondaries[mishap.secondary]);
    let world = &mut stage.world;
    match mishap.kind {
        Kind::Crash => world.crash(secondary),
        Kind::Restart => world.restart(secondary),
        Kind::Pause(whose) => {
            let host = match whose {
                Whose::Client => client,
                Whose::Primary => stage.primary,
                Whose::Secondary => secondary,
            };
            world.set_paused(host, true);
            world.run_for(mishap.length);
            world.set_paused(host, false);
        }
        Kind::Cut { all: true } => {
            world.set_isolated(client, true);
            world.run_for(mishap.length);
            world.set_isolated(client, false);
        }
        Kind::Cut { all: false } => {
            world.set_cut(client, secondary, true);
            world.run_for(mishap.length);
            world.set_cut(client, secondary, false);
        }
        Kind::Retire => {
            // It may have died before.
            let path = PathId(mishap.secondary as u64 + 1);
            let _ = stage.on_primary(|primary| primary.retire_path(path));
        }
    }
}

/// Lives one life; says what was wrong with it.
fn live(seed: u64) -> Result<(), String> {
    let chance = Chance::new(seed, Purpose::Schedule, 1);
    let mut draw = Draw { chance, ordinal: 0 };
    let setting = setting(&mut draw, seed);
    let mishaps = mishaps(&mut draw, setting.secondaries.len() as u64);
    let mut stage = setting.build();
    for &mishap in &mishaps {
        stage.run_until_percent(mishap.at_percent, LIMIT);
        stage.world.run_for(mishap.after);
        befall(&mut stage, mishap);
    }
    stage.run_to_end(LIMIT);
    // What comes late must do no harm either.
    stage.world.run_for(5 * SECOND);
    let report = stage.report("weather");
    let errors = stage.primary_app().errors();
    let window = setting.config.client.session_window_bytes
        + setting.asks.len() as u64 * setting.config.client.stream_reserve_bytes;
    let held = report.stats.map_or(0, |stats| stats.buffered_bytes_max);
    let fault = if !report.is_success() {
        "not everything arrived"
    } else if !errors.is_empty() {
        "a call of the primary failed"
    } else if held > window {
        "more was held than the windows allow"
    } else {
        return Ok(());
    };
    let paths = stage.reader().path_events();
    Err(format!(
        "{fault}: {report}\n  {mishaps:?}\n  {setting:?}\n  {errors:?}\n  {paths:?}\n  {:?}",
        report.stats
    ))
}

fn number(name: &str, default: u64) -> u64 {
    let value = std::env::var(name).ok();
    value.map_or(default, |value| value.parse().expect("a number"))
}

#[test]
fn whatever_befalls_a_transfer_the_client_gets_everything() {
    let from = number("WEATHER_FROM", 0);
    let seeds = from..from + number("WEATHER_SEEDS", SEEDS);
    let faults = seeds.filter_map(|seed| live(seed).err());
    let faults: Vec<_> = faults.inspect(|fault| eprintln!("{fault}")).collect();
    assert!(faults.is_empty(), "{} lives went wrong", faults.len());
}

//! Scenarios with names.
//!
//! Owns the table of them: what KWIK is for, the networks of the QUIC interop runner, and mishaps that
//! somebody might want to look at. The seed decides what a story leaves to chance.

use std::time::Duration;

use super::{Fault, FaultKind, Scenario, Server, Sharing, Way, When, Who};
use crate::app::Pace;
use crate::link::{Burst, LinkSpec};
use crate::rng::{Chance, Purpose};

/// A scenario with a name.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// The name, in lower case and with hyphens.
    pub name: &'static str,
    /// What happens, in a line.
    pub summary: &'static str,
    /// The scenario under a seed.
    pub build: fn(u64) -> Scenario,
}

/// All of them, the five that show what KWIK is for first.
#[must_use]
pub const fn presets() -> &'static [Preset] {
    PRESETS
}

/// The one with this name.
#[must_use]
pub fn preset(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

const fn entry(name: &'static str, summary: &'static str, build: fn(u64) -> Scenario) -> Preset {
    Preset {
        name,
        summary,
        build,
    }
}

const PRESETS: &[Preset] = &[
    entry(
        "primary-alone",
        "the primary brings everything, as with plain QUIC",
        primary_alone,
    ),
    entry(
        "one-secondary",
        "the primary and one secondary share the work",
        |seed| story(seed, 1),
    ),
    entry(
        "two-secondaries",
        "the primary and two secondaries share the work",
        |seed| story(seed, 2),
    ),
    entry(
        "all-at-once",
        "three servers write small ranges in rotation",
        all_at_once,
    ),
    entry(
        "secondary-crash",
        "one of two secondaries is lost in mid-transfer",
        secondary_crash,
    ),
    entry(
        "all-secondaries-die",
        "both secondaries are lost, and the primary brings the rest",
        all_secondaries_die,
    ),
    entry(
        "secondary-returns",
        "a secondary starts again without its state, and is named once more",
        secondary_returns,
    ),
    entry(
        "primary-dies",
        "the primary is lost: the session ends with an error that says so",
        |seed| befallen(seed, vec![at(40, FaultKind::Crash(Who::Primary))]),
    ),
    entry(
        "unequal-servers",
        "one secondary is ten times as fast as the other, and ten times as near",
        unequal_servers,
    ),
    entry(
        "slow-reader",
        "the client reads 1 MB/s where three servers could bring seven times that",
        slow_reader,
    ),
    entry(
        "client-pause",
        "the client's process stands still for a minute: longer than QUIC waits",
        |seed| client_stands_still(seed, 60),
    ),
    entry(
        "client-nap",
        "the client's process stands still for ten seconds: shorter than QUIC waits",
        |seed| client_stands_still(seed, 10),
    ),
    entry(
        "outage",
        "no link works for ten seconds, and then all of them again",
        |seed| befallen(seed, vec![at(40, FaultKind::Outage { lasts: SECOND * 10 })]),
    ),
    entry(
        "one-way-cut",
        "what a secondary sends is lost for 20 s while it hears everything",
        one_way_cut,
    ),
    entry(
        "interop-handshake-loss",
        "15 ms, 10 Mbit/s; 30 % of the datagrams are lost, three in a row, from the handshake on",
        interop_handshake_loss,
    ),
    entry(
        "interop-handshake-corruption",
        "15 ms, 10 Mbit/s; 30 % of the datagrams are damaged, from the handshake on",
        |seed| with_links(interop(seed, 1000), |link| link.corrupt_ppm = 300_000),
    ),
    entry(
        "interop-transfer-loss",
        "15 ms, 10 Mbit/s; 2 % of the datagrams of 2 MB are lost",
        |seed| with_links(interop(seed, 2 * MB), |link| link.loss_ppm = 20_000),
    ),
    entry(
        "interop-transfer-corruption",
        "15 ms, 10 Mbit/s; 2 % of the datagrams of 2 MB are damaged",
        |seed| with_links(interop(seed, 2 * MB), |link| link.corrupt_ppm = 20_000),
    ),
    entry(
        "interop-black-hole",
        "15 ms, 10 Mbit/s; every five seconds nothing passes for two",
        interop_black_hole,
    ),
    entry(
        "interop-rebind-port",
        "15 ms, 10 Mbit/s; the client has another port after 1 s, then every 5 s",
        |seed| interop_rebind(seed, false),
    ),
    entry(
        "interop-rebind-address",
        "15 ms, 10 Mbit/s; the client has another address after 1 s, then every 5 s",
        |seed| interop_rebind(seed, true),
    ),
    entry(
        "interop-long-rtt",
        "750 ms each way: longer than QUIC expects before it has measured",
        |seed| {
            with_links(interop(seed, 1000), |link| {
                link.latency = Duration::from_millis(750);
            })
        },
    ),
    entry(
        "interop-amplification-limit",
        "the second to the seventh datagram from each server are lost: its address is not validated yet",
        interop_amplification_limit,
    ),
];

const SECOND: Duration = Duration::from_secs(1);

const MIB: u64 = 1 << 20;

/// As the interop runner counts.
const MB: u64 = 1_000_000;

/// 20 Mbit/s, 10 ms each way: a few megabytes take about a second, so that what goes on can be seen.
fn visible() -> LinkSpec {
    LinkSpec {
        bandwidth_bits_per_second: Some(20_000_000),
        ..LinkSpec::default()
    }
}

fn story(seed: u64, secondaries: usize) -> Scenario {
    with_links(Scenario::new(seed, secondaries, 4 * MIB), |link| {
        *link = visible();
    })
}

/// A longer transfer by three servers, and what befalls it.
fn befallen(seed: u64, faults: Vec<Fault>) -> Scenario {
    let mut scenario = story(seed, 2);
    scenario.asks[0].request.bytes = 8 * MIB;
    scenario.faults = faults;
    scenario
}

const fn at(percent: u8, what: FaultKind) -> Fault {
    Fault {
        at: When::Percent(percent),
        what,
    }
}

const fn after(time: Duration, what: FaultKind) -> Fault {
    Fault {
        at: When::Time(time),
        what,
    }
}

/// Changes every direction of every link.
fn with_links(mut scenario: Scenario, change: impl Fn(&mut LinkSpec)) -> Scenario {
    for server in servers_mut(&mut scenario) {
        change(&mut server.uplink);
        change(&mut server.downlink);
    }
    scenario
}

fn servers_mut(scenario: &mut Scenario) -> impl Iterator<Item = &mut Server> {
    std::iter::once(&mut scenario.primary).chain(&mut scenario.secondaries)
}

fn primary_alone(seed: u64) -> Scenario {
    Scenario {
        sharing: Sharing::Alone,
        ..story(seed, 0)
    }
}

fn all_at_once(seed: u64) -> Scenario {
    Scenario {
        sharing: Sharing::Rotate {
            range_bytes: 64 << 10,
        },
        ..story(seed, 2)
    }
}

fn secondary_crash(seed: u64) -> Scenario {
    let chance = Chance::new(seed, Purpose::Schedule, 0);
    let percent = u8::try_from(chance.between(0, 20, 60)).unwrap_or(20);
    let victim = usize::from(chance.draw(1).is_multiple_of(2));
    befallen(
        seed,
        vec![at(percent, FaultKind::Crash(Who::Secondary(victim)))],
    )
}

fn all_secondaries_die(seed: u64) -> Scenario {
    let crash = |index| FaultKind::Crash(Who::Secondary(index));
    befallen(seed, vec![at(20, crash(0)), at(40, crash(1))])
}

fn secondary_returns(seed: u64) -> Scenario {
    let restart = FaultKind::Restart {
        who: Who::Secondary(0),
        down: Duration::from_millis(500),
    };
    let mut scenario = befallen(
        seed,
        vec![at(20, restart), after(3 * SECOND, FaultKind::AddAgain(0))],
    );
    scenario.asks[0].request.bytes = 32 * MIB;
    scenario
}

fn unequal_servers(seed: u64) -> Scenario {
    let mut scenario = story(seed, 2);
    scenario.asks[0].request.bytes = 8 * MIB;
    for (server, megabits, millis) in [(0, 50, 5), (1, 5, 50)] {
        let server = &mut scenario.secondaries[server];
        for link in [&mut server.uplink, &mut server.downlink] {
            link.bandwidth_bits_per_second = Some(megabits * 1_000_000);
            link.latency = Duration::from_millis(millis);
        }
    }
    scenario
}

fn slow_reader(seed: u64) -> Scenario {
    let mut scenario = story(seed, 2);
    scenario.tuning.stream_window_bytes = MIB;
    scenario.asks[0].pace = Pace::Slow {
        bytes: 10_000,
        every: Duration::from_millis(10),
    };
    scenario
}

fn client_stands_still(seed: u64, seconds: u64) -> Scenario {
    let pause = FaultKind::Pause {
        who: Who::Client,
        lasts: Duration::from_secs(seconds),
    };
    befallen(seed, vec![at(40, pause)])
}

fn one_way_cut(seed: u64) -> Scenario {
    let cut = FaultKind::Cut {
        server: Who::Secondary(0),
        way: Way::Down,
        lasts: 20 * SECOND,
    };
    befallen(seed, vec![at(30, cut)])
}

/// The network that the interop runner has in most of its tests, between the client and each of
/// three servers.
fn interop(seed: u64, bytes: u64) -> Scenario {
    with_links(Scenario::new(seed, 2, bytes), |link| {
        link.latency = Duration::from_millis(15);
        link.bandwidth_bits_per_second = Some(10_000_000);
        link.queue_max_bytes = 25 * 1500;
    })
}

fn interop_handshake_loss(seed: u64) -> Scenario {
    // Runs of three that begin after every seventh datagram that passes.
    let burst = Some(Burst {
        start_ppm: 143_000,
        length_mean: 3,
    });
    with_links(interop(seed, 1000), |link| link.burst = burst)
}

/// Long enough for the second of what happens every few seconds.
const LONG_BYTES: u64 = 24 * MB;

fn interop_black_hole(seed: u64) -> Scenario {
    let hole = |at: u64| {
        let outage = FaultKind::Outage { lasts: 2 * SECOND };
        after(Duration::from_secs(at), outage)
    };
    Scenario {
        faults: [5, 12, 19].map(hole).to_vec(),
        ..interop(seed, LONG_BYTES)
    }
}

fn interop_rebind(seed: u64, address: bool) -> Scenario {
    let rebind = |at: u64| after(Duration::from_secs(at), FaultKind::Rebind { address });
    Scenario {
        faults: [1, 6, 11].map(rebind).to_vec(),
        ..interop(seed, LONG_BYTES)
    }
}

fn interop_amplification_limit(seed: u64) -> Scenario {
    let mut scenario = interop(seed, 1000);
    for server in servers_mut(&mut scenario) {
        server.downlink.drop_first = 0b111_1110;
    }
    scenario
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        let mut names: Vec<_> = presets().iter().map(|preset| preset.name).collect();
        let first = names[..5].join(" ");
        assert_eq!(
            first,
            "primary-alone one-secondary two-secondaries all-at-once secondary-crash"
        );
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), presets().len());
        let found = preset("outage").expect("it is in the table");
        assert_eq!((found.name, preset("nonsense").is_none()), ("outage", true));
    }

    #[test]
    fn each_is_coherent_keeps_its_seed_and_survives_its_text_form() {
        for preset in presets() {
            let scenario = (preset.build)(7);
            assert_eq!(scenario.seed, 7, "{}", preset.name);
            assert!(scenario.is_coherent(), "{}", preset.name);
            let text = scenario.to_text();
            assert_eq!(Scenario::from_text(&text), Ok(scenario), "{text}");
        }
    }

    #[test]
    fn the_seed_draws_who_is_lost_and_when() {
        let mut lost: Vec<_> = (0..20)
            .map(|seed| match secondary_crash(seed).faults.as_slice() {
                [
                    Fault {
                        at: When::Percent(percent),
                        what: FaultKind::Crash(who),
                    },
                ] => {
                    assert!((20..=60).contains(percent));
                    (*who, *percent)
                }
                faults => panic!("{faults:?}"),
            })
            .collect();
        lost.sort_unstable();
        lost.dedup();
        assert!(lost.len() > 10, "{lost:?}");
        assert_eq!(lost.first().map(|l| l.0), Some(Who::Secondary(0)));
        assert_eq!(lost.last().map(|l| l.0), Some(Who::Secondary(1)));
    }
}

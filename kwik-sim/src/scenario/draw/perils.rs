//! What befalls the world, and when.

use std::time::Duration;

use super::{Draw, links};
use crate::link::LinkSpec;
use crate::scenario::{Fault, FaultKind, Scenario, Way, When, Who};

/// How long something lasts, milliseconds: shorter and longer than the silence before a path is called
/// dead, a third of a dial's deadline, the deadline, and QUIC's idle timeout.
const LASTS: [u64; 14] = [
    500, 10, 50, 200, 1000, 1400, 1700, 3000, 5000, 9000, 12_000, 25_000, 35_000, 60_000,
];

/// What may befall a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peril {
    SecondaryCrash,
    PrimaryCrash,
    SecondaryRestart,
    PrimaryRestart,
    Pause,
    Cut,
    OneWayCut,
    Swizzle,
    Outage,
    Storm,
    BlackHole,
    RebindPort,
    RebindAddress,
    ClockJump,
    Retire,
    AddAgain,
    Poke,
    Meddle,
}

impl Peril {
    pub(super) const ALL: [Self; 18] = [
        Self::SecondaryCrash,
        Self::PrimaryCrash,
        Self::SecondaryRestart,
        Self::PrimaryRestart,
        Self::Pause,
        Self::Cut,
        Self::OneWayCut,
        Self::Swizzle,
        Self::Outage,
        Self::Storm,
        Self::BlackHole,
        Self::RebindPort,
        Self::RebindAddress,
        Self::ClockJump,
        Self::Retire,
        Self::AddAgain,
        Self::Poke,
        Self::Meddle,
    ];

    /// Whether nothing goes on after it: with such a peril in every other world, what else was drawn
    /// would hardly be seen.
    pub(super) const fn ends_everything(self) -> bool {
        matches!(self, Self::PrimaryCrash | Self::PrimaryRestart)
    }
}

impl Draw<'_> {
    pub(super) fn faults(&mut self, perils: &[Peril], scenario: &Scenario) -> Vec<Fault> {
        let expected = expected_duration(scenario);
        let mut faults = Vec::new();
        for &peril in perils {
            if peril == Peril::Swizzle {
                faults.extend(self.swizzle(scenario, expected));
                continue;
            }
            for _ in 0..self.times(peril) {
                let Some(what) = self.befall(peril, scenario) else {
                    break;
                };
                let at = self.when(expected);
                faults.push(Fault { at, what });
                self.follow_up(&mut faults, expected);
            }
        }
        // In about the order in which they come: so they are read.
        faults.sort_by_key(|fault| about(fault.at, expected));
        faults
    }

    /// How often.
    fn times(&mut self, peril: Peril) -> u64 {
        if peril.ends_everything() {
            return 1;
        }
        if matches!(
            peril,
            Peril::RebindPort | Peril::RebindAddress | Peril::Poke | Peril::Meddle
        ) {
            return self.between(1, 4);
        }
        self.one(&[1, 1, 1, 2])
    }

    /// A server that came back is of use only if somebody says so.
    fn follow_up(&mut self, faults: &mut Vec<Fault>, expected: Duration) {
        let Some(Fault {
            at,
            what:
                FaultKind::Restart {
                    who: Who::Secondary(index),
                    down,
                },
        }) = faults.last()
        else {
            return;
        };
        let (at, down, index) = (*at, *down, *index);
        if self.chance(128) {
            let later = about(at, expected) + down + self.millis(&[10, 100, 1000]);
            faults.push(Fault {
                at: When::Time(readable(later)),
                what: FaultKind::AddAgain(index),
            });
        }
    }

    /// When: mostly by what has been read, or nothing would be under way.
    fn when(&mut self, expected: Duration) -> When {
        match self.between(0, 4) {
            0..3 => When::Percent(self.one(&[50, 0, 1, 5, 10, 20, 30, 40, 60, 70, 80, 90, 99])),
            3 => When::Time(readable(expected * self.percent() / 100)),
            _ => When::Time(self.millis(&[10, 0, 1, 5, 20, 50, 100, 200, 500, 1000, 3000])),
        }
    }

    pub(super) fn percent(&mut self) -> u32 {
        self.one(&[10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 120, 150])
    }

    /// Something that befalls the world; none if there is nobody whom it could befall.
    fn befall(&mut self, peril: Peril, scenario: &Scenario) -> Option<FaultKind> {
        let secondaries = scenario.secondaries.len();
        Some(match peril {
            Peril::SecondaryCrash => FaultKind::Crash(self.secondary(secondaries)?),
            Peril::PrimaryCrash => FaultKind::Crash(Who::Primary),
            Peril::SecondaryRestart => FaultKind::Restart {
                who: self.secondary(secondaries)?,
                down: self.millis(&LASTS),
            },
            Peril::PrimaryRestart => FaultKind::Restart {
                who: Who::Primary,
                down: self.millis(&LASTS),
            },
            Peril::Pause => FaultKind::Pause {
                who: self.anybody(secondaries),
                lasts: self.millis(&LASTS),
            },
            Peril::Cut => FaultKind::Cut {
                server: self.server_name(secondaries),
                way: Way::Both,
                lasts: self.millis(&LASTS),
            },
            Peril::OneWayCut => FaultKind::Cut {
                server: self.server_name(secondaries),
                way: self.one(&[Way::Down, Way::Up]),
                lasts: self.millis(&LASTS),
            },
            // Several faults.
            Peril::Swizzle => return None,
            Peril::Outage => FaultKind::Outage {
                lasts: self.millis(&LASTS),
            },
            Peril::Storm => self.thunder(scenario),
            Peril::BlackHole => self.black_hole(secondaries),
            Peril::RebindPort => FaultKind::Rebind { address: false },
            Peril::RebindAddress => FaultKind::Rebind { address: true },
            Peril::ClockJump => FaultKind::ClockJump {
                who: self.anybody(secondaries),
                seconds: self.clock_seconds(),
            },
            Peril::Retire => FaultKind::Retire(self.secondary_index(secondaries)?),
            Peril::AddAgain => FaultKind::AddAgain(self.secondary_index(secondaries)?),
            Peril::Poke => FaultKind::Poke(self.anybody(secondaries)),
            Peril::Meddle => FaultKind::Meddle(self.anybody(secondaries)),
        })
    }

    fn thunder(&mut self, scenario: &Scenario) -> FaultKind {
        let server = self.server_name(scenario.secondaries.len());
        let way = self.one(&[Way::Down, Way::Up, Way::Both]);
        let mut servers = scenario.servers();
        let usual = servers.find(|&(who, _)| who == server);
        let usual = usual.map_or_else(LinkSpec::default, |(_, usual)| match way {
            Way::Up => usual.uplink.clone(),
            Way::Down | Way::Both => usual.downlink.clone(),
        });
        FaultKind::Storm {
            server,
            way,
            link: self.storm(usual),
            lasts: self.millis(&LASTS),
        }
    }

    /// Without the primary there is no session, so only a secondary's link may become too narrow for
    /// QUIC.
    fn black_hole(&mut self, secondaries: usize) -> FaultKind {
        let server = self.server_name(secondaries);
        let payloads = [1200, 1232, 1280, 1350, 1400, 1000];
        let payload_max_bytes: usize = self.one(&payloads);
        let least = if server == Who::Primary { 1200 } else { 0 };
        FaultKind::BlackHole {
            server,
            payload_max_bytes: payload_max_bytes.max(least),
        }
    }

    fn secondary_index(&mut self, secondaries: usize) -> Option<usize> {
        (secondaries > 0).then(|| self.index(secondaries))
    }

    fn secondary(&mut self, secondaries: usize) -> Option<Who> {
        self.secondary_index(secondaries).map(Who::Secondary)
    }

    fn server_name(&mut self, secondaries: usize) -> Who {
        match self.index(secondaries + 1) {
            0 => Who::Primary,
            above => Who::Secondary(above - 1),
        }
    }

    fn anybody(&mut self, secondaries: usize) -> Who {
        match self.index(secondaries + 2) {
            0 => Who::Client,
            1 => Who::Primary,
            above => Who::Secondary(above - 2),
        }
    }
}

/// About so long a transfer takes if nothing befalls it.
fn expected_duration(scenario: &Scenario) -> Duration {
    let window = scenario.tuning.stream_window_bytes;
    let rates = scenario
        .servers()
        .map(|(_, server)| links::rate(server, window));
    let rate = rates.fold(0, u64::saturating_add).max(1);
    let bringing = Duration::from_millis(scenario.wanted().saturating_mul(1000) / rate);
    links::round_trip(&scenario.primary) * 4 + bringing
}

/// When something happens, if nothing befalls the transfer before.
fn about(at: When, expected: Duration) -> Duration {
    match at {
        When::Time(time) => time,
        When::Percent(percent) => expected * u32::from(percent) / 100,
    }
}

/// In milliseconds, with two digits that are not zero.
pub(super) fn readable(time: Duration) -> Duration {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let digits = millis.checked_ilog10().unwrap_or(0);
    let step = 10_u64.pow(digits.saturating_sub(1));
    Duration::from_millis(millis / step * step)
}

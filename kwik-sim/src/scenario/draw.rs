//! Scenarios by chance: the one generator, whoever feeds it.
//!
//! Owns how bytes become a [`Scenario`]: those of a fuzzer, or those that a seed is expanded to.
//! Any bytes give a scenario in which every fault has somebody to befall, and where they run out, the
//! simplest choice is made: few bytes give a simple scenario.
//!
//! First it is drawn *which* features and faults are in play at all, then what they are like. If
//! everything were in play always, one fault would hide what another does (a swarm of different worlds
//! finds more than many alike). The mapping from bytes to scenarios may change with any version; what is
//! to be kept is kept as text.

mod links;
mod perils;
mod swizzle;
#[cfg(test)]
mod tests;

use std::time::Duration;

use arbitrary::Unstructured;
use kwik_core::config::Overlap;
use kwik_core::error::code;

use self::links::Ill;
use self::perils::Peril;
use super::{Scenario, Server, Sharing, Tuning};
use crate::app::{AnswerOn, Ask, Conduct, Ends, Hostility, Pace, Request, Revokes};
use crate::rng::{Chance, Purpose};

/// Bytes that a seed is expanded to: more than any scenario takes.
const EXPANDED_BYTES: usize = 2048;

const KIB: u64 = 1 << 10;

/// What most clients ask for, in total.
const USUAL_BYTES: u64 = 256 * KIB;

/// A primary alone is to need not much longer than this for everything, or a scenario is not cheap.
const SECONDS_MAX: u64 = 20;

/// An answer is shared out in at most so many ranges of equal length.
const RANGES_MAX: u64 = 128;

/// Of 256 worlds, so many have servers that write contents of their own, if they may.
const MARKED_OF_256: u64 = 72;

/// An answer is brought in few pieces where each has to wait for the one before.
const PIECES_MAX: u64 = 16;

/// Features that have nothing to do with links and faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Feature {
    Servers,
    Sizes,
    Streams,
    Paces,
    Ends,
    Windows,
    Overlaps,
    Sharing,
    Conducts,
    Clocks,
    Clients,
}

impl Feature {
    const ALL: [Self; 11] = [
        Self::Servers,
        Self::Sizes,
        Self::Streams,
        Self::Paces,
        Self::Ends,
        Self::Windows,
        Self::Overlaps,
        Self::Sharing,
        Self::Conducts,
        Self::Clocks,
        Self::Clients,
    ];
}

/// What is in play.
#[derive(Clone, Debug, Default)]
struct InPlay {
    features: Vec<Feature>,
    ills: Vec<Ill>,
    perils: Vec<Peril>,
}

impl InPlay {
    fn has(&self, feature: Feature) -> bool {
        self.features.contains(&feature)
    }
}

/// One choice after the other.
struct Draw<'a> {
    from: Unstructured<'a>,
}

impl Draw<'_> {
    /// A number in `low..=high`; `low` once the bytes have run out.
    fn between(&mut self, low: u64, high: u64) -> u64 {
        self.from.int_in_range(low..=high).unwrap_or(low)
    }

    /// True in so many of 256 cases; false once the bytes have run out.
    fn chance(&mut self, of_256: u64) -> bool {
        self.between(0, 255) + of_256 > 255
    }

    /// One of several; the first once the bytes have run out.
    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.index(of.len())]
    }

    /// An index of something that has `len` elements.
    fn index(&mut self, len: usize) -> usize {
        self.from.int_in_range(0..=len - 1).unwrap_or(0)
    }

    fn millis(&mut self, of: &[u64]) -> Duration {
        Duration::from_millis(self.one(of))
    }

    /// Those of `all` that are in play, if each is in so many of 256 cases.
    fn some<T: Copy>(&mut self, all: &[T], of_256: impl Fn(T) -> u64) -> Vec<T> {
        let chosen = all.iter().filter(|&&one| self.chance(of_256(one)));
        chosen.copied().collect()
    }

    /// The subset that is in play: most worlds have little of everything, some have much.
    fn in_play(&mut self) -> InPlay {
        let of_256 = match self.between(0, 255) {
            0..13 => return InPlay::default(),
            13..140 => 14,
            140..230 => 48,
            _ => 120,
        };
        InPlay {
            features: self.some(&Feature::ALL, |_| of_256),
            ills: self.some(&Ill::ALL, |_| of_256),
            perils: self.some(&Peril::ALL, |peril| match peril.ends_everything() {
                true => of_256 / 3,
                false => of_256,
            }),
        }
    }
}

impl Scenario {
    /// The scenario that these bytes stand for.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut draw = Draw {
            from: Unstructured::new(bytes),
        };
        draw.scenario()
    }

    /// The scenario that belongs to a seed.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        let mut scenario = Self::from_bytes(&expanded(seed));
        scenario.seed = seed;
        scenario
    }
}

/// The bytes that a seed stands for.
fn expanded(seed: u64) -> Vec<u8> {
    let chance = Chance::new(seed, Purpose::Scenario, 0);
    let words = (0..EXPANDED_BYTES as u64 / 32).map(|ordinal| chance.bytes(ordinal));
    words.flatten().collect()
}

impl Draw<'_> {
    fn scenario(&mut self) -> Scenario {
        let seed = self.between(0, u64::from(u16::MAX));
        let in_play = self.in_play();
        let secondaries = match in_play.has(Feature::Servers) {
            true => self.one(&[1, 0, 3, 1, 4]),
            false => 2,
        };
        let mut scenario = Scenario::new(seed, secondaries, USUAL_BYTES);
        self.servers(&in_play, &mut scenario);
        scenario.tuning = self.tuning(&in_play);
        scenario.asks = self.asks(&in_play, &scenario);
        if in_play.has(Feature::Sharing) {
            scenario.sharing = self.sharing(scenario.wanted());
            self.let_open_grants_end(&mut scenario);
        }
        if in_play.has(Feature::Clients) {
            scenario.others = self.others();
            without_hostility(&mut scenario);
        }
        scenario.faults = self.faults(&in_play.perils, &scenario);
        scenario.marks = self.chance(MARKED_OF_256) && scenario.may_have_marks();
        scenario
    }

    fn servers(&mut self, in_play: &InPlay, scenario: &mut Scenario) {
        scenario.primary = self.server(in_play);
        // Without a handshake with the primary there is nothing to look at.
        links::let_handshakes_pass(&mut scenario.primary);
        if in_play.has(Feature::Conducts) && self.chance(64) {
            scenario.primary.conduct = self.slow();
        }
        for secondary in &mut scenario.secondaries {
            *secondary = self.server(in_play);
            if in_play.has(Feature::Conducts) {
                secondary.conduct = self.conduct();
            }
        }
    }

    fn server(&mut self, in_play: &InPlay) -> Server {
        Server {
            conduct: Conduct::HONEST,
            uplink: self.link(&in_play.ills),
            downlink: self.link(&in_play.ills),
            clock_ahead_seconds: match in_play.has(Feature::Clocks) {
                true => self.clock_seconds(),
                false => 0,
            },
        }
    }

    /// A difference between clocks; half of them are tolerated by the default configuration.
    fn clock_seconds(&mut self) -> i64 {
        let seconds = [
            1, -1, 4, -4, 3, -3, 6, -6, 60, -60, 3600, -3600, 86_400, -86_400,
        ];
        self.one(&seconds)
    }

    /// How a secondary behaves.
    fn conduct(&mut self) -> Conduct {
        let hostile = Conduct::Hostile(self.one(&Hostility::ALL));
        let slow = self.slow();
        let conducts = [
            Conduct::HONEST,
            Conduct::HONEST,
            slow,
            slow,
            Conduct::Refuses(1),
            Conduct::Mute,
            Conduct::Lies,
            hostile,
            hostile,
        ];
        self.one(&conducts)
    }

    /// A server to which its bytes come slowly, but not so slowly that a secondary's help is refused: far
    /// more than the configuration's least rate.
    fn slow(&mut self) -> Conduct {
        let every = self.one(&[20, 5, 100, 500]);
        let bytes_per_second = self.one(&[200_000, 20_000, 50_000, 500_000, 1_000_000]);
        Conduct::Slow {
            bytes: bytes_per_second * every / 1000,
            every: Duration::from_millis(every),
        }
    }

    fn tuning(&mut self, in_play: &InPlay) -> Tuning {
        let mut tuning = Tuning::default();
        if in_play.has(Feature::Windows) {
            let usual = tuning.stream_window_bytes;
            tuning.stream_window_bytes =
                self.one(&[64 * KIB, 96 * KIB, 128 * KIB, 512 * KIB, usual]);
            let usual = tuning.session_window_bytes;
            tuning.session_window_bytes = self.one(&[usual, usual, 256 * KIB, 1024 * KIB]);
        }
        if in_play.has(Feature::Overlaps) {
            tuning.overlap = self.one(&[Overlap::PrimaryWins, Overlap::Reject]);
        }
        tuning
    }

    fn asks(&mut self, in_play: &InPlay, scenario: &Scenario) -> Vec<Ask> {
        let total = match in_play.has(Feature::Sizes) {
            true => self.one(&[
                64 * KIB,
                0,
                1,
                1000,
                100_000,
                64 * KIB + 1,
                512 * KIB,
                1024 * KIB,
                2048 * KIB,
            ]),
            false => USUAL_BYTES,
        };
        let window = scenario.tuning.stream_window_bytes;
        let total = affordable(total, links::rate(&scenario.primary, window));
        let total = match scenario.primary.conduct {
            Conduct::Slow { bytes, every } => {
                let steps = Duration::from_secs(1).as_nanos() / every.as_nanos().max(1);
                let steps = u64::try_from(steps).unwrap_or(u64::MAX);
                affordable(total, bytes.saturating_mul(steps))
            }
            Conduct::Honest { .. }
            | Conduct::Refuses(_)
            | Conduct::Mute
            | Conduct::Lies
            | Conduct::Hostile(_) => total,
        };
        let streams = match in_play.has(Feature::Streams) {
            true => self.between(2, 8),
            false => 1,
        };
        let bytes = total / streams;
        (0..streams)
            .map(|_| Ask {
                request: Request {
                    bytes,
                    answer_on: self.one(&[AnswerOn::OwnStream, AnswerOn::SameStream]),
                },
                pace: match in_play.has(Feature::Paces) {
                    true => self.pace(bytes),
                    false => Pace::Eager,
                },
                ends: match in_play.has(Feature::Ends) {
                    true => self.ends(),
                    false => Ends::Whole,
                },
            })
            .collect()
    }

    /// How fast an answer is read: slowly, but not for minutes.
    fn pace(&mut self, bytes: u64) -> Pace {
        match self.between(0, 2) {
            0 => Pace::Eager,
            1 => {
                let every = self.one(&[5, 20, 100]);
                let times = SECONDS_MAX / 2 * 1000 / every;
                let at_least = (bytes / times).next_power_of_two().max(1000);
                let at_a_time = at_least * self.one(&[8, 1, 2, 4]);
                Pace::Slow {
                    bytes: usize::try_from(at_a_time).unwrap_or(usize::MAX),
                    every: Duration::from_millis(every),
                }
            }
            _ => Pace::Rest {
                after: bytes * self.one(&[10, 0, 50, 90]) / 100,
                length: self.millis(&[100, 1000, 4000, 12_000]),
            },
        }
    }

    /// How an answer ends; the codes are an application's, and may look like the protocol's own.
    fn ends(&mut self) -> Ends {
        let code = self.one(&[7, 0, 1, code::GRANT, (1 << 62) - 1]);
        match self.between(0, 6) {
            0 | 1 => Ends::Whole,
            2 | 3 => Ends::Stopped {
                percent: self.one(&[50, 0, 1, 10, 90, 99, 100]),
                code,
            },
            4 | 5 => Ends::Reset {
                after: self.millis(&[100, 0, 1, 10, 30, 300, 1000, 3000]),
                code,
            },
            _ => Ends::TakenBack { code },
        }
    }

    fn sharing(&mut self, wanted: u64) -> Sharing {
        let range_bytes = self.one(&[64 * KIB, 1000, 16 * KIB, 100_000, 256 * KIB]);
        let range_bytes = range_bytes.max((wanted / RANGES_MAX).next_power_of_two());
        match self.between(0, 9) {
            0..3 => Sharing::Rotate { range_bytes },
            3..6 => Sharing::Delegate {
                range_bytes,
                revokes: self.chance(96).then(|| Revokes {
                    one_of: self.one(&[3, 2, 5, 16]),
                    after: self.millis(&[20, 0, 1, 5, 50, 200, 1000]),
                }),
            },
            6 => Sharing::Alone,
            7 => Sharing::Pull,
            _ => Sharing::Raw {
                range_bytes: range_bytes.max((wanted / PIECES_MAX).next_power_of_two()),
            },
        }
    }

    /// Secondaries that are given open grants write all of them, or less; and none of them may be
    /// hostile.
    fn let_open_grants_end(&mut self, scenario: &mut Scenario) {
        if !matches!(scenario.sharing, Sharing::Raw { .. }) {
            return;
        }
        without_hostility(scenario);
        for secondary in &mut scenario.secondaries {
            if let Conduct::Honest { open_bytes } = &mut secondary.conduct {
                *open_bytes = self.one(&[*open_bytes, *open_bytes, 1 << 20, 5000, 1, 0]);
            }
        }
    }

    /// What further clients ask for: little, but more than fits into the first flight.
    fn others(&mut self) -> Vec<u64> {
        let count = self.one(&[1, 2, 1, 4]);
        let bytes = [32 * KIB, 0, 1, 1000, 64 * KIB];
        (0..count).map(|_| self.one(&bytes)).collect()
    }
}

/// Some of what is drawn needs secondaries that keep the rules.
fn without_hostility(scenario: &mut Scenario) {
    for secondary in &mut scenario.secondaries {
        if let Conduct::Hostile(_) = secondary.conduct {
            secondary.conduct = Conduct::HONEST;
        }
    }
}

/// So much of `total` as somebody can bring in a bearable time at this rate.
fn affordable(total: u64, bytes_per_second: u64) -> u64 {
    let most = bytes_per_second.saturating_mul(SECONDS_MAX);
    if total <= most {
        return total;
    }
    // The next power of two below.
    total.min(1 << most.max(4 * KIB).ilog2())
}

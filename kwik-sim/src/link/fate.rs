//! What chance has for each datagram of a link.
//!
//! Owns the draws. Each fault draws from a stream of its own, by the ordinal of the datagram on the
//! link, whether other faults hit the same datagram or not: so none shifts another. Never sees the
//! time, the queue, or a cut.

use std::time::Duration;

use super::{EcnPolicy, LinkSpec};
use crate::rng::{Chance, Purpose};

/// What happens to the next datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fate {
    pub(super) loss: Option<Loss>,
    pub(super) is_reordered: bool,
    pub(super) is_duplicated: bool,
    pub(super) jitter: Duration,
    /// A second copy finds its own way.
    pub(super) jitter_of_second: Duration,
    pub(super) damage: Option<Damage>,
    /// Whether it is marked as having met congestion, if it can be.
    pub(super) is_marked: bool,
}

/// Why a datagram is lost; the first reason counts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Loss {
    /// It is one of the first, and the mask names it.
    First,
    /// It falls into a run of losses.
    Burst,
    /// By itself.
    Chance,
}

/// What happened to the payload of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// This bit is the other one.
    Flip {
        /// Counted from the lowest bit of the first byte.
        bit: usize,
    },
    /// Only so many bytes are left.
    Truncate {
        /// How many.
        len: usize,
    },
}

impl Damage {
    /// Makes a payload arrive like this; how many bytes of it are left.
    #[must_use]
    pub fn apply(self, payload: &mut [u8]) -> usize {
        match self {
            Self::Flip { bit } => {
                if let Some(byte) = payload.get_mut(bit / 8) {
                    *byte ^= 1 << (bit % 8);
                }
                payload.len()
            }
            Self::Truncate { len } => len.min(payload.len()),
        }
    }

    /// The damage to a payload of `len` bytes that a draw stands for; an empty one cannot take any.
    fn of(draw: u64, len: usize) -> Option<Self> {
        let below = |bound: usize| usize::try_from((draw >> 1) % (bound as u64).max(1)).ok();
        let damage = if draw.is_multiple_of(2) {
            Self::Flip {
                bit: below(len * 8)?,
            }
        } else {
            Self::Truncate { len: below(len)? }
        };
        (len > 0).then_some(damage)
    }
}

/// The draws of one link.
#[derive(Debug)]
pub(super) struct Fates {
    ordinal: u64,
    is_in_burst: bool,
    loss: Chance,
    burst: Chance,
    reorder: Chance,
    duplicate: Chance,
    jitter: Chance,
    corrupt: Chance,
    damage: Chance,
    ecn_mark: Chance,
}

impl Fates {
    /// Those that `seed` has for the link named `link`.
    pub(super) fn new(seed: u64, link: u64) -> Self {
        let chance = |purpose| Chance::new(seed, purpose, link);
        Self {
            ordinal: 0,
            is_in_burst: false,
            loss: chance(Purpose::Loss),
            burst: chance(Purpose::Burst),
            reorder: chance(Purpose::Reorder),
            duplicate: chance(Purpose::Duplicate),
            jitter: chance(Purpose::Jitter),
            corrupt: chance(Purpose::Corrupt),
            damage: chance(Purpose::Damage),
            ecn_mark: chance(Purpose::EcnMark),
        }
    }

    /// What happens to the next datagram, of `len` bytes.
    pub(super) fn next(&mut self, spec: &LinkSpec, len: usize) -> Fate {
        let ordinal = self.ordinal;
        self.ordinal += 1;
        let is_in_burst = self.burst(ordinal, spec);
        let is_dropped_first = ordinal < 64 && spec.drop_first >> ordinal & 1 == 1;
        let loss = if is_dropped_first {
            Some(Loss::First)
        } else if is_in_burst {
            Some(Loss::Burst)
        } else {
            let is_lost = hits(self.loss, ordinal, spec.loss_ppm);
            is_lost.then_some(Loss::Chance)
        };
        let mark_ppm = match spec.ecn {
            EcnPolicy::Mark { ppm } => ppm,
            EcnPolicy::Keep | EcnPolicy::Bleach => 0,
        };
        Fate {
            loss,
            is_reordered: hits(self.reorder, ordinal, spec.reorder_ppm),
            is_duplicated: hits(self.duplicate, ordinal, spec.duplicate_ppm),
            jitter: self.jitter(2 * ordinal, spec.jitter),
            jitter_of_second: self.jitter(2 * ordinal + 1, spec.jitter),
            damage: hits(self.corrupt, ordinal, spec.corrupt_ppm)
                .then(|| Damage::of(self.damage.draw(ordinal), len))
                .flatten(),
            is_marked: hits(self.ecn_mark, ordinal, mark_ppm),
        }
    }

    /// Whether a datagram falls into a run of losses. A run goes on after each of its datagrams with
    /// the same probability, so its length is distributed geometrically.
    fn burst(&mut self, ordinal: u64, spec: &LinkSpec) -> bool {
        let Some(burst) = spec.burst else {
            self.is_in_burst = false;
            return false;
        };
        let is_in_burst = self.is_in_burst || hits(self.burst, 2 * ordinal, burst.start_ppm);
        let ends = || {
            let mean = u64::from(burst.length_mean.max(1));
            self.burst.draw(2 * ordinal + 1).is_multiple_of(mean)
        };
        self.is_in_burst = is_in_burst && !ends();
        is_in_burst
    }

    /// Evenly from nothing to `max`.
    fn jitter(&self, ordinal: u64, max: Duration) -> Duration {
        if max.is_zero() {
            return max;
        }
        let max = u64::try_from(max.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.jitter.between(ordinal, 0, max))
    }
}

/// Whether a draw is one of `ppm` in a million; most links have few faults, and a draw costs time.
fn hits(chance: Chance, ordinal: u64, ppm: u32) -> bool {
    ppm > 0 && chance.hits(ordinal, ppm)
}

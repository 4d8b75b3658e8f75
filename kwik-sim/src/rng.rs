//! Chance that can be repeated.
//!
//! Owns the only source of randomness of the simulated world. A draw is a function of the seed, of
//! what it is for, of whom it concerns and of its ordinal there; so taking one fault out of a
//! scenario leaves the draws of all others as they were.

/// What a draw is for. Each has a stream of draws of its own, which its number stands for: a number
/// that changes changes what every seed means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// Whether a link loses a datagram.
    Loss = 0,
    /// Whether a link holds a datagram back.
    Reorder = 1,
    /// Whether a link delivers a datagram twice.
    Duplicate = 2,
    /// The entropy that a host's endpoint starts from.
    EndpointSeed = 3,
    /// The private key of a host.
    IdentityKey = 4,
    /// The key that the servers of a deployment share.
    MasterKey = 5,
    /// The content of the streams.
    Content = 6,
    /// Choices of a scenario: when something happens.
    Schedule = 7,
    /// By how much a link delays a datagram, or its second copy.
    Jitter = 8,
    /// Whether a run of losses begins, or ends.
    Burst = 9,
    /// Whether a link damages a datagram.
    Corrupt = 10,
    /// How it damages one.
    Damage = 11,
    /// Whether a link marks a datagram as having met congestion.
    EcnMark = 12,
    /// The bytes that a scenario is made from.
    Scenario = 13,
    /// Choices of a hostile secondary.
    Hostility = 14,
}

/// A stream of draws.
#[derive(Clone, Copy, Debug)]
pub struct Chance {
    key: u64,
}

impl Chance {
    /// The draws for `purpose`, as far as they concern `subject` (a host, a link…).
    #[must_use]
    pub const fn new(seed: u64, purpose: Purpose, subject: u64) -> Self {
        let key = mix(mix(mix(seed) ^ (purpose as u64 + 1)) ^ subject);
        Self { key }
    }

    /// The draw with this ordinal.
    #[must_use]
    pub const fn draw(self, ordinal: u64) -> u64 {
        mix(self.key ^ mix(ordinal.wrapping_add(GOLDEN)))
    }

    /// Whether the draw with this ordinal is one of `ppm` in a million.
    #[must_use]
    pub const fn hits(self, ordinal: u64, ppm: u32) -> bool {
        self.draw(ordinal) % 1_000_000 < ppm as u64
    }

    /// The draw with this ordinal, scaled to `low..=high`.
    #[must_use]
    pub const fn between(self, ordinal: u64, low: u64, high: u64) -> u64 {
        match high.wrapping_sub(low).wrapping_add(1) {
            0 => self.draw(ordinal),
            span => low.wrapping_add(self.draw(ordinal) % span),
        }
    }

    /// 32 bytes of entropy.
    #[must_use]
    pub fn bytes(self, ordinal: u64) -> [u8; 32] {
        let mut bytes = [0; 32];
        let key = Self {
            key: self.draw(ordinal),
        };
        for (word, at) in bytes.chunks_exact_mut(8).zip(0..) {
            word.copy_from_slice(&key.draw(at).to_le_bytes());
        }
        bytes
    }
}

pub(crate) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finalizer of SplitMix64: every input bit reaches every output bit.
pub(crate) const fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(GOLDEN);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_of_different_purposes_and_subjects_differ() {
        let loss = Chance::new(7, Purpose::Loss, 1);
        assert_ne!(loss.draw(0), Chance::new(7, Purpose::Reorder, 1).draw(0));
        assert_ne!(loss.draw(0), Chance::new(7, Purpose::Loss, 2).draw(0));
        assert_ne!(loss.draw(0), Chance::new(8, Purpose::Loss, 1).draw(0));
        assert_ne!(loss.draw(0), loss.draw(1));
        assert_eq!(loss.draw(5), Chance::new(7, Purpose::Loss, 1).draw(5));
        assert_ne!(loss.bytes(0), loss.bytes(1));
    }

    #[test]
    fn one_percent_is_about_one_percent() {
        let chance = Chance::new(3, Purpose::Loss, 0);
        let hits = (0..100_000).filter(|&i| chance.hits(i, 10_000)).count();
        assert!((900..1100).contains(&hits), "{hits}");
        assert!(!(0..1000).any(|i| chance.hits(i, 0)));
        assert!((0..1000).all(|i| chance.hits(i, 1_000_000)));
    }

    #[test]
    fn a_scaled_draw_stays_within_its_bounds() {
        let chance = Chance::new(3, Purpose::Schedule, 0);
        assert!((0..1000).all(|i| (20..=80).contains(&chance.between(i, 20, 80))));
        assert_eq!(chance.between(1, 5, 5), 5);
        assert_eq!(chance.between(1, 0, u64::MAX), chance.draw(1));
    }
}

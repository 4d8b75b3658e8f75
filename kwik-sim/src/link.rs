//! One direction of the network between two hosts.
//!
//! Owns what happens to a datagram on its way: serialization at a rate, a queue with an end, latency,
//! loss, being held back, being doubled. Never sees what a datagram carries.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::rng::{Chance, Purpose};

/// IPv4 and UDP headers: they take their share of the bandwidth.
const HEADER_BYTES: u64 = 28;

/// The properties of a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinkSpec {
    /// One-way delay.
    #[serde(with = "humantime_serde")]
    pub latency: Duration,
    /// Rate in bits per second, headers included; `None`: no limit and no queue.
    pub bandwidth_bits_per_second: Option<u64>,
    /// Bytes that wait for their turn; a datagram that finds no room is lost.
    pub queue_max_bytes: u64,
    /// Of a million datagrams, how many are lost at random.
    pub loss_ppm: u32,
    /// Of a million datagrams, how many are held back for [`Self::reorder_delay`].
    pub reorder_ppm: u32,
    /// Up to so much is added to the one-way delay, drawn for each datagram: they may overtake each
    /// other.
    #[serde(with = "humantime_serde")]
    pub jitter: Duration,
    /// Losses in runs, besides those by [`Self::loss_ppm`].
    pub burst: Option<Burst>,
    /// Of a million datagrams, how many arrive with a bit flipped or cut short.
    pub corrupt_ppm: u32,
    /// What becomes of ECN marks.
    pub ecn: EcnPolicy,
    /// The first 64 datagrams: those whose bit is set are lost, the lowest bit is the first.
    pub drop_first: u64,
    /// How long such a datagram is held back.
    #[serde(with = "humantime_serde")]
    pub reorder_delay: Duration,
    /// Of a million datagrams, how many arrive twice.
    pub duplicate_ppm: u32,
    /// Largest UDP payload in bytes; a larger datagram vanishes.
    pub payload_max_bytes: usize,
}

/// Losses in runs: a link that is well and now and then is not (Gilbert and Elliott).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Burst {
    /// Of a million datagrams, how many begin a run of losses.
    pub start_ppm: u32,
    /// Datagrams of a run, on average.
    pub length_mean: u32,
}

/// What a link does to ECN marks (RFC 3168).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum EcnPolicy {
    /// They arrive as they were sent.
    #[default]
    Keep,
    /// They are cleared.
    Bleach,
    /// Of a million datagrams that are capable of it, so many are marked as having met congestion.
    Mark {
        /// How many.
        ppm: u32,
    },
}

impl Default for LinkSpec {
    /// 100 Mbit/s, 10 ms each way, a queue of 256 KiB (about one round trip), no faults.
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(10),
            bandwidth_bits_per_second: Some(100_000_000),
            queue_max_bytes: 256 << 10,
            loss_ppm: 0,
            reorder_ppm: 0,
            reorder_delay: Duration::from_millis(5),
            duplicate_ppm: 0,
            jitter: Duration::ZERO,
            burst: None,
            corrupt_ppm: 0,
            ecn: EcnPolicy::Keep,
            drop_first: 0,
            payload_max_bytes: 1472,
        }
    }
}

/// What became of the datagrams that a link was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// Given to the link.
    pub datagrams: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Lost because the queue was full.
    pub overflowed: u64,
    /// Lost because they were too large.
    pub oversized: u64,
    /// Lost because the link was cut.
    pub cut: u64,
    /// Delivered twice.
    pub duplicated: u64,
    /// Held back.
    pub reordered: u64,
}

/// When a datagram arrives: not at all, once, or twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrivals {
    /// The first copy.
    pub first: Option<Duration>,
    /// The second copy.
    pub second: Option<Duration>,
}

/// One direction between two hosts.
#[derive(Debug)]
pub struct Link {
    spec: LinkSpec,
    is_cut: bool,
    /// When the last datagram in the queue will have been serialized.
    busy_until: Duration,
    loss: Chance,
    reorder: Chance,
    duplicate: Chance,
    stats: LinkStats,
}

impl Link {
    /// A link whose faults are those that `seed` has for the link named `ordinal`.
    #[must_use]
    pub fn new(seed: u64, ordinal: u64, spec: LinkSpec) -> Self {
        Self {
            spec,
            is_cut: false,
            busy_until: Duration::ZERO,
            loss: Chance::new(seed, Purpose::Loss, ordinal),
            reorder: Chance::new(seed, Purpose::Reorder, ordinal),
            duplicate: Chance::new(seed, Purpose::Duplicate, ordinal),
            stats: LinkStats::default(),
        }
    }

    /// The properties.
    #[must_use]
    pub fn spec(&self) -> &LinkSpec {
        &self.spec
    }

    /// Changes the properties for what is sent from now on.
    pub fn spec_mut(&mut self) -> &mut LinkSpec {
        &mut self.spec
    }

    /// What happened so far.
    #[must_use]
    pub fn stats(&self) -> LinkStats {
        self.stats
    }

    /// Whether nothing passes.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Lets nothing pass, or everything again. What is under way when a cut begins is lost too if it
    /// would arrive during the cut.
    pub fn set_cut(&mut self, cut: bool) {
        self.is_cut = cut;
    }

    /// Counts a datagram that would have arrived during a cut.
    pub(crate) fn count_cut(&mut self) {
        self.stats.cut += 1;
    }

    /// Takes a datagram with `len` bytes of payload.
    pub fn carry(&mut self, now: Duration, len: usize) -> Arrivals {
        let ordinal = self.stats.datagrams;
        self.stats.datagrams += 1;
        if self.is_cut {
            self.stats.cut += 1;
            return Arrivals::default();
        }
        if len > self.spec.payload_max_bytes {
            self.stats.oversized += 1;
            return Arrivals::default();
        }
        let Some(sent) = self.serialize(now, len as u64 + HEADER_BYTES) else {
            self.stats.overflowed += 1;
            return Arrivals::default();
        };
        // A datagram that is lost further on has taken its share of the bandwidth.
        if self.loss.hits(ordinal, self.spec.loss_ppm) {
            self.stats.lost += 1;
            return Arrivals::default();
        }
        let mut arrival = sent + self.spec.latency;
        if self.reorder.hits(ordinal, self.spec.reorder_ppm) {
            self.stats.reordered += 1;
            arrival += self.spec.reorder_delay;
        }
        let second = self.duplicate.hits(ordinal, self.spec.duplicate_ppm);
        self.stats.duplicated += u64::from(second);
        Arrivals {
            first: Some(arrival),
            second: second.then_some(arrival),
        }
    }

    /// When the last bit has left; `None` if there is no room in the queue.
    fn serialize(&mut self, now: Duration, len: u64) -> Option<Duration> {
        let Some(rate) = self.spec.bandwidth_bits_per_second else {
            return Some(now);
        };
        let start = self.busy_until.max(now);
        let waiting = bytes_in(start - now, rate);
        if waiting > 0 && waiting + len > self.spec.queue_max_bytes {
            return None;
        }
        self.busy_until = start + time_for(len, rate);
        Some(self.busy_until)
    }
}

/// How long `len` bytes take.
fn time_for(len: u64, bits_per_second: u64) -> Duration {
    Duration::from_nanos(len * 8 * 1_000_000_000 / bits_per_second.max(1))
}

/// How many bytes pass in a time.
fn bytes_in(time: Duration, bits_per_second: u64) -> u64 {
    let bits = time.as_nanos() * u128::from(bits_per_second) / 1_000_000_000;
    u64::try_from(bits / 8).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn link(spec: LinkSpec) -> Link {
        Link::new(1, 0, spec)
    }

    #[test]
    fn datagrams_arrive_in_order_at_the_rate_of_the_link() {
        // 1,000,000 bytes a second: one datagram of 1000 bytes with its headers each millisecond.
        let mut link = link(LinkSpec {
            bandwidth_bits_per_second: Some(8_000_000),
            ..LinkSpec::default()
        });
        for i in 1..=20 {
            let arrivals = link.carry(Duration::ZERO, 972);
            assert_eq!(arrivals.first, Some(i * MS + 10 * MS));
            assert_eq!(arrivals.second, None);
        }
        // Once the queue has emptied, the next one does not wait.
        assert_eq!(link.carry(40 * MS, 972).first, Some(51 * MS));
    }

    #[test]
    fn a_full_queue_loses_what_comes_last() {
        let mut link = link(LinkSpec {
            bandwidth_bits_per_second: Some(8_000_000),
            queue_max_bytes: 5_000,
            ..LinkSpec::default()
        });
        let carried = (0..10).filter(|_| link.carry(Duration::ZERO, 972).first.is_some());
        assert_eq!(carried.count(), 5);
        assert_eq!(link.stats().overflowed, 5);
        assert!(link.carry(MS, 972).first.is_some(), "one has left");
    }

    #[test]
    fn a_queue_that_is_smaller_than_a_datagram_still_carries_one() {
        let mut link = link(LinkSpec {
            queue_max_bytes: 0,
            ..LinkSpec::default()
        });
        assert!(link.carry(Duration::ZERO, 1200).first.is_some());
        assert!(link.carry(Duration::ZERO, 1200).first.is_none());
    }

    #[test]
    fn a_cut_link_carries_nothing_until_it_is_healed() {
        let mut link = link(LinkSpec::default());
        link.set_cut(true);
        assert_eq!(link.carry(Duration::ZERO, 100), Arrivals::default());
        link.set_cut(false);
        assert!(link.carry(Duration::ZERO, 100).first.is_some());
        assert_eq!(link.stats().cut, 1);
    }

    #[test]
    fn what_is_too_large_vanishes() {
        let mut link = link(LinkSpec::default());
        assert!(link.carry(Duration::ZERO, 1472).first.is_some());
        assert!(link.carry(Duration::ZERO, 1473).first.is_none());
    }

    /// The ordinals of the datagrams that a link loses.
    fn losses(spec: LinkSpec) -> Vec<u32> {
        let mut link = link(spec);
        let lost = |i: &u32| link.carry(*i * MS, 100).first.is_none();
        (0..2000).filter(lost).collect()
    }

    #[test]
    fn one_fault_does_not_shift_another() {
        let alone = LinkSpec {
            loss_ppm: 20_000,
            ..LinkSpec::default()
        };
        let together = LinkSpec {
            reorder_ppm: 100_000,
            duplicate_ppm: 100_000,
            ..alone.clone()
        };
        let lost = losses(alone);
        assert!((20..60).contains(&lost.len()), "{}", lost.len());
        assert_eq!(lost, losses(together));
    }

    #[test]
    fn held_back_datagrams_are_overtaken_and_doubled_ones_come_twice() {
        let mut link = link(LinkSpec {
            reorder_ppm: 200_000,
            duplicate_ppm: 200_000,
            bandwidth_bits_per_second: None,
            ..LinkSpec::default()
        });
        let arrivals: Vec<_> = (0..200).map(|i| link.carry(i * MS, 100)).collect();
        assert!(
            arrivals
                .windows(2)
                .any(|pair| pair[0].first > pair[1].first)
        );
        let twice = arrivals.iter().filter(|a| a.second.is_some()).count() as u64;
        assert_eq!(twice, link.stats().duplicated);
        assert!(twice > 20);
    }
}

//! One direction of the network between two hosts.
//!
//! Owns what happens to a datagram on its way: serialization at a rate, a queue with an end, latency,
//! and what chance has for it. Never sees what a datagram carries.

mod fate;

use std::time::Duration;

use kwik_core::datagram::Ecn;
use serde::{Deserialize, Serialize};

pub use self::fate::Damage;
use self::fate::{Fates, Loss};

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
    /// The first 64 datagrams that the link is ever given: those whose bit is set are lost, the
    /// lowest bit is the first.
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

impl LinkSpec {
    /// Datagrams of a million that do not arrive whole, on average.
    #[must_use]
    pub fn lost_ppm(&self) -> u64 {
        let burst = self.burst.map_or(0, |burst| {
            u64::from(burst.start_ppm) * u64::from(burst.length_mean)
        });
        u64::from(self.loss_ppm) + u64::from(self.corrupt_ppm) + burst
    }
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

/// What became of the datagrams that a link was given. Each loss has one reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// Given to the link.
    pub datagrams: u64,
    /// Lost because they were among the first and [`LinkSpec::drop_first`] names them.
    pub dropped_first: u64,
    /// Lost by chance, alone.
    pub lost: u64,
    /// Lost by chance, in a run.
    pub burst_lost: u64,
    /// Lost because the queue was full.
    pub overflowed: u64,
    /// Lost because they were too large.
    pub oversized: u64,
    /// Lost because the link was cut.
    pub cut: u64,
    /// Lost because their receiver has another address by now.
    pub astray: u64,
    /// Delivered twice.
    pub duplicated: u64,
    /// Held back.
    pub reordered: u64,
    /// Delayed by jitter.
    pub jittered: u64,
    /// Delivered damaged.
    pub corrupted: u64,
    /// Marked as having met congestion.
    pub ecn_marked: u64,
    /// Robbed of their ECN mark.
    pub ecn_bleached: u64,
}

/// How a datagram arrives: not at all, once, or twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrivals {
    /// When the first copy arrives.
    pub first: Option<Duration>,
    /// When the second copy does.
    pub second: Option<Duration>,
    /// What happened to the first copy; the second is as it was sent.
    pub damage: Option<Damage>,
    /// The ECN mark of both.
    pub ecn: Option<Ecn>,
}

/// One direction between two hosts.
#[derive(Debug)]
pub struct Link {
    spec: LinkSpec,
    is_cut: bool,
    /// When the last datagram in the queue will have been serialized.
    busy_until: Duration,
    fates: Fates,
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
            fates: Fates::new(seed, ordinal),
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

    /// Counts a datagram that arrives where its receiver no longer is.
    pub(crate) fn count_astray(&mut self) {
        self.stats.astray += 1;
    }

    /// Takes a datagram with `len` bytes of payload and this ECN mark.
    pub fn carry(&mut self, now: Duration, len: usize, ecn: Option<Ecn>) -> Arrivals {
        // Whatever becomes of it, it has used up its draws.
        let fate = self.fates.next(&self.spec, len);
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
        if let Some(loss) = fate.loss {
            *match loss {
                Loss::First => &mut self.stats.dropped_first,
                Loss::Burst => &mut self.stats.burst_lost,
                Loss::Chance => &mut self.stats.lost,
            } += 1;
            return Arrivals::default();
        }
        self.stats.reordered += u64::from(fate.is_reordered);
        self.stats.duplicated += u64::from(fate.is_duplicated);
        self.stats.jittered += u64::from(fate.jitter > Duration::ZERO);
        self.stats.corrupted += u64::from(fate.damage.is_some());
        let held_back = if fate.is_reordered {
            self.spec.reorder_delay
        } else {
            Duration::ZERO
        };
        let arrival = sent + self.spec.latency + held_back;
        Arrivals {
            first: Some(arrival + fate.jitter),
            second: fate
                .is_duplicated
                .then_some(arrival + fate.jitter_of_second),
            damage: fate.damage,
            ecn: self.pass_ecn(ecn, fate.is_marked),
        }
    }

    /// The ECN mark with which a datagram arrives.
    fn pass_ecn(&mut self, sent: Option<Ecn>, is_marked: bool) -> Option<Ecn> {
        let arrives = match self.spec.ecn {
            EcnPolicy::Bleach => None,
            EcnPolicy::Mark { .. } if is_marked => sent.map(|_| Ecn::Ce),
            EcnPolicy::Keep | EcnPolicy::Mark { .. } => sent,
        };
        if arrives != sent {
            self.stats.ecn_bleached += u64::from(arrives.is_none());
            self.stats.ecn_marked += u64::from(arrives.is_some());
        }
        arrives
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
mod tests;

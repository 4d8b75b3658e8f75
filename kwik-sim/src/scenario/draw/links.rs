//! What the links are like.

use std::time::Duration;

use super::Draw;
use crate::link::{Burst, EcnPolicy, LinkSpec};
use crate::scenario::Server;

/// An Ethernet frame: what a queue of so many packets has room for.
const PACKET_BYTES: u64 = 1500;

/// Payload without which there is no QUIC handshake.
const HANDSHAKE_PAYLOAD_BYTES: usize = 1200;

/// Of 256 links, so many have a property that is in play: often only one direction, or only one
/// server, is afflicted.
const AFFLICTED_OF_256: u64 = 150;

/// In what a link may differ from a clean one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ill {
    Latency,
    Jitter,
    Bandwidth,
    Loss,
    Burst,
    Reorder,
    Duplicate,
    Corrupt,
    Payload,
    Ecn,
    FirstDrops,
}

impl Ill {
    /// All of them; what depends on another property comes after it.
    pub(super) const ALL: [Self; 11] = [
        Self::Latency,
        Self::Jitter,
        Self::Bandwidth,
        Self::Loss,
        Self::Burst,
        Self::Reorder,
        Self::Duplicate,
        Self::Corrupt,
        Self::Payload,
        Self::Ecn,
        Self::FirstDrops,
    ];

    /// Those that may come for a while.
    const PASSING: [Self; 9] = [
        Self::Loss,
        Self::Latency,
        Self::Jitter,
        Self::Bandwidth,
        Self::Burst,
        Self::Reorder,
        Self::Duplicate,
        Self::Corrupt,
        Self::Ecn,
    ];
}

impl Draw<'_> {
    /// One direction of a link.
    pub(super) fn link(&mut self, ills: &[Ill]) -> LinkSpec {
        let mut link = LinkSpec::default();
        for &ill in ills {
            if self.chance(AFFLICTED_OF_256) {
                self.afflict(&mut link, ill);
            }
        }
        settle(&mut link);
        link
    }

    /// What a link becomes for a while, in one or two respects.
    pub(super) fn storm(&mut self, mut link: LinkSpec) -> LinkSpec {
        for _ in 0..self.between(1, 2) {
            let ill = self.one(&Ill::PASSING);
            self.afflict(&mut link, ill);
        }
        settle(&mut link);
        link
    }

    fn afflict(&mut self, link: &mut LinkSpec, ill: Ill) {
        match ill {
            Ill::Latency => {
                let millis = [20, 0, 1, 2, 5, 50, 75, 100, 150, 200, 300, 400];
                link.latency = self.millis(&millis);
            }
            Ill::Jitter => link.jitter = link.latency * self.one(&[10_u32, 25, 50, 100]) / 100,
            Ill::Bandwidth => self.narrow(link),
            Ill::Loss => link.loss_ppm = self.rare_ppm(),
            Ill::Corrupt => link.corrupt_ppm = self.rare_ppm(),
            Ill::Burst => {
                let length_mean = self.one(&[3, 2, 5, 10, 20, 50]);
                // Of all datagrams, so many are lost.
                let lost_ppm = self.one(&[10_000, 2_000, 30_000, 60_000]);
                link.burst = Some(Burst {
                    start_ppm: lost_ppm / length_mean,
                    length_mean,
                });
            }
            Ill::Reorder => {
                link.reorder_ppm = self.one(&[10_000, 1_000, 50_000, 200_000]);
                let packets = self.one(&[3, 1, 10, 30, 100]);
                link.reorder_delay = delay_of_packets(link, packets);
            }
            Ill::Duplicate => {
                link.duplicate_ppm = self.one(&[10_000, 50_000, 200_000, 500_000]);
            }
            Ill::Payload => {
                let payloads = [1200, 1232, 1280, 1350, 1400, 1440, 1000];
                link.payload_max_bytes = self.one(&payloads);
            }
            Ill::Ecn => {
                let mark = |ppm| EcnPolicy::Mark { ppm };
                let policies = [
                    EcnPolicy::Bleach,
                    mark(10_000),
                    mark(200_000),
                    mark(1_000_000),
                ];
                link.ecn = self.one(&policies);
            }
            Ill::FirstDrops => link.drop_first = self.between(1, 255),
        }
    }

    /// A rate and a queue.
    fn narrow(&mut self, link: &mut LinkSpec) {
        let kilobits = [
            10_000, 250, 500, 1_000, 2_000, 5_000, 20_000, 50_000, 200_000, 500_000, 1_000_000,
        ];
        link.bandwidth_bits_per_second = Some(self.one(&kilobits) * 1000);
        let packets = self.one(&[25, 2, 5, 10, 50, 100, 250, 1000]);
        link.queue_max_bytes = packets * PACKET_BYTES;
        if self.chance(20) {
            link.bandwidth_bits_per_second = None;
        }
    }

    /// Mostly up to 5 %, now and then up to 30 %.
    fn rare_ppm(&mut self) -> u32 {
        match self.chance(32) {
            true => self.one(&[100_000, 150_000, 200_000, 300_000]),
            false => self.one(&[10_000, 1_000, 3_000, 20_000, 30_000, 50_000]),
        }
    }
}

/// The time in which a link serializes so many packets, in whole milliseconds; at most a second.
fn delay_of_packets(link: &LinkSpec, packets: u64) -> Duration {
    let rate = link.bandwidth_bits_per_second.unwrap_or(1_000_000_000);
    let millis = (packets * PACKET_BYTES * 8 * 1000).div_ceil(rate.max(1));
    Duration::from_millis(millis.clamp(1, 1000))
}

/// Without a rate and without a latency, a transfer would take no time at all.
fn settle(link: &mut LinkSpec) {
    if link.bandwidth_bits_per_second.is_none() && link.latency.is_zero() {
        link.latency = Duration::from_millis(1);
    }
}

/// Lets datagrams pass that are as long as those of a handshake.
pub(super) fn let_handshakes_pass(server: &mut Server) {
    for link in [&mut server.uplink, &mut server.downlink] {
        link.payload_max_bytes = link.payload_max_bytes.max(HANDSHAKE_PAYLOAD_BYTES);
    }
}

/// The round trip to a server, without queues.
pub(super) fn round_trip(server: &Server) -> Duration {
    let way = |link: &LinkSpec| link.latency + link.jitter / 2;
    way(&server.uplink) + way(&server.downlink)
}

/// About so many bytes a second come from a server over these links.
pub(super) fn rate(server: &Server, window_bytes: u64) -> u64 {
    let down = &server.downlink;
    let millis = u64::try_from(round_trip(server).as_millis()).unwrap_or(u64::MAX);
    let per_second = |bytes: u64| bytes.saturating_mul(1000) / millis.max(1);
    let line = down
        .bandwidth_bits_per_second
        .map_or(u64::MAX, |bits| bits / 8);
    // A congestion window follows from the losses as Mathis and others found: 1.2 datagrams by the
    // square root of their share.
    let lost = down.lost_ppm();
    let datagrams_bytes = 1_440 * 1_000;
    let window = match lost.isqrt() {
        0 => window_bytes,
        root => window_bytes.min(datagrams_bytes / root),
    };
    // With more, time-outs are what counts.
    let patience = if lost.max(server.uplink.lost_ppm()) > 60_000 {
        8
    } else {
        1
    };
    per_second(window).min(line) / patience
}

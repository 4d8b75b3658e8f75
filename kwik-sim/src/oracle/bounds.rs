//! I7: what endpoints hold is within its bounds.
//!
//! Owns the bounds of a scenario, and holds the gauges of a host against them. Everything that is
//! bounded by the configuration of kwik-core is looked at, at every end.

use kwik_core::Config;
use kwik_core::endpoint::{
    ClientGauges, EndpointGauges, PrimaryGauges, SecondaryGauges, SessionGauges,
};

use super::Breach;
use crate::host::KwikNode;
use crate::scenario::Scenario;

/// Most bytes of one control frame: its type, its length and the payload of a GRANT [CTL-4].
const FRAME_MAX_BYTES: usize = 20_480 + 8;

/// Memory of a client besides twice its windows.
const CLIENT_EXTRA_BYTES: u64 = 64 << 10;

/// What a gap may cost besides: a block of memory of its own, and its place in a table. Windows of 3 MiB
/// and more would have room for all gaps that eight paths may leave; smaller ones have not, and how many
/// gaps lost packets make in them depends on the length of the packets.
const GAP_BYTES: u64 = 128;

/// The bounds.
#[derive(Debug)]
pub(super) struct Bounds {
    /// Bytes that may wait in the reassembly of a client.
    pub(super) window_bytes: u64,
    /// Where the others stand.
    pub(super) config: Config,
}

/// A size, how much it is and how much it may be.
type Size = (&'static str, u64, u64);

impl Bounds {
    pub(super) fn of(scenario: &Scenario) -> Self {
        let config = scenario.tuning.config();
        let client = &config.client;
        let asks = scenario.asks.len() as u64;
        let reserves = asks * client.stream_reserve_bytes;
        let streams = asks * client.stream_window_bytes;
        Self {
            window_bytes: streams.min(client.session_window_bytes + reserves),
            config,
        }
    }

    /// Looks at an endpoint and at all its sessions.
    pub(super) fn check(&self, node: &KwikNode) -> Result<(), Breach> {
        let endpoint = node.endpoint();
        within(&self.of_endpoint(&endpoint.gauges()))?;
        for session in node.sessions() {
            match endpoint.session_gauges(session) {
                Some(SessionGauges::Client(gauges)) => within(&self.of_client(&gauges))?,
                Some(SessionGauges::Primary(gauges)) => within(&self.of_primary(&gauges))?,
                Some(SessionGauges::Secondary(gauges)) => within(&self.of_secondary(&gauges))?,
                None => {}
            }
        }
        Ok(())
    }

    fn of_endpoint(&self, is: &EndpointGauges) -> [Size; 4] {
        let may = &self.config.quic;
        [
            size("clients", is.clients, may.connections_max),
            size("handshakes", is.handshakes, may.handshakes_max),
            size("answers", is.responses, EndpointGauges::RESPONSES_MAX),
            // All were taken before the turn ended.
            size("events", is.events, 0),
        ]
    }

    fn of_client(&self, is: &ClientGauges) -> [Size; 14] {
        let (quic, may) = (&self.config.quic, &self.config.client);
        let memory = 2 * self.window_bytes + CLIENT_EXTRA_BYTES + GAP_BYTES * is.gaps as u64;
        let carriers = (may.dial.paths_max + 1) * quic.segments_max as usize;
        [
            ("buffered bytes", is.buffered_bytes, self.window_bytes),
            ("pinned bytes", is.pinned_bytes, memory),
            size(
                "gaps of a stream",
                is.stream_gaps_max,
                may.reassembly_ranges_max,
            ),
            // The last one costs it its path.
            size(
                "gaps of a path",
                is.path_gaps_max,
                may.gaps_per_path_max + 1,
            ),
            unread_control(is.control_unsent_bytes_max, may.control_unread_bytes_max),
            size(
                "waiting control bytes",
                is.control_waiting_bytes_max,
                may.outbox_bytes_max,
            ),
            half_a_frame(is.control_partial_bytes_max),
            size(
                "grants of a path",
                is.grants_per_path_max,
                may.grants_per_path_max,
            ),
            size("streams", is.streams, 2 * quic.bidi_streams_max as usize),
            size("segments", is.segments, carriers),
            size("paths", is.paths, may.dial.paths_max),
            size("dials", is.dials, may.dial.dials_max),
            size("ended paths", is.paths_ended, may.path_history_max),
            size("events", is.events, quic.bidi_streams_max as usize),
        ]
    }

    fn of_primary(&self, is: &PrimaryGauges) -> [Size; 7] {
        let (quic, may) = (&self.config.quic, &self.config.server);
        [
            unread_control(is.control_unsent_bytes, may.control_unread_bytes_max),
            half_a_frame(is.control_partial_bytes),
            size(
                "grants of a path",
                is.grants_per_path_max,
                may.grants_per_path_max,
            ),
            size("streams", is.streams, 2 * quic.bidi_streams_max as usize),
            size("open segments", is.segments, may.segments_open_max),
            size("ended paths", is.paths_ended, may.path_history_max),
            size("events", is.events, 0),
        ]
    }

    fn of_secondary(&self, is: &SecondaryGauges) -> [Size; 5] {
        let may = &self.config.server;
        [
            unread_control(is.control_unsent_bytes, may.control_unread_bytes_max),
            half_a_frame(is.control_partial_bytes),
            size("grants", is.grants, 2 * may.grants_per_path_max),
            size("segments", is.segments, is.grants),
            size("events", is.events, 0),
        ]
    }
}

fn size(name: &'static str, is: usize, may_be: usize) -> Size {
    (name, is as u64, may_be as u64)
}

fn unread_control(is: usize, may_be: usize) -> Size {
    size("unread control bytes", is, may_be)
}

fn half_a_frame(is: usize) -> Size {
    size("bytes of half a frame", is, FRAME_MAX_BYTES)
}

fn within(sizes: &[Size]) -> Result<(), Breach> {
    match sizes.iter().find(|(_, is, may_be)| is > may_be) {
        Some((name, is, may_be)) => Err(Breach::new("I7", format!("{name}: {is} of {may_be}"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;

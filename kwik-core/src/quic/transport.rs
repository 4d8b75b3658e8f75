//! How the QUIC connections of each role are set up.
//!
//! Owns the transport parameters: credit, windows, packet sizes, timers. Knows no connection.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn_proto::congestion::CubicConfig;
use quinn_proto::{AckFrequencyConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};

use super::valve::ValvedFactory;
use super::varint;
use crate::config::QuicConfig;

/// Smallest send window of a connection, bytes: a connection that begins can fill a few flights.
pub(super) const SEND_WINDOW_MIN_BYTES: u64 = 128 << 10;

/// Every QUIC path carries datagrams of this size (RFC 9000 §14), bytes.
const UDP_PAYLOAD_MIN_BYTES: u16 = 1200;
/// Largest value that QUIC can announce, bytes.
const UDP_PAYLOAD_LIMIT_BYTES: u16 = 65_527;

/// Round-trip time that is assumed on loopback before the first sample. The usual 333 ms would make
/// one lost datagram of a handshake cost a second.
const LOOPBACK_INITIAL_RTT: Duration = Duration::from_millis(100);

/// Packets that a peer may receive before it must acknowledge, and for how long it may wait.
///
/// Handling acknowledgements is a third of the cost of bulk sending. The delay is short because a
/// window of few packets, after losses or at the start, ends before the threshold is reached.
const ACK_THRESHOLD_PACKETS: u32 = 10;
const ACK_DELAY_MAX: Duration = Duration::from_millis(5);

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A client's connection to its primary.
    ClientToPrimary,
    /// A client's connection to a secondary.
    ClientToSecondary,
    /// A connection that a client made to this server.
    Server,
}

/// Where the peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// On this machine: datagrams may be large from the start.
    Loopback,
    /// Elsewhere: the size is discovered.
    Network,
}

impl Reach {
    pub(super) fn of(peer: IpAddr) -> Self {
        if peer.to_canonical().is_loopback() {
            Self::Loopback
        } else {
            Self::Network
        }
    }
}

/// The largest datagram that this endpoint takes, bytes.
pub(super) fn udp_payload_max(config: &QuicConfig) -> u16 {
    payload(
        config
            .udp_payload_max_bytes
            .max(config.udp_payload_loopback_bytes),
    )
}

/// The transport configuration of a connection.
pub(super) fn transport(config: &QuicConfig, role: Role, reach: Reach) -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport
        // Quiet connections stay; dead ones do not [CONN-9].
        .max_idle_timeout(IdleTimeout::try_from(config.idle_timeout).ok())
        .keep_alive_interval(Some(config.keep_alive))
        .send_window(SEND_WINDOW_MIN_BYTES)
        // All bytes of the protocol travel on streams.
        .datagram_receive_buffer_size(None);
    set_credit(&mut transport, config, role);
    set_packet_size(&mut transport, config, reach);
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(VarInt::from_u32(ACK_THRESHOLD_PACKETS))
        .max_ack_delay(Some(ACK_DELAY_MAX));
    transport.ack_frequency_config(Some(acks));
    Arc::new(transport)
}

/// Which streams the peer may open [CONN-6], and how much it may send on them [CONN-7].
fn set_credit(transport: &mut TransportConfig, config: &QuicConfig, role: Role) {
    let stream = u64::from(config.stream_receive_window_bytes);
    let (bidi, uni, window) = match role {
        // Streams that nobody reads must never hold up the control carrier: no limit over all.
        Role::ClientToPrimary => (config.bidi_streams_max, config.segments_max, u64::MAX),
        // No bidirectional credit at all: a secondary cannot open what an application would see.
        // Its segments are always drained, so that a finite window is safe.
        Role::ClientToSecondary => (
            0,
            config.segments_max,
            u64::from(config.secondary_receive_window_bytes),
        ),
        // As much as all streams may hold unread, and the control carrier besides.
        Role::Server => (
            config.bidi_streams_max,
            0,
            stream.saturating_mul(u64::from(config.bidi_streams_max).saturating_add(1)),
        ),
    };
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(bidi))
        .max_concurrent_uni_streams(VarInt::from_u32(uni))
        .stream_receive_window(varint(stream.min(window)))
        .receive_window(varint(window));
}

fn set_packet_size(transport: &mut TransportConfig, config: &QuicConfig, reach: Reach) {
    let largest = payload(match reach {
        Reach::Loopback => config.udp_payload_loopback_bytes,
        Reach::Network => config.udp_payload_max_bytes,
    });
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(largest);
    // A sender that may not exceed the minimum has nothing to discover (and its socket may fragment).
    transport.mtu_discovery_config((largest > UDP_PAYLOAD_MIN_BYTES).then_some(discovery));
    let mut congestion = CubicConfig::default();
    match reach {
        Reach::Loopback => {
            transport
                .initial_mtu(largest)
                .initial_rtt(LOOPBACK_INITIAL_RTT);
            // quinn's initial window is in bytes of small packets: less than one large packet, which
            // then could never be sent. Ten packets (RFC 9002 §7.2).
            congestion.initial_window(u64::from(largest).saturating_mul(10));
        }
        Reach::Network => {
            transport.initial_mtu(UDP_PAYLOAD_MIN_BYTES);
        }
    }
    // BBR of quinn-proto 0.11 does not pace by its own estimate and loses several times as much.
    let factory = ValvedFactory(Arc::new(congestion));
    transport.congestion_controller_factory(Arc::new(factory));
}

fn payload(bytes: u16) -> u16 {
    bytes.clamp(UDP_PAYLOAD_MIN_BYTES, UDP_PAYLOAD_LIMIT_BYTES)
}

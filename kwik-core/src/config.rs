//! Every setting and every bound, with its unit in its name.

mod check;

use std::net::IpAddr;
use std::time::Duration;

/// What is done with a second copy of bytes that are still buffered. Bytes already read are never
/// replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overlap {
    /// The copy that came first stays.
    #[default]
    FirstWins,
    /// The primary's copy replaces a secondary's; otherwise the first stays.
    PrimaryWins,
    /// A copy that differs discards what is buffered there, and the range goes back to the primary.
    Reject,
}

/// Settings of an endpoint. `Config::default()` needs no tuning. What other values may be,
/// [`Config::check`] tells; [`Endpoint::new`](crate::Endpoint::new) asks it.
#[derive(Clone, Debug)]
pub struct Config {
    /// Settings of the QUIC connections.
    pub quic: QuicConfig,
    /// Settings of client sessions.
    pub client: ClientConfig,
    /// Settings of server sessions, primary and secondary.
    pub server: ServerConfig,
}

/// Settings of the QUIC connections.
#[derive(Clone, Debug)]
pub struct QuicConfig {
    /// A connection on which nothing arrives for so long is lost.
    pub idle_timeout: Duration,
    /// A quiet connection sends a PING so often.
    pub keep_alive: Duration,
    /// Receive window of one QUIC stream, bytes: at least bandwidth times round-trip time.
    pub stream_receive_window_bytes: u32,
    /// Receive window of the client's connection to a secondary, bytes; it is always drained.
    pub secondary_receive_window_bytes: u32,
    /// Largest UDP payload to probe for on a path that leaves the machine, bytes.
    pub udp_payload_max_bytes: u16,
    /// UDP payload from the start between loopback addresses, bytes.
    pub udp_payload_loopback_bytes: u16,
    /// Upper bound of what a connection buffers for sending, bytes. The buffer follows the
    /// congestion window below it, so that an unsent tail can still be revoked.
    pub send_buffer_max_bytes: u64,
    /// Bidirectional streams that a peer may have open on a primary connection, the control
    /// carrier included.
    pub bidi_streams_max: u32,
    /// Segment carriers that a server may have open on one connection.
    pub segments_max: u32,
    /// Connections whose handshake is not done, at a server.
    pub handshakes_max: usize,
    /// Connections at a server.
    pub connections_max: usize,
}

/// Settings of client sessions.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// What is done with a second copy of bytes.
    pub overlap: Overlap,
    /// Credit past the read cursor of an aggregated stream, bytes.
    pub stream_window_bytes: u64,
    /// Sum of the credit of all aggregated streams of a session, bytes.
    pub session_window_bytes: u64,
    /// Credit that every aggregated stream has besides the session's, bytes.
    pub stream_reserve_bytes: u64,
    /// Gaps that the bytes of one path may leave in its own grants: lost packets make some, cutting
    /// bytes apart on purpose makes more.
    pub gaps_per_path_max: usize,
    /// Disjoint ranges that one stream's reassembly holds. The last resort: no path may be held to
    /// account for what others have used up, so it is out of reach of `gaps_per_path_max` of all
    /// paths.
    pub reassembly_ranges_max: usize,
    /// Which secondaries may be dialled.
    pub dial: DialPolicy,
    /// A path with grants that is silent for so long, while others are heard, is dead. Never below
    /// three probe timeouts.
    pub path_silence_max: Duration,
    /// A path whose granted and credited bytes do not begin to come for so long, or come more slowly
    /// than `grant_rate_min_bytes_per_second`, loses its grants.
    pub grant_start_max: Duration,
    /// What a path with granted and credited bytes has to bring, bytes a second on the average of
    /// `grant_start_max`. With 0 any byte will do: for applications whose secondaries produce the bytes
    /// as slowly as that.
    pub grant_rate_min_bytes_per_second: u32,
    /// A revoked grant that is not acknowledged for so long is final all the same.
    pub grant_drain_max: Duration,
    /// A read fails that waits for so long at a range that is reported lost and not brought, while the
    /// primary brings nothing else either; after four times as long if it does.
    pub hole_max: Duration,
    /// What has arrived of a session that is lost can be read for so long.
    pub leftover_max: Duration,
    /// Grants of one path that have no final status yet.
    pub grants_per_path_max: usize,
    /// Progress reports of a path are at least so far apart.
    pub progress_interval: Duration,
    /// Bytes of frames queued for a path that has not joined yet.
    pub outbox_bytes_max: usize,
    /// Bytes of control frames that wait for a server which does not read them; with more, the
    /// connection is given up.
    pub control_unread_bytes_max: usize,
    /// A retired path closes after so long, whatever it still has to bring.
    pub retire_max: Duration,
    /// Paths that have ended and are still listed.
    pub path_history_max: usize,
}

/// Which secondaries a client connects to.
#[derive(Clone, Debug)]
pub struct DialPolicy {
    /// Secondary paths that are neither dead nor retired.
    pub paths_max: usize,
    /// Dials at the same time; more wait.
    pub dials_max: usize,
    /// A dial of which nothing was heard for so long has failed; so has one without an accepted join so
    /// long after the server was reached, or after three times as long in all. A connection of which
    /// nothing was heard for a third of it, or that has led to no join after two thirds of it, is
    /// replaced by a fresh one.
    pub dial_deadline: Duration,
    /// Connections to secondaries that a session begins in a minute, those that replace another
    /// included. A path that needs one more is dead.
    pub dials_per_minute_max: usize,
    /// Those of them that go to one address and port.
    pub dials_per_minute_and_target_max: usize,
    /// Ports that are never dialled, whatever the address.
    pub ports_denied: Vec<u16>,
    /// Ports below this are not dialled, except 443.
    pub port_min: u16,
    /// Addresses that are allowed although the address classes forbid them.
    pub addrs_allowed: Vec<IpAddr>,
}

/// Settings of server sessions.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Bytes of one segment.
    pub segment_max_bytes: u64,
    /// Segments that the application has open on one session of the primary.
    pub segments_open_max: usize,
    /// Grants of one path that have no final status yet.
    pub grants_per_path_max: usize,
    /// Life of a join ticket; at least a minute, or it does not outlast waiting for a dial
    /// [JOIN-9].
    pub ticket_life: Duration,
    /// Tolerated difference between the wall clocks of two servers.
    pub clock_skew_max: Duration,
    /// A session whose first frame has not come for so long is closed.
    pub greeting_max: Duration,
    /// What a retired path has not brought for so long is taken back. Less than the clients'
    /// `retire_max` by what taking back takes, so that nothing is left for that to cut off.
    pub retire_max: Duration,
    /// Paths that have ended and are still listed.
    pub path_history_max: usize,
    /// Largest command or raw message, bytes.
    pub command_max_bytes: usize,
    /// Bytes of control frames that wait for QUIC; while there are more, a primary takes no orders.
    pub outbox_bytes_max: usize,
    /// Bytes of control frames that wait for a client which does not read them; with more, a server
    /// closes the session. Orders of plans alone can be 640 KiB for each path.
    pub control_unread_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            quic: QuicConfig {
                idle_timeout: Duration::from_secs(30),
                keep_alive: Duration::from_secs(10),
                stream_receive_window_bytes: 16 << 20,
                secondary_receive_window_bytes: 32 << 20,
                udp_payload_max_bytes: 1452,
                udp_payload_loopback_bytes: 9_000,
                send_buffer_max_bytes: 16 << 20,
                bidi_streams_max: 100,
                segments_max: 256,
                handshakes_max: 1024,
                connections_max: 16_384,
            },
            client: ClientConfig::default(),
            server: ServerConfig::default(),
        }
    }
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            overlap: Overlap::FirstWins,
            stream_window_bytes: 8 << 20,
            session_window_bytes: 64 << 20,
            stream_reserve_bytes: 64 << 10,
            gaps_per_path_max: 2048,
            reassembly_ranges_max: 32 << 10,
            dial: DialPolicy::default(),
            path_silence_max: Duration::from_millis(1500),
            grant_start_max: Duration::from_secs(5),
            grant_rate_min_bytes_per_second: 1 << 10,
            grant_drain_max: Duration::from_secs(2),
            hole_max: Duration::from_secs(30),
            leftover_max: Duration::from_secs(30),
            grants_per_path_max: 32,
            progress_interval: Duration::from_millis(100),
            outbox_bytes_max: 256 << 10,
            control_unread_bytes_max: 4 << 20,
            retire_max: Duration::from_secs(10),
            path_history_max: 64,
        }
    }
}

impl Default for DialPolicy {
    fn default() -> Self {
        Self {
            paths_max: 8,
            dials_max: 4,
            dial_deadline: Duration::from_secs(10),
            dials_per_minute_max: 60,
            dials_per_minute_and_target_max: 12,
            ports_denied: Vec::new(),
            port_min: 1024,
            addrs_allowed: Vec::new(),
        }
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            segment_max_bytes: 1 << 20,
            segments_open_max: 32,
            grants_per_path_max: 32,
            ticket_life: Duration::from_secs(60),
            clock_skew_max: Duration::from_secs(5),
            greeting_max: Duration::from_secs(10),
            retire_max: Duration::from_secs(8),
            path_history_max: 64,
            command_max_bytes: 16 << 10,
            outbox_bytes_max: 1 << 20,
            control_unread_bytes_max: 16 << 20,
        }
    }
}

//! How full a session is: the sizes of what has a bound, as they are now.
//!
//! Owns nothing: a runtime that wants to show or to limit what peers make it keep asks for these as
//! often as it likes. They are counted when asked for, in a walk over the paths and the streams of one
//! session; nothing is allocated.

/// What a session holds, by the role that this end plays in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionGauges {
    /// A session that this end began.
    Client(ClientGauges),
    /// A session whose primary this end is.
    Primary(PrimaryGauges),
    /// A session that this end joined as a secondary.
    Secondary(SecondaryGauges),
}

/// What a session at its client holds now. The bounds are those of
/// [`ClientConfig`](crate::config::ClientConfig), unless a line says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientGauges {
    /// Bytes that wait in all reassemblies. At most the windows of the streams, and of the session.
    pub buffered_bytes: u64,
    /// The memory under them, bytes: with what is spare in it, and with its bookkeeping.
    pub pinned_bytes: u64,
    /// Gaps in what all streams have received. A gap may cost about 100 bytes, which `pinned_bytes` has.
    pub gaps: usize,
    /// Gaps in what one stream has received, the most of any stream: `reassembly_ranges_max`.
    pub stream_gaps_max: usize,
    /// Gaps that one path has left in its own grants, the most of any path: `gaps_per_path_max`.
    pub path_gaps_max: usize,
    /// Bytes of control frames that one server has not read, the most of any:
    /// `control_unread_bytes_max`.
    pub control_unsent_bytes_max: usize,
    /// Bytes of control frames for one path that has not joined, the most of any: `outbox_bytes_max`.
    pub control_waiting_bytes_max: usize,
    /// Bytes of control frames of one server that are not whole yet, the most of any. One frame.
    pub control_partial_bytes_max: usize,
    /// Grants of one path without a final status, the most of any: `grants_per_path_max`.
    pub grants_per_path_max: usize,
    /// Streams that have not ended on both sides: as many as both ends may open,
    /// `bidi_streams_max` each.
    pub streams: usize,
    /// Segment carriers that are being read: `segments_max` of each connection.
    pub segments: usize,
    /// Secondary paths that have not ended: `paths_max`.
    pub paths: usize,
    /// Dials in progress: `dials_max`.
    pub dials: usize,
    /// Paths that have ended and are listed: `path_history_max`.
    pub paths_ended: usize,
    /// Events that the application has not taken. Bounded by its taking them: an endpoint with events
    /// wants to be called again at once.
    pub events: usize,
}

/// What a session at its primary holds now. The bounds are those of
/// [`ServerConfig`](crate::config::ServerConfig), unless a line says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrimaryGauges {
    /// Bytes of control frames that the client has not read: `control_unread_bytes_max`.
    pub control_unsent_bytes: usize,
    /// Bytes of a control frame of the client that is not whole yet. One frame.
    pub control_partial_bytes: usize,
    /// Grants of one path without a final status, the most of any: `grants_per_path_max`.
    pub grants_per_path_max: usize,
    /// Streams that have not ended on both sides: as many as both ends may open,
    /// `bidi_streams_max` each.
    pub streams: usize,
    /// Segments that the application has open on its own account: `segments_open_max`.
    pub segments: usize,
    /// Paths that have not ended: the application's to bound.
    pub paths: usize,
    /// Paths that have ended and are listed: `path_history_max`.
    pub paths_ended: usize,
    /// Events that the application has not taken. Bounded by its taking them: an endpoint with events
    /// wants to be called again at once.
    pub events: usize,
}

/// What a session at a secondary holds now. The bounds are those of
/// [`ServerConfig`](crate::config::ServerConfig), unless a line says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SecondaryGauges {
    /// Bytes of control frames that the client has not read: `control_unread_bytes_max`.
    pub control_unsent_bytes: usize,
    /// Bytes of a control frame of the client that is not whole yet. One frame.
    pub control_partial_bytes: usize,
    /// Grants that are neither filled nor given back: twice `grants_per_path_max`.
    pub grants: usize,
    /// Segments that are written to: one for each grant.
    pub segments: usize,
    /// Segments whose grant has ended: the application's to let go of.
    pub segments_ended: usize,
    /// Events that the application has not taken. Bounded by its taking them: an endpoint with events
    /// wants to be called again at once.
    pub events: usize,
}

/// What an endpoint holds now, over all its sessions. The bounds are those of
/// [`QuicConfig`](crate::config::QuicConfig), unless a line says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointGauges {
    /// Sessions that are not forgotten.
    pub sessions: usize,
    /// QUIC connections, those that this end dialled included.
    pub connections: usize,
    /// Connections of clients: `connections_max`.
    pub clients: usize,
    /// Handshakes of clients that are not done: `handshakes_max`.
    pub handshakes: usize,
    /// Answers to strangers that wait for the socket: [`RESPONSES_MAX`](Self::RESPONSES_MAX).
    pub responses: usize,
    /// Events of all sessions that the application has not taken.
    pub events: usize,
}

impl EndpointGauges {
    /// Answers to datagrams of no connection that wait for the socket at most.
    pub const RESPONSES_MAX: usize = crate::quic::RESPONSES_MAX;
}

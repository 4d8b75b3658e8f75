//! The boundary between the session layer and QUIC.
//!
//! Owns the vocabulary of that boundary: what a session may do to QUIC ([`Carriers`]), what it is
//! told ([`Input`]), and what it asks for besides ([`Output`]). Knows neither side.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::ids::{CarrierId, PathId};

/// What a session may do to QUIC. Implemented by `quic`, and by an in-memory model for tests.
///
/// Every call is total: on a carrier or path that is gone it returns [`CarrierEnd::Gone`] or does
/// nothing.
pub trait Carriers {
    /// Opens a bidirectional carrier: an application stream. `None`: no credit;
    /// [`Input::BidiCredit`] follows when there is some.
    ///
    /// # Errors
    ///
    /// [`CarrierEnd::Gone`] if the connection is closed.
    fn open_bidi(&mut self, path: PathId) -> Result<Option<CarrierId>, CarrierEnd>;

    /// Opens a unidirectional carrier: a segment. `None`: no credit; [`Input::UniCredit`] follows
    /// when there is some.
    ///
    /// # Errors
    ///
    /// [`CarrierEnd::Gone`] if the connection is closed.
    fn open_uni(&mut self, path: PathId) -> Result<Option<CarrierId>, CarrierEnd>;

    /// Takes bytes off the front of `data` until it is empty or QUIC takes no more; returns how
    /// many. If `data` is not empty afterwards, [`Input::Writable`] follows.
    ///
    /// # Errors
    ///
    /// [`CarrierEnd::Stopped`] if the peer wants no more of it; [`CarrierEnd::Gone`].
    fn write(&mut self, carrier: CarrierId, data: &mut Bytes) -> Result<usize, CarrierEnd>;

    /// As [`Self::write`], on a control carrier: bulk data that fills the connection's send buffer
    /// does not hold it up.
    ///
    /// # Errors
    ///
    /// As [`Self::write`].
    fn write_control(&mut self, carrier: CarrierId, data: &mut Bytes) -> Result<usize, CarrierEnd>;

    /// Ends the carrier behind what was written; [`Input::Finished`] tells when all of it arrived.
    ///
    /// # Errors
    ///
    /// As [`Self::write`].
    fn finish(&mut self, carrier: CarrierId) -> Result<(), CarrierEnd>;

    /// Gives up sending, what is still unsent included (RFC 9000 §19.4).
    fn reset(&mut self, carrier: CarrierId, code: u64);

    /// Asks the peer to send no more (RFC 9000 §19.5); what has arrived is dropped.
    fn stop(&mut self, carrier: CarrierId, code: u64);

    /// Sends a carrier with a higher priority before one with a lower.
    fn set_priority(&mut self, carrier: CarrierId, priority: i32);

    /// Hands the bytes that have arrived to `sink` together with their carrier offset, at most
    /// `max` bytes, until `sink` breaks or there is nothing more. A chunk that was handed over is
    /// consumed. Once a carrier was read with [`Order::Any`] it can never be read in order again.
    ///
    /// If the result is [`ReadState::Blocked`], [`Input::Readable`] follows.
    ///
    /// # Errors
    ///
    /// [`CarrierEnd::Reset`] if the peer reset it, [`CarrierEnd::Gone`] if it was read to its end.
    fn read(
        &mut self,
        carrier: CarrierId,
        order: Order,
        max: usize,
        sink: &mut dyn FnMut(u64, Bytes) -> ControlFlow<()>,
    ) -> Result<ReadState, CarrierEnd>;

    /// Measured facts about a connection; `None` if it is gone.
    fn path_stats(&self, path: PathId) -> Option<PathStats>;
}

/// In which order a carrier is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By offset, without gaps.
    Ordered,
    /// As the bytes arrive; each once.
    Any,
}

/// How a read ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadState {
    /// The sink broke off, or `max` was reached; there may be more at once.
    More,
    /// All that has arrived was handed over.
    Blocked,
    /// All of the carrier was handed over; the carrier is gone.
    Finished,
}

/// Why a carrier takes or gives nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CarrierEnd {
    /// The peer asked for no more, with this application error code. The caller owes a reset.
    #[error("stopped by the peer with code {0}")]
    Stopped(u64),
    /// The peer reset it with this application error code.
    #[error("reset by the peer with code {0}")]
    Reset(u64),
    /// The carrier or its connection does not exist (any more).
    #[error("the carrier is gone")]
    Gone,
}

/// Measured facts about one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathStats {
    /// Smoothed round-trip time.
    pub rtt: Duration,
    /// Estimated probe timeout (RFC 9002 §6.2.1).
    pub pto: Duration,
    /// Packets declared lost, spuriously or not.
    pub lost_packets: u64,
    /// UDP payload bytes sent.
    pub sent_bytes: u64,
    /// UDP payload bytes received.
    pub received_bytes: u64,
}

/// What a session is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A connection is established and its control carrier can be written. `exporter` is keying
    /// material of this very connection (RFC 5705).
    PathUp {
        /// The connection.
        path: PathId,
        /// The control carrier of that connection.
        control: CarrierId,
        /// 32 bytes that only the two ends of this connection know.
        exporter: [u8; 32],
    },
    /// A connection is lost, or could not be made. Nothing more comes from it. What had come from a
    /// primary may still be readable while the session takes this in.
    PathDown {
        /// The connection.
        path: PathId,
        /// Why.
        cause: DownCause,
    },
    /// The peer opened a carrier. It may be readable already.
    Opened(CarrierId),
    /// Something arrived on a carrier: bytes, its end or a reset.
    Readable(CarrierId),
    /// A carrier whose last write came up short takes bytes again.
    Writable(CarrierId),
    /// A bidirectional carrier may be opened after a refusal.
    BidiCredit(PathId),
    /// A unidirectional carrier may be opened after a refusal.
    UniCredit(PathId),
    /// The peer wants no more of a carrier. The session owes a reset.
    Stopped {
        /// The carrier.
        carrier: CarrierId,
        /// The peer's application error code.
        code: u64,
    },
    /// The peer has received all of a carrier that was finished.
    Finished(CarrierId),
    /// A datagram of the peer arrived and was authentic; before [`Self::PathUp`] only as far as
    /// packets of a handshake are: whoever sees it can forge them.
    Heard(PathId),
    /// A deadline of the session has passed.
    Timeout,
}

impl Input {
    /// The connection that this is about; `None` for a timeout.
    #[must_use]
    pub const fn path(&self) -> Option<PathId> {
        match self {
            Self::PathUp { path, .. }
            | Self::PathDown { path, .. }
            | Self::BidiCredit(path)
            | Self::UniCredit(path)
            | Self::Heard(path) => Some(*path),
            Self::Opened(carrier)
            | Self::Readable(carrier)
            | Self::Writable(carrier)
            | Self::Stopped { carrier, .. }
            | Self::Finished(carrier) => Some(carrier.path),
            Self::Timeout => None,
        }
    }
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DownCause {
    /// No answer within QUIC's idle timeout, or the dial's deadline.
    TimedOut,
    /// The peer closed the connection with this application error code (RFC 9000 §19.19).
    ClosedByPeer(u64),
    /// The certificate does not have the pin that was asked for.
    PinMismatch,
    /// We closed it.
    ClosedLocally,
    /// Anything else: refused, reset, a TLS or transport error; a short text for the log.
    Failed(String),
}

/// What a session asks for, besides what it does through [`Carriers`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Make a connection. [`Input::PathUp`] or [`Input::PathDown`] answers. One of the same name is
    /// closed and forgotten first.
    Dial {
        /// The name the connection gets.
        path: PathId,
        /// Where to.
        target: DialTarget,
    },
    /// Close a connection with an application error code, and forget it. No input answers.
    Close {
        /// The connection.
        path: PathId,
        /// The application error code for the peer.
        code: u64,
    },
    /// Send something that the peer must acknowledge.
    Probe(PathId),
}

/// Whom to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialTarget {
    /// The address.
    pub addr: SocketAddr,
    /// The name sent in the TLS handshake (SNI).
    pub server_name: String,
    /// SHA-256 of the SubjectPublicKeyInfo of the server's certificate.
    pub pin: [u8; 32],
}

/// The two clocks, as read by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Monotonic time: all deadlines.
    pub monotonic: Instant,
    /// Wall-clock time in seconds since 1970 (UTC): the life of tickets.
    pub unix_seconds: u64,
}

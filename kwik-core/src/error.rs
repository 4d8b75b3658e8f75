//! What can go wrong, sorted by who is at fault.
//!
//! Owns [`Misuse`] (the caller), [`Violation`] (the peer), [`CloseReason`] (how a session ended), what
//! may be wrong with a configuration, a server's identity or a target, and the error codes on the wire
//! (`protocol.md` §9). A fault of our own is a panic that names the broken invariant.

use std::net::SocketAddr;

use crate::ids::{ByteRange, GrantId, PathId, SegmentId, StreamId};
use crate::wire::WireError;

/// Application error codes of KWIK in CONNECTION_CLOSE, RESET_STREAM and STOP_SENDING [ERR-2].
/// Codes of the application on its own streams are passed on as they are [ERR-4].
pub mod code {
    /// Closed in good order.
    pub const NO_ERROR: u64 = 0x4b00;
    /// A frame or header that cannot be decoded.
    pub const ENCODING: u64 = 0x4b01;
    /// A frame from a role that may not send it, or at a moment when it may not be sent.
    pub const UNEXPECTED: u64 = 0x4b02;
    /// Bytes outside the grants of the path.
    pub const GRANT: u64 = 0x4b03;
    /// Bytes beyond the credit that was given.
    pub const FLOW_CONTROL: u64 = 0x4b04;
    /// Two final sizes, or bytes beyond one.
    pub const FINAL_SIZE: u64 = 0x4b05;
    /// A stream that cannot exist.
    pub const STREAM: u64 = 0x4b06;
    /// More of something than the limits allow.
    pub const EXCESSIVE_LOAD: u64 = 0x4b07;
    /// A ticket or a proof that does not hold.
    pub const JOIN: u64 = 0x4b08;
    /// A copy of bytes that differs, under the policy `Reject`.
    pub const CONFLICT: u64 = 0x4b09;
    /// The carrier is not wanted (any more): its grant has ended.
    pub const ENDED: u64 = 0x4b0a;
    /// The path is given up: silent, retired, or superseded by a newer connection.
    pub const PATH_ENDED: u64 = 0x4b0b;
}

/// What a peer did that it must not do. It costs a secondary its path; a primary, the session; a
/// client, its connection [ERR-1].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A frame or header that cannot be decoded.
    #[error("cannot be decoded: {0}")]
    Encoding(#[from] WireError),
    /// A frame from the wrong role or in the wrong state.
    #[error("unexpected {0}")]
    Unexpected(&'static str),
    /// Bytes of a grant that was never given to this path, or outside its range.
    #[error("bytes outside grant {0}")]
    OutsideGrant(GrantId),
    /// Bytes beyond the credit that was given.
    #[error("bytes of stream {0} beyond the credit")]
    FlowControl(StreamId),
    /// A second, different final size, or one below a byte that was delivered.
    #[error("inconsistent final size of stream {0}")]
    FinalSize(StreamId),
    /// A stream that cannot exist.
    #[error("stream {0} cannot exist")]
    Stream(StreamId),
    /// More of something than the limits allow.
    #[error("too many {0}")]
    ExcessiveLoad(&'static str),
    /// A ticket or a proof that does not hold.
    #[error("the ticket or its proof does not hold")]
    Join,
    /// A copy that differs from the one that is held, under [`Overlap::Reject`](crate::config::Overlap).
    #[error("stream {0}: a copy differs")]
    Conflict(StreamId),
}

impl Violation {
    /// The application error code that tells the peer.
    #[must_use]
    pub const fn code(&self) -> u64 {
        match self {
            Self::Encoding(_) => code::ENCODING,
            Self::Unexpected(_) => code::UNEXPECTED,
            Self::OutsideGrant(_) => code::GRANT,
            Self::FlowControl(_) => code::FLOW_CONTROL,
            Self::FinalSize(_) => code::FINAL_SIZE,
            Self::Stream(_) => code::STREAM,
            Self::ExcessiveLoad(_) => code::EXCESSIVE_LOAD,
            Self::Join => code::JOIN,
            Self::Conflict(_) => code::CONFLICT,
        }
    }
}

/// What the caller did that it must not do. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misuse {
    /// The session has ended, or is closing.
    #[error("the session is closed")]
    Closed,
    /// There is no such stream (any more).
    #[error("there is no stream {0}")]
    UnknownStream(StreamId),
    /// The sending half was finished or reset before.
    #[error("the sending half of stream {0} has ended")]
    Finished(StreamId),
    /// There is no such path, or it is dead or retired.
    #[error("there is no live path {0}")]
    UnknownPath(PathId),
    /// There is no such grant (any more).
    #[error("there is no live grant {0}")]
    UnknownGrant(GrantId),
    /// There is no such segment (any more).
    #[error("there is no open segment {0:?}")]
    UnknownSegment(SegmentId),
    /// The offset or range is past 2^62, empty, or before the plain end of the stream.
    #[error("{0} is not a range of the stream that can be used so")]
    BadRange(ByteRange),
    /// The write, grant or offset would enter a range that somebody else is to write.
    #[error("{0} is granted already")]
    RangeTaken(ByteRange),
    /// `finish` with bytes below the final size that nobody wrote or was granted.
    #[error("nobody was to write {0}")]
    RangeUncovered(ByteRange),
    /// `delegate` or `set_offset` while a write at the cursor is only partly accepted.
    #[error("a write to stream {0} is unfinished")]
    WriteUnfinished(StreamId),
    /// An operation that a limit in `config` does not allow.
    #[error("too many {0}")]
    Limit(&'static str),
    /// The configuration lacks what the call needs.
    #[error("not configured: {0}")]
    NotConfigured(&'static str),
}

/// Why a read or a write on a stream or segment did not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The peer reset its sending half with this application error code.
    #[error("reset by the peer with code {0}")]
    Reset(u64),
    /// The peer wants no more of what we send; its application error code.
    #[error("stopped by the peer with code {0}")]
    Stopped(u64),
    /// A range that no server supplied within `hole_max`.
    #[error("no server supplied {0}")]
    Hole(ByteRange),
    /// The call is not allowed.
    #[error(transparent)]
    Misuse(#[from] Misuse),
    /// The session has ended.
    #[error("the session has ended: {0}")]
    SessionLost(CloseReason),
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// This end closed it.
    #[error("closed by this end")]
    Local,
    /// The peer closed it in good order, or with this code of its own, known or not [ERR-3].
    #[error("closed by the peer with code {0:#x}")]
    Peer(u64),
    /// The server did not answer in time.
    #[error("the peer did not answer in time")]
    TimedOut,
    /// The server is not the one that was asked for.
    #[error("the server's key does not have the expected pin")]
    PinMismatch,
    /// The peer broke the protocol.
    #[error("the peer broke the protocol: {0}")]
    Violation(Violation),
    /// A secondary turned the join down.
    #[error("the secondary refused the join")]
    JoinRefused,
    /// The connection failed; a short text.
    #[error("the connection failed: {0}")]
    Failed(String),
}

/// Why an endpoint cannot be a server with this identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not an X.509 certificate in DER.
    #[error("the certificate cannot be read")]
    Certificate,
    /// The private key cannot be read, or is not that of the certificate.
    #[error("the private key cannot be used: {0}")]
    Key(String),
}

/// A setting with a value that the protocol forbids, or with which nothing could go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the setting {setting} must be {rule}")]
pub struct ConfigError {
    /// The setting, as a path from [`Config`](crate::Config).
    pub setting: &'static str,
    /// What it must be.
    pub rule: &'static str,
}

/// Why there is no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// A setting cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The endpoint cannot be a server with this identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// Why a connection was not even begun.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The name cannot be sent in a TLS handshake.
    #[error("{0:?} is not a server name")]
    ServerName(String),
    /// The address or port is zero.
    #[error("{0} cannot be connected to")]
    Address(SocketAddr),
    /// TLS or QUIC cannot begin a connection.
    #[error("cannot begin a handshake: {0}")]
    Handshake(String),
}

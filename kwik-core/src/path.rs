//! Paths: the table of a session's connections, their states, and who may be dialled.

pub(crate) mod dial;
pub(crate) mod liveness;
pub(crate) mod rate;
pub(crate) mod redial;
pub(crate) mod state;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Duration;

use smallvec::SmallVec;

use crate::ids::{PathId, StreamId};

/// What a server is in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathRole {
    /// It owns the session and its streams.
    Primary,
    /// It writes the ranges that it is granted.
    Secondary,
}

/// Where a path is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathPhase {
    /// The connection is being made, or waits for its turn.
    Dialing,
    /// The connection stands; the secondary has not accepted the join.
    Joining,
    /// In use.
    Active,
    /// It gets no more grants and closes when those it has are final.
    Retiring,
    /// It was never reached, refused, fell silent or broke the protocol.
    Dead,
    /// It was retired and has closed.
    Retired,
}

impl PathPhase {
    /// Whether nothing more happens on the path.
    #[must_use]
    pub const fn has_ended(self) -> bool {
        matches!(self, Self::Dead | Self::Retired)
    }
}

/// What is known about a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathInfo {
    /// Its name.
    pub path: PathId,
    /// The role of its server.
    pub role: PathRole,
    /// Where it is in its life.
    pub phase: PathPhase,
    /// The server's address; at the primary, the first of those it named.
    pub addr: Option<SocketAddr>,
    /// Bytes that it brought and that nobody had brought before. At the primary: bytes of its
    /// grants that the client reported present.
    pub received_bytes: u64,
    /// Smoothed round-trip time; of the client's connection, so unknown at the primary.
    pub rtt: Option<Duration>,
    /// Packets declared lost on it, as far as this end sends.
    pub lost_packets: u64,
}

/// A secondary, as the primary's application names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathSpec {
    /// Where it listens, best first; 1 to 8.
    pub addrs: SmallVec<[SocketAddr; 2]>,
    /// The name for the TLS handshake; 1 to 255 bytes.
    pub server_name: String,
    /// SHA-256 of the SubjectPublicKeyInfo of its certificate.
    pub pin: [u8; 32],
}

/// Where the answer of a secondary to `send_raw` goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawTarget {
    /// Nowhere: the message grants nothing.
    Message,
    /// Into a stream from its write cursor on. The secondary decides where it ends.
    Cursor(StreamId),
    /// Into a stream from this offset on. The secondary decides where it ends.
    At(StreamId, u64),
}

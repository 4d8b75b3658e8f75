//! Names of things, and byte ranges.
//!
//! Owns the identifier types and [`ByteRange`]. Knows nothing about what they identify.

use std::fmt;

/// The largest offset, end of a range and size of a stream: all are QUIC varints (RFC 9000 §16).
pub const OFFSET_LIMIT: u64 = (1 << 62) - 1;

/// Names a session between its client, its primary and its secondaries: 16 random bytes chosen by
/// the primary. A name, never a secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub [u8; 16]);

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Names a session within one [`Endpoint`](crate::Endpoint); never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionHandle(pub(crate) u64);

/// Names one QUIC connection of a session to one server; chosen by the primary, never reused.
///
/// Not the path of the QUIC multipath draft, which lives inside one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathId(pub u64);

impl PathId {
    /// The connection to the primary, which exists from the first moment of a session.
    pub const PRIMARY: Self = Self(0);
}

impl fmt::Display for PathId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Names an application stream: the id of the bidirectional QUIC stream of the primary connection
/// that it is (RFC 9000 §2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

impl StreamId {
    /// Whether the id is one of a bidirectional stream, the only kind that an application holds.
    #[must_use]
    pub const fn is_bidirectional(self) -> bool {
        self.0 & 0b10 == 0
    }

    /// Whether the primary opened the stream; otherwise the client did.
    #[must_use]
    pub const fn is_server_opened(self) -> bool {
        self.0 & 0b01 != 0
    }

    /// How many streams of the same initiator came before this one.
    #[must_use]
    pub const fn index(self) -> u64 {
        self.0 >> 2
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Names the right of one path to write one range of one stream; chosen by the primary, monotonic
/// over the session, below 2^62.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantId(pub u64);

impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Names an open run of writes at a server (see `open_segment_at`); local, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u64);

/// Names a QUIC stream that carries KWIK bytes: the connection, and the QUIC stream id within it.
///
/// Unique over a session without any table, because neither part is ever reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CarrierId {
    /// The connection.
    pub path: PathId,
    /// The QUIC stream id.
    pub stream: u64,
}

impl CarrierId {
    /// Whether both ends write on it: control carriers and application streams.
    #[must_use]
    pub const fn is_bidirectional(self) -> bool {
        self.stream & 0b10 == 0
    }
}

/// The bytes `[start, end)` of a stream; `start <= end <= OFFSET_LIMIT`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteRange {
    start: u64,
    end: u64,
}

impl ByteRange {
    /// The range `[start, end)`; `None` if it runs backwards or past [`OFFSET_LIMIT`].
    #[must_use]
    pub const fn new(start: u64, end: u64) -> Option<Self> {
        if start <= end && end <= OFFSET_LIMIT {
            Some(Self { start, end })
        } else {
            None
        }
    }

    /// The `len` bytes from `start`; `None` past [`OFFSET_LIMIT`].
    #[must_use]
    pub const fn with_len(start: u64, len: u64) -> Option<Self> {
        match start.checked_add(len) {
            Some(end) => Self::new(start, end),
            None => None,
        }
    }

    /// Everything from `start` on; empty if `start` is past [`OFFSET_LIMIT`].
    #[must_use]
    pub const fn from(start: u64) -> Self {
        let start = if start < OFFSET_LIMIT {
            start
        } else {
            OFFSET_LIMIT
        };
        Self {
            start,
            end: OFFSET_LIMIT,
        }
    }

    /// The first byte.
    #[must_use]
    pub const fn start(self) -> u64 {
        self.start
    }

    /// One past the last byte.
    #[must_use]
    pub const fn end(self) -> u64 {
        self.end
    }

    /// Number of bytes.
    #[must_use]
    pub const fn len(self) -> u64 {
        self.end - self.start
    }

    /// Whether there is no byte in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// The bytes in both; empty (at an unspecified place) if there are none.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        let start = self.start.max(other.start);
        let end = self.end.min(other.end).max(start);
        Self { start, end }
    }

    /// Whether the two share a byte.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        !self.intersection(other).is_empty()
    }

    /// Whether every byte of `other` is in `self`.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        other.is_empty() || (self.start <= other.start && other.end <= self.end)
    }
}

impl fmt::Debug for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.start, self.end)
    }
}

impl fmt::Display for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

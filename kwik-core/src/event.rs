//! What an endpoint tells the application: past-tense facts with ids, never payloads.
//!
//! Readiness is an edge: it is told again only after a call came up short. The enums are exhaustive,
//! so that a new event breaks the build of every driver that would have ignored it.

use std::time::Instant;

use bytes::Bytes;

use crate::error::CloseReason;
use crate::ids::{ByteRange, GrantId, PathId, SegmentId, SessionHandle, StreamId};
use crate::ranges::RangeSet;
use crate::wire::{Extent, LostReason};

/// An event of one session of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Whose.
    pub session: SessionHandle,
    /// What.
    pub kind: EventKind,
}

/// What happened, by the role that this end plays in the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Of a session that this endpoint began with `connect`.
    Client(ClientEvent),
    /// Of a session whose primary this endpoint is.
    Primary(PrimaryEvent),
    /// Of a session that this endpoint joined as a secondary.
    Secondary(SecondaryEvent),
}

/// What happens to a client session. `Connected` comes first (or `Closed`), `Closed` last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientEvent {
    /// The primary welcomed the session.
    Connected,
    /// Something happened to a stream.
    Stream(StreamEvent),
    /// Something happened to a path.
    Path(PathEvent),
    /// Two servers wrote different bytes to the same place.
    Conflict {
        /// The stream.
        stream: StreamId,
        /// Where.
        range: ByteRange,
        /// Whose copy came later.
        path: PathId,
    },
    /// The session has ended.
    Closed(CloseReason),
}

/// What happens to an application stream, at the client and at the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEvent {
    /// The peer opened streams: `accept_stream` has one.
    Opened,
    /// A stream may be opened after a refusal.
    Available,
    /// There is something to read: bytes, the end, or an error.
    Readable(StreamId),
    /// A write that came up short may go on.
    Writable(StreamId),
    /// The peer wants no more of what we send.
    Stopped {
        /// Which stream.
        stream: StreamId,
        /// The peer's application error code.
        code: u64,
    },
    /// The peer has received all of what we sent, the end included.
    Finished(StreamId),
}

/// What happens to a secondary path. At the client `Added` comes first; `Dead` or `Retired` last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathEvent {
    /// The primary named a secondary (client only).
    Added(PathId),
    /// The secondary accepted the join.
    Active(PathId),
    /// It is of no use any more.
    Dead(PathId),
    /// It was retired and has closed.
    Retired(PathId),
}

/// What happens to a session at its primary. `Accepted` comes first, `Closed` last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrimaryEvent {
    /// A client began the session.
    Accepted,
    /// Something happened to a stream.
    Stream(StreamEvent),
    /// Something happened to a path.
    Path(PathEvent),
    /// A grant made with `delegate` or `send_raw` has its final status. (Those of a plan are the
    /// plan's business.)
    GrantDone {
        /// Which.
        grant: GrantId,
        /// Where it ended.
        end: u64,
    },
    /// A grant made with `delegate` or `send_raw` is lost.
    GrantLost {
        /// Which.
        grant: GrantId,
        /// Why.
        reason: LostReason,
        /// Exactly the missing bytes, without those that another live grant covers or that the
        /// primary has written itself.
        missing: RangeSet,
    },
    /// The reader waits for bytes that no grant covers and no plan will bring.
    Hole {
        /// The stream.
        stream: StreamId,
        /// The missing bytes.
        missing: RangeSet,
    },
    /// A plan gave the primary itself a range to write, through an open segment at its start. The
    /// segment ends with the range; what is missing when it is finished before goes to others.
    OwnRange {
        /// The stream.
        stream: StreamId,
        /// What to write.
        range: ByteRange,
        /// Where to write it.
        segment: SegmentId,
    },
    /// A segment whose last write came up short may go on.
    SegmentWritable(SegmentId),
    /// The session has ended.
    Closed(CloseReason),
}

/// What happens to a session at a secondary. `Joined` comes first, `Closed` last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecondaryEvent {
    /// A client joined, with a ticket of its primary.
    Joined,
    /// The primary grants a range of a stream. This comes first of all that is told of a grant; then
    /// perhaps [`Self::Revoked`] and [`Self::Stopped`]; and nothing once it was finished or refused.
    Grant {
        /// The name of the grant.
        grant: GrantId,
        /// The stream of the client and its primary that the bytes are for.
        remote_stream_id: StreamId,
        /// Which bytes.
        extent: Extent,
        /// What the primary asks for.
        command: Bytes,
    },
    /// A message of the primary that belongs to no stream.
    Raw(Bytes),
    /// A grant was taken back, wholly or from `end` on. Segments of it above are finished.
    Revoked {
        /// Which.
        grant: GrantId,
        /// Nothing is wanted from here on; 0 for all of it.
        end: u64,
    },
    /// A segment whose last write came up short may go on.
    SegmentWritable(SegmentId),
    /// The client wants no more of a grant's stream: the grant is over.
    Stopped(GrantId),
    /// The session has ended.
    Closed(CloseReason),
}

/// When an endpoint wants to be called again, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// When.
    pub at: Instant,
    /// Why.
    pub cause: DeadlineCause,
}

/// On whose behalf an endpoint wants to be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadlineCause {
    /// Events wait in `poll_event`.
    EventsQueued,
    /// A timer of a session.
    Timer,
    /// A timer of a QUIC connection.
    Quic,
}

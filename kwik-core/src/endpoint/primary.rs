//! A session of a primary, as its application sees it.

use std::net::SocketAddr;
use std::ops::ControlFlow;

use bytes::Bytes;

use super::copied;
use crate::carrier::{Now, ReadState};
use crate::error::{Misuse, StreamError};
use crate::ids::{ByteRange, GrantId, PathId, SegmentId, SessionId, StreamId};
use crate::path::{PathInfo, PathSpec, RawTarget};
use crate::plan::PlanSpec;
use crate::quic::SessionCarriers;
use crate::session::{PrimarySession, PrimaryStats};

/// A session with a client: its streams, and who writes them. Borrowed from an
/// [`Endpoint`](super::Endpoint) for a few calls.
pub struct Primary<'a> {
    now: Now,
    session: &'a mut PrimarySession,
    carriers: SessionCarriers<'a>,
    client_addr: Option<SocketAddr>,
}

/// The session.
impl<'a> Primary<'a> {
    pub(super) fn new(
        now: Now,
        session: &'a mut PrimarySession,
        carriers: SessionCarriers<'a>,
        client_addr: Option<SocketAddr>,
    ) -> Self {
        Self {
            now,
            session,
            carriers,
            client_addr,
        }
    }

    /// The session's name.
    #[must_use]
    pub fn session_id(&self) -> SessionId {
        self.session.session_id()
    }

    /// Where the client is; `None` once the connection has ended.
    #[must_use]
    pub fn client_addr(&self) -> Option<SocketAddr> {
        self.client_addr
    }

    /// Counts since the beginning of the session.
    #[must_use]
    pub fn stats(&self) -> PrimaryStats {
        self.session.stats()
    }

    /// Closes the session at once, with an error code for the client. What is in flight is lost.
    pub fn close(&mut self, code: u64) {
        self.session.close(self.now, code, &mut self.carriers);
    }
}

/// Streams.
impl Primary<'_> {
    /// Opens a stream. `None`: the client allows no more for now; `StreamEvent::Available` follows.
    ///
    /// # Errors
    ///
    /// [`Misuse::Closed`].
    pub fn open_stream(&mut self) -> Result<Option<StreamId>, Misuse> {
        self.session.open_stream(self.now, &mut self.carriers)
    }

    /// A stream that the client opened, each once; `None` until `StreamEvent::Opened` tells of more.
    pub fn accept_stream(&mut self) -> Option<StreamId> {
        self.session.accept_stream()
    }

    /// Takes bytes off the front of `data` and sends them at the stream's cursor; returns how many.
    /// If `data` is not empty afterwards, `StreamEvent::Writable` follows.
    ///
    /// # Errors
    ///
    /// The client wants no more, the bytes would enter a range that is granted, the session has
    /// ended, or the stream is not open for sending.
    pub fn write(&mut self, stream: StreamId, data: &mut Bytes) -> Result<usize, StreamError> {
        self.session
            .write(self.now, stream, data, &mut self.carriers)
    }

    /// As [`Self::write`], from a slice, which is copied; returns how many bytes were taken. If that
    /// is not all, `StreamEvent::Writable` follows.
    ///
    /// # Errors
    ///
    /// As [`Self::write`].
    pub fn write_slice(&mut self, stream: StreamId, data: &[u8]) -> Result<usize, StreamError> {
        copied(data, |piece| self.write(stream, piece))
    }

    /// Ends a stream behind all that was written or granted.
    ///
    /// # Errors
    ///
    /// [`Misuse::RangeUncovered`] if nobody was to write some of it; otherwise as [`Self::write`].
    pub fn finish(&mut self, stream: StreamId) -> Result<(), StreamError> {
        self.session.finish(self.now, stream, &mut self.carriers)
    }

    /// Gives up sending on a stream, what secondaries send included, with an error code for the
    /// client.
    ///
    /// # Errors
    ///
    /// The sending half has ended, or there is no such stream.
    pub fn reset(&mut self, stream: StreamId, code: u64) -> Result<(), Misuse> {
        self.session
            .reset(self.now, stream, code, &mut self.carriers)
    }

    /// Hands bytes that the client sent on a stream to `sink`, in order, at most `max`, until it
    /// breaks. After [`ReadState::Blocked`], `StreamEvent::Readable` follows.
    ///
    /// # Errors
    ///
    /// The client reset the stream, the session has ended, or the stream is not open for reading.
    pub fn read(
        &mut self,
        stream: StreamId,
        max: usize,
        sink: &mut dyn FnMut(Bytes) -> ControlFlow<()>,
    ) -> Result<ReadState, StreamError> {
        self.session
            .read(self.now, stream, max, sink, &mut self.carriers)
    }

    /// Wants no more of a stream, and says so to the client with an error code.
    ///
    /// # Errors
    ///
    /// The receiving half has ended, or there is no such stream.
    pub fn stop(&mut self, stream: StreamId, code: u64) -> Result<(), Misuse> {
        self.session
            .stop(self.now, stream, code, &mut self.carriers)
    }

    /// Moves the write cursor of a stream, where [`Self::write`] goes on. What lies between is for
    /// others to write, or for a segment: [`Self::finish`] is refused until somebody has it.
    ///
    /// # Errors
    ///
    /// [`Misuse::WriteUnfinished`], [`Misuse::RangeTaken`], [`Misuse::BadRange`], or as [`Self::write`].
    pub fn set_offset(&mut self, stream: StreamId, offset: u64) -> Result<(), StreamError> {
        self.session
            .set_offset(self.now, stream, offset, &mut self.carriers)
    }
}

/// Segments: writes at any offset.
impl Primary<'_> {
    /// Begins to write at an offset, which may lie within a grant: so a range is taken over.
    ///
    /// # Errors
    ///
    /// The offset cannot be used, too many segments are open, the session has ended, or the stream is
    /// not open for sending.
    pub fn open_segment_at(
        &mut self,
        stream: StreamId,
        offset: u64,
    ) -> Result<SegmentId, StreamError> {
        self.session
            .open_segment_at(self.now, stream, offset, &mut self.carriers)
    }

    /// Takes bytes off the front of `data` and sends them; returns how many. If `data` is not empty
    /// afterwards, `PrimaryEvent::SegmentWritable` follows.
    ///
    /// # Errors
    ///
    /// There is no such segment, the client wants no more, or the session has ended.
    pub fn write_segment(
        &mut self,
        segment: SegmentId,
        data: &mut Bytes,
    ) -> Result<usize, StreamError> {
        self.session
            .write_segment(self.now, segment, data, &mut self.carriers)
    }

    /// Ends a run of writes.
    ///
    /// # Errors
    ///
    /// There is no such segment.
    pub fn finish_segment(&mut self, segment: SegmentId) -> Result<(), StreamError> {
        self.session
            .finish_segment(self.now, segment, &mut self.carriers)
    }
}

/// Secondaries, and what they are to write.
impl Primary<'_> {
    /// Names a secondary to the client, which connects to it. `PathEvent::Active` follows, or `Dead`.
    ///
    /// # Errors
    ///
    /// The specification cannot be used, a limit is reached, or there is no master key.
    pub fn add_path(&mut self, spec: PathSpec) -> Result<PathId, Misuse> {
        self.session.add_path(self.now, spec, &mut self.carriers)
    }

    /// Gives a path no more to do and closes it when it has done what it has.
    ///
    /// # Errors
    ///
    /// [`Misuse::UnknownPath`].
    pub fn retire_path(&mut self, path: PathId) -> Result<(), Misuse> {
        self.session.retire_path(self.now, path, &mut self.carriers)
    }

    /// All secondaries, with those that ended lately.
    #[must_use]
    pub fn paths(&self) -> Vec<PathInfo> {
        self.session.paths()
    }

    /// Has a secondary write a range of a stream; `command` tells it what, and nobody else. A range
    /// that begins at the cursor moves the cursor to its end. `GrantDone` follows, or `GrantLost`: what
    /// is missing then is this end's to write or to grant again.
    ///
    /// # Errors
    ///
    /// The range or the path cannot be used, a limit is reached, or the session has ended.
    pub fn delegate(
        &mut self,
        stream: StreamId,
        range: ByteRange,
        path: PathId,
        command: Bytes,
    ) -> Result<GrantId, StreamError> {
        self.session
            .delegate(self.now, stream, range, path, command, &mut self.carriers)
    }

    /// Takes a grant back. Its final status follows all the same.
    ///
    /// # Errors
    ///
    /// [`Misuse::UnknownGrant`].
    pub fn revoke(&mut self, grant: GrantId) -> Result<(), Misuse> {
        self.session.revoke(self.now, grant, &mut self.carriers)
    }

    /// Sends a secondary a message that nobody else reads. With a place in a stream, it may write
    /// there as much as it likes: that is the grant returned. Until its final status nothing else is
    /// written or granted from there on.
    ///
    /// # Errors
    ///
    /// As [`Self::delegate`].
    pub fn send_raw(
        &mut self,
        path: PathId,
        target: RawTarget,
        bytes: Bytes,
    ) -> Result<Option<GrantId>, StreamError> {
        self.session
            .send_raw(self.now, path, target, bytes, &mut self.carriers)
    }

    /// Spreads a range of a stream over all active secondaries and this end, piece by piece, and
    /// again what is lost. This end's pieces are told with `PrimaryEvent::OwnRange`.
    ///
    /// # Errors
    ///
    /// The range cannot be used, a limit is reached, or the session has ended.
    pub fn plan(
        &mut self,
        stream: StreamId,
        range: ByteRange,
        spec: PlanSpec,
    ) -> Result<(), StreamError> {
        self.session
            .plan(self.now, stream, range, spec, &mut self.carriers)
    }
}

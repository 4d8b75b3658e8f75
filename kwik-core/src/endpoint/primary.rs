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

    /// Closes the session at once, with an error code for the client. What is in flight is lost. A
    /// session that has ended stays as it is.
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
    /// If `data` is not empty afterwards, `StreamEvent::Writable` follows, and until the rest was taken
    /// the cursor cannot be moved; a call without data gives the rest up.
    ///
    /// # Errors
    ///
    /// [`StreamError::SessionLost`]; [`StreamError::Stopped`] if the client wants no more;
    /// [`Misuse::UnknownStream`]; [`Misuse::Finished`] after [`Self::finish`] or [`Self::reset`];
    /// [`Misuse::RangeTaken`] if the cursor is at a range that is granted or planned;
    /// [`Misuse::BadRange`] past the last offset that there is. Nothing is taken then.
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
    /// [`Misuse::Closed`]; [`Misuse::UnknownStream`]; [`Misuse::Finished`] if the sending half has ended
    /// already: it was reset, the client has all of it, or wants no more of it.
    pub fn reset(&mut self, stream: StreamId, code: u64) -> Result<(), Misuse> {
        self.session
            .reset(self.now, stream, code, &mut self.carriers)
    }

    /// Hands bytes that the client sent on a stream to `sink`, in order, at most `max`, until it
    /// breaks. After [`ReadState::Blocked`], `StreamEvent::Readable` follows.
    ///
    /// # Errors
    ///
    /// [`StreamError::Reset`]; [`StreamError::SessionLost`]; [`Misuse::UnknownStream`], also after
    /// [`Self::stop`]. An end or a reset that was read is told again as long as this end still sends.
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
    /// [`Misuse::Closed`]; [`Misuse::UnknownStream`], also if the receiving half has ended: its end or its
    /// reset was read, or it was stopped before.
    pub fn stop(&mut self, stream: StreamId, code: u64) -> Result<(), Misuse> {
        self.session
            .stop(self.now, stream, code, &mut self.carriers)
    }

    /// Moves the write cursor of a stream, where [`Self::write`] goes on: forward or back, but not into
    /// what was written before the stream was aggregated. What lies between is for others to write, or
    /// for a segment: [`Self::finish`] is refused until somebody has it.
    ///
    /// # Errors
    ///
    /// [`Misuse::WriteUnfinished`]; [`Misuse::BadRange`] before the plain end or past the last offset;
    /// [`Misuse::RangeTaken`] where somebody else is to write; otherwise as [`Self::write`].
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
    /// [`Misuse::BadRange`] before the plain end of the stream, or from its final size on;
    /// [`Misuse::Limit`]; [`Misuse::UnknownStream`]; [`Misuse::Finished`] once the sending half has ended;
    /// [`StreamError::Stopped`]; [`StreamError::SessionLost`].
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
    /// [`Misuse::UnknownSegment`], also if it has ended: it was finished, its own range is full, or its
    /// stream is over; [`Misuse::BadRange`] if the data would go beyond its own range or the final size;
    /// [`StreamError::Stopped`]; [`StreamError::SessionLost`].
    pub fn write_segment(
        &mut self,
        segment: SegmentId,
        data: &mut Bytes,
    ) -> Result<usize, StreamError> {
        self.session
            .write_segment(self.now, segment, data, &mut self.carriers)
    }

    /// Ends a run of writes. One that has ended already is left as it is.
    ///
    /// # Errors
    ///
    /// [`Misuse::UnknownSegment`] if there never was one; [`StreamError::SessionLost`].
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
    /// [`Misuse::Limit`] if the specification cannot be used, or too many orders wait to be sent;
    /// [`Misuse::NotConfigured`] without a master key; [`Misuse::Closed`].
    pub fn add_path(&mut self, spec: PathSpec) -> Result<PathId, Misuse> {
        self.session.add_path(self.now, spec, &mut self.carriers)
    }

    /// Gives a path no more to do and closes it when it has done what it has.
    ///
    /// # Errors
    ///
    /// [`Misuse::UnknownPath`], also if it was retired before, and for the primary's own;
    /// [`Misuse::Closed`].
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
    /// is missing then is this end's to write or to grant again. What was written already may be
    /// granted all the same: copies are read once.
    ///
    /// # Errors
    ///
    /// [`Misuse::BadRange`] if the range is empty, begins before the plain end or goes beyond the final
    /// size; [`Misuse::RangeTaken`] if some of it is granted or planned; [`Misuse::WriteUnfinished`] if
    /// the cursor is in it; [`Misuse::UnknownPath`], also if the path has ended or was retired;
    /// [`Misuse::Limit`]; [`Misuse::UnknownStream`]; [`Misuse::Finished`] once the sending half has ended;
    /// [`StreamError::Stopped`]; [`StreamError::SessionLost`].
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

    /// Takes a grant back. Its final status follows all the same; until then it may be taken back again,
    /// which changes nothing.
    ///
    /// # Errors
    ///
    /// [`Misuse::UnknownGrant`], also once it has its final status; [`Misuse::Closed`].
    pub fn revoke(&mut self, grant: GrantId) -> Result<(), Misuse> {
        self.session.revoke(self.now, grant, &mut self.carriers)
    }

    /// Sends a secondary a message that nobody else reads. With a place in a stream, it may write
    /// there as much as it likes: that is the grant returned. Until its final status nothing else is
    /// written or granted from there on.
    ///
    /// # Errors
    ///
    /// As [`Self::delegate`], and [`Misuse::Finished`] for a place in a stream after [`Self::finish`].
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
    /// As [`Self::delegate`], but for the path.
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

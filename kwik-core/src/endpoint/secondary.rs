//! A session that this end joined as a secondary, as its application sees it.

use bytes::Bytes;

use crate::error::{Misuse, StreamError};
use crate::ids::{GrantId, SegmentId, SessionId, StreamId};
use crate::quic::SessionCarriers;
use crate::session::SecondarySession;

/// The right to write what is granted, and nothing else: there is no call that opens, ends or
/// resets a stream. Borrowed from an [`Endpoint`](super::Endpoint) for a few calls.
pub struct Secondary<'a> {
    session: &'a mut SecondarySession,
    carriers: SessionCarriers<'a>,
}

impl<'a> Secondary<'a> {
    pub(super) fn new(session: &'a mut SecondarySession, carriers: SessionCarriers<'a>) -> Self {
        Self { session, carriers }
    }

    /// The name of the session that was joined.
    #[must_use]
    pub fn session_id(&self) -> SessionId {
        self.session.session_id()
    }

    /// Begins to write at the start of a grant.
    ///
    /// # Errors
    ///
    /// [`Misuse::UnknownGrant`], also if the grant or the session has ended; [`Misuse::Limit`] if it has an
    /// open segment.
    pub fn open_segment(&mut self, grant: GrantId) -> Result<SegmentId, StreamError> {
        self.session.open_segment(grant)
    }

    /// Begins to write at an offset within a grant of the stream.
    ///
    /// # Errors
    ///
    /// [`Misuse::BadRange`] if no grant covers the offset, or the session has ended; [`Misuse::Limit`] if
    /// the grant that does has an open segment.
    pub fn open_segment_at(
        &mut self,
        remote_stream_id: StreamId,
        offset: u64,
    ) -> Result<SegmentId, StreamError> {
        self.session.open_segment_at(remote_stream_id, offset)
    }

    /// Takes bytes off the front of `data` and sends them; returns how many. If `data` is not empty
    /// afterwards, `SecondaryEvent::SegmentWritable` follows.
    ///
    /// # Errors
    ///
    /// [`StreamError::Stopped`] if the grant is over or the client wants no more;
    /// [`Misuse::BadRange`] if the data would leave the grant; [`Misuse::UnknownSegment`], also if it was
    /// finished or the session has ended. Nothing is taken then.
    pub fn write_segment(
        &mut self,
        segment: SegmentId,
        data: &mut Bytes,
    ) -> Result<usize, StreamError> {
        self.session
            .write_segment(segment, data, &mut self.carriers)
    }

    /// Ends a run of writes; the rest of the grant may be written through another.
    ///
    /// # Errors
    ///
    /// [`Misuse::UnknownSegment`], also if it was finished before or the session has ended.
    pub fn finish_segment(&mut self, segment: SegmentId) -> Result<(), StreamError> {
        self.session.finish_segment(segment, &mut self.carriers)
    }

    /// Nothing more is written for a grant. Implied once the whole of a fixed range was written. One that
    /// has ended, perhaps a moment ago by a revocation, is left as it is.
    ///
    /// # Errors
    ///
    /// [`Misuse::UnknownGrant`] if there never was one.
    pub fn finish_grant(&mut self, grant: GrantId) -> Result<(), Misuse> {
        self.session.finish_grant(grant, &mut self.carriers)
    }

    /// Nothing is written for a grant; `code` is the application's own. One that was begun is finished
    /// instead, as by [`Self::finish_grant`]; one that has ended is left as it is.
    ///
    /// # Errors
    ///
    /// [`Misuse::UnknownGrant`] if there never was one.
    pub fn refuse_grant(&mut self, grant: GrantId, code: u64) -> Result<(), Misuse> {
        self.session.refuse_grant(grant, code, &mut self.carriers)
    }

    /// Closes the session at once, with an error code for the client. What is in flight is lost. A
    /// session that has ended stays as it is.
    pub fn close(&mut self, code: u64) {
        self.session.close(code);
    }
}

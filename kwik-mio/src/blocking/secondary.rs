//! The secondary's end of a session.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use kwik_core::error::CloseReason;
use kwik_core::event::{EventKind, SecondaryEvent};
use kwik_core::ids::{GrantId, SessionId, StreamId};
use kwik_core::wire::Extent;

use super::segment::Segment;
use super::session::SessionRef;
use super::shared::deadline_after;
use crate::error::Error;
use crate::stats::IoStats;

/// A session that this server joined as a secondary. It writes what grants allow; there is no way
/// to open a stream.
///
/// **Dropping** the last handle of the session, its segments included, closes this path; what is
/// missing of its grants goes back to the primary.
#[derive(Clone)]
pub struct SecondarySession {
    session: SessionRef,
    timeout: Option<Duration>,
}

/// What [`SecondarySession::next_event`] tells.
///
/// A session whose application leaves more than 4096 of them lying is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecondaryNotice {
    /// The primary grants a range of a stream. Write it through segments, or
    /// [refuse](SecondarySession::refuse) it.
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
    /// A grant was taken back, wholly or from `end` on.
    Revoked {
        /// Which.
        grant: GrantId,
        /// Nothing is wanted from here on; 0 for all of it.
        end: u64,
    },
    /// The client wants no more of a grant's stream: the grant is over.
    Stopped(GrantId),
}

impl SecondarySession {
    pub(super) fn new(session: SessionRef) -> Self {
        Self {
            session,
            timeout: None,
        }
    }

    /// Waits for the next event.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`]; [`Error::Closed`].
    pub fn next_event(&self) -> Result<SecondaryNotice, Error> {
        let deadline = deadline_after(self.timeout);
        loop {
            let notice = match self.session.next_event(deadline)? {
                EventKind::Secondary(SecondaryEvent::Grant {
                    grant,
                    remote_stream_id,
                    extent,
                    command,
                }) => SecondaryNotice::Grant {
                    grant,
                    remote_stream_id,
                    extent,
                    command,
                },
                EventKind::Secondary(SecondaryEvent::Raw(bytes)) => SecondaryNotice::Raw(bytes),
                EventKind::Secondary(SecondaryEvent::Revoked { grant, end }) => {
                    SecondaryNotice::Revoked { grant, end }
                }
                EventKind::Secondary(SecondaryEvent::Stopped(grant)) => {
                    SecondaryNotice::Stopped(grant)
                }
                // Never kept for the application.
                EventKind::Secondary(
                    SecondaryEvent::Joined
                    | SecondaryEvent::SegmentWritable(_)
                    | SecondaryEvent::Closed(_),
                )
                | EventKind::Client(_)
                | EventKind::Primary(_) => continue,
            };
            return Ok(notice);
        }
    }

    /// The session's name.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    pub fn session_id(&self) -> Result<SessionId, Error> {
        self.session.call(|call| Ok(call.secondary()?.session_id()))
    }

    /// Opens a run of writes at the start of a grant.
    ///
    /// # Errors
    ///
    /// [`Error::Misuse`]; [`Error::Closed`].
    pub fn open_segment(&self, grant: GrantId) -> Result<Segment, Error> {
        let segment = self
            .session
            .call(|call| Ok(call.secondary()?.open_segment(grant)?))?;
        Ok(Segment::new(self.session.clone(), segment, self.timeout))
    }

    /// Opens a run of writes at an offset of a stream, inside a grant.
    ///
    /// # Errors
    ///
    /// [`Error::Misuse`]; [`Error::Closed`].
    pub fn open_segment_at(
        &self,
        remote_stream_id: StreamId,
        offset: u64,
    ) -> Result<Segment, Error> {
        let segment = self.session.call(|call| {
            Ok(call
                .secondary()?
                .open_segment_at(remote_stream_id, offset)?)
        })?;
        Ok(Segment::new(self.session.clone(), segment, self.timeout))
    }

    /// Says that nothing more comes for a grant: what is missing of it goes back to the primary.
    /// Not needed once the whole of a fixed range was written.
    ///
    /// # Errors
    ///
    /// [`Error::Misuse`]; [`Error::Closed`].
    pub fn finish_grant(&self, grant: GrantId) -> Result<(), Error> {
        self.session
            .call(|call| Ok(call.secondary()?.finish_grant(grant)?))
    }

    /// Turns a grant down, with a code of the application.
    ///
    /// # Errors
    ///
    /// [`Error::Misuse`]; [`Error::Closed`].
    pub fn refuse(&self, grant: GrantId, code: u64) -> Result<(), Error> {
        self.session
            .call(|call| Ok(call.secondary()?.refuse_grant(grant, code)?))
    }

    /// What the socket did so far, for all sessions of the server.
    #[must_use]
    pub fn io_stats(&self) -> IoStats {
        self.session.io_stats()
    }

    /// Closes this path at once with an application error code; calls that wait return
    /// [`Error::Closed`].
    pub fn close(&self, code: u64) {
        self.session.close(code);
    }

    /// Waits until the session has ended, and says why.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`].
    pub fn closed(&self) -> Result<CloseReason, Error> {
        self.session.closed(deadline_after(self.timeout))
    }

    /// Lets each later call of this handle take so long at most, and those of the segments that it
    /// gives; `None`: for ever. Other clones keep theirs.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }

    /// This handle with another timeout, for a single call.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self {
            session: self.session.clone(),
            timeout: Some(timeout),
        }
    }
}

impl fmt::Debug for SecondarySession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecondarySession").finish_non_exhaustive()
    }
}

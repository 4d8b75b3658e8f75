//! The primary's end of a session.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use kwik_core::error::CloseReason;
use kwik_core::event::{EventKind, PathEvent, PrimaryEvent};
use kwik_core::ids::{ByteRange, GrantId, PathId, SessionId, StreamId};
use kwik_core::path::{PathInfo, PathSpec, RawTarget};
use kwik_core::plan::PlanSpec;
use kwik_core::ranges::RangeSet;
use kwik_core::wire::LostReason;

use super::segment::Segment;
use super::session::SessionRef;
use super::shared::deadline_after;
use super::stream::{RecvStream, SendStream};
use crate::error::Error;
use crate::stats::IoStats;

/// A session, held by its primary.
///
/// **Dropping** the last handle of the session, its streams and segments included, closes it: at
/// once if no stream was finished; otherwise the client, which knows when it has read everything,
/// is given [`linger`](super::ServerOptions::linger) to close it first. The drop does not wait.
#[derive(Clone)]
pub struct PrimarySession {
    session: SessionRef,
    timeout: Option<Duration>,
}

/// What [`PrimarySession::next_event`] tells.
///
/// A session whose application leaves more than 4096 of them lying is closed.
#[derive(Clone, Debug)]
pub enum PrimaryNotice {
    /// Something happened to a path.
    Path(PathEvent),
    /// A grant made with `delegate` or `send_raw` has its final status.
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
        /// Exactly the missing bytes, without those that another live grant covers.
        missing: RangeSet,
    },
    /// The reader waits for bytes that no grant covers and no plan will bring.
    Hole {
        /// The stream.
        stream: StreamId,
        /// The missing bytes.
        missing: RangeSet,
    },
    /// A plan gave the primary itself a range to write.
    OwnRange {
        /// The stream.
        stream: StreamId,
        /// What to write.
        range: ByteRange,
        /// Where to write it: at its start.
        segment: Segment,
    },
}

impl PrimarySession {
    pub(super) fn new(session: SessionRef) -> Self {
        Self {
            session,
            timeout: None,
        }
    }

    /// Opens a stream; waits while the client allows no more.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`]; [`Error::Closed`].
    pub fn open_stream(&self) -> Result<(SendStream, RecvStream), Error> {
        self.session
            .open_stream(self.timeout, deadline_after(self.timeout))
    }

    /// Waits for a stream that the client opened.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`]; [`Error::Closed`].
    pub fn accept_stream(&self) -> Result<(SendStream, RecvStream), Error> {
        self.session
            .accept_stream(self.timeout, deadline_after(self.timeout))
    }

    /// Waits for the next event.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`]; [`Error::Closed`].
    pub fn next_event(&self) -> Result<PrimaryNotice, Error> {
        let deadline = deadline_after(self.timeout);
        loop {
            let notice = match self.session.next_event(deadline)? {
                EventKind::Primary(PrimaryEvent::Path(event)) => PrimaryNotice::Path(event),
                EventKind::Primary(PrimaryEvent::GrantDone { grant, end }) => {
                    PrimaryNotice::GrantDone { grant, end }
                }
                EventKind::Primary(PrimaryEvent::GrantLost {
                    grant,
                    reason,
                    missing,
                }) => PrimaryNotice::GrantLost {
                    grant,
                    reason,
                    missing,
                },
                EventKind::Primary(PrimaryEvent::Hole { stream, missing }) => {
                    PrimaryNotice::Hole { stream, missing }
                }
                EventKind::Primary(PrimaryEvent::OwnRange {
                    stream,
                    range,
                    segment,
                }) => PrimaryNotice::OwnRange {
                    stream,
                    range,
                    segment: Segment::new(self.session.clone(), segment, self.timeout),
                },
                // Never kept for the application.
                EventKind::Primary(
                    PrimaryEvent::Accepted
                    | PrimaryEvent::Stream(_)
                    | PrimaryEvent::SegmentWritable(_)
                    | PrimaryEvent::Closed(_),
                )
                | EventKind::Client(_)
                | EventKind::Secondary(_) => continue,
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
        self.session.call(|call| Ok(call.primary()?.session_id()))
    }

    /// The client's address.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    pub fn client_addr(&self) -> Result<Option<SocketAddr>, Error> {
        self.session.call(|call| Ok(call.primary()?.client_addr()))
    }

    /// Names a secondary to the client, which connects to it.
    ///
    /// # Errors
    ///
    /// [`Error::Misuse`]; [`Error::Closed`].
    pub fn add_path(&self, spec: PathSpec) -> Result<PathId, Error> {
        self.session
            .call(|call| Ok(call.primary()?.add_path(spec)?))
    }

    /// Gives a path no more grants; it closes when those it has are final.
    ///
    /// # Errors
    ///
    /// [`Error::Misuse`]; [`Error::Closed`].
    pub fn retire_path(&self, path: PathId) -> Result<(), Error> {
        self.session
            .call(|call| Ok(call.primary()?.retire_path(path)?))
    }

    /// All secondary paths since the beginning: active, dead, retired.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    pub fn paths(&self) -> Result<Vec<PathInfo>, Error> {
        self.session.call(|call| Ok(call.primary()?.paths()))
    }

    /// Moves the write cursor of a stream.
    ///
    /// # Errors
    ///
    /// [`Error::Misuse`]; [`Error::Stopped`]; [`Error::Closed`].
    pub fn set_offset(&self, stream: StreamId, offset: u64) -> Result<(), Error> {
        self.session.call(|call| {
            call.primary()?.set_offset(stream, offset)?;
            call.entry()?.aggregated.insert(stream);
            Ok(())
        })
    }

    /// Grants a range of a stream to a secondary, with a command for it.
    ///
    /// # Errors
    ///
    /// [`Error::Misuse`]; [`Error::Stopped`]; [`Error::Closed`].
    pub fn delegate(
        &self,
        stream: StreamId,
        range: ByteRange,
        path: PathId,
        command: Bytes,
    ) -> Result<GrantId, Error> {
        self.session.call(|call| {
            let grant = call.primary()?.delegate(stream, range, path, command)?;
            call.entry()?.aggregated.insert(stream);
            Ok(grant)
        })
    }

    /// Takes a grant back. Its final status follows.
    ///
    /// # Errors
    ///
    /// [`Error::Misuse`]; [`Error::Closed`].
    pub fn revoke(&self, grant: GrantId) -> Result<(), Error> {
        self.session.call(|call| Ok(call.primary()?.revoke(grant)?))
    }

    /// Sends opaque bytes to a secondary: with the right to write from the cursor of a stream or
    /// from an offset on (the grant is returned), or with none.
    ///
    /// # Errors
    ///
    /// [`Error::Misuse`]; [`Error::Stopped`]; [`Error::Closed`].
    pub fn send_raw(
        &self,
        path: PathId,
        target: RawTarget,
        bytes: Bytes,
    ) -> Result<Option<GrantId>, Error> {
        let stream = match target {
            RawTarget::Message => None,
            RawTarget::Cursor(stream) | RawTarget::At(stream, _) => Some(stream),
        };
        self.session.call(|call| {
            let grant = call.primary()?.send_raw(path, target, bytes)?;
            if let Some(stream) = stream {
                call.entry()?.aggregated.insert(stream);
            }
            Ok(grant)
        })
    }

    /// Opens a run of own writes at an offset of a stream, beside the cursor; it may lie in a grant.
    ///
    /// # Errors
    ///
    /// [`Error::Misuse`]; [`Error::Stopped`]; [`Error::Closed`].
    pub fn open_segment_at(&self, stream: StreamId, offset: u64) -> Result<Segment, Error> {
        let segment = self.session.call(|call| {
            let segment = call.primary()?.open_segment_at(stream, offset)?;
            call.entry()?.aggregated.insert(stream);
            Ok(segment)
        })?;
        Ok(Segment::new(self.session.clone(), segment, self.timeout))
    }

    /// Lets the core spread a range of a stream over all paths and this server itself, and spread
    /// again what is lost. This server's share comes as [`PrimaryNotice::OwnRange`].
    ///
    /// # Errors
    ///
    /// [`Error::Misuse`]; [`Error::Stopped`]; [`Error::Closed`].
    pub fn plan(&self, stream: StreamId, range: ByteRange, spec: PlanSpec) -> Result<(), Error> {
        self.session.call(|call| {
            call.primary()?.plan(stream, range, spec)?;
            call.entry()?.aggregated.insert(stream);
            Ok(())
        })
    }

    /// What the socket did so far, for all sessions of the server.
    #[must_use]
    pub fn io_stats(&self) -> IoStats {
        self.session.io_stats()
    }

    /// Closes the session at once with an application error code; data in flight is lost, and calls
    /// that wait return [`Error::Closed`].
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

    /// Lets each later call of this handle take so long at most, and those of the streams and
    /// segments that it gives; `None`: for ever. Other clones keep theirs.
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

impl fmt::Debug for PrimarySession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrimarySession").finish_non_exhaustive()
    }
}

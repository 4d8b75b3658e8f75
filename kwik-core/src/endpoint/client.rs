//! A client session, as its application sees it.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::copied;
use crate::carrier::{Now, ReadState};
use crate::error::{Misuse, StreamError};
use crate::ids::{SessionId, StreamId};
use crate::path::PathInfo;
use crate::quic::SessionCarriers;
use crate::session::{ClientSession, ClientStats, Cx};

/// A session with a primary: streams, of which nothing tells who writes them. Borrowed from an
/// [`Endpoint`](super::Endpoint) for a few calls.
pub struct Client<'a> {
    now: Now,
    session: &'a mut ClientSession,
    carriers: SessionCarriers<'a>,
}

impl<'a> Client<'a> {
    pub(super) fn new(
        now: Now,
        session: &'a mut ClientSession,
        carriers: SessionCarriers<'a>,
    ) -> Self {
        Self {
            now,
            session,
            carriers,
        }
    }

    /// The session's name; `None` before `Connected`.
    #[must_use]
    pub fn session_id(&self) -> Option<SessionId> {
        self.session.session_id()
    }

    /// Opens a stream. The peer learns of it with the first byte or the end. `None` while the peer
    /// allows none, or the session has not begun; `StreamEvent::Available` tells when it is worth
    /// another try.
    ///
    /// # Errors
    ///
    /// [`Misuse::Closed`].
    pub fn open_stream(&mut self) -> Result<Option<StreamId>, Misuse> {
        self.session.open_stream(&mut self.carriers)
    }

    /// A stream that the peer opened, each once; `None` until `StreamEvent::Opened` tells of more.
    pub fn accept_stream(&mut self) -> Option<StreamId> {
        self.session.accept_stream()
    }

    /// Takes bytes off the front of `data` and sends them; returns how many. If `data` is not empty
    /// afterwards, `StreamEvent::Writable` follows.
    ///
    /// # Errors
    ///
    /// [`StreamError::SessionLost`]; [`Misuse::UnknownStream`]; [`Misuse::Finished`] after
    /// [`Self::finish`] or [`Self::reset`], or once the peer wants no more, of which the first call
    /// may tell [`StreamError::Stopped`]. Nothing is taken then.
    pub fn write(&mut self, stream: StreamId, data: &mut Bytes) -> Result<usize, StreamError> {
        self.session.write(stream, data, &mut self.carriers)
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

    /// Ends what we send on a stream, behind what was written.
    ///
    /// # Errors
    ///
    /// As [`Self::write`].
    pub fn finish(&mut self, stream: StreamId) -> Result<(), StreamError> {
        self.session.finish(stream, &mut self.carriers)
    }

    /// Gives up sending on a stream, what is in flight included, with an error code for the peer.
    ///
    /// # Errors
    ///
    /// [`Misuse::Closed`]; [`Misuse::UnknownStream`]; [`Misuse::Finished`] if the sending half has ended
    /// already: it was reset, the peer has all of it, or wants no more of it.
    pub fn reset(&mut self, stream: StreamId, code: u64) -> Result<(), Misuse> {
        self.session.reset(stream, code, &mut self.carriers)
    }

    /// Hands bytes of a stream to `sink`, in order, at most `max`, until it breaks. After
    /// [`ReadState::Blocked`], `StreamEvent::Readable` follows.
    ///
    /// When the primary is lost, what had arrived before can still be read for `leftover_max`; then
    /// comes the end, if that had arrived too, or the error.
    ///
    /// # Errors
    ///
    /// [`StreamError::Reset`]; [`StreamError::Hole`] if nobody supplied a range of it;
    /// [`StreamError::SessionLost`]; [`Misuse::UnknownStream`], also once its end or its reset was read,
    /// and after [`Self::stop`].
    pub fn read(
        &mut self,
        stream: StreamId,
        max: usize,
        sink: &mut dyn FnMut(Bytes) -> ControlFlow<()>,
    ) -> Result<ReadState, StreamError> {
        let cx = &mut Cx {
            now: self.now,
            carriers: &mut self.carriers,
        };
        self.session.read(cx, stream, max, sink)
    }

    /// Wants no more of a stream, and says so to the peer with an error code.
    ///
    /// # Errors
    ///
    /// [`Misuse::UnknownStream`], also if the receiving half has ended: its end or its reset was read, or
    /// it was stopped before; [`Misuse::Closed`] if the session has ended and nothing is left to read
    /// of the stream.
    pub fn stop(&mut self, stream: StreamId, code: u64) -> Result<(), Misuse> {
        let cx = &mut Cx {
            now: self.now,
            carriers: &mut self.carriers,
        };
        self.session.stop(cx, stream, code)
    }

    /// All paths, the primary's first, with those that ended lately.
    #[must_use]
    pub fn paths(&self) -> Vec<PathInfo> {
        self.session.paths(&self.carriers)
    }

    /// Counts since the beginning of the session.
    #[must_use]
    pub fn stats(&self) -> ClientStats {
        self.session.stats()
    }

    /// Closes the session at once, with an error code for the peer. What is in flight, or not read, is
    /// lost. Of a session that has ended, no more than what was left to read.
    pub fn close(&mut self, code: u64) {
        self.session.close(code);
    }
}

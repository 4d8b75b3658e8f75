//! The client's end of a session.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use kwik_core::carrier::DialTarget;
use kwik_core::config::Config;
use kwik_core::endpoint::ClientStats;
use kwik_core::error::CloseReason;
use kwik_core::event::{ClientEvent, EventKind, PathEvent};
use kwik_core::ids::{ByteRange, PathId, SessionId, StreamId};
use kwik_core::path::PathInfo;

use super::entry::Role;
use super::session::SessionRef;
use super::shared::deadline_after;
use super::stream::{RecvStream, SendStream};
use super::{LINGER, worker};
use crate::driver::clock;
use crate::error::Error;
use crate::stats::IoStats;

/// How a client connects. `ClientOptions::default()` needs no tuning.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Settings of the core.
    pub config: Arc<Config>,
    /// The local address; `None`: any address, both IP versions if the machine has them, any port.
    pub bind: Option<SocketAddr>,
    /// How long [`Client::connect`] takes at most.
    pub connect_timeout: Duration,
    /// How long the last handle, dropped, waits for data in flight.
    pub linger: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            config: Arc::default(),
            bind: None,
            connect_timeout: Duration::from_secs(10),
            linger: LINGER,
        }
    }
}

/// A session, held by the client: streams from one primary, whoever wrote their bytes.
///
/// **Dropping** the last handle of the session, its streams included, closes it when everything
/// that was finished has arrived, after [`ClientOptions::linger`] at the latest, and waits for that.
#[derive(Clone)]
pub struct Client {
    session: SessionRef,
    local_addr: SocketAddr,
    timeout: Option<Duration>,
}

/// What [`Client::next_event`] tells. Nothing has to be done about any of it: for a display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientNotice {
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
}

impl Client {
    /// Connects to a primary and waits until it has welcomed the session.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] after `connect_timeout`; [`Error::Closed`] with the reason, among them
    /// [`CloseReason::PinMismatch`]; [`Error::Connect`] for a target that cannot be; [`Error::Io`].
    pub fn connect(target: DialTarget, options: ClientOptions) -> Result<Self, Error> {
        let deadline = deadline_after(Some(options.connect_timeout));
        let start = |addr| worker::start(addr, Arc::clone(&options.config), None, options.linger);
        let (endpoint, local_addr) = match options.bind {
            Some(addr) => start(addr)?,
            None => start((Ipv6Addr::UNSPECIFIED, 0).into())
                .or_else(|_| start((Ipv4Addr::UNSPECIFIED, 0).into()))?,
        };
        let endpoint = Arc::new(endpoint);
        let session = {
            let mut state = endpoint.shared.lock();
            let session = state.endpoint.connect(clock(), target)?;
            state.admit(session, Role::Client);
            SessionRef::new(Arc::clone(&endpoint), &state, session)
        };
        session.wait(deadline, |call| Ok(call.entry()?.established.then_some(())))?;
        Ok(Self {
            session,
            local_addr,
            timeout: None,
        })
    }

    /// Opens a stream; waits while the primary allows no more.
    ///
    /// The primary learns of the stream with its first byte.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`]; [`Error::Closed`].
    pub fn open_stream(&self) -> Result<(SendStream, RecvStream), Error> {
        self.session
            .open_stream(self.timeout, deadline_after(self.timeout))
    }

    /// Waits for a stream that the primary opened.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`]; [`Error::Closed`].
    pub fn accept_stream(&self) -> Result<(SendStream, RecvStream), Error> {
        self.session
            .accept_stream(self.timeout, deadline_after(self.timeout))
    }

    /// Waits for news about paths. The oldest are dropped if nobody takes them.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`]; [`Error::Closed`].
    pub fn next_event(&self) -> Result<ClientNotice, Error> {
        let deadline = deadline_after(self.timeout);
        loop {
            match self.session.next_event(deadline)? {
                EventKind::Client(ClientEvent::Path(event)) => {
                    return Ok(ClientNotice::Path(event));
                }
                EventKind::Client(ClientEvent::Conflict {
                    stream,
                    range,
                    path,
                }) => {
                    return Ok(ClientNotice::Conflict {
                        stream,
                        range,
                        path,
                    });
                }
                // Never kept for the application.
                EventKind::Client(
                    ClientEvent::Connected | ClientEvent::Stream(_) | ClientEvent::Closed(_),
                )
                | EventKind::Primary(_)
                | EventKind::Secondary(_) => {}
            }
        }
    }

    /// The session's name, as the primary chose it.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    pub fn session_id(&self) -> Result<Option<SessionId>, Error> {
        self.session.call(|call| Ok(call.client()?.session_id()))
    }

    /// All paths since the beginning, the primary's first.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    pub fn paths(&self) -> Result<Vec<PathInfo>, Error> {
        self.session.call(|call| Ok(call.client()?.paths()))
    }

    /// Counters of the session.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    pub fn stats(&self) -> Result<ClientStats, Error> {
        self.session.call(|call| Ok(call.client()?.stats()))
    }

    /// What the socket did so far.
    #[must_use]
    pub fn io_stats(&self) -> IoStats {
        self.session.io_stats()
    }

    /// The address that the socket is bound to.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
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

    /// Lets each later call of this handle take so long at most, and those of the streams that it
    /// gives; `None`: for ever. Other clones keep theirs.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }

    /// This handle with another timeout, for a single call.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self {
            timeout: Some(timeout),
            ..self.clone()
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("local_addr", &self.local_addr)
            .finish_non_exhaustive()
    }
}

//! A server, and the sessions that it accepts.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kwik_core::config::Config;
use kwik_core::endpoint::ServerIdentity;

use super::entry::Role;
use super::primary::PrimarySession;
use super::secondary::SecondarySession;
use super::session::SessionRef;
use super::shared::{EndpointRef, deadline_after, wait_on};
use super::{LINGER, worker};
use crate::error::Error;
use crate::stats::IoStats;

/// How a server serves.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Settings of the core.
    pub config: Arc<Config>,
    /// How long the last handle of a session, dropped, lets data in flight arrive.
    pub linger: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            config: Arc::default(),
            linger: LINGER,
        }
    }
}

/// A server: primary to the clients that begin a session with it, secondary to those that join.
///
/// **Dropping** the last handle of a server and of all its sessions ends it: no session is accepted
/// any more, those that nobody accepted are closed, and the drop waits until what was finished has
/// arrived, for [`ServerOptions::linger`] at most. Sessions outlive the `Server`.
#[derive(Clone)]
pub struct Server {
    endpoint: Arc<EndpointRef>,
    local_addr: SocketAddr,
    timeout: Option<Duration>,
}

/// A session of a server, by the part that this server plays in it.
#[derive(Clone, Debug)]
pub enum Session {
    /// This server owns the session and its streams.
    Primary(PrimarySession),
    /// This server writes what another one's grants allow.
    Secondary(SecondarySession),
}

impl Server {
    /// Binds to `addr` (port 0: any free one; an unspecified IPv6 address takes IPv4 as well) and
    /// begins to serve.
    ///
    /// # Errors
    ///
    /// [`Error::Identity`] if the certificate or key cannot be used; [`Error::Io`].
    pub fn bind(
        addr: SocketAddr,
        identity: ServerIdentity,
        options: ServerOptions,
    ) -> Result<Self, Error> {
        let (endpoint, local_addr) =
            worker::start(addr, options.config, Some(identity), options.linger)?;
        Ok(Self {
            endpoint: Arc::new(endpoint),
            local_addr,
            timeout: None,
        })
    }

    /// Waits for the next session: a client that began one, or one that joined with the ticket of
    /// its primary.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`]; [`Error::Io`] if the socket failed.
    pub fn accept(&self) -> Result<Session, Error> {
        let deadline = deadline_after(self.timeout);
        let shared = &self.endpoint.shared;
        let mut state = shared.lock();
        loop {
            if let Some(session) = state.accepted.pop_front() {
                let role = state.sessions.get(&session).map(|entry| entry.role);
                let reference = SessionRef::new(Arc::clone(&self.endpoint), &state, session);
                match role {
                    Some(Role::Primary) => {
                        return Ok(Session::Primary(PrimarySession::new(reference)));
                    }
                    Some(Role::Secondary) => {
                        return Ok(Session::Secondary(SecondarySession::new(reference)));
                    }
                    Some(Role::Client) | None => {
                        // Releasing the reference takes the lock.
                        drop(state);
                        drop(reference);
                        state = shared.lock();
                        continue;
                    }
                }
            }
            if let Some(error) = &state.failed {
                return Err(Error::Io(Arc::clone(error)));
            }
            state = wait_on(&shared.accepting, state, deadline)?;
        }
    }

    /// The address that the socket is bound to.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// What the socket did so far, for all sessions.
    #[must_use]
    pub fn io_stats(&self) -> IoStats {
        self.endpoint.shared.counters.snapshot()
    }

    /// Lets each later [`Self::accept`] of this handle take so long at most; `None`: for ever.
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

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("local_addr", &self.local_addr)
            .finish_non_exhaustive()
    }
}

//! An endpoint: any number of sessions behind one UDP socket, without the socket.
//!
//! Owns the sessions, the QUIC connections under them, and the events for the application. Never
//! reads a clock, a socket or a source of randomness: datagrams, the time and one seed come in.
//!
//! # How to drive it
//!
//! One mutation, then drain. Mutations are [`Endpoint::handle_datagram`],
//! [`Endpoint::handle_timeout`], [`Endpoint::connect`], [`Endpoint::close`], and every call on a
//! session's view ([`Endpoint::client`], [`Endpoint::primary`], [`Endpoint::secondary`]). A batch of
//! datagrams counts as one: the answers to it are fewer. Then:
//!
//! 1. [`Endpoint::poll_event`] until `None`, acting on each;
//! 2. [`Endpoint::poll_transmit`] until `None`, or until the socket takes no more
//!    ([`Endpoint::wants_transmit`] tells whether to wait for it);
//! 3. [`Endpoint::poll_timeout`], and [`Endpoint::handle_timeout`] not before that moment, with all
//!    datagrams handled that arrived until then.
//!
//! Whoever forgets to drain the events is called again at once: that costs a spin, never a hang. After
//! the last close the peers hear of it only if this goes on until [`Endpoint::is_drained`].

mod client;
mod gauges;
mod identity;
mod primary;
mod pump;
mod secondary;
mod sessions;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

pub use self::client::Client;
pub use self::identity::{ServerIdentity, certificate_pin};
pub use self::primary::Primary;
pub use self::secondary::Secondary;
use self::sessions::{Session, Sessions};
use crate::carrier::{DialTarget, Now};
use crate::config::Config;
use crate::crypto::Crypto;
pub use crate::datagram::{Datagram, Ecn, Transmit};
use crate::error::StreamError;
pub use crate::error::{ConfigError, ConnectError, EndpointError, IdentityError};
use crate::event::{Deadline, DeadlineCause, Event};
use crate::ids::{PathId, SessionHandle, SessionId};
use crate::quic::{Entropy, Fed, Quic};
pub use crate::session::{
    ClientGauges, ClientStats, EndpointGauges, PrimaryGauges, PrimaryStats, SecondaryGauges,
    SessionGauges,
};
use crate::session::{ClientSession, Greeting, ServerContext};

/// Sessions of any role over one socket. See the [module](self) for how to drive it.
pub struct Endpoint {
    config: Arc<Config>,
    server: Option<Arc<ServerContext>>,
    quic: Quic,
    entropy: Entropy,
    sessions: Sessions,
    /// Who joined as what: the newest connection of each path.
    joins: BTreeMap<(SessionId, PathId), SessionHandle>,
    events: VecDeque<Event>,
    /// The latest time that was told.
    now: Now,
}

impl Endpoint {
    /// An endpoint that dials, and that accepts clients if it is given the identity of a server. `seed`
    /// is 32 bytes of good randomness, never used before: all secrets and names of the endpoint come
    /// from it. With [`Arc::default`] for `config` nothing needs to be tuned.
    ///
    /// # Errors
    ///
    /// The configuration or the identity cannot be used.
    pub fn new(
        config: Arc<Config>,
        server: Option<ServerIdentity>,
        seed: [u8; 32],
        now: Now,
    ) -> Result<Self, EndpointError> {
        Self::protected_by(None, config, server, seed, now)
    }

    /// As [`Self::new`], with connections that `crypto` protects instead of TLS.
    ///
    /// # Errors
    ///
    /// The configuration or the identity cannot be used.
    #[cfg(feature = "custom-crypto")]
    pub fn with_crypto(
        config: Arc<Config>,
        server: Option<ServerIdentity>,
        seed: [u8; 32],
        now: Now,
        crypto: Arc<dyn Crypto>,
    ) -> Result<Self, EndpointError> {
        Self::protected_by(Some(crypto), config, server, seed, now)
    }

    fn protected_by(
        crypto: Option<Arc<dyn Crypto>>,
        config: Arc<Config>,
        server: Option<ServerIdentity>,
        seed: [u8; 32],
        now: Now,
    ) -> Result<Self, EndpointError> {
        config.check()?;
        let mut entropy = Entropy::new(seed);
        if let Some(identity) = &server {
            identity.pin()?;
        }
        let keys = server
            .as_ref()
            .map(|identity| (&identity.certificate_der[..], &identity.key_pkcs8_der[..]));
        let quic = Quic::new(&config.quic, keys, crypto, &mut entropy, now)?;
        let server = server.map(|identity| {
            Arc::new(ServerContext {
                config: Arc::clone(&config),
                master: identity.master,
                peer: identity.peer,
                started_unix_seconds: now.unix_seconds,
            })
        });
        Ok(Self {
            config,
            server,
            quic,
            entropy,
            sessions: Sessions::default(),
            joins: BTreeMap::new(),
            events: VecDeque::new(),
            now,
        })
    }

    /// Begins a session with a primary. Its events tell how it goes: `ClientEvent::Connected` first, or
    /// `Closed`.
    ///
    /// # Errors
    ///
    /// [`ConnectError::ServerName`] or [`ConnectError::Address`] if the target cannot be connected to at
    /// all; there is no session then. What else goes wrong, the session's end tells.
    pub fn connect(&mut self, now: Now, target: DialTarget) -> Result<SessionHandle, ConnectError> {
        self.set_now(now);
        Quic::check_target(&target)?;
        let seed = self.entropy.session_seed();
        let session =
            ClientSession::new(Arc::clone(&self.config), &seed, target, self.now.monotonic);
        Ok(self.sessions.insert(Session::Client(Box::new(session))))
    }

    /// Takes a datagram in.
    pub fn handle_datagram(&mut self, now: Now, datagram: Datagram) {
        self.set_now(now);
        let newcomer = self.sessions.next_handle();
        match self.quic.handle_datagram(self.now, datagram, newcomer) {
            Fed::Routed => {}
            Fed::Accepted => self.greet(),
        }
    }

    /// A client is shaking hands.
    fn greet(&mut self) {
        let Some(context) = &self.server else { return };
        // Sealing keys hang on it: never twice the same [SESS-3].
        let name = SessionId(self.entropy.session_name());
        let greeting = Greeting::new(self.now, Arc::clone(context), name);
        self.sessions.insert(Session::Greeting(Box::new(greeting)));
    }

    /// Does what is due. To be called when [`Self::poll_timeout`] says; more often does no harm.
    pub fn handle_timeout(&mut self, now: Now) {
        self.set_now(now);
        // What has arrived is heard before anybody is declared silent [PATH-7].
        self.quic.handle_timeout(self.now);
        self.pump();
        self.wake_sessions();
        self.pump();
    }

    /// Writes datagrams to send into `buf`, which is cleared first: at most `datagrams_max` to one
    /// destination and of one size, but for the last, which may be shorter. `None`: there is nothing.
    pub fn poll_transmit(
        &mut self,
        now: Now,
        datagrams_max: usize,
        buf: &mut Vec<u8>,
    ) -> Option<Transmit> {
        self.set_now(now);
        self.pump();
        self.quic.poll_transmit(self.now, datagrams_max, buf)
    }

    /// Whether [`Self::poll_transmit`] may have something.
    #[must_use]
    pub fn wants_transmit(&self) -> bool {
        self.quic.wants_transmit() || self.is_dirty()
    }

    /// What has happened next; `None` once all has been told.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.pump();
        let event = self.events.pop_front()?;
        if let Some(entry) = self.sessions.touch_mut(event.session) {
            entry.events_queued = entry.events_queued.saturating_sub(1);
        }
        Some(event)
    }

    /// When to call [`Self::handle_timeout`], if nothing else happens before. Final only once
    /// [`Self::poll_transmit`] has returned `None`: sending sets timers.
    pub fn poll_timeout(&mut self) -> Option<Deadline> {
        self.pump();
        if !self.events.is_empty() {
            return Some(Deadline {
                at: self.now.monotonic,
                cause: DeadlineCause::EventsQueued,
            });
        }
        let session = self.sessions.next_deadline();
        let quic = self.quic.next_deadline();
        let timers = [(session, DeadlineCause::Timer), (quic, DeadlineCause::Quic)];
        let timers = timers
            .into_iter()
            .filter_map(|(at, cause)| Some(Deadline { at: at?, cause }));
        timers.min_by_key(|deadline| deadline.at)
    }

    /// The session, if this endpoint began it with [`Self::connect`]; `None` too once it is
    /// forgotten: when its connections have ended and all its events were told.
    pub fn client(&mut self, now: Now, session: SessionHandle) -> Option<Client<'_>> {
        self.set_now(now);
        match &mut self.sessions.touch_mut(session)?.session {
            Session::Client(client) => {
                Some(Client::new(self.now, client, self.quic.carriers(session)))
            }
            Session::Greeting(_) | Session::Primary(_) | Session::Secondary(_) => None,
        }
    }

    /// The session, if this endpoint is its primary.
    pub fn primary(&mut self, now: Now, session: SessionHandle) -> Option<Primary<'_>> {
        self.set_now(now);
        let client_addr = self.quic.remote(session, PathId::PRIMARY);
        match &mut self.sessions.touch_mut(session)?.session {
            Session::Primary(primary) => Some(Primary::new(
                self.now,
                primary,
                self.quic.carriers(session),
                client_addr,
            )),
            Session::Client(_) | Session::Greeting(_) | Session::Secondary(_) => None,
        }
    }

    /// The session, if this endpoint joined it as a secondary.
    pub fn secondary(&mut self, now: Now, session: SessionHandle) -> Option<Secondary<'_>> {
        self.set_now(now);
        match &mut self.sessions.touch_mut(session)?.session {
            Session::Secondary(secondary) => {
                Some(Secondary::new(secondary, self.quic.carriers(session)))
            }
            Session::Client(_) | Session::Greeting(_) | Session::Primary(_) => None,
        }
    }

    /// Closes a session at once, with an error code for the peer. What is in flight is lost. One that
    /// is closed or forgotten stays as it is.
    pub fn close(&mut self, now: Now, session: SessionHandle, code: u64) {
        self.set_now(now);
        self.close_session(session, code);
    }

    /// Whether clients are let in from now on; sessions that there are go on.
    pub fn set_accepting(&mut self, accepting: bool) {
        self.quic.set_accepting(accepting);
    }

    /// Sessions that are not forgotten yet: open, or with events or connections that linger.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Whether every session is closed and every connection has ended: nothing is lost if the
    /// endpoint is dropped.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.quic.is_drained() && self.sessions.all_closed()
    }

    /// Time never runs backwards.
    fn set_now(&mut self, now: Now) {
        self.now = Now {
            monotonic: self.now.monotonic.max(now.monotonic),
            ..now
        };
    }
}

/// Bytes of a slice that are copied at a time: what the peer does not take is copied in vain.
const COPY_STEP_BYTES: usize = 64 << 10;

/// Feeds a slice, piece by copied piece, to a write that takes bytes off the front.
fn copied(
    data: &[u8],
    mut write: impl FnMut(&mut Bytes) -> Result<usize, StreamError>,
) -> Result<usize, StreamError> {
    let mut taken = 0;
    // Nothing can be written to what there is not, either.
    if data.is_empty() {
        return write(&mut Bytes::new());
    }
    for piece in data.chunks(COPY_STEP_BYTES) {
        let mut piece = Bytes::copy_from_slice(piece);
        taken += write(&mut piece)?;
        if !piece.is_empty() {
            break;
        }
    }
    Ok(taken)
}

#[cfg(test)]
mod tests;

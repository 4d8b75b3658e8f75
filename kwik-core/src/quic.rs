//! The QUIC connections of an endpoint: the only room that names `rustls` and, but for the joint in
//! [`crypto`](crate::crypto), `quinn_proto`.
//!
//! Owns the quinn endpoint and its connections, and finds the connection of a session by the name
//! that the session gave it. Turns datagrams into [`Input`]s and implements
//! [`Carriers`](crate::carrier::Carriers). Never sees a frame of KWIK, nor what a session is.

mod carriers;
mod connection;
mod entropy;
mod room;
mod tls;
mod traffic;
mod transport;
mod valve;
mod window;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use quinn_proto::crypto;
use quinn_proto::{EndpointConfig, NoneTokenStore, ServerConfig, VarInt};

use self::connection::Conn;
use self::tls::{SharedClock, Tls, WallClock};
use self::transport::{Reach, Role};
use crate::carrier::{DialTarget, Input, Now};
use crate::config::QuicConfig;
use crate::crypto::{Crypto, PinAlarm};
use crate::datagram::Transmit;
use crate::error::code;
use crate::error::{ConnectError, IdentityError};
use crate::ids::{PathId, SessionHandle};

pub(crate) use self::carriers::SessionCarriers;
pub(crate) use self::entropy::Entropy;
pub(crate) use self::room::{renew_map, renew_queue, renew_set};
pub(crate) use self::tls::certificate_pin;
pub(crate) use self::traffic::{Fed, RESPONSES_MAX};

/// QUIC version 1 (RFC 9000), the only one [CONN-1].
const VERSION: u32 = 1;
/// Names a connection; never reused, unlike quinn's handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ConnKey(u64);

/// The QUIC connections of an endpoint.
pub(crate) struct Quic {
    config: QuicConfig,
    endpoint: quinn_proto::Endpoint,
    crypto: Arc<dyn Crypto>,
    clock: SharedClock,
    /// For clients on this machine and elsewhere; none if this endpoint is no server.
    server: Option<[Arc<ServerConfig>; 2]>,
    accepting: bool,
    /// Boxed, because a map keeps room for eleven as long as it lives.
    conns: BTreeMap<ConnKey, Box<Conn>>,
    next_key: u64,
    by_handle: BTreeMap<usize, ConnKey>,
    by_path: BTreeMap<(SessionHandle, PathId), ConnKey>,
    /// Connections of each session that are not drained or that it may still read.
    per_session: BTreeMap<SessionHandle, usize>,
    /// Handshakes of clients that are not done.
    handshakes: usize,
    /// Connections of clients.
    clients: usize,
    deadlines: BTreeSet<(Instant, ConnKey)>,
    /// Connections that may have something to tell.
    telling: BTreeSet<ConnKey>,
    /// Connections that may have something to send.
    sending: BTreeSet<ConnKey>,
    /// Whose turn to send was last.
    turn: ConnKey,
    /// What was told and not taken yet.
    inputs: VecDeque<(ConnKey, Input)>,
    /// Sessions whose last connection is gone.
    orphans: VecDeque<SessionHandle>,
    responses: VecDeque<(Transmit, Vec<u8>)>,
    scratch: Vec<u8>,
}

impl Quic {
    /// `crypto` protects the connections; TLS if there is none.
    ///
    /// # Errors
    ///
    /// The server's certificate or key cannot be used.
    pub(crate) fn new(
        config: &QuicConfig,
        identity: Option<(&[u8], &[u8])>,
        crypto: Option<Arc<dyn Crypto>>,
        entropy: &mut Entropy,
        now: Now,
    ) -> Result<Self, IdentityError> {
        let clock = SharedClock(Arc::new(WallClock::default()));
        clock.0.set(now.unix_seconds);
        let crypto = crypto.unwrap_or_else(|| Arc::new(Tls::new(clock.clone())));
        let server = match identity {
            Some((certificate, key)) => Some(crypto.server(certificate, key)?),
            None => None,
        };
        Ok(Self::with_crypto(config, crypto, clock, server, entropy))
    }

    fn with_crypto(
        config: &QuicConfig,
        crypto: Arc<dyn Crypto>,
        clock: SharedClock,
        server: Option<Arc<dyn crypto::ServerConfig>>,
        entropy: &mut Entropy,
    ) -> Self {
        let endpoint_config = Arc::new(endpoint_config(config, entropy));
        let server = server.map(|crypto| server_configs(config, crypto, &clock, entropy));
        let default_server = server.as_ref().map(|[loopback, _]| Arc::clone(loopback));
        let endpoint = quinn_proto::Endpoint::new(endpoint_config, default_server, true, None);
        Self {
            config: config.clone(),
            endpoint,
            crypto,
            clock,
            server,
            accepting: true,
            conns: BTreeMap::new(),
            next_key: 0,
            by_handle: BTreeMap::new(),
            by_path: BTreeMap::new(),
            per_session: BTreeMap::new(),
            handshakes: 0,
            clients: 0,
            deadlines: BTreeSet::new(),
            telling: BTreeSet::new(),
            sending: BTreeSet::new(),
            turn: ConnKey(0),
            inputs: VecDeque::new(),
            orphans: VecDeque::new(),
            responses: VecDeque::new(),
            scratch: Vec::new(),
        }
    }
}

/// What the sessions do.
impl Quic {
    /// The connections of a session.
    pub(crate) fn carriers(&mut self, session: SessionHandle) -> SessionCarriers<'_> {
        SessionCarriers::new(self, session)
    }

    /// Whether a target can be dialled at all.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(crate) fn check_target(target: &DialTarget) -> Result<(), ConnectError> {
        if !tls::is_server_name(&target.server_name) {
            return Err(ConnectError::ServerName(target.server_name.clone()));
        }
        if target.addr.port() == 0 || target.addr.ip().is_unspecified() {
            return Err(ConnectError::Address(target.addr));
        }
        Ok(())
    }

    /// Begins a connection. One of the same name is closed first, and what it had to tell is
    /// forgotten [JOIN-7].
    ///
    /// # Errors
    ///
    /// The target cannot be dialled at all; nothing has begun.
    pub(crate) fn dial(
        &mut self,
        now: Now,
        session: SessionHandle,
        path: PathId,
        target: &DialTarget,
        entropy: &mut Entropy,
    ) -> Result<(), ConnectError> {
        Self::check_target(target)?;
        self.clock.0.set(now.unix_seconds);
        self.close(now, session, path, code::PATH_ENDED);
        let reach = Reach::of(target.addr.ip());
        let role = if path == PathId::PRIMARY {
            Role::ClientToPrimary
        } else {
            Role::ClientToSecondary
        };
        let alarm = PinAlarm::default();
        let crypto = self.crypto.client(target.pin, alarm.clone())?;
        let initial_cid = entropy.initial_cid();
        let mut config = quinn_proto::ClientConfig::new(crypto);
        config
            .version(VERSION)
            .transport_config(transport::transport(&self.config, role, reach))
            .token_store(Arc::new(NoneTokenStore))
            .initial_dst_cid_provider(Arc::new(move || initial_cid));
        let (handle, quinn) = self
            .endpoint
            .connect(now.monotonic, config, target.addr, &target.server_name)
            .map_err(|error| handshake_error(&error))?;
        self.insert(Conn::new(quinn, handle, session, path, Some(alarm)));
        Ok(())
    }

    /// Closes a connection and forgets what it had to tell.
    pub(crate) fn close(&mut self, now: Now, session: SessionHandle, path: PathId, code: u64) {
        let Some(key) = self.by_path.remove(&(session, path)) else {
            return;
        };
        let Some(conn) = self.conns.get_mut(&key) else {
            return;
        };
        conn.path = None;
        conn.quinn.close(now.monotonic, varint(code), Bytes::new());
        self.touch(key);
        self.forget_if_over(key);
    }

    /// Closes all connections of a session.
    pub(crate) fn close_all(&mut self, now: Now, session: SessionHandle, code: u64) {
        let all = (session, PathId(0))..=(session, PathId(u64::MAX));
        let paths: Vec<PathId> = self
            .by_path
            .range(all)
            .map(|(&(_, path), _)| path)
            .collect();
        for path in paths {
            self.close(now, session, path, code);
        }
    }

    /// Sends something that the peer must acknowledge.
    pub(crate) fn probe(&mut self, session: SessionHandle, path: PathId) {
        let Some(key) = self.key(session, path) else {
            return;
        };
        let Some(conn) = self.conns.get_mut(&key) else {
            return;
        };
        conn.quinn.ping();
        self.wants_to_send(key);
    }

    /// The address of the peer as it is now: a client may migrate.
    pub(crate) fn remote(&self, session: SessionHandle, path: PathId) -> Option<SocketAddr> {
        let key = self.key(session, path)?;
        Some(self.conns.get(&key)?.quinn.remote_address())
    }

    /// Whether new clients are let in.
    pub(crate) fn set_accepting(&mut self, accepting: bool) {
        self.accepting = accepting;
    }

    /// Whether a session has a connection that is not drained.
    pub(crate) fn has_connections(&self, session: SessionHandle) -> bool {
        self.per_session.contains_key(&session)
    }

    /// Whether nothing is left to be sent or waited for.
    pub(crate) fn is_drained(&self) -> bool {
        self.conns.is_empty()
    }
}

/// The table.
impl Quic {
    fn key(&self, session: SessionHandle, path: PathId) -> Option<ConnKey> {
        self.by_path.get(&(session, path)).copied()
    }

    fn insert(&mut self, conn: Conn) -> ConnKey {
        let key = ConnKey(self.next_key);
        self.next_key += 1;
        self.by_handle.insert(conn.handle.0, key);
        if let Some(path) = conn.path {
            self.by_path.insert((conn.session, path), key);
        }
        *self.per_session.entry(conn.session).or_default() += 1;
        self.conns.insert(key, Box::new(conn));
        self.touch(key);
        key
    }

    /// The connection may have something to tell, and something to send.
    fn touch(&mut self, key: ConnKey) {
        self.telling.insert(key);
        self.sending.insert(key);
    }

    fn wants_to_send(&mut self, key: ConnKey) {
        self.sending.insert(key);
    }

    /// Drops a connection that quinn has forgotten and that no session reads any more.
    fn forget_if_over(&mut self, key: ConnKey) {
        let over = |conn: &Conn| conn.drained && conn.path.is_none();
        if !self.conns.get(&key).is_some_and(|conn| over(conn)) {
            return;
        }
        let Some(conn) = self.conns.remove(&key) else {
            return;
        };
        self.telling.remove(&key);
        self.sending.remove(&key);
        if let Some(at) = conn.deadline {
            self.deadlines.remove(&(at, key));
        }
        let Some(count) = self.per_session.get_mut(&conn.session) else {
            return;
        };
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.per_session.remove(&conn.session);
            self.orphans.push_back(conn.session);
        }
    }

    /// A session whose last connection has gone since the last call.
    pub(crate) fn poll_orphan(&mut self) -> Option<SessionHandle> {
        self.orphans.pop_front()
    }
}

fn endpoint_config(config: &QuicConfig, entropy: &mut Entropy) -> EndpointConfig {
    let reset_key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &entropy.key());
    let mut endpoint = EndpointConfig::new(Arc::new(reset_key));
    let ids = entropy.connection_ids();
    endpoint
        .rng_seed(Some(entropy.key()))
        .supported_versions(vec![VERSION])
        .cid_generator(move || Box::new(ids.clone()));
    // Within the bounds that QUIC sets, by construction.
    let _ = endpoint.max_udp_payload_size(transport::udp_payload_max(config));
    endpoint
}

fn server_configs(
    config: &QuicConfig,
    crypto: Arc<dyn crypto::ServerConfig>,
    clock: &SharedClock,
    entropy: &mut Entropy,
) -> [Arc<ServerConfig>; 2] {
    let token_key = ring::hkdf::Salt::new(ring::hkdf::HKDF_SHA256, &[]).extract(&entropy.key());
    let mut server = ServerConfig::new(crypto, Arc::new(token_key));
    server.time_source(Arc::new(clock.clone()));
    [Reach::Loopback, Reach::Network].map(|reach| {
        let mut server = server.clone();
        server.transport_config(transport::transport(config, Role::Server, reach));
        Arc::new(server)
    })
}

fn handshake_error(error: &dyn std::error::Error) -> ConnectError {
    ConnectError::Handshake(error.to_string())
}

/// An error code as QUIC carries it; one that does not fit becomes the largest.
fn varint(value: u64) -> VarInt {
    VarInt::from_u64(value).unwrap_or(VarInt::MAX)
}

#[cfg(test)]
pub(crate) mod tests;

//! Datagrams in, datagrams out, and the timers of QUIC.
//!
//! Owns the routing of datagrams and quinn's events between its endpoint and its connections, the
//! bounds on handshakes, and the turns in which connections send.

use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use quinn_proto::{DatagramEvent, EcnCodepoint, Incoming};

use super::connection::{Conn, Counted};
use super::transport::Reach;
use super::{ConnKey, Quic, varint};
use crate::carrier::{Input, Now};
use crate::datagram::{Datagram, Ecn, Transmit};
use crate::error::code;
use crate::ids::{PathId, SessionHandle};

/// From so many unfinished handshakes on, a server answers strangers with a Retry: they must show that
/// they receive what is sent to their address, before they cost a handshake.
const HANDSHAKES_BEFORE_RETRY: usize = 64;
/// Answers to datagrams of no connection that wait for the socket; more are dropped, as the network
/// might have done.
pub(crate) const RESPONSES_MAX: usize = 64;
/// Largest payload of one send call with several segments, bytes (IPv4; quinn-proto does not look).
const BATCH_MAX_BYTES: usize = 65_507;

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fed {
    /// It belongs to a known connection, or to none.
    Routed,
    /// It began a connection, which belongs to the session that was proposed.
    Accepted,
}

impl Quic {
    /// Feeds a datagram. A stranger that is let in becomes the one connection of `newcomer`.
    pub(crate) fn handle_datagram(
        &mut self,
        now: Now,
        datagram: Datagram,
        newcomer: SessionHandle,
    ) -> Fed {
        self.clock.0.set(now.unix_seconds);
        self.scratch.clear();
        let event = self.endpoint.handle(
            now.monotonic,
            datagram.remote,
            datagram.local_ip,
            datagram.ecn.map(ecn_to_quinn),
            datagram.data,
            &mut self.scratch,
        );
        match event {
            None => Fed::Routed,
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                let key = self.by_handle.get(&handle.0).copied();
                if let Some((key, conn)) =
                    key.and_then(|key| Some((key, self.conns.get_mut(&key)?)))
                {
                    let _span = conn.span().entered();
                    conn.received = true;
                    conn.quinn.handle_event(event);
                    self.touch(key);
                }
                Fed::Routed
            }
            Some(DatagramEvent::Response(transmit)) => {
                self.respond(&transmit);
                Fed::Routed
            }
            Some(DatagramEvent::NewConnection(incoming)) => self.greet(now, incoming, newcomer),
        }
    }

    /// Decides about a stranger. quinn keeps state for each until one of its four calls is made.
    fn greet(&mut self, now: Now, incoming: Incoming, newcomer: SessionHandle) -> Fed {
        let Some(servers) = self.server.as_ref().filter(|_| self.accepting) else {
            return self.refuse(incoming);
        };
        if self.clients >= self.config.connections_max {
            return self.refuse(incoming);
        }
        if self.handshakes >= self.config.handshakes_max {
            // It tries again by itself, perhaps with more luck; an answer would only add to the flood.
            self.endpoint.ignore(incoming);
            return Fed::Routed;
        }
        let proven = incoming.remote_address_validated() || !incoming.may_retry();
        if self.handshakes >= HANDSHAKES_BEFORE_RETRY && !proven {
            if let Ok(transmit) = self.endpoint.retry(incoming, &mut self.scratch) {
                self.respond(&transmit);
            }
            return Fed::Routed;
        }
        let [loopback, network] = servers;
        let server = match Reach::of(incoming.remote_address().ip()) {
            Reach::Loopback => Arc::clone(loopback),
            Reach::Network => Arc::clone(network),
        };
        match self
            .endpoint
            .accept(incoming, now.monotonic, &mut self.scratch, Some(server))
        {
            Ok((handle, quinn)) => {
                let mut conn = Conn::new(quinn, handle, newcomer, PathId::PRIMARY, None);
                conn.received = true;
                conn.counted = Counted::Handshake;
                self.handshakes += 1;
                self.clients += 1;
                self.insert(conn);
                Fed::Accepted
            }
            Err(error) => {
                tracing::debug!(cause = ?error.cause, "handshake failed at its first packet");
                if let Some(transmit) = error.response {
                    self.respond(&transmit);
                }
                Fed::Routed
            }
        }
    }

    fn refuse(&mut self, incoming: Incoming) -> Fed {
        let transmit = self.endpoint.refuse(incoming, &mut self.scratch);
        self.respond(&transmit);
        Fed::Routed
    }

    /// Keeps an answer of the endpoint, whose bytes are in `scratch`, for the socket.
    fn respond(&mut self, transmit: &quinn_proto::Transmit) {
        if self.responses.len() < RESPONSES_MAX {
            let bytes = self
                .scratch
                .get(..transmit.size)
                .unwrap_or_default()
                .to_vec();
            self.responses
                .push_back((transmit_from_quinn(transmit), bytes));
        }
    }

    /// When [`Self::handle_timeout`] is due.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(at, _)| at)
    }

    /// Lets the connections act whose time has come.
    pub(crate) fn handle_timeout(&mut self, now: Now) {
        self.clock.0.set(now.unix_seconds);
        while let Some(&(at, key)) = self
            .deadlines
            .first()
            .filter(|&&(at, _)| at <= now.monotonic)
        {
            self.deadlines.remove(&(at, key));
            if let Some(conn) = self.conns.get_mut(&key) {
                conn.deadline = None;
                conn.quinn.handle_timeout(now.monotonic);
                self.touch(key);
            }
        }
    }

    /// What a session is to be told next. Until this returns `None`, deadlines may be stale.
    pub(crate) fn poll_input(&mut self, now: Now) -> Option<(SessionHandle, Input)> {
        loop {
            while let Some((key, input)) = self.inputs.pop_front() {
                // It may have been closed or replaced since.
                let told = self.conns.get(&key).filter(|conn| conn.path.is_some());
                let Some(session) = told.map(|conn| conn.session) else {
                    continue;
                };
                if let Input::PathDown { path, .. } = input {
                    self.let_go(session, path);
                }
                return Some((session, input));
            }
            let key = self.telling.pop_first()?;
            self.look(now, key);
        }
    }

    /// A connection is down. What came from the primary may still be read, until the session closes
    /// it; of a secondary everything was read as it came, and there may be many of them.
    fn let_go(&mut self, session: SessionHandle, path: PathId) {
        if path == PathId::PRIMARY {
            return;
        }
        let Some(key) = self.by_path.remove(&(session, path)) else {
            return;
        };
        if let Some(conn) = self.conns.get_mut(&key) {
            conn.path = None;
        }
        self.forget_if_over(key);
    }

    /// Whether [`Self::poll_input`] might return something.
    pub(crate) fn has_inputs(&self) -> bool {
        !self.inputs.is_empty() || !self.telling.is_empty()
    }

    /// Takes what a connection has to tell, and keeps its books.
    fn look(&mut self, now: Now, key: ConnKey) {
        self.forward_endpoint_events(key);
        let Some(conn) = self.conns.get_mut(&key) else {
            return;
        };
        let found = conn.look(self.config.send_buffer_max_bytes);
        self.inputs
            .extend(found.inputs.into_iter().map(|input| (key, input)));
        if let Some(reason) = found.unusable {
            tracing::debug!(session = conn.session.0, path = ?conn.path, reason, "connection unusable");
            conn.quinn
                .close(now.monotonic, varint(code::UNEXPECTED), Bytes::new());
            self.forward_endpoint_events(key);
            self.wants_to_send(key);
        }
        self.count(key);
        self.refresh_deadline(key);
        self.forget_if_over(key);
    }

    /// Carries quinn's events from a connection to its endpoint and back.
    fn forward_endpoint_events(&mut self, key: ConnKey) {
        let Some(conn) = self.conns.get_mut(&key).filter(|conn| !conn.drained) else {
            return;
        };
        while let Some(event) = conn.quinn.poll_endpoint_events() {
            let drained = event.is_drained();
            if let Some(event) = self.endpoint.handle_event(conn.handle, event) {
                conn.quinn.handle_event(event);
                self.sending.insert(key);
            }
            if drained {
                // The handle may name another connection from now on.
                conn.drained = true;
                self.by_handle.remove(&conn.handle.0);
                return;
            }
        }
    }

    /// Keeps the numbers of handshakes and of clients.
    fn count(&mut self, key: ConnKey) {
        let Some(conn) = self.conns.get_mut(&key) else {
            return;
        };
        if conn.counted == Counted::Handshake && !conn.quinn.is_handshaking() {
            conn.counted = Counted::Client;
            self.handshakes = self.handshakes.saturating_sub(1);
        }
        if conn.counted == Counted::Client && conn.drained {
            conn.counted = Counted::No;
            self.clients = self.clients.saturating_sub(1);
        }
    }

    fn refresh_deadline(&mut self, key: ConnKey) {
        let Some(conn) = self.conns.get_mut(&key) else {
            return;
        };
        let at = if conn.drained {
            None
        } else {
            conn.quinn.poll_timeout()
        };
        if at == conn.deadline {
            return;
        }
        if let Some(old) = std::mem::replace(&mut conn.deadline, at) {
            self.deadlines.remove(&(old, key));
        }
        self.deadlines.extend(at.map(|at| (at, key)));
    }

    /// Whether [`Self::poll_transmit`] might return something.
    pub(crate) fn wants_transmit(&self) -> bool {
        !self.responses.is_empty() || !self.sending.is_empty()
    }

    /// Fills `buf` with the next datagrams of one connection, each in its turn.
    pub(crate) fn poll_transmit(
        &mut self,
        now: Now,
        datagrams_max: usize,
        buf: &mut Vec<u8>,
    ) -> Option<Transmit> {
        // quinn takes what is in the buffer for its own.
        buf.clear();
        if let Some((transmit, bytes)) = self.responses.pop_front() {
            buf.extend_from_slice(&bytes);
            return Some(transmit);
        }
        while let Some(key) = self.next_turn() {
            self.turn = key;
            let transmit = self.conns.get_mut(&key).and_then(|conn| {
                let _span = conn.span().entered();
                let fit = BATCH_MAX_BYTES / usize::from(conn.quinn.current_mtu()).max(1);
                conn.transmit(now.monotonic, datagrams_max.min(fit).max(1), buf)
            });
            self.after_transmit(key);
            if let Some(transmit) = transmit {
                return Some(transmit_from_quinn(&transmit));
            }
            self.sending.remove(&key);
        }
        None
    }

    fn next_turn(&self) -> Option<ConnKey> {
        let later = (Bound::Excluded(self.turn), Bound::Unbounded);
        self.sending
            .range(later)
            .next()
            .or_else(|| self.sending.first())
            .copied()
    }

    /// Sending sets timers, and at the end of a key's life it kills the connection.
    fn after_transmit(&mut self, key: ConnKey) {
        let Some(conn) = self.conns.get(&key) else {
            return;
        };
        if conn.quinn.is_drained() && !conn.drained {
            self.telling.insert(key);
        }
        self.refresh_deadline(key);
    }
}

fn ecn_to_quinn(ecn: Ecn) -> EcnCodepoint {
    match ecn {
        Ecn::Ect0 => EcnCodepoint::Ect0,
        Ecn::Ect1 => EcnCodepoint::Ect1,
        Ecn::Ce => EcnCodepoint::Ce,
    }
}

fn ecn_from_quinn(ecn: EcnCodepoint) -> Ecn {
    match ecn {
        EcnCodepoint::Ect0 => Ecn::Ect0,
        EcnCodepoint::Ect1 => Ecn::Ect1,
        EcnCodepoint::Ce => Ecn::Ce,
    }
}

fn transmit_from_quinn(transmit: &quinn_proto::Transmit) -> Transmit {
    Transmit {
        destination: transmit.destination,
        ecn: transmit.ecn.map(ecn_from_quinn),
        size: transmit.size,
        segment_size: transmit.segment_size,
        src_ip: transmit.src_ip,
    }
}

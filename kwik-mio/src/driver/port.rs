//! An endpoint and its socket, for an embedder that has its own [`mio::Poll`].
//!
//! Owns both, and the events that wait for the embedder. Never waits.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kwik_core::carrier::Now;
use kwik_core::config::Config;
use kwik_core::endpoint::Endpoint;
use kwik_core::endpoint::ServerIdentity;
use kwik_core::event::Event;
use mio::{Registry, Token};

use super::pump::{Lend, Pump};
use super::socket::Socket;
use super::{clock, marks_readable, new_endpoint};
use crate::stats::IoStats;

/// An endpoint on a UDP socket, without a [`mio::Poll`] of its own.
///
/// [`register`](Self::register) it with the embedder's, tell it with
/// [`on_readable`](Self::on_readable) and [`on_writable`](Self::on_writable) what `Poll::poll`
/// told about its token, and then, whatever woke the embedder, call [`run`](Self::run), take the
/// events with [`poll_event`](Self::poll_event), and wait no longer than
/// [`next_timeout`](Self::next_timeout). [`Driver`](crate::Driver) is that loop.
pub struct Port {
    pump: Pump,
    here: Here,
}

/// The endpoint at hand, and the events that were taken from it.
struct Here {
    endpoint: Endpoint,
    events: VecDeque<Event>,
}

impl Lend for Here {
    fn step<R>(&mut self, step: impl FnOnce(&mut Endpoint) -> R) -> (R, bool) {
        let result = step(&mut self.endpoint);
        let mut readable = false;
        while let Some(event) = self.endpoint.poll_event() {
            readable |= marks_readable(&event.kind);
            self.events.push_back(event);
        }
        (result, readable)
    }
}

impl Port {
    /// Binds a socket to `addr` (port 0: any free one; an unspecified IPv6 address takes IPv4 as
    /// well) for an endpoint that serves as `server`, or does not serve.
    ///
    /// # Errors
    ///
    /// Those of the socket; [`io::ErrorKind::InvalidInput`] if `server` cannot be used.
    pub fn bind(
        addr: SocketAddr,
        config: Arc<Config>,
        server: Option<ServerIdentity>,
    ) -> io::Result<Self> {
        let socket = Socket::bind(addr)?;
        let endpoint = new_endpoint(config, server).map_err(io::Error::from)?;
        Ok(Self {
            pump: Pump::new(socket),
            here: Here {
                endpoint,
                events: VecDeque::new(),
            },
        })
    }

    /// The address that the socket is bound to.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.pump.socket().local_addr()
    }

    /// The endpoint, to command it. Its events come through [`Self::poll_event`].
    pub fn endpoint(&mut self) -> &mut Endpoint {
        &mut self.here.endpoint
    }

    /// The clocks, for calls to the endpoint.
    #[must_use]
    pub fn now(&self) -> Now {
        clock()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.here
            .events
            .pop_front()
            .or_else(|| self.here.endpoint.poll_event())
    }

    /// Whether an event is known to wait.
    #[must_use]
    pub fn has_events(&self) -> bool {
        !self.here.events.is_empty()
    }

    /// Registers the socket under `token`. Keeps a clone of `registry`, to watch for writability
    /// when the kernel takes no more.
    ///
    /// # Errors
    ///
    /// Those of [`Registry::register`].
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.pump.register(registry, token)
    }

    /// Takes the socket out of the registry.
    ///
    /// # Errors
    ///
    /// Those of [`Registry::deregister`].
    pub fn deregister(&mut self) -> io::Result<()> {
        self.pump.deregister()
    }

    /// The socket was reported readable. [`Self::run`] will receive.
    pub fn on_readable(&mut self) {
        self.pump.on_readable();
    }

    /// The socket was reported writable: sends what was held up.
    ///
    /// # Errors
    ///
    /// Those of the socket from which it does not recover.
    pub fn on_writable(&mut self) -> io::Result<()> {
        self.pump.on_writable()
    }

    /// One bounded round of work: sends what waits, receives one batch, drives the timers.
    ///
    /// # Errors
    ///
    /// Those of the socket from which it does not recover.
    pub fn run(&mut self) -> io::Result<()> {
        self.pump.round(&mut self.here)
    }

    /// When to call [`Self::run`] again at the latest: at once if work waits, or events.
    /// `None`: when the socket is ready.
    #[must_use]
    pub fn next_timeout(&mut self) -> Option<Duration> {
        if self.has_events() {
            return Some(Duration::ZERO);
        }
        self.pump.idle_time(&mut self.here.endpoint)
    }

    /// What the socket did so far.
    #[must_use]
    pub fn stats(&self) -> IoStats {
        self.pump.counters().snapshot()
    }
}

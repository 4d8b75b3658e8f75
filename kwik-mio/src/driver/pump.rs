//! Moves datagrams and time between a socket and an endpoint.
//!
//! Owns the socket and what it could not send yet. Reaches the endpoint only through [`Lend`], so
//! that the same steps run with the endpoint at hand and with the endpoint behind a lock. Never
//! waits.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kwik_core::endpoint::{Datagram, Endpoint, Transmit};
use mio::{Interest, Registry, Token};

use super::BATCH_DATAGRAMS_MAX;
use super::clock;
use super::socket::Socket;
use crate::stats::Counters;

/// Transmits in one go, before arrivals get their turn again.
const TRANSMITS_MAX: usize = 32;
/// A deadline that is overdue by more means that we were away: whoever answered in time must not be
/// taken for silent.
const OVERDUE: Duration = Duration::from_millis(10);
/// Receive calls before an overdue deadline is believed, if the socket does not run dry.
const OVERDUE_RECEIVES_MAX: usize = 64;

/// Lends the endpoint for one step, and afterwards takes its events.
pub(crate) trait Lend {
    /// Runs `step`; also returns whether bytes became readable by it.
    fn step<R>(&mut self, step: impl FnOnce(&mut Endpoint) -> R) -> (R, bool);
}

/// A socket, and what is on its way between it and an endpoint.
pub(crate) struct Pump {
    socket: Socket,
    counters: Arc<Counters>,
    registered: Option<(Registry, Token)>,
    /// The kernel may hold datagrams. Cleared when it said that it does not.
    readable: bool,
    /// A transmit that the kernel did not take, and how much of it it did.
    unsent: Option<(Transmit, usize)>,
    /// The contents of the transmit at hand, or of `unsent`.
    outgoing: Vec<u8>,
    /// Datagrams received and not handed over yet.
    inbox: Vec<Datagram>,
}

impl Pump {
    pub(crate) fn new(socket: Socket) -> Self {
        Self {
            socket,
            counters: Arc::new(Counters::new()),
            registered: None,
            // Something may have come before we were registered.
            readable: true,
            unsent: None,
            outgoing: Vec::new(),
            inbox: Vec::new(),
        }
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    pub(crate) fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let own = registry.try_clone()?;
        registry.register(self.socket.source(), token, Interest::READABLE)?;
        self.registered = Some((own, token));
        self.readable = true;
        Ok(())
    }

    pub(crate) fn deregister(&mut self) -> io::Result<()> {
        match self.registered.take() {
            Some((registry, _)) => registry.deregister(self.socket.source()),
            None => Ok(()),
        }
    }

    pub(crate) fn on_readable(&mut self) {
        self.readable = true;
    }

    /// Sends the transmit that was held up, if the kernel takes it now.
    pub(crate) fn on_writable(&mut self) -> io::Result<()> {
        let Some((transmit, sent)) = self.unsent.take() else {
            return Ok(());
        };
        self.send(transmit, sent);
        if self.unsent.is_none() {
            self.watch(Interest::READABLE)?;
        }
        Ok(())
    }

    /// One round: what waits to be sent, what has arrived, what is due, and what follows from it.
    ///
    /// # Errors
    ///
    /// Those of the socket from which it does not recover.
    pub(crate) fn round(&mut self, lend: &mut impl Lend) -> io::Result<()> {
        self.transmit(lend)?;
        let (deadline, _) = lend.step(|endpoint| endpoint.poll_timeout().map(|due| due.at));
        let now = Instant::now();
        let mut receives = 1;
        if deadline.is_some_and(|at| at + OVERDUE < now) {
            receives = OVERDUE_RECEIVES_MAX;
            self.readable = true;
        }
        for _ in 0..receives {
            if !self.readable {
                break;
            }
            self.receive(lend)?;
        }
        let (timed_out, _) = lend.step(|endpoint| {
            let now = clock();
            let due = endpoint
                .poll_timeout()
                .is_some_and(|due| due.at <= now.monotonic);
            if due {
                endpoint.handle_timeout(now);
            }
            due
        });
        if timed_out {
            self.transmit(lend)?;
        }
        Ok(())
    }

    /// How long nothing needs to be done; `None`: until something arrives.
    pub(crate) fn idle_time(&self, endpoint: &mut Endpoint) -> Option<Duration> {
        if self.readable || (self.unsent.is_none() && endpoint.wants_transmit()) {
            return Some(Duration::ZERO);
        }
        let due = endpoint.poll_timeout()?;
        Some(due.at.saturating_duration_since(Instant::now()))
    }

    fn receive(&mut self, lend: &mut impl Lend) -> io::Result<()> {
        let inbox = &mut self.inbox;
        let outcome = self.socket.receive(|datagram| inbox.push(datagram));
        let received_at = match outcome {
            Ok(received) => {
                self.counters.on_receive_call(received.datagrams);
                self.readable = !received.drained;
                received.at
            }
            Err(error) => {
                self.counters.on_receive_call(0);
                let kind = error.kind();
                self.readable = kind != io::ErrorKind::WouldBlock;
                return if is_harmless(kind) {
                    Ok(())
                } else {
                    Err(error)
                };
            }
        };
        let mut inbox = std::mem::take(&mut self.inbox);
        let mut datagrams = inbox.drain(..);
        while datagrams.len() > 0 {
            let batch = datagrams.len().min(BATCH_DATAGRAMS_MAX);
            let ((), readable) = lend.step(|endpoint| {
                let now = clock();
                for datagram in datagrams.by_ref().take(batch) {
                    endpoint.handle_datagram(now, datagram);
                }
            });
            if readable {
                self.counters.on_readable(received_at.elapsed(), batch);
            }
            self.transmit(lend)?;
        }
        drop(datagrams);
        self.inbox = inbox;
        Ok(())
    }

    /// Sends what the endpoint has, until it has no more, the kernel takes no more, or arrivals
    /// should get their turn.
    fn transmit(&mut self, lend: &mut impl Lend) -> io::Result<()> {
        for _ in 0..TRANSMITS_MAX {
            if self.unsent.is_some() {
                break;
            }
            let segments = self.socket.segments_max();
            let outgoing = &mut self.outgoing;
            let (transmit, _) = lend.step(|endpoint| {
                outgoing.clear();
                endpoint.poll_transmit(clock(), segments, outgoing)
            });
            let Some(transmit) = transmit else {
                break;
            };
            self.send(transmit, 0);
            if self.unsent.is_some() {
                self.watch(Interest::READABLE | Interest::WRITABLE)?;
            }
        }
        Ok(())
    }

    /// Sends `transmit` from `sent` on; leaves in `unsent` what the kernel does not take. Whatever
    /// else goes wrong: a datagram that was not sent is a datagram lost.
    fn send(&mut self, transmit: Transmit, mut sent: usize) {
        while let Some(contents) = self.outgoing.get(sent..transmit.size) {
            if contents.is_empty() {
                break;
            }
            let segments_before = self.socket.segments_max();
            let outcome = self.socket.send(&transmit, contents);
            let datagrams = outcome.as_ref().map_or(0, |&(_, datagrams)| datagrams);
            self.counters.on_send_call(datagrams);
            match outcome {
                Ok((bytes, _)) => sent += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.unsent = Some((transmit, sent));
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The interface turned out not to take batches: once more, one by one.
                Err(_) if self.socket.segments_max() < segments_before => {}
                // Probes of the path MTU are expected to be too large at times.
                Err(error) => {
                    tracing::debug!(
                        %error,
                        destination = %transmit.destination,
                        bytes = contents.len(),
                        "datagrams were not sent"
                    );
                    break;
                }
            }
        }
    }

    /// Watches for writability only while it is needed: each datagram that the interface has sent
    /// would wake us otherwise.
    fn watch(&mut self, interest: Interest) -> io::Result<()> {
        match &self.registered {
            Some((registry, token)) => registry.reregister(self.socket.source(), *token, interest),
            None => Ok(()),
        }
    }
}

/// Whether a failed receive call says nothing about the socket: nothing waits, or an ICMP message
/// about somebody's datagram came in, which is no proof of anything.
fn is_harmless(kind: io::ErrorKind) -> bool {
    [
        io::ErrorKind::WouldBlock,
        io::ErrorKind::Interrupted,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::ConnectionRefused,
        io::ErrorKind::HostUnreachable,
        io::ErrorKind::NetworkUnreachable,
    ]
    .contains(&kind)
}

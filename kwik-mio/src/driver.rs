//! Drives an endpoint of the core over a UDP socket.
//!
//! Owns the waiting ([`Driver`]), the socket with its offloads (`socket`), and the steps between
//! them (`pump`). Never sees what a session does.

mod port;
pub(crate) mod pump;
pub(crate) mod socket;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kwik_core::carrier::Now;
use kwik_core::config::Config;
use kwik_core::endpoint::Endpoint;
use kwik_core::endpoint::ServerIdentity;
use kwik_core::event::{ClientEvent, Event, EventKind, PrimaryEvent, StreamEvent};
use mio::{Events, Poll, Token, Waker};
use ring::rand::{SecureRandom, SystemRandom};

pub use self::port::Port;
use crate::error::Error;
use crate::stats::IoStats;

/// The endpoint is drained (events, transmits) after at most so many datagrams.
const BATCH_DATAGRAMS_MAX: usize = 64;

pub(crate) const SOCKET: Token = Token(0);
pub(crate) const WAKER: Token = Token(1);

/// An endpoint on a UDP socket, turned by hand: the non-blocking form.
///
/// ```no_run
/// # fn main() -> std::io::Result<()> {
/// use kwik_mio::{Driver, kwik_core::config::Config};
///
/// let mut driver = Driver::bind("[::]:0".parse().expect("an address"), Config::default().into(), None)?;
/// loop {
///     driver.turn(None)?;
///     while let Some(event) = driver.poll_event() {
///         println!("{event:?}"); // and act on it, through driver.endpoint()
///     }
/// }
/// # }
/// ```
///
/// For an embedder that has a [`mio::Poll`] already there is [`Port`].
pub struct Driver {
    poll: Poll,
    ready: Events,
    waker: Arc<Waker>,
    port: Port,
}

impl Driver {
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
        let mut port = Port::bind(addr, config, server)?;
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        port.register(poll.registry(), SOCKET)?;
        Ok(Self {
            poll,
            ready: Events::with_capacity(8),
            waker,
            port,
        })
    }

    /// The address that the socket is bound to.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.port.local_addr()
    }

    /// The endpoint, to command it. Its events come through [`Self::poll_event`]; what it has to
    /// send goes out in the next [`Self::turn`].
    pub fn endpoint(&mut self) -> &mut Endpoint {
        self.port.endpoint()
    }

    /// The clocks, for calls to the endpoint.
    #[must_use]
    pub fn now(&self) -> Now {
        self.port.now()
    }

    /// Ends the current or the next [`Self::turn`] from another thread.
    #[must_use]
    pub fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.port.poll_event()
    }

    /// What the socket did so far.
    #[must_use]
    pub fn stats(&self) -> IoStats {
        self.port.stats()
    }

    /// Sends, receives and drives the timers until an event waits, [`Self::waker`] was used, or
    /// `timeout` passed. Work on the endpoint is done at least once, at most one batch longer than
    /// `timeout`.
    ///
    /// # Errors
    ///
    /// Those of the socket from which it does not recover.
    pub fn turn(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let idle = self.port.next_timeout();
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let wait = [idle, left].into_iter().flatten().min();
            poll_ready(&mut self.poll, &mut self.ready, wait)?;
            let mut woken = false;
            for event in &self.ready {
                match event.token() {
                    SOCKET => on_socket_ready(event, |readiness| match readiness {
                        Readiness::Readable => {
                            self.port.on_readable();
                            Ok(())
                        }
                        Readiness::Writable => self.port.on_writable(),
                    })?,
                    _ => woken = true,
                }
            }
            self.port.run()?;
            if woken || self.port.has_events() || until.is_some_and(|until| until <= Instant::now())
            {
                return Ok(());
            }
        }
    }
}

/// What a socket was reported to be.
pub(crate) enum Readiness {
    Readable,
    Writable,
}

/// Passes on what an event says about the socket.
pub(crate) fn on_socket_ready(
    event: &mio::event::Event,
    mut tell: impl FnMut(Readiness) -> io::Result<()>,
) -> io::Result<()> {
    if event.is_readable() || event.is_error() {
        tell(Readiness::Readable)?;
    }
    if event.is_writable() || event.is_error() {
        tell(Readiness::Writable)?;
    }
    Ok(())
}

/// Waits for about `wait`. mio rounds up to whole milliseconds, and pacing deadlines are closer
/// than that: a short wait rather ends too early, and the caller comes again. A long one may end a
/// millisecond late.
pub(crate) fn poll_ready(
    poll: &mut Poll,
    ready: &mut Events,
    wait: Option<Duration>,
) -> io::Result<()> {
    const SHORT: Duration = Duration::from_millis(5);
    let whole = wait.map(|wait| match u64::try_from(wait.as_millis()) {
        Ok(milliseconds) if wait < SHORT => Duration::from_millis(milliseconds),
        Ok(_) | Err(_) => wait,
    });
    match poll.poll(ready, whole) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            ready.clear();
            Ok(())
        }
        outcome => outcome,
    }
}

/// Reads both clocks.
pub(crate) fn clock() -> Now {
    Now {
        monotonic: Instant::now(),
        unix_seconds: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
    }
}

/// An endpoint with a seed of the system.
pub(crate) fn new_endpoint(
    config: Arc<Config>,
    server: Option<ServerIdentity>,
) -> Result<Endpoint, Error> {
    let mut seed = [0; 32];
    SystemRandom::new()
        .fill(&mut seed)
        .map_err(|_| io::Error::other("the system gives no random bytes"))?;
    Ok(Endpoint::new(config, server, seed, clock())?)
}

/// Whether an event says that there is something new to read.
pub(crate) fn marks_readable(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::Client(ClientEvent::Stream(StreamEvent::Readable(_)))
            | EventKind::Primary(PrimaryEvent::Stream(StreamEvent::Readable(_)))
    )
}

//! The thread of an endpoint.
//!
//! Owns the waiting and the socket; shares the endpoint with the handles under the lock, which it
//! never holds while it waits, receives or sends.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use kwik_core::config::Config;
use kwik_core::endpoint::Endpoint;
use kwik_core::endpoint::ServerIdentity;
use mio::{Events, Poll, Waker};

use super::shared::{EndpointRef, Shared};
use crate::driver::pump::{Lend, Pump};
use crate::driver::socket::Socket;
use crate::driver::{Readiness, SOCKET, WAKER, new_endpoint, on_socket_ready, poll_ready};
use crate::error::Error;

/// Lends the endpoint under the lock, and wakes whoever has to know afterwards.
struct Locked<'a>(&'a Shared);

impl Lend for Locked<'_> {
    fn step<R>(&mut self, step: impl FnOnce(&mut Endpoint) -> R) -> (R, bool) {
        let (result, wakes) = {
            let mut state = self.0.lock();
            let result = step(&mut state.endpoint);
            (result, state.settle())
        };
        let readable = wakes.readable;
        self.0.wake(wakes);
        (result, readable)
    }
}

/// Binds a socket and starts the thread of an endpoint on it.
pub(super) fn start(
    addr: SocketAddr,
    config: Arc<Config>,
    server: Option<ServerIdentity>,
    linger: Duration,
) -> Result<(EndpointRef, SocketAddr), Error> {
    let socket = Socket::bind(addr)?;
    let local_addr = socket.local_addr();
    let endpoint = new_endpoint(config, server)?;
    let poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
    let mut pump = Pump::new(socket);
    pump.register(poll.registry(), SOCKET)?;
    let shared = Arc::new(Shared::new(endpoint, waker, Arc::clone(pump.counters())));
    let thread = thread::Builder::new()
        .name(format!("kwik {}", local_addr.port()))
        .spawn({
            let shared = Arc::clone(&shared);
            move || run(&shared, poll, pump)
        })?;
    let endpoint = EndpointRef {
        shared,
        linger,
        thread: Some(thread),
    };
    Ok((endpoint, local_addr))
}

/// Tells the handles that the thread has ended, however it did.
struct Farewell<'a> {
    shared: &'a Shared,
    outcome: io::Result<()>,
}

impl Drop for Farewell<'_> {
    fn drop(&mut self) {
        let outcome = std::mem::replace(&mut self.outcome, Ok(()));
        let error = outcome.err().unwrap_or_else(|| {
            io::Error::other(if thread::panicking() {
                "the thread of the endpoint panicked"
            } else {
                "the thread of the endpoint has ended"
            })
        });
        self.shared.fail(error);
    }
}

fn run(shared: &Shared, mut poll: Poll, mut pump: Pump) {
    let mut farewell = Farewell {
        shared,
        outcome: Ok(()),
    };
    farewell.outcome = drive(shared, &mut poll, &mut pump);
    if let Err(error) = &farewell.outcome {
        tracing::error!(%error, "the socket failed");
    }
}

fn drive(shared: &Shared, poll: &mut Poll, pump: &mut Pump) -> io::Result<()> {
    let mut ready = Events::with_capacity(8);
    loop {
        pump.round(&mut Locked(shared))?;
        let (wait, wakes) = {
            let mut state = shared.lock();
            state.end_overdue();
            let wakes = state.settle();
            if state.may_end() {
                return Ok(());
            }
            let idle = pump.idle_time(&mut state.endpoint);
            (state.fall_asleep(idle), wakes)
        };
        shared.wake(wakes);
        poll_ready(poll, &mut ready, wait)?;
        shared.awake();
        for event in ready.iter().filter(|event| event.token() == SOCKET) {
            on_socket_ready(event, |readiness| match readiness {
                Readiness::Readable => {
                    pump.on_readable();
                    Ok(())
                }
                Readiness::Writable => pump.on_writable(),
            })?;
        }
    }
}

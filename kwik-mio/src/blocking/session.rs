//! What the handles of all roles do with a session.
//!
//! Owns the reference to a session that its handles share, and the waiting for what a call needs.

use std::sync::{Arc, Condvar};
use std::time::{Duration, Instant};

use kwik_core::endpoint::{Client, Primary, Secondary};
use kwik_core::error::{CloseReason, Misuse};
use kwik_core::event::EventKind;
use kwik_core::ids::{SessionHandle, StreamId};

use super::entry::{Entry, Role, SendState};
use super::shared::{EndpointRef, State, wait_on};
use super::stream::{RecvStream, SendStream};
use crate::driver::clock;
use crate::error::Error;
use crate::stats::IoStats;

/// A session, as its handles hold it: those of its streams and segments included. With the last
/// one the session closes.
#[derive(Clone)]
pub(super) struct SessionRef(Arc<Inner>);

struct Inner {
    endpoint: Arc<EndpointRef>,
    session: SessionHandle,
    changed: Arc<Condvar>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let shared = &self.endpoint.shared;
        let wakes = {
            let mut state = shared.lock();
            state.abandon(self.session, self.endpoint.linger);
            state.settle()
        };
        shared.wake(wakes);
    }
}

/// One call under the lock.
pub(super) struct Call<'a> {
    state: &'a mut State,
    session: SessionHandle,
}

impl Call<'_> {
    pub(super) fn entry(&mut self) -> Result<&mut Entry, Error> {
        self.state
            .sessions
            .get_mut(&self.session)
            .ok_or(Error::Closed(CloseReason::Local))
    }

    pub(super) fn client(&mut self) -> Result<Client<'_>, Error> {
        let gone = self.reason();
        let view = self.state.endpoint.client(clock(), self.session);
        view.ok_or(Error::Closed(gone))
    }

    pub(super) fn primary(&mut self) -> Result<Primary<'_>, Error> {
        let gone = self.reason();
        let view = self.state.endpoint.primary(clock(), self.session);
        view.ok_or(Error::Closed(gone))
    }

    pub(super) fn secondary(&mut self) -> Result<Secondary<'_>, Error> {
        let gone = self.reason();
        let view = self.state.endpoint.secondary(clock(), self.session);
        view.ok_or(Error::Closed(gone))
    }

    /// Why the core would not know the session any more.
    fn reason(&self) -> CloseReason {
        let entry = self.state.sessions.get(&self.session);
        entry
            .and_then(|entry| entry.ended.clone())
            .unwrap_or(CloseReason::Local)
    }

    /// Notes whether the reader of a stream has left something there.
    pub(super) fn set_behind(&mut self, stream: StreamId, behind: bool) {
        let key = (self.session, stream);
        if behind {
            self.state.behind.insert(key);
        } else {
            self.state.behind.remove(&key);
        }
    }

    pub(super) fn role(&mut self) -> Result<Role, Error> {
        Ok(self.entry()?.role)
    }
}

impl SessionRef {
    /// A first reference to a session that `state` keeps already.
    pub(super) fn new(endpoint: Arc<EndpointRef>, state: &State, session: SessionHandle) -> Self {
        let changed = state.sessions.get(&session).map_or_else(
            || Arc::new(Condvar::new()),
            |entry| Arc::clone(&entry.changed),
        );
        Self(Arc::new(Inner {
            endpoint,
            session,
            changed,
        }))
    }

    /// Does something at once.
    pub(super) fn call<T>(
        &self,
        act: impl FnOnce(&mut Call<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let shared = &self.0.endpoint.shared;
        let (result, wakes) = {
            let mut state = shared.lock();
            let result = act(&mut Call {
                state: &mut state,
                session: self.0.session,
            });
            (result, state.settle())
        };
        shared.wake(wakes);
        result
    }

    /// Repeats `attempt` whenever something about the session has changed, until it answers, the
    /// session has ended, or `deadline` has passed.
    pub(super) fn wait<T>(
        &self,
        deadline: Option<Instant>,
        mut attempt: impl FnMut(&mut Call<'_>) -> Result<Option<T>, Error>,
    ) -> Result<T, Error> {
        let shared = &self.0.endpoint.shared;
        let mut state = shared.lock();
        loop {
            let mut call = Call {
                state: &mut state,
                session: self.0.session,
            };
            let outcome = match attempt(&mut call) {
                Ok(None) => call.entry().and_then(|entry| entry.end()).map(|()| None),
                answered => answered,
            };
            let wakes = state.settle();
            match outcome {
                Ok(None) if wakes.is_for(&self.0.changed) => shared.wake(wakes),
                Ok(None) => {
                    shared.wake(wakes);
                    state = wait_on(&self.0.changed, state, deadline)?;
                }
                Ok(Some(answer)) => {
                    drop(state);
                    shared.wake(wakes);
                    return Ok(answer);
                }
                Err(error) => {
                    drop(state);
                    shared.wake(wakes);
                    return Err(error);
                }
            }
        }
    }

    /// Wakes the other calls of the session that wait.
    pub(super) fn notify(&self) {
        self.0.changed.notify_all();
    }

    /// Takes the next event for the application.
    pub(super) fn next_event(&self, deadline: Option<Instant>) -> Result<EventKind, Error> {
        let shared = &self.0.endpoint.shared;
        let mut state = shared.lock();
        loop {
            let entry = state
                .sessions
                .get_mut(&self.0.session)
                .ok_or(Error::Closed(CloseReason::Local))?;
            if let Some(event) = entry.events.pop_front() {
                return Ok(event);
            }
            entry.end()?;
            entry.event_waiters += 1;
            let waited = wait_on(&self.0.changed, state, deadline);
            let timed_out = waited.is_err();
            state = match waited {
                Ok(state) => state,
                Err(_) => shared.lock(),
            };
            if let Some(entry) = state.sessions.get_mut(&self.0.session) {
                entry.event_waiters -= 1;
                if timed_out {
                    return entry.events.pop_front().ok_or(Error::TimedOut);
                }
            }
        }
    }

    /// Waits for the end of the session.
    pub(super) fn closed(&self, deadline: Option<Instant>) -> Result<CloseReason, Error> {
        self.wait(deadline, |call| Ok(call.entry()?.ended.clone()))
    }

    pub(super) fn close(&self, code: u64) {
        let closed = self.call(|call| {
            let session = call.session;
            call.state.endpoint.close(clock(), session, code);
            let entry = call.entry()?;
            entry.ended.get_or_insert(CloseReason::Local);
            Ok(())
        });
        // A session that is not known has closed already.
        drop(closed);
        self.notify();
    }

    pub(super) fn io_stats(&self) -> IoStats {
        self.0.endpoint.shared.counters.snapshot()
    }

    pub(super) fn open_stream(
        &self,
        timeout: Option<Duration>,
        deadline: Option<Instant>,
    ) -> Result<(SendStream, RecvStream), Error> {
        let stream = self.wait(deadline, |call| {
            call.entry()?.end()?;
            let opened = match call.role()? {
                Role::Client => call.client()?.open_stream(),
                Role::Primary => call.primary()?.open_stream(),
                Role::Secondary => Err(Misuse::Closed),
            };
            adopt(call, opened?)
        })?;
        Ok(self.halves(stream, timeout))
    }

    pub(super) fn accept_stream(
        &self,
        timeout: Option<Duration>,
        deadline: Option<Instant>,
    ) -> Result<(SendStream, RecvStream), Error> {
        let stream = self.wait(deadline, |call| {
            let accepted = match call.role()? {
                Role::Client => call.client()?.accept_stream(),
                Role::Primary => call.primary()?.accept_stream(),
                Role::Secondary => None,
            };
            adopt(call, accepted)
        })?;
        Ok(self.halves(stream, timeout))
    }

    fn halves(&self, stream: StreamId, timeout: Option<Duration>) -> (SendStream, RecvStream) {
        (
            SendStream::new(self.clone(), stream, timeout),
            RecvStream::new(self.clone(), stream, timeout),
        )
    }
}

/// Keeps track of a stream from the moment at which the application gets it.
fn adopt(call: &mut Call<'_>, stream: Option<StreamId>) -> Result<Option<StreamId>, Error> {
    if let Some(stream) = stream {
        call.entry()?.sends.insert(stream, SendState::Open);
    }
    Ok(stream)
}

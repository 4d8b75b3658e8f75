//! The state that the handles of one endpoint share with its thread.
//!
//! Owns the lock around the endpoint, which sessions are accepted, held or on their way out,
//! and who has to be woken after a step. Never touches a socket.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kwik_core::endpoint::Endpoint;
use kwik_core::error::{CloseReason, code};
use kwik_core::event::{Event, EventKind, PrimaryEvent, SecondaryEvent};
use kwik_core::ids::{SessionHandle, StreamId};
use mio::Waker;

use super::entry::{Entry, Role};
use crate::driver::{clock, marks_readable};
use crate::error::Error;
use crate::stats::Counters;

/// How long the thread may take to end, besides the lingering.
const SHUTDOWN_MAX: Duration = Duration::from_secs(1);

/// What all handles of an endpoint and its thread hold.
pub(super) struct Shared {
    state: Mutex<State>,
    /// A session waits in [`State::accepted`], or none will come any more.
    pub(super) accepting: Condvar,
    waker: Arc<Waker>,
    pub(super) counters: Arc<Counters>,
}

/// What the lock protects.
pub(super) struct State {
    pub(super) endpoint: Endpoint,
    pub(super) sessions: BTreeMap<SessionHandle, Entry>,
    /// Sessions that nobody has taken with `accept` yet.
    pub(super) accepted: VecDeque<SessionHandle>,
    /// Sessions without handles, that close when what they sent has arrived.
    lingering: BTreeSet<SessionHandle>,
    /// Streams whose readers have not taken all that is there: bytes that come are readable without
    /// any event.
    pub(super) behind: BTreeSet<(SessionHandle, StreamId)>,
    /// How long the thread means to sleep: `None` while it is awake.
    sleep: Option<Sleep>,
    /// There are no handles any more: the thread ends when nothing lingers, and then at the latest.
    shutdown: Option<Instant>,
    /// Why the thread has ended. Nothing moves any more.
    pub(super) failed: Option<Arc<io::Error>>,
}

/// Until when the thread of the endpoint sleeps if nothing arrives.
#[derive(Clone, Copy)]
struct Sleep(Option<Instant>);

/// Whom to wake once the lock is released.
#[derive(Default)]
#[must_use]
pub(super) struct Wakes {
    sessions: Vec<Arc<Condvar>>,
    accepting: bool,
    thread: bool,
    /// Bytes that came with this step are readable.
    pub(super) readable: bool,
}

impl State {
    fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            sessions: BTreeMap::new(),
            accepted: VecDeque::new(),
            lingering: BTreeSet::new(),
            behind: BTreeSet::new(),
            sleep: None,
            shutdown: None,
            failed: None,
        }
    }

    /// Begins to keep a session that the endpoint has.
    pub(super) fn admit(&mut self, session: SessionHandle, role: Role) {
        self.sessions.insert(session, Entry::new(role));
    }

    /// Takes the endpoint's events after a step, and finds out who has to know.
    pub(super) fn settle(&mut self) -> Wakes {
        let mut wakes = Wakes {
            readable: !self.behind.is_empty(),
            ..Wakes::default()
        };
        while let Some(Event { session, kind }) = self.endpoint.poll_event() {
            wakes.readable |= marks_readable(&kind);
            match kind {
                EventKind::Primary(PrimaryEvent::Accepted) => {
                    wakes.accepting |= self.on_accepted(session, Role::Primary);
                }
                EventKind::Secondary(SecondaryEvent::Joined) => {
                    wakes.accepting |= self.on_accepted(session, Role::Secondary);
                }
                EventKind::Client(_) | EventKind::Primary(_) | EventKind::Secondary(_) => {}
            }
            let Some(entry) = self.sessions.get_mut(&session) else {
                continue;
            };
            let overrun = entry.on_event(kind);
            wakes.add(&entry.changed);
            if overrun {
                tracing::debug!(?session, "closed: its application takes no events");
                self.endpoint.close(clock(), session, code::EXCESSIVE_LOAD);
            } else if entry.ended.is_some() {
                self.on_ended(session);
            } else if self.lingering.contains(&session) {
                self.end_lingering(session, Instant::now());
            }
        }
        wakes.thread = self.must_wake_thread();
        wakes
    }

    fn on_accepted(&mut self, session: SessionHandle, role: Role) -> bool {
        self.admit(session, role);
        self.accepted.push_back(session);
        true
    }

    /// A session is over: nobody needs to accept it, nor what nobody holds to be kept.
    fn on_ended(&mut self, session: SessionHandle) {
        let unaccepted = self.accepted.iter().position(|waiting| *waiting == session);
        if let Some(at) = unaccepted {
            self.accepted.remove(at);
        }
        if self.lingering.remove(&session) || unaccepted.is_some() {
            self.sessions.remove(&session);
        }
    }

    /// The last handle of a session is gone: it closes when that costs the peer nothing any more.
    pub(super) fn abandon(&mut self, session: SessionHandle, linger: Duration) {
        let Some(entry) = self.sessions.get_mut(&session) else {
            return;
        };
        if entry.ended.is_some() {
            self.sessions.remove(&session);
            return;
        }
        let now = Instant::now();
        entry.linger_until = Some(now + linger);
        self.lingering.insert(session);
        self.end_lingering(session, now);
    }

    fn end_lingering(&mut self, session: SessionHandle, now: Instant) {
        let Some(entry) = self.sessions.get(&session) else {
            return;
        };
        let overdue = entry.linger_until.is_some_and(|until| until <= now);
        if overdue || entry.may_end() {
            self.lingering.remove(&session);
            self.sessions.remove(&session);
            self.endpoint.close(clock(), session, code::NO_ERROR);
        }
    }

    /// Whether the thread sleeps longer than it may.
    fn must_wake_thread(&mut self) -> bool {
        let Some(Sleep(until)) = self.sleep else {
            return false;
        };
        let wake = self.endpoint.wants_transmit()
            || match (self.next_deadline(), until) {
                (Some(deadline), Some(until)) => deadline < until,
                (Some(_), None) => true,
                (None, _) => false,
            };
        if wake {
            // Nobody else needs to wake it.
            self.sleep = None;
        }
        wake
    }

    fn next_deadline(&mut self) -> Option<Instant> {
        let due = self.endpoint.poll_timeout().map(|due| due.at);
        [due, self.linger_deadline()].into_iter().flatten().min()
    }

    fn linger_deadline(&self) -> Option<Instant> {
        self.lingering
            .iter()
            .filter_map(|session| self.sessions.get(session)?.linger_until)
            .min()
    }

    /// Closes the sessions that have lingered long enough.
    pub(super) fn end_overdue(&mut self) {
        let now = Instant::now();
        for session in self.lingering.clone() {
            self.end_lingering(session, now);
        }
    }

    /// Whether the thread has nothing left to do, ever.
    pub(super) fn may_end(&self) -> bool {
        self.shutdown.is_some_and(|latest| {
            let quiet = self.lingering.is_empty() && !self.endpoint.wants_transmit();
            quiet || latest <= Instant::now()
        })
    }

    /// Notes that the thread is going to sleep: for `idle`, or less if the handles need it earlier.
    /// Returns for how long.
    pub(super) fn fall_asleep(&mut self, idle: Option<Duration>) -> Option<Duration> {
        let now = Instant::now();
        let wait = [self.linger_deadline(), self.shutdown]
            .into_iter()
            .flatten()
            .map(|at| at.saturating_duration_since(now))
            .chain(idle)
            .min();
        if wait != Some(Duration::ZERO) {
            self.sleep = Some(Sleep(wait.and_then(|wait| now.checked_add(wait))));
        }
        wait
    }

    /// Everything ends: the socket failed, or the last handle is gone.
    fn fail(&mut self, error: io::Error) -> Wakes {
        let mut wakes = Wakes {
            accepting: true,
            ..Wakes::default()
        };
        let text = error.to_string();
        self.failed.get_or_insert_with(|| Arc::new(error));
        for entry in self.sessions.values_mut() {
            entry
                .ended
                .get_or_insert_with(|| CloseReason::Failed(text.clone()));
            wakes.add(&entry.changed);
        }
        wakes
    }
}

impl Wakes {
    fn add(&mut self, session: &Arc<Condvar>) {
        let known = |other: &Arc<Condvar>| Arc::ptr_eq(other, session);
        if !self.sessions.last().is_some_and(known) {
            self.sessions.push(Arc::clone(session));
        }
    }

    /// Whether the step changed something about the very session that wants to wait now.
    pub(super) fn is_for(&self, session: &Arc<Condvar>) -> bool {
        self.sessions
            .iter()
            .any(|other| Arc::ptr_eq(other, session))
    }
}

impl Shared {
    pub(super) fn new(endpoint: Endpoint, waker: Arc<Waker>, counters: Arc<Counters>) -> Self {
        Self {
            state: Mutex::new(State::new(endpoint)),
            accepting: Condvar::new(),
            waker,
            counters,
        }
    }

    /// The state. A thread that panicked under the lock has broken the core, not the lock: calls
    /// find out from what the core answers.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whoever has to know of a step. Best done without the lock: who wakes wants it.
    pub(super) fn wake(&self, wakes: Wakes) {
        for session in wakes.sessions {
            session.notify_all();
        }
        if wakes.accepting {
            self.accepting.notify_all();
        }
        if wakes.thread {
            self.wake_thread();
        }
    }

    fn wake_thread(&self) {
        if let Err(error) = self.waker.wake() {
            tracing::warn!(%error, "the thread of the endpoint could not be woken");
        }
    }

    /// The thread is awake: nobody needs to wake it.
    pub(super) fn awake(&self) {
        self.lock().sleep = None;
    }

    /// Ends all sessions because the thread ends.
    pub(super) fn fail(&self, error: io::Error) {
        let wakes = self.lock().fail(error);
        self.wake(wakes);
    }
}

/// Keeps the thread of an endpoint alive; held by every handle. When the last one goes, the thread
/// lets what lingers arrive, bounded, and ends.
pub(super) struct EndpointRef {
    pub(super) shared: Arc<Shared>,
    pub(super) linger: Duration,
    pub(super) thread: Option<JoinHandle<()>>,
}

impl Drop for EndpointRef {
    fn drop(&mut self) {
        let wakes = {
            let mut state = self.shared.lock();
            state.shutdown = Instant::now().checked_add(self.linger + SHUTDOWN_MAX);
            state.endpoint.set_accepting(false);
            // Nobody can take these any more.
            for session in std::mem::take(&mut state.accepted) {
                state.abandon(session, Duration::ZERO);
            }
            state.settle()
        };
        self.shared.wake(wakes);
        self.shared.wake_thread();
        let joined = self.thread.take().map(JoinHandle::join);
        if matches!(joined, Some(Err(_))) {
            tracing::error!("the thread of the endpoint had panicked");
        }
    }
}

/// What is left of the time that a call may take.
pub(super) fn time_left(deadline: Option<Instant>) -> Result<Option<Duration>, Error> {
    match deadline {
        None => Ok(None),
        Some(deadline) => match deadline.checked_duration_since(Instant::now()) {
            Some(left) if !left.is_zero() => Ok(Some(left)),
            Some(_) | None => Err(Error::TimedOut),
        },
    }
}

/// When a call that begins now and may take `timeout` has to be over.
pub(super) fn deadline_after(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}

/// Waits on `condvar`, for so long at most.
///
/// # Errors
///
/// [`Error::TimedOut`].
pub(super) fn wait_on<'a>(
    condvar: &Condvar,
    guard: MutexGuard<'a, State>,
    deadline: Option<Instant>,
) -> Result<MutexGuard<'a, State>, Error> {
    match time_left(deadline)? {
        None => Ok(condvar.wait(guard).unwrap_or_else(PoisonError::into_inner)),
        Some(left) => {
            let (guard, _) = condvar
                .wait_timeout(guard, left)
                .unwrap_or_else(PoisonError::into_inner);
            Ok(guard)
        }
    }
}

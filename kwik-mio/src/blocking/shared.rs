//! The state that the handles of one endpoint share with its thread.
//!
//! Owns the lock around the endpoint, what is known of each session besides what the core knows,
//! and who has to be woken after a step. Never touches a socket.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kwik_core::endpoint::Endpoint;
use kwik_core::error::{CloseReason, code};
use kwik_core::event::{ClientEvent, Event, EventKind, PrimaryEvent, SecondaryEvent, StreamEvent};
use kwik_core::ids::{SegmentId, SessionHandle, StreamId};
use mio::Waker;

use crate::driver::{clock, marks_readable};
use crate::error::Error;
use crate::stats::Counters;

/// Events that a session keeps for `next_event`. Those of a client are news, and the oldest go;
/// those of a server are work, and a session whose application leaves them lying is closed.
const EVENTS_KEPT_MAX: usize = 4096;

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

/// The part that an endpoint plays in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Client,
    Primary,
    Secondary,
}

/// What is known of a session besides what the core knows.
pub(super) struct Entry {
    pub(super) role: Role,
    /// Something about the session changed.
    pub(super) changed: Arc<Condvar>,
    pub(super) established: bool,
    pub(super) ended: Option<CloseReason>,
    /// What the application has to be told.
    pub(super) events: VecDeque<EventKind>,
    /// Calls of `next_event` that wait.
    pub(super) event_waiters: usize,
    /// How the sending halves fare that have a handle.
    pub(super) sends: BTreeMap<StreamId, SendState>,
    /// Sending halves that were finished, and that the peer may not have received as a whole.
    pub(super) in_flight: BTreeSet<StreamId>,
    /// Streams whose bytes need credit of the reader, not of QUIC only.
    pub(super) aggregated: BTreeSet<StreamId>,
    /// Writes of which a part was accepted: nobody else writes there until they are through.
    pub(super) writing: BTreeSet<WriteKey>,
    /// Something of ours was finished, and only the peer knows when its reader has it.
    sent_whole: bool,
    /// When to close although not everything has arrived. `None` while there are handles.
    linger_until: Option<Instant>,
}

/// How a sending half fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SendState {
    /// More may be written.
    Open,
    /// Its end was given; the peer may not have all of it.
    Finished,
    /// The peer has all of it.
    Arrived,
    /// The peer wants no more of it.
    Stopped(u64),
    /// Given up by us.
    Reset,
}

/// Where a write goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum WriteKey {
    Stream(StreamId),
    Segment(SegmentId),
}

/// Whom to wake once the lock is released.
#[derive(Default)]
#[must_use]
pub(super) struct Wakes {
    sessions: Vec<Arc<Condvar>>,
    accepting: bool,
    thread: bool,
    /// Bytes became readable.
    pub(super) readable: bool,
}

impl Entry {
    fn new(role: Role) -> Self {
        Self {
            role,
            changed: Arc::new(Condvar::new()),
            established: role != Role::Client,
            ended: None,
            events: VecDeque::new(),
            event_waiters: 0,
            sends: BTreeMap::new(),
            in_flight: BTreeSet::new(),
            aggregated: BTreeSet::new(),
            writing: BTreeSet::new(),
            sent_whole: false,
            linger_until: None,
        }
    }

    /// Whether an event waits that no waiting `next_event` is about to take.
    pub(super) fn has_unclaimed_event(&self) -> bool {
        self.events.len() > self.event_waiters
    }

    /// Why a call cannot go on.
    pub(super) fn end(&self) -> Result<(), Error> {
        match &self.ended {
            Some(reason) => Err(Error::Closed(reason.clone())),
            None => Ok(()),
        }
    }

    /// Whether an end at this moment would cost the peer something. At a primary, bytes that have
    /// arrived may still wait for their reader, who would lose them: there the client ends the
    /// session, if it does so in time.
    fn may_end(&self) -> bool {
        match self.role {
            Role::Client => self.in_flight.is_empty(),
            Role::Primary => !self.sent_whole,
            Role::Secondary => true,
        }
    }

    /// The end of a sending half was given.
    pub(super) fn on_finish(&mut self, stream: StreamId) {
        self.sends.insert(stream, SendState::Finished);
        self.in_flight.insert(stream);
        self.sent_whole = true;
    }

    fn on_stream_event(&mut self, event: StreamEvent) {
        match event {
            StreamEvent::Stopped { stream, code } => self.advance(stream, SendState::Stopped(code)),
            StreamEvent::Finished(stream) => self.advance(stream, SendState::Arrived),
            StreamEvent::Opened
            | StreamEvent::Available
            | StreamEvent::Readable(_)
            | StreamEvent::Writable(_) => {}
        }
    }

    fn advance(&mut self, stream: StreamId, to: SendState) {
        self.in_flight.remove(&stream);
        if let Some(state) = self.sends.get_mut(&stream) {
            *state = to;
        }
    }

    /// Takes note of an event; returns whether the session must end because nobody takes its
    /// events.
    fn on_event(&mut self, kind: EventKind) -> bool {
        match &kind {
            EventKind::Client(ClientEvent::Connected) => self.established = true,
            EventKind::Client(ClientEvent::Stream(event))
            | EventKind::Primary(PrimaryEvent::Stream(event)) => self.on_stream_event(*event),
            EventKind::Client(ClientEvent::Closed(reason))
            | EventKind::Primary(PrimaryEvent::Closed(reason))
            | EventKind::Secondary(SecondaryEvent::Closed(reason)) => {
                self.ended = Some(reason.clone());
            }
            EventKind::Primary(PrimaryEvent::Accepted | PrimaryEvent::SegmentWritable(_))
            | EventKind::Secondary(SecondaryEvent::Joined | SecondaryEvent::SegmentWritable(_)) => {
            }
            EventKind::Client(ClientEvent::Path(_) | ClientEvent::Conflict { .. }) => {
                if self.events.len() == EVENTS_KEPT_MAX {
                    self.events.pop_front();
                }
                self.events.push_back(kind);
            }
            EventKind::Primary(
                PrimaryEvent::Path(_)
                | PrimaryEvent::GrantDone { .. }
                | PrimaryEvent::GrantLost { .. }
                | PrimaryEvent::Hole { .. }
                | PrimaryEvent::OwnRange { .. },
            )
            | EventKind::Secondary(
                SecondaryEvent::Grant { .. }
                | SecondaryEvent::Raw(_)
                | SecondaryEvent::Revoked { .. }
                | SecondaryEvent::Stopped(_),
            ) => {
                if self.events.len() == EVENTS_KEPT_MAX {
                    return true;
                }
                self.events.push_back(kind);
            }
        }
        false
    }
}

impl State {
    fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            sessions: BTreeMap::new(),
            accepted: VecDeque::new(),
            lingering: BTreeSet::new(),
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
        let mut wakes = Wakes::default();
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

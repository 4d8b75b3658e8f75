//! All sessions of the server, and whose turn it is.
//!
//! Owns the sessions and their order: who can write takes turns, who may not write yet sleeps.
//! Never waits itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use kwik_core::carrier::Now;
use kwik_core::endpoint::Endpoint;
use kwik_core::event::{Event, EventKind, PrimaryEvent, SecondaryEvent};
use kwik_core::ids::SessionHandle;

use super::hash::Hasher;
use super::session::{Asker, Cx, Session, Site};
use super::writers::Step;

/// Chunks that are written before the socket has its turn.
const ROUND_STEPS: usize = 32;

/// Everybody who is being served.
pub(super) struct Floor {
    site: Site,
    hasher: Hasher<Asker>,
    sessions: BTreeMap<SessionHandle, Session>,
    /// Sessions that may be able to write.
    ready: VecDeque<SessionHandle>,
    /// Sessions that may write again at a known moment.
    sleeping: BTreeSet<(Instant, SessionHandle)>,
}

impl Floor {
    pub(super) fn new(site: Site, hasher: Hasher<Asker>) -> Self {
        Self {
            site,
            hasher,
            sessions: BTreeMap::new(),
            ready: VecDeque::new(),
            sleeping: BTreeSet::new(),
        }
    }

    /// Something happened to a session.
    pub(super) fn on_event(&mut self, endpoint: &mut Endpoint, now: Now, event: Event) {
        let Event { session, kind } = event;
        match &kind {
            EventKind::Primary(PrimaryEvent::Accepted) => {
                self.admit(endpoint, now, session, Session::primary);
            }
            EventKind::Secondary(SecondaryEvent::Joined) => {
                self.admit(endpoint, now, session, |cx| Session::secondary(cx));
            }
            EventKind::Primary(PrimaryEvent::Closed(reason))
            | EventKind::Secondary(SecondaryEvent::Closed(reason)) => {
                if let Some(closed) = self.sessions.remove(&session) {
                    closed.on_closed(now.monotonic, reason);
                    let sleeps_until = closed.sleeps_until;
                    sleeps_until.map(|at| self.sleeping.remove(&(at, session)));
                }
                return;
            }
            EventKind::Client(_) | EventKind::Primary(_) | EventKind::Secondary(_) => {}
        }
        self.with(endpoint, now, session, |found, cx| found.on_event(cx, kind));
    }

    fn admit(
        &mut self,
        endpoint: &mut Endpoint,
        now: Now,
        session: SessionHandle,
        make: impl FnOnce(&mut Cx<'_>) -> Session,
    ) {
        let mut cx = Cx {
            site: &self.site,
            hasher: &mut self.hasher,
            endpoint,
            now,
            session,
        };
        let made = make(&mut cx);
        self.sessions.insert(session, made);
    }

    /// Does something with a session, after which it may be able to write.
    fn with<T>(
        &mut self,
        endpoint: &mut Endpoint,
        now: Now,
        session: SessionHandle,
        act: impl FnOnce(&mut Session, &mut Cx<'_>) -> T,
    ) -> Option<T> {
        let found = self.sessions.get_mut(&session)?;
        let mut cx = Cx {
            site: &self.site,
            hasher: &mut self.hasher,
            endpoint,
            now,
            session,
        };
        let result = act(found, &mut cx);
        if !found.is_queued && found.sleeps_until.is_none() {
            found.is_queued = true;
            self.ready.push_back(session);
        }
        Some(result)
    }

    /// Passes on the hashes that became known.
    pub(super) fn on_hashes(&mut self, endpoint: &mut Endpoint, now: Now) {
        while let Some(((session, stream), hashed)) = self.hasher.poll() {
            self.with(endpoint, now, session, |found, cx| {
                found.on_hashed(cx, stream, hashed);
            });
        }
    }

    /// Writes what can be written, for a bounded time.
    pub(super) fn work(&mut self, endpoint: &mut Endpoint, now: Now) {
        self.wake(now.monotonic);
        for _ in 0..ROUND_STEPS {
            let Some(session) = self.ready.pop_front() else {
                return;
            };
            self.step(endpoint, now, session);
        }
    }

    fn step(&mut self, endpoint: &mut Endpoint, now: Now, session: SessionHandle) {
        let Some(found) = self.sessions.get_mut(&session) else {
            return;
        };
        let mut cx = Cx {
            site: &self.site,
            hasher: &mut self.hasher,
            endpoint,
            now,
            session,
        };
        match found.step(&mut cx) {
            Step::Idle => found.is_queued = false,
            Step::Wait(until) => {
                found.is_queued = false;
                found.sleeps_until = Some(until);
                self.sleeping.insert((until, session));
            }
            Step::More | Step::Written(_) | Step::ReadFailed(_) | Step::WriteFailed(..) => {
                self.ready.push_back(session);
            }
        }
    }

    fn wake(&mut self, now: Instant) {
        while let Some(&(until, session)) = self.sleeping.first()
            && until <= now
        {
            self.sleeping.pop_first();
            if let Some(found) = self.sessions.get_mut(&session) {
                found.sleeps_until = None;
                found.is_queued = true;
                self.ready.push_back(session);
            }
        }
    }

    /// How long nothing has to be done if nothing happens; `None`: for ever.
    pub(super) fn idle_time(&self, now: Instant) -> Option<Duration> {
        if !self.ready.is_empty() {
            return Some(Duration::ZERO);
        }
        let (until, _) = self.sleeping.first()?;
        Some(until.saturating_duration_since(now))
    }

    /// Everybody who is being served.
    pub(super) fn sessions(&self) -> Vec<SessionHandle> {
        self.sessions.keys().copied().collect()
    }
}

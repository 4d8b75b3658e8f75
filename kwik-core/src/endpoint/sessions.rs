//! The table of an endpoint's sessions.
//!
//! Owns the sessions, when each wants to be woken, and which of them may have something to say.
//! Every operation costs O(log n): no call looks at all sessions.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::carrier::{Carriers, Input, Now, Output};
use crate::event::EventKind;
use crate::ids::{PathId, SessionHandle, SessionId};
use crate::quic::{renew_map, renew_set};
use crate::session::{ClientSession, Greeted, Greeting, PrimarySession, SecondarySession};

/// A session, by the role that this end plays in it.
pub(super) enum Session {
    Client(Box<ClientSession>),
    /// A connection of a client that has not said what it is for.
    Greeting(Box<Greeting>),
    Primary(Box<PrimarySession>),
    Secondary(Box<SecondarySession>),
}

impl Session {
    /// Tells the session something; what a greeting turned out to be.
    pub(super) fn handle(
        &mut self,
        now: Now,
        input: Input,
        carriers: &mut dyn Carriers,
    ) -> Option<Greeted> {
        match self {
            Self::Greeting(greeting) => return greeting.handle(now, input, carriers),
            Self::Client(session) => session.handle(now, input, carriers),
            Self::Primary(session) => session.handle(now, input, carriers),
            Self::Secondary(session) => session.handle(now, input, carriers),
        }
        None
    }

    pub(super) fn poll_output(&mut self) -> Option<Output> {
        match self {
            Self::Client(session) => session.poll_output(),
            Self::Greeting(session) => session.poll_output(),
            Self::Primary(session) => session.poll_output(),
            Self::Secondary(session) => session.poll_output(),
        }
    }

    pub(super) fn poll_event(&mut self) -> Option<EventKind> {
        match self {
            Self::Client(session) => session.poll_event().map(EventKind::Client),
            Self::Greeting(_) => None,
            Self::Primary(session) => session.poll_event().map(EventKind::Primary),
            Self::Secondary(session) => session.poll_event().map(EventKind::Secondary),
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Client(session) => session.poll_timeout(),
            Self::Greeting(session) => session.poll_timeout(),
            Self::Primary(session) => session.poll_timeout(),
            // It only answers.
            Self::Secondary(_) => None,
        }
    }

    pub(super) fn close(&mut self, now: Now, code: u64, carriers: &mut dyn Carriers) {
        match self {
            Self::Client(session) => session.close(code),
            Self::Greeting(session) => session.close(code),
            Self::Primary(session) => session.close(now, code, carriers),
            Self::Secondary(session) => session.close(code),
        }
    }

    /// Nothing more comes but what is queued.
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Client(session) => session.is_closed(),
            Self::Greeting(session) => session.is_closed(),
            Self::Primary(session) => session.is_closed(),
            Self::Secondary(session) => session.is_closed(),
        }
    }

    /// Whether the application may still read what had arrived.
    pub(super) fn has_leftovers(&self) -> bool {
        match self {
            Self::Client(session) => session.has_leftovers(),
            Self::Greeting(_) | Self::Primary(_) | Self::Secondary(_) => false,
        }
    }

    pub(super) fn role(&self) -> &'static str {
        match self {
            Self::Client(_) => "client",
            Self::Greeting(_) => "greeting",
            Self::Primary(_) => "primary",
            Self::Secondary(_) => "secondary",
        }
    }
}

/// A session and the endpoint's books about it.
pub(super) struct Entry {
    pub(super) session: Session,
    /// What it was asked to join, if this end is its secondary.
    pub(super) join: Option<(SessionId, PathId)>,
    /// Events of it that the application has not taken.
    pub(super) events_queued: usize,
    /// As it stands in the table of deadlines.
    deadline: Option<Instant>,
}

/// The sessions that are not forgotten yet.
#[derive(Default)]
pub(super) struct Sessions {
    table: BTreeMap<SessionHandle, Entry>,
    next: u64,
    deadlines: BTreeSet<(Instant, SessionHandle)>,
    /// May have outputs, events or another deadline.
    dirty: BTreeSet<SessionHandle>,
}

impl Sessions {
    /// The handle that [`Self::insert`] will give.
    pub(super) fn next_handle(&self) -> SessionHandle {
        SessionHandle(self.next)
    }

    pub(super) fn insert(&mut self, session: Session) -> SessionHandle {
        let handle = self.next_handle();
        self.next += 1;
        let entry = Entry {
            session,
            join: None,
            events_queued: 0,
            deadline: None,
        };
        self.table.insert(handle, entry);
        self.touch(handle);
        handle
    }

    pub(super) fn get(&self, handle: SessionHandle) -> Option<&Entry> {
        self.table.get(&handle)
    }

    pub(super) fn get_mut(&mut self, handle: SessionHandle) -> Option<&mut Entry> {
        self.table.get_mut(&handle)
    }

    /// The session, to do something to it: it is looked at again afterwards.
    pub(super) fn touch_mut(&mut self, handle: SessionHandle) -> Option<&mut Entry> {
        let entry = self.table.get_mut(&handle)?;
        self.dirty.insert(handle);
        Some(entry)
    }

    pub(super) fn touch(&mut self, handle: SessionHandle) {
        if self.table.contains_key(&handle) {
            self.dirty.insert(handle);
        }
    }

    pub(super) fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    pub(super) fn pop_dirty(&mut self) -> Option<SessionHandle> {
        self.dirty.pop_first()
    }

    pub(super) fn forget(&mut self, handle: SessionHandle) {
        self.dirty.remove(&handle);
        if let Some(at) = self.table.remove(&handle).and_then(|entry| entry.deadline) {
            self.deadlines.remove(&(at, handle));
        }
    }

    /// Lets go of what the tables keep although they are empty.
    pub(super) fn let_go_of_room(&mut self) {
        renew_map(&mut self.table);
        renew_set(&mut self.deadlines);
        renew_set(&mut self.dirty);
    }

    /// Puts down when the session wants to be woken.
    pub(super) fn refresh_deadline(&mut self, handle: SessionHandle) {
        let Some(entry) = self.table.get_mut(&handle) else {
            return;
        };
        let at = entry.session.poll_timeout();
        if at == entry.deadline {
            return;
        }
        if let Some(old) = std::mem::replace(&mut entry.deadline, at) {
            self.deadlines.remove(&(old, handle));
        }
        self.deadlines.extend(at.map(|at| (at, handle)));
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(at, _)| at)
    }

    /// A session whose time has come; its deadline is forgotten until it is looked at.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<SessionHandle> {
        let &(at, handle) = self.deadlines.first().filter(|&&(at, _)| at <= now)?;
        self.deadlines.remove(&(at, handle));
        if let Some(entry) = self.touch_mut(handle) {
            entry.deadline = None;
        }
        Some(handle)
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn all_closed(&self) -> bool {
        self.table.values().all(|entry| entry.session.is_closed())
    }
}

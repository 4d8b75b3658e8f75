//! What makes an endpoint turn: inputs of QUIC to the sessions, what they ask for back to QUIC.
//!
//! Owns the order of things within a call, the joins of secondaries, and the end of a session.

use super::Endpoint;
use super::sessions::Session;
use crate::carrier::{DownCause, Input, Output};
use crate::error::code;
use crate::event::Event;
use crate::ids::SessionHandle;
use crate::session::{Greeted, PendingJoin};

impl Endpoint {
    /// Until nobody has anything to tell. Costs nothing if nothing has changed.
    pub(super) fn pump(&mut self) {
        loop {
            while let Some(handle) = self.sessions.pop_dirty() {
                self.settle(handle);
            }
            if let Some((handle, input)) = self.quic.poll_input(self.now) {
                self.deliver(handle, input);
            } else if let Some(handle) = self.quic.poll_orphan() {
                self.sessions.touch(handle);
            } else {
                return;
            }
        }
    }

    /// Whether [`Self::pump`] has something to do.
    pub(super) fn is_dirty(&self) -> bool {
        self.sessions.has_dirty() || self.quic.has_inputs()
    }

    /// Wakes the sessions whose time has come.
    pub(super) fn wake_sessions(&mut self) {
        while let Some(handle) = self.sessions.pop_due(self.now.monotonic) {
            self.deliver(handle, Input::Timeout);
        }
    }

    fn deliver(&mut self, handle: SessionHandle, input: Input) {
        let Some(entry) = self.sessions.touch_mut(handle) else {
            return;
        };
        let _span =
            tracing::debug_span!("session", id = handle.0, role = entry.session.role()).entered();
        let greeted = entry
            .session
            .handle(self.now, input, &mut self.quic.carriers(handle));
        match greeted {
            None => {}
            Some(Greeted::Primary(session)) => {
                entry.session = Session::Primary(session);
            }
            Some(Greeted::Join(pending)) => self.join(handle, *pending),
        }
    }

    /// A client has proven that it may join. A newer connection takes the place of an older one, of
    /// which the answer may have been lost, until a command was accepted on that; and a join that was
    /// late does not undo the one that replaced it [JOIN-6].
    fn join(&mut self, handle: SessionHandle, pending: PendingJoin) {
        let key = pending.key();
        let in_use = self.joins.get(&key).is_some_and(|&other| {
            // Handles rise in the order in which connections begin.
            other > handle || self.is_in_use(other)
        });
        if !in_use && let Some(older) = self.joins.insert(key, handle) {
            self.close_session(older, code::PATH_ENDED);
        }
        let Some(entry) = self.sessions.touch_mut(handle) else {
            return;
        };
        let mut carriers = self.quic.carriers(handle);
        entry.session = if in_use {
            tracing::info!(session = %key.0, path = %key.1, "second join refused");
            Session::Greeting(Box::new(pending.refuse(&mut carriers)))
        } else {
            entry.join = Some(key);
            Session::Secondary(Box::new(pending.accept(self.now, &mut carriers)))
        };
    }

    fn is_in_use(&self, handle: SessionHandle) -> bool {
        match self.sessions.get(handle).map(|entry| &entry.session) {
            Some(Session::Secondary(session)) => {
                !session.is_closed() && session.has_accepted_command()
            }
            Some(Session::Client(_) | Session::Greeting(_) | Session::Primary(_)) | None => false,
        }
    }

    pub(super) fn close_session(&mut self, handle: SessionHandle, code: u64) {
        if let Some(entry) = self.sessions.touch_mut(handle) {
            entry
                .session
                .close(self.now, code, &mut self.quic.carriers(handle));
        }
    }

    /// Carries out what a session asks for, takes its events, and forgets it when it is over.
    fn settle(&mut self, handle: SessionHandle) {
        while let Some(output) = self
            .sessions
            .get_mut(handle)
            .and_then(|entry| entry.session.poll_output())
        {
            self.carry_out(handle, output);
        }
        let Some(entry) = self.sessions.get_mut(handle) else {
            return;
        };
        while let Some(kind) = entry.session.poll_event() {
            entry.events_queued += 1;
            self.events.push_back(Event {
                session: handle,
                kind,
            });
        }
        self.sessions.refresh_deadline(handle);
        self.end_if_closed(handle);
    }

    fn carry_out(&mut self, handle: SessionHandle, output: Output) {
        match output {
            Output::Dial { path, target } => {
                let (addr, name) = (target.addr, &target.server_name);
                tracing::debug!(session = handle.0, %path, %addr, ?name, "dial");
                let dialled = self
                    .quic
                    .dial(self.now, handle, path, &target, &mut self.entropy);
                if let Err(error) = dialled {
                    let cause = DownCause::Failed(error.to_string());
                    self.deliver(handle, Input::PathDown { path, cause });
                }
            }
            Output::Close { path, code } => {
                tracing::debug!(session = handle.0, %path, code, "close");
                self.quic.close(self.now, handle, path, code);
            }
            Output::Probe(path) => self.quic.probe(handle, path),
        }
    }

    /// The end of a session: its connections close in good order [SESS-5], its place among the
    /// joins is free, and once they are drained, and its events and what had arrived were taken, it is
    /// forgotten.
    fn end_if_closed(&mut self, handle: SessionHandle) {
        let Some(entry) = self.sessions.get_mut(handle) else {
            return;
        };
        if !entry.session.is_closed() {
            return;
        }
        if let Some(key) = entry.join.take()
            && self.joins.get(&key) == Some(&handle)
        {
            self.joins.remove(&key);
        }
        let is_kept = entry.events_queued > 0 || entry.session.has_leftovers();
        self.quic.close_all(self.now, handle, code::NO_ERROR);
        if !is_kept && !self.quic.has_connections(handle) {
            self.sessions.forget(handle);
            self.rest_if_empty();
        }
    }
}

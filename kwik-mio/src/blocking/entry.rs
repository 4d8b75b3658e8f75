//! What is known of one session besides what the core knows.
//!
//! Owns the events that wait for the application, and how the sending halves fare. Never calls the
//! core.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Condvar};
use std::time::Instant;

use kwik_core::error::CloseReason;
use kwik_core::event::{ClientEvent, EventKind, PrimaryEvent, SecondaryEvent, StreamEvent};
use kwik_core::ids::{SegmentId, StreamId};

use crate::error::Error;

/// Events that a session keeps for `next_event`. Those of a client are news, and the oldest go;
/// those of a server are work, and a session whose application leaves them lying is closed.
const EVENTS_KEPT_MAX: usize = 4096;

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
    pub(super) linger_until: Option<Instant>,
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

impl Entry {
    pub(super) fn new(role: Role) -> Self {
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
    pub(super) fn may_end(&self) -> bool {
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
    pub(super) fn on_event(&mut self, kind: EventKind) -> bool {
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

#[cfg(test)]
mod tests {
    use kwik_core::event::PathEvent;
    use kwik_core::ids::PathId;
    use kwik_core::ranges::RangeSet;

    use super::*;

    fn hole(stream: u64) -> EventKind {
        EventKind::Primary(PrimaryEvent::Hole {
            stream: StreamId(stream),
            missing: RangeSet::new(),
        })
    }

    #[test]
    fn a_server_that_takes_no_events_is_not_given_more_for_ever() {
        let mut entry = Entry::new(Role::Primary);
        for stream in 0..EVENTS_KEPT_MAX as u64 {
            assert!(!entry.on_event(hole(stream)));
        }
        assert!(entry.on_event(hole(0)));
        assert_eq!(entry.events.len(), EVENTS_KEPT_MAX);
    }

    #[test]
    fn a_client_that_takes_no_events_keeps_the_newest() {
        let news = |path| EventKind::Client(ClientEvent::Path(PathEvent::Added(PathId(path))));
        let mut entry = Entry::new(Role::Client);
        for path in 0..=EVENTS_KEPT_MAX as u64 {
            assert!(!entry.on_event(news(path)));
        }
        assert_eq!(entry.events.len(), EVENTS_KEPT_MAX);
        assert_eq!(entry.events.front(), Some(&news(1)));
    }

    #[test]
    fn an_event_that_a_waiting_call_will_take_is_claimed() {
        let mut entry = Entry::new(Role::Primary);
        assert!(!entry.has_unclaimed_event());
        entry.on_event(hole(1));
        assert!(entry.has_unclaimed_event());
        entry.event_waiters = 1;
        assert!(!entry.has_unclaimed_event());
        entry.on_event(hole(2));
        assert!(entry.has_unclaimed_event());
    }

    #[test]
    fn a_finished_stream_is_in_flight_until_it_arrived() {
        let mut entry = Entry::new(Role::Client);
        let stream = StreamId(4);
        entry.on_finish(stream);
        assert!(!entry.may_end());
        entry.on_event(EventKind::Client(ClientEvent::Stream(
            StreamEvent::Finished(stream),
        )));
        assert!(entry.may_end());
    }
}

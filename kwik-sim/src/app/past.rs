//! What is over.
//!
//! Owns a record of what a session has ended, made of what its application was told and what the
//! application itself has done, never of what the core says when it is asked: so the two can be held
//! against each other.

use std::collections::BTreeSet;

use kwik_core::event::{
    ClientEvent, EventKind, PathEvent, PrimaryEvent, SecondaryEvent, StreamEvent,
};
use kwik_core::ids::{GrantId, PathId, SegmentId, StreamId};

/// Names of one session that something had once.
#[derive(Clone, Debug, Default)]
pub struct Past {
    /// The session itself has ended.
    pub is_closed: bool,
    /// Streams that this end has finished.
    pub sent: BTreeSet<StreamId>,
    /// Streams of which the peer has everything, or wants no more.
    pub settled: BTreeSet<StreamId>,
    /// Streams that were read to their end.
    pub read: BTreeSet<StreamId>,
    /// Segments that were finished.
    pub segments: BTreeSet<SegmentId>,
    /// Grants that are done, lost or taken back: at the primary, those of the application.
    pub grants: BTreeSet<GrantId>,
    /// Secondaries that are dead or retired, as the primary names them.
    pub paths: BTreeSet<PathId>,
}

impl Past {
    /// The application was told of this.
    pub fn note(&mut self, event: &EventKind) {
        match event {
            EventKind::Client(event) => match event {
                ClientEvent::Stream(event) => self.note_stream(*event),
                ClientEvent::Closed(_) => self.is_closed = true,
                ClientEvent::Connected | ClientEvent::Path(_) | ClientEvent::Conflict { .. } => {}
            },
            EventKind::Primary(event) => self.note_primary(event),
            EventKind::Secondary(event) => match event {
                SecondaryEvent::Stopped(grant) | SecondaryEvent::Revoked { grant, end: 0 } => {
                    self.grants.insert(*grant);
                }
                SecondaryEvent::Closed(_) => self.is_closed = true,
                SecondaryEvent::Joined
                | SecondaryEvent::Grant { .. }
                | SecondaryEvent::Raw(_)
                | SecondaryEvent::Revoked { .. }
                | SecondaryEvent::SegmentWritable(_) => {}
            },
        }
    }

    fn note_primary(&mut self, event: &PrimaryEvent) {
        match event {
            PrimaryEvent::Stream(event) => self.note_stream(*event),
            PrimaryEvent::Path(PathEvent::Dead(path) | PathEvent::Retired(path)) => {
                self.paths.insert(*path);
            }
            PrimaryEvent::GrantDone { grant, .. } | PrimaryEvent::GrantLost { grant, .. } => {
                self.grants.insert(*grant);
            }
            PrimaryEvent::Closed(_) => self.is_closed = true,
            PrimaryEvent::Accepted
            | PrimaryEvent::Path(PathEvent::Added(_) | PathEvent::Active(_))
            | PrimaryEvent::Hole { .. }
            | PrimaryEvent::OwnRange { .. }
            | PrimaryEvent::SegmentWritable(_) => {}
        }
    }

    fn note_stream(&mut self, event: StreamEvent) {
        match event {
            StreamEvent::Stopped { stream, .. } | StreamEvent::Finished(stream) => {
                self.sent.insert(stream);
                self.settled.insert(stream);
            }
            StreamEvent::Opened
            | StreamEvent::Available
            | StreamEvent::Readable(_)
            | StreamEvent::Writable(_) => {}
        }
    }
}

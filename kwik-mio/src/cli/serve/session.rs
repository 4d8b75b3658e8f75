//! One session of the server, whichever part it plays in it.
//!
//! Owns what the roles have in common: the runs that are being written, and the way to the endpoint.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use kwik_core::carrier::Now;
use kwik_core::endpoint::{Endpoint, Primary, Secondary};
use kwik_core::error::{CloseReason, Misuse, StreamError};
use kwik_core::event::EventKind;
use kwik_core::ids::{SessionHandle, StreamId};
use kwik_core::path::PathSpec;
use kwik_core::plan::Spread;

use super::hash::{Hashed, Hasher};
use super::primary::PrimaryDesk;
use super::rate::TokenBucket;
use super::root::Root;
use super::secondary::SecondaryDesk;
use super::writers::{RunId, Step, Target, Writers};
use crate::cli::args::Rate;

/// What is served, and how: the same for all sessions.
pub(super) struct Site {
    pub(super) root: Root,
    /// The servers that write a part of each transfer.
    pub(super) secondaries: Vec<PathSpec>,
    pub(super) spread: Spread,
    pub(super) rate: Option<Rate>,
}

/// Who wants to know a hash: the request on a stream of a session.
pub(super) type Asker = (SessionHandle, StreamId);

/// What a session needs of the world for one step.
pub(super) struct Cx<'a> {
    pub(super) site: &'a Site,
    pub(super) hasher: &'a mut Hasher<Asker>,
    pub(super) endpoint: &'a mut Endpoint,
    pub(super) now: Now,
    pub(super) session: SessionHandle,
}

impl Cx<'_> {
    /// The session at its primary; `None` once it is gone.
    pub(super) fn primary(&mut self) -> Option<Primary<'_>> {
        self.endpoint.primary(self.now, self.session)
    }

    /// The session at a secondary; `None` once it is gone.
    pub(super) fn secondary(&mut self) -> Option<Secondary<'_>> {
        self.endpoint.secondary(self.now, self.session)
    }
}

/// A session and what the server has to do in it.
pub(super) struct Session {
    desk: Desk,
    writers: Writers,
    /// Content given to QUIC.
    sent_bytes: u64,
    /// Whether it waits for its turn to write.
    pub(super) is_queued: bool,
    /// When it may write again; `None` if that is not what it waits for.
    pub(super) sleeps_until: Option<Instant>,
}

enum Desk {
    Primary(PrimaryDesk),
    Secondary(SecondaryDesk),
}

impl Session {
    fn new(desk: Desk, cx: &Cx<'_>) -> Self {
        let now = cx.now.monotonic;
        let bucket = cx.site.rate.map(|rate| TokenBucket::new(rate, now));
        Self {
            desk,
            writers: Writers::new(bucket),
            sent_bytes: 0,
            is_queued: false,
            sleeps_until: None,
        }
    }

    /// A client began a session with this server.
    pub(super) fn primary(cx: &mut Cx<'_>) -> Self {
        let client = cx.primary().and_then(|primary| primary.client_addr());
        Self::new(Desk::Primary(PrimaryDesk::new(client)), cx)
    }

    /// A client joined this server, sent by its primary.
    pub(super) fn secondary(cx: &Cx<'_>) -> Self {
        Self::new(Desk::Secondary(SecondaryDesk::default()), cx)
    }

    pub(super) fn on_event(&mut self, cx: &mut Cx<'_>, event: EventKind) {
        match (&mut self.desk, event) {
            (Desk::Primary(desk), EventKind::Primary(event)) => {
                desk.on_event(cx, &mut self.writers, event);
            }
            (Desk::Secondary(desk), EventKind::Secondary(event)) => {
                desk.on_event(cx, &mut self.writers, event);
            }
            (Desk::Primary(_) | Desk::Secondary(_), event) => {
                tracing::debug!(?event, "an event of another role");
            }
        }
    }

    /// The hash that the request on `stream` waits for is known.
    pub(super) fn on_hashed(&mut self, cx: &mut Cx<'_>, stream: StreamId, hashed: Hashed) {
        match &mut self.desk {
            Desk::Primary(desk) => desk.on_hashed(cx, &mut self.writers, stream, hashed),
            Desk::Secondary(_) => {}
        }
    }

    pub(super) fn on_closed(&self, now: Instant, reason: &CloseReason) {
        match &self.desk {
            Desk::Primary(desk) => desk.on_closed(now, reason),
            Desk::Secondary(desk) => desk.on_closed(reason, self.sent_bytes),
        }
    }

    /// Writes one chunk. The result says whether, and when, there is more to do.
    pub(super) fn step(&mut self, cx: &mut Cx<'_>) -> Step {
        let step = self.writers.step(cx.now.monotonic, |run, data| {
            let written = write(cx, run, data)?;
            self.sent_bytes += written as u64;
            Ok(written)
        });
        match &mut self.desk {
            Desk::Primary(desk) => desk.on_step(cx, &mut self.writers, &step),
            Desk::Secondary(desk) => desk.on_step(cx, &step),
        }
        step
    }
}

fn write(cx: &mut Cx<'_>, run: RunId, data: &mut Bytes) -> Result<usize, StreamError> {
    if let Some(mut primary) = cx.primary() {
        return match run.target {
            Target::Stream => primary.write(run.stream, data),
            Target::Segment(segment) => primary.write_segment(segment, data),
        };
    }
    match (cx.secondary(), run.target) {
        (Some(mut secondary), Target::Segment(segment)) => secondary.write_segment(segment, data),
        (Some(_) | None, _) => Err(Misuse::Closed.into()),
    }
}

/// A file that is being served.
pub(super) type SharedFile = Arc<super::root::ServedFile>;

//! The primary's side of a session: it owns the streams, names the secondaries and says who writes
//! what.
//!
//! Owns one room for each of these and passes every input on to the one that it concerns. What
//! goes through several rooms (a grant is of a path, for a stream) is said in the room where it
//! begins. Never sees a secondary: all that it learns, the client reports.

mod coverage;
mod cursor;
mod desk;
mod gauges;
mod grants;
mod paths;
mod plans;
mod segments;
mod stats;
mod streams;
#[cfg(test)]
mod tests;
mod writers;

use std::sync::Arc;
use std::time::Instant;

use self::desk::Desk;
use self::grants::Grants;
use self::paths::Paths;
use self::plans::Plans;
use self::segments::Segments;
pub use self::stats::PrimaryStats;
use self::streams::Streams;
use super::ServerContext;
use super::control::ControlChannel;
use crate::carrier::{Carriers, DownCause, Input, Now, Output};
use crate::error::{CloseReason, Violation};
use crate::event::PrimaryEvent;
use crate::ids::{CarrierId, SessionId, StreamId};
use crate::wire::{ControlFrame, Hello, Welcome};

/// One session of a primary.
pub(crate) struct PrimarySession {
    desk: Desk,
    streams: Streams,
    segments: Segments,
    grants: Grants,
    paths: Paths,
    plans: Plans,
}

impl PrimarySession {
    /// The session of a client whose HELLO came on `control`: it is welcomed [SESS-2].
    pub(crate) fn new(
        _now: Now,
        context: Arc<ServerContext>,
        session: SessionId,
        hello: Hello,
        control: ControlChannel,
        carriers: &mut dyn Carriers,
    ) -> Self {
        let mut new = Self {
            desk: Desk::new(context, session, control),
            streams: Streams::new(),
            segments: Segments::default(),
            grants: Grants::default(),
            paths: Paths::new(hello.join_key_thumbprint),
            plans: Plans::default(),
        };
        tracing::debug!(%session, "session accepted");
        new.desk
            .send(&ControlFrame::Welcome(Welcome { session }), carriers);
        new.desk.tell(PrimaryEvent::Accepted);
        new
    }

    pub(crate) fn handle(&mut self, now: Now, input: Input, carriers: &mut dyn Carriers) {
        if self.is_closed() {
            return;
        }
        let result = self.dispatch(now, input, carriers);
        if let Err(violation) = result.and_then(|()| self.desk.check_unread()) {
            tracing::debug!(session = %self.desk.session, %violation, "the client broke the protocol");
            self.desk
                .close(violation.code(), CloseReason::Violation(violation));
            return;
        }
        self.deal(now, carriers);
    }

    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.desk.poll_output()
    }

    pub(crate) fn poll_event(&mut self) -> Option<PrimaryEvent> {
        self.desk.poll_event()
    }

    /// When [`Input::Timeout`] is wanted. The client watches over its paths, QUIC over the client:
    /// only the end of a retired path is waited for here.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.paths.retire_deadline().filter(|_| !self.is_closed())
    }

    pub(crate) fn close(&mut self, _now: Now, code: u64, carriers: &mut dyn Carriers) {
        self.desk.control.flush(carriers);
        self.desk.close(code, CloseReason::Local);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.desk.is_closed()
    }

    pub(crate) fn session_id(&self) -> SessionId {
        self.desk.session
    }

    fn dispatch(
        &mut self,
        now: Now,
        input: Input,
        carriers: &mut dyn Carriers,
    ) -> Result<(), Violation> {
        let control = self.desk.control.carrier();
        match input {
            Input::Readable(carrier) if carrier == control => self.on_control(now, carriers)?,
            Input::Writable(carrier) if carrier == control => self.desk.control.flush(carriers),
            Input::Stopped { carrier, .. } if carrier == control => {
                // It lives as long as the connection [CTL-3].
                return Err(Violation::Unexpected("stop of the control carrier"));
            }
            Input::Opened(carrier) => self.on_opened(carrier)?,
            Input::Readable(carrier) => self.on_readable(carrier),
            Input::Writable(carrier) => self.on_writable(carrier, carriers),
            Input::Stopped { carrier, code } => self.on_stopped(now, carrier, code, carriers),
            Input::Finished(carrier) => self.on_finished(now, carrier),
            Input::BidiCredit(_) => self.on_bidi_credit(),
            Input::UniCredit(_) => self.on_uni_credit(),
            Input::PathDown { cause, .. } => self.desk.on_lost(close_reason(cause)),
            Input::Timeout => self.on_retire_deadlines(now.monotonic, carriers),
            // The connection to the client was up before the session began.
            Input::PathUp { .. } | Input::Heard(_) => {}
        }
        Ok(())
    }

    fn on_control(&mut self, now: Now, carriers: &mut dyn Carriers) -> Result<(), Violation> {
        while let Some(frame) = self.desk.control.poll_frame(carriers)? {
            self.on_frame(now, frame, carriers)?;
        }
        Ok(())
    }

    /// A frame that is not a client's to send is a violation, and so is a second HELLO [CTL-10].
    fn on_frame(
        &mut self,
        now: Now,
        frame: ControlFrame,
        carriers: &mut dyn Carriers,
    ) -> Result<(), Violation> {
        match frame {
            ControlFrame::PathStatus(frame) => self.on_path_status(&frame),
            ControlFrame::GrantStatus(frame) => self.on_grant_status(now, frame, carriers),
            ControlFrame::Hole(frame) => self.on_hole(frame),
            ControlFrame::StreamDone(frame) => self.on_stream_done(frame.stream, carriers),
            ControlFrame::MaxOffset(frame) => self.on_max_offset(&frame),
            ControlFrame::Hello(_)
            | ControlFrame::Welcome(_)
            | ControlFrame::AddPath(_)
            | ControlFrame::RetirePath(_)
            | ControlFrame::Aggregate(_)
            | ControlFrame::FinalSize(_)
            | ControlFrame::Grant(_)
            | ControlFrame::Revoke(_)
            | ControlFrame::Raw(_)
            | ControlFrame::Join(_)
            | ControlFrame::Joined(_)
            | ControlFrame::Refused(_)
            | ControlFrame::GrantRefused(_)
            | ControlFrame::GrantDone(_) => Err(Violation::Unexpected(frame.name())),
        }
    }

    fn on_writable(&mut self, carrier: CarrierId, carriers: &mut dyn Carriers) {
        if carrier.is_bidirectional() {
            self.on_stream_writable(carrier, carriers);
        } else {
            self.on_segment_writable(carrier);
        }
    }

    fn on_stopped(&mut self, now: Now, carrier: CarrierId, code: u64, carriers: &mut dyn Carriers) {
        if carrier.is_bidirectional() {
            self.on_stream_stopped(StreamId(carrier.stream), code, carriers);
        } else {
            self.on_segment_stopped(now, carrier, code, carriers);
        }
    }

    fn on_finished(&mut self, now: Now, carrier: CarrierId) {
        if carrier.is_bidirectional() {
            self.on_stream_finished(carrier);
        } else {
            self.on_segment_finished(now, carrier);
        }
    }
}

fn close_reason(cause: DownCause) -> CloseReason {
    match cause {
        DownCause::TimedOut => CloseReason::TimedOut,
        DownCause::ClosedByPeer(code) => CloseReason::Peer(code),
        DownCause::PinMismatch => CloseReason::PinMismatch,
        DownCause::ClosedLocally => CloseReason::Local,
        DownCause::Failed(text) => CloseReason::Failed(text),
    }
}

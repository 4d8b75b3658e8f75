//! A session at a secondary: it writes the ranges that it is granted, and nothing else. There is no
//! call that opens a stream.
//!
//! Owns the grants of one client's session at this server, and the control carrier. How the bytes
//! are written is in `segments`.

mod gauges;
mod segments;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::control::ControlChannel;
use super::segment::SegmentWriter;
use super::{Cx, ServerContext};
use crate::carrier::{Carriers, Input, Now, Output};
use crate::error::{CloseReason, Misuse, Violation, code};
use crate::event::SecondaryEvent;
use crate::ids::{ByteRange, CarrierId, GrantId, PathId, SegmentId, SessionId, StreamId};
use crate::ranges::RangeSet;
use crate::ticket::{Opener, PeerKey};
use crate::wire::{
    ControlFrame, Extent, Grant, GrantDone, GrantRefused, Joined, MaxOffset, Raw, Revoke,
    split_ranges,
};

/// A session at a secondary.
pub(crate) struct SecondarySession {
    context: Arc<ServerContext>,
    session: SessionId,
    /// The name of this connection in the session.
    path: PathId,
    opener: Opener,
    control: ControlChannel,
    grants: BTreeMap<GrantId, Held>,
    /// The highest id that came.
    highest: Option<GrantId>,
    /// How far each stream with grants may be written.
    credit: BTreeMap<StreamId, u64>,
    segments: Segments,
    accepted_command: bool,
    outputs: VecDeque<Output>,
    events: VecDeque<SecondaryEvent>,
    closed: Option<CloseReason>,
}

/// A grant that this server has neither filled nor given back.
struct Held {
    stream: StreamId,
    extent: Extent,
    /// The bytes that are still wanted; shrinks when the grant is revoked in part.
    range: ByteRange,
    /// What was handed to QUIC.
    written: RangeSet,
    /// One at a time [SEG-7].
    segment: Option<SegmentId>,
}

/// The runs of writes that the application has open.
#[derive(Default)]
struct Segments {
    open: BTreeMap<SegmentId, Segment>,
    by_carrier: BTreeMap<CarrierId, SegmentId>,
    /// Refused a carrier.
    no_carrier: BTreeSet<SegmentId>,
    next: u64,
}

struct Segment {
    grant: GrantId,
    stream: StreamId,
    writer: SegmentWriter,
    /// A write came up short for lack of credit: that of this grant alone [GRANT-20].
    no_credit: bool,
    /// Its grant has ended under it.
    ended: bool,
}

impl SecondarySession {
    pub(super) fn new(
        cx: &mut Cx<'_>,
        context: Arc<ServerContext>,
        peer: &PeerKey,
        (session, path): (SessionId, PathId),
        mut control: ControlChannel,
    ) -> Self {
        tracing::info!(%session, %path, "client joined");
        control.send(&ControlFrame::Joined(Joined), cx.carriers);
        Self {
            context,
            session,
            path,
            opener: Opener::new(peer, session, path),
            control,
            grants: BTreeMap::new(),
            highest: None,
            credit: BTreeMap::new(),
            segments: Segments::default(),
            accepted_command: false,
            outputs: VecDeque::new(),
            events: VecDeque::from([SecondaryEvent::Joined]),
            closed: None,
        }
    }

    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(crate) fn poll_event(&mut self) -> Option<SecondaryEvent> {
        self.events.pop_front()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    pub(crate) fn session_id(&self) -> SessionId {
        self.session
    }

    /// Whether a command was accepted: from then on no other connection takes this one's place
    /// [JOIN-6].
    pub(crate) fn has_accepted_command(&self) -> bool {
        self.accepted_command
    }

    /// Closes the session at once.
    pub(crate) fn close(&mut self, code: u64) {
        self.end(CloseReason::Local, code);
    }

    fn end(&mut self, reason: CloseReason, code: u64) {
        if self.is_closed() {
            return;
        }
        self.outputs.push_back(Output::Close {
            path: PathId::PRIMARY,
            code,
        });
        self.grants.clear();
        self.segments = Segments::default();
        self.events
            .push_back(SecondaryEvent::Closed(reason.clone()));
        self.closed = Some(reason);
    }

    /// Takes in what happened.
    pub(crate) fn handle(&mut self, now: Now, input: Input, carriers: &mut dyn Carriers) {
        if self.is_closed() {
            return;
        }
        let _path = tracing::debug_span!("path", id = self.path.0).entered();
        let cx = &mut Cx { now, carriers };
        let result = match input {
            Input::Readable(carrier) if carrier == self.control.carrier() => {
                self.on_control_readable(cx)
            }
            Input::Opened(_) => Err(Violation::Unexpected("stream opened at a secondary")),
            Input::Writable(carrier) => {
                self.on_writable(cx, carrier);
                Ok(())
            }
            Input::UniCredit(_) => {
                self.on_carrier_credit();
                Ok(())
            }
            Input::Stopped { carrier, .. } => self.on_stopped(cx, carrier),
            Input::PathDown { cause, .. } => {
                self.end(cause.into(), code::NO_ERROR);
                Ok(())
            }
            Input::PathUp { .. }
            | Input::Readable(_)
            | Input::BidiCredit(_)
            | Input::Finished(_)
            | Input::Heard(_)
            | Input::Timeout => Ok(()),
        };
        if let Err(violation) = result.and_then(|()| self.check_unread()) {
            tracing::warn!(session = %self.session, path = %self.path, %violation, "client broke the protocol");
            let code = violation.code();
            self.end(CloseReason::Violation(violation), code);
        }
    }

    /// A client that makes us talk and does not listen could fill the memory [CTL-11].
    fn check_unread(&self) -> Result<(), Violation> {
        let max = self.context.config.server.control_unread_bytes_max;
        if self.control.outbox_bytes() > max {
            return Err(Violation::ExcessiveLoad("control bytes that are not read"));
        }
        Ok(())
    }

    /// A frame that is not a client's to send here is a violation, and so is a second JOIN
    /// [CTL-10].
    fn on_control_readable(&mut self, cx: &mut Cx<'_>) -> Result<(), Violation> {
        while let Some(frame) = self.control.poll_frame(cx.carriers)? {
            match frame {
                ControlFrame::Grant(grant) => self.on_grant(grant)?,
                ControlFrame::Revoke(revoke) => self.on_revoke(cx, &revoke)?,
                ControlFrame::MaxOffset(max) => self.on_max_offset(&max),
                ControlFrame::Raw(raw) => self.on_raw(&raw)?,
                ControlFrame::Hello(_)
                | ControlFrame::PathStatus(_)
                | ControlFrame::GrantStatus(_)
                | ControlFrame::Hole(_)
                | ControlFrame::StreamDone(_)
                | ControlFrame::Welcome(_)
                | ControlFrame::AddPath(_)
                | ControlFrame::RetirePath(_)
                | ControlFrame::Aggregate(_)
                | ControlFrame::FinalSize(_)
                | ControlFrame::Join(_)
                | ControlFrame::Joined(_)
                | ControlFrame::Refused(_)
                | ControlFrame::GrantRefused(_)
                | ControlFrame::GrantDone(_) => return Err(Violation::Unexpected(frame.name())),
            }
        }
        Ok(())
    }

    /// GRANT: an order of the primary, which only its seal proves [SEAL-3].
    fn on_grant(&mut self, frame: Grant) -> Result<(), Violation> {
        let _grant = tracing::debug_span!("grant", id = frame.grant.0).entered();
        if frame.path != self.path || self.highest.is_some_and(|highest| frame.grant <= highest) {
            return Err(Violation::Unexpected("grant"));
        }
        if self.grants.len() >= self.context.config.server.grants_per_path_max * 2 {
            return Err(Violation::ExcessiveLoad("grants"));
        }
        let command = self.opener.open_grant(&frame).map_err(|error| {
            tracing::warn!(grant = %frame.grant, %error, "seal of a grant does not hold");
            Violation::Join
        })?;
        tracing::debug!(grant = %frame.grant, stream = %frame.stream, range = %frame.extent.range(), "granted");
        self.accepted_command = true;
        self.highest = Some(frame.grant);
        self.raise_credit(frame.stream, frame.max_offset);
        self.on_credit(frame.stream);
        let held = Held {
            stream: frame.stream,
            extent: frame.extent,
            range: frame.extent.range(),
            written: RangeSet::new(),
            segment: None,
        };
        self.grants.insert(frame.grant, held);
        self.events.push_back(SecondaryEvent::Grant {
            grant: frame.grant,
            remote_stream_id: frame.stream,
            extent: frame.extent,
            command,
        });
        Ok(())
    }

    fn on_raw(&mut self, frame: &Raw) -> Result<(), Violation> {
        let message = self.opener.open_raw(frame).map_err(|error| {
            tracing::warn!(%error, "seal of a message does not hold");
            Violation::Join
        })?;
        self.accepted_command = true;
        self.events.push_back(SecondaryEvent::Raw(message));
        Ok(())
    }

    /// REVOKE: nothing is wanted from `end` on [GRANT-8]. What was written so far is finished,
    /// never reset: it may still fill holes [SEG-9].
    fn on_revoke(&mut self, cx: &mut Cx<'_>, frame: &Revoke) -> Result<(), Violation> {
        if self.highest.is_none_or(|highest| frame.grant > highest) {
            return Err(Violation::Unexpected("grant id in REVOKE"));
        }
        let Some(held) = self.grants.get_mut(&frame.grant) else {
            return Ok(());
        };
        if frame.end >= held.range.end() {
            return Ok(());
        }
        let whole = frame.end <= held.range.start();
        held.range = held
            .range
            .intersection(ByteRange::new(0, frame.end).unwrap_or(held.range));
        self.events.push_back(SecondaryEvent::Revoked {
            grant: frame.grant,
            end: frame.end,
        });
        if whole {
            self.end_grant(cx, frame.grant);
        } else {
            self.after_shrink(cx, frame.grant);
        }
        Ok(())
    }

    fn on_max_offset(&mut self, frame: &MaxOffset) {
        // A late one, for a stream without grants, says nothing: the next GRANT carries its own
        // [FLOW-9].
        if self.credit.contains_key(&frame.stream) {
            self.raise_credit(frame.stream, frame.offset);
            self.on_credit(frame.stream);
        }
    }

    fn raise_credit(&mut self, stream: StreamId, offset: u64) {
        let credit = self.credit.entry(stream).or_default();
        *credit = offset.max(*credit);
    }

    /// Gives a grant back unfilled [GRANT-16]. One that has been begun is ended instead.
    pub(crate) fn refuse_grant(
        &mut self,
        grant: GrantId,
        code: u64,
        carriers: &mut dyn Carriers,
    ) -> Result<(), Misuse> {
        let Some(held) = self.grants.get(&grant) else {
            return self.check_given(grant);
        };
        if !held.written.is_empty() || held.segment.is_some() {
            return self.finish_grant(grant, carriers);
        }
        tracing::debug!(%grant, code, "grant refused");
        self.forget_grant(grant);
        self.control.send(
            &ControlFrame::GrantRefused(GrantRefused { grant, code }),
            carriers,
        );
        Ok(())
    }

    /// A grant that has ended, perhaps a moment ago by a REVOKE or with its last byte, may be ended
    /// again.
    fn check_given(&self, grant: GrantId) -> Result<(), Misuse> {
        let given = self.highest.is_some_and(|highest| grant <= highest);
        if given {
            Ok(())
        } else {
            Err(Misuse::UnknownGrant(grant))
        }
    }

    /// Says that nothing more comes for a grant.
    pub(crate) fn finish_grant(
        &mut self,
        grant: GrantId,
        carriers: &mut dyn Carriers,
    ) -> Result<(), Misuse> {
        self.end_grant_with(carriers, grant);
        self.check_given(grant)
    }

    fn end_grant(&mut self, cx: &mut Cx<'_>, grant: GrantId) {
        self.end_grant_with(cx.carriers, grant);
    }

    /// GRANT_DONE with all that was handed to QUIC.
    fn end_grant_with(&mut self, carriers: &mut dyn Carriers, grant: GrantId) {
        let _grant = tracing::debug_span!("grant", id = grant.0).entered();
        self.end_segment_of(carriers, grant);
        let Some(held) = self.forget_grant(grant) else {
            return;
        };
        tracing::debug!(%grant, written = held.written.bytes(), "grant ended");
        let mut lists = split_ranges(&held.written).into_iter().peekable();
        while let Some(written) = lists.next() {
            let more = lists.peek().is_some();
            let frame = GrantDone {
                grant,
                written,
                more,
            };
            self.control.send(&ControlFrame::GrantDone(frame), carriers);
        }
    }

    fn forget_grant(&mut self, grant: GrantId) -> Option<Held> {
        let held = self.grants.remove(&grant)?;
        if !self
            .grants
            .values()
            .any(|other| other.stream == held.stream)
        {
            self.credit.remove(&held.stream);
        }
        Some(held)
    }
}

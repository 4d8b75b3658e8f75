//! How a secondary fills its grants.

use bytes::Bytes;

use super::{Held, SecondarySession, Segment};
use crate::carrier::{CarrierEnd, Carriers};
use crate::error::{Misuse, StreamError, Violation, code};
use crate::event::SecondaryEvent;
use crate::ids::{ByteRange, CarrierId, GrantId, SegmentId, StreamId};
use crate::session::Cx;
use crate::session::segment::{SegmentBounds, SegmentWrite, SegmentWriter};
use crate::wire::SegmentOwner;

impl SecondarySession {
    /// A run of writes from the start of a grant.
    pub(crate) fn open_segment(&mut self, grant: GrantId) -> Result<SegmentId, StreamError> {
        let held = self.grants.get(&grant).ok_or(Misuse::UnknownGrant(grant))?;
        let start = held.range.start();
        self.open_in(grant, start)
    }

    /// A run of writes from an offset within a grant of the stream.
    pub(crate) fn open_segment_at(
        &mut self,
        stream: StreamId,
        offset: u64,
    ) -> Result<SegmentId, StreamError> {
        let at = ByteRange::with_len(offset, 1).unwrap_or(ByteRange::from(offset));
        let fits = |held: &Held| held.stream == stream && !at.is_empty() && held.range.contains(at);
        let grant = self
            .grants
            .iter()
            .find(|(_, held)| fits(held))
            .map(|(&id, _)| id);
        self.open_in(grant.ok_or(Misuse::BadRange(at))?, offset)
    }

    fn open_in(&mut self, grant: GrantId, offset: u64) -> Result<SegmentId, StreamError> {
        let held = self
            .grants
            .get_mut(&grant)
            .ok_or(Misuse::UnknownGrant(grant))?;
        if held.segment.is_some() {
            return Err(Misuse::Limit("open segments of a grant").into());
        }
        let id = SegmentId(self.segments.next);
        self.segments.next += 1;
        held.segment = Some(id);
        let segment = Segment {
            grant,
            stream: held.stream,
            writer: SegmentWriter::new(SegmentOwner::Grant(grant), offset),
            no_credit: false,
            ended: false,
        };
        self.segments.open.insert(id, segment);
        Ok(id)
    }

    /// Takes bytes off the front of `data`. A grant with a fixed range ends by itself at its last
    /// byte.
    pub(crate) fn write_segment(
        &mut self,
        id: SegmentId,
        data: &mut Bytes,
        carriers: &mut dyn Carriers,
    ) -> Result<usize, StreamError> {
        let segment = self
            .segments
            .open
            .get_mut(&id)
            .ok_or(Misuse::UnknownSegment(id))?;
        let held = self.grants.get(&segment.grant).filter(|_| !segment.ended);
        let Some(held) = held else {
            return Err(StreamError::Stopped(code::ENDED));
        };
        let start = segment.writer.next();
        let wanted = ByteRange::with_len(start, data.len() as u64);
        let Some(wanted) = wanted.filter(|wanted| held.extent.range().contains(*wanted)) else {
            return Err(Misuse::BadRange(held.extent.range()).into());
        };
        if start >= held.range.end() && !wanted.is_empty() {
            return Err(StreamError::Stopped(code::ENDED));
        }
        let credit = self.credit.get(&segment.stream).copied().unwrap_or(0);
        let bounds = SegmentBounds {
            // Credit is no permission [FLOW-3].
            limit: credit.min(held.range.end()),
            segment_max_bytes: self.context.config.server.segment_max_bytes,
            lowest: self.lowest_of(segment_stream(&self.segments.open, id)),
        };
        self.write_bounded(id, data, bounds, carriers)
    }

    fn write_bounded(
        &mut self,
        id: SegmentId,
        data: &mut Bytes,
        bounds: SegmentBounds,
        carriers: &mut dyn Carriers,
    ) -> Result<usize, StreamError> {
        let segment = self
            .segments
            .open
            .get_mut(&id)
            .ok_or(Misuse::UnknownSegment(id))?;
        let (grant, start) = (segment.grant, segment.writer.next());
        let result = segment.writer.write(data, bounds, carriers);
        segment.no_credit = result == Ok(SegmentWrite::NoCredit);
        let written = segment.writer.next() - start;
        if let (Some(held), Some(run)) = (
            self.grants.get_mut(&grant),
            ByteRange::with_len(start, written),
        ) {
            held.written.insert(run);
        }
        match result {
            Ok(SegmentWrite::Done | SegmentWrite::NoCredit) => {}
            Ok(SegmentWrite::NoCarrier) => {
                self.segments.no_carrier.insert(id);
            }
            Ok(SegmentWrite::Full(carrier)) => {
                self.segments.by_carrier.insert(carrier, id);
            }
            Err(end) => return Err(self.on_write_ended(grant, end, carriers)),
        }
        self.end_if_filled(grant, carriers);
        Ok(usize::try_from(written).unwrap_or(usize::MAX))
    }

    /// The client stopped the segment: it wants no more of the stream.
    fn on_write_ended(
        &mut self,
        grant: GrantId,
        end: CarrierEnd,
        carriers: &mut dyn Carriers,
    ) -> StreamError {
        match end {
            CarrierEnd::Stopped(code) => {
                self.end_grant_with(carriers, grant);
                StreamError::Stopped(code)
            }
            CarrierEnd::Reset(_) | CarrierEnd::Gone => StreamError::Stopped(code::PATH_ENDED),
        }
    }

    /// Ends a grant whose wanted range is written.
    fn end_if_filled(&mut self, grant: GrantId, carriers: &mut dyn Carriers) {
        let filled = self.grants.get(&grant).is_some_and(|held| {
            let known_end = !held.extent.is_open() || held.range.end() < held.extent.range().end();
            known_end && held.written.contains(held.range)
        });
        if filled {
            self.end_grant_with(carriers, grant);
        }
    }

    /// A grant shrank: nothing is written past its new end.
    pub(super) fn after_shrink(&mut self, cx: &mut Cx<'_>, grant: GrantId) {
        let Some(held) = self.grants.get(&grant) else {
            return;
        };
        let end = held.range.end();
        if let Some(segment) = held.segment.and_then(|id| self.segments.open.get_mut(&id))
            && segment.writer.next() >= end
        {
            segment.writer.finish(cx.carriers);
        }
        self.end_if_filled(grant, cx.carriers);
    }

    /// Ends a run of writes; its grant may be written on by another.
    pub(crate) fn finish_segment(
        &mut self,
        id: SegmentId,
        carriers: &mut dyn Carriers,
    ) -> Result<(), StreamError> {
        let mut segment = self
            .segments
            .open
            .remove(&id)
            .ok_or(Misuse::UnknownSegment(id))?;
        segment.writer.finish(carriers);
        self.segments.no_carrier.remove(&id);
        self.segments.by_carrier.retain(|_, of| *of != id);
        if let Some(held) = self.grants.get_mut(&segment.grant)
            && held.segment == Some(id)
        {
            held.segment = None;
        }
        Ok(())
    }

    /// The grant ends: so does what was being written for it. The application's name for it stays
    /// until it lets go of it.
    pub(super) fn end_segment_of(&mut self, carriers: &mut dyn Carriers, grant: GrantId) {
        let id = self
            .grants
            .get_mut(&grant)
            .and_then(|held| held.segment.take());
        let Some(id) = id else { return };
        if let Some(segment) = self.segments.open.get_mut(&id) {
            segment.writer.finish(carriers);
            segment.ended = true;
        }
        self.segments.no_carrier.remove(&id);
        self.segments.by_carrier.retain(|_, of| *of != id);
    }

    /// The lowest byte of a stream that a grant still asks for.
    fn lowest_of(&self, stream: Option<StreamId>) -> u64 {
        let held = self
            .grants
            .values()
            .filter(|held| Some(held.stream) == stream);
        held.map(|held| held.range.start()).min().unwrap_or(0)
    }

    pub(super) fn on_writable(&mut self, cx: &mut Cx<'_>, carrier: CarrierId) {
        if carrier == self.control.carrier() {
            self.control.flush(cx.carriers);
        } else if let Some(id) = self.segments.by_carrier.remove(&carrier) {
            self.events.push_back(SecondaryEvent::SegmentWritable(id));
        }
    }

    pub(super) fn on_carrier_credit(&mut self) {
        for id in std::mem::take(&mut self.segments.no_carrier) {
            self.events.push_back(SecondaryEvent::SegmentWritable(id));
        }
    }

    pub(super) fn on_credit(&mut self, stream: StreamId) {
        for (&id, segment) in &mut self.segments.open {
            if segment.stream == stream && std::mem::take(&mut segment.no_credit) {
                self.events.push_back(SecondaryEvent::SegmentWritable(id));
            }
        }
    }

    /// The client wants no more of a segment.
    pub(super) fn on_stopped(
        &mut self,
        cx: &mut Cx<'_>,
        carrier: CarrierId,
    ) -> Result<(), Violation> {
        if carrier == self.control.carrier() {
            // It lives as long as the connection [CTL-3].
            return Err(Violation::Unexpected("STOP_SENDING of the control carrier"));
        }
        // quinn keeps a stopped stream until it is reset [SEG-13].
        cx.carriers.reset(carrier, code::ENDED);
        let open = self
            .segments
            .open
            .values_mut()
            .find(|segment| segment.writer.carrier() == Some(carrier));
        if let Some(segment) = open {
            let grant = segment.grant;
            segment.writer.reset(code::ENDED, cx.carriers);
            self.events.push_back(SecondaryEvent::Stopped(grant));
            self.end_grant(cx, grant);
        }
        Ok(())
    }
}

fn segment_stream(
    open: &std::collections::BTreeMap<SegmentId, Segment>,
    id: SegmentId,
) -> Option<StreamId> {
    open.get(&id).map(|segment| segment.stream)
}

//! Segments that the primary's application writes: its own runs of bytes anywhere in a stream.
//!
//! Owns the open segments. Never sees a grant: a segment may enter one, which is how a range is
//! taken over.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::PrimarySession;
use super::cursor::{Aggregated, Finish};
use super::desk::Desk;
use super::plans::PlanId;
use super::streams::gone;
use super::writers::{Flights, OwnWriter, Wait, WriterId};
use crate::carrier::{CarrierEnd, Carriers, Now};
use crate::error::{Misuse, StreamError};
use crate::event::{PrimaryEvent, StreamEvent};
use crate::ids::{ByteRange, CarrierId, SegmentId, StreamId};

#[derive(Default)]
pub(super) struct Segments {
    open: BTreeMap<SegmentId, Segment>,
    next: u64,
    /// Pieces of plans that were written and have not arrived.
    sent: BTreeMap<SegmentId, Piece>,
    /// What is on its way, of cursors too.
    pub(super) flights: Flights,
}

/// One open segment.
struct Segment {
    writer: OwnWriter,
    /// The piece of a plan that it is for.
    piece: Option<Piece>,
}

/// A piece of a plan that the primary itself writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) plan: PlanId,
    pub(super) stream: StreamId,
    pub(super) range: ByteRange,
    pub(super) dealt_at: Now,
}

impl Segments {
    fn add(&mut self, stream: StreamId, start: u64, piece: Option<Piece>) -> SegmentId {
        let segment = SegmentId(self.next);
        self.next += 1;
        let writer = OwnWriter::new(WriterId::Segment(segment), stream, start);
        self.open.insert(segment, Segment { writer, piece });
        segment
    }

    /// Opens a segment for a piece of a plan.
    pub(super) fn add_piece(&mut self, piece: Piece) -> SegmentId {
        self.add(piece.stream, piece.range.start(), Some(piece))
    }

    /// Pieces of a plan that the application is to write, or writes.
    pub(super) fn open_pieces(&self, plan: PlanId) -> usize {
        let pieces = self.open.values().filter_map(|segment| segment.piece);
        pieces.filter(|piece| piece.plan == plan).count()
    }

    /// Whether the primary has anything to do for plans.
    pub(super) fn has_pieces(&self) -> bool {
        !self.sent.is_empty() || self.open.values().any(|segment| segment.piece.is_some())
    }

    pub(super) fn opened_by_application(&self) -> usize {
        self.open
            .values()
            .filter(|segment| segment.piece.is_none())
            .count()
    }

    fn of_stream(&mut self, stream: StreamId) -> impl Iterator<Item = &mut OwnWriter> {
        let writers = self.open.values_mut().map(|segment| &mut segment.writer);
        writers.filter(move |writer| writer.stream() == stream)
    }

    pub(super) fn wake_credit(&mut self, stream: StreamId, credit: u64, desk: &mut Desk) {
        for writer in self
            .of_stream(stream)
            .filter_map(|w| w.wake_credit(credit).then_some(w.id()))
        {
            tell_writable(writer, desk);
        }
    }

    pub(super) fn reset_stream(
        &mut self,
        stream: StreamId,
        code: u64,
        carriers: &mut dyn Carriers,
    ) {
        let flights = &mut self.flights;
        for segment in self
            .open
            .values_mut()
            .filter(|s| s.writer.stream() == stream)
        {
            segment.writer.reset(code, flights, carriers);
        }
        self.forget_stream(stream);
    }

    pub(super) fn finish_stream(&mut self, stream: StreamId, carriers: &mut dyn Carriers) {
        let flights = &mut self.flights;
        for segment in self
            .open
            .values_mut()
            .filter(|s| s.writer.stream() == stream)
        {
            segment.writer.finish(flights, carriers);
        }
        self.forget_stream(stream);
    }

    fn forget_stream(&mut self, stream: StreamId) {
        self.open
            .retain(|_, segment| segment.writer.stream() != stream);
        self.sent.retain(|_, piece| piece.stream != stream);
    }
}

fn tell_writable(writer: WriterId, desk: &mut Desk) {
    match writer {
        WriterId::Cursor(stream) => desk.tell_stream(StreamEvent::Writable(stream)),
        WriterId::Segment(segment) => desk.tell(PrimaryEvent::SegmentWritable(segment)),
    }
}

// What the application asks.
impl PrimarySession {
    /// Opens a run of writes anywhere behind the plain end. It may enter what others were granted.
    pub(crate) fn open_segment_at(
        &mut self,
        _now: Now,
        stream: StreamId,
        offset: u64,
        carriers: &mut dyn Carriers,
    ) -> Result<SegmentId, StreamError> {
        self.desk.check_usable()?;
        self.streams.get(stream)?.send.check_open(stream)?;
        let bad = Misuse::BadRange(ByteRange::from(offset));
        let byte = ByteRange::with_len(offset, 1).ok_or_else(|| bad.clone())?;
        if self
            .streams
            .aggregated(stream)
            .is_some_and(|a| a.check_range(byte).is_err())
        {
            return Err(bad.into());
        }
        if offset < self.plain_end(stream)? {
            return Err(bad.into());
        }
        // Others could not be opened when the lowest hole needs one [SEG-7].
        if self.segments.opened_by_application() >= self.desk.config().segments_open_max {
            return Err(Misuse::Limit("open segments").into());
        }
        self.aggregate(stream, carriers);
        Ok(self.segments.add(stream, offset, None))
    }

    /// Writes behind what was written to the segment; returns how many bytes were taken off the
    /// front of `data`. If some are left, `PrimaryEvent::SegmentWritable` follows once it can go
    /// on. The segment of an `OwnRange` ends by itself with the last byte of the range.
    pub(crate) fn write_segment(
        &mut self,
        now: Now,
        segment: SegmentId,
        data: &mut Bytes,
        carriers: &mut dyn Carriers,
    ) -> Result<usize, StreamError> {
        self.desk.check_usable()?;
        let segment_max_bytes = self.desk.config().segment_max_bytes;
        let Segments { open, flights, .. } = &mut self.segments;
        let found = open
            .get_mut(&segment)
            .ok_or(Misuse::UnknownSegment(segment))?;
        let stream = found.writer.stream();
        let aggregated = self
            .streams
            .aggregated(stream)
            .ok_or(Misuse::UnknownSegment(segment))?;
        let range = check_data(found, aggregated, data.len())?;
        let border = found.piece.map(|piece| piece.range.end());
        let in_flight = flights.lowest(stream);
        let bounds = aggregated.bounds(range.start(), border, in_flight, segment_max_bytes);
        let before = data.len();
        let result = found.writer.write(data, bounds, flights, carriers);
        let taken = ByteRange::new(range.start(), found.writer.next()).unwrap_or(range);
        aggregated.coverage.settle(taken);
        match found.piece {
            None => self.plans.on_written_elsewhere(stream, taken),
            Some(piece) if piece.range.end() == taken.end() => {
                self.end_segment(now, segment, carriers);
            }
            Some(_) => {}
        }
        self.deal(now, carriers);
        match result {
            Ok(_) => Ok(before - data.len()),
            Err(CarrierEnd::Stopped(code)) => Err(StreamError::Stopped(code)),
            Err(CarrierEnd::Gone | CarrierEnd::Reset(_)) => Err(gone()),
        }
    }

    /// Ends a segment. Of an `OwnRange`, what is not written goes back to the plan. A segment that
    /// has ended already is left as it is.
    pub(crate) fn finish_segment(
        &mut self,
        now: Now,
        segment: SegmentId,
        carriers: &mut dyn Carriers,
    ) -> Result<(), StreamError> {
        self.desk.check_usable()?;
        if segment.0 >= self.segments.next {
            return Err(Misuse::UnknownSegment(segment).into());
        }
        self.end_segment(now, segment, carriers);
        self.deal(now, carriers);
        Ok(())
    }
}

/// The range that `data_bytes` more bytes of a segment would fill.
fn check_data(
    segment: &Segment,
    aggregated: &Aggregated,
    data_bytes: usize,
) -> Result<ByteRange, Misuse> {
    let start = segment.writer.next();
    let range = ByteRange::with_len(start, data_bytes as u64)
        .ok_or_else(|| Misuse::BadRange(ByteRange::from(start)))?;
    let end = match (&segment.piece, aggregated.finish) {
        (Some(piece), _) => Some(piece.range.end()),
        (None, Finish::Open) => None,
        (None, Finish::Wanted | Finish::Said(_)) => Some(aggregated.end()),
    };
    if end.is_some_and(|end| range.end() > end) {
        return Err(Misuse::BadRange(range));
    }
    Ok(range)
}

// What happens to the carriers of segments.
impl PrimarySession {
    pub(super) fn on_segment_writable(&mut self, carrier: CarrierId) {
        if let Some(flight) = self.segments.flights.get(carrier) {
            self.wake_writer(flight.writer, Wait::Room);
        }
    }

    /// All writers that found no carrier try again, the lowest byte first.
    pub(super) fn on_uni_credit(&mut self) {
        let cursors = self
            .streams
            .table
            .values_mut()
            .filter_map(|s| s.send.aggregated());
        let cursors = cursors.map(|aggregated| &mut aggregated.cursor);
        let segments = self
            .segments
            .open
            .values_mut()
            .map(|segment| &mut segment.writer);
        let mut woken: Vec<(u64, WriterId)> = cursors
            .chain(segments)
            .filter_map(|writer| {
                writer
                    .wake(Wait::Carrier)
                    .then(|| (writer.next(), writer.id()))
            })
            .collect();
        woken.sort_unstable();
        for (_, writer) in woken {
            tell_writable(writer, &mut self.desk);
        }
    }

    /// The client wants no more of one segment: it is owed a reset [SEG-13]. What else is wrong it
    /// tells with HOLE or with the end of the stream.
    pub(super) fn on_segment_stopped(
        &mut self,
        now: Now,
        carrier: CarrierId,
        code: u64,
        carriers: &mut dyn Carriers,
    ) {
        let flight = self.segments.flights.get(carrier);
        self.segments.flights.forget(carrier);
        carriers.reset(carrier, code);
        let Some(flight) = flight else { return };
        let writer = match flight.writer {
            WriterId::Cursor(stream) => self
                .streams
                .aggregated(stream)
                .map(|aggregated| &mut aggregated.cursor),
            WriterId::Segment(segment) => self
                .segments
                .open
                .get_mut(&segment)
                .map(|found| &mut found.writer),
        };
        if let Some(writer) = writer.filter(|writer| writer.carrier() == Some(carrier)) {
            writer.reset(code, &mut self.segments.flights, carriers);
            self.wake_writer(flight.writer, Wait::Room);
        }
        self.settle_piece(now, flight.writer);
    }

    /// All of a segment has arrived.
    pub(super) fn on_segment_finished(&mut self, now: Now, carrier: CarrierId) {
        let Some(flight) = self.segments.flights.get(carrier) else {
            return;
        };
        self.segments.flights.forget(carrier);
        self.settle_piece(now, flight.writer);
    }

    /// A piece of a plan is done when all of its segments have arrived: QUIC takes far more than it
    /// sends, and what waits in there is still to be done.
    fn settle_piece(&mut self, now: Now, writer: WriterId) {
        let WriterId::Segment(segment) = writer else {
            return;
        };
        if self.segments.flights.has_any_of(writer) {
            return;
        }
        if let Some(piece) = self.segments.sent.remove(&segment) {
            self.on_piece_done(now, &piece);
        }
    }

    fn wake_writer(&mut self, writer: WriterId, what: Wait) {
        let found = match writer {
            WriterId::Cursor(stream) => self
                .streams
                .aggregated(stream)
                .map(|aggregated| &mut aggregated.cursor),
            WriterId::Segment(segment) => self
                .segments
                .open
                .get_mut(&segment)
                .map(|found| &mut found.writer),
        };
        if found.is_some_and(|found| found.wake(what)) {
            tell_writable(writer, &mut self.desk);
        }
    }

    fn end_segment(&mut self, now: Now, id: SegmentId, carriers: &mut dyn Carriers) {
        let Some(mut segment) = self.segments.open.remove(&id) else {
            return;
        };
        segment.writer.finish(&mut self.segments.flights, carriers);
        let Some(piece) = segment.piece else {
            return;
        };
        let written_to = segment.writer.next();
        if written_to < piece.range.end() {
            self.on_piece_short(&piece, written_to);
        } else {
            self.segments.sent.insert(id, piece);
            self.plans.mark_stream(piece.stream);
            self.settle_piece(now, segment.writer.id());
        }
    }
}

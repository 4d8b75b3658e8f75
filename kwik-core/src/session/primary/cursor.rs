//! The sending half of streams: the one write cursor, aggregation, and where a stream ends.
//!
//! Owns the state of an aggregated stream at its primary. Never sees a path.

use bytes::{Buf, Bytes};

use super::PrimarySession;
use super::coverage::Coverage;
use super::streams::{Named, SendHalf, gone};
use super::writers::{OwnWriter, WriterId};
use crate::carrier::{CarrierEnd, Carriers, Now};
use crate::error::{Misuse, StreamError, Violation};
use crate::event::StreamEvent;
use crate::ids::{ByteRange, StreamId};
use crate::session::segment::SegmentBounds;
use crate::wire::{Aggregate, ControlFrame, FinalSize, MaxOffset};

/// The sending half of an aggregated stream.
pub(super) struct Aggregated {
    pub(super) cursor: OwnWriter,
    pub(super) coverage: Coverage,
    /// One past the last byte that may be written now; 0 until the client says the first.
    pub(super) credit: u64,
    /// Whether the last write at the cursor came up short.
    pub(super) is_unfinished: bool,
    pub(super) finish: Finish,
}

/// How far the end of an aggregated stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    /// The application has not asked for it.
    Open,
    /// It waits for the final status of draining and open grants [END-2].
    Wanted,
    /// FINAL_SIZE was sent.
    Said(u64),
}

impl Aggregated {
    fn new(stream: StreamId, plain_end: u64) -> Self {
        Self {
            cursor: OwnWriter::new(WriterId::Cursor(stream), stream, plain_end),
            coverage: Coverage::new(plain_end),
            credit: 0,
            is_unfinished: false,
            finish: Finish::Open,
        }
    }

    /// Where the stream ends, as far as is known.
    pub(super) fn end(&self) -> u64 {
        match self.finish {
            Finish::Said(size) => size,
            Finish::Open | Finish::Wanted => self.coverage.end(self.cursor.next()),
        }
    }

    /// Whether `range` may still be brought by somebody.
    pub(super) fn check_range(&self, range: ByteRange) -> Result<(), Misuse> {
        let is_past_end = self.finish != Finish::Open && range.end() > self.end();
        if range.is_empty() || range.start() < self.coverage.plain_end() || is_past_end {
            return Err(Misuse::BadRange(range));
        }
        Ok(())
    }

    /// What bounds a write of the primary at `start`. A segment ends at a `border`, behind which it
    /// will not go on.
    pub(super) fn bounds(
        &self,
        start: u64,
        border: Option<u64>,
        lowest_in_flight: Option<u64>,
        segment_max_bytes: u64,
    ) -> SegmentBounds {
        let owed = self.coverage.lowest_owed().into_iter();
        SegmentBounds {
            limit: border.map_or(self.credit, |border| border.min(self.credit)),
            segment_max_bytes,
            lowest: owed.chain(lowest_in_flight).fold(start, u64::min),
        }
    }
}

// What the application asks.
impl PrimarySession {
    /// Writes at the cursor; returns how many bytes were taken off the front of `data`. If some are
    /// left, `StreamEvent::Writable` follows once it can go on, and until all of them were taken
    /// the cursor cannot be moved; a call without data gives the rest up.
    pub(crate) fn write(
        &mut self,
        _now: Now,
        stream: StreamId,
        data: &mut Bytes,
        carriers: &mut dyn Carriers,
    ) -> Result<usize, StreamError> {
        self.desk.check_usable()?;
        self.check_appendable(stream)?;
        let found = self.streams.get(stream)?;
        if found.send.aggregated().is_some() {
            return self.write_at_cursor(stream, data, carriers);
        }
        found
            .write_plain(data, carriers)
            .map_err(|end| self.on_carrier_ended(stream, end, carriers))
    }

    /// Adds nothing to what was written, granted and planned; says where the stream ends once that
    /// is certain.
    pub(crate) fn finish(
        &mut self,
        _now: Now,
        stream: StreamId,
        carriers: &mut dyn Carriers,
    ) -> Result<(), StreamError> {
        self.desk.check_usable()?;
        self.check_appendable(stream)?;
        let draining = self.grants.draining(stream);
        let found = self.streams.get(stream)?;
        let Some(aggregated) = found.send.aggregated() else {
            return found
                .finish_carrier(carriers)
                .map_err(|end| self.on_carrier_ended(stream, end, carriers));
        };
        if let Some(range) = aggregated
            .coverage
            .uncovered(aggregated.cursor.next(), &draining)
        {
            return Err(Misuse::RangeUncovered(range).into());
        }
        aggregated.finish = Finish::Wanted;
        aggregated.is_unfinished = false;
        aggregated
            .cursor
            .finish(&mut self.segments.flights, carriers);
        self.say_final_size(stream, carriers);
        Ok(())
    }

    /// Moves the cursor.
    pub(crate) fn set_offset(
        &mut self,
        _now: Now,
        stream: StreamId,
        offset: u64,
        carriers: &mut dyn Carriers,
    ) -> Result<(), StreamError> {
        self.desk.check_usable()?;
        self.check_appendable(stream)?;
        self.check_cursor_moves(stream)?;
        let bad = Misuse::BadRange(ByteRange::from(offset));
        let byte = ByteRange::with_len(offset, 1).ok_or_else(|| bad.clone())?;
        if offset < self.plain_end(stream)? {
            return Err(bad.into());
        }
        if self
            .streams
            .aggregated(stream)
            .is_some_and(|a| a.coverage.is_taken(byte))
        {
            return Err(Misuse::RangeTaken(byte).into());
        }
        self.aggregate(stream, carriers);
        self.move_cursor(stream, offset, carriers);
        Ok(())
    }
}

// What the rest of the session asks.
impl PrimarySession {
    /// Whether more may be added to the end of the stream.
    pub(super) fn check_appendable(&mut self, stream: StreamId) -> Result<(), StreamError> {
        let found = self.streams.get(stream)?;
        found.send.check_open(stream)?;
        match found.send.aggregated().map(|aggregated| aggregated.finish) {
            Some(Finish::Wanted | Finish::Said(_)) => Err(Misuse::Finished(stream).into()),
            Some(Finish::Open) | None => Ok(()),
        }
    }

    /// The rest of an unfinished write would land behind the new place of the cursor.
    pub(super) fn check_cursor_moves(&mut self, stream: StreamId) -> Result<(), Misuse> {
        let is_unfinished = match &self.streams.get(stream)?.send {
            SendHalf::Plain(plain) => plain.is_unfinished,
            SendHalf::Aggregated(aggregated) => aggregated.is_unfinished,
            SendHalf::Finishing | SendHalf::Ended { .. } => false,
        };
        if is_unfinished {
            Err(Misuse::WriteUnfinished(stream))
        } else {
            Ok(())
        }
    }

    /// Where segments of the stream begin, or would begin now.
    pub(super) fn plain_end(&mut self, stream: StreamId) -> Result<u64, Misuse> {
        match &self.streams.get(stream)?.send {
            SendHalf::Plain(plain) => Ok(plain.accepted),
            SendHalf::Aggregated(aggregated) => Ok(aggregated.coverage.plain_end()),
            SendHalf::Finishing | SendHalf::Ended { .. } => Err(Misuse::Finished(stream)),
        }
    }

    /// Where the next byte of a plain `write` goes.
    pub(super) fn cursor(&mut self, stream: StreamId) -> Result<u64, Misuse> {
        match self.streams.aggregated(stream) {
            Some(aggregated) => Ok(aggregated.cursor.next()),
            None => self.plain_end(stream),
        }
    }

    pub(super) fn move_cursor(
        &mut self,
        stream: StreamId,
        offset: u64,
        carriers: &mut dyn Carriers,
    ) {
        if let Some(aggregated) = self.streams.aggregated(stream) {
            aggregated
                .cursor
                .move_to(offset, &mut self.segments.flights, carriers);
        }
    }

    /// From now on new bytes of the stream travel in segments [AGG-1], unless it has ended [AGG-3].
    pub(super) fn aggregate(&mut self, stream: StreamId, carriers: &mut dyn Carriers) {
        let Ok(found) = self.streams.get(stream) else {
            return;
        };
        let SendHalf::Plain(plain) = &found.send else {
            return;
        };
        let (plain_end, is_unfinished) = (plain.accepted, plain.is_unfinished);
        let mut aggregated = Aggregated::new(stream, plain_end);
        aggregated.is_unfinished = is_unfinished;
        found.send = SendHalf::Aggregated(Box::new(aggregated));
        if is_unfinished {
            // The plain carrier will not tell any more; the rest goes on at the cursor.
            self.desk.tell_stream(StreamEvent::Writable(stream));
        }
        tracing::debug!(session = %self.desk.session, %stream, plain_end, "stream aggregated");
        let frame = Aggregate {
            stream,
            plain_end,
            final_size: None,
        };
        self.desk.send(&ControlFrame::Aggregate(frame), carriers);
    }

    /// Says where the stream ends, if that is wanted and certain.
    pub(super) fn say_final_size(&mut self, stream: StreamId, carriers: &mut dyn Carriers) {
        let is_undecided = self.grants.is_undecided(stream);
        let Some(aggregated) = self.streams.aggregated(stream) else {
            return;
        };
        if aggregated.finish != Finish::Wanted || is_undecided {
            return;
        }
        let size = aggregated.end();
        aggregated.finish = Finish::Said(size);
        tracing::debug!(session = %self.desk.session, %stream, size, "final size");
        self.desk.send(
            &ControlFrame::FinalSize(FinalSize { stream, size }),
            carriers,
        );
    }

    pub(super) fn on_max_offset(&mut self, frame: &MaxOffset) -> Result<(), Violation> {
        let stream = frame.stream;
        let aggregated = match self.streams.named(stream)? {
            Named::Stream(found) => match &mut found.send {
                SendHalf::Aggregated(aggregated) => aggregated,
                SendHalf::Plain(_) => {
                    return Err(Violation::Unexpected("credit for a plain stream"));
                }
                SendHalf::Finishing | SendHalf::Ended { .. } => return Ok(()),
            },
            Named::Gone => return Ok(()),
        };
        aggregated.credit = aggregated.credit.max(frame.offset);
        let credit = aggregated.credit;
        if aggregated.cursor.wake_credit(credit) {
            self.desk.tell_stream(StreamEvent::Writable(stream));
        }
        self.segments.wake_credit(stream, credit, &mut self.desk);
        self.plans.mark_stream(stream);
        Ok(())
    }

    /// The client has every byte: the rest is housekeeping.
    pub(super) fn on_stream_done(
        &mut self,
        stream: StreamId,
        carriers: &mut dyn Carriers,
    ) -> Result<(), Violation> {
        let found = match self.streams.named(stream)? {
            Named::Stream(found) => found,
            Named::Gone => return Ok(()),
        };
        match &mut found.send {
            SendHalf::Aggregated(aggregated) if matches!(aggregated.finish, Finish::Said(_)) => {}
            SendHalf::Aggregated(_) | SendHalf::Plain(_) => {
                return Err(Violation::Unexpected(
                    "end of a stream whose size was not said",
                ));
            }
            SendHalf::Finishing | SendHalf::Ended { .. } => return Ok(()),
        }
        tracing::debug!(session = %self.desk.session, %stream, "stream done");
        let result = found.finish_carrier(carriers);
        self.segments.finish_stream(stream, carriers);
        self.plans.forget_stream(stream);
        if let Err(end) = result {
            self.on_carrier_ended(stream, end, carriers);
        }
        Ok(())
    }

    /// The carrier of a stream takes nothing any more.
    fn on_carrier_ended(
        &mut self,
        stream: StreamId,
        end: CarrierEnd,
        carriers: &mut dyn Carriers,
    ) -> StreamError {
        match end {
            CarrierEnd::Stopped(code) => {
                self.on_stream_stopped(stream, code, carriers);
                StreamError::Stopped(code)
            }
            CarrierEnd::Gone | CarrierEnd::Reset(_) => gone(),
        }
    }

    fn write_at_cursor(
        &mut self,
        stream: StreamId,
        data: &mut Bytes,
        carriers: &mut dyn Carriers,
    ) -> Result<usize, StreamError> {
        let segment_max_bytes = self.desk.config().segment_max_bytes;
        let aggregated = self
            .streams
            .aggregated(stream)
            .ok_or(Misuse::UnknownStream(stream))?;
        let cursor = aggregated.cursor.next();
        let wanted = ByteRange::with_len(cursor, data.len() as u64)
            .ok_or_else(|| Misuse::BadRange(ByteRange::from(cursor)))?;
        // Who writes into a granted range by accident writes other bytes there [OVL-1].
        let free = aggregated.coverage.free_bytes(wanted);
        if free == 0 && !data.is_empty() {
            return Err(Misuse::RangeTaken(wanted).into());
        }
        let border = (free < wanted.len()).then(|| cursor.saturating_add(free));
        let in_flight = self.segments.flights.lowest(stream);
        let bounds = aggregated.bounds(cursor, border, in_flight, segment_max_bytes);
        let take = usize::try_from(free).unwrap_or(usize::MAX).min(data.len());
        let mut part = data.slice(..take);
        let result =
            aggregated
                .cursor
                .write(&mut part, bounds, &mut self.segments.flights, carriers);
        let taken = ByteRange::new(cursor, aggregated.cursor.next()).unwrap_or(wanted);
        aggregated.coverage.settle(taken);
        data.advance(take - part.len());
        // At a border the write has ended: what is behind it is another's.
        let is_at_border = part.is_empty() && !data.is_empty();
        aggregated.is_unfinished = !data.is_empty() && !is_at_border;
        if is_at_border {
            self.desk.tell_stream(StreamEvent::Writable(stream));
        }
        match result {
            Ok(_) => Ok(take - part.len()),
            Err(CarrierEnd::Stopped(code)) => Err(StreamError::Stopped(code)),
            Err(CarrierEnd::Gone | CarrierEnd::Reset(_)) => Err(gone()),
        }
    }
}

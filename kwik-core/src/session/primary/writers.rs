//! What the primary itself writes of aggregated streams.
//!
//! Owns the segment writers' state of waiting, and which bytes went into which carrier until QUIC
//! says that they have arrived. Never sees a grant or a plan.

use std::collections::BTreeMap;

use bytes::{Buf, Bytes};

use crate::carrier::{CarrierEnd, Carriers};
use crate::ids::{ByteRange, CarrierId, SegmentId, StreamId};
use crate::ranges::RangeSet;
use crate::session::segment::{SegmentBounds, SegmentWrite, SegmentWriter};
use crate::wire::SegmentOwner;

/// Names a writer of the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum WriterId {
    /// The write cursor of a stream.
    Cursor(StreamId),
    /// A segment of the application.
    Segment(SegmentId),
}

/// Why the last write came up short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// It did not.
    Nothing,
    /// MAX_OFFSET has to move.
    Credit,
    /// QUIC lets no carrier be opened.
    Carrier,
    /// QUIC takes no more.
    Room,
}

/// One writer: a run of bytes of one stream.
pub(super) struct OwnWriter {
    id: WriterId,
    stream: StreamId,
    segments: SegmentWriter,
    wait: Wait,
}

impl OwnWriter {
    pub(super) fn new(id: WriterId, stream: StreamId, start: u64) -> Self {
        Self {
            id,
            stream,
            segments: SegmentWriter::new(SegmentOwner::Primary(stream), start),
            wait: Wait::Nothing,
        }
    }

    pub(super) fn id(&self) -> WriterId {
        self.id
    }

    /// The carrier that is open.
    pub(super) fn carrier(&self) -> Option<CarrierId> {
        self.segments.carrier()
    }

    pub(super) fn stream(&self) -> StreamId {
        self.stream
    }

    /// The offset of the next byte.
    pub(super) fn next(&self) -> u64 {
        self.segments.next()
    }

    /// Takes bytes off the front of `data`; returns what was taken, as a range of the stream.
    pub(super) fn write(
        &mut self,
        data: &mut Bytes,
        bounds: SegmentBounds,
        flights: &mut Flights,
        carriers: &mut dyn Carriers,
    ) -> Result<ByteRange, CarrierEnd> {
        let start = self.next();
        self.wait = Wait::Nothing;
        while !data.is_empty() && self.wait == Wait::Nothing {
            // One carrier at a time, to know what went where.
            let before = self.next();
            let room = usize::try_from(self.segments.room(bounds)).unwrap_or(usize::MAX);
            let mut part = data.slice(..room.min(data.len()));
            let result = self.segments.write(&mut part, bounds, carriers);
            let taken = span(before, self.next());
            let used = self.segments.last_carrier().filter(|_| !taken.is_empty());
            if let Some(carrier) = self.segments.carrier().or(used) {
                flights.add(carrier, self.id, self.stream, taken);
            }
            data.advance(
                usize::try_from(taken.len())
                    .unwrap_or(usize::MAX)
                    .min(data.len()),
            );
            self.wait = match result {
                Ok(SegmentWrite::Done) => Wait::Nothing,
                Ok(SegmentWrite::NoCredit) => Wait::Credit,
                Ok(SegmentWrite::NoCarrier) => Wait::Carrier,
                Ok(SegmentWrite::Full(_)) => Wait::Room,
                Err(end) => {
                    if let Some(carrier) = self.segments.last_carrier() {
                        flights.forget(carrier);
                    }
                    return Err(end);
                }
            };
        }
        Ok(span(start, self.next()))
    }

    /// Whether the last write waited for `what`; it does not any more.
    pub(super) fn wake(&mut self, what: Wait) -> bool {
        let woken = self.wait == what;
        if woken {
            self.wait = Wait::Nothing;
        }
        woken
    }

    /// Whether the last write waited for credit and `credit` is enough to go on.
    pub(super) fn wake_credit(&mut self, credit: u64) -> bool {
        self.next() < credit && self.wake(Wait::Credit)
    }

    pub(super) fn finish(&mut self, flights: &mut Flights, carriers: &mut dyn Carriers) {
        if let Some(carrier) = self.segments.carrier() {
            self.segments.finish(carriers);
            flights.forget_if_empty(carrier);
        }
    }

    pub(super) fn reset(&mut self, code: u64, flights: &mut Flights, carriers: &mut dyn Carriers) {
        if let Some(carrier) = self.segments.carrier() {
            flights.forget(carrier);
            self.segments.reset(code, carriers);
        }
    }

    /// Ends what was written and goes on at `offset`.
    pub(super) fn move_to(
        &mut self,
        offset: u64,
        flights: &mut Flights,
        carriers: &mut dyn Carriers,
    ) {
        if offset != self.next() {
            self.finish(flights, carriers);
            self.segments = SegmentWriter::new(SegmentOwner::Primary(self.stream), offset);
            self.wait = Wait::Nothing;
        }
    }
}

/// Bytes that were handed to QUIC and have not been acknowledged.
#[derive(Default)]
pub(super) struct Flights {
    by_carrier: BTreeMap<CarrierId, Flight>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    pub(super) writer: WriterId,
    pub(super) stream: StreamId,
    pub(super) range: ByteRange,
}

impl Flights {
    /// `range` went into `carrier`, right behind what went there before.
    fn add(&mut self, carrier: CarrierId, writer: WriterId, stream: StreamId, range: ByteRange) {
        self.by_carrier
            .entry(carrier)
            .and_modify(|flight| flight.range = span(flight.range.start(), range.end()))
            .or_insert(Flight {
                writer,
                stream,
                range,
            });
    }

    pub(super) fn get(&self, carrier: CarrierId) -> Option<Flight> {
        self.by_carrier.get(&carrier).copied()
    }

    pub(super) fn forget(&mut self, carrier: CarrierId) {
        self.by_carrier.remove(&carrier);
    }

    /// A carrier that was finished or reset before a byte went into it is not told of again.
    fn forget_if_empty(&mut self, carrier: CarrierId) {
        if self
            .get(carrier)
            .is_some_and(|flight| flight.range.is_empty())
        {
            self.forget(carrier);
        }
    }

    /// The lowest byte of `stream` that is on its way.
    pub(super) fn lowest(&self, stream: StreamId) -> Option<u64> {
        let flights = self.by_carrier.values();
        let starts = flights
            .filter(|flight| flight.stream == stream)
            .map(|f| f.range.start());
        starts.min()
    }

    /// Whether something that `writer` wrote is on its way.
    pub(super) fn has_any_of(&self, writer: WriterId) -> bool {
        self.by_carrier
            .values()
            .any(|flight| flight.writer == writer)
    }

    /// Bytes of `stream` that are on their way.
    pub(super) fn of_stream(&self, stream: StreamId) -> RangeSet {
        let flights = self.by_carrier.values();
        flights
            .filter(|flight| flight.stream == stream)
            .map(|flight| flight.range)
            .collect()
    }
}

/// `[start, end)` of a writer, whose offsets only grow.
fn span(start: u64, end: u64) -> ByteRange {
    ByteRange::new(start, end).unwrap_or_else(|| ByteRange::from(start))
}

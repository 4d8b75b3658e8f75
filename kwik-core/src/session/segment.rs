//! How a server writes an aggregated stream: into segments.
//!
//! Owns one run of consecutive bytes and the carrier that is open for it. A carrier is opened only
//! when its first byte has credit and is finished where the credit ends, so that every open carrier
//! can always be finished and none holds carrier credit that a lower range needs [SEG-4].
//! Never sees who granted the range.

use bytes::Bytes;

use crate::carrier::{CarrierEnd, Carriers};
use crate::error::code;
use crate::ids::{CarrierId, PathId};
use crate::wire::{SegmentHeader, SegmentOwner};

/// A run of writes.
pub(crate) struct SegmentWriter {
    owner: SegmentOwner,
    /// The stream offset of the next byte.
    next: u64,
    open: Option<OpenSegment>,
    /// The carrier that was opened last.
    last: Option<CarrierId>,
}

/// The carrier that is open.
struct OpenSegment {
    carrier: CarrierId,
    /// The part of the header that QUIC has not taken yet.
    header: Bytes,
    /// Where this segment ends at the latest [SEG-10].
    end: u64,
}

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentWrite {
    /// All bytes were taken.
    Done,
    /// The next byte has no credit: more follows MAX_OFFSET.
    NoCredit,
    /// No carrier can be opened: `Input::UniCredit` follows.
    NoCarrier,
    /// QUIC takes no more: `Input::Writable` of this carrier follows.
    Full(CarrierId),
}

/// What bounds a write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SegmentBounds {
    /// One past the last byte that may be written now.
    pub(crate) limit: u64,
    /// Bytes of one segment.
    pub(crate) segment_max_bytes: u64,
    /// The lowest byte of the stream that is still to be brought: far segments give way to near
    /// ones, in steps of 1 MiB [SEG-6].
    pub(crate) lowest: u64,
}

impl SegmentWriter {
    pub(crate) fn new(owner: SegmentOwner, start: u64) -> Self {
        Self {
            owner,
            next: start,
            open: None,
            last: None,
        }
    }

    /// The offset of the next byte.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// The carrier that is open.
    pub(crate) fn carrier(&self) -> Option<CarrierId> {
        self.open.as_ref().map(|open| open.carrier)
    }

    /// The carrier that took the last byte written, open or not.
    pub(crate) fn last_carrier(&self) -> Option<CarrierId> {
        self.last
    }

    /// How many bytes the open segment still takes, or a new one would.
    pub(crate) fn room(&self, bounds: SegmentBounds) -> u64 {
        self.open
            .as_ref()
            .map_or(bounds.segment_max_bytes, |open| open.end - self.next)
    }

    /// Takes bytes off the front of `data`, in as many segments as it needs.
    ///
    /// # Errors
    ///
    /// The client stopped the segment, or the connection is gone. A stopped carrier has been reset.
    pub(crate) fn write(
        &mut self,
        data: &mut Bytes,
        bounds: SegmentBounds,
        carriers: &mut dyn Carriers,
    ) -> Result<SegmentWrite, CarrierEnd> {
        while !data.is_empty() {
            if self.next >= bounds.limit {
                self.finish(carriers);
                return Ok(SegmentWrite::NoCredit);
            }
            if self.open.is_none() && !self.open_carrier(bounds, carriers)? {
                return Ok(SegmentWrite::NoCarrier);
            }
            if let Some(full) = self.push(data, bounds.limit, carriers)? {
                return Ok(SegmentWrite::Full(full));
            }
        }
        // Behind the last byte that has credit, the carrier would only hold carrier credit.
        if self.next >= bounds.limit {
            self.finish(carriers);
        }
        Ok(SegmentWrite::Done)
    }

    /// Ends the open segment behind what was written, which may fill holes [SEG-9]. One whose
    /// header is incomplete is reset: it says nothing yet [SEG-8].
    pub(crate) fn finish(&mut self, carriers: &mut dyn Carriers) {
        let Some(open) = self.open.take() else { return };
        if open.header.is_empty() {
            if let Err(CarrierEnd::Stopped(code)) = carriers.finish(open.carrier) {
                carriers.reset(open.carrier, code);
            }
        } else {
            carriers.reset(open.carrier, code::ENDED);
        }
    }

    /// Gives up the open segment: the client stopped it, or the stream was reset.
    pub(crate) fn reset(&mut self, code: u64, carriers: &mut dyn Carriers) {
        if let Some(open) = self.open.take() {
            carriers.reset(open.carrier, code);
        }
    }

    fn open_carrier(
        &mut self,
        bounds: SegmentBounds,
        carriers: &mut dyn Carriers,
    ) -> Result<bool, CarrierEnd> {
        let Some(carrier) = carriers.open_uni(PathId::PRIMARY)? else {
            return Ok(false);
        };
        let steps = self.next.saturating_sub(bounds.lowest) >> 20;
        carriers.set_priority(carrier, -i32::try_from(steps).unwrap_or(i32::MAX));
        let header = SegmentHeader {
            owner: self.owner,
            offset: self.next,
        }
        .encode();
        self.last = Some(carrier);
        self.open = Some(OpenSegment {
            carrier,
            header: Bytes::copy_from_slice(&header),
            end: self.next.saturating_add(bounds.segment_max_bytes),
        });
        Ok(true)
    }

    /// Writes into the open carrier; the carrier if QUIC takes no more.
    fn push(
        &mut self,
        data: &mut Bytes,
        limit: u64,
        carriers: &mut dyn Carriers,
    ) -> Result<Option<CarrierId>, CarrierEnd> {
        let Some(open) = self.open.as_mut() else {
            return Ok(None);
        };
        let carrier = open.carrier;
        let room = open.end.min(limit).saturating_sub(self.next);
        let take = usize::try_from(room).unwrap_or(usize::MAX).min(data.len());
        let mut part = data.slice(..take);
        let written = carriers.write(carrier, &mut open.header).and_then(|_| {
            if open.header.is_empty() {
                carriers.write(carrier, &mut part)
            } else {
                Ok(0)
            }
        });
        let written = match written {
            Ok(written) => written,
            Err(end) => {
                self.reset(code::ENDED, carriers);
                return Err(end);
            }
        };
        let full = !open.header.is_empty() || !part.is_empty();
        self.next += written as u64;
        let segment_ended = self.next == open.end;
        bytes::Buf::advance(data, written);
        if segment_ended {
            self.finish(carriers);
        }
        Ok(full.then_some(carrier))
    }
}

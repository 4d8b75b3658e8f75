//! What is honest about a hostile secondary: it fills its grants.
//!
//! Owns the grants that it fills, and its credit. Keeps the rules of `protocol.md` §6 and §7 that a
//! secondary has to keep.

use std::collections::BTreeMap;

use bytes::{Buf, Bytes};
use kwik_core::ids::{ByteRange, GrantId, StreamId};
use kwik_core::wire::{
    ControlFrame, Extent, Grant, GrantDone, MaxOffset, Revoke, SegmentHeader, SegmentOwner,
};

use crate::content::Content;
use crate::raw::{Carrier, End, Line};

/// Bytes of one segment.
const SEGMENT_BYTES: u64 = 1 << 20;

/// Bytes that are written into an open grant.
const OPEN_BYTES: u64 = 64 << 10;

/// Bytes made at a time.
const CHUNK_BYTES: u64 = 32 << 10;

/// The grants that are being filled.
pub(super) struct Writer {
    content: Content,
    works: BTreeMap<GrantId, Work>,
    credit: BTreeMap<StreamId, u64>,
}

/// A grant that is being filled.
struct Work {
    stream: StreamId,
    start: u64,
    /// The next byte to be made.
    next: u64,
    end: u64,
    /// What was made and not taken.
    pending: Bytes,
    open: Option<(Carrier, u64)>,
}

impl Writer {
    pub(super) fn new(content: Content) -> Self {
        Self {
            content,
            works: BTreeMap::new(),
            credit: BTreeMap::new(),
        }
    }

    /// A grant came, and with it credit.
    pub(super) fn note(&mut self, grant: &Grant) {
        let credit = self.credit.entry(grant.stream).or_default();
        *credit = (*credit).max(grant.max_offset);
    }

    /// Fills a grant; an open one briefly.
    pub(super) fn fill(&mut self, line: &mut Line<'_>, grant: &Grant) {
        let (start, end) = match grant.extent {
            Extent::Fixed(range) => (range.start(), range.end()),
            Extent::Open { start } => (start, start + OPEN_BYTES),
        };
        let work = Work {
            stream: grant.stream,
            start,
            next: start,
            end,
            pending: Bytes::new(),
            open: None,
        };
        self.works.insert(grant.grant, work);
        self.pump(line);
    }

    /// One past the last byte of a stream that may be written.
    pub(super) fn credit(&self, stream: StreamId) -> u64 {
        self.credit.get(&stream).copied().unwrap_or(0)
    }

    /// Bytes of a stream, as they should be.
    pub(super) fn bytes(&self, stream: StreamId, offset: u64, len: usize) -> Bytes {
        self.content.make(stream.0, offset, len)
    }

    pub(super) fn on_max_offset(&mut self, line: &mut Line<'_>, frame: &MaxOffset) {
        let credit = self.credit.entry(frame.stream).or_default();
        *credit = (*credit).max(frame.offset);
        self.pump(line);
    }

    pub(super) fn on_revoke(&mut self, line: &mut Line<'_>, frame: &Revoke) {
        if let Some(work) = self.works.get_mut(&frame.grant) {
            // What was made already may go: it fills holes.
            work.end = work.end.min(frame.end.max(work.next));
        }
        self.pump(line);
    }

    /// Writes on, as far as there is room.
    pub(super) fn pump(&mut self, line: &mut Line<'_>) {
        let grants: Vec<_> = self.works.keys().copied().collect();
        for grant in grants {
            let Some(work) = self.works.get_mut(&grant) else {
                continue;
            };
            let credit = self.credit.get(&work.stream).copied().unwrap_or(0);
            if !work.pump(line, self.content, grant, credit) {
                continue;
            }
            let written = ByteRange::new(work.start, work.next);
            let written = written.filter(|range| !range.is_empty());
            self.works.remove(&grant);
            line.send(&ControlFrame::GrantDone(GrantDone {
                grant,
                written: written.into_iter().collect(),
                more: false,
            }));
        }
    }
}

impl Work {
    /// Writes on; whether it is at its end.
    fn pump(&mut self, line: &mut Line<'_>, content: Content, grant: GrantId, credit: u64) -> bool {
        loop {
            if let Some((carrier, _)) = self.open
                && !self.pending.is_empty()
            {
                let Some(taken) = line.write(carrier, &self.pending) else {
                    // Nobody wants it.
                    line.end(carrier, End::Reset);
                    return true;
                };
                self.pending.advance(taken);
                if !self.pending.is_empty() {
                    return false;
                }
            }
            let limit = self.end.min(credit);
            let segment_end = self.open.map_or(limit, |(_, end)| end.min(limit));
            if self.next >= segment_end {
                if let Some((carrier, _)) = self.open.take() {
                    line.end(carrier, End::Finish);
                }
                if self.next >= limit {
                    return self.next >= self.end;
                }
            }
            let Some(end) = self.segment(line, grant) else {
                return false;
            };
            let len = end.min(limit).saturating_sub(self.next).min(CHUNK_BYTES);
            let bytes = content.make(self.stream.0, self.next, to_usize(len));
            self.pending = [&self.pending[..], &bytes[..]].concat().into();
            self.next += len;
        }
    }

    /// Where the open segment ends at the latest. One is opened if there is none, and credit for it.
    fn segment(&mut self, line: &mut Line<'_>, grant: GrantId) -> Option<u64> {
        if let Some((_, end)) = self.open {
            return Some(end);
        }
        let carrier = line.open()?;
        let header = SegmentHeader {
            owner: SegmentOwner::Grant(grant),
            offset: self.next,
        };
        self.pending = Bytes::copy_from_slice(&header.encode());
        let end = self.next + SEGMENT_BYTES;
        self.open = Some((carrier, end));
        Some(end)
    }
}

pub(super) fn to_usize(len: u64) -> usize {
    usize::try_from(len).expect("a length of bytes in memory")
}

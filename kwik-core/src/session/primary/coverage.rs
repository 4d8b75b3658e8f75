//! Who brings which bytes of one aggregated stream.
//!
//! Owns the judgement whether a range is free, spoken for or settled, and so where the stream ends.
//! Never sees who was granted what, a carrier or a frame.

use crate::ids::ByteRange;
use crate::ranges::RangeSet;

/// The bytes behind the plain end of one stream.
#[derive(Debug)]
pub(super) struct Coverage {
    plain_end: u64,
    /// Handed to QUIC by the primary itself, or reported present.
    settled: RangeSet,
    /// Ranges of live grants, of plans too. An open grant reaches to the end of all offsets.
    granted: RangeSet,
    /// Bytes of plans that are not settled, granted or not.
    planned: RangeSet,
    /// One past the highest byte that was ever settled.
    highest: u64,
}

impl Coverage {
    pub(super) fn new(plain_end: u64) -> Self {
        Self {
            plain_end,
            settled: RangeSet::new(),
            granted: RangeSet::new(),
            planned: RangeSet::new(),
            highest: plain_end,
        }
    }

    pub(super) fn plain_end(&self) -> u64 {
        self.plain_end
    }

    /// Whether somebody else is to write a byte of `range`.
    pub(super) fn is_taken(&self, range: ByteRange) -> bool {
        self.granted.overlaps(range) || self.planned.overlaps(range)
    }

    /// How many bytes at the beginning of `range` nobody else is to write.
    pub(super) fn free_bytes(&self, range: ByteRange) -> u64 {
        let border = |set: &RangeSet| {
            let first = set.within(range).first();
            first.map_or_else(|| range.end(), ByteRange::start)
        };
        border(&self.granted).min(border(&self.planned)) - range.start()
    }

    /// The lowest byte that somebody else is to bring.
    pub(super) fn lowest_owed(&self) -> Option<u64> {
        let first = |set: &RangeSet| set.first().map(ByteRange::start);
        first(&self.granted)
            .into_iter()
            .chain(first(&self.planned))
            .min()
    }

    pub(super) fn grant(&mut self, range: ByteRange) {
        self.granted.insert(range);
    }

    pub(super) fn release(&mut self, range: ByteRange) {
        self.granted.remove(range);
    }

    pub(super) fn plan(&mut self, range: ByteRange) {
        self.planned.insert(range);
    }

    pub(super) fn unplan(&mut self, ranges: &RangeSet) {
        self.planned.remove_all(ranges);
    }

    pub(super) fn settle(&mut self, range: ByteRange) {
        if !range.is_empty() {
            self.settled.insert(range);
            self.planned.remove(range);
            self.highest = self.highest.max(range.end());
        }
    }

    /// The client threw these bytes away.
    pub(super) fn unsettle(&mut self, ranges: &RangeSet) {
        self.settled.remove_all(ranges);
    }

    /// What of `missing` nobody else brings already [GRANT-13].
    pub(super) fn not_coming(&self, missing: &RangeSet) -> RangeSet {
        let mut rest = missing.clone();
        for range in missing.iter() {
            rest.remove_all(&self.granted.within(range));
            rest.remove_all(&self.settled.within(range));
        }
        rest
    }

    /// What of `reported` is owed by nobody, although the stream reaches there.
    pub(super) fn orphaned(&self, reported: &RangeSet, cursor: u64) -> RangeSet {
        let mut rest = RangeSet::new();
        let Some(known) = ByteRange::new(self.plain_end, self.end(cursor)) else {
            return rest;
        };
        rest.insert_all(&reported.within(known));
        for range in reported.iter() {
            rest.remove_all(&self.granted.within(range));
            rest.remove_all(&self.planned.within(range));
        }
        rest
    }

    /// Where the stream would end [END-2].
    pub(super) fn end(&self, cursor: u64) -> u64 {
        let last = |set: &RangeSet| set.last().map_or(0, ByteRange::end);
        cursor
            .max(self.highest)
            .max(last(&self.granted))
            .max(last(&self.planned))
    }

    /// The lowest range that nobody wrote or is to write, below the end [END-2]. `draining` may
    /// still come.
    pub(super) fn uncovered(&self, cursor: u64, draining: &RangeSet) -> Option<ByteRange> {
        let whole = ByteRange::new(self.plain_end, self.end(cursor))?;
        let mut rest = self.settled.missing_in(whole);
        rest.remove_all(&self.granted);
        rest.remove_all(&self.planned);
        rest.remove_all(draining);
        rest.first()
    }
}

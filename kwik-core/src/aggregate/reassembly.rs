//! Puts the bytes of one stream into order, from many sources.
//!
//! Owns the received ranges, the read cursor, and the choice between differing copies. Never sees
//! the end of the stream, grants or credit.

use bytes::Bytes;

use super::Source;
use super::blocks::{BLOCK_BYTES, Blocks, span};
use super::evidence::Evidence;
use crate::config::Overlap;
use crate::ids::{ByteRange, PathId};
use crate::ranges::RangeSet;

/// What a [`Reassembly`] may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// What is done with a second copy of bytes that are still buffered.
    pub overlap: Overlap,
    /// Disjoint ranges beyond the contiguous front.
    pub ranges_max: usize,
}

/// Why bytes were not taken. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InsertError {
    /// They would be one disjoint range too many.
    #[error("too many disjoint ranges")]
    TooManyRanges,
    /// They would lie beyond the largest offset.
    #[error("bytes beyond the largest offset")]
    BeyondLimit,
}

/// What became of a chunk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inserted {
    /// Bytes that were not there before and are now.
    pub new_bytes: u64,
    /// Bytes that had been received before, whether they differ or not.
    pub duplicate_bytes: u64,
    /// Duplicate bytes that differ from the buffered ones.
    pub conflict_bytes: u64,
    /// From the first to the last byte that differs.
    pub conflict: Option<ByteRange>,
    /// Whether bytes differ from what the primary itself wrote: then it is the secondary that is
    /// wrong. Not told under [`Overlap::FirstWins`].
    pub primary_differs: bool,
    /// Secondaries whose bytes were here and differ from the primary's, which came now: they are
    /// wrong. Told only under [`Overlap::Reject`].
    pub refuted: Vec<PathId>,
    /// Bytes that both copies lost ([`Overlap::Reject`]): they are missing, and have to come again.
    pub reopened: RangeSet,
}

/// The bytes of one stream beyond its read cursor.
///
/// Memory in use ([`Self::pinned_bytes`]) is at most 1.2 times [`Self::buffered_bytes`] plus a
/// constant that depends on [`Limits::ranges_max`] alone, however the bytes were cut: chunks are
/// copied, so that none of QUIC's buffers is held.
///
/// - `received` has no byte below the cursor missing.
/// - The blocks hold exactly what is received and not read.
/// - `vouched` is empty under [`Overlap::FirstWins`].
#[derive(Debug)]
pub struct Reassembly {
    limits: Limits,
    cursor: u64,
    /// All bytes received so far, those that were read included.
    received: RangeSet,
    /// Unread bytes that the primary wrote, or confirmed by an equal copy.
    vouched: RangeSet,
    /// Who wrote the others of them; empty unless [`Overlap::Reject`] asks for it.
    evidence: Evidence,
    blocks: Blocks,
}

/// How a copy compares to what is buffered.
#[derive(Clone, Copy, Default)]
struct Difference {
    bytes: u64,
    hull: Option<ByteRange>,
}

impl Reassembly {
    /// Nothing received yet of a stream whose bytes below `start` go another way.
    #[must_use]
    pub fn new(start: u64, limits: Limits) -> Self {
        Self::with_blocks_of(BLOCK_BYTES, start, limits)
    }

    /// As [`Self::new`], with blocks of another size.
    pub(super) fn with_blocks_of(block_max: usize, start: u64, limits: Limits) -> Self {
        let below = ByteRange::new(0, start).map(RangeSet::from);
        Self {
            limits,
            cursor: start,
            received: below.unwrap_or_default(),
            vouched: RangeSet::new(),
            evidence: Evidence::new(limits.ranges_max),
            blocks: Blocks::new(block_max),
        }
    }

    /// Takes a chunk of the stream. Bytes below the cursor are dropped; of bytes that are buffered
    /// already, [`Limits::overlap`] says which copy stays.
    ///
    /// # Errors
    ///
    /// The chunk breaks a limit; nothing of it was taken.
    pub fn insert(
        &mut self,
        offset: u64,
        bytes: Bytes,
        source: Source,
    ) -> Result<Inserted, InsertError> {
        let whole =
            ByteRange::with_len(offset, bytes.len() as u64).ok_or(InsertError::BeyondLimit)?;
        let range = whole.intersection(ByteRange::from(self.cursor));
        let fresh = bytes.get(span(offset, range)).unwrap_or_default();
        if fresh.is_empty() {
            return Ok(Inserted {
                duplicate_bytes: whole.len(),
                ..Inserted::default()
            });
        }
        let mut inserted = if self.received.overlaps(range) {
            self.insert_over(range, fresh, source)?
        } else {
            self.insert_new(range, fresh, source)?
        };
        inserted.duplicate_bytes = inserted
            .duplicate_bytes
            .saturating_add(whole.len().saturating_sub(range.len()));
        if source == Source::Primary && self.limits.overlap != Overlap::FirstWins {
            self.vouched.insert(range);
            self.evidence.forget(range);
        }
        self.check_if_cheap();
        Ok(inserted)
    }

    /// A chunk of which nothing is received yet.
    fn insert_new(
        &mut self,
        range: ByteRange,
        bytes: &[u8],
        source: Source,
    ) -> Result<Inserted, InsertError> {
        if self.ranges_beyond() >= self.limits.ranges_max && !self.touches(range) {
            return Err(InsertError::TooManyRanges);
        }
        self.store(range, bytes, source);
        Ok(Inserted {
            new_bytes: range.len(),
            ..Inserted::default()
        })
    }

    /// Whether `range`, of which nothing is received, would only lengthen what is received.
    fn touches(&self, range: ByteRange) -> bool {
        let next = ByteRange::with_len(range.end(), 1);
        range.start() == self.cursor
            || self.received.before(range.start()).is_some()
            || next.is_some_and(|next| self.received.overlaps(next))
    }

    /// A chunk of which something is buffered: the copies are compared, and one of them stays, or
    /// neither [OVL-2].
    fn insert_over(
        &mut self,
        range: ByteRange,
        bytes: &[u8],
        source: Source,
    ) -> Result<Inserted, InsertError> {
        let held = self.received.within(range);
        let vouched = self.vouched.within(range);
        let mut others = held.clone();
        others.remove_all(&vouched);
        let from_others = self.differences(&others, range.start(), bytes);
        let from_vouched = self.differences(&vouched, range.start(), bytes);

        let mut missing = RangeSet::from(range);
        missing.remove_all(&held);
        let mut reopened = RangeSet::new();
        let mut refuted = Vec::new();
        if source == Source::Primary && from_others.hull.is_some() {
            refuted.extend(self.refuted(range, bytes));
        }
        match (self.limits.overlap, source, from_others.hull) {
            (Overlap::Reject, Source::Secondary(_), Some(hull)) => {
                reopened = self.vouched.missing_in(hull);
                self.discard(&reopened)?;
                missing.remove(hull);
            }
            (Overlap::PrimaryWins | Overlap::Reject, Source::Primary, Some(_)) => {
                for place in others.iter() {
                    let copy = bytes.get(span(range.start(), place)).unwrap_or_default();
                    self.blocks.overwrite(place, copy);
                }
            }
            (Overlap::FirstWins, _, _)
            | (Overlap::PrimaryWins, Source::Secondary(_), _)
            | (Overlap::PrimaryWins | Overlap::Reject, _, None) => {}
        }
        for place in missing.iter() {
            let copy = bytes.get(span(range.start(), place)).unwrap_or_default();
            self.store(place, copy, source);
        }
        let total = from_others.and(from_vouched);
        Ok(Inserted {
            new_bytes: missing.bytes(),
            duplicate_bytes: held.bytes(),
            conflict_bytes: total.bytes,
            conflict: total.hull,
            primary_differs: match source {
                Source::Primary => self.limits.overlap != Overlap::FirstWins && total.bytes > 0,
                Source::Secondary(_) => from_vouched.bytes > 0,
            },
            refuted,
            reopened,
        })
    }

    /// The secondaries that wrote other bytes than this copy of the primary's.
    fn refuted(&self, range: ByteRange, copy: &[u8]) -> impl Iterator<Item = PathId> {
        self.evidence
            .within(range)
            .filter(move |(_, places)| self.differences(places, range.start(), copy).bytes > 0)
            .map(|(path, _)| path)
    }

    /// What this secondary wrote is no evidence against it, if the primary writes other bytes.
    pub fn acquit(&mut self, path: PathId, range: ByteRange) {
        self.evidence.acquit(path, range);
    }

    /// Compares a copy that begins at `start` to the buffered bytes at `places`.
    fn differences(&self, places: &RangeSet, start: u64, copy: &[u8]) -> Difference {
        places
            .iter()
            .flat_map(|place| self.blocks.within(place))
            .filter_map(|(at, held)| {
                let place = ByteRange::with_len(at, held.len() as u64)?;
                Some(difference(at, held, copy.get(span(start, place))?))
            })
            .fold(Difference::default(), Difference::and)
    }

    /// Forgets bytes that are not read yet.
    fn discard(&mut self, places: &RangeSet) -> Result<(), InsertError> {
        // A range that loses bytes in its middle becomes two.
        if self.ranges_beyond().saturating_add(places.len()) > self.limits.ranges_max {
            return Err(InsertError::TooManyRanges);
        }
        for place in places.iter() {
            let run_end = self.run_end(place);
            self.blocks.discard(place, self.cursor);
            self.received.remove(place);
            self.evidence.forget(place);
            // The spare capacity at its end was measured by the whole run.
            if let Some(end) = run_end {
                self.blocks.trim(end);
            }
        }
        Ok(())
    }

    /// Where the run ends that `place` is cut out of.
    fn run_end(&self, place: ByteRange) -> Option<u64> {
        let last = self.received.within(place).last()?;
        let run = self.received.before(last.end())?;
        (run.end() > place.end()).then_some(run.end())
    }

    /// Copies in bytes of which none is received.
    fn store(&mut self, range: ByteRange, bytes: &[u8], source: Source) {
        let spare = self.spare(range.start());
        self.blocks.store(range.start(), bytes, spare);
        self.received.insert(range);
        if let (Overlap::Reject, Source::Secondary(path)) = (self.limits.overlap, source) {
            self.evidence.add(path, range);
        }
    }

    /// Capacity that may be taken ahead for bytes to come after `at`: an eighth of the run that ends
    /// there, so that the sum over all runs is bounded by the bytes. The front doubles: there is
    /// only one, and it is read soon.
    fn spare(&self, at: u64) -> usize {
        let Some(run) = self.received.before(at) else {
            return 0;
        };
        let unread = at.saturating_sub(run.start().max(self.cursor));
        let spare = if run.start() <= self.cursor {
            unread
        } else {
            unread >> 3
        };
        usize::try_from(spare).unwrap_or(usize::MAX)
    }

    /// Takes the next bytes in order, at most `max`; `None` if the next byte is missing (or `max` is
    /// 0). There is no copy if `max` is [`BLOCK_BYTES`] or more.
    pub fn read(&mut self, max: usize) -> Option<Bytes> {
        let bytes = self.blocks.read(self.cursor, max)?;
        self.cursor = self.cursor.saturating_add(bytes.len() as u64);
        if let Some(read) = ByteRange::new(0, self.cursor) {
            self.vouched.remove(read);
            self.evidence.forget(read);
        }
        self.check_if_cheap();
        Some(bytes)
    }

    /// The offset of the next byte to be read.
    #[must_use]
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// One past the last byte that can be read without waiting.
    #[must_use]
    pub fn contiguous_end(&self) -> u64 {
        self.front().map_or(self.cursor, ByteRange::end)
    }

    /// One past the highest byte received.
    #[must_use]
    pub fn highest(&self) -> u64 {
        self.received.last().map_or(self.cursor, ByteRange::end)
    }

    /// All bytes received so far: those that were read, and those below the start, included.
    #[must_use]
    pub fn received(&self) -> &RangeSet {
        &self.received
    }

    /// The bytes of `range` that have not been received.
    #[must_use]
    pub fn missing_in(&self, range: ByteRange) -> RangeSet {
        self.received.missing_in(range)
    }

    /// Whether every byte of `range` has been received.
    #[must_use]
    pub fn is_complete(&self, range: ByteRange) -> bool {
        self.received.contains(range)
    }

    /// Bytes received and not read.
    #[must_use]
    pub fn buffered_bytes(&self) -> u64 {
        self.received.bytes().saturating_sub(self.cursor)
    }

    /// Memory that is held for them, bookkeeping included.
    #[must_use]
    pub fn pinned_bytes(&self) -> u64 {
        self.blocks.pinned_bytes() as u64
    }

    /// Gaps before and between what is received past the cursor.
    #[must_use]
    pub fn gaps(&self) -> usize {
        self.ranges_beyond()
    }

    /// The range that reaches over the cursor or begins there.
    fn front(&self) -> Option<ByteRange> {
        self.received
            .first()
            .filter(|first| first.start() <= self.cursor)
    }

    /// Ranges that a hole separates from the cursor.
    fn ranges_beyond(&self) -> usize {
        let front = usize::from(self.front().is_some());
        self.received.len().saturating_sub(front)
    }

    /// [`Self::check`] in debug builds, while it costs no more than the mutation did.
    fn check_if_cheap(&self) {
        if cfg!(debug_assertions) && self.blocks.len() <= 32 {
            self.check();
        }
    }

    /// Asserts the invariants, the bound on memory among them.
    pub(super) fn check(&self) {
        self.blocks.check(self.cursor);
        let below = ByteRange::new(0, self.cursor).unwrap_or(ByteRange::from(0));
        assert!(self.received.contains(below), "read, but not received");
        let mut held: RangeSet = self.blocks.places().collect();
        held.insert(below);
        assert_eq!(held, self.received, "received is not what is held");
        assert!(
            self.vouched
                .iter()
                .all(|place| place.start() >= self.cursor && self.received.contains(place)),
            "vouched for, but not held"
        );
        assert!(
            self.ranges_beyond() <= self.limits.ranges_max,
            "too many ranges"
        );
        assert!(self.allocated_within_bound(), "memory out of bound");
    }

    /// Spare capacity is at most an eighth of the bytes, besides that of the front: the part of its
    /// first block that was read, and the room in its last one.
    fn allocated_within_bound(&self) -> bool {
        let buffered = self.buffered_bytes();
        let front = self.blocks.block_max().saturating_mul(2) as u64;
        let bound = buffered.saturating_add(buffered >> 3).saturating_add(front);
        self.blocks.allocated_bytes() as u64 <= bound
    }
}

impl Difference {
    fn and(self, other: Self) -> Self {
        let hull = match (self.hull, other.hull) {
            (Some(a), Some(b)) => ByteRange::new(a.start().min(b.start()), a.end().max(b.end())),
            (hull, None) | (None, hull) => hull,
        };
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            hull,
        }
    }
}

/// Compares two copies of the bytes at `at`.
fn difference(at: u64, held: &[u8], copy: &[u8]) -> Difference {
    if held == copy {
        return Difference::default();
    }
    let pairs = || held.iter().zip(copy);
    let bytes = pairs().filter(|(a, b)| a != b).count() as u64;
    let first = pairs().position(|(a, b)| a != b);
    let last = pairs().rposition(|(a, b)| a != b);
    let hull = first.zip(last).and_then(|(first, last)| {
        let start = at.saturating_add(first as u64);
        ByteRange::new(start, at.saturating_add(last as u64).saturating_add(1))
    });
    Difference { bytes, hull }
}

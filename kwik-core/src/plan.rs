//! Which server gets which range next.
//!
//! Owns what is left to do of one plan and who was given what. Pure: it is told the credit, who can
//! write and how fast, and answers with ranges. Never sees a frame, a carrier or a grant id.
//!
//! Work is pulled, never split beforehand: whoever has little left to do gets the lowest range that
//! nobody has, so that servers of any speed finish together. What is lost is to do again.

mod pace;
mod pull;
mod standing;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytes::Bytes;

pub(crate) use self::pace::Pace;
pub(crate) use self::standing::Standing;
use crate::ids::{ByteRange, PathId};
use crate::ranges::RangeSet;

/// Pieces of [`Spread::Rotate`] that a writer has to do at the same time; they may be small.
const QUEUED_ROTATE: usize = 4;
/// The same of fragments that are less than one piece together. A secondary that left out every other
/// byte leaves thousands, and each takes a round trip.
const QUEUED_FRAGMENTS: usize = 64;
/// Pieces of [`Spread::Rotate`] below this are not dealt: each costs two frames.
const ROTATE_MIN_BYTES: u64 = 4 << 10;
/// A writer that brings nothing of so many ranges one after the other is left out.
const BARREN_MAX: u32 = 3;

/// How the ranges of a plan are dealt out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// Whoever has little left to do gets the lowest range next, larger the faster it is.
    Pull,
    /// Pieces of a fixed size go to everybody in turn, so that all write at the same time. The
    /// slowest server sets the pace; who does not keep what it is given is not waited for.
    Rotate {
        /// Bytes of a piece; at least 4 KiB.
        range_bytes: u64,
    },
}

/// How a range is to be written by all servers together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanSpec {
    /// What every secondary is asked for, whichever piece it gets.
    pub command: Bytes,
    /// How the pieces are dealt out.
    pub spread: Spread,
}

/// One who can write ranges of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Writer {
    /// The primary itself.
    Own,
    /// A secondary.
    Path(PathId),
}

/// A writer that is of use now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) writer: Writer,
    /// How fast it is.
    pub(crate) pace: Pace,
    /// Whether it is left out as long as there is anybody else.
    pub(crate) is_demoted: bool,
    /// Whether it may be given a range now, as far as other limits go.
    pub(crate) has_room: bool,
}

/// What there is to choose from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer<'a> {
    /// One past the last byte that may be written now.
    pub(crate) window_end: u64,
    /// Who can write; others are dead, retired or not there yet.
    pub(crate) candidates: &'a [Candidate],
}

/// Who is to write what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Assignment {
    pub(crate) writer: Writer,
    pub(crate) range: ByteRange,
}

/// Why a writer did not bring its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// It will not write this plan: it lacks the content, or has another.
    Refused,
    /// Its copy differed from another: the primary judges.
    Conflict,
    /// Nothing of the range came.
    Barren,
    /// Something came, or it is not the writer's fault. It does not make up for what was lost before.
    Excused,
}

/// What is left of one plan.
#[derive(Debug)]
pub(crate) struct Planner {
    spread: Spread,
    /// Nobody has these bytes.
    todo: RangeSet,
    /// Who has what, by its start.
    out: BTreeMap<u64, Assignment>,
    records: BTreeMap<Writer, Record>,
    /// Bytes that only the primary may write, as long as it does.
    own_only: RangeSet,
    /// Whose turn it was last.
    last_dealt: Option<Writer>,
}

/// What one writer did for a plan.
#[derive(Debug, Default)]
struct Record {
    queued: usize,
    queued_bytes: u64,
    /// Bytes that it was given and did not bring.
    lost: RangeSet,
    barren_in_a_row: u32,
    left_out: bool,
}

impl Planner {
    pub(crate) fn new(range: ByteRange, spread: Spread) -> Self {
        Self {
            spread,
            todo: RangeSet::from(range),
            out: BTreeMap::new(),
            records: BTreeMap::new(),
            own_only: RangeSet::new(),
            last_dealt: None,
        }
    }

    /// Whether nothing is left to do or to wait for.
    pub(crate) fn is_done(&self) -> bool {
        self.todo.is_empty() && self.out.is_empty()
    }

    /// The next range and who is to write it; it counts as given.
    pub(crate) fn next_assignment(&mut self, offer: Offer<'_>) -> Option<Assignment> {
        let mut usable: Vec<Candidate> = offer
            .candidates
            .iter()
            .copied()
            .filter(|c| !self.is_left_out(c.writer))
            .collect();
        let is_anybody_better = usable.iter().any(|c| !c.is_demoted);
        usable.retain(|c| !(c.is_demoted && is_anybody_better));
        let offer = Offer {
            candidates: &usable,
            ..offer
        };
        let next = match self.spread {
            Spread::Pull => self.pull(offer),
            Spread::Rotate { range_bytes } => self.rotate(range_bytes.max(ROTATE_MIN_BYTES), offer),
        }?;
        self.todo.remove(next.range);
        self.out.insert(next.range.start(), next);
        let record = self.record(next.writer);
        record.queued += 1;
        record.queued_bytes += next.range.len();
        self.check();
        Some(next)
    }

    /// All of an assigned range is where it belongs.
    pub(crate) fn on_done(&mut self, writer: Writer, range: ByteRange) {
        if !self.take_back(writer, range) {
            return;
        }
        self.record(writer).barren_in_a_row = 0;
        for record in self
            .records
            .values_mut()
            .filter(|record| !record.lost.is_empty())
        {
            record.lost.remove(range);
        }
        self.own_only.remove(range);
        self.check();
    }

    /// `missing` of an assigned range does not come from its writer.
    pub(crate) fn on_lost(
        &mut self,
        writer: Writer,
        range: ByteRange,
        missing: &RangeSet,
        loss: Loss,
    ) {
        if !self.take_back(writer, range) {
            return;
        }
        let record = self.record(writer);
        record.lost.insert_all(missing);
        match loss {
            Loss::Refused => record.left_out = true,
            Loss::Barren => {
                record.barren_in_a_row += 1;
                record.left_out |= record.barren_in_a_row >= BARREN_MAX;
            }
            Loss::Conflict => self.own_only.insert_all(missing),
            Loss::Excused => {}
        }
        if writer == Writer::Own {
            self.own_only.remove_all(missing);
        }
        self.todo.insert_all(missing);
        self.check();
    }

    /// Bytes that were brought before are missing again. They go to the primary: what is missing
    /// after it was there was thrown away because copies of it differed.
    pub(crate) fn on_hole(&mut self, missing: &RangeSet) {
        let mut missing = missing.clone();
        self.out.values().for_each(|given| {
            missing.remove(given.range);
        });
        self.todo.insert_all(&missing);
        self.own_only.insert_all(&missing);
        self.check();
    }

    /// Somebody outside the plan wrote these bytes.
    pub(crate) fn on_written_elsewhere(&mut self, range: ByteRange) {
        self.todo.remove(range);
    }

    /// What nobody can be given, because none of the candidates takes part any more. The plan
    /// forgets it.
    pub(crate) fn take_stranded(&mut self, candidates: &[Candidate]) -> Option<RangeSet> {
        let stranded = !self.todo.is_empty()
            && candidates
                .iter()
                .all(|candidate| self.is_left_out(candidate.writer));
        stranded.then(|| std::mem::take(&mut self.todo))
    }

    /// Equal pieces in turn. Who has enough to do is waited for; only who cannot take any of what
    /// is left in the window is passed over, or the window would wait for a hole that it lost.
    fn rotate(&mut self, piece_bytes: u64, offer: Offer<'_>) -> Option<Assignment> {
        let mut order: Vec<&Candidate> = offer.candidates.iter().collect();
        order.sort_by_key(|c| (Some(c.writer) <= self.last_dealt, c.writer));
        for candidate in order {
            let writer = candidate.writer;
            if !self.has_work_for(writer, offer) {
                continue;
            }
            if !candidate.has_room && self.queued(writer) == 0 {
                // It is full of what does not belong to this plan, and may stay so for as long as
                // the reader of another stream pauses.
                continue;
            }
            let enough = match self.queued_bytes(writer) < piece_bytes {
                true => QUEUED_FRAGMENTS,
                false => QUEUED_ROTATE,
            };
            if !candidate.has_room || self.queued(writer) >= enough {
                return None;
            }
            let range = self.piece(writer, piece_bytes, piece_bytes, offer)?;
            self.last_dealt = Some(writer);
            return Some(Assignment { writer, range });
        }
        None
    }

    /// The lowest piece that `writer` can take, of `size` bytes if there are so many. While others
    /// are at work, a piece that the window's end cuts below `least` is left until there is more
    /// credit.
    fn piece(&self, writer: Writer, size: u64, least: u64, offer: Offer<'_>) -> Option<ByteRange> {
        let free = self.lowest(&self.avoided(writer, offer))?;
        let end = free
            .start()
            .saturating_add(size)
            .min(free.end())
            .min(offer.window_end);
        let piece = ByteRange::new(free.start(), end).filter(|piece| !piece.is_empty())?;
        let is_cut = end == offer.window_end && end < free.end();
        (!is_cut || piece.len() >= least || self.out.is_empty()).then_some(piece)
    }

    /// Whether there are bytes in the window that `writer` can take.
    fn has_work_for(&self, writer: Writer, offer: Offer<'_>) -> bool {
        let lowest = self.lowest(&self.avoided(writer, offer));
        lowest.is_some_and(|free| free.start() < offer.window_end)
    }

    /// The lowest bytes to do outside `avoid`.
    fn lowest(&self, avoid: &RangeSet) -> Option<ByteRange> {
        self.todo
            .iter()
            .find_map(|range| avoid.missing_in(range).first())
    }

    /// What `writer` is not to be given: bytes that it lost and another one has not, and bytes that
    /// are the primary's.
    fn avoided(&self, writer: Writer, offer: Offer<'_>) -> RangeSet {
        let mut avoid = RangeSet::new();
        let others = || {
            offer
                .candidates
                .iter()
                .map(|c| c.writer)
                .filter(|other| *other != writer)
        };
        if let Some(mine) = self.lost_by(writer) {
            for other in others() {
                let mut not_lost = mine.clone();
                if let Some(theirs) = self.lost_by(other) {
                    not_lost.remove_all(theirs);
                }
                avoid.insert_all(&not_lost);
            }
        }
        if others().any(|other| other == Writer::Own) {
            avoid.insert_all(&self.own_only);
        }
        avoid
    }

    fn lost_by(&self, writer: Writer) -> Option<&RangeSet> {
        self.records
            .get(&writer)
            .map(|record| &record.lost)
            .filter(|lost| !lost.is_empty())
    }

    fn queued(&self, writer: Writer) -> usize {
        self.records.get(&writer).map_or(0, |record| record.queued)
    }

    fn queued_bytes(&self, writer: Writer) -> u64 {
        self.records
            .get(&writer)
            .map_or(0, |record| record.queued_bytes)
    }

    fn is_left_out(&self, writer: Writer) -> bool {
        self.records
            .get(&writer)
            .is_some_and(|record| record.left_out)
    }

    fn record(&mut self, writer: Writer) -> &mut Record {
        self.records.entry(writer).or_default()
    }

    /// Ends an assignment; false if there is none.
    fn take_back(&mut self, writer: Writer, range: ByteRange) -> bool {
        let given = Assignment { writer, range };
        if self.out.get(&range.start()) != Some(&given) {
            return false;
        }
        self.out.remove(&range.start());
        let record = self.record(writer);
        record.queued = record.queued.saturating_sub(1);
        record.queued_bytes = record.queued_bytes.saturating_sub(range.len());
        true
    }

    fn check(&self) {
        if !cfg!(debug_assertions) {
            return;
        }
        let mut end = 0;
        for given in self.out.values() {
            assert!(
                given.range.start() >= end,
                "two writers have the same bytes"
            );
            assert!(!self.todo.overlaps(given.range), "given and still to do");
            end = given.range.end();
        }
        let queued: usize = self.records.values().map(|record| record.queued).sum();
        assert_eq!(queued, self.out.len(), "an assignment without an owner");
    }
}

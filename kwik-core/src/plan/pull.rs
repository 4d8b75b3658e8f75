//! Pull: the lowest range goes to whoever has it soonest.
//!
//! Owns the sizes, and the judgement whether a writer is too slow for a range. Changes nothing.

use std::time::Duration;

use super::{Assignment, Candidate, Offer, Planner};
use crate::ids::ByteRange;

/// Pieces that a writer has to do at the same time: with one alone it idles for a round trip.
const QUEUED_MIN: usize = 2;
/// In how many pieces a writer should have its work: one is reported when all of it is there, so
/// small ones leave less of the window waiting.
const PIECES: u64 = 8;
/// Smaller pieces would cost more than they bring.
const PIECE_MIN_BYTES: u64 = 64 << 10;
/// Larger pieces would bind too much to one writer.
const PIECE_MAX_BYTES: u64 = 1 << 20;
/// No window is so small that it is cut into pieces below this.
const PIECE_FLOOR_BYTES: u64 = 16 << 10;

impl Planner {
    /// The next range: the lowest, for the writer that would have brought it first.
    pub(super) fn pull(&self, offer: Offer<'_>) -> Option<Assignment> {
        let mut order: Vec<(Option<Duration>, &Candidate)> = offer
            .candidates
            .iter()
            .filter(|candidate| self.has_work_for(candidate.writer, offer))
            .map(|candidate| (self.time_to_bring(candidate), candidate))
            .collect();
        // Who is not measured yet may be slow.
        order.sort_by_key(|&(time, c)| {
            (time.is_none(), time, self.queued_bytes(c.writer), c.writer)
        });
        let best = order.first().and_then(|&(time, _)| time);
        let time_left = self.time_left(offer);
        order.into_iter().find_map(|(time, candidate)| {
            let is_too_slow = time > best && time_left.is_some_and(|left| time > Some(left));
            let is_free = candidate.has_room && !is_too_slow;
            is_free.then(|| self.pull_for(candidate, offer)).flatten()
        })
    }

    /// The lowest piece that the candidate can take, if it is to have one more.
    fn pull_for(&self, candidate: &Candidate, offer: Offer<'_>) -> Option<Assignment> {
        let writer = candidate.writer;
        let share = self.window(offer) / offer.candidates.len().max(1) as u64;
        let work = candidate
            .pace
            .work_bytes()
            .max(QUEUED_MIN as u64 * PIECE_MIN_BYTES);
        let target = work.min(share);
        let size = (target / PIECES)
            .clamp(PIECE_MIN_BYTES, PIECE_MAX_BYTES)
            .min((share / QUEUED_MIN as u64).max(PIECE_FLOOR_BYTES));
        // Rounded to the nearest piece, or a pace that could grow would freeze.
        let is_hungry = self.queued(writer) < QUEUED_MIN
            || self.queued_bytes(writer).saturating_add(size / 2) <= target;
        if !is_hungry {
            return None;
        }
        let range = self.piece(writer, size, size.min(PIECE_MIN_BYTES), offer)?;
        Some(Assignment { writer, range })
    }

    /// The bytes from the lowest that is not brought to the end of the credit.
    fn window(&self, offer: Offer<'_>) -> u64 {
        let lowest_todo = self.todo.first().map(ByteRange::start);
        let lowest_out = self.out.keys().next().copied();
        let lowest = lowest_todo.into_iter().chain(lowest_out).min();
        offer.window_end.saturating_sub(lowest.unwrap_or(0))
    }

    /// When the candidate would have brought one more small piece; `None`: not known yet.
    fn time_to_bring(&self, candidate: &Candidate) -> Option<Duration> {
        let queued = self.queued_bytes(candidate.writer);
        candidate.pace.time_to_bring(queued, PIECE_MIN_BYTES)
    }

    /// How long those that are at work need for all that is left, or for the window if that is
    /// less. What comes later than that, the reader waits for; so it is better brought by others.
    fn time_left(&self, offer: Offer<'_>) -> Option<Duration> {
        let at_work = offer
            .candidates
            .iter()
            .filter(|c| self.queued(c.writer) > 0);
        let pace: u64 = at_work.filter_map(|c| c.pace.bytes_per_second()).sum();
        let out: u64 = self.out.values().map(|given| given.range.len()).sum();
        let left = self
            .todo
            .bytes()
            .saturating_add(out)
            .min(self.window(offer));
        let nanos = u128::from(left) * 1_000_000_000 / u128::from(pace.max(1));
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        (pace > 0).then(|| Duration::from_nanos(nanos))
    }
}

//! The receiving half of an aggregated stream at the client.
//!
//! Owns what is known about the stream: where its plain part ends, its reassembly, its final size,
//! its credit, and which of its bytes were reported lost. Never sees a grant or a carrier.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::clocks::ReaderClock;
use super::window::StreamWindow;
use crate::aggregate::Reassembly;
use crate::error::Violation;
use crate::ids::{ByteRange, StreamId};
use crate::ranges::RangeSet;

/// An aggregated stream.
pub(super) struct AggregatedRecv {
    /// Bytes that travel on the stream's own carrier.
    pub(super) plain_end: u64,
    /// How many of them were read.
    pub(super) plain_read: u64,
    /// Everything behind them.
    pub(super) reassembly: Reassembly,
    pub(super) window: StreamWindow,
    final_size: Option<u64>,
    /// STREAM_DONE is sent.
    pub(super) done_sent: bool,
    /// The primary gave the stream up, with this code.
    pub(super) reset: Option<u64>,
    /// Bytes reported lost, not granted again since and not arrived.
    uncovered: RangeSet,
    /// Bytes ever reported lost that have not arrived: what comes of them counts as granted again.
    lost: RangeSet,
    /// Since when the reader waits at an uncovered byte.
    hole_since: Option<Instant>,
    /// It has waited for too long, and the application has been woken.
    hole_expired: bool,
    /// How long the reader has waited while too little was done about it.
    wait: Option<ReaderClock>,
}

/// A reader waits at a hole for at most so many times as long as usual while the primary brings something.
const HOLE_FACTOR_MAX: u32 = 4;

impl AggregatedRecv {
    pub(super) fn new(
        plain_end: u64,
        plain_read: u64,
        reassembly: Reassembly,
        window: StreamWindow,
    ) -> Self {
        Self {
            plain_end,
            plain_read,
            reassembly,
            window,
            final_size: None,
            done_sent: false,
            reset: None,
            uncovered: RangeSet::new(),
            lost: RangeSet::new(),
            hole_since: None,
            hole_expired: false,
            wait: None,
        }
    }

    /// One past the last byte that was read.
    pub(super) fn cursor(&self) -> u64 {
        if self.plain_read < self.plain_end {
            self.plain_read
        } else {
            self.reassembly.cursor()
        }
    }

    pub(super) fn final_size(&self) -> Option<u64> {
        self.final_size
    }

    /// The primary says where the stream ends.
    ///
    /// # Errors
    ///
    /// A second, different size, or one below a byte that is here [END-3].
    pub(super) fn set_final_size(&mut self, stream: StreamId, size: u64) -> Result<(), Violation> {
        let below = size < self.plain_end || size < self.reassembly.cursor();
        let beyond = self.reassembly.highest() > size;
        if below || beyond || self.final_size.is_some_and(|known| known != size) {
            return Err(Violation::FinalSize(stream));
        }
        self.final_size = Some(size);
        self.uncovered.remove(ByteRange::from(size));
        Ok(())
    }

    /// Whether every byte up to the final size was read: nothing else is waited for [END-4].
    pub(super) fn is_at_end(&self) -> bool {
        self.plain_read == self.plain_end && self.final_size == Some(self.reassembly.cursor())
    }

    /// Whether every byte up to the final size is here.
    pub(super) fn is_complete(&self) -> bool {
        self.final_size
            .is_some_and(|size| self.reassembly.contiguous_end() >= size)
    }

    /// Whether a read of the segments would yield something: bytes or the end.
    pub(super) fn has_next(&self) -> bool {
        self.reset.is_some()
            || self.plain_read == self.plain_end
                && (self.reassembly.contiguous_end() > self.reassembly.cursor() || self.is_at_end())
    }

    /// Hands the next bytes behind the plain part to `sink`, at most `max`; false if it broke off.
    pub(super) fn read(
        &mut self,
        mut max: usize,
        sink: &mut dyn FnMut(Bytes) -> ControlFlow<()>,
    ) -> bool {
        while max > 0 {
            let Some(chunk) = self.reassembly.read(max) else {
                return true;
            };
            max -= chunk.len();
            if sink(chunk).is_break() {
                return false;
            }
        }
        false
    }

    /// These bytes are here now. Returns how many of them had been reported lost.
    pub(super) fn on_present(&mut self, range: ByteRange) -> u64 {
        if !self.uncovered.is_empty() {
            self.uncovered.remove(range);
        }
        if self.lost.is_empty() {
            0
        } else {
            self.lost.remove(range)
        }
    }

    /// These bytes were reported lost.
    pub(super) fn on_lost(&mut self, missing: &RangeSet) {
        self.lost.insert_all(missing);
        self.uncovered.insert_all(missing);
        if let Some(size) = self.final_size {
            self.uncovered.remove(ByteRange::from(size));
        }
    }

    /// Somebody is to bring these bytes.
    pub(super) fn on_covered(&mut self, range: ByteRange) {
        self.uncovered.remove(range);
    }

    /// The hole at which the reader waits, if nobody is to fill it. What the primary has not given
    /// away is no hole [END-9].
    pub(super) fn hole(&self) -> Option<ByteRange> {
        let cursor = self.reassembly.cursor();
        let at = ByteRange::with_len(cursor, 1)?;
        if self.plain_read < self.plain_end || !self.uncovered.overlaps(at) {
            return None;
        }
        self.uncovered.within(ByteRange::from(cursor)).first()
    }

    /// Starts or stops the clocks of the byte at which the reader waits.
    pub(super) fn watch_reader(&mut self, now: Instant) {
        let at = self.reassembly.cursor();
        let waits = self.plain_read == self.plain_end && !self.has_next();
        match (&mut self.wait, waits) {
            (Some(wait), true) => wait.wait(at, now),
            (Some(wait), false) => wait.pause(now),
            (None, true) => self.wait = Some(ReaderClock::new(at, now)),
            (None, false) => {}
        }
        self.hole_since = self.hole().and(self.hole_since.or(Some(now)));
        self.hole_expired &= self.hole_since.is_some();
    }

    /// When the reader has waited for too long at a hole, until it is told so. A primary that brings
    /// something else, and did last at `brought_at`, may come to the hole later [END-9].
    pub(super) fn hole_deadline(
        &self,
        max: Duration,
        brought_at: Option<Instant>,
    ) -> Option<Instant> {
        let since = self.hole_since.filter(|_| !self.hole_expired)?;
        let latest = since + max * HOLE_FACTOR_MAX;
        Some(latest.min(since.max(brought_at.unwrap_or(since)) + max))
    }

    /// Whether the reader has waited for too long at a hole, and that is news.
    pub(super) fn expire_hole(
        &mut self,
        max: Duration,
        brought_at: Option<Instant>,
        now: Instant,
    ) -> bool {
        let deadline = self.hole_deadline(max, brought_at);
        let late = deadline.is_some_and(|at| at <= now);
        self.hole_expired |= late;
        late
    }

    /// A grant that is to bring these bytes began: if the reader waits at one of them, its clock
    /// begins anew.
    pub(super) fn on_grant_begun(&mut self, range: ByteRange, now: Instant) {
        if let Some(wait) = self.wait_within(range) {
            wait.restart(now);
        }
    }

    /// So many bytes came of a grant that is to bring this range. If the reader waits within it, and
    /// `enough` have come, its clock begins anew.
    pub(super) fn on_grant_bytes(
        &mut self,
        range: ByteRange,
        bytes: u64,
        enough: u64,
        now: Instant,
    ) {
        if let Some(wait) = self.wait_within(range) {
            wait.on_bytes(bytes, enough, now);
        }
    }

    /// Who is to bring these bytes was suspected of silence for so long: if the reader waits within
    /// them, its clock stood. True if so.
    pub(super) fn resume_wait(&mut self, range: ByteRange, stood: Duration, now: Instant) -> bool {
        let wait = self.wait_within(range);
        wait.map(|wait| wait.resume(stood, now)).is_some()
    }

    /// The reader's clock, if it waits within a range, or did last.
    fn wait_within(&mut self, range: ByteRange) -> Option<&mut ReaderClock> {
        self.wait
            .as_mut()
            .filter(|wait| range.start() <= wait.at() && wait.at() < range.end())
    }

    /// When the reader will have waited for too long.
    pub(super) fn wait_deadline(&self, max: Duration) -> Option<Instant> {
        self.wait.and_then(|wait| wait.deadline(max))
    }

    /// Where the reader waited when its clock began and where it waits now, if the clock has run out;
    /// it begins anew.
    pub(super) fn expire_wait(&mut self, max: Duration, now: Instant) -> Option<(u64, u64)> {
        self.wait.as_mut()?.expire(max, now)
    }

    /// The hole that fails the next read.
    pub(super) fn failed_hole(&self) -> Option<ByteRange> {
        self.hole().filter(|_| self.hole_expired)
    }
}

//! The grants that pass through a client: forwarded to their secondary, watched, and answered to the
//! primary with exactly one final status each [GRANT-3].
//!
//! Owns how long what was taken back is waited for; who is too slow, `clocks` judges. The accounts are
//! kept by [`Ledger`](crate::grant::Ledger).

use std::time::Instant;

use super::ClientSession;
use crate::error::Violation;
use crate::grant::{Authority, Final, GrantIds, Held};
use crate::ids::{ByteRange, GrantId, PathId, StreamId};
use crate::path::PathPhase;
use crate::ranges::RangeSet;
use crate::session::Cx;
use crate::wire::{
    ControlFrame, Extent, Grant, GrantDone, GrantOutcome, GrantStatus, Hole, LostReason, Raw,
    Revoke, split_ranges,
};

/// Grants of one path without a final status that a primary may have [GRANT-14].
const GRANTS_PER_PATH_MAX: usize = 32;

impl ClientSession {
    /// GRANT: the primary gives a range of a stream to a path. Ids rise [GRANT-1]; one that needs
    /// no secondary, or can have none, is answered at once [GRANT-5].
    pub(super) fn on_grant(&mut self, cx: &mut Cx<'_>, frame: Grant) -> Result<(), Violation> {
        if !self.ledger.is_new(frame.grant) {
            return Err(Violation::Unexpected("grant id"));
        }
        if !self.paths.was_named(frame.path) {
            return Err(Violation::Unexpected("path id in GRANT"));
        }
        let _grant = tracing::debug_span!("grant", id = frame.grant.0).entered();
        self.ledger.note(frame.grant);
        self.stats.grants += 1;
        let range = frame.extent.range();
        let Some(recv) = self.aggregated_for_grant(frame.stream, range)? else {
            self.answer_gone(cx, frame.grant, frame.extent);
            return Ok(());
        };
        let wanted = clipped(range, recv.final_size());
        let missing = recv.reassembly.missing_in(wanted);
        if missing.is_empty() && !frame.extent.is_open() {
            self.tell(cx, frame.grant, GrantOutcome::Done { end: wanted.end() });
            return Ok(());
        }
        let held = Held::new(
            frame.path,
            frame.stream,
            wanted,
            frame.extent.is_open(),
            missing,
        );
        let Some(phase) = self
            .paths
            .live
            .get(&frame.path)
            .map(|path| path.state.phase())
        else {
            self.answer_unheld(cx, frame.grant, &held, LostReason::Path);
            return Ok(());
        };
        let unanswered = self.ledger.unanswered_on(frame.path);
        if unanswered >= GRANTS_PER_PATH_MAX {
            return Err(Violation::ExcessiveLoad("grants on a path"));
        }
        if unanswered >= self.config.client.grants_per_path_max {
            self.answer_unheld(cx, frame.grant, &held, LostReason::Limit);
            return Ok(());
        }
        self.ledger.give(frame.grant, held);
        tracing::debug!(
            grant = frame.grant.0,
            path = frame.path.0,
            stream = frame.stream.0,
            start = wanted.start(),
            end = wanted.end(),
            open = frame.extent.is_open(),
            "grant held"
        );
        if let Some(recv) = self.streams.aggregated_mut(frame.stream) {
            recv.on_covered(wanted);
        }
        match phase {
            PathPhase::Active => self.forward_grant(cx, frame),
            // Nothing goes behind JOIN before it is accepted [JOIN-10].
            PathPhase::Dialing | PathPhase::Joining => self.queue_grant(cx, frame),
            PathPhase::Retiring | PathPhase::Dead | PathPhase::Retired => {
                self.lose(cx, frame.grant, LostReason::Path);
            }
        }
        Ok(())
    }

    /// RAW: a message of the primary for a secondary.
    pub(super) fn on_raw(&mut self, cx: &mut Cx<'_>, frame: Raw) -> Result<(), Violation> {
        if !self.paths.was_named(frame.path) {
            return Err(Violation::Unexpected("path id in RAW"));
        }
        let id = frame.path;
        let Some(path) = self.paths.get_mut(id) else {
            return Ok(());
        };
        match path.state.phase() {
            PathPhase::Active | PathPhase::Retiring => {
                self.forward(cx, id, ControlFrame::Raw(frame))
            }
            PathPhase::Dialing | PathPhase::Joining => {
                // A message that finds no room is dropped: it promises nothing [GRANT-4].
                self.queue(id, ControlFrame::Raw(frame));
            }
            PathPhase::Dead | PathPhase::Retired => {}
        }
        Ok(())
    }

    /// REVOKE: the primary takes a grant back, wholly or from an offset on [GRANT-8].
    pub(super) fn on_revoke(&mut self, cx: &mut Cx<'_>, frame: &Revoke) -> Result<(), Violation> {
        if self.ledger.is_new(frame.grant) {
            return Err(Violation::Unexpected("grant id in REVOKE"));
        }
        self.shrink(cx, frame.grant, frame.end, LostReason::Revoked);
        Ok(())
    }

    /// Nothing of a grant is wanted from `end` on. A grant that loses all of it drains.
    pub(super) fn shrink(&mut self, cx: &mut Cx<'_>, grant: GrantId, end: u64, reason: LostReason) {
        let Some(held) = self.ledger.get(grant).filter(|held| held.is_live()) else {
            return;
        };
        if end >= held.range.end() {
            return;
        }
        if end <= held.range.start() {
            if held.is_forwarded() {
                self.drain(cx, grant);
            } else {
                self.lose(cx, grant, reason);
            }
        } else {
            self.ledger.clip(grant, end);
            self.revoke_at_secondary(cx, grant, end);
            self.settle(cx, &GrantIds::from_elem(grant, 1));
        }
    }

    /// Takes a grant back at its secondary; the final status waits for what is on its way
    /// [GRANT-10].
    pub(super) fn drain(&mut self, cx: &mut Cx<'_>, grant: GrantId) {
        if self.ledger.drain(grant) {
            self.drains
                .insert((cx.now.monotonic + self.config.client.grant_drain_max, grant));
            self.revoke_at_secondary(cx, grant, 0);
            if let Some(held) = self.ledger.get(grant) {
                let (path, stream, range) = (held.path, held.stream, held.range);
                self.acquit(path, stream, range);
                self.limit_start(path);
            }
        }
    }

    /// Bytes of a grant that was taken back are no evidence, those that have come included [OVL-5].
    fn acquit(&mut self, path: PathId, stream: StreamId, range: ByteRange) {
        if let Some(recv) = self.streams.aggregated_mut(stream) {
            recv.reassembly.acquit(path, range);
        }
    }

    fn revoke_at_secondary(&mut self, cx: &mut Cx<'_>, grant: GrantId, end: u64) {
        let Some(held) = self.ledger.get(grant).filter(|held| held.is_forwarded()) else {
            return;
        };
        if !held.is_written_whole() {
            let path = held.path;
            self.forward(cx, path, ControlFrame::Revoke(Revoke { grant, end }));
        }
    }

    /// GRANT_DONE: a secondary writes no more for a grant. Its bytes may still be on their way, so
    /// this ends nothing by itself [GRANT-6].
    pub(super) fn on_grant_done(
        &mut self,
        cx: &mut Cx<'_>,
        path: PathId,
        frame: &GrantDone,
    ) -> Result<(), Violation> {
        match self.ledger.authority(path, frame.grant) {
            Authority::Never => return Err(Violation::OutsideGrant(frame.grant)),
            Authority::Ended => return Ok(()),
            Authority::Granted(..) | Authority::Late(..) => {}
        }
        if !self
            .ledger
            .on_written(frame.grant, &frame.written, frame.more)
        {
            return Err(Violation::ExcessiveLoad("ranges in GRANT_DONE"));
        }
        self.settle(cx, &GrantIds::from_elem(frame.grant, 1));
        if let Some(held) = self.ledger.get(frame.grant)
            && held.has_stopped()
            && !held.is_unanswered()
        {
            self.ledger.forget(frame.grant);
        }
        Ok(())
    }

    /// GRANT_REFUSED: a secondary will not fill a grant [GRANT-16].
    pub(super) fn on_grant_refused(
        &mut self,
        cx: &mut Cx<'_>,
        path: PathId,
        grant: GrantId,
        code: u64,
    ) -> Result<(), Violation> {
        match self.ledger.authority(path, grant) {
            Authority::Never => return Err(Violation::OutsideGrant(grant)),
            Authority::Ended => return Ok(()),
            Authority::Granted(..) | Authority::Late(..) => {}
        }
        self.ledger.on_written(grant, &[], false);
        self.lose(cx, grant, LostReason::Refused(code));
        Ok(())
    }

    /// Answers those of these grants that have come to their end.
    pub(super) fn settle(&mut self, cx: &mut Cx<'_>, grants: &[GrantId]) {
        for &grant in grants {
            let Some(end) = self.ledger.due(grant) else {
                continue;
            };
            let Some(held) = self.ledger.get(grant) else {
                continue;
            };
            let reason = match (held.is_disputed(), held.is_live()) {
                (true, _) => LostReason::Conflict,
                // GRANT_DONE named less than the range [GRANT-18].
                (false, true) => LostReason::Short,
                (false, false) => LostReason::Revoked,
            };
            let superfluous = held.is_forwarded() && !held.is_written_whole() && held.is_live();
            if superfluous && self.inbound_of(grant).is_none() {
                // Others brought the bytes first: its secondary need not [GRANT-17].
                self.revoke_at_secondary(cx, grant, 0);
            }
            self.answer(cx, grant, end, reason);
        }
    }

    /// Declares a grant lost as of now: exactly what is missing is reported, once.
    pub(super) fn lose(&mut self, cx: &mut Cx<'_>, grant: GrantId, reason: LostReason) {
        if let Some(end) = self.ledger.cut_short(grant) {
            self.answer(cx, grant, end, reason);
        }
    }

    /// All grants of a path that has ended.
    pub(super) fn lose_grants_of(&mut self, cx: &mut Cx<'_>, path: PathId, reason: LostReason) {
        let grants: GrantIds = self.ledger.on_path(path).map(|(id, _)| id).collect();
        for grant in grants {
            self.lose(cx, grant, reason);
            self.ledger.forget(grant);
        }
        self.ledger.forget_path(path);
        self.streams.forget_path(path);
    }

    /// All grants of a stream whose receiving half has ended at this end [GRANT-11].
    pub(super) fn lose_grants_of_stream(&mut self, cx: &mut Cx<'_>, stream: StreamId) {
        let grants: GrantIds = self.ledger.on_stream(stream).map(|(id, _)| id).collect();
        for grant in grants {
            self.drain(cx, grant);
            self.lose(cx, grant, LostReason::Gone);
        }
    }

    /// Tells the final status of a grant and lets go of it.
    fn answer(&mut self, cx: &mut Cx<'_>, grant: GrantId, end: Final, reason: LostReason) {
        let Some(held) = self.ledger.get(grant) else {
            return;
        };
        let (path, stream) = (held.path, held.stream);
        let _grant = tracing::debug_span!("grant", id = grant.0).entered();
        tracing::debug!(grant = grant.0, %path, %stream, ?end, ?reason, "grant ended");
        self.ledger.on_answered(grant);
        self.tell_final(cx, grant, stream, end, reason);
        self.drop_waiting(path, grant);
        let working = self.ledger.unanswered_on(path) > 0;
        if let Some(path) = self.paths.get_mut(path) {
            path.progressed.remove(&grant);
            // One that is being dialled has work that waits, and owes nothing yet.
            let working = working && path.is_active();
            path.liveness.set_working(working, cx.now.monotonic);
        }
        self.limit_start(path);
        self.end_retiring(cx, path);
    }

    /// A grant that is answered at once instead of being held [GRANT-5].
    fn answer_unheld(&mut self, cx: &mut Cx<'_>, grant: GrantId, held: &Held, reason: LostReason) {
        tracing::debug!(%grant, range = %held.range, ?reason, "grant not taken");
        self.tell_final(cx, grant, held.stream, held.short(), reason);
    }

    /// A grant whose stream is gone: what of it was ever present is not known any more [GRANT-19].
    fn answer_gone(&mut self, cx: &mut Cx<'_>, grant: GrantId, extent: Extent) {
        let (end, missing) = match extent {
            Extent::Fixed(range) => (range.end(), RangeSet::from(range)),
            Extent::Open { start } => (start, RangeSet::new()),
        };
        tracing::debug!(%grant, ?extent, "grant of a stream that is gone");
        self.tell_lost(cx, grant, LostReason::Gone, end, &missing);
    }

    fn tell_final(
        &mut self,
        cx: &mut Cx<'_>,
        grant: GrantId,
        stream: StreamId,
        end: Final,
        reason: LostReason,
    ) {
        match end {
            Final::Done { end } => self.tell(cx, grant, GrantOutcome::Done { end }),
            Final::Short { end, missing } => {
                for range in missing.iter() {
                    tracing::debug!(
                        grant = grant.0,
                        stream = stream.0,
                        start = range.start(),
                        end = range.end(),
                        ?reason,
                        "bytes lost"
                    );
                }
                self.note_lost(cx.now.monotonic, stream, &missing);
                self.tell_lost(cx, grant, reason, end, &missing);
            }
        }
    }

    fn tell_lost(
        &mut self,
        cx: &mut Cx<'_>,
        grant: GrantId,
        reason: LostReason,
        end: u64,
        missing: &RangeSet,
    ) {
        // A PLANTED BUG, never in a build that is to be used: with `--cfg kwik_canary` the report of a
        // loss in several pieces forgets its last one, so that nobody ever brings that. A simulator
        // that does not find it finds nothing.
        #[cfg(kwik_canary)]
        let missing = &{
            let mut told = missing.clone();
            if let (2.., Some(last)) = (missing.len(), missing.last()) {
                told.remove(last);
            }
            told
        };
        let mut lists = split_ranges(missing).into_iter().peekable();
        while let Some(missing) = lists.next() {
            let more = lists.peek().is_some();
            self.tell(
                cx,
                grant,
                GrantOutcome::Lost {
                    reason,
                    end,
                    missing,
                    more,
                },
            );
        }
    }

    fn tell(&mut self, cx: &mut Cx<'_>, grant: GrantId, outcome: GrantOutcome) {
        self.send_primary(
            cx,
            &ControlFrame::GrantStatus(GrantStatus { grant, outcome }),
        );
    }

    /// HOLE: bytes that had been present are missing again, and no grant brings them.
    pub(super) fn tell_hole(&mut self, cx: &mut Cx<'_>, stream: StreamId, missing: &RangeSet) {
        for ranges in split_ranges(missing) {
            self.send_primary(cx, &ControlFrame::Hole(Hole { stream, ranges }));
        }
    }

    /// Hands a grant to its secondary, stamped with the credit of this moment [FLOW-4].
    fn forward_grant(&mut self, cx: &mut Cx<'_>, mut frame: Grant) {
        let (path, grant) = (frame.path, frame.grant);
        let Some(held) = self.ledger.get(grant) else {
            return;
        };
        let (wanted, range) = (held.range, frame.extent.range());
        let stood = self.credited_grants(path).is_empty();
        if let Some(recv) = self.streams.aggregated_mut(frame.stream) {
            frame.max_offset = recv.window.tell(path);
            // Who has just been asked is not late, however long the reader has been waiting.
            recv.on_grant_begun(wanted, cx.now.monotonic);
        }
        self.ledger.on_forwarded(grant, range);
        self.forward(cx, path, ControlFrame::Grant(frame));
        if wanted.end() < range.end() {
            self.revoke_at_secondary(cx, grant, wanted.end());
        }
        if let Some(path) = self.paths.get_mut(path) {
            path.liveness.set_working(true, cx.now.monotonic);
        }
        self.arm_start(cx.now.monotonic, path, stood);
    }

    /// Keeps a frame for a path that has not joined, in the order in which they came; false if
    /// there is no room for it [GRANT-4].
    fn queue(&mut self, id: PathId, frame: ControlFrame) -> bool {
        let room = self.config.client.outbox_bytes_max;
        let Some(path) = self.paths.get_mut(id) else {
            return false;
        };
        let size = frame.encoded_len();
        let fits = path.waiting_bytes + size <= room;
        if fits {
            path.waiting_bytes += size;
            path.waiting.push_back(frame);
        }
        fits
    }

    fn queue_grant(&mut self, cx: &mut Cx<'_>, frame: Grant) {
        let (path, grant) = (frame.path, frame.grant);
        if !self.queue(path, ControlFrame::Grant(frame)) {
            // At once: too many seals must not pass it [SEAL-7].
            self.lose(cx, grant, LostReason::Limit);
        }
    }

    /// A grant that ended before its path joined is not forwarded.
    fn drop_waiting(&mut self, path: PathId, grant: GrantId) {
        if let Some(path) = self.paths.get_mut(path)
            && let Some(at) = path.waiting.iter().position(
                |frame| matches!(frame, ControlFrame::Grant(waiting) if waiting.grant == grant),
            )
            && let Some(frame) = path.waiting.remove(at)
        {
            path.waiting_bytes -= frame.encoded_len();
        }
    }

    /// Sends a frame to a secondary.
    pub(super) fn forward(&mut self, cx: &mut Cx<'_>, id: PathId, frame: ControlFrame) {
        if let ControlFrame::Grant(grant) = frame {
            // Only the stamp of `forward_grant` makes it fit to be sent.
            if self
                .ledger
                .get(grant.grant)
                .is_some_and(|held| held.is_forwarded())
            {
                self.send_secondary(cx, id, &ControlFrame::Grant(grant));
            } else {
                self.forward_grant(cx, grant);
            }
        } else {
            self.send_secondary(cx, id, &frame);
        }
    }

    /// Bytes came from a path: its grants have progress to report.
    pub(super) fn on_path_bytes(&mut self, now: Instant, id: PathId, grant: GrantId) {
        let progress = self.config.client.progress_interval;
        if let Some(path) = self.paths.get_mut(id) {
            path.progressed.insert(grant);
            path.progress_due.get_or_insert(now + progress);
        }
    }

    /// Judges the clocks of grants up to now.
    pub(super) fn on_grant_timeouts(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now.monotonic;
        while let Some(&(at, grant)) = self.drains.first()
            && at <= now
        {
            self.drains.remove(&(at, grant));
            self.lose(cx, grant, LostReason::Revoked);
            self.ledger.forget(grant);
        }
        self.on_reader_deadlines(cx);
        let ids: Vec<PathId> = self.paths.live.keys().copied().collect();
        for id in ids {
            self.on_start_deadline(cx, id, now);
            self.report_progress(cx, id, now);
        }
    }

    fn report_progress(&mut self, cx: &mut Cx<'_>, id: PathId, now: Instant) {
        let Some(path) = self.paths.get_mut(id) else {
            return;
        };
        if path.progress_due.is_none_or(|at| now < at) {
            return;
        }
        path.progress_due = None;
        for grant in std::mem::take(&mut path.progressed) {
            if let Some(present) = self.ledger.progress(grant) {
                self.tell(cx, grant, GrantOutcome::Progress { present });
            }
        }
    }
}

/// The part of a range below the final size.
fn clipped(range: ByteRange, final_size: Option<u64>) -> ByteRange {
    let end = final_size.map_or(range.end(), |size| size.clamp(range.start(), range.end()));
    ByteRange::new(range.start(), end).unwrap_or(range)
}

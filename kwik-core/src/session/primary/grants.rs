//! Grants: the rights of paths to write ranges, from the order to the one final status.
//!
//! Owns the table of grants without a final status. Never decides what is granted next: that is the
//! application or a plan.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::PrimarySession;
use super::plans::PlanId;
use super::stats::Counters;
use crate::carrier::{Carriers, Now};
use crate::error::{Misuse, StreamError, Violation};
use crate::event::PrimaryEvent;
use crate::ids::{ByteRange, GrantId, OFFSET_LIMIT, PathId, StreamId};
use crate::path::RawTarget;
use crate::ranges::RangeSet;
use crate::wire::{
    ControlFrame, Extent, Grant, GrantOutcome, GrantStatus, LostReason, Raw, Revoke,
};

/// Disjoint missing ranges of one lost grant that a client may list.
const LOST_RANGES_MAX: usize = 16_384;

#[derive(Default)]
pub(super) struct Grants {
    table: BTreeMap<GrantId, Given>,
    next: u64,
    pub(super) counters: Counters,
}

/// A grant without a final status.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) path: PathId,
    pub(super) stream: StreamId,
    pub(super) extent: Extent,
    pub(super) origin: Origin,
    given_at: Now,
    /// After REVOKE: late bytes still count, but nobody relies on them.
    is_draining: bool,
    /// Bytes that are reported present.
    present_bytes: u64,
    /// Missing ranges whose list is not complete.
    missing: RangeSet,
}

/// Who made a grant, and so who is told what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Application,
    Plan(PlanId),
}

/// The final status of a grant.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) grant: GrantId,
    pub(super) given: Given,
    /// All of the grant's range; what an open grant came to be.
    pub(super) range: ByteRange,
    /// Why it is lost, and the bytes of the range that are not present.
    pub(super) lost: Option<(LostReason, RangeSet)>,
}

impl Grants {
    fn get(&mut self, grant: GrantId) -> Result<Option<&mut Given>, Violation> {
        if grant.0 >= self.next {
            return Err(Violation::Unexpected(
                "status of a grant that was never given",
            ));
        }
        Ok(self.table.get_mut(&grant))
    }

    /// How many were given.
    pub(super) fn given(&self) -> u64 {
        self.next
    }

    /// How many have no final status.
    pub(super) fn live_count(&self) -> u64 {
        self.table.len() as u64
    }

    /// What of the stream draining grants may still bring.
    pub(super) fn draining(&self, stream: StreamId) -> RangeSet {
        let grants = self.table.values().filter(|given| given.stream == stream);
        grants
            .filter(|given| given.is_draining)
            .map(|given| given.extent.range())
            .collect()
    }

    /// Whether the end of the stream hangs on a grant.
    pub(super) fn is_undecided(&self, stream: StreamId) -> bool {
        let mut grants = self.table.values().filter(|given| given.stream == stream);
        grants.any(|given| given.is_draining || given.extent.is_open())
    }

    /// Those of these grants that are not taken back.
    fn live(&self, wanted: impl Fn(&Given) -> bool) -> Vec<GrantId> {
        self.table
            .iter()
            .filter(|(_, given)| wanted(given) && !given.is_draining)
            .map(|(&grant, _)| grant)
            .collect()
    }
}

// What the application asks.
impl PrimarySession {
    /// Gives a path the right to write exactly `range`, and the order to do it. A range that begins
    /// at the cursor moves the cursor to its end. `GrantDone` or `GrantLost` follows.
    pub(crate) fn delegate(
        &mut self,
        now: Now,
        stream: StreamId,
        range: ByteRange,
        path: PathId,
        command: Bytes,
        carriers: &mut dyn Carriers,
    ) -> Result<GrantId, StreamError> {
        self.desk.check_usable()?;
        self.check_grantable(stream, range)?;
        self.check_order(path, &command)?;
        self.aggregate(stream, carriers);
        if self.cursor(stream)? == range.start() {
            self.move_cursor(stream, range.end(), carriers);
        }
        let order = Order {
            path,
            stream,
            extent: Extent::Fixed(range),
            command: &command,
        };
        Ok(self.give(now, order, Origin::Application, carriers)?)
    }

    /// Takes a grant back. What arrives until its final status still counts.
    pub(crate) fn revoke(
        &mut self,
        _now: Now,
        grant: GrantId,
        carriers: &mut dyn Carriers,
    ) -> Result<(), Misuse> {
        self.desk.check_open()?;
        if !self.grants.table.contains_key(&grant) {
            return Err(Misuse::UnknownGrant(grant));
        }
        self.drain(grant, carriers);
        Ok(())
    }

    /// Sends a secondary a message of the application, sealed. With a stream as its target it is an
    /// open grant: the secondary writes from the offset on and says where it ended. Until then
    /// nothing else is granted or written there [GRANT-7].
    pub(crate) fn send_raw(
        &mut self,
        now: Now,
        path: PathId,
        target: RawTarget,
        bytes: Bytes,
        carriers: &mut dyn Carriers,
    ) -> Result<Option<GrantId>, StreamError> {
        self.desk.check_usable()?;
        let (stream, start) = match target {
            RawTarget::Message => {
                self.send_message(path, &bytes, carriers)?;
                return Ok(None);
            }
            RawTarget::Cursor(stream) => (stream, self.cursor(stream)?),
            RawTarget::At(stream, offset) => (stream, offset),
        };
        self.check_appendable(stream)?;
        self.check_grantable(stream, ByteRange::from(start))?;
        self.check_order(path, &bytes)?;
        self.aggregate(stream, carriers);
        let order = Order {
            path,
            stream,
            extent: Extent::Open { start },
            command: &bytes,
        };
        Ok(Some(self.give(
            now,
            order,
            Origin::Application,
            carriers,
        )?))
    }

    fn send_message(
        &mut self,
        path: PathId,
        bytes: &[u8],
        carriers: &mut dyn Carriers,
    ) -> Result<(), Misuse> {
        self.desk.check_order(bytes.len())?;
        let sealed = self.paths.usable(path)?.sealer.seal_raw(bytes);
        self.desk
            .send(&ControlFrame::Raw(Raw { path, sealed }), carriers);
        Ok(())
    }

    /// Whether `range` of the stream may be given to somebody.
    pub(super) fn check_grantable(
        &mut self,
        stream: StreamId,
        range: ByteRange,
    ) -> Result<(), StreamError> {
        let found = self.streams.get(stream)?;
        found.send.check_open(stream)?;
        if range.is_empty() || range.start() < self.plain_end(stream)? {
            return Err(Misuse::BadRange(range).into());
        }
        if let Some(aggregated) = self.streams.aggregated(stream) {
            aggregated.check_range(range)?;
            if aggregated.coverage.is_taken(range) {
                return Err(Misuse::RangeTaken(range).into());
            }
        }
        let cursor = self.cursor(stream)?;
        if range.start() <= cursor && cursor < range.end() {
            self.check_cursor_moves(stream)?;
        }
        Ok(())
    }

    fn check_order(&mut self, path: PathId, command: &[u8]) -> Result<(), Misuse> {
        self.desk.check_order(command.len())?;
        if self.paths.usable(path)?.has_room() {
            Ok(())
        } else {
            Err(Misuse::Limit("grants of a path"))
        }
    }
}

/// What a grant is to say.
pub(super) struct Order<'a> {
    pub(super) path: PathId,
    pub(super) stream: StreamId,
    pub(super) extent: Extent,
    pub(super) command: &'a [u8],
}

// How grants begin and end.
impl PrimarySession {
    /// Sends a grant.
    pub(super) fn give(
        &mut self,
        now: Now,
        order: Order<'_>,
        origin: Origin,
        carriers: &mut dyn Carriers,
    ) -> Result<GrantId, Misuse> {
        let Order {
            path,
            stream,
            extent,
            command,
        } = order;
        let grant = GrantId(self.grants.next);
        let _grant = tracing::debug_span!("grant", id = grant.0).entered();
        let found = self.paths.usable(path)?;
        let sealed = found.sealer.seal_grant(grant, stream, extent, command);
        found.grants += 1;
        self.grants.next += 1;
        if let Extent::Fixed(range) = extent {
            self.grants.counters.granted_bytes += range.len();
        }
        self.grants.table.insert(
            grant,
            Given {
                path,
                stream,
                extent,
                origin,
                given_at: now,
                is_draining: false,
                present_bytes: 0,
                missing: RangeSet::new(),
            },
        );
        if let Some(aggregated) = self.streams.aggregated(stream) {
            aggregated.coverage.grant(extent.range());
        }
        tracing::debug!(session = %self.desk.session, %grant, %path, %stream, ?extent, "granted");
        let frame = Grant {
            grant,
            path,
            stream,
            extent,
            max_offset: 0,
            sealed,
        };
        self.desk.send(&ControlFrame::Grant(frame), carriers);
        Ok(grant)
    }

    /// Takes a grant back, unless that was done before. An open grant keeps its range to itself
    /// until its final status [GRANT-7].
    fn drain(&mut self, grant: GrantId, carriers: &mut dyn Carriers) {
        let Some(given) = self.grants.table.get_mut(&grant).filter(|g| !g.is_draining) else {
            return;
        };
        given.is_draining = true;
        let (extent, stream) = (given.extent, given.stream);
        if let Extent::Fixed(range) = extent
            && let Some(aggregated) = self.streams.aggregated(stream)
        {
            aggregated.coverage.release(range);
        }
        tracing::debug!(session = %self.desk.session, %grant, "revoked");
        self.desk
            .send(&ControlFrame::Revoke(Revoke { grant, end: 0 }), carriers);
    }

    /// Takes back every grant of a stream.
    pub(super) fn revoke_stream(&mut self, stream: StreamId, carriers: &mut dyn Carriers) {
        for grant in self.grants.live(|given| given.stream == stream) {
            self.drain(grant, carriers);
        }
    }

    /// Takes back every grant of a path.
    pub(super) fn revoke_path(&mut self, path: PathId, carriers: &mut dyn Carriers) {
        for grant in self.grants.live(|given| given.path == path) {
            self.drain(grant, carriers);
        }
    }

    pub(super) fn on_grant_status(
        &mut self,
        now: Now,
        status: GrantStatus,
        carriers: &mut dyn Carriers,
    ) -> Result<(), Violation> {
        let grant = status.grant;
        // A grant whose final status was heard is over [GRANT-3].
        let Some(given) = self.grants.get(grant)? else {
            self.grants.counters.late_statuses += 1;
            return Ok(());
        };
        let extent = given.extent;
        let verdict = match status.outcome {
            GrantOutcome::Progress { present } => {
                self.on_present(now, grant, present);
                return Ok(());
            }
            GrantOutcome::Done { end } => (ended_range(extent, end)?, None),
            GrantOutcome::Lost {
                reason,
                end,
                missing,
                more,
            } => {
                let range = ended_range(extent, end)?;
                if missing.iter().any(|part| !range.contains(*part)) {
                    return Err(Violation::Unexpected("missing bytes outside a grant"));
                }
                given.missing.insert_all(&missing.into_iter().collect());
                if given.missing.len() > LOST_RANGES_MAX {
                    return Err(Violation::ExcessiveLoad("missing ranges of a grant"));
                }
                if more {
                    return Ok(());
                }
                (range, Some((reason, std::mem::take(&mut given.missing))))
            }
        };
        let (range, lost) = verdict;
        let missing_bytes = lost.as_ref().map_or(0, |(_, missing)| missing.bytes());
        self.on_present(now, grant, range.len() - missing_bytes);
        self.grants.counters.lost_bytes += missing_bytes;
        if extent.is_open() {
            self.grants.counters.granted_bytes += range.len();
        }
        if let Some(given) = self.grants.table.remove(&grant) {
            self.on_verdict(
                Verdict {
                    grant,
                    given,
                    range,
                    lost,
                },
                carriers,
            );
        }
        Ok(())
    }

    /// So many bytes of a grant are present.
    fn on_present(&mut self, now: Now, grant: GrantId, present_bytes: u64) {
        let Some(given) = self.grants.table.get_mut(&grant) else {
            return;
        };
        let present_bytes = present_bytes.min(given.extent.range().len());
        let fresh = present_bytes.saturating_sub(given.present_bytes);
        if fresh == 0 {
            return;
        }
        let is_first = given.present_bytes == 0;
        given.present_bytes = present_bytes;
        let Some(path) = self.paths.get(given.path) else {
            return;
        };
        path.on_bytes(now, fresh);
        if is_first {
            let after = now
                .monotonic
                .saturating_duration_since(given.given_at.monotonic);
            path.pace.on_first_bytes(after);
        }
    }

    /// A grant is over.
    fn on_verdict(&mut self, verdict: Verdict, carriers: &mut dyn Carriers) {
        let _grant = tracing::debug_span!("grant", id = verdict.grant.0).entered();
        let (stream, path) = (verdict.given.stream, verdict.given.path);
        tracing::debug!(
            session = %self.desk.session, grant = %verdict.grant, %path, %stream,
            lost = ?verdict.lost.as_ref().map(|(reason, _)| reason), "grant ended"
        );
        if let Some(found) = self.paths.get(path) {
            let was_full = !found.has_room();
            found.on_grant_ended();
            if matches!(verdict.lost, Some((LostReason::Limit, _))) {
                found.on_limit();
            }
            if was_full {
                self.plans.mark_all();
            }
        }
        let missing = self.account(&verdict, carriers);
        match verdict.given.origin {
            Origin::Application => self.tell_verdict(&verdict, missing),
            Origin::Plan(plan) => self.on_planned_verdict(plan, &verdict, &missing),
        }
        self.say_final_size(stream, carriers);
    }

    /// Enters a final status into the stream's books; what is missing and does not come from
    /// elsewhere.
    fn account(&mut self, verdict: &Verdict, carriers: &mut dyn Carriers) -> RangeSet {
        let Verdict {
            given, range, lost, ..
        } = verdict;
        let mut missing = lost
            .as_ref()
            .map(|(_, missing)| missing.clone())
            .unwrap_or_default();
        let Some(aggregated) = self.streams.aggregated(given.stream) else {
            return missing;
        };
        // The range of a revoked grant may be another's by now; an open one was kept.
        if given.extent.is_open() || !given.is_draining {
            aggregated.coverage.release(given.extent.range());
        }
        missing
            .missing_in(*range)
            .iter()
            .for_each(|part| aggregated.coverage.settle(part));
        if matches!(lost, Some((LostReason::Conflict, _))) {
            aggregated.coverage.unsettle(&missing);
        }
        missing = aggregated.coverage.not_coming(&missing);
        if given.extent.is_open() && aggregated.cursor.next() == range.start() {
            self.move_cursor(given.stream, range.end(), carriers);
        }
        missing
    }

    fn tell_verdict(&mut self, verdict: &Verdict, missing: RangeSet) {
        let grant = verdict.grant;
        self.desk.tell(match verdict.lost {
            None => PrimaryEvent::GrantDone {
                grant,
                end: verdict.range.end(),
            },
            Some((reason, _)) => PrimaryEvent::GrantLost {
                grant,
                reason,
                missing,
            },
        });
    }
}

/// The range of a grant that ended at `end`.
fn ended_range(extent: Extent, end: u64) -> Result<ByteRange, Violation> {
    let wrong = Violation::Unexpected("end of a grant");
    match extent {
        Extent::Fixed(range) if end == range.end() => Ok(range),
        Extent::Fixed(_) => Err(wrong),
        Extent::Open { start } => ByteRange::new(start, end)
            .filter(|_| end <= OFFSET_LIMIT)
            .ok_or(wrong),
    }
}

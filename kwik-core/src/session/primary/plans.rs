//! Plans: ranges that the core grants piece by piece over all servers.
//!
//! Owns one planner a plan and carries out what it answers: grants for the secondaries, open
//! segments for the primary itself. Never decides who gets what: see [`crate::plan`].

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::PrimarySession;
use super::grants::{Order, Origin, Verdict};
use super::segments::Piece;
use super::streams::{Named, SendHalf};
use crate::carrier::{Carriers, Now};
use crate::error::{StreamError, Violation};
use crate::event::PrimaryEvent;
use crate::ids::{ByteRange, PathId, StreamId};
use crate::plan::{Assignment, Candidate, Loss, Offer, Pace, PlanSpec, Planner, Writer};
use crate::ranges::RangeSet;
use crate::wire::{Extent, Hole, LostReason};

/// Pieces of one plan that the application is asked to write at the same time. More may be on their
/// way.
const OWN_OPEN_MAX: usize = 2;

/// Names a plan; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PlanId(u64);

/// The plans of all streams that still send. A finished one is kept: bytes of it may be reported
/// missing as long as its stream is not done.
#[derive(Default)]
pub(super) struct Plans {
    table: BTreeMap<PlanId, Plan>,
    next: u64,
    /// Plans for which something may have to be dealt.
    dirty: VecDeque<PlanId>,
    /// The plan that was served last, so that none is always first.
    last_served: Option<PlanId>,
    /// How fast the primary itself writes.
    own_pace: Pace,
}

struct Plan {
    stream: StreamId,
    range: ByteRange,
    command: Bytes,
    planner: Planner,
    is_dirty: bool,
}

impl Plans {
    fn add(&mut self, stream: StreamId, range: ByteRange, spec: PlanSpec) {
        let id = PlanId(self.next);
        self.next += 1;
        let planner = Planner::new(range, spec.spread);
        let plan = Plan {
            stream,
            range,
            command: spec.command,
            planner,
            is_dirty: false,
        };
        self.table.insert(id, plan);
        self.mark(id);
    }

    fn mark(&mut self, id: PlanId) {
        let plan = self.table.get_mut(&id);
        if let Some(plan) = plan.filter(|plan| !plan.is_dirty && !plan.planner.is_done()) {
            plan.is_dirty = true;
            self.dirty.push_back(id);
        }
    }

    fn mark_where(&mut self, wanted: impl Fn(&Plan) -> bool) {
        let last = self.last_served;
        let mut ids: Vec<PlanId> = self
            .table
            .iter()
            .filter(|(_, plan)| wanted(plan))
            .map(|(&id, _)| id)
            .collect();
        ids.sort_by_key(|id| (Some(*id) <= last, *id));
        ids.into_iter().for_each(|id| self.mark(id));
    }

    /// The stream's credit or its grants changed.
    pub(super) fn mark_stream(&mut self, stream: StreamId) {
        self.mark_where(|plan| plan.stream == stream);
    }

    /// The paths changed.
    pub(super) fn mark_all(&mut self) {
        self.mark_where(|_| true);
    }

    fn next_dirty(&mut self) -> Option<PlanId> {
        while let Some(id) = self.dirty.pop_front() {
            if let Some(plan) = self.table.get_mut(&id) {
                plan.is_dirty = false;
                return Some(id);
            }
        }
        None
    }

    pub(super) fn forget_stream(&mut self, stream: StreamId) {
        self.table.retain(|_, plan| plan.stream != stream);
    }

    /// The application wrote `range` of a stream without being asked to by a plan.
    pub(super) fn on_written_elsewhere(&mut self, stream: StreamId, range: ByteRange) {
        for plan in self.table.values_mut().filter(|plan| plan.stream == stream) {
            plan.planner.on_written_elsewhere(range);
        }
    }
}

impl PrimarySession {
    /// Has `range` written piece by piece by all active secondaries and the primary itself, which
    /// is told its pieces with `OwnRange`. What is lost is granted again. A range that begins at
    /// the cursor moves the cursor to its end.
    pub(crate) fn plan(
        &mut self,
        now: Now,
        stream: StreamId,
        range: ByteRange,
        spec: PlanSpec,
        carriers: &mut dyn Carriers,
    ) -> Result<(), StreamError> {
        self.desk.check_usable()?;
        self.check_grantable(stream, range)?;
        self.desk.check_order(spec.command.len())?;
        self.aggregate(stream, carriers);
        if self.cursor(stream)? == range.start() {
            self.move_cursor(stream, range.end(), carriers);
        }
        if let Some(aggregated) = self.streams.aggregated(stream) {
            aggregated.coverage.plan(range);
        }
        tracing::debug!(session = %self.desk.session, %stream, %range, ?spec.spread, "planned");
        self.plans.add(stream, range, spec);
        self.deal(now, carriers);
        Ok(())
    }

    /// Gives out what can be given out of every plan for which something changed.
    pub(super) fn deal(&mut self, now: Now, carriers: &mut dyn Carriers) {
        while let Some(id) = self.plans.next_dirty() {
            while let Some(next) = self.next_assignment(id) {
                self.plans.last_served = Some(id);
                match next.writer {
                    Writer::Own => self.give_own(now, id, next.range),
                    Writer::Path(path) => self.give_piece(now, id, path, next.range, carriers),
                }
            }
            self.report_stranded(id);
        }
    }

    fn next_assignment(&mut self, id: PlanId) -> Option<Assignment> {
        let candidates = self.candidates(id);
        let plan = self.plans.table.get_mut(&id)?;
        let window_end = self.streams.aggregated(plan.stream)?.credit;
        plan.planner.next_assignment(Offer {
            window_end,
            candidates: &candidates,
        })
    }

    /// Who can write for a plan now.
    fn candidates(&self, id: PlanId) -> Vec<Candidate> {
        let own = Candidate {
            writer: Writer::Own,
            pace: self.plans.own_pace,
            is_demoted: false,
            has_room: self.segments.open_pieces(id) < OWN_OPEN_MAX,
        };
        let paths = self.paths.active().map(|(path, found)| Candidate {
            writer: Writer::Path(path),
            pace: found.pace,
            is_demoted: found.standing.is_demoted(),
            has_room: found.has_room(),
        });
        std::iter::once(own).chain(paths).collect()
    }

    fn give_own(&mut self, now: Now, id: PlanId, range: ByteRange) {
        let Some(plan) = self.plans.table.get(&id) else {
            return;
        };
        let stream = plan.stream;
        let piece = Piece {
            plan: id,
            stream,
            range,
            dealt_at: now,
        };
        let segment = self.segments.add_piece(piece);
        tracing::debug!(
            session = %self.desk.session,
            stream = stream.0,
            start = range.start(),
            end = range.end(),
            "own range"
        );
        self.desk.tell(PrimaryEvent::OwnRange {
            stream,
            range,
            segment,
        });
    }

    fn give_piece(
        &mut self,
        now: Now,
        id: PlanId,
        path: PathId,
        range: ByteRange,
        carriers: &mut dyn Carriers,
    ) {
        let Some(plan) = self.plans.table.get(&id) else {
            return;
        };
        let (stream, command) = (plan.stream, plan.command.clone());
        let order = Order {
            path,
            stream,
            extent: Extent::Fixed(range),
            command: &command,
        };
        let given = self.give(now, order, Origin::Plan(id), carriers);
        debug_assert!(given.is_ok(), "a candidate can be granted to");
    }

    /// A grant of a plan has its final status.
    pub(super) fn on_planned_verdict(&mut self, id: PlanId, verdict: &Verdict, missing: &RangeSet) {
        let Some(plan) = self.plans.table.get_mut(&id) else {
            return;
        };
        let (writer, range) = (Writer::Path(verdict.given.path), verdict.range);
        if let Some(path) = self.paths.get(verdict.given.path) {
            match &verdict.lost {
                None => path.standing.on_brought(),
                Some((LostReason::NotStarted | LostReason::Short, _)) => path.standing.on_failed(),
                Some(_) => {}
            }
        }
        match &verdict.lost {
            None => plan.planner.on_done(writer, range),
            // The client has ended the stream: STOP_SENDING is on its way.
            Some((LostReason::Gone, _)) => return self.plans.forget_stream(verdict.given.stream),
            Some((reason, reported)) => {
                let is_barren = reported.bytes() == range.len();
                let is_busy = self
                    .paths
                    .get(verdict.given.path)
                    .is_some_and(|p| p.grants > 0);
                plan.planner
                    .on_lost(writer, range, missing, loss(*reason, is_barren, is_busy));
                if let Some(aggregated) = self.streams.aggregated(verdict.given.stream) {
                    missing
                        .iter()
                        .for_each(|part| aggregated.coverage.plan(part));
                }
            }
        }
        self.plans.mark_stream(verdict.given.stream);
    }

    /// A piece that the primary itself wrote has arrived.
    pub(super) fn on_piece_done(&mut self, now: Now, piece: &Piece) {
        let after = now
            .monotonic
            .saturating_duration_since(piece.dealt_at.monotonic);
        self.plans
            .own_pace
            .on_bytes(now.monotonic, piece.range.len());
        self.plans.own_pace.on_first_bytes(after);
        self.rest_if_idle();
        if let Some(plan) = self.plans.table.get_mut(&piece.plan) {
            plan.planner.on_done(Writer::Own, piece.range);
        }
        self.plans.mark_stream(piece.stream);
    }

    /// The application ended a piece before its end.
    pub(super) fn on_piece_short(&mut self, piece: &Piece, written_to: u64) {
        self.rest_if_idle();
        let rest = ByteRange::new(written_to, piece.range.end()).unwrap_or(piece.range);
        let loss = if rest == piece.range {
            Loss::Barren
        } else {
            Loss::Excused
        };
        let mut missing = RangeSet::from(rest);
        if let Some(aggregated) = self.streams.aggregated(piece.stream) {
            missing = aggregated.coverage.not_coming(&missing);
        }
        if let Some(plan) = self.plans.table.get_mut(&piece.plan) {
            plan.planner
                .on_lost(Writer::Own, piece.range, &missing, loss);
        }
        self.plans.mark_stream(piece.stream);
    }

    fn rest_if_idle(&mut self) {
        if !self.segments.has_pieces() {
            self.plans.own_pace.on_idle();
        }
    }

    /// What no server writes is the application's again.
    fn report_stranded(&mut self, id: PlanId) {
        let candidates = self.candidates(id);
        let Some(plan) = self.plans.table.get_mut(&id) else {
            return;
        };
        let Some(missing) = plan.planner.take_stranded(&candidates) else {
            return;
        };
        let stream = plan.stream;
        if let Some(aggregated) = self.streams.aggregated(stream) {
            aggregated.coverage.unplan(&missing);
        }
        tracing::debug!(session = %self.desk.session, %stream, ?missing, "plan stranded");
        self.desk.tell(PrimaryEvent::Hole { stream, missing });
    }

    /// The reader waits for bytes that no grant covers. What is on its way from here it cannot
    /// know; what a plan brought, a plan brings again; the rest is the application's.
    pub(super) fn on_hole(&mut self, hole: Hole) -> Result<(), Violation> {
        let stream = hole.stream;
        let aggregated = match self.streams.named(stream)? {
            Named::Stream(found) => match &mut found.send {
                SendHalf::Aggregated(aggregated) => aggregated,
                SendHalf::Plain(_) => return Err(Violation::Unexpected("hole in a plain stream")),
                SendHalf::Finishing | SendHalf::Ended { .. } => return Ok(()),
            },
            Named::Gone => return Ok(()),
        };
        let reported: RangeSet = hole.ranges.into_iter().collect();
        let mut missing = aggregated
            .coverage
            .orphaned(&reported, aggregated.cursor.next());
        missing.remove_all(&self.segments.flights.of_stream(stream));
        aggregated.coverage.unsettle(&missing);
        for plan in self
            .plans
            .table
            .values_mut()
            .filter(|plan| plan.stream == stream)
        {
            let part = missing.within(plan.range);
            if !part.is_empty() {
                plan.planner.on_hole(&part);
                part.iter()
                    .for_each(|range| aggregated.coverage.plan(range));
                missing.remove_all(&part);
            }
        }
        self.plans.mark_stream(stream);
        if !missing.is_empty() {
            tracing::debug!(session = %self.desk.session, %stream, ?missing, "hole");
            self.desk.tell(PrimaryEvent::Hole { stream, missing });
        }
        Ok(())
    }
}

/// What a lost grant says about its path. A limit of the client is no fault of a path that is at
/// work.
fn loss(reason: LostReason, is_barren: bool, is_busy: bool) -> Loss {
    match reason {
        LostReason::Refused(_) => Loss::Refused,
        LostReason::Conflict => Loss::Conflict,
        LostReason::Limit if is_busy => Loss::Excused,
        LostReason::Path
        | LostReason::NotStarted
        | LostReason::Revoked
        | LostReason::Short
        | LostReason::Gone
        | LostReason::Limit => {
            if is_barren {
                Loss::Barren
            } else {
                Loss::Excused
            }
        }
    }
}

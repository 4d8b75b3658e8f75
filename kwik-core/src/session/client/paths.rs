//! The secondary paths of a client: naming, living, ending.
//!
//! Owns the path table. How a path comes about is `dialing`'s business, what becomes of its grants
//! `grants`'.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::ClientSession;
use super::clocks::StartClock;
use crate::carrier::{DialTarget, Output};
use crate::error::{Violation, code};
use crate::event::{ClientEvent, PathEvent};
use crate::ids::{GrantId, PathId};
use crate::path::liveness::{Liveness, Verdict};
use crate::path::rate::DialRate;
use crate::path::redial::Dial;
use crate::path::state::PathState;
use crate::path::{PathInfo, PathPhase, PathRole};
use crate::session::Cx;
use crate::session::control::ControlChannel;
use crate::wire::{AddPath, ControlFrame, LostReason, PathStatus, PathStatusState, RetirePath};

/// All secondary paths.
#[derive(Default)]
pub(super) struct Paths {
    /// Those that have not ended.
    pub(super) live: BTreeMap<PathId, ClientPath>,
    /// Those that have, latest last.
    ended: VecDeque<PathInfo>,
    /// The highest id that the primary has named.
    highest: Option<PathId>,
    /// How often was dialled lately.
    pub(super) rate: DialRate,
}

/// One secondary path that has not ended.
pub(super) struct ClientPath {
    pub(super) state: PathState,
    pub(super) target: DialTarget,
    pub(super) ticket: Bytes,
    /// How the dial goes; `None` while it waits for its turn, and once it has led to a join.
    pub(super) dial: Option<Dial>,
    pub(super) control: Option<ControlChannel>,
    pub(super) liveness: Liveness,
    /// The silence that kills it, as judged last.
    silence_max: Duration,
    /// Frames for a path that has not joined yet.
    pub(super) waiting: VecDeque<ControlFrame>,
    pub(super) waiting_bytes: usize,
    /// When its credited grants are lost unless enough comes of them.
    pub(super) start: Option<StartClock>,
    /// Grants with progress to report, and when.
    pub(super) progressed: BTreeSet<GrantId>,
    pub(super) progress_due: Option<Instant>,
    retire_deadline: Option<Instant>,
    /// Bytes that nobody had brought before.
    pub(super) received_bytes: u64,
}

impl Paths {
    /// Whether the primary ever named this path.
    pub(super) fn was_named(&self, path: PathId) -> bool {
        self.highest.is_some_and(|highest| path <= highest)
    }

    pub(super) fn get_mut(&mut self, path: PathId) -> Option<&mut ClientPath> {
        self.live.get_mut(&path)
    }

    /// How many of those that have ended are listed.
    pub(super) fn ended_len(&self) -> usize {
        self.ended.len()
    }

    /// Everything known, ended paths first.
    pub(super) fn infos(&self) -> impl Iterator<Item = PathInfo> + '_ {
        self.ended
            .iter()
            .cloned()
            .chain(self.live.iter().map(|(&id, path)| path.info(id)))
    }

    /// Control bytes of all paths that are alive.
    pub(super) fn control_bytes(&self) -> u64 {
        self.live
            .values()
            .filter_map(|path| path.control.as_ref())
            .map(ControlChannel::bytes)
            .sum()
    }
}

impl ClientPath {
    fn new(target: DialTarget, ticket: Bytes, silence_max: Duration) -> Self {
        Self {
            state: PathState::new(),
            target,
            ticket,
            dial: None,
            control: None,
            liveness: Liveness::new(),
            silence_max,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            start: None,
            progressed: BTreeSet::new(),
            progress_due: None,
            retire_deadline: None,
            received_bytes: 0,
        }
    }

    fn info(&self, path: PathId) -> PathInfo {
        PathInfo {
            path,
            role: PathRole::Secondary,
            phase: self.state.phase(),
            addr: Some(self.target.addr),
            received_bytes: self.received_bytes,
            rtt: None,
            lost_packets: 0,
        }
    }

    /// When too little has come of it for too long; never while its clock stands.
    pub(super) fn start_deadline(&self) -> Option<Instant> {
        let runs = !self.liveness.is_suspect();
        self.start.filter(|_| runs).map(|clock| clock.deadline)
    }

    pub(super) fn is_active(&self) -> bool {
        matches!(self.state.phase(), PathPhase::Active | PathPhase::Retiring)
    }
}

impl ClientSession {
    /// ADD_PATH: the primary names a secondary. Ids rise [PATH-1]; there is a bound on the paths
    /// [PATH-4], and without an address that may be dialled the path is dead at once [PATH-3].
    pub(super) fn on_add_path(&mut self, cx: &mut Cx<'_>, frame: AddPath) -> Result<(), Violation> {
        if frame.path == PathId::PRIMARY || self.paths.was_named(frame.path) {
            return Err(Violation::Unexpected("path id in ADD_PATH"));
        }
        let path = frame.path;
        self.paths.highest = Some(path);
        self.events
            .push_back(ClientEvent::Path(PathEvent::Added(path)));
        let addr = self.permitted(&frame.addrs);
        let policy = &self.config.client.dial;
        let room = self.paths.live.len() < policy.paths_max;
        let Some(addr) = addr.filter(|_| room) else {
            tracing::info!(%path, room, "secondary not dialled: the dial policy forbids it");
            let any = frame.addrs.first().copied();
            self.remember(dead_info(path, any));
            self.tell_path_ended(cx, path, PathPhase::Dead);
            return Ok(());
        };
        let target = DialTarget {
            addr,
            server_name: frame.server_name,
            pin: frame.pin,
        };
        let silence_max = self.config.client.path_silence_max;
        self.paths
            .live
            .insert(path, ClientPath::new(target, frame.ticket, silence_max));
        self.dial_next(cx);
        Ok(())
    }

    /// RETIRE_PATH: no more grants; the path closes when those it has are final.
    pub(super) fn on_retire_path(
        &mut self,
        cx: &mut Cx<'_>,
        frame: &RetirePath,
    ) -> Result<(), Violation> {
        if !self.paths.was_named(frame.path) {
            return Err(Violation::Unexpected("path id in RETIRE_PATH"));
        }
        let deadline = cx.now.monotonic + self.config.client.retire_max;
        let Some(path) = self.paths.get_mut(frame.path) else {
            return Ok(());
        };
        if path.state.on_retire() {
            tracing::debug!(path = %frame.path, "path retiring");
            path.retire_deadline = Some(deadline);
            self.end_retiring(cx, frame.path);
        } else if path.state.phase() != PathPhase::Retiring {
            self.end_path(cx, frame.path, PathPhase::Retired, code::PATH_ENDED);
        }
        Ok(())
    }

    /// Closes a retiring path that has nothing more to bring.
    pub(super) fn end_retiring(&mut self, cx: &mut Cx<'_>, id: PathId) {
        let retiring = self
            .paths
            .live
            .get(&id)
            .is_some_and(|path| path.state.phase() == PathPhase::Retiring);
        if retiring && self.ledger.unanswered_on(id) == 0 {
            self.end_path(cx, id, PathPhase::Retired, code::NO_ERROR);
        }
    }

    /// A secondary broke the protocol: it alone pays.
    pub(super) fn on_secondary_violation(
        &mut self,
        cx: &mut Cx<'_>,
        id: PathId,
        violation: &Violation,
    ) {
        tracing::warn!(path = %id, %violation, "secondary broke the protocol");
        self.end_path(cx, id, PathPhase::Dead, violation.code());
    }

    /// Ends a path whose connection this end closes, with the code that says why [PATH-11].
    pub(super) fn end_path(&mut self, cx: &mut Cx<'_>, id: PathId, phase: PathPhase, code: u64) {
        if self
            .paths
            .live
            .get(&id)
            .is_some_and(|path| path.dial.is_some() || path.control.is_some())
        {
            self.outputs.push_back(Output::Close { path: id, code });
        }
        self.on_path_ended(cx, id, phase);
    }

    /// A path has ended, and the next dial may begin.
    pub(super) fn on_path_ended(&mut self, cx: &mut Cx<'_>, id: PathId, phase: PathPhase) {
        self.bury(cx, id, phase);
        self.dial_next(cx);
    }

    /// A path has ended: its grants are lost, exactly.
    pub(super) fn bury(&mut self, cx: &mut Cx<'_>, id: PathId, phase: PathPhase) {
        let Some(mut path) = self.paths.live.remove(&id) else {
            return;
        };
        path.state.end(phase);
        if let Some(control) = &path.control {
            self.stats.ended_control_bytes += control.bytes();
        }
        self.remember(path.info(id));
        self.drop_segments_of(id);
        // The end comes before what it costs, so that nobody grants those ranges to this path again
        // [PATH-9].
        self.tell_path_ended(cx, id, phase);
        self.lose_grants_of(cx, id, LostReason::Path);
    }

    fn tell_path_ended(&mut self, cx: &mut Cx<'_>, id: PathId, phase: PathPhase) {
        tracing::info!(path = %id, ?phase, "path ended");
        let (state, event) = if phase == PathPhase::Retired {
            (PathStatusState::Retired, PathEvent::Retired(id))
        } else {
            (PathStatusState::Dead, PathEvent::Dead(id))
        };
        self.send_primary(cx, &path_status(id, state));
        self.events.push_back(ClientEvent::Path(event));
    }

    fn remember(&mut self, info: PathInfo) {
        let ended = &mut self.paths.ended;
        ended.push_back(info);
        if ended.len() > self.config.client.path_history_max {
            ended.pop_front();
        }
    }

    /// A datagram arrived on `heard`: its silence is over, and that of the others counts.
    pub(super) fn on_heard(&mut self, now: Instant, heard: PathId) {
        if self.on_dial_heard(now, heard) {
            return;
        }
        let mut suspected = Duration::ZERO;
        for (&id, path) in &mut self.paths.live {
            if id == heard {
                suspected = path.liveness.on_heard(now);
            } else if path.liveness.on_other_heard(now) {
                self.outputs.push_back(Output::Probe(id));
            }
        }
        if !suspected.is_zero() {
            self.on_suspicion_over(now, heard, suspected);
        }
    }

    /// Judges dials, silences and retirements up to now.
    pub(super) fn on_path_timeouts(&mut self, cx: &mut Cx<'_>) {
        let ids: Vec<PathId> = self.paths.live.keys().copied().collect();
        for id in ids {
            self.on_path_timeout(cx, id);
        }
    }

    fn on_path_timeout(&mut self, cx: &mut Cx<'_>, id: PathId) {
        let now = cx.now.monotonic;
        let silence_max = self.silence_max(cx, id);
        let Some(path) = self.paths.live.get_mut(&id) else {
            return;
        };
        if let Some(dial) = path.dial {
            return self.on_dial_timeout(cx, id, dial);
        }
        if path.retire_deadline.is_some_and(|at| at <= now) {
            return self.end_path(cx, id, PathPhase::Retired, code::PATH_ENDED);
        }
        path.silence_max = silence_max;
        match path.liveness.on_timeout(now, silence_max) {
            Verdict::Wait => {}
            Verdict::Probe => {
                // Perhaps it is us who are cut off: then everybody is silent. The primary alone could
                // not tell: it may be slow, or on its way out itself [PATH-7].
                let witnesses = [Some(id), Some(PathId::PRIMARY), self.witness(id)];
                let probes = witnesses.into_iter().flatten().map(Output::Probe);
                self.outputs.extend(probes);
            }
            Verdict::Dead => {
                tracing::info!(path = %id, "secondary fell silent");
                self.end_path(cx, id, PathPhase::Dead, code::PATH_ENDED);
            }
        }
    }

    /// Another secondary that can tell whether it is us who are cut off: one that is not suspected
    /// itself, if there is one.
    fn witness(&self, suspect: PathId) -> Option<PathId> {
        let others = self.paths.live.iter();
        others
            .filter(|&(&id, path)| id != suspect && path.is_active())
            .min_by_key(|(_, path)| path.liveness.is_suspect())
            .map(|(&id, _)| id)
    }

    /// The silence that kills a path: never below three probe timeouts [PATH-6].
    fn silence_max(&self, cx: &Cx<'_>, id: PathId) -> Duration {
        let pto = cx
            .carriers
            .path_stats(id)
            .map_or_else(Default::default, |stats| stats.pto);
        self.config.client.path_silence_max.max(pto * 3)
    }

    /// The next deadline of any path.
    pub(super) fn path_deadline(&self) -> Option<Instant> {
        let dial_deadline = self.config.client.dial.dial_deadline;
        let deadlines = |path: &ClientPath| {
            [
                path.dial.map(|dial| dial.deadline(dial_deadline)),
                path.retire_deadline,
                path.start_deadline(),
                path.progress_due,
                path.liveness.deadline(path.silence_max),
            ]
            .into_iter()
            .flatten()
            .min()
        };
        self.paths.live.values().filter_map(deadlines).min()
    }
}

pub(super) fn path_status(path: PathId, state: PathStatusState) -> ControlFrame {
    ControlFrame::PathStatus(PathStatus { path, state })
}

fn dead_info(path: PathId, addr: Option<SocketAddr>) -> PathInfo {
    PathInfo {
        path,
        role: PathRole::Secondary,
        phase: PathPhase::Dead,
        addr,
        received_bytes: 0,
        rtt: None,
        lost_packets: 0,
    }
}

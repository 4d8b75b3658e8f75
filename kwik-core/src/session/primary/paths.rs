//! The secondaries of a session, as its primary knows them.
//!
//! Owns the table of paths, the keys that seal orders for them, and how fast they are. Never sees a
//! range.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use super::PrimarySession;
use crate::carrier::{Carriers, Now};
use crate::error::{Misuse, Violation};
use crate::event::PathEvent;
use crate::ids::PathId;
use crate::path::{PathInfo, PathPhase, PathRole, PathSpec};
use crate::plan::{Pace, Standing};
use crate::ticket::{Sealer, Ticket};
use crate::wire::{AddPath, ControlFrame, PathStatus, PathStatusState, RetirePath};

/// Addresses that one ADD_PATH carries.
const ADDRS_MAX: usize = 8;
/// Bytes of the server name in ADD_PATH.
const SERVER_NAME_MAX_BYTES: usize = 255;

pub(super) struct Paths {
    table: BTreeMap<PathId, Path>,
    next: u64,
    /// Retired paths that have not ended, and when their grants are taken back.
    retiring: VecDeque<(Instant, PathId)>,
    join_key_thumbprint: [u8; 32],
}

/// One secondary.
pub(super) struct Path {
    addr: Option<SocketAddr>,
    phase: PathPhase,
    pub(super) sealer: Sealer,
    /// Grants without a final status.
    pub(super) grants: usize,
    /// What the client lets us have of them.
    grants_max: usize,
    pub(super) pace: Pace,
    pub(super) standing: Standing,
    /// Bytes of its grants that the client reported present.
    received_bytes: u64,
}

impl Path {
    pub(super) fn is_active(&self) -> bool {
        self.phase == PathPhase::Active
    }

    pub(super) fn has_room(&self) -> bool {
        self.grants < self.grants_max
    }

    /// Bytes of its grants were reported present.
    pub(super) fn on_bytes(&mut self, now: Now, bytes: u64) {
        self.received_bytes = self.received_bytes.saturating_add(bytes);
        self.pace.on_bytes(now.monotonic, bytes);
    }

    /// A grant of it has its final status.
    pub(super) fn on_grant_ended(&mut self) {
        self.grants = self.grants.saturating_sub(1);
        if self.grants == 0 {
            self.pace.on_idle();
        }
    }

    /// The client takes no more grants than there are now.
    pub(super) fn on_limit(&mut self) {
        self.grants_max = self.grants_max.min(self.grants.max(1));
    }
}

impl Paths {
    pub(super) fn new(join_key_thumbprint: [u8; 32]) -> Self {
        Self {
            table: BTreeMap::new(),
            next: PathId::PRIMARY.0 + 1,
            retiring: VecDeque::new(),
            join_key_thumbprint,
        }
    }

    pub(super) fn get(&mut self, path: PathId) -> Option<&mut Path> {
        self.table.get_mut(&path)
    }

    /// The path, if grants and messages may go to it.
    pub(super) fn usable(&mut self, path: PathId) -> Result<&mut Path, Misuse> {
        let found = self.table.get_mut(&path).ok_or(Misuse::UnknownPath(path))?;
        match found.phase {
            PathPhase::Dialing | PathPhase::Joining | PathPhase::Active => Ok(found),
            PathPhase::Retiring | PathPhase::Dead | PathPhase::Retired => {
                Err(Misuse::UnknownPath(path))
            }
        }
    }

    pub(super) fn active(&self) -> impl Iterator<Item = (PathId, &Path)> {
        self.table
            .iter()
            .filter(|(_, path)| path.is_active())
            .map(|(&id, path)| (id, path))
    }

    /// How many there are that have not ended, and how many that have.
    pub(super) fn count(&self) -> (usize, usize) {
        let ended = self.table.values().filter(|path| path.phase.has_ended());
        let ended = ended.count();
        (self.table.len() - ended, ended)
    }

    /// Grants without a final status, of the path that has the most.
    pub(super) fn most_grants(&self) -> usize {
        let grants = self.table.values().map(|path| path.grants);
        grants.max().unwrap_or(0)
    }

    /// When something of a retired path is to be taken back.
    pub(super) fn retire_deadline(&self) -> Option<Instant> {
        self.retiring.front().map(|&(at, _)| at)
    }

    fn pop_overdue(&mut self, now: Instant) -> Option<PathId> {
        self.retire_deadline().filter(|&at| at <= now)?;
        self.retiring.pop_front().map(|(_, path)| path)
    }

    /// Forgets the oldest paths that have ended.
    fn bound_history(&mut self, ended_max: usize) {
        let ended: Vec<PathId> = self
            .table
            .iter()
            .filter(|(_, path)| path.phase.has_ended())
            .map(|(&id, _)| id)
            .collect();
        for id in ended.iter().take(ended.len().saturating_sub(ended_max)) {
            self.table.remove(id);
        }
    }
}

impl PrimarySession {
    /// Names a secondary to the client. How many it dials is its own affair; one that it does not
    /// reach is `Dead`.
    pub(crate) fn add_path(
        &mut self,
        now: Now,
        spec: PathSpec,
        carriers: &mut dyn Carriers,
    ) -> Result<PathId, Misuse> {
        self.desk.check_open()?;
        if spec.addrs.is_empty() || spec.addrs.len() > ADDRS_MAX {
            return Err(Misuse::Limit("or too few addresses of a path"));
        }
        if spec.server_name.is_empty() || spec.server_name.len() > SERVER_NAME_MAX_BYTES {
            return Err(Misuse::Limit("or too few bytes of a server name"));
        }
        self.desk.check_order(0)?;
        let master = self.desk.context.master.as_ref();
        let peer = master
            .ok_or(Misuse::NotConfigured("a master key"))?
            .peer_key(&spec.pin);
        let path = PathId(self.paths.next);
        self.paths.next += 1;
        self.paths.table.insert(
            path,
            Path {
                addr: spec.addrs.first().copied(),
                phase: PathPhase::Dialing,
                sealer: Sealer::new(&peer, self.desk.session, path),
                grants: 0,
                grants_max: self.desk.config().grants_per_path_max,
                pace: Pace::default(),
                standing: Standing::default(),
                received_bytes: 0,
            },
        );
        tracing::debug!(session = %self.desk.session, %path, "path added");
        let ticket = peer.issue(&self.ticket(now, path));
        let PathSpec {
            addrs,
            server_name,
            pin,
        } = spec;
        let frame = AddPath {
            path,
            addrs,
            server_name,
            pin,
            ticket,
        };
        self.desk.send(&ControlFrame::AddPath(frame), carriers);
        Ok(path)
    }

    /// Gives a path no more grants. Those that it has are finished, or taken back when `retire_max` has
    /// passed; then the client closes it.
    pub(crate) fn retire_path(
        &mut self,
        now: Now,
        path: PathId,
        carriers: &mut dyn Carriers,
    ) -> Result<(), Misuse> {
        self.desk.check_open()?;
        self.paths.usable(path)?.phase = PathPhase::Retiring;
        let deadline = now.monotonic + self.desk.config().retire_max;
        self.paths.retiring.push_back((deadline, path));
        tracing::debug!(session = %self.desk.session, %path, "path retiring");
        self.desk
            .send(&ControlFrame::RetirePath(RetirePath { path }), carriers);
        self.plans.mark_all();
        self.deal(now, carriers);
        Ok(())
    }

    /// Takes back what retired paths have not brought in time [PATH-8].
    pub(super) fn on_retire_deadlines(&mut self, now: Instant, carriers: &mut dyn Carriers) {
        while let Some(path) = self.paths.pop_overdue(now) {
            tracing::debug!(session = %self.desk.session, %path, "retired path is late");
            self.revoke_path(path, carriers);
        }
    }

    /// The secondaries, ended ones included as far as `path_history_max` goes.
    pub(crate) fn paths(&self) -> Vec<PathInfo> {
        let info = |(&id, path): (&PathId, &Path)| PathInfo {
            path: id,
            role: PathRole::Secondary,
            phase: path.phase,
            addr: path.addr,
            received_bytes: path.received_bytes,
            rtt: None,
            lost_packets: 0,
        };
        self.paths.table.iter().map(info).collect()
    }

    /// The client tells how a path fares. When it ends, each of its grants gets a final status of
    /// its own: nothing is done about them here.
    pub(super) fn on_path_status(&mut self, frame: &PathStatus) -> Result<(), Violation> {
        let path = frame.path;
        let Some(found) = self.paths.get(path) else {
            let was_named = path != PathId::PRIMARY && path.0 < self.paths.next;
            return if was_named {
                Ok(())
            } else {
                Err(Violation::Unexpected(
                    "status of a path that was never named",
                ))
            };
        };
        let (phase, event) = match (frame.state, found.phase) {
            (_, PathPhase::Dead | PathPhase::Retired)
            | (PathStatusState::Active, PathPhase::Active | PathPhase::Retiring) => return Ok(()),
            (PathStatusState::Active, PathPhase::Dialing | PathPhase::Joining) => {
                (PathPhase::Active, PathEvent::Active(path))
            }
            (PathStatusState::Dead, _) => (PathPhase::Dead, PathEvent::Dead(path)),
            (PathStatusState::Retired, _) => (PathPhase::Retired, PathEvent::Retired(path)),
        };
        found.phase = phase;
        if phase.has_ended() {
            self.paths.retiring.retain(|&(_, other)| other != path);
            self.paths
                .bound_history(self.desk.config().path_history_max);
        }
        tracing::debug!(session = %self.desk.session, %path, ?phase, "path changed");
        self.desk.tell_path(event);
        self.plans.mark_all();
        Ok(())
    }

    fn ticket(&self, now: Now, path: PathId) -> Ticket {
        let life = self.desk.config().ticket_life.as_secs();
        Ticket {
            session: self.desk.session,
            path,
            issued_unix_seconds: now.unix_seconds,
            expires_unix_seconds: now.unix_seconds.saturating_add(life),
            join_key_thumbprint: self.paths.join_key_thumbprint,
        }
    }
}

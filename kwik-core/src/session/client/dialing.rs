//! How a path of a client comes about: whose turn it is to be dialled, the connections that are tried for
//! it, and the join.
//!
//! Owns nothing: a dial stands with its path in the table of `paths`.

use std::net::SocketAddr;
use std::time::Instant;

use super::ClientSession;
use super::paths::path_status;
use crate::carrier::{DownCause, Output};
use crate::error::{CloseReason, Violation, code};
use crate::event::{ClientEvent, PathEvent};
use crate::ids::{CarrierId, PathId};
use crate::path::PathPhase;
use crate::path::redial::{Dial, DialVerdict};
use crate::session::Cx;
use crate::session::control::ControlChannel;
use crate::wire::{ControlFrame, Join, PathStatusState};

/// The connection to the primary. It is dialled like any other as long as nothing has been done on it;
/// once it stands, the application may hold streams of it, and it has one deadline to welcome us.
impl ClientSession {
    /// When [`Self::on_primary_timeout`] has something to do.
    pub(super) fn primary_deadline(&self) -> Option<Instant> {
        let (dial, deadline) = (self.primary.dial?, self.config.client.dial.dial_deadline);
        Some(if self.primary.control.is_some() {
            dial.fails_at(deadline)
        } else {
            dial.deadline(deadline)
        })
    }

    /// The time of the dial, or of its connection, is over [PATH-5].
    pub(super) fn on_primary_timeout(&mut self, now: Instant) {
        if self.primary_deadline().is_none_or(|at| now < at) {
            return;
        }
        let deadline = self.config.client.dial.dial_deadline;
        let Some(dial) = &mut self.primary.dial else {
            return;
        };
        if dial.fails_at(deadline) <= now {
            tracing::info!("the primary is not to be had");
            return self.end(CloseReason::TimedOut, code::NO_ERROR);
        }
        dial.on_redial(now);
        tracing::debug!("dialling the primary afresh");
        self.outputs.push_back(Output::Dial {
            path: PathId::PRIMARY,
            target: self.primary.target.clone(),
        });
    }
}

/// The connections to secondaries.
impl ClientSession {
    /// A connection is lost. Whether that leaves its dial to go on: before its handshake is done
    /// anybody on the way can say that it failed [PATH-5].
    pub(super) fn is_dialled_again(&mut self, id: PathId, cause: &DownCause) -> bool {
        let dial = if id == PathId::PRIMARY {
            let stands = self.primary.control.is_some();
            self.primary.dial.as_mut().filter(|_| !stands)
        } else {
            let path = self.paths.get_mut(id);
            let path = path.filter(|path| path.state.phase() == PathPhase::Dialing);
            path.and_then(|path| path.dial.as_mut())
        };
        *cause != DownCause::PinMismatch && dial.is_some_and(|dial| !dial.on_failed())
    }

    /// The first address that may be dialled [PATH-2].
    pub(super) fn permitted(&self, addrs: &[SocketAddr]) -> Option<SocketAddr> {
        let primary = self.primary.target.addr.ip();
        addrs
            .iter()
            .copied()
            .find(|&addr| self.config.client.dial.permits(primary, addr))
    }

    /// Starts waiting dials, as many as the policy allows at once. A path for which there were too
    /// many lately is dead [PATH-4].
    pub(super) fn dial_next(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now.monotonic;
        while let Some(id) = self.next_to_dial() {
            if self.begin_connection(now, id) {
                if let Some(path) = self.paths.get_mut(id) {
                    path.dial = Some(Dial::new(now));
                }
            } else {
                self.bury(cx, id, PathPhase::Dead);
            }
        }
    }

    fn next_to_dial(&self) -> Option<PathId> {
        let live = &self.paths.live;
        let dialing = live.values().filter(|path| path.dial.is_some()).count();
        if dialing >= self.config.client.dial.dials_max {
            return None;
        }
        live.iter()
            .find(|(_, path)| path.state.phase() == PathPhase::Dialing && path.dial.is_none())
            .map(|(&id, _)| id)
    }

    /// Begins a connection for a path; false if there were too many lately. One that there is comes
    /// to its end by that.
    fn begin_connection(&mut self, now: Instant, id: PathId) -> bool {
        let Some(path) = self.paths.live.get(&id) else {
            return false;
        };
        let (addr, policy) = (path.target.addr, &self.config.client.dial);
        if !self.paths.rate.admit(now, addr, policy) {
            tracing::info!(path = %id, %addr, "too many dials in a minute");
            return false;
        }
        tracing::debug!(path = %id, %addr, "dialling a secondary");
        self.outputs.push_back(Output::Dial {
            path: id,
            target: path.target.clone(),
        });
        true
    }

    /// Something came on a connection that is being dialled. True if that says nothing beyond the
    /// dial: before its handshake is done, anybody on the way could have sent it [ERR-1].
    pub(super) fn on_dial_heard(&mut self, now: Instant, heard: PathId) -> bool {
        if heard == PathId::PRIMARY {
            if let Some(dial) = &mut self.primary.dial {
                dial.on_heard(now);
            }
            return self.primary.control.is_none();
        }
        let Some(path) = self.paths.get_mut(heard) else {
            return false;
        };
        if let Some(dial) = &mut path.dial {
            dial.on_heard(now);
        }
        path.state.phase() == PathPhase::Dialing
    }

    /// The time of a dial, or of its connection, is over [PATH-5].
    pub(super) fn on_dial_timeout(&mut self, cx: &mut Cx<'_>, id: PathId, dial: Dial) {
        let now = cx.now.monotonic;
        match dial.on_timeout(now, self.config.client.dial.dial_deadline) {
            DialVerdict::Wait => {}
            DialVerdict::Redial => self.redial(cx, id),
            DialVerdict::Failed => {
                tracing::info!(path = %id, "dial failed");
                self.end_path(cx, id, PathPhase::Dead, code::PATH_ENDED);
            }
        }
    }

    /// A fresh connection takes the place of the one that is silent, which is closed by that
    /// [JOIN-7]. Nothing of it counts any more, and what waits for the path goes on waiting.
    fn redial(&mut self, cx: &mut Cx<'_>, id: PathId) {
        let now = cx.now.monotonic;
        if !self.begin_connection(now, id) {
            return self.end_path(cx, id, PathPhase::Dead, code::PATH_ENDED);
        }
        let Some(path) = self.paths.live.get_mut(&id) else {
            return;
        };
        let awaited = path.state.on_redial();
        debug_assert!(awaited, "a path that is dialled has not joined");
        if let Some(control) = path.control.take() {
            self.stats.ended_control_bytes += control.bytes();
        }
        if let Some(dial) = &mut path.dial {
            dial.on_redial(now);
        }
        // A server may open segments before it lets us join.
        self.drop_segments_of(id);
    }

    /// The connection to a secondary stands: ask to join [JOIN-2].
    pub(super) fn on_secondary_up(
        &mut self,
        cx: &mut Cx<'_>,
        id: PathId,
        control: CarrierId,
        exporter: &[u8; 32],
    ) {
        let Some(session) = self.primary.session_id else {
            return;
        };
        let Some(path) = self.paths.get_mut(id) else {
            return;
        };
        if !path.state.on_connected() {
            return;
        }
        if let Some(dial) = &mut path.dial {
            dial.on_connected(cx.now.monotonic);
        }
        let join = Join {
            session,
            path: id,
            ticket: path.ticket.clone(),
            join_key: self.join_key.public_key(),
            proof: self.join_key.prove(exporter, &path.ticket),
        };
        let mut channel = ControlChannel::new(control);
        channel.send(&ControlFrame::Join(join), cx.carriers);
        tracing::debug!(path = %id, "asking a secondary to let us join");
        path.control = Some(channel);
    }

    /// JOINED: the path is in use from now on.
    pub(super) fn on_joined(&mut self, cx: &mut Cx<'_>, id: PathId) -> Result<(), Violation> {
        let Some(path) = self.paths.get_mut(id) else {
            return Ok(());
        };
        if !path.state.on_joined() {
            return Err(Violation::Unexpected("JOINED"));
        }
        tracing::info!(path = %id, "secondary joined");
        path.dial = None;
        path.waiting_bytes = 0;
        let waiting = std::mem::take(&mut path.waiting);
        self.events
            .push_back(ClientEvent::Path(PathEvent::Active(id)));
        self.send_primary(cx, &path_status(id, PathStatusState::Active));
        for frame in waiting {
            self.forward(cx, id, frame);
        }
        self.dial_next(cx);
        Ok(())
    }
}

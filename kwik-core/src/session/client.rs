//! The client's session: one primary, any number of secondaries, streams of which the application
//! never learns who wrote them.
//!
//! Owns the primary connection's control carrier and what all rooms of the client share. The rooms:
//! `paths` (which secondaries there are), `dialing` (how they come about), `grants` (what they may
//! write), `segments` (what they wrote), `recv` and `window` (one aggregated stream), `credit` (how
//! far they may go on), `streams` (what the application holds), `leftover` (what it can still read
//! when all is over).

mod clocks;
mod credit;
mod dialing;
mod gauges;
mod grants;
mod leftover;
mod paths;
mod reading;
mod recv;
mod segments;
mod sending;
mod stats;
mod streams;
mod window;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use crate::carrier::{Carriers, DialTarget, DownCause, Input, Now, Output};
use crate::config::Config;
use crate::error::{CloseReason, Misuse, StreamError, Violation, code};
use crate::event::ClientEvent;
use crate::grant::Ledger;
use crate::ids::{CarrierId, GrantId, PathId, SessionId, StreamId};
use crate::path::redial::Dial;
use crate::path::{PathInfo, PathPhase, PathRole};
use crate::session::Cx;
use crate::session::control::ControlChannel;
use crate::ticket::JoinKey;
use crate::wire::{ControlFrame, Hello};

use leftover::Leftovers;
use paths::Paths;
use segments::Inbound;
pub use stats::ClientStats;
use stats::Counters;
use streams::Streams;
use window::SessionWindow;

/// A session at its client.
pub(crate) struct ClientSession {
    config: Arc<Config>,
    join_key: JoinKey,
    primary: Primary,
    paths: Paths,
    streams: Streams,
    inbound: BTreeMap<CarrierId, Inbound>,
    ledger: Ledger,
    /// When revoked grants are final at the latest.
    drains: BTreeSet<(Instant, GrantId)>,
    window: SessionWindow,
    stats: Counters,
    outputs: VecDeque<Output>,
    events: VecDeque<ClientEvent>,
    closed: Option<CloseReason>,
    leftovers: Leftovers,
}

/// The connection to the primary.
struct Primary {
    target: DialTarget,
    /// Until it has welcomed the session.
    dial: Option<Dial>,
    control: Option<ControlChannel>,
    session_id: Option<SessionId>,
}

impl ClientSession {
    /// A session that begins by dialling its primary; `seed` makes its join key.
    pub(crate) fn new(
        config: Arc<Config>,
        seed: &[u8; 32],
        target: DialTarget,
        now: Instant,
    ) -> Self {
        let outputs = VecDeque::from([Output::Dial {
            path: PathId::PRIMARY,
            target: target.clone(),
        }]);
        Self {
            join_key: JoinKey::from_seed(seed),
            primary: Primary {
                target,
                dial: Some(Dial::new(now)),
                control: None,
                session_id: None,
            },
            paths: Paths::default(),
            streams: Streams::new(u64::from(config.quic.bidi_streams_max)),
            inbound: BTreeMap::new(),
            ledger: Ledger::default(),
            drains: BTreeSet::new(),
            window: SessionWindow::new(&config.client),
            stats: Counters::default(),
            outputs,
            events: VecDeque::new(),
            closed: None,
            leftovers: Leftovers::default(),
            config,
        }
    }

    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(crate) fn poll_event(&mut self) -> Option<ClientEvent> {
        // Streams may overtake WELCOME; for the application the session begins with it.
        let begun = self.primary.session_id.is_some() || self.is_closed();
        if begun { self.events.pop_front() } else { None }
    }

    /// Whether nothing more happens but what is queued.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    pub(crate) fn session_id(&self) -> Option<SessionId> {
        self.primary.session_id
    }

    /// When [`Input::Timeout`] is wanted.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if self.is_closed() {
            return self.leftovers.deadline();
        }
        let drain = self.drains.first().map(|&(at, _)| at);
        let brought_at = self.stats.primary_at;
        let reader = self
            .streams
            .reader_deadline(&self.config.client, brought_at);
        [self.primary_deadline(), self.path_deadline(), drain, reader]
            .into_iter()
            .flatten()
            .min()
    }

    /// Takes in what happened.
    pub(crate) fn handle(&mut self, now: Now, input: Input, carriers: &mut dyn Carriers) {
        if self.is_closed() {
            return self.leftovers.on_timeout(now.monotonic);
        }
        let _path = input
            .path()
            .map(|path| tracing::debug_span!("path", id = path.0).entered());
        let cx = &mut Cx { now, carriers };
        match input {
            Input::PathUp {
                path,
                control,
                exporter,
            } => self.on_path_up(cx, path, control, &exporter),
            Input::PathDown { path, cause } => self.on_path_down(cx, path, cause),
            Input::Opened(carrier) => self.on_opened(cx, carrier),
            Input::Readable(carrier) => self.on_readable(cx, carrier),
            Input::Writable(carrier) => self.on_writable(cx, carrier),
            Input::BidiCredit(PathId::PRIMARY) => self.on_stream_credit(),
            Input::BidiCredit(_) | Input::UniCredit(_) => {}
            Input::Stopped { carrier, code } => self.on_stopped(cx, carrier, code),
            Input::Finished(carrier) => self.on_finished(carrier),
            Input::Heard(path) => self.on_heard(now.monotonic, path),
            Input::Timeout => self.on_timeout(cx),
        }
        self.judge_unread(cx);
    }

    /// A server that makes us talk and does not listen could fill the memory [CTL-11].
    fn judge_unread(&mut self, cx: &mut Cx<'_>) {
        let max = self.config.client.control_unread_bytes_max;
        let unread = |control: &Option<ControlChannel>| {
            control
                .as_ref()
                .is_some_and(|control| control.outbox_bytes() > max)
        };
        let primary = unread(&self.primary.control).then_some(PathId::PRIMARY);
        let secondaries = self
            .paths
            .live
            .iter()
            .filter(|(_, path)| unread(&path.control));
        let deaf: Vec<PathId> = primary
            .into_iter()
            .chain(secondaries.map(|(&id, _)| id))
            .collect();
        for path in deaf {
            let violation = Violation::ExcessiveLoad("control bytes that are not read");
            self.judge(cx, path, Err(violation));
        }
    }

    fn on_path_up(
        &mut self,
        cx: &mut Cx<'_>,
        path: PathId,
        control: CarrierId,
        exporter: &[u8; 32],
    ) {
        if path != PathId::PRIMARY {
            return self.on_secondary_up(cx, path, control, exporter);
        }
        let hello = Hello {
            join_key_thumbprint: self.join_key.thumbprint(),
        };
        let mut channel = ControlChannel::new(control);
        channel.send(&ControlFrame::Hello(hello), cx.carriers);
        self.primary.control = Some(channel);
        if let Some(dial) = &mut self.primary.dial {
            dial.on_connected(cx.now.monotonic);
        }
    }

    fn on_path_down(&mut self, cx: &mut Cx<'_>, path: PathId, cause: DownCause) {
        if self.is_dialled_again(path, &cause) {
            tracing::debug!(%path, ?cause, "a connection failed before it stood");
        } else if path == PathId::PRIMARY {
            tracing::info!(?cause, "the primary is lost");
            self.gather_leftovers(cx);
            self.end(cause.into(), code::NO_ERROR);
        } else {
            tracing::debug!(%path, ?cause, "connection to a secondary is lost");
            self.on_path_ended(cx, path, PathPhase::Dead);
        }
    }

    fn on_opened(&mut self, cx: &mut Cx<'_>, carrier: CarrierId) {
        let result = match (carrier.path == PathId::PRIMARY, carrier.is_bidirectional()) {
            (true, true) => {
                self.on_stream_opened(carrier);
                self.on_stream_readable(cx, carrier)
            }
            (_, false) => self.on_segment_opened(cx, carrier),
            (false, true) => Err(Violation::Unexpected("stream opened by a secondary")),
        };
        self.judge(cx, carrier.path, result);
    }

    fn on_readable(&mut self, cx: &mut Cx<'_>, carrier: CarrierId) {
        let result = if self.is_control(carrier) {
            self.on_control_readable(cx, carrier.path)
        } else if carrier.is_bidirectional() {
            self.on_stream_readable(cx, carrier)
        } else {
            self.on_segment_readable(cx, carrier)
        };
        self.judge(cx, carrier.path, result);
    }

    /// A violation costs a secondary its path; the primary, the session [ERR-1].
    fn judge(&mut self, cx: &mut Cx<'_>, path: PathId, result: Result<(), Violation>) {
        let Err(violation) = result else { return };
        if path == PathId::PRIMARY {
            self.close_by_violation(violation);
        } else {
            self.on_secondary_violation(cx, path, &violation);
        }
    }

    fn on_control_readable(&mut self, cx: &mut Cx<'_>, path: PathId) -> Result<(), Violation> {
        while let Some(frame) = self.poll_frame(cx, path)? {
            if path == PathId::PRIMARY {
                self.on_primary_frame(cx, frame)?;
            } else {
                self.on_secondary_frame(cx, path, frame)?;
            }
        }
        Ok(())
    }

    fn poll_frame(
        &mut self,
        cx: &mut Cx<'_>,
        path: PathId,
    ) -> Result<Option<ControlFrame>, Violation> {
        match self.channel(path) {
            Some(channel) => channel.poll_frame(cx.carriers),
            None => Ok(None),
        }
    }

    /// WELCOME first and once [SESS-2], and nothing that is not a primary's to send [CTL-10].
    fn on_primary_frame(&mut self, cx: &mut Cx<'_>, frame: ControlFrame) -> Result<(), Violation> {
        if self.primary.session_id.is_none() && !matches!(frame, ControlFrame::Welcome(_)) {
            return Err(Violation::Unexpected("frame before WELCOME"));
        }
        match frame {
            ControlFrame::Welcome(welcome) => self.on_welcome(welcome.session),
            ControlFrame::AddPath(frame) => self.on_add_path(cx, frame),
            ControlFrame::RetirePath(frame) => self.on_retire_path(cx, &frame),
            ControlFrame::Aggregate(frame) => self.on_aggregate(cx, &frame),
            ControlFrame::FinalSize(frame) => self.on_final_size(cx, &frame),
            ControlFrame::Grant(frame) => self.on_grant(cx, frame),
            ControlFrame::Revoke(frame) => self.on_revoke(cx, &frame),
            ControlFrame::Raw(frame) => self.on_raw(cx, frame),
            ControlFrame::Hello(_)
            | ControlFrame::PathStatus(_)
            | ControlFrame::GrantStatus(_)
            | ControlFrame::Hole(_)
            | ControlFrame::StreamDone(_)
            | ControlFrame::MaxOffset(_)
            | ControlFrame::Join(_)
            | ControlFrame::Joined(_)
            | ControlFrame::Refused(_)
            | ControlFrame::GrantRefused(_)
            | ControlFrame::GrantDone(_) => Err(Violation::Unexpected(frame.name())),
        }
    }

    /// Nothing that is not a secondary's to send, such as an end of a stream [CTL-10] [END-1].
    fn on_secondary_frame(
        &mut self,
        cx: &mut Cx<'_>,
        path: PathId,
        frame: ControlFrame,
    ) -> Result<(), Violation> {
        match frame {
            ControlFrame::Joined(_) => self.on_joined(cx, path),
            ControlFrame::Refused(refused) => {
                tracing::info!(%path, code = refused.code, "secondary refused the join");
                self.end_path(cx, path, PathPhase::Dead, code::PATH_ENDED);
                Ok(())
            }
            ControlFrame::GrantRefused(frame) => {
                self.on_grant_refused(cx, path, frame.grant, frame.code)
            }
            ControlFrame::GrantDone(frame) => self.on_grant_done(cx, path, &frame),
            ControlFrame::Hello(_)
            | ControlFrame::PathStatus(_)
            | ControlFrame::GrantStatus(_)
            | ControlFrame::Hole(_)
            | ControlFrame::StreamDone(_)
            | ControlFrame::MaxOffset(_)
            | ControlFrame::Welcome(_)
            | ControlFrame::AddPath(_)
            | ControlFrame::RetirePath(_)
            | ControlFrame::Aggregate(_)
            | ControlFrame::FinalSize(_)
            | ControlFrame::Grant(_)
            | ControlFrame::Revoke(_)
            | ControlFrame::Raw(_)
            | ControlFrame::Join(_) => Err(Violation::Unexpected(frame.name())),
        }
    }

    fn on_welcome(&mut self, session: SessionId) -> Result<(), Violation> {
        if self.primary.session_id.replace(session).is_some() {
            return Err(Violation::Unexpected("second WELCOME"));
        }
        tracing::info!(%session, "session established");
        self.primary.dial = None;
        self.events.push_front(ClientEvent::Connected);
        // It may have asked before.
        self.on_stream_credit();
        Ok(())
    }

    fn on_writable(&mut self, cx: &mut Cx<'_>, carrier: CarrierId) {
        if !self.is_control(carrier) {
            self.on_stream_writable(carrier);
        } else if let Some(channel) = self.channel(carrier.path) {
            channel.flush(cx.carriers);
        }
    }

    fn on_stopped(&mut self, cx: &mut Cx<'_>, carrier: CarrierId, code: u64) {
        if self.is_control(carrier) {
            self.judge(
                cx,
                carrier.path,
                // It lives as long as the connection [CTL-3].
                Err(Violation::Unexpected("STOP_SENDING of the control carrier")),
            );
        } else {
            self.on_stream_stopped(carrier, code, cx.carriers);
        }
    }

    fn on_finished(&mut self, carrier: CarrierId) {
        if !self.is_control(carrier) {
            self.on_stream_finished(carrier);
        }
    }

    fn on_timeout(&mut self, cx: &mut Cx<'_>) {
        self.on_primary_timeout(cx.now.monotonic);
        if self.is_closed() {
            return;
        }
        self.on_path_timeouts(cx);
        self.on_grant_timeouts(cx);
        self.on_hole_timeouts(cx.now.monotonic);
    }

    fn channel(&mut self, path: PathId) -> Option<&mut ControlChannel> {
        if path == PathId::PRIMARY {
            self.primary.control.as_mut()
        } else {
            self.paths.get_mut(path)?.control.as_mut()
        }
    }

    fn is_control(&mut self, carrier: CarrierId) -> bool {
        self.channel(carrier.path)
            .is_some_and(|channel| channel.carrier() == carrier)
    }

    fn send_primary(&mut self, cx: &mut Cx<'_>, frame: &ControlFrame) {
        if let Some(channel) = self.channel(PathId::PRIMARY) {
            channel.send(frame, cx.carriers);
        }
    }

    fn send_secondary(&mut self, cx: &mut Cx<'_>, path: PathId, frame: &ControlFrame) {
        if let Some(channel) = self.channel(path) {
            channel.send(frame, cx.carriers);
        }
    }

    /// Counts bytes that nobody had brought before.
    fn count_received(&mut self, path: PathId, bytes: u64, now: Instant) {
        if path == PathId::PRIMARY {
            self.stats.note_primary(bytes, now);
        } else if let Some(path) = self.paths.get_mut(path) {
            path.received_bytes += bytes;
        }
    }

    /// All paths, the primary's first.
    pub(crate) fn paths(&self, carriers: &dyn Carriers) -> Vec<PathInfo> {
        let phase = match (&self.closed, self.primary.session_id) {
            (Some(_), _) => PathPhase::Dead,
            (None, Some(_)) => PathPhase::Active,
            (None, None) => PathPhase::Dialing,
        };
        let primary = PathInfo {
            path: PathId::PRIMARY,
            role: PathRole::Primary,
            phase,
            addr: Some(self.primary.target.addr),
            received_bytes: self.stats.primary_bytes,
            rtt: None,
            lost_packets: 0,
        };
        let mut infos: Vec<PathInfo> = std::iter::once(primary).chain(self.paths.infos()).collect();
        for info in &mut infos {
            if let Some(stats) = carriers.path_stats(info.path) {
                info.rtt = Some(stats.rtt);
                info.lost_packets = stats.lost_packets;
            }
        }
        infos
    }

    pub(crate) fn stats(&self) -> ClientStats {
        let control = self
            .primary
            .control
            .as_ref()
            .map_or(0, ControlChannel::bytes);
        self.stats.public(control + self.paths.control_bytes())
    }

    /// Closes the session at once; what is in flight is lost, and nothing more is to be read.
    pub(crate) fn close(&mut self, code: u64) {
        self.leftovers.forget_all();
        if !self.is_closed() {
            self.end(CloseReason::Local, code);
        }
    }

    fn close_by_violation(&mut self, violation: Violation) {
        tracing::warn!(%violation, "the primary broke the protocol");
        let code = violation.code();
        self.end(CloseReason::Violation(violation), code);
    }

    /// The session has ended: every connection is closed [SESS-4].
    fn end(&mut self, reason: CloseReason, code: u64) {
        if self.is_closed() {
            return;
        }
        for path in std::iter::once(PathId::PRIMARY).chain(self.paths.live.keys().copied()) {
            self.outputs.push_back(Output::Close { path, code });
        }
        tracing::debug!(%reason, "session ended");
        self.inbound.clear();
        if self.primary.session_id.is_none() {
            // The session never began: nothing came before its end.
            self.events.clear();
        }
        self.events.push_back(ClientEvent::Closed(reason.clone()));
        self.closed = Some(reason);
    }

    fn check_open(&self) -> Result<(), Misuse> {
        if self.is_closed() {
            Err(Misuse::Closed)
        } else {
            Ok(())
        }
    }

    fn check_stream_open(&self) -> Result<(), StreamError> {
        match &self.closed {
            None => Ok(()),
            Some(reason) => Err(StreamError::SessionLost(reason.clone())),
        }
    }

    fn lost_error(&self) -> StreamError {
        StreamError::SessionLost(self.closed.clone().unwrap_or(CloseReason::Local))
    }
}

impl From<DownCause> for CloseReason {
    fn from(cause: DownCause) -> Self {
        match cause {
            DownCause::TimedOut => Self::TimedOut,
            DownCause::ClosedByPeer(code) => Self::Peer(code),
            DownCause::PinMismatch => Self::PinMismatch,
            DownCause::ClosedLocally => Self::Local,
            DownCause::Failed(text) => Self::Failed(text),
        }
    }
}

/// Streams by the carrier that they are.
impl From<StreamId> for CarrierId {
    fn from(stream: StreamId) -> Self {
        Self {
            path: PathId::PRIMARY,
            stream: stream.0,
        }
    }
}

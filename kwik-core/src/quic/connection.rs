//! One QUIC connection of a session, and what its events mean to the session.
//!
//! Owns the quinn connection, its control carrier, and the translation of quinn's events into
//! [`Input`]s. Never decides anything about a session.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use quinn_proto::{
    Connection, ConnectionError, ConnectionHandle, Dir, Event, FrameStats, Side, StreamEvent,
    StreamId,
};

use super::valve::Answers;
use super::window::SendWindow;
use crate::carrier::{DownCause, Input};
use crate::crypto::PinAlarm;
use crate::ids::{CarrierId, PathId, SessionHandle};

/// Label of the keying material that a join is proved over [JOIN-3].
const EXPORTER_LABEL: &[u8] = b"EXPORTER-kwik/1-join";

/// Longest text of a peer or of TLS that is kept, characters.
const REASON_CHARS_MAX: usize = 160;

/// How far a carrier was read.
#[derive(Clone, Copy, Default)]
pub(super) struct Progress {
    /// Where the next byte in order is, as long as it is read in order.
    pub(super) in_order: u64,
    /// It was read out of order: there is no way back.
    pub(super) any_order: bool,
}

/// A connection of a session.
pub(super) struct Conn {
    pub(super) quinn: Connection,
    /// quinn's name of the connection, which it gives to another one once this one is drained.
    pub(super) handle: ConnectionHandle,
    pub(super) session: SessionHandle,
    /// What the session calls it. `None` once it was closed or replaced: what it still has to tell
    /// concerns nobody.
    pub(super) path: Option<PathId>,
    /// Rings when a server has another key than was asked for (dials only).
    pub(super) alarm: Option<PinAlarm>,
    pub(super) phase: Phase,
    /// Streams of the peer that were reported so far, by direction. quinn panics on a stream that is
    /// written to before.
    pub(super) accepted: [u64; 2],
    /// How far the carriers that are being read were read.
    pub(super) progress: BTreeMap<u64, Progress>,
    pub(super) window: SendWindow,
    /// A datagram came since the last look at the events.
    pub(super) received: bool,
    /// Frames that had been received when the peer was last heard.
    frames: u64,
    answers: Answers,
    /// As it stands in the table of deadlines.
    pub(super) deadline: Option<Instant>,
    /// quinn has forgotten the connection. What it received can still be read.
    pub(super) drained: bool,
    pub(super) counted: Counted,
}

/// As what a connection counts against the bounds of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// Not at all: our own dials, and what is drained.
    No,
    /// As a handshake in progress, and as a client.
    Handshake,
    /// As a client.
    Client,
}

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The handshake is not done.
    Handshaking,
    /// The client has not opened the control carrier yet (servers only).
    AwaitingControl,
    /// The session was told that the connection is up.
    Up,
    /// The session was told that the connection is down.
    Down,
}

/// What one look at a connection found, in the order in which a session wants to hear it.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) inputs: Vec<Input>,
    /// The connection cannot be used: close it with this reason.
    pub(super) unusable: Option<&'static str>,
}

/// Events of one look, sorted out.
#[derive(Default)]
struct Events {
    connected: bool,
    opened: Vec<StreamId>,
    stopped: Vec<(StreamId, u64)>,
    finished: Vec<StreamId>,
    /// By stream id, which puts the control carrier, id 0, first. quinn names a stream once for each
    /// frame of it, and the writable ones in the reverse of the order in which they blocked.
    readable: BTreeSet<StreamId>,
    writable: BTreeSet<StreamId>,
    credit: [bool; 2],
    lost: Option<ConnectionError>,
}

impl Conn {
    pub(super) fn new(
        quinn: Connection,
        handle: ConnectionHandle,
        session: SessionHandle,
        path: PathId,
        alarm: Option<PinAlarm>,
    ) -> Self {
        Self {
            quinn,
            handle,
            session,
            path: Some(path),
            alarm,
            phase: Phase::Handshaking,
            accepted: [0; 2],
            progress: BTreeMap::new(),
            window: SendWindow::new(),
            received: false,
            frames: 0,
            answers: Answers::new(),
            deadline: None,
            drained: false,
            counted: Counted::No,
        }
    }

    /// Under which quinn's own lines appear in a log.
    pub(super) fn span(&self) -> tracing::Span {
        let path = self.path.map(|path| path.0);
        tracing::trace_span!("connection", session = self.session.0, path)
    }

    /// Takes all that quinn has to tell.
    pub(super) fn look(&mut self, send_buffer_max_bytes: u64) -> Findings {
        let _span = self.span().entered();
        self.window.follow(&mut self.quinn, send_buffer_max_bytes);
        let mut events = Events::default();
        while let Some(event) = self.quinn.poll() {
            self.sort(event, &mut events);
        }
        let Some(path) = self.path else {
            return Findings::default();
        };
        let mut found = Findings::default();
        self.tell_up(path, &events, &mut found);
        if self.phase != Phase::Down && self.heard() {
            found.inputs.push(Input::Heard(path));
        }
        if self.phase == Phase::Up {
            tell_streams(path, &events, &mut found.inputs);
        }
        if let Some(reason) = events.lost.filter(|_| self.phase != Phase::Down) {
            self.phase = Phase::Down;
            let cause = self.down_cause(reason);
            found.inputs.push(Input::PathDown { path, cause });
        }
        found
    }

    fn sort(&mut self, event: Event, events: &mut Events) {
        match event {
            Event::Connected => events.connected = true,
            Event::ConnectionLost { reason } => events.lost = Some(reason),
            Event::Stream(event) => self.sort_stream(event, events),
            // KWIK has no datagrams, and nothing to look at in a half-done handshake.
            Event::HandshakeDataReady | Event::DatagramReceived | Event::DatagramsUnblocked => {}
        }
    }

    fn sort_stream(&mut self, event: StreamEvent, events: &mut Events) {
        match event {
            // One event stands for any number of streams.
            StreamEvent::Opened { dir } => {
                while let Some(stream) = self.quinn.streams().accept(dir) {
                    if let Some(accepted) = self.accepted.get_mut(dir as usize) {
                        *accepted = stream.index().saturating_add(1);
                    }
                    events.opened.push(stream);
                }
            }
            StreamEvent::Readable { id } => {
                events.readable.insert(id);
            }
            StreamEvent::Writable { id } => {
                events.writable.insert(id);
            }
            StreamEvent::Finished { id } => events.finished.push(id),
            StreamEvent::Stopped { id, error_code } => {
                events.stopped.push((id, error_code.into_inner()));
            }
            StreamEvent::Available { dir } => {
                if let Some(credit) = events.credit.get_mut(dir as usize) {
                    *credit = true;
                }
            }
        }
    }

    /// The connection is up once it has its control carrier: a client opens it at once, a server
    /// waits for it [CTL-1].
    fn tell_up(&mut self, path: PathId, events: &Events, found: &mut Findings) {
        let control = StreamId::new(Side::Client, Dir::Bi, 0);
        let client = self.quinn.side().is_client();
        if events.connected && self.phase == Phase::Handshaking {
            self.phase = Phase::AwaitingControl;
            if client && self.quinn.streams().open(Dir::Bi) != Some(control) {
                return self.give_up(path, "the server takes no control carrier", found);
            }
        }
        let has_control = client || events.opened.contains(&control);
        if self.phase != Phase::AwaitingControl || !has_control {
            return;
        }
        let mut exporter = [0; 32];
        let session = self.quinn.crypto_session();
        if session
            .export_keying_material(&mut exporter, EXPORTER_LABEL, &[])
            .is_err()
        {
            return self.give_up(path, "the handshake yields no exporter", found);
        }
        self.phase = Phase::Up;
        // Never behind data that is already queued [CTL-12].
        let _ = self.quinn.send_stream(control).set_priority(i32::MAX);
        let control = CarrierId {
            path,
            stream: control.into(),
        };
        found.inputs.push(Input::PathUp {
            path,
            control,
            exporter,
        });
        // quinn does not tell about the credit of the handshake, nor, at a server, about the bytes
        // that came with the opening of the control carrier.
        found.inputs.push(Input::BidiCredit(path));
        found.inputs.push(Input::UniCredit(path));
        if !client {
            found.inputs.push(Input::Readable(control));
        }
    }

    fn give_up(&mut self, path: PathId, reason: &'static str, found: &mut Findings) {
        self.phase = Phase::Down;
        found.unusable = Some(reason);
        let cause = DownCause::Failed(reason.to_owned());
        found.inputs.push(Input::PathDown { path, cause });
    }

    /// Whether something authentic came since the last look: what anybody can forge is no sign of
    /// life [ERR-1]. Frames are counted only after their packet was decrypted and is no duplicate;
    /// datagrams are counted before.
    fn heard(&mut self) -> bool {
        if !std::mem::take(&mut self.received) {
            return false;
        }
        let stats = self.quinn.stats();
        let frames = frame_count(&stats.frame_rx);
        if self.phase == Phase::Up {
            self.answers.on_heard(frames, &stats);
        }
        frames != std::mem::replace(&mut self.frames, frames)
    }

    /// Fills `buf` with the next datagrams, at most so many.
    pub(super) fn transmit(
        &mut self,
        now: Instant,
        datagrams_max: usize,
        buf: &mut Vec<u8>,
    ) -> Option<quinn_proto::Transmit> {
        self.answers
            .transmit(&mut self.quinn, now, datagrams_max, buf)
    }

    fn down_cause(&self, reason: ConnectionError) -> DownCause {
        if self.alarm.as_ref().is_some_and(PinAlarm::rang) {
            return DownCause::PinMismatch;
        }
        match reason {
            ConnectionError::TimedOut => DownCause::TimedOut,
            ConnectionError::LocallyClosed => DownCause::ClosedLocally,
            ConnectionError::ApplicationClosed(close) => {
                DownCause::ClosedByPeer(close.error_code.into_inner())
            }
            ConnectionError::VersionMismatch
            | ConnectionError::TransportError(_)
            | ConnectionError::ConnectionClosed(_)
            | ConnectionError::Reset
            | ConnectionError::CidsExhausted => DownCause::Failed(plain_text(&reason.to_string())),
        }
    }
}

/// What happened to the streams of a connection that is up.
fn tell_streams(path: PathId, events: &Events, inputs: &mut Vec<Input>) {
    let control = StreamId::new(Side::Client, Dir::Bi, 0);
    let carrier = |stream: StreamId| CarrierId {
        path,
        stream: stream.into(),
    };
    let opened = events.opened.iter().filter(|&&stream| stream != control);
    inputs.extend(opened.map(|&stream| Input::Opened(carrier(stream))));
    inputs.extend(events.stopped.iter().map(|&(stream, code)| Input::Stopped {
        carrier: carrier(stream),
        code,
    }));
    inputs.extend(
        events
            .finished
            .iter()
            .map(|&stream| Input::Finished(carrier(stream))),
    );
    inputs.extend(
        events
            .readable
            .iter()
            .map(|&stream| Input::Readable(carrier(stream))),
    );
    inputs.extend(
        events
            .writable
            .iter()
            .map(|&stream| Input::Writable(carrier(stream))),
    );
    let [bidi, uni] = events.credit;
    inputs.extend(bidi.then_some(Input::BidiCredit(path)));
    inputs.extend(uni.then_some(Input::UniCredit(path)));
}

/// Text of a peer, harmless in a log and bounded.
fn plain_text(text: &str) -> String {
    text.escape_debug().take(REASON_CHARS_MAX).collect()
}

/// All frames that were received.
fn frame_count(frames: &FrameStats) -> u64 {
    [
        frames.acks,
        frames.ack_frequency,
        frames.crypto,
        frames.connection_close,
        frames.data_blocked,
        frames.datagram,
        u64::from(frames.handshake_done),
        frames.immediate_ack,
        frames.max_data,
        frames.max_stream_data,
        frames.max_streams_bidi,
        frames.max_streams_uni,
        frames.new_connection_id,
        frames.new_token,
        frames.path_challenge,
        frames.path_response,
        frames.ping,
        frames.reset_stream,
        frames.retire_connection_id,
        frames.stream_data_blocked,
        frames.streams_blocked_bidi,
        frames.streams_blocked_uni,
        frames.stop_sending,
        frames.stream,
    ]
    .iter()
    .fold(0, |sum, &count| sum.wrapping_add(count))
}

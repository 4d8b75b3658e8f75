//! A peer that speaks QUIC and sends what it likes: the wire without the rules.
//!
//! Owns a quinn-proto endpoint, as a server or as a client, and a script for each connection that is
//! told what happens on it. The codecs are kwik-core's own; everything else is up to the script.

mod line;
pub mod quic;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use kwik_core::endpoint::{Datagram, Transmit};
use kwik_core::wire::{ControlFrame, Decoder};
use quinn_proto::{
    Connection, ConnectionError, ConnectionHandle, DatagramEvent, Dir, Endpoint, Event,
    ServerConfig, StreamEvent, StreamId,
};

pub use self::line::{Carrier, End, Line};
use crate::clock::{Clock, Moment};
use crate::crypto::CryptoMode;
use crate::host::rest::{EVENTS_PER_ROUND_MAX, LOSS_TIMERS_MAX, Rest};
use crate::host::{Birth, Node, Program, Unrest};
use crate::identity::{Identity, SERVER_NAME};

/// What a script is told.
#[derive(Clone, Debug)]
pub enum Cue {
    /// The connection stands, and so does its control carrier.
    Up,
    /// A control frame came.
    Frame(ControlFrame),
    /// Carriers take more bytes, or more carriers may be opened.
    Room,
    /// The time that [`Script::alarm`] gave has come.
    Alarm,
}

/// What a peer does on one connection.
pub trait Script {
    /// Something happened.
    fn on_cue(&mut self, line: &mut Line<'_>, cue: &Cue);
    /// When [`Cue::Alarm`] is wanted.
    fn alarm(&self) -> Option<Duration> {
        None
    }
    /// Whether nothing more is read from the control carrier.
    fn is_deaf(&self) -> bool {
        false
    }
    /// Whether no datagram is sent any more, not even to acknowledge one.
    fn is_silent(&self) -> bool {
        false
    }
}

impl<F: FnMut(&mut Line<'_>, &Cue)> Script for F {
    fn on_cue(&mut self, line: &mut Line<'_>, cue: &Cue) {
        self(line, cue);
    }
}

/// Makes the script of a new connection.
pub type Casting = Rc<dyn Fn() -> Box<dyn Script>>;

/// The same script for every connection, without a memory.
pub fn always(play: impl Fn(&mut Line<'_>, &Cue) + 'static) -> Casting {
    let play = Rc::new(play);
    Rc::new(move || {
        let play = Rc::clone(&play);
        Box::new(move |line: &mut Line<'_>, cue: &Cue| play(line, cue))
    })
}

/// What a peer saw, over all its connections.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// All control frames that came.
    pub frames: Vec<ControlFrame>,
    /// The application error codes with which the other end closed connections.
    pub closed_with: Vec<u64>,
    /// How connections ended otherwise, in words.
    pub lost: Vec<String>,
    /// When scripts did what they are there for: see [`Line::note_deed`].
    pub deeds: Vec<Duration>,
}

/// The peer.
pub struct RawPeer {
    endpoint: Endpoint,
    lines: BTreeMap<usize, Held>,
    casting: Casting,
    responses: VecDeque<(Transmit, Vec<u8>)>,
    log: Log,
    rest: Rest,
    has_endless_events: bool,
}

/// A connection and its script.
struct Held {
    connection: Connection,
    control: Option<StreamId>,
    decoder: Decoder,
    script: Box<dyn Script>,
}

impl fmt::Debug for RawPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawPeer")
            .field("log", &self.log)
            .finish_non_exhaustive()
    }
}

impl RawPeer {
    /// A server with this identity.
    #[must_use]
    pub fn server(crypto: CryptoMode, identity: Identity, casting: Casting) -> Program {
        Box::new(move |birth| {
            let config = quic::server_config(crypto, &identity, birth);
            Box::new(Self::new(birth, Some(Arc::new(config)), &casting))
        })
    }

    /// A client that dials this server, whoever it is.
    ///
    /// # Panics
    ///
    /// The program panics at its start if nobody can be dialled there.
    #[must_use]
    pub fn client(crypto: CryptoMode, server: SocketAddr, casting: Casting) -> Program {
        Box::new(move |birth| {
            let mut peer = Self::new(birth, None, &casting);
            let now = birth.moment.now.monotonic;
            let (handle, connection) = peer
                .endpoint
                .connect(now, quic::client_config(crypto, birth), server, SERVER_NAME)
                .expect("the address is valid");
            peer.hold(handle, connection);
            Box::new(peer)
        })
    }

    fn new(birth: &Birth, server: Option<Arc<ServerConfig>>, casting: &Casting) -> Self {
        let config = Arc::new(quic::endpoint_config(birth));
        Self {
            endpoint: Endpoint::new(config, server, true, Some(birth.entropy)),
            lines: BTreeMap::new(),
            casting: Rc::clone(casting),
            responses: VecDeque::new(),
            log: Log::default(),
            rest: Rest::default(),
            has_endless_events: false,
        }
    }

    /// What it saw.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    fn hold(&mut self, handle: ConnectionHandle, connection: Connection) {
        let held = Held {
            connection,
            control: None,
            decoder: Decoder::new(),
            script: (self.casting)(),
        };
        self.lines.insert(handle.0, held);
    }

    fn respond(&mut self, transmit: &quinn_proto::Transmit, buf: Vec<u8>) {
        self.responses.push_back((convert(transmit), buf));
    }

    /// Lets one connection say what happened next; whether anything did.
    fn poll(&mut self, handle: usize, moment: Moment) -> bool {
        let Some(held) = self.lines.get_mut(&handle) else {
            return false;
        };
        if let Some(event) = held.connection.poll_endpoint_events() {
            if let Some(event) = self.endpoint.handle_event(ConnectionHandle(handle), event) {
                held.connection.handle_event(event);
            }
            return true;
        }
        let Some(event) = held.connection.poll() else {
            return false;
        };
        self.rest.disturb();
        held.on_event(&mut self.log, moment, event);
        true
    }
}

impl Held {
    fn on_event(&mut self, log: &mut Log, moment: Moment, event: Event) {
        match event {
            Event::Connected if self.connection.side().is_client() => {
                self.control = self.connection.streams().open(Dir::Bi);
                self.cue(log, moment, &Cue::Up);
            }
            Event::Stream(StreamEvent::Opened { dir: Dir::Bi }) => {
                if let Some(stream) = self.connection.streams().accept(Dir::Bi)
                    && self.control.is_none()
                {
                    self.control = Some(stream);
                    self.cue(log, moment, &Cue::Up);
                    self.read_control(log, moment);
                }
            }
            Event::Stream(StreamEvent::Readable { id }) if self.control == Some(id) => {
                self.read_control(log, moment);
            }
            Event::Stream(StreamEvent::Writable { .. } | StreamEvent::Available { .. }) => {
                self.cue(log, moment, &Cue::Room);
            }
            Event::ConnectionLost {
                reason: ConnectionError::ApplicationClosed(close),
            } => log.closed_with.push(close.error_code.into_inner()),
            Event::ConnectionLost { reason } => log.lost.push(reason.to_string()),
            Event::HandshakeDataReady
            | Event::Connected
            | Event::Stream(_)
            | Event::DatagramReceived
            | Event::DatagramsUnblocked => {}
        }
    }

    fn read_control(&mut self, log: &mut Log, moment: Moment) {
        let Some(control) = self.control.filter(|_| !self.script.is_deaf()) else {
            return;
        };
        let mut stream = self.connection.recv_stream(control);
        if let Ok(mut chunks) = stream.read(true) {
            while let Ok(Some(chunk)) = chunks.next(usize::MAX) {
                self.decoder.push(chunk.bytes);
            }
            // Told to the other end with the next datagram.
            let _ = chunks.finalize();
        }
        while let Some(frame) = self
            .decoder
            .poll_frame()
            .expect("the honest end sends well-formed frames")
        {
            log.frames.push(frame.clone());
            self.cue(log, moment, &Cue::Frame(frame));
        }
    }

    fn cue(&mut self, log: &mut Log, moment: Moment, cue: &Cue) {
        let Some(control) = self.control.filter(|_| !self.connection.is_closed()) else {
            return;
        };
        let mut line = Line::new(moment, &mut self.connection, control, &mut log.deeds);
        self.script.on_cue(&mut line, cue);
    }

    /// When its script wants to be woken.
    fn alarm(&self) -> Option<Duration> {
        let is_up = self.control.is_some() && !self.connection.is_closed();
        self.script.alarm().filter(|_| is_up)
    }
}

impl Node for RawPeer {
    fn receive(&mut self, moment: Moment, datagram: Datagram) {
        self.rest.disturb();
        let (now, mut buf) = (moment.now.monotonic, Vec::new());
        let (remote, local) = (datagram.remote, datagram.local_ip);
        let event = self
            .endpoint
            .handle(now, remote, local, None, datagram.data, &mut buf);
        match event {
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                if let Some(held) = self.lines.get_mut(&handle.0) {
                    held.connection.handle_event(event);
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) => {
                match self.endpoint.accept(incoming, now, &mut buf, None) {
                    Ok((handle, connection)) => self.hold(handle, connection),
                    Err(error) => {
                        if let Some(transmit) = error.response {
                            self.respond(&transmit, buf);
                        }
                    }
                }
            }
            Some(DatagramEvent::Response(transmit)) => self.respond(&transmit, buf),
            None => {}
        }
    }

    fn expire(&mut self, moment: Moment) {
        self.rest.on_expiry(moment.time);
        for held in self.lines.values_mut() {
            held.connection.handle_timeout(moment.now.monotonic);
        }
    }

    fn run(&mut self, moment: Moment) {
        for held in self.lines.values_mut() {
            if held.alarm().is_some_and(|at| at <= moment.time) {
                self.rest.disturb();
                held.cue(&mut self.log, moment, &Cue::Alarm);
            }
        }
        let handles: Vec<_> = self.lines.keys().copied().collect();
        let mut events = 0;
        for handle in handles {
            while events < EVENTS_PER_ROUND_MAX && self.poll(handle, moment) {
                events += 1;
            }
            let held = self.lines.get(&handle);
            if held.is_some_and(|held| held.connection.is_drained()) {
                self.lines.remove(&handle);
            }
        }
        // A script may bring about what it is told next.
        self.has_endless_events |= events == EVENTS_PER_ROUND_MAX;
    }

    fn transmit(&mut self, moment: Moment, buf: &mut Vec<u8>) -> Option<Transmit> {
        if let Some((transmit, bytes)) = self.responses.pop_front() {
            buf.extend_from_slice(&bytes);
            return Some(transmit);
        }
        let now = moment.now.monotonic;
        let speaking = |held: &&mut Held| !held.script.is_silent();
        let mut lines = self.lines.values_mut().filter(speaking);
        let transmit = lines.find_map(|held| held.connection.poll_transmit(now, 1, buf))?;
        Some(convert(&transmit))
    }

    fn wake_at(&mut self, clock: &Clock) -> Option<Duration> {
        let alarms: Vec<_> = self.lines.values().filter_map(Held::alarm).collect();
        let timers = self.lines.values_mut();
        let timers = timers.filter_map(|held| held.connection.poll_timeout());
        timers.map(|at| clock.time_of(at)).chain(alarms).min()
    }

    /// Its scripts keep no rules, but QUIC does, under them as under a KWIK endpoint. A silent line is
    /// not judged: it sends no probes, so that they stay due.
    fn unrest(&mut self, moment: Moment) -> Option<Unrest> {
        if self.has_endless_events {
            return Some(Unrest::EventsWithoutEnd);
        }
        let lines = self.lines.values_mut();
        let speaking = lines.filter(|held| !held.script.is_silent());
        let due = speaking.filter_map(|held| held.connection.poll_timeout());
        let since = moment.now.monotonic.checked_duration_since(due.min()?)?;
        self.rest.judge(since, LOSS_TIMERS_MAX)
    }
}

fn convert(transmit: &quinn_proto::Transmit) -> Transmit {
    Transmit {
        destination: transmit.destination,
        ecn: None,
        size: transmit.size,
        segment_size: transmit.segment_size,
        src_ip: None,
    }
}

#[cfg(test)]
mod tests;

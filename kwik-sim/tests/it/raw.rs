//! A peer that speaks QUIC and sends what it likes: the wire without the rules.
//!
//! Owns a quinn-proto endpoint, as a server or as a client, and a script that is told of each control
//! frame. The codecs are kwik-core's own; everything else is up to the script.

pub(crate) mod quic;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use kwik_core::endpoint::{Datagram, Transmit};
use kwik_core::wire::{ControlFrame, Decoder, SegmentHeader};
use kwik_sim::CryptoMode;
use kwik_sim::clock::{Clock, Moment};
use kwik_sim::host::{Birth, Node, Program};
use kwik_sim::identity::{Identity, SERVER_NAME};
use quinn_proto::{
    Connection, ConnectionError, ConnectionHandle, DatagramEvent, Dir, Endpoint, Event,
    ServerConfig, StreamEvent, StreamId, VarInt,
};

const EXPORTER_LABEL: &[u8] = b"EXPORTER-kwik/1-join";

/// What a script is told.
pub(crate) enum Cue {
    /// The connection stands, and so does its control carrier.
    Up,
    /// A control frame came.
    Frame(ControlFrame),
}

/// What the peer does.
pub(crate) type Script = Rc<dyn Fn(&mut Line<'_>, &Cue)>;

/// A connection, as a script handles it.
pub(crate) struct Line<'a> {
    /// When.
    pub(crate) moment: Moment,
    connection: &'a mut Connection,
    control: StreamId,
}

/// How a segment ends.
#[derive(Clone, Copy)]
pub(crate) enum End {
    Finish,
    Reset,
    Open,
}

impl Line<'_> {
    /// Sends a control frame.
    pub(crate) fn send(&mut self, frame: &ControlFrame) {
        self.send_bytes(&frame.encode());
    }

    /// Sends bytes on the control carrier.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        let written = self.connection.send_stream(self.control).write(bytes);
        assert_eq!(written, Ok(bytes.len()), "control has room");
    }

    /// Opens a unidirectional stream, writes, ends it.
    pub(crate) fn uni(&mut self, bytes: &[u8], end: End) {
        let stream = self.connection.streams().open(Dir::Uni);
        let stream = stream.expect("there is credit for a segment");
        let mut send = self.connection.send_stream(stream);
        assert_eq!(send.write(bytes), Ok(bytes.len()), "a segment has room");
        match end {
            End::Finish => send.finish().expect("open"),
            End::Reset => send.reset(VarInt::from_u32(1)).expect("open"),
            End::Open => {}
        }
    }

    /// Sends a whole segment.
    pub(crate) fn segment(&mut self, header: SegmentHeader, body: &[u8]) {
        self.uni(&[&header.encode()[..], body].concat(), End::Finish);
    }

    /// Whether the other end lets this one open a bidirectional stream.
    pub(crate) fn can_open_bidi(&mut self) -> bool {
        self.connection.streams().open(Dir::Bi).is_some()
    }

    /// What both ends of this connection know and nobody else.
    pub(crate) fn exporter(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        let session = self.connection.crypto_session();
        let exported = session.export_keying_material(&mut bytes, EXPORTER_LABEL, &[]);
        assert!(exported.is_ok(), "the handshake is done");
        bytes
    }
}

/// The peer.
pub(crate) struct RawPeer {
    endpoint: Endpoint,
    lines: BTreeMap<usize, Held>,
    script: Script,
    responses: VecDeque<(Transmit, Vec<u8>)>,
    /// All control frames that came.
    pub(crate) frames: Vec<ControlFrame>,
    /// The application error codes with which the other end closed connections.
    pub(crate) closed_with: Vec<u64>,
}

struct Held {
    connection: Connection,
    control: Option<StreamId>,
    decoder: Decoder,
}

impl RawPeer {
    /// A server with this identity.
    pub(crate) fn server(crypto: CryptoMode, identity: Identity, script: Script) -> Program {
        Box::new(move |birth| {
            let config = quic::server_config(crypto, &identity, birth);
            Box::new(Self::new(birth, Some(Arc::new(config)), &script))
        })
    }

    /// A client that dials this server, whoever it is.
    pub(crate) fn client(crypto: CryptoMode, server: SocketAddr, script: Script) -> Program {
        Box::new(move |birth| {
            let mut peer = Self::new(birth, None, &script);
            let config = quic::client_config(crypto, birth);
            let now = birth.moment.now.monotonic;
            let (handle, connection) = peer
                .endpoint
                .connect(now, config, server, SERVER_NAME)
                .expect("the address is valid");
            peer.hold(handle, connection);
            Box::new(peer)
        })
    }

    fn new(birth: &Birth, server: Option<Arc<ServerConfig>>, script: &Script) -> Self {
        let config = Arc::new(quic::endpoint_config(birth));
        Self {
            endpoint: Endpoint::new(config, server, true, Some(birth.entropy)),
            lines: BTreeMap::new(),
            script: Rc::clone(script),
            responses: VecDeque::new(),
            frames: Vec::new(),
            closed_with: Vec::new(),
        }
    }

    fn hold(&mut self, handle: ConnectionHandle, connection: Connection) {
        let held = Held {
            connection,
            control: None,
            decoder: Decoder::new(),
        };
        self.lines.insert(handle.0, held);
    }

    fn respond(&mut self, transmit: &quinn_proto::Transmit, buf: Vec<u8>) {
        self.responses.push_back((convert(transmit), buf));
    }

    /// Lets one connection say what happened; whether anything did.
    fn poll(&mut self, handle: usize, moment: Moment) -> bool {
        let Some(held) = self.lines.get_mut(&handle) else {
            return false;
        };
        let mut is_busy = false;
        while let Some(event) = held.connection.poll_endpoint_events() {
            is_busy = true;
            if let Some(event) = self.endpoint.handle_event(ConnectionHandle(handle), event) {
                held.connection.handle_event(event);
            }
        }
        while let Some(event) = self
            .lines
            .get_mut(&handle)
            .and_then(|h| h.connection.poll())
        {
            is_busy = true;
            self.on_event(handle, moment, event);
        }
        is_busy
    }

    fn on_event(&mut self, handle: usize, moment: Moment, event: Event) {
        let Some(held) = self.lines.get_mut(&handle) else {
            return;
        };
        let mut read = false;
        if let Event::Connected = event
            && held.connection.side().is_client()
        {
            held.control = held.connection.streams().open(Dir::Bi);
            self.cue(handle, moment, &Cue::Up);
        } else if let Event::Stream(StreamEvent::Opened { dir: Dir::Bi }) = event {
            held.control = held.connection.streams().accept(Dir::Bi);
            self.cue(handle, moment, &Cue::Up);
            read = true;
        } else if let Event::Stream(StreamEvent::Readable { id }) = event {
            read = held.control == Some(id);
        } else if let Event::ConnectionLost { reason } = event
            && let ConnectionError::ApplicationClosed(close) = reason
        {
            self.closed_with.push(close.error_code.into_inner());
        }
        if read {
            self.read_control(handle, moment);
        }
    }

    fn read_control(&mut self, handle: usize, moment: Moment) {
        let Some(held) = self.lines.get_mut(&handle) else {
            return;
        };
        let Some(control) = held.control else { return };
        let mut stream = held.connection.recv_stream(control);
        if let Ok(mut chunks) = stream.read(true) {
            while let Ok(Some(chunk)) = chunks.next(usize::MAX) {
                held.decoder.push(chunk.bytes);
            }
            let _ = chunks.finalize();
        }
        let next = |peer: &mut Self| {
            let held = peer.lines.get_mut(&handle)?;
            held.decoder
                .poll_frame()
                .expect("the honest end sends well-formed frames")
        };
        while let Some(frame) = next(self) {
            self.frames.push(frame.clone());
            self.cue(handle, moment, &Cue::Frame(frame));
        }
    }

    fn cue(&mut self, handle: usize, moment: Moment, cue: &Cue) {
        let script = Rc::clone(&self.script);
        if let Some(held) = self.lines.get_mut(&handle)
            && let Some(control) = held.control
        {
            let connection = &mut held.connection;
            let mut line = Line {
                moment,
                connection,
                control,
            };
            script(&mut line, cue);
        }
    }
}

impl Node for RawPeer {
    fn receive(&mut self, moment: Moment, datagram: Datagram) {
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
        for held in self.lines.values_mut() {
            held.connection.handle_timeout(moment.now.monotonic);
        }
    }

    fn run(&mut self, moment: Moment) {
        let handles: Vec<_> = self.lines.keys().copied().collect();
        for handle in handles {
            while self.poll(handle, moment) {}
            if self
                .lines
                .get(&handle)
                .is_some_and(|held| held.connection.is_drained())
            {
                self.lines.remove(&handle);
            }
        }
    }

    fn transmit(&mut self, moment: Moment, buf: &mut Vec<u8>) -> Option<Transmit> {
        if let Some((transmit, bytes)) = self.responses.pop_front() {
            buf.extend_from_slice(&bytes);
            return Some(transmit);
        }
        let now = moment.now.monotonic;
        let mut lines = self.lines.values_mut();
        let transmit = lines.find_map(|held| held.connection.poll_transmit(now, 1, buf))?;
        Some(convert(&transmit))
    }

    fn wake_at(&mut self, clock: &Clock) -> Option<Duration> {
        let timers = self.lines.values_mut();
        let next = timers
            .filter_map(|held| held.connection.poll_timeout())
            .min()?;
        Some(clock.time_of(next))
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

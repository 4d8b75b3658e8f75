//! The null handshake of one connection, as quinn-proto drives it.
//!
//! Owns what has been heard and said, the keys that follow from it, and what is still to be told to
//! quinn-proto. Never decides whether a message is in its turn.

use std::any::Any;
use std::collections::VecDeque;
use std::mem;

use quinn_proto::crypto::rustls::HandshakeData;
use quinn_proto::crypto::{
    ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, Session,
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectionId, Side, TransportError};

use super::flights::{Client, Server};
use super::keys::{self, Secret, TAG_BYTES};
use super::message::{Alert, Inbox, Message, Random};

/// Most keying material that is exported at once, bytes: as much as HKDF yields.
const EXPORT_MAX_BYTES: usize = 255 * 32;

/// One end of a handshake.
pub(super) struct NullSession {
    role: Role,
    inbox: Inbox,
    line: Line,
}

enum Role {
    Client(Client),
    Server(Server),
}

/// What was agreed on.
pub(super) struct Agreed {
    /// The transport parameters of the peer.
    pub(super) params: TransportParameters,
    /// The application protocol.
    pub(super) protocol: Vec<u8>,
    /// How the client calls the server; servers only.
    pub(super) server_name: Option<String>,
}

/// What is to be told to quinn-proto.
enum Step {
    /// Bytes for the peer, in packets of the space that is reached.
    Say(Vec<u8>),
    /// The next space is reached.
    Turn(Keys),
}

/// What was said and heard so far, and what follows from it.
pub(super) struct Line {
    side: Side,
    transcript: Secret,
    outbox: VecDeque<Step>,
    agreed: Option<Agreed>,
    /// What the peer says from here on must come in packets of the next space.
    turned: bool,
    traffic: Option<Traffic>,
    established: bool,
}

/// What protects the packets after the handshake.
struct Traffic {
    secret: Secret,
    updates: u64,
}

impl Line {
    fn new(side: Side) -> Self {
        Self {
            side,
            transcript: Secret::of(&[b"transcript"]),
            outbox: VecDeque::new(),
            agreed: None,
            turned: false,
            traffic: None,
            established: false,
        }
    }

    pub(super) fn say(&mut self, message: &Message) {
        let bytes = message.encode();
        self.note(&bytes);
        if let Some(Step::Say(said)) = self.outbox.back_mut() {
            said.extend_from_slice(&bytes);
        } else {
            self.outbox.push_back(Step::Say(bytes));
        }
    }

    /// Says that all was heard so far, and what.
    pub(super) fn say_finished(&mut self, side: Side) {
        let verify = self.finished(side);
        self.say(&Message::Finished { verify });
    }

    /// Adds a message to what both ends have said: every secret from here on hangs on all of it, the
    /// randoms of both ends included.
    pub(super) fn note(&mut self, bytes: &[u8]) {
        self.transcript = self.transcript.derive(b"message", bytes);
    }

    pub(super) fn transcript(&self) -> Secret {
        self.transcript
    }

    /// What an end shows to prove that it has heard the same.
    pub(super) fn finished(&self, side: Side) -> [u8; TAG_BYTES] {
        let by: &[u8] = if side.is_client() {
            b"client"
        } else {
            b"server"
        };
        let mut verify = [0; TAG_BYTES];
        self.transcript.expand(b"finished", by, &mut verify);
        verify
    }

    pub(super) fn agree(&mut self, agreed: Agreed) {
        self.agreed = Some(agreed);
    }

    pub(super) fn use_handshake_keys(&mut self) {
        let secret = self.transcript.derive(b"handshake", &[]);
        self.turn(secret.keys(self.side));
    }

    /// `transcript` is that up to the server's last message: the server sends before it hears more.
    pub(super) fn use_traffic_keys(&mut self, transcript: Secret) {
        let traffic = Traffic {
            secret: transcript.derive(b"traffic", &[]),
            updates: 0,
        };
        self.turn(traffic.generation().keys(self.side));
        self.traffic = Some(traffic);
    }

    /// The handshake is done: nothing comes any more.
    pub(super) fn establish(&mut self) {
        self.established = true;
        self.turned = true;
    }

    fn turn(&mut self, keys: Keys) {
        self.turned = true;
        self.outbox.push_back(Step::Turn(keys));
    }
}

impl Traffic {
    /// What protects the packets since the last update of the keys.
    fn generation(&self) -> Secret {
        self.secret.derive(b"update", &self.updates.to_le_bytes())
    }
}

impl NullSession {
    pub(super) fn client(
        client: Client,
        random: Random,
        server_name: &str,
        params: &TransportParameters,
    ) -> Self {
        let mut line = Line::new(Side::Client);
        client.begin(random, server_name, params, &mut line);
        Self::new(Role::Client(client), line)
    }

    pub(super) fn server(server: Server) -> Self {
        Self::new(Role::Server(server), Line::new(Side::Server))
    }

    fn new(role: Role, line: Line) -> Self {
        Self {
            role,
            inbox: Inbox::default(),
            line,
        }
    }
}

impl Session for NullSession {
    fn initial_keys(&self, dst_cid: &ConnectionId, side: Side) -> Keys {
        keys::initial(dst_cid, side)
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        let agreed = self.line.agreed.as_ref()?;
        Some(Box::new(HandshakeData {
            protocol: Some(agreed.protocol.clone()),
            server_name: agreed.server_name.clone(),
        }))
    }

    /// Nobody asks: the pin was checked when the certificate came.
    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        None
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        None
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.line.side.is_client().then_some(false)
    }

    fn is_handshaking(&self) -> bool {
        !self.line.established
    }

    fn read_handshake(&mut self, buf: &[u8]) -> Result<bool, TransportError> {
        if self.line.established {
            return Err(Alert::UnexpectedMessage.because("a message after the last"));
        }
        let had_agreed = self.line.agreed.is_some();
        self.inbox.push(buf);
        while let Some((message, bytes)) = self.inbox.pop()? {
            match &mut self.role {
                Role::Client(client) => client.hear(message, &bytes, &mut self.line)?,
                Role::Server(server) => server.hear(message, &bytes, &mut self.line)?,
            }
            if mem::take(&mut self.line.turned) && !self.inbox.is_empty() {
                return Err(Alert::UnexpectedMessage.because("a message in the wrong packet space"));
            }
        }
        Ok(!had_agreed && self.line.agreed.is_some())
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        Ok(self.line.agreed.as_ref().map(|agreed| agreed.params))
    }

    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<Keys> {
        loop {
            match self.line.outbox.pop_front()? {
                Step::Say(bytes) => buf.extend_from_slice(&bytes),
                Step::Turn(keys) => return Some(keys),
            }
        }
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        let traffic = self.line.traffic.as_mut()?;
        traffic.updates += 1;
        Some(traffic.generation().packet_keys(self.line.side))
    }

    fn is_valid_retry(&self, orig_dst_cid: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        let Some((token, tag)) = payload.split_last_chunk::<TAG_BYTES>() else {
            return false;
        };
        *tag == keys::retry_tag(orig_dst_cid, &[header, token].concat())
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        let Some(traffic) = &self.line.traffic else {
            return Err(ExportKeyingMaterialError);
        };
        if output.len() > EXPORT_MAX_BYTES {
            return Err(ExportKeyingMaterialError);
        }
        let exporter = traffic.secret.derive(b"exporter", label);
        exporter.expand(b"keying material", context, output);
        Ok(())
    }
}

//! The messages of the null handshake, in bytes.
//!
//! Owns their layout: one byte for the kind, three for the length, then the fields, of which those of
//! variable length have two bytes of length before them. The kinds are those of TLS 1.3 (RFC 8446 §4).
//! Never knows which message is due.

use quinn_proto::{TransportError, TransportErrorCode};

use super::keys::TAG_BYTES;

/// What one end adds to a handshake.
pub(super) type Random = [u8; 32];

/// Longest message that is waited for, bytes: certificates are far smaller, and an honest peer sends
/// nothing else of size.
const MESSAGE_MAX_BYTES: usize = 1 << 16;

/// Why a handshake fails, as a TLS alert (RFC 8446 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alert {
    UnexpectedMessage = 10,
    BadCertificate = 42,
    AccessDenied = 49,
    DecodeError = 50,
    DecryptError = 51,
    NoApplicationProtocol = 120,
}

impl Alert {
    /// The error that closes the connection.
    pub(super) fn because(self, reason: &str) -> TransportError {
        TransportError {
            code: TransportErrorCode::crypto(self as u8),
            frame: None,
            reason: reason.to_owned(),
        }
    }
}

/// A message of the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    ClientHello {
        random: Random,
        server_name: Vec<u8>,
        protocol: Vec<u8>,
        params: Vec<u8>,
    },
    ServerHello {
        random: Random,
    },
    EncryptedExtensions {
        protocol: Vec<u8>,
        params: Vec<u8>,
    },
    Certificate {
        der: Vec<u8>,
    },
    Finished {
        verify: [u8; TAG_BYTES],
    },
}

impl Message {
    fn kind(&self) -> u8 {
        match self {
            Self::ClientHello { .. } => 1,
            Self::ServerHello { .. } => 2,
            Self::EncryptedExtensions { .. } => 8,
            Self::Certificate { .. } => 11,
            Self::Finished { .. } => 20,
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![self.kind(), 0, 0, 0];
        match self {
            Self::ClientHello {
                random,
                server_name,
                protocol,
                params,
            } => {
                bytes.extend_from_slice(random);
                put(&mut bytes, server_name);
                put(&mut bytes, protocol);
                put(&mut bytes, params);
            }
            Self::ServerHello { random } => bytes.extend_from_slice(random),
            Self::EncryptedExtensions { protocol, params } => {
                put(&mut bytes, protocol);
                put(&mut bytes, params);
            }
            Self::Certificate { der } => put(&mut bytes, der),
            Self::Finished { verify } => bytes.extend_from_slice(verify),
        }
        let length = (bytes.len() - 4) as u64;
        bytes[1..4].copy_from_slice(&length.to_be_bytes()[5..]);
        bytes
    }

    fn decode(kind: u8, body: &[u8]) -> Result<Self, TransportError> {
        let mut fields = Fields(body);
        let message = match kind {
            1 => Self::ClientHello {
                random: fields.array()?,
                server_name: fields.bytes()?,
                protocol: fields.bytes()?,
                params: fields.bytes()?,
            },
            2 => Self::ServerHello {
                random: fields.array()?,
            },
            8 => Self::EncryptedExtensions {
                protocol: fields.bytes()?,
                params: fields.bytes()?,
            },
            11 => Self::Certificate {
                der: fields.bytes()?,
            },
            20 => Self::Finished {
                verify: fields.array()?,
            },
            _ => return Err(Alert::DecodeError.because("a message of unknown kind")),
        };
        if fields.0.is_empty() {
            Ok(message)
        } else {
            Err(Alert::DecodeError.because("bytes behind the fields of a message"))
        }
    }
}

/// Appends a field of variable length. Only the own end's fields come here: a server's name, a
/// certificate, transport parameters. What does not fit is cut off, which the peer will notice.
fn put(bytes: &mut Vec<u8>, field: &[u8]) {
    let length = u16::try_from(field.len()).unwrap_or(u16::MAX);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&field[..usize::from(length)]);
}

/// The fields of a message that are not read yet.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], TransportError> {
        let (array, rest) = self.0.split_first_chunk().ok_or_else(too_short)?;
        self.0 = rest;
        Ok(*array)
    }

    fn bytes(&mut self) -> Result<Vec<u8>, TransportError> {
        let length = usize::from(u16::from_be_bytes(self.array()?));
        let (bytes, rest) = self.0.split_at_checked(length).ok_or_else(too_short)?;
        self.0 = rest;
        Ok(bytes.to_vec())
    }
}

fn too_short() -> TransportError {
    Alert::DecodeError.because("a message is shorter than its fields")
}

/// What has come of the handshake and is no whole message yet.
#[derive(Debug, Default)]
pub(super) struct Inbox(Vec<u8>);

impl Inbox {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next message, and its bytes.
    pub(super) fn pop(&mut self) -> Result<Option<(Message, Vec<u8>)>, TransportError> {
        let Some((&[kind, a, b, c], rest)) = self.0.split_first_chunk() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        if length > MESSAGE_MAX_BYTES {
            return Err(Alert::DecodeError.because("a message without end"));
        }
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        let message = Message::decode(kind, body)?;
        let left = self.0.split_off(4 + length);
        Ok(Some((message, std::mem::replace(&mut self.0, left))))
    }
}

//! Who says what when in the null handshake, and what is believed.
//!
//! Owns the states of both ends. The flights, and the packet spaces in which they travel, are those of
//! TLS 1.3, so that a loss costs here what it costs there:
//!
//! ```text
//! client                                     server
//! ClientHello          Initial   ───────>
//!                      Initial   <───────    ServerHello
//!                      Handshake <───────    EncryptedExtensions, Certificate, Finished
//! Finished             Handshake ───────>
//! ```
//!
//! Never sees a byte of a message, nor quinn-proto's connection.

use std::mem;

use kwik_core::endpoint::certificate_pin;
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{Side, TransportError};

use super::keys::TAG_BYTES;
use super::message::{Alert, Message, Random};
use super::null::Trust;
use super::session::{Agreed, Line};

/// The client of a handshake.
pub(super) struct Client {
    protocol: Vec<u8>,
    trust: Trust,
    awaits: ClientAwaits,
}

/// What a client waits for.
enum ClientAwaits {
    ServerHello,
    EncryptedExtensions,
    Certificate,
    Finished,
    Nothing,
}

impl Client {
    pub(super) fn new(protocol: Vec<u8>, trust: Trust) -> Self {
        Self {
            protocol,
            trust,
            awaits: ClientAwaits::ServerHello,
        }
    }

    /// Says the first message.
    pub(super) fn begin(
        &self,
        random: Random,
        server_name: &str,
        params: &TransportParameters,
        line: &mut Line,
    ) {
        line.say(&Message::ClientHello {
            random,
            server_name: server_name.as_bytes().to_vec(),
            protocol: self.protocol.clone(),
            params: encode(params),
        });
    }

    /// Hears a message that `line` has not noted yet.
    pub(super) fn hear(
        &mut self,
        message: Message,
        bytes: &[u8],
        line: &mut Line,
    ) -> Result<(), TransportError> {
        let awaited = mem::replace(&mut self.awaits, ClientAwaits::Nothing);
        self.awaits = match (awaited, message) {
            (ClientAwaits::ServerHello, Message::ServerHello { .. }) => {
                line.note(bytes);
                line.use_handshake_keys();
                ClientAwaits::EncryptedExtensions
            }
            (
                ClientAwaits::EncryptedExtensions,
                Message::EncryptedExtensions { protocol, params },
            ) => {
                if protocol != self.protocol {
                    return Err(Alert::NoApplicationProtocol.because("not what was asked for"));
                }
                line.note(bytes);
                line.agree(Agreed {
                    params: decode(Side::Client, &params)?,
                    protocol,
                    server_name: None,
                });
                ClientAwaits::Certificate
            }
            (ClientAwaits::Certificate, Message::Certificate { der }) => {
                self.believe(&der)?;
                line.note(bytes);
                ClientAwaits::Finished
            }
            (ClientAwaits::Finished, Message::Finished { verify }) => {
                check_finished(verify, Side::Server, line)?;
                line.note(bytes);
                let traffic = line.transcript();
                line.say_finished(Side::Client);
                line.use_traffic_keys(traffic);
                line.establish();
                ClientAwaits::Nothing
            }
            (_, _) => return Err(unexpected()),
        };
        Ok(())
    }

    /// The pin says who the server is. That it holds the key is taken on trust.
    fn believe(&self, certificate: &[u8]) -> Result<(), TransportError> {
        let Trust::Pin(pin, alarm) = &self.trust else {
            return Ok(());
        };
        let found = certificate_pin(certificate)
            .map_err(|_| Alert::BadCertificate.because("not a certificate"))?;
        if found == *pin {
            return Ok(());
        }
        alarm.ring();
        Err(Alert::AccessDenied.because("another server than the one that was asked for"))
    }
}

/// The server of a handshake.
pub(super) struct Server {
    protocol: Vec<u8>,
    certificate: Vec<u8>,
    random: Random,
    params: Vec<u8>,
    awaits: ServerAwaits,
}

/// What a server waits for.
enum ServerAwaits {
    ClientHello,
    Finished,
    Nothing,
}

impl Server {
    pub(super) fn new(
        protocol: Vec<u8>,
        certificate: Vec<u8>,
        random: Random,
        params: &TransportParameters,
    ) -> Self {
        Self {
            protocol,
            certificate,
            random,
            params: encode(params),
            awaits: ServerAwaits::ClientHello,
        }
    }

    /// Hears a message that `line` has not noted yet.
    pub(super) fn hear(
        &mut self,
        message: Message,
        bytes: &[u8],
        line: &mut Line,
    ) -> Result<(), TransportError> {
        let awaited = mem::replace(&mut self.awaits, ServerAwaits::Nothing);
        self.awaits = match (awaited, message) {
            (
                ServerAwaits::ClientHello,
                Message::ClientHello {
                    server_name,
                    protocol,
                    params,
                    ..
                },
            ) => {
                if protocol != self.protocol {
                    return Err(Alert::NoApplicationProtocol.because("not spoken here"));
                }
                line.note(bytes);
                line.agree(Agreed {
                    params: decode(Side::Server, &params)?,
                    protocol,
                    server_name: String::from_utf8(server_name).ok(),
                });
                self.answer(line);
                ServerAwaits::Finished
            }
            (ServerAwaits::Finished, Message::Finished { verify }) => {
                check_finished(verify, Side::Client, line)?;
                line.note(bytes);
                line.establish();
                ServerAwaits::Nothing
            }
            (_, _) => return Err(unexpected()),
        };
        Ok(())
    }

    /// All that a server ever says, at once.
    fn answer(&self, line: &mut Line) {
        line.say(&Message::ServerHello {
            random: self.random,
        });
        line.use_handshake_keys();
        line.say(&Message::EncryptedExtensions {
            protocol: self.protocol.clone(),
            params: self.params.clone(),
        });
        line.say(&Message::Certificate {
            der: self.certificate.clone(),
        });
        line.say_finished(Side::Server);
        line.use_traffic_keys(line.transcript());
    }
}

/// Whether the other end has heard and said the same.
fn check_finished(verify: [u8; TAG_BYTES], by: Side, line: &Line) -> Result<(), TransportError> {
    if verify == line.finished(by) {
        return Ok(());
    }
    Err(Alert::DecryptError.because("the two ends have not heard the same"))
}

fn unexpected() -> TransportError {
    Alert::UnexpectedMessage.because("a message out of its turn")
}

fn encode(params: &TransportParameters) -> Vec<u8> {
    let mut bytes = Vec::new();
    params.write(&mut bytes);
    bytes
}

/// `reader` is the end that reads them.
fn decode(reader: Side, mut bytes: &[u8]) -> Result<TransportParameters, TransportError> {
    Ok(TransportParameters::read(reader, &mut bytes)?)
}

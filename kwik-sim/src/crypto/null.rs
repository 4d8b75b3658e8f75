//! The null crypto, as an endpoint takes it.
//!
//! Owns the configurations of clients and servers, and the randoms of their handshakes, which follow
//! from one seed. Never sees a message of a handshake.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kwik_core::crypto::{ALPN, Crypto, PinAlarm};
use kwik_core::endpoint::{ConnectError, IdentityError};
use quinn_proto::crypto::{ClientConfig, Keys, ServerConfig, Session, UnsupportedVersion};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectionId, Side};

use super::flights::{Client, Server};
use super::keys::{self, Secret};
use super::message::Random;
use super::session::NullSession;

/// QUIC version 1: the only one that there is a retry tag for.
const VERSION: u32 = 1;

/// Makes the handshakes of one endpoint.
pub struct NullCrypto {
    randoms: Arc<Randoms>,
    /// The application protocol that it speaks.
    protocol: Vec<u8>,
}

/// Whom a client believes.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Whoever answers.
    Anybody,
    /// The server whose certificate has this pin; at another one the alarm rings.
    Pin([u8; 32], PinAlarm),
}

impl NullCrypto {
    /// For an endpoint that speaks KWIK. Its randoms follow from `seed` and from the order in which
    /// its handshakes begin.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Self {
        Self {
            randoms: Arc::new(Randoms {
                seed: Secret::of(&[b"randoms", &seed]),
                drawn: AtomicU64::new(0),
            }),
            protocol: ALPN.to_vec(),
        }
    }

    /// The same for another application protocol.
    #[must_use]
    pub fn speaking(self, protocol: &[u8]) -> Self {
        Self {
            protocol: protocol.to_vec(),
            ..self
        }
    }

    /// For a client that believes so.
    #[must_use]
    pub fn client_config(&self, trust: Trust) -> Arc<dyn ClientConfig> {
        Arc::new(NullClient {
            randoms: Arc::clone(&self.randoms),
            protocol: self.protocol.clone(),
            trust,
        })
    }

    /// For a server that shows this certificate.
    #[must_use]
    pub fn server_config(&self, certificate_der: &[u8]) -> Arc<dyn ServerConfig> {
        Arc::new(NullServer {
            randoms: Arc::clone(&self.randoms),
            protocol: self.protocol.clone(),
            certificate: certificate_der.to_vec(),
        })
    }
}

impl fmt::Debug for NullCrypto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NullCrypto").finish_non_exhaustive()
    }
}

impl Crypto for NullCrypto {
    fn client(
        &self,
        pin: [u8; 32],
        alarm: PinAlarm,
    ) -> Result<Arc<dyn ClientConfig>, ConnectError> {
        Ok(self.client_config(Trust::Pin(pin, alarm)))
    }

    fn server(
        &self,
        certificate: &[u8],
        _key: &[u8],
    ) -> Result<Arc<dyn ServerConfig>, IdentityError> {
        Ok(self.server_config(certificate))
    }
}

/// What the two ends of a handshake add to it so that no other has its secrets.
struct Randoms {
    seed: Secret,
    drawn: AtomicU64,
}

impl Randoms {
    fn draw(&self) -> Random {
        let ordinal = self.drawn.fetch_add(1, Ordering::Relaxed).to_le_bytes();
        let mut random = Random::default();
        self.seed.expand(b"random", &ordinal, &mut random);
        random
    }
}

struct NullClient {
    randoms: Arc<Randoms>,
    protocol: Vec<u8>,
    trust: Trust,
}

impl ClientConfig for NullClient {
    fn start_session(
        self: Arc<Self>,
        version: u32,
        server_name: &str,
        params: &TransportParameters,
    ) -> Result<Box<dyn Session>, quinn_proto::ConnectError> {
        if version != VERSION {
            return Err(UnsupportedVersion.into());
        }
        let client = Client::new(self.protocol.clone(), self.trust.clone());
        let random = self.randoms.draw();
        let session = NullSession::client(client, random, server_name, params);
        Ok(Box::new(session))
    }
}

struct NullServer {
    randoms: Arc<Randoms>,
    protocol: Vec<u8>,
    certificate: Vec<u8>,
}

impl ServerConfig for NullServer {
    fn initial_keys(
        &self,
        version: u32,
        dst_cid: &ConnectionId,
    ) -> Result<Keys, UnsupportedVersion> {
        if version != VERSION {
            return Err(UnsupportedVersion);
        }
        Ok(keys::initial(dst_cid, Side::Server))
    }

    fn retry_tag(&self, _version: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        keys::retry_tag(orig_dst_cid, packet)
    }

    fn start_session(
        self: Arc<Self>,
        _version: u32,
        params: &TransportParameters,
    ) -> Box<dyn Session> {
        let (protocol, certificate) = (self.protocol.clone(), self.certificate.clone());
        let server = Server::new(protocol, certificate, self.randoms.draw(), params);
        Box::new(NullSession::server(server))
    }
}

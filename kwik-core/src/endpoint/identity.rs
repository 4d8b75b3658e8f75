//! Who a server is, and why a connection may not even begin.

use std::fmt;
use std::net::SocketAddr;

use crate::quic;
use crate::ticket::{MasterKey, PeerKey};

/// What makes an endpoint a server: its certificate, the key of it, and the keys for its part in
/// sessions of several servers.
#[derive(Clone)]
pub struct ServerIdentity {
    /// An X.509 certificate, DER. What it says is of no account; its public key is the identity.
    pub certificate_der: Vec<u8>,
    /// The private key of the certificate, PKCS#8, DER.
    pub key_pkcs8_der: Vec<u8>,
    /// Lets it command secondaries.
    pub master: Option<MasterKey>,
    /// Lets it be a secondary.
    pub peer: Option<PeerKey>,
}

impl ServerIdentity {
    /// What clients recognize this server by.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Certificate`].
    pub fn pin(&self) -> Result<[u8; 32], IdentityError> {
        certificate_pin(&self.certificate_der)
    }
}

impl fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerIdentity")
            .field("master", &self.master)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// SHA-256 of the `SubjectPublicKeyInfo` of an X.509 certificate in DER (RFC 5280 §4.1.2.7).
///
/// # Errors
///
/// [`IdentityError::Certificate`].
pub fn certificate_pin(certificate_der: &[u8]) -> Result<[u8; 32], IdentityError> {
    quic::certificate_pin(certificate_der).ok_or(IdentityError::Certificate)
}

/// Why an endpoint cannot be a server with this identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not an X.509 certificate in DER.
    #[error("the certificate cannot be read")]
    Certificate,
    /// The private key cannot be read, or is not that of the certificate.
    #[error("the private key cannot be used: {0}")]
    Key(String),
}

/// Why a connection was not even begun.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The name cannot be sent in a TLS handshake.
    #[error("{0:?} is not a server name")]
    ServerName(String),
    /// The address or port is zero.
    #[error("{0} cannot be connected to")]
    Address(SocketAddr),
    /// TLS or QUIC cannot begin a connection.
    #[error("cannot begin a handshake: {0}")]
    Handshake(String),
}

//! Who a server is.

use std::fmt;

use crate::error::IdentityError;
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
    /// Lets it command secondaries. Known to primaries alone.
    pub master: Option<MasterKey>,
    /// Lets it be a secondary: [`MasterKey::peer_key`] for its own pin.
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

//! What protects the QUIC connections of an endpoint, and how to bring another one.
//!
//! Owns the joint between the connections and their handshake. An endpoint brings TLS 1.3 itself;
//! with the feature `custom-crypto`, [`Endpoint::with_crypto`](crate::endpoint::Endpoint) takes
//! something else in its place: a TLS of other make, or the mock of a simulator. It is told the pin of
//! each dial and the identity of the server, and never sees a session.
//!
//! The configurations are those of `quinn-proto` 0.11, and change when that does: this is no part of
//! what the crate promises to keep.
#![cfg_attr(
    not(feature = "custom-crypto"),
    expect(
        unreachable_pub,
        reason = "without the feature nobody outside needs it"
    )
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quinn_proto::crypto::{ClientConfig, ServerConfig};

use crate::error::{ConnectError, IdentityError};

/// The application protocol that every handshake must agree on [CONN-1], and with it the version
/// [EXT-1].
pub const ALPN: &[u8] = b"kwik/1";

/// Makes the handshakes of one endpoint.
///
/// A handshake must hold what the endpoint relies on and cannot check: the server has the key with the
/// pin [CONN-2] [CONN-3], both ends speak [`ALPN`] [CONN-1], nothing is resumed and no early data is
/// sent [CONN-4], and the keying material that it exports is that of this connection alone, the same
/// at both ends [JOIN-3].
pub trait Crypto: Send + Sync {
    /// For one dial, to the server that holds the key with this pin. Should it meet another one, it
    /// rings `alarm` and fails the handshake.
    ///
    /// # Errors
    ///
    /// No handshake can be begun.
    fn client(&self, pin: [u8; 32], alarm: PinAlarm)
    -> Result<Arc<dyn ClientConfig>, ConnectError>;

    /// For the server with this certificate and its PKCS#8 key, both DER.
    ///
    /// # Errors
    ///
    /// They cannot be used.
    fn server(
        &self,
        certificate: &[u8],
        key: &[u8],
    ) -> Result<Arc<dyn ServerConfig>, IdentityError>;
}

/// Tells the endpoint that the server of one dial is not the one that was asked for: every other
/// failure of a handshake may pass, this one means that somebody else is at that address.
#[derive(Clone, Debug, Default)]
pub struct PinAlarm(Arc<AtomicBool>);

impl PinAlarm {
    /// The server has another key than the pinned one.
    pub fn ring(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn rang(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

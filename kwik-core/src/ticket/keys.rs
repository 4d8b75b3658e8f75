//! The long-lived secrets, and derivation from them.
//!
//! Owns [`MasterKey`] and [`PeerKey`]. Never sees what the derived keys protect.

use std::fmt;

use ring::hkdf::{self, HKDF_SHA256};

const PEER_KEY_SALT: &[u8] = b"kwik/1 peer key";

/// The secret of a primary, from which the peer key of each of its secondaries is derived.
#[derive(Clone)]
pub struct MasterKey([u8; 32]);

impl MasterKey {
    /// The key with these bytes; they have to be random.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The secret bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key shared with the secondary whose certificate has this pin.
    #[must_use]
    pub fn peer_key(&self, pin: &[u8; 32]) -> PeerKey {
        PeerKey(derive(PEER_KEY_SALT, &self.0, &[pin]))
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKey").finish_non_exhaustive()
    }
}

/// The secret that a primary shares with one secondary.
#[derive(Clone)]
pub struct PeerKey([u8; 32]);

impl PeerKey {
    /// The key with these bytes, as [`MasterKey::peer_key`] derived them.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The secret bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 32 bytes that `salt` and the concatenated `info` make of this key.
    pub(super) fn derive(&self, salt: &[u8], info: &[&[u8]]) -> [u8; 32] {
        derive(salt, &self.0, info)
    }
}

impl fmt::Debug for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerKey").finish_non_exhaustive()
    }
}

/// HKDF-SHA256, extract and expand, with 32 bytes of output [KEY-1].
fn derive(salt: &[u8], secret: &[u8; 32], info: &[&[u8]]) -> [u8; 32] {
    let mut key = [0; 32];
    hkdf::Salt::new(HKDF_SHA256, salt)
        .extract(secret)
        .expand(info, HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut key))
        .expect("HKDF-SHA256 gives up to 255 times 32 bytes");
    key
}

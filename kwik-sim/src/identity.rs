//! Who the hosts of a world are.
//!
//! Owns their keys and certificates: Ed25519 keys from the seed, whose signatures have one length and
//! no randomness, and certificates without a random serial number.

use kwik_core::endpoint::ServerIdentity;
use kwik_core::ticket::MasterKey;
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};

use crate::rng::{Chance, Purpose};

/// The name in every certificate; what counts is the pin.
pub const SERVER_NAME: &str = "kwik.sim";

/// What stands before the 32 bytes of an Ed25519 private key in PKCS #8 (RFC 8410 §7).
const PKCS8_ED25519_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// The key and certificate of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The self-signed certificate.
    pub certificate_der: Vec<u8>,
    /// Its private key.
    pub key_pkcs8_der: Vec<u8>,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub pin: [u8; 32],
}

impl Identity {
    /// The identity that `seed` has for the host named `subject`.
    ///
    /// # Panics
    ///
    /// Never: a certificate can be made of every key.
    #[must_use]
    pub fn new(seed: u64, subject: u64) -> Self {
        let private = Chance::new(seed, Purpose::IdentityKey, subject).bytes(0);
        let key_pkcs8_der = [&PKCS8_ED25519_PREFIX[..], &private[..]].concat();
        let key =
            KeyPair::from_pkcs8_der_and_sign_algo(&key_pkcs8_der.as_slice().into(), &PKCS_ED25519)
                .expect("32 bytes are an Ed25519 key");
        let certificate_der = CertificateParams::new([SERVER_NAME.to_owned()])
            .and_then(|params| params.self_signed(&key))
            .expect("the name is valid")
            .der()
            .to_vec();
        let pin = kwik_core::endpoint::certificate_pin(&certificate_der)
            .expect("the certificate is well-formed");
        Self {
            certificate_der,
            key_pkcs8_der,
            pin,
        }
    }

    /// The identity of a primary, which commands every secondary of its world.
    #[must_use]
    pub fn primary(&self, seed: u64) -> ServerIdentity {
        self.server(Some(master_key(seed)), false)
    }

    /// The identity of a secondary, which takes the commands of its world's primaries.
    #[must_use]
    pub fn secondary(&self, seed: u64) -> ServerIdentity {
        self.server(Some(master_key(seed)), true)
    }

    fn server(&self, master: Option<MasterKey>, takes_commands: bool) -> ServerIdentity {
        let peer = master.as_ref().map(|master| master.peer_key(&self.pin));
        ServerIdentity {
            certificate_der: self.certificate_der.clone(),
            key_pkcs8_der: self.key_pkcs8_der.clone(),
            master: if takes_commands { None } else { master },
            peer: if takes_commands { peer } else { None },
        }
    }
}

/// The master key of the servers of a world.
#[must_use]
pub fn master_key(seed: u64) -> MasterKey {
    MasterKey::from_bytes(Chance::new(seed, Purpose::MasterKey, 0).bytes(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_a_function_of_seed_and_subject() {
        assert_eq!(Identity::new(1, 0), Identity::new(1, 0));
        assert_ne!(Identity::new(1, 0).pin, Identity::new(1, 1).pin);
        assert_ne!(Identity::new(1, 0).pin, Identity::new(2, 0).pin);
    }
}

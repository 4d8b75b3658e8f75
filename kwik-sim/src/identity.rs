//! Who the hosts of a world are.
//!
//! Owns their keys and certificates: Ed25519 keys from the seed, whose signatures have one length and
//! no randomness, and certificates without a random serial number. Signing one takes longer than all
//! the rest of building a host; where nobody checks a signature, a filled-in form serves.

use std::sync::LazyLock;

use kwik_core::endpoint::{ServerIdentity, certificate_pin};
use kwik_core::ticket::MasterKey;
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};

use crate::crypto::CryptoMode;
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
    #[must_use]
    pub fn new(seed: u64, subject: u64) -> Self {
        let private = Chance::new(seed, Purpose::IdentityKey, subject).bytes(0);
        let (certificate_der, _) = certify(&private);
        Self::with_certificate(&private, certificate_der)
    }

    /// The same under this crypto: the null crypto checks no signature, and is content with a
    /// certificate whose public key belongs to nobody.
    #[must_use]
    pub fn under(crypto: CryptoMode, seed: u64, subject: u64) -> Self {
        match crypto {
            CryptoMode::Null => Self::form(seed, subject),
            CryptoMode::Rustls => Self::new(seed, subject),
        }
    }

    fn form(seed: u64, subject: u64) -> Self {
        let private = Chance::new(seed, Purpose::IdentityKey, subject).bytes(0);
        let public = Chance::new(seed, Purpose::IdentityKey, subject).bytes(1);
        let (blank, key_at) = &*BLANK_CERTIFICATE;
        let mut certificate_der = blank.clone();
        certificate_der[*key_at..][..public.len()].copy_from_slice(&public);
        Self::with_certificate(&private, certificate_der)
    }

    fn with_certificate(private: &[u8; 32], certificate_der: Vec<u8>) -> Self {
        let pin = certificate_pin(&certificate_der).expect("the certificate is well-formed");
        Self {
            certificate_der,
            key_pkcs8_der: pkcs8(private),
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

/// A certificate, and where in it the 32 bytes of the public key are.
static BLANK_CERTIFICATE: LazyLock<(Vec<u8>, usize)> = LazyLock::new(|| {
    let (certificate_der, public) = certify(&[0; 32]);
    let mut places = certificate_der.windows(public.len());
    let key_at = places
        .position(|bytes| bytes == public)
        .expect("the key is in its certificate");
    (certificate_der, key_at)
});

/// The self-signed certificate of a private key, and the public key.
fn certify(private: &[u8; 32]) -> (Vec<u8>, Vec<u8>) {
    let key =
        KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8(private).as_slice().into(), &PKCS_ED25519)
            .expect("32 bytes are an Ed25519 key");
    let certificate = CertificateParams::new([SERVER_NAME.to_owned()])
        .and_then(|params| params.self_signed(&key))
        .expect("the name is valid");
    (certificate.der().to_vec(), key.public_key_raw().to_vec())
}

fn pkcs8(private: &[u8; 32]) -> Vec<u8> {
    [&PKCS8_ED25519_PREFIX[..], private].concat()
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
        for crypto in [CryptoMode::Null, CryptoMode::Rustls] {
            let identity = |seed, subject| Identity::under(crypto, seed, subject);
            assert_eq!(identity(1, 0), identity(1, 0));
            assert_ne!(identity(1, 0).pin, identity(1, 1).pin);
            assert_ne!(identity(1, 0).pin, identity(2, 0).pin);
        }
    }
}

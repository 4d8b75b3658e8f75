//! How a raw peer is set up: with the handshake of its world, and without chance of its own.
//!
//! Owns quinn-proto's configurations and the handshakes in them. What they draw follows from the birth
//! of the peer, so that the bytes of a world with hostile peers can be repeated too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::CryptoMode;
use crate::crypto::null::{NullCrypto, Trust};
use crate::host::Birth;
use crate::identity::Identity;
use crate::rng::{Chance, Purpose};
use kwik_core::crypto::ALPN;
use quinn_proto::crypto;
use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn_proto::{
    ClientConfig, ConnectionId, ConnectionIdGenerator, EndpointConfig, NoneTokenStore, ServerConfig,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};

/// What connection ids are drawn for: those of the endpoint, and the first one of a dial.
const OWN_IDS: u64 = 0;
const FIRST_ID: u64 = 1;

/// Draws that follow from the birth of the peer.
fn chance(birth: &Birth, subject: u64) -> Chance {
    let (seed, _) = birth.entropy.split_first_chunk().expect("32 bytes");
    Chance::new(u64::from_le_bytes(*seed), Purpose::EndpointSeed, subject)
}

/// Connection ids from the birth of a peer.
struct ConnectionIds {
    chance: Chance,
    drawn: Arc<AtomicU64>,
}

impl ConnectionIdGenerator for ConnectionIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let ordinal = self.drawn.fetch_add(1, Ordering::Relaxed);
        ConnectionId::new(&self.chance.draw(ordinal).to_le_bytes())
    }

    fn cid_len(&self) -> usize {
        8
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

pub(super) fn endpoint_config(birth: &Birth) -> EndpointConfig {
    let reset_key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &birth.entropy);
    let mut config = EndpointConfig::new(Arc::new(reset_key));
    let (chance, drawn) = (chance(birth, OWN_IDS), Arc::default());
    config.cid_generator(move || {
        Box::new(ConnectionIds {
            chance,
            drawn: Arc::clone(&drawn),
        })
    });
    config
}

pub(super) fn server_config(mode: CryptoMode, identity: &Identity, birth: &Birth) -> ServerConfig {
    let token_key = ring::hkdf::Salt::new(ring::hkdf::HKDF_SHA256, &[]).extract(&birth.entropy);
    let crypto = server_crypto(mode, identity, birth.entropy);
    ServerConfig::new(crypto, Arc::new(token_key))
}

pub(super) fn client_config(mode: CryptoMode, birth: &Birth) -> ClientConfig {
    let first = chance(birth, FIRST_ID).bytes(0);
    let mut config = ClientConfig::new(client_crypto(mode, birth.entropy));
    config
        .token_store(Arc::new(NoneTokenStore))
        .initial_dst_cid_provider(Arc::new(move || ConnectionId::new(&first[..16])));
    config
}

/// The handshakes of a server.
pub fn server_crypto(
    mode: CryptoMode,
    identity: &Identity,
    seed: [u8; 32],
) -> Arc<dyn crypto::ServerConfig> {
    match mode {
        CryptoMode::Null => NullCrypto::new(seed).server_config(&identity.certificate_der),
        CryptoMode::Rustls => Arc::new(server_tls(identity)),
    }
}

/// The handshakes of a client that believes everybody.
pub fn client_crypto(mode: CryptoMode, seed: [u8; 32]) -> Arc<dyn crypto::ClientConfig> {
    match mode {
        CryptoMode::Null => NullCrypto::new(seed).client_config(Trust::Anybody),
        CryptoMode::Rustls => Arc::new(client_tls()),
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn server_tls(identity: &Identity) -> QuicServerConfig {
    let certificate = CertificateDer::from(identity.certificate_der.clone());
    let key = PrivatePkcs8KeyDer::from(identity.key_pkcs8_der.clone());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key.into())
        .expect("the key is that of the certificate");
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.send_tls13_tickets = 0;
    QuicServerConfig::try_from(tls).expect("a suite for Initial packets")
}

fn client_tls() -> QuicClientConfig {
    let mut tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Gullible))
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    QuicClientConfig::try_from(tls).expect("a suite for Initial packets")
}

/// Believes everybody.
#[derive(Debug)]
struct Gullible;

impl ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

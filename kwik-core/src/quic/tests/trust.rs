//! Whom a client believes, and whom a server lets in.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn_proto::Side;
use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn_proto::crypto::{ClientConfig as _, ServerConfig as _, Session};
use quinn_proto::transport_parameters::TransportParameters;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, SignatureScheme};

use super::net::{Identity, Net};
use super::wire::Wire;
use super::{CLIENT, PATH, SERVER, SESSION, quic_config};
use crate::carrier::{DialTarget, DownCause, Input};
use crate::config::QuicConfig;
use crate::crypto::PinAlarm;
use crate::error::code;
use crate::error::{ConnectError, IdentityError};
use crate::ids::SessionHandle;
use crate::quic::tls::{SharedClock, Tls, WallClock};
use crate::quic::{Entropy, Quic, certificate_pin};

fn down_cause(net: &Net, host: usize) -> Option<DownCause> {
    net.told(host).iter().find_map(|input| {
        if let Input::PathDown { cause, .. } = input {
            Some(cause.clone())
        } else {
            None
        }
    })
}

/// Presents a certificate whose key it does not hold.
#[derive(Debug)]
struct Impostor(Arc<CertifiedKey>);

impl ResolvesServerCert for Impostor {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

fn server_tls(certificate: &Identity, key: &Identity, alpn: &[u8]) -> QuicServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let signer = provider
        .key_provider
        .load_private_key(PrivatePkcs8KeyDer::from(key.key.clone()).into())
        .expect("key");
    let chain = vec![CertificateDer::from(certificate.certificate.clone())];
    let impostor = Impostor(Arc::new(CertifiedKey::new(chain, signer)));
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(impostor));
    config.alpn_protocols = vec![alpn.to_vec()];
    QuicServerConfig::try_from(config).expect("suite")
}

/// A client that dials a server with this TLS configuration, expecting `pin`.
fn dial(server: QuicServerConfig, pin: [u8; 32]) -> Net {
    let mut net = Net::new();
    net.add_host(&quic_config(), None);
    net.add_host_with(&quic_config(), Some(Arc::new(server)));
    net.dial(CLIENT, SESSION, PATH, SERVER, pin)
        .expect("dialled");
    net.run(Duration::from_secs(5));
    net
}

/// [CONN-2] [CONN-5]
#[test]
fn a_server_with_the_pinned_certificate_and_its_key_is_believed() {
    let identity = Identity::new();
    let net = dial(server_tls(&identity, &identity, b"kwik/1"), identity.pin());
    assert!(net.is_up(CLIENT));
}

/// [CONN-2]
#[test]
fn a_server_with_another_certificate_is_told_apart_from_every_other_failure() {
    let (asked, met) = (Identity::new(), Identity::new());
    let net = dial(server_tls(&met, &met, b"kwik/1"), asked.pin());
    assert_eq!(down_cause(&net, CLIENT), Some(DownCause::PinMismatch));
    assert!(!net.is_up(CLIENT) && !net.is_up(SERVER));
}

/// [CONN-3]
#[test]
fn a_server_with_the_pinned_certificate_and_another_key_is_not_believed() {
    let (asked, held) = (Identity::new(), Identity::new());
    let net = dial(server_tls(&asked, &held, b"kwik/1"), asked.pin());
    let cause = down_cause(&net, CLIENT);
    assert!(matches!(cause, Some(DownCause::Failed(_))), "{cause:?}");
    assert!(!net.is_up(CLIENT) && !net.is_up(SERVER));
}

/// [CONN-1]
#[test]
fn a_server_of_another_protocol_is_not_spoken_to() {
    let identity = Identity::new();
    let net = dial(server_tls(&identity, &identity, b"h3"), identity.pin());
    assert!(matches!(
        down_cause(&net, CLIENT),
        Some(DownCause::Failed(_))
    ));
}

/// [CONN-2]
#[test]
fn the_pin_is_the_hash_of_the_public_key_and_not_of_the_certificate() {
    let identity = Identity::fixed();
    // An Ed25519 SubjectPublicKeyInfo (RFC 8410 §4) ends with the 32 bytes of the key.
    let mut spki = vec![
        0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
    ];
    let at = identity
        .certificate
        .windows(spki.len())
        .position(|window| window == spki);
    let at = at.expect("an Ed25519 key") + spki.len();
    spki.extend_from_slice(&identity.certificate[at..at + 32]);
    let hash = ring::digest::digest(&ring::digest::SHA256, &spki);
    assert_eq!(identity.pin().as_slice(), hash.as_ref());
    assert_eq!(certificate_pin(b"no certificate"), None);
}

/// Believes everybody.
#[derive(Debug)]
struct Credulous;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

/// A client that resumes what it can, and sends early data.
fn eager_client() -> Arc<QuicClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"kwik/1".to_vec()];
    config.enable_early_data = true;
    Arc::new(QuicClientConfig::try_from(config).expect("suite"))
}

/// Carries what one end of a handshake has to say to the other, each flight by itself.
fn carry(from: &mut dyn Session, to: &mut dyn Session) {
    loop {
        let mut flight = Vec::new();
        let keys = from.write_handshake(&mut flight);
        if !flight.is_empty() {
            to.read_handshake(&flight).expect("understood");
        } else if keys.is_none() {
            return;
        }
    }
}

/// Whether a client asks for the session of its last handshake with a server. Then its ClientHello
/// is longer.
fn is_resumed(client: &Arc<QuicClientConfig>, server: QuicServerConfig) -> bool {
    let server = Arc::new(server);
    let handshake = || {
        // None at all: QUIC looks at them, TLS does not.
        let params = TransportParameters::read(Side::Server, &mut &b""[..]).expect("empty");
        let client = Arc::clone(client);
        let mut client = client.start_session(1, "kwik", &params).expect("a name");
        let mut server = Arc::clone(&server).start_session(1, &params);
        let mut hello = Vec::new();
        client.write_handshake(&mut hello);
        server.read_handshake(&hello).expect("understood");
        for _ in 0..4 {
            carry(&mut *server, &mut *client);
            carry(&mut *client, &mut *server);
        }
        assert!(!client.is_handshaking() && !server.is_handshaking());
        hello.len()
    };
    handshake() < handshake()
}

/// [CONN-4]
#[test]
fn no_session_is_resumed() {
    let identity = Identity::new();
    let generous = || server_tls(&identity, &identity, b"kwik/1");
    assert!(is_resumed(&eager_client(), generous()), "it can be told");
    let tls = Tls::new(SharedClock(Arc::new(WallClock::default())));
    let ours = tls.server_config(&identity.certificate, &identity.key);
    assert!(!is_resumed(&eager_client(), ours.expect("identity")));
    let ours = tls.client_config(identity.pin(), PinAlarm::default());
    let ours = Arc::new(ours.expect("TLS 1.3"));
    assert!(!is_resumed(&ours, generous()));
}

#[test]
fn a_key_that_is_not_the_certificates_is_no_identity() {
    let (one, other) = (Identity::new(), Identity::new());
    let tls = Tls::new(SharedClock(Arc::new(WallClock::default())));
    assert!(tls.server_config(&one.certificate, &other.key).is_err());
    let now = Wire::new().now();
    let identity = Some((&one.certificate[..], &b"no key"[..]));
    let entropy = &mut Entropy::new([0; 32]);
    let quic = Quic::new(&quic_config(), identity, None, entropy, now);
    assert!(matches!(quic.err(), Some(IdentityError::Key(_))));
}

#[test]
fn a_target_that_cannot_be_dialled_is_refused_at_once() {
    let mut net = Net::new();
    net.add_host(&quic_config(), None);
    let good = DialTarget {
        addr: SocketAddr::from(([127, 0, 0, 1], 1)),
        server_name: "kwik".to_owned(),
        pin: [0; 32],
    };
    let bad_name = DialTarget {
        server_name: "no name".to_owned(),
        ..good.clone()
    };
    let error = net.dial_target(CLIENT, SESSION, PATH, &bad_name);
    assert_eq!(error, Err(ConnectError::ServerName("no name".to_owned())));
    let bad_addr = DialTarget {
        addr: SocketAddr::from(([0, 0, 0, 0], 1)),
        ..good
    };
    let error = net.dial_target(CLIENT, SESSION, PATH, &bad_addr);
    assert_eq!(error, Err(ConnectError::Address(bad_addr.addr)));
    net.assert_empty(CLIENT);
}

/// A server and so many clients, which have all dialled.
fn crowd(config: &QuicConfig, clients: usize) -> Net {
    let identity = Identity::new();
    let mut net = Net::new();
    net.add_host(&quic_config(), None);
    net.add_host(config, Some(&identity));
    for client in 0..clients {
        let session = SessionHandle(u64::try_from(client).expect("few"));
        net.dial(CLIENT, session, PATH, SERVER, identity.pin())
            .expect("dialled");
    }
    net
}

fn ups(net: &Net, host: usize) -> usize {
    net.told(host)
        .iter()
        .filter(|input| matches!(input, Input::PathUp { .. }))
        .count()
}

#[test]
fn a_server_that_accepts_nobody_refuses_at_once() {
    let mut net = crowd(&quic_config(), 1);
    net.quic(SERVER).set_accepting(false);
    net.run(Duration::from_millis(100));
    assert!(matches!(
        down_cause(&net, CLIENT),
        Some(DownCause::Failed(_))
    ));
    net.assert_empty(SERVER);
}

#[test]
fn connections_beyond_the_limit_are_refused_and_their_number_is_given_back() {
    let config = QuicConfig {
        connections_max: 2,
        ..quic_config()
    };
    let mut net = crowd(&config, 3);
    net.run(Duration::from_millis(500));
    assert_eq!(ups(&net, CLIENT), 2);
    for session in 0..3 {
        net.close(CLIENT, SessionHandle(session), PATH, code::NO_ERROR);
        net.close(SERVER, SessionHandle(session), PATH, code::NO_ERROR);
    }
    net.run(Duration::from_secs(10));
    net.assert_empty(SERVER);
}

#[test]
fn handshakes_beyond_the_limit_wait_for_their_turn() {
    let config = QuicConfig {
        handshakes_max: 2,
        ..quic_config()
    };
    let mut net = crowd(&config, 6);
    net.run(Duration::from_millis(4));
    assert_eq!(ups(&net, CLIENT), 0);
    net.run(Duration::from_secs(10));
    assert_eq!(ups(&net, CLIENT), 6);
}

#[test]
fn a_crowd_of_strangers_must_prove_its_addresses_and_comes_in_all_the_same() {
    let mut net = crowd(&quic_config(), 100);
    net.run(Duration::from_secs(5));
    assert_eq!((ups(&net, CLIENT), ups(&net, SERVER)), (100, 100));
    assert_eq!(net.connections(SERVER), 100);
}

#[test]
fn a_dial_into_the_void_times_out() {
    let mut net = crowd(&quic_config(), 1);
    net.wire.cut = true;
    net.run(Duration::from_secs(60));
    assert_eq!(down_cause(&net, CLIENT), Some(DownCause::TimedOut));
}

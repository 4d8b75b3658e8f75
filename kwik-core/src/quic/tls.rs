//! TLS: who a server is, and how a client makes sure of it.
//!
//! Owns the certificate pin, the verifier that enforces it, and the TLS configurations: what protects
//! an endpoint that was not given something else. TLS 1.3 only, ALPN `kwik/1`, no resumption and no
//! early data: tickets of several servers under one name would mix [CONN-4].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use quinn_proto::TimeSource;
use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn_proto::crypto::{ClientConfig, ServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, ParsedCertificate};
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

use crate::crypto::{ALPN, Crypto, PinAlarm};
use crate::error::{ConnectError, IdentityError};

/// SHA-256 of the `SubjectPublicKeyInfo` of a certificate; `None` if it is not one.
pub(crate) fn certificate_pin(certificate_der: &[u8]) -> Option<[u8; 32]> {
    let der = CertificateDer::from(certificate_der);
    let spki = ParsedCertificate::try_from(&der)
        .ok()?
        .subject_public_key_info();
    ring::digest::digest(&ring::digest::SHA256, spki.as_ref())
        .as_ref()
        .try_into()
        .ok()
}

/// Whether TLS can name a server so.
pub(super) fn is_server_name(name: &str) -> bool {
    ServerName::try_from(name).is_ok()
}

/// The wall clock as the caller last told it: neither TLS nor QUIC reads one of its own.
#[derive(Debug, Default)]
pub(super) struct WallClock(AtomicU64);

impl WallClock {
    pub(super) fn set(&self, unix_seconds: u64) {
        self.0.store(unix_seconds, Ordering::Relaxed);
    }

    fn since_epoch(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

/// `WallClock` under another name: the traits of rustls and quinn-proto are foreign, and so is `Arc`.
#[derive(Clone, Debug)]
pub(super) struct SharedClock(pub(super) Arc<WallClock>);

impl TimeProvider for SharedClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.since_epoch()))
    }
}

impl TimeSource for SharedClock {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
            .checked_add(self.0.since_epoch())
            .unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// Makes TLS configurations.
pub(super) struct Tls {
    provider: Arc<CryptoProvider>,
    clock: SharedClock,
}

impl Tls {
    pub(super) fn new(clock: SharedClock) -> Self {
        Self {
            provider: Arc::new(rustls::crypto::ring::default_provider()),
            clock,
        }
    }

    /// For one dial: only a server that holds the key with this pin is accepted.
    ///
    /// # Errors
    ///
    /// The provider lacks TLS 1.3.
    pub(super) fn client_config(
        &self,
        pin: [u8; 32],
        alarm: PinAlarm,
    ) -> Result<QuicClientConfig, Error> {
        let verifier = PinVerifier {
            pin,
            alarm,
            provider: Arc::clone(&self.provider),
        };
        let mut config = rustls::ClientConfig::builder_with_details(
            Arc::clone(&self.provider),
            Arc::new(self.clock.clone()),
        )
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
        config.alpn_protocols = vec![ALPN.to_vec()];
        // Neither asked for here nor offered there [CONN-4].
        config.resumption = rustls::client::Resumption::disabled();
        config.enable_early_data = false;
        QuicClientConfig::try_from(config).map_err(no_initial_suite)
    }

    /// For a server with this certificate and its PKCS#8 key. Clients show no certificate [CONN-5].
    ///
    /// # Errors
    ///
    /// The key cannot be used, or does not belong to the certificate.
    pub(super) fn server_config(
        &self,
        certificate: &[u8],
        key: &[u8],
    ) -> Result<QuicServerConfig, Error> {
        let mut config = rustls::ServerConfig::builder_with_details(
            Arc::clone(&self.provider),
            Arc::new(self.clock.clone()),
        )
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(certificate.to_vec())],
            PrivatePkcs8KeyDer::from(key.to_vec()).into(),
        )?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        QuicServerConfig::try_from(config).map_err(no_initial_suite)
    }
}

impl Crypto for Tls {
    fn client(
        &self,
        pin: [u8; 32],
        alarm: PinAlarm,
    ) -> Result<Arc<dyn ClientConfig>, ConnectError> {
        match self.client_config(pin, alarm) {
            Ok(config) => Ok(Arc::new(config)),
            Err(error) => Err(ConnectError::Handshake(error.to_string())),
        }
    }

    fn server(
        &self,
        certificate: &[u8],
        key: &[u8],
    ) -> Result<Arc<dyn ServerConfig>, IdentityError> {
        match self.server_config(certificate, key) {
            Ok(config) => Ok(Arc::new(config)),
            Err(error) => Err(IdentityError::Key(error.to_string())),
        }
    }
}

fn no_initial_suite(_: quinn_proto::crypto::rustls::NoInitialCipherSuite) -> Error {
    Error::General("no cipher suite for QUIC".into())
}

/// Accepts exactly one public key, whatever the certificate around it says [CONN-2], from a server
/// that proves to hold the private one.
#[derive(Debug)]
struct PinVerifier {
    pin: [u8; 32],
    alarm: PinAlarm,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let pin = certificate_pin(end_entity)
            .ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
        if pin == self.pin {
            return Ok(ServerCertVerified::assertion());
        }
        self.alarm.ring();
        Err(Error::InvalidCertificate(
            CertificateError::ApplicationVerificationFailure,
        ))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(
            rustls::PeerIncompatible::Tls13RequiredForQuic,
        ))
    }

    /// The pin alone proves nothing: a certificate is public. This proves the key [CONN-3].
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

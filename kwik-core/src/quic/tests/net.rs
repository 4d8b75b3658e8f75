//! Hosts of the quic room, on a network in memory.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quinn_proto::crypto::ServerConfig;

use super::wire::{Node, Wire};
use crate::carrier::{Carriers, DialTarget, Input, Now};
use crate::config::QuicConfig;
use crate::crypto::Crypto as _;
use crate::datagram::{Datagram, Transmit};
use crate::error::ConnectError;
use crate::error::code;
use crate::ids::{PathId, SessionHandle};
use crate::quic::carriers::SessionCarriers;
use crate::quic::tls::{SharedClock, Tls, WallClock};
use crate::quic::{Entropy, Fed, Quic, certificate_pin};

/// A certificate and the key that belongs to it, or does not.
pub(crate) struct Identity {
    pub(crate) certificate: Vec<u8>,
    pub(crate) key: Vec<u8>,
}

impl Identity {
    pub(crate) fn new() -> Self {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("key");
        Self::certify(&key)
    }

    /// The same in every run.
    pub(crate) fn fixed() -> Self {
        let mut pkcs8 = vec![
            0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22,
            0x04, 0x20,
        ];
        pkcs8.extend_from_slice(&[42; 32]);
        let der = rustls::pki_types::PrivatePkcs8KeyDer::from(pkcs8);
        let key =
            rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_ED25519).expect("key");
        Self::certify(&key)
    }

    fn certify(key: &rcgen::KeyPair) -> Self {
        let mut params = rcgen::CertificateParams::new(vec!["kwik".to_owned()]).expect("params");
        params.serial_number = Some(7.into());
        let certificate = params.self_signed(key).expect("certificate");
        Self {
            certificate: certificate.der().to_vec(),
            key: key.serialize_der(),
        }
    }

    pub(crate) fn pin(&self) -> [u8; 32] {
        certificate_pin(&self.certificate).expect("a certificate")
    }
}

/// A host of the quic room alone, with a log instead of sessions.
pub(crate) struct Host {
    pub(crate) quic: Quic,
    pub(crate) told: Vec<Input>,
    entropy: Entropy,
    addr: SocketAddr,
    newcomers: u64,
    up: BTreeMap<SessionHandle, bool>,
    /// The session that was told something last.
    last: SessionHandle,
    greeting: Greeting,
    /// Closes the connection at once when this is told.
    hangs_up_on: Option<Input>,
}

/// What is written on a control carrier at once, given the exporter of its connection.
type Greeting = Box<dyn Fn(&[u8; 32]) -> Bytes>;

impl Host {
    pub(crate) fn new(
        addr: SocketAddr,
        config: &QuicConfig,
        server: Option<Arc<dyn ServerConfig>>,
    ) -> Self {
        let [.., seed] = addr.port().to_be_bytes();
        let clock = SharedClock(Arc::new(WallClock::default()));
        let mut entropy = Entropy::new([seed; 32]);
        // KWIK's clients speak first: QUIC does not show a stream that carries nothing.
        let greeting = if server.is_some() { &b""[..] } else { b"HELLO" };
        let tls = Arc::new(Tls::new(clock.clone()));
        let quic = Quic::with_crypto(config, tls, clock, server, &mut entropy);
        Self {
            quic,
            told: Vec::new(),
            entropy,
            addr,
            newcomers: 0,
            up: BTreeMap::new(),
            last: SessionHandle(0),
            greeting: Box::new(move |_| Bytes::from_static(greeting)),
            hangs_up_on: None,
        }
    }

    pub(crate) fn greet_with(&mut self, greeting: impl Fn(&[u8; 32]) -> Bytes + 'static) {
        self.greeting = Box::new(greeting);
    }

    pub(crate) fn dial(
        &mut self,
        now: Now,
        session: SessionHandle,
        path: PathId,
        target: &DialTarget,
    ) -> Result<(), ConnectError> {
        self.quic
            .dial(now, session, path, target, &mut self.entropy)
    }
}

impl Node for Host {
    fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn take_in(&mut self, now: Now, datagram: Datagram) {
        let newcomer = SessionHandle(self.newcomers);
        if self.quic.handle_datagram(now, datagram, newcomer) == Fed::Accepted {
            self.newcomers += 1;
        }
    }

    fn next_deadline(&mut self) -> Option<Instant> {
        self.quic.next_deadline()
    }

    fn handle_timeout(&mut self, now: Now) {
        self.quic.handle_timeout(now);
    }

    fn turn(&mut self, now: Now) {
        while let Some((session, input)) = self.quic.poll_input(now) {
            if let Input::PathUp {
                control, exporter, ..
            } = input
            {
                self.up.insert(session, true);
                let mut carriers = self.quic.carriers(session);
                let greeted = carriers.write_control(control, &mut (self.greeting)(&exporter));
                greeted.expect("greeted");
            }
            if matches!(input, Input::PathDown { .. }) {
                self.up.insert(session, false);
            }
            if self.hangs_up_on.as_ref() == Some(&input) {
                self.quic
                    .close(now, session, PathId::PRIMARY, code::NO_ERROR);
            }
            self.last = session;
            self.told.push(input);
        }
        while self.quic.poll_orphan().is_some() {}
    }

    fn poll_transmit(&mut self, now: Now, buf: &mut Vec<u8>) -> Option<Transmit> {
        let transmit = self.quic.poll_transmit(now, 10, buf);
        assert!(transmit.is_some() || !self.quic.wants_transmit());
        transmit
    }
}

pub(super) struct Net {
    hosts: Vec<Host>,
    pub(super) wire: Wire,
}

impl Net {
    pub(super) fn new() -> Self {
        Self {
            hosts: Vec::new(),
            wire: Wire::new(),
        }
    }

    pub(super) fn add_host(&mut self, config: &QuicConfig, identity: Option<&Identity>) {
        let server = identity.map(|identity| {
            let tls = Tls::new(SharedClock(Arc::new(WallClock::default())));
            tls.server(&identity.certificate, &identity.key)
                .expect("identity")
        });
        self.add_host_with(config, server);
    }

    /// With a TLS configuration of the test's own making.
    pub(super) fn add_host_with(
        &mut self,
        config: &QuicConfig,
        server: Option<Arc<dyn ServerConfig>>,
    ) {
        let port = 4000 + u16::try_from(self.hosts.len()).expect("few hosts");
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        self.hosts.push(Host::new(addr, config, server));
    }

    pub(super) fn move_to(&mut self, host: usize, addr: SocketAddr) {
        self.hosts[host].addr = addr;
    }

    pub(super) fn greet_with(&mut self, host: usize, greeting: Bytes) {
        self.hosts[host].greet_with(move |_| greeting.clone());
    }

    pub(super) fn hang_up_on(&mut self, host: usize, input: Input) {
        self.hosts[host].hangs_up_on = Some(input);
    }

    pub(super) fn dial(
        &mut self,
        host: usize,
        session: SessionHandle,
        path: PathId,
        server: usize,
        pin: [u8; 32],
    ) -> Result<(), ConnectError> {
        let target = DialTarget {
            addr: self.hosts[server].addr,
            server_name: "kwik".to_owned(),
            pin,
        };
        self.dial_target(host, session, path, &target)
    }

    pub(super) fn dial_target(
        &mut self,
        host: usize,
        session: SessionHandle,
        path: PathId,
        target: &DialTarget,
    ) -> Result<(), ConnectError> {
        self.hosts[host].dial(self.wire.now(), session, path, target)
    }

    pub(super) fn close(&mut self, host: usize, session: SessionHandle, path: PathId, code: u64) {
        let now = self.wire.now();
        self.hosts[host].quic.close(now, session, path, code);
    }

    pub(super) fn probe(&mut self, host: usize, session: SessionHandle, path: PathId) {
        self.hosts[host].quic.probe(session, path);
    }

    pub(super) fn quic(&mut self, host: usize) -> &mut Quic {
        &mut self.hosts[host].quic
    }

    /// The connections of the session that was told something last.
    pub(super) fn carriers(&mut self, host: usize) -> SessionCarriers<'_> {
        let host = &mut self.hosts[host];
        host.quic.carriers(host.last)
    }

    pub(super) fn told(&self, host: usize) -> &[Input] {
        &self.hosts[host].told
    }

    pub(super) fn take_told(&mut self, host: usize) -> Vec<Input> {
        std::mem::take(&mut self.hosts[host].told)
    }

    /// Whether the session that was told something last has a connection that is up.
    pub(super) fn is_up(&self, host: usize) -> bool {
        let host = &self.hosts[host];
        host.up.get(&host.last).copied().unwrap_or(false)
    }

    pub(super) fn connections(&self, host: usize) -> usize {
        self.hosts[host].quic.conns.len()
    }

    /// Nothing of any connection is left in any table.
    pub(super) fn assert_empty(&self, host: usize) {
        let quic = &self.hosts[host].quic;
        assert!(quic.is_drained() && quic.by_handle.is_empty() && quic.by_path.is_empty());
        assert!(quic.per_session.is_empty() && quic.deadlines.is_empty());
        assert!(quic.telling.is_empty() && quic.sending.is_empty());
        assert_eq!((quic.handshakes, quic.clients), (0, 0));
        assert_eq!(quic.endpoint.open_connections(), 0);
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.wire.elapsed()
    }

    pub(super) fn largest_datagram(&self) -> usize {
        let sizes = self.wire.trace.iter().map(|&(_, _, size)| size);
        sizes.max().unwrap_or(0)
    }

    /// Lets so much time pass.
    pub(super) fn run(&mut self, duration: Duration) {
        self.wire.run(&mut self.hosts, duration);
    }
}

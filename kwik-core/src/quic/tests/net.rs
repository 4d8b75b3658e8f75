//! A network in memory for the tests of this room: hosts with one endpoint each, a constant delay,
//! a virtual clock.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use quinn_proto::crypto::rustls::QuicServerConfig;

use crate::carrier::{Carriers, DialTarget, Input, Now};
use crate::config::QuicConfig;
use crate::endpoint::{ConnectError, Datagram, Transmit};
use crate::ids::{PathId, SessionHandle};
use crate::quic::carriers::SessionCarriers;
use crate::quic::tls::{SharedClock, Tls, WallClock};
use crate::quic::{Entropy, Fed, Quic, certificate_pin};

const DELAY: Duration = Duration::from_millis(5);

/// A certificate and the key that belongs to it, or does not.
pub(super) struct Identity {
    pub(super) certificate: Vec<u8>,
    pub(super) key: Vec<u8>,
}

impl Identity {
    pub(super) fn new() -> Self {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("key");
        Self::certify(&key)
    }

    /// The same in every run.
    pub(super) fn fixed() -> Self {
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

    pub(super) fn pin(&self) -> [u8; 32] {
        certificate_pin(&self.certificate).expect("a certificate")
    }
}

struct Host {
    quic: Quic,
    entropy: Entropy,
    addr: SocketAddr,
    newcomers: u64,
    told: Vec<Input>,
    up: BTreeMap<SessionHandle, bool>,
    last: SessionHandle,
    greeting: Bytes,
}

pub(super) struct Net {
    hosts: Vec<Host>,
    start: Instant,
    now: Instant,
    flying: BTreeMap<(Instant, u64), (usize, Datagram)>,
    sent: u64,
    cut: bool,
    loss_percent: u64,
    trace: Vec<(Duration, usize, usize)>,
    last_short: VecDeque<(usize, BytesMut)>,
}

impl Net {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            hosts: Vec::new(),
            start: now,
            now,
            flying: BTreeMap::new(),
            sent: 0,
            cut: false,
            loss_percent: 0,
            trace: Vec::new(),
            last_short: VecDeque::new(),
        }
    }

    fn clock(&self) -> Now {
        Now {
            monotonic: self.now,
            unix_seconds: 1_800_000_000 + self.elapsed().as_secs(),
        }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.now - self.start
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
    pub(super) fn add_host_with(&mut self, config: &QuicConfig, server: Option<QuicServerConfig>) {
        let index = u8::try_from(self.hosts.len()).expect("few hosts");
        let clock = SharedClock(Arc::new(WallClock::default()));
        let mut entropy = Entropy::new([index; 32]);
        // KWIK's clients speak first: QUIC does not show a stream that carries nothing.
        let greeting = if server.is_some() { &b""[..] } else { b"HELLO" };
        let quic = Quic::with_tls(config, Tls::new(clock.clone()), clock, server, &mut entropy);
        self.hosts.push(Host {
            quic,
            entropy,
            addr: SocketAddr::from(([127, 0, 0, 1], 4000 + u16::from(index))),
            newcomers: 0,
            told: Vec::new(),
            up: BTreeMap::new(),
            last: SessionHandle(0),
            greeting: Bytes::from_static(greeting),
        });
    }

    pub(super) fn move_to(&mut self, host: usize, addr: SocketAddr) {
        self.hosts[host].addr = addr;
    }

    /// What a client writes on its control carrier at once.
    pub(super) fn greet_with(&mut self, host: usize, greeting: Bytes) {
        self.hosts[host].greeting = greeting;
    }

    pub(super) fn dial(
        &mut self,
        host: usize,
        session: SessionHandle,
        path: PathId,
        server: usize,
        pin: [u8; 32],
    ) -> Result<(), ConnectError> {
        let addr = self.hosts[server].addr;
        let target = DialTarget {
            addr,
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
        let now = self.clock();
        let host = &mut self.hosts[host];
        host.quic
            .dial(now, session, path, target, &mut host.entropy)
    }

    pub(super) fn close(&mut self, host: usize, session: SessionHandle, path: PathId, code: u64) {
        let now = self.clock();
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

    /// Loses so many of a hundred datagrams, in no order that matters.
    pub(super) fn lose_percent(&mut self, percent: u64) {
        self.loss_percent = percent;
    }

    /// Nothing is delivered any more.
    pub(super) fn cut(&mut self) {
        self.cut = true;
    }

    pub(super) fn largest_datagram(&self) -> usize {
        self.trace
            .iter()
            .map(|&(_, _, size)| size)
            .max()
            .unwrap_or(0)
    }

    /// When each datagram was sent, by whom, and its size.
    pub(super) fn trace(&self) -> Vec<(Duration, usize, usize)> {
        self.trace.clone()
    }

    /// Delivers a datagram to `to` that looks like one of its connection with `from`, but is not.
    pub(super) fn forge_on_connection(&mut self, to: usize, from: usize) {
        let seen = self.last_short.iter().rev().find(|(host, _)| *host == to);
        let mut data = seen.expect("a datagram to forge").1.clone();
        let last = data.len() - 1;
        data[last] ^= 1;
        data[20] ^= 1;
        let datagram = Datagram {
            remote: self.hosts[from].addr,
            local_ip: None,
            ecn: None,
            data,
        };
        self.sent += 1;
        self.flying.insert((self.now, self.sent), (to, datagram));
    }

    /// Lets so much time pass.
    pub(super) fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            self.settle();
            let Some(next) = self.next_time().filter(|&at| at <= end) else {
                break;
            };
            self.now = self.now.max(next);
            self.deliver();
            let now = self.clock();
            for host in &mut self.hosts {
                host.quic.handle_timeout(now);
            }
        }
        self.now = end;
    }

    fn next_time(&self) -> Option<Instant> {
        let arrival = self.flying.keys().next().map(|&(at, _)| at);
        let timers = self
            .hosts
            .iter()
            .filter_map(|host| host.quic.next_deadline());
        timers.chain(arrival).min()
    }

    fn deliver(&mut self) {
        let now = self.clock();
        while let Some((&key, _)) = self
            .flying
            .first_key_value()
            .filter(|((at, _), _)| *at <= self.now)
        {
            let Some((to, datagram)) = self.flying.remove(&key) else {
                return;
            };
            if datagram.data.first().is_some_and(|byte| byte & 0x80 == 0) {
                self.last_short.push_back((to, datagram.data.clone()));
                self.last_short.truncate(1000);
            }
            let host = &mut self.hosts[to];
            let newcomer = SessionHandle(host.newcomers);
            if host.quic.handle_datagram(now, datagram, newcomer) == Fed::Accepted {
                host.newcomers += 1;
            }
        }
    }

    /// Until nobody has anything to tell or to send.
    fn settle(&mut self) {
        let now = self.clock();
        for index in 0..self.hosts.len() {
            self.tell(index, now);
            let mut buf = Vec::new();
            while let Some(transmit) = self.hosts[index].quic.poll_transmit(now, 10, &mut buf) {
                self.send(index, &transmit, &buf);
                self.tell(index, now);
            }
            assert!(!self.hosts[index].quic.wants_transmit());
        }
    }

    fn tell(&mut self, index: usize, now: Now) {
        let host = &mut self.hosts[index];
        while let Some((session, input)) = host.quic.poll_input(now) {
            if let Input::PathUp { control, .. } = input {
                host.up.insert(session, true);
                let mut greeting = host.greeting.clone();
                let mut carriers = host.quic.carriers(session);
                carriers
                    .write_control(control, &mut greeting)
                    .expect("greeted");
            }
            if matches!(input, Input::PathDown { .. }) {
                host.up.insert(session, false);
            }
            host.last = session;
            host.told.push(input);
        }
        while host.quic.poll_orphan().is_some() {}
    }

    fn send(&mut self, from: usize, transmit: &Transmit, buf: &[u8]) {
        let segment = transmit.segment_size.unwrap_or(transmit.size);
        for bytes in buf[..transmit.size].chunks(segment) {
            self.trace.push((self.elapsed(), from, bytes.len()));
            let to = self
                .hosts
                .iter()
                .position(|host| host.addr == transmit.destination);
            let Some(to) = to.filter(|_| !self.cut) else {
                continue;
            };
            self.sent += 1;
            // The fractional parts of multiples of the golden ratio are spread evenly.
            if (self.sent.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % 100 < self.loss_percent {
                continue;
            }
            let datagram = Datagram {
                remote: self.hosts[from].addr,
                local_ip: None,
                ecn: transmit.ecn,
                data: BytesMut::from(bytes),
            };
            self.flying
                .insert((self.now + DELAY, self.sent), (to, datagram));
        }
    }
}

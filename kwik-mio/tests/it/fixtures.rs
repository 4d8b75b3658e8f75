//! Servers with an identity, clients that know them, and bytes that tell their offset.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use kwik_core::carrier::DialTarget;
use kwik_core::endpoint::ServerIdentity;
use kwik_core::ticket::{MasterKey, PeerKey};
use kwik_mio::{
    Client, ClientOptions, PrimarySession, RecvStream, SecondarySession, Server, ServerOptions,
    Session, kwik_core,
};
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};

/// No single wait of a test takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const LOOPBACK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A fresh server identity, as a primary with `master` or a secondary with `peer`.
pub(crate) fn identity(
    master: Option<MasterKey>,
    peer: impl FnOnce(&[u8; 32]) -> Option<PeerKey>,
) -> (ServerIdentity, [u8; 32]) {
    let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
    let certificate = CertificateParams::new(vec!["kwik".to_owned()])
        .and_then(|params| params.self_signed(&key))
        .expect("a certificate");
    let mut identity = ServerIdentity {
        certificate_der: certificate.der().to_vec(),
        key_pkcs8_der: key.serialize_der(),
        master,
        peer: None,
    };
    let pin = identity.pin().expect("a pin");
    identity.peer = peer(&pin);
    (identity, pin)
}

/// A server that only serves its own streams.
pub(crate) fn server_at(addr: SocketAddr) -> (Server, DialTarget) {
    let (identity, pin) = identity(None, |_| None);
    let server = Server::bind(addr, identity, ServerOptions::default()).expect("a free port");
    let target = target(server.local_addr(), pin);
    (patient_server(server), target)
}

pub(crate) fn server() -> (Server, DialTarget) {
    server_at(LOOPBACK)
}

pub(crate) fn patient_server(mut server: Server) -> Server {
    server.set_timeout(Some(PATIENCE));
    server
}

pub(crate) fn target(addr: SocketAddr, pin: [u8; 32]) -> DialTarget {
    DialTarget {
        addr,
        server_name: "kwik".to_owned(),
        pin,
    }
}

pub(crate) fn connect(target: &DialTarget) -> Client {
    let mut client =
        Client::connect(target.clone(), ClientOptions::default()).expect("the server answers");
    client.set_timeout(Some(PATIENCE));
    client
}

pub(crate) fn accept_primary(server: &Server) -> PrimarySession {
    match server.accept().expect("a client connects") {
        Session::Primary(mut session) => {
            session.set_timeout(Some(PATIENCE));
            session
        }
        Session::Secondary(_) => panic!("nobody joins here"),
    }
}

pub(crate) fn accept_secondary(server: &Server) -> SecondarySession {
    match server.accept().expect("a client joins") {
        Session::Secondary(mut session) => {
            session.set_timeout(Some(PATIENCE));
            session
        }
        Session::Primary(_) => panic!("nobody begins a session here"),
    }
}

/// A client and its primary.
pub(crate) fn pair() -> (Client, PrimarySession, Server) {
    let (server, target) = server();
    let client = connect(&target);
    let session = accept_primary(&server);
    (client, session, server)
}

pub(crate) fn spawn<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    thread::spawn(act)
}

/// `len` bytes from `offset` on of a stream of which each byte tells its offset.
pub(crate) fn pattern(offset: u64, len: usize) -> Bytes {
    (offset..offset + len as u64)
        .map(|at| (at ^ (at >> 8) ^ (at >> 16) ^ (at >> 24)).to_le_bytes()[0])
        .collect()
}

/// Reads to the end and checks every byte against [`pattern`]; returns how many there were.
pub(crate) fn read_pattern(recv: &RecvStream) -> u64 {
    let mut offset = 0;
    while let Some(chunk) = recv.read_chunk(1 << 20).expect("the stream goes on") {
        assert_eq!(chunk, pattern(offset, chunk.len()), "at offset {offset}");
        offset += chunk.len() as u64;
    }
    offset
}

/// A way between one client and a server that can be cut.
pub(crate) struct Relay {
    pub(crate) addr: SocketAddr,
    cut: Arc<AtomicBool>,
}

impl Relay {
    pub(crate) fn to(server: SocketAddr) -> Self {
        let socket = UdpSocket::bind(LOOPBACK).expect("a free port");
        socket
            .set_read_timeout(Some(PATIENCE))
            .expect("sockets have timeouts");
        let addr = socket.local_addr().expect("bound");
        let cut = Arc::new(AtomicBool::new(false));
        let is_cut = Arc::clone(&cut);
        thread::spawn(move || {
            let mut client = None;
            let mut buf = vec![0; 1 << 16];
            while let Ok((len, from)) = socket.recv_from(&mut buf) {
                if is_cut.load(Ordering::SeqCst) {
                    return;
                }
                if from != server {
                    client = Some(from);
                }
                let to = if from == server { client } else { Some(server) };
                if let Some(to) = to {
                    socket.send_to(&buf[..len], to).expect("loopback takes it");
                }
            }
        });
        Self { addr, cut }
    }

    /// Nothing passes any more.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }
}

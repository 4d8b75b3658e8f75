//! Servers that speak the protocol and do not keep to it.

use std::thread::{self, JoinHandle};

use bytes::Bytes;
use kwik_mio::file::{Answer, Refusal, reset};
use kwik_mio::kwik_core::endpoint::ServerIdentity;
use kwik_mio::{PrimarySession, SendStream, Server, ServerOptions, Session};
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};

use crate::house::{House, PATIENCE, Run};

/// A server for one client, to whom it says what `talk` makes it say, on the stream of the request.
struct Liar {
    url: String,
    pin: String,
    thread: JoinHandle<()>,
}

impl Liar {
    fn start(talk: impl FnOnce(&PrimarySession, SendStream) + Send + 'static) -> Self {
        let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
        let certificate = CertificateParams::new(vec!["kwik".to_owned()])
            .and_then(|params| params.self_signed(&key))
            .expect("a certificate");
        let identity = ServerIdentity {
            certificate_der: certificate.der().to_vec(),
            key_pkcs8_der: key.serialize_der(),
            master: None,
            peer: None,
        };
        let pin = identity.pin().expect("a pin");
        let addr = "127.0.0.1:0".parse().expect("an address");
        let server = Server::bind(addr, identity, ServerOptions::default()).expect("a free port");
        let url = format!("kwik://{}/file", server.local_addr());
        let thread = thread::spawn(move || {
            let session = server.with_timeout(PATIENCE).accept().expect("a client");
            let Session::Primary(session) = session else {
                panic!("nobody joins");
            };
            let (answer, request) = session
                .with_timeout(PATIENCE)
                .accept_stream()
                .expect("a request");
            while request.read_chunk(1024).expect("a request").is_some() {}
            talk(&session, answer);
            // The client has the last word.
            drop(session.with_timeout(PATIENCE).closed());
        });
        let pin = pin.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { url, pin, thread }
    }

    /// What a client makes of it.
    fn get(self) -> Run {
        let house = House::new();
        let got = house.get_url(&self.url, &self.pin, &[]);
        assert!(house.fetched().is_empty(), "{:?}", house.fetched());
        self.thread.join().expect("it lies well");
        got
    }
}

fn say(stream: &SendStream, words: impl Into<Bytes>) {
    stream.write_bytes(&mut words.into()).expect("it is heard");
}

/// Announces `size` bytes and sends `content`.
fn serve(session: &PrimarySession, answer: &SendStream, size: u64, content: &'static [u8]) {
    let (send, _receive) = session.open_stream().expect("a stream");
    let content_stream = send.id();
    let found = Answer::Found {
        size,
        content: content_stream,
    };
    say(answer, found.encode());
    say(&send, content);
    send.finish().expect("it is heard");
    drop(send.with_timeout(PATIENCE).stopped());
}

/// [FILE-5]
#[test]
fn content_without_its_hash_is_not_accepted() {
    let liar = Liar::start(|session, answer| {
        serve(session, &answer, 5, b"hello");
        say(&answer, vec![7; 32]);
        answer.finish().expect("it is heard");
        drop(answer.with_timeout(PATIENCE).stopped());
    });
    liar.get().assert_fails(3, "hash");
}

/// [FILE-5]
#[test]
fn content_with_no_hash_at_all_is_not_accepted() {
    let liar = Liar::start(|session, answer| {
        serve(session, &answer, 5, b"hello");
        answer.finish().expect("it is heard");
        drop(answer.with_timeout(PATIENCE).stopped());
    });
    liar.get().assert_fails(3, "hash");
}

#[test]
fn content_of_another_size_than_announced_is_not_accepted() {
    for (size, part) in [(4, "more"), (6, "less")] {
        let liar = Liar::start(move |session, answer| {
            serve(session, &answer, size, b"hello");
        });
        liar.get().assert_fails(3, part);
    }
}

/// [FILE-6]
#[test]
fn a_file_that_changes_meanwhile_is_not_accepted() {
    let liar = Liar::start(|_, answer| {
        answer.reset(reset::FILE_CHANGED).expect("it is heard");
    });
    liar.get().assert_fails(1, "changed");
}

#[test]
fn a_refusal_is_passed_on() {
    let liar = Liar::start(|_, answer| {
        say(&answer, Answer::Refused(Refusal::Busy).encode());
        answer.finish().expect("it is heard");
    });
    liar.get().assert_fails(1, "busy");
}

#[test]
fn an_answer_that_makes_no_sense_is_a_failure() {
    let liar = Liar::start(|_, answer| {
        say(&answer, vec![9; 40]);
        answer.finish().expect("it is heard");
    });
    liar.get().assert_fails(1, "version 9");
}

#[test]
fn a_server_that_goes_away_is_a_failure() {
    let liar = Liar::start(|session, _| session.close(77));
    liar.get().assert_fails(1, "closed by the peer");
}

//! Calls that may not take for ever.

use std::io::Read;
use std::time::{Duration, Instant};

use kwik_mio::{Client, ClientOptions, Error};

use crate::fixtures::*;

const SHORT: Duration = Duration::from_millis(100);

/// Whether `call` gave up when it should have.
fn times_out<T>(call: impl FnOnce() -> Result<T, Error>) {
    let begun = Instant::now();
    let outcome = call();
    let took = begun.elapsed();
    assert!(matches!(outcome, Err(Error::TimedOut)));
    assert!(took >= SHORT && took < PATIENCE, "{took:?}");
}

#[test]
fn every_waiting_call_keeps_its_timeout() {
    let (client, session, server) = pair();
    let (send, recv) = client.open_stream().expect("a stream");
    send.write_bytes(&mut pattern(0, 10)).expect("taken");
    times_out(|| recv.with_timeout(SHORT).read_chunk(10));
    times_out(|| send.with_timeout(SHORT).stopped());
    times_out(|| client.with_timeout(SHORT).accept_stream());
    times_out(|| client.with_timeout(SHORT).next_event());
    times_out(|| client.with_timeout(SHORT).closed());
    times_out(|| session.with_timeout(SHORT).next_event());
    times_out(|| server.with_timeout(SHORT).accept());
    // Nobody reads: at some point a write waits, and says how far it came.
    let send = send.with_timeout(SHORT);
    let mut data = pattern(0, 1 << 20);
    while send.write_bytes(&mut data).is_ok() {
        data = pattern(0, 1 << 20);
    }
    assert!(!data.is_empty());
    times_out(|| send.write_bytes(&mut data));
}

#[test]
fn a_timeout_is_an_io_error_of_that_kind() {
    let (client, _session, _server) = pair();
    let (_send, mut recv) = client.open_stream().expect("a stream");
    recv.set_timeout(Some(SHORT));
    let error = recv.read(&mut [0; 10]).expect_err("nothing comes");
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
}

#[test]
fn connecting_to_nobody_ends_with_its_timeout() {
    let silent = std::net::UdpSocket::bind(LOOPBACK).expect("a free port");
    let target = target(silent.local_addr().expect("bound"), [0; 32]);
    let options = ClientOptions {
        connect_timeout: Duration::from_millis(300),
        ..ClientOptions::default()
    };
    let begun = Instant::now();
    let outcome = Client::connect(target, options);
    assert!(matches!(outcome, Err(Error::TimedOut)), "{outcome:?}");
    assert!(begun.elapsed() < PATIENCE);
}

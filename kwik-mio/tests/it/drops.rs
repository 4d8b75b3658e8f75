//! What dropping the last clone of a handle means.

use std::time::{Duration, Instant};

use kwik_core::error::{CloseReason, code};
use kwik_mio::{Client, ClientOptions, Error, kwik_core};

use crate::fixtures::*;

#[test]
fn dropping_an_unfinished_send_stream_resets_it() {
    let (client, session, _server) = pair();
    let (send, _recv) = client.open_stream().expect("a stream");
    let clone = send.clone();
    send.write_bytes(&mut pattern(0, 10)).expect("taken");
    let (_send, recv) = session.accept_stream().expect("a stream");
    recv.read_chunk(10).expect("the first bytes");
    drop(send);
    let early = recv.with_timeout(Duration::from_millis(50)).read_chunk(10);
    assert!(matches!(early, Err(Error::TimedOut)), "a clone holds it");
    drop(clone);
    let read = recv.read_chunk(10);
    assert!(matches!(read, Err(Error::Reset(0))), "{read:?}");
}

#[test]
fn dropping_a_finished_send_stream_lets_it_arrive() {
    let (client, session, _server) = pair();
    let (send, recv) = client.open_stream().expect("a stream");
    send.write_bytes(&mut pattern(0, 1 << 20)).expect("taken");
    send.finish().expect("the stream ends");
    drop((send, recv));
    let (_send, recv) = session.accept_stream().expect("a stream");
    assert_eq!(read_pattern(&recv), 1 << 20);
}

#[test]
fn dropping_an_unread_recv_stream_stops_it() {
    let (client, session, _server) = pair();
    let (send, recv) = client.open_stream().expect("a stream");
    send.write_bytes(&mut pattern(0, 10)).expect("taken");
    let (answer, _request) = session.accept_stream().expect("a stream");
    answer.write_bytes(&mut pattern(0, 10)).expect("taken");
    drop(recv);
    assert_eq!(answer.stopped().expect("told"), Some(0));
}

/// How much of what a dropped client had finished its primary could read.
fn read_after_drop(bytes: usize) -> u64 {
    let (client, session, _server) = pair();
    let primary = spawn(move || {
        let (_send, recv) = session.accept_stream().expect("a stream");
        let mut read = 0;
        while let Ok(Some(chunk)) = recv.read_chunk(1 << 20) {
            read += chunk.len() as u64;
        }
        let reason = session.closed().expect("the client leaves");
        assert_eq!(reason, CloseReason::Peer(code::NO_ERROR));
        read
    });
    let (send, recv) = client.open_stream().expect("a stream");
    send.write_bytes(&mut pattern(0, bytes)).expect("taken");
    send.finish().expect("the stream ends");
    drop((client, send, recv));
    primary.join().expect("content")
}

/// [SESS-5]
#[test]
fn dropping_the_client_closes_the_session_after_what_was_finished() {
    const BYTES: usize = 3 << 20;
    // What has arrived and was not read is lost with the session, and a reader may be slow: several
    // trials. A client that did not wait would lose almost all each time.
    assert!((0..5).any(|_| read_after_drop(BYTES) == BYTES as u64));
}

#[test]
fn dropping_the_client_does_not_wait_for_ever() {
    let (server, direct) = server();
    let relay = Relay::to(direct.addr);
    let options = ClientOptions {
        linger: Duration::from_millis(300),
        ..ClientOptions::default()
    };
    let client = Client::connect(target(relay.addr, direct.pin), options).expect("an answer");
    let _session = accept_primary(&server);
    let (send, recv) = client.open_stream().expect("a stream");
    relay.cut();
    send.write_bytes(&mut pattern(0, 1000)).expect("taken");
    send.finish().expect("the stream ends");
    let begun = Instant::now();
    drop((client, send, recv));
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(250), "{took:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[test]
fn streams_keep_the_session_open() {
    let (client, session, _server) = pair();
    let (send, recv) = client.open_stream().expect("a stream");
    drop(client);
    send.write_bytes(&mut pattern(0, 10)).expect("still open");
    let (answer, _request) = session.accept_stream().expect("a stream");
    answer.write_bytes(&mut pattern(0, 10)).expect("taken");
    drop(session);
    assert_eq!(recv.read_chunk(10).expect("bytes"), Some(pattern(0, 10)));
}

#[test]
fn a_client_reads_what_a_dropped_primary_session_had_finished() {
    let (client, session, _server) = pair();
    let (send, recv) = session.open_stream().expect("a stream");
    send.write_bytes(&mut pattern(0, 1 << 20)).expect("taken");
    send.finish().expect("the stream ends");
    drop((session, send, recv));
    std::thread::sleep(Duration::from_millis(300));
    let (_send, recv) = client.accept_stream().expect("a stream");
    assert_eq!(read_pattern(&recv), 1 << 20);
}

#[test]
fn dropping_the_last_handle_ends_the_thread_soon() {
    let (client, session, server) = pair();
    let names = [client.local_addr(), server.local_addr()].map(thread_name);
    // Elsewhere nobody tells which threads run.
    assert!(
        !cfg!(target_os = "linux") || names.iter().all(|name| thread_runs(name)),
        "{names:?}"
    );
    let begun = Instant::now();
    drop(client);
    drop((session, server));
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(!names.iter().any(|name| thread_runs(name)), "{names:?}");
}

#[test]
fn a_session_that_nobody_accepted_is_closed_with_the_server() {
    let (server, target) = server();
    let client = connect(&target);
    drop(server);
    let reason = client.closed().expect("told");
    assert_eq!(reason, CloseReason::Peer(code::NO_ERROR));
}

fn thread_name(addr: std::net::SocketAddr) -> String {
    format!("kwik {}", addr.port())
}

fn thread_runs(name: &str) -> bool {
    crate::idle::threads().any(|(_, comm)| comm == name)
}

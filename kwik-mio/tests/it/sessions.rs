//! Sessions begin, are shared between threads, and end.

use std::sync::{Arc, Barrier};
use std::time::Duration;

use kwik_core::error::CloseReason;
use kwik_mio::{Client, ClientOptions, Error, kwik_core};

use crate::fixtures::*;

#[test]
fn a_wrong_pin_is_told_as_such() {
    let (_server, mut target) = server();
    target.pin[0] ^= 1;
    let outcome = Client::connect(target, ClientOptions::default());
    assert!(
        matches!(outcome, Err(Error::Closed(CloseReason::PinMismatch))),
        "{outcome:?}"
    );
}

#[test]
fn a_read_that_waits_returns_when_the_peer_closes_the_session() {
    let (client, session, _server) = pair();
    let (send, recv) = client.open_stream().expect("a stream");
    send.write_bytes(&mut pattern(0, 10)).expect("taken");
    let reader = spawn(move || recv.read_chunk(10));
    std::thread::sleep(Duration::from_millis(50));
    session.close(1234);
    let read = reader.join().expect("it returns");
    assert!(
        matches!(read, Err(Error::Closed(CloseReason::Peer(1234)))),
        "{read:?}"
    );
    assert_eq!(client.closed().expect("known"), CloseReason::Peer(1234));
}

#[test]
fn all_calls_that_wait_return_when_another_thread_closes_the_session() {
    let (client, session, _server) = pair();
    let (send, recv) = client.open_stream().expect("a stream");
    send.write_bytes(&mut pattern(0, 10)).expect("taken");
    let (accepting, events, writer) = (client.clone(), client.clone(), send.clone());
    let waiting = [
        spawn(move || recv.read_chunk(10).err()),
        spawn(move || accepting.accept_stream().err()),
        spawn(move || events.next_event().err()),
        spawn(move || {
            loop {
                // Nobody reads: at some point it waits.
                if let Err(error) = writer.write_bytes(&mut pattern(0, 1 << 20)) {
                    break Some(error);
                }
            }
        }),
    ];
    std::thread::sleep(Duration::from_millis(300));
    client.close(5);
    for call in waiting {
        let error = call.join().expect("it returns");
        assert!(
            matches!(error, Some(Error::Closed(CloseReason::Local))),
            "{error:?}"
        );
    }
    assert_eq!(session.closed().expect("told"), CloseReason::Peer(5));
}

#[test]
fn two_threads_share_a_session() {
    const BYTES: usize = 4 << 20;
    let (client, session, _server) = pair();
    let primary = spawn(move || {
        let echoes: Vec<_> = (0..2)
            .map(|_| {
                let (mut send, mut recv) = session.accept_stream().expect("a stream");
                spawn(move || {
                    std::io::copy(&mut recv, &mut send).expect("echoed");
                    send.finish().expect("the stream ends");
                    send.stopped().expect("it arrives")
                })
            })
            .collect();
        for echo in echoes {
            echo.join().expect("content");
        }
    });
    let start = Arc::new(Barrier::new(2));
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (client, start) = (client.clone(), Arc::clone(&start));
            spawn(move || {
                start.wait();
                let (send, recv) = client.open_stream().expect("a stream");
                let writer = spawn(move || {
                    send.write_bytes(&mut pattern(0, BYTES)).expect("taken");
                    send.finish().expect("the stream ends");
                    send.stopped().expect("it arrives")
                });
                assert_eq!(read_pattern(&recv), BYTES as u64);
                writer.join().expect("content");
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("content");
    }
    primary.join().expect("content");
}

#[test]
fn writes_of_two_threads_to_one_stream_do_not_mix() {
    const PIECE: usize = 3 << 20;
    let (client, session, _server) = pair();
    let (send, _recv) = session.open_stream().expect("a stream");
    let writers: Vec<_> = [b'a', b'b']
        .map(|byte| {
            let send = send.clone();
            spawn(move || {
                let mut data = vec![byte; PIECE].into();
                send.write_bytes(&mut data).expect("taken");
            })
        })
        .into();
    let (_send, recv) = client.accept_stream().expect("a stream");
    let mut runs: Vec<(u8, usize)> = Vec::new();
    while runs.iter().map(|run| run.1).sum::<usize>() < 2 * PIECE {
        let chunk = recv.read_chunk(1 << 20).expect("bytes").expect("no end");
        for &byte in &chunk {
            match runs.last_mut() {
                Some((last, count)) if *last == byte => *count += 1,
                _ => runs.push((byte, 1)),
            }
        }
    }
    assert_eq!(runs.len(), 2, "{runs:?}");
    for writer in writers {
        writer.join().expect("content");
    }
}

#[test]
fn two_readers_of_one_stream_get_each_byte_once() {
    const BYTES: usize = 4 << 20;
    let (client, session, _server) = pair();
    let (send, _recv) = session.open_stream().expect("a stream");
    let writer = spawn(move || {
        send.write_bytes(&mut pattern(0, BYTES)).expect("taken");
        send.finish().expect("the stream ends");
        send.stopped().expect("it arrives")
    });
    let (_send, recv) = client.accept_stream().expect("a stream");
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let recv = recv.clone();
            spawn(move || {
                let mut read = 0;
                while let Some(chunk) = recv.read_chunk(10_000).expect("bytes") {
                    read += chunk.len();
                }
                read
            })
        })
        .collect();
    let read: usize = readers
        .into_iter()
        .map(|reader| reader.join().expect("content"))
        .sum();
    assert_eq!(read, BYTES);
    writer.join().expect("content");
}

#[test]
fn a_server_takes_sessions_one_after_the_other() {
    let (server, target) = server();
    for _ in 0..3 {
        let client = connect(&target);
        let session = accept_primary(&server);
        assert_eq!(
            client.session_id().expect("open"),
            Some(session.session_id().expect("open"))
        );
        drop(client);
        session.closed().expect("the client leaves");
    }
}

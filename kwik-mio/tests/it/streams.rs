//! Streams of both ends.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use kwik_core::error::Misuse;
use kwik_mio::{Error, Server, kwik_core};

use crate::fixtures::*;

fn echo_once(server: &Server) {
    let session = accept_primary(server);
    let (mut send, mut recv) = session.accept_stream().expect("a stream");
    std::io::copy(&mut recv, &mut send).expect("all is echoed");
    send.finish().expect("the stream ends");
    session.closed().expect("the client leaves");
}

fn echoes(bind: SocketAddr, via: std::net::IpAddr) {
    let (server, mut target) = server_at(bind);
    target.addr.set_ip(via);
    let echo = spawn(move || echo_once(&server));
    let client = connect(&target);
    let (mut send, mut recv) = client.open_stream().expect("a stream");
    let sent = pattern(0, 300_000);
    send.write_all(&sent).expect("the bytes are taken");
    send.finish().expect("the stream ends");
    let mut received = Vec::new();
    recv.read_to_end(&mut received).expect("all comes back");
    assert_eq!(received, sent);
    assert_eq!(recv.read(&mut [0; 4]).expect("the end stays"), 0);
    assert!(recv.read_chunk(4).expect("the end stays").is_none());
    drop((client, send, recv));
    echo.join().expect("the server is content");
}

#[test]
fn a_client_opened_stream_echoes() {
    echoes(LOOPBACK, Ipv4Addr::LOCALHOST.into());
}

#[test]
fn a_stream_echoes_over_ipv6() {
    if std::net::UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        echoes((Ipv6Addr::LOCALHOST, 0).into(), Ipv6Addr::LOCALHOST.into());
    }
}

#[test]
fn a_server_on_the_unspecified_ipv6_address_serves_ipv4() {
    if std::net::UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        let any = (Ipv6Addr::UNSPECIFIED, 0).into();
        echoes(any, Ipv4Addr::LOCALHOST.into());
        echoes(any, Ipv6Addr::LOCALHOST.into());
    }
}

#[test]
fn a_primary_opened_stream_reaches_the_client() {
    let (client, session, _server) = pair();
    let primary = spawn(move || {
        let (send, recv) = session.open_stream().expect("a stream");
        send.write_bytes(&mut pattern(0, 1 << 20)).expect("taken");
        send.finish().expect("the stream ends");
        let mut answer = String::new();
        (&recv).read_to_string(&mut answer).expect("an answer");
        answer
    });
    let (mut send, recv) = client.accept_stream().expect("a stream");
    assert!(send.id().is_server_opened());
    assert_eq!(read_pattern(&recv), 1 << 20);
    send.write_all(b"thanks").expect("taken");
    send.finish().expect("the stream ends");
    assert_eq!(primary.join().expect("content"), "thanks");
    assert_eq!(send.stopped().expect("it arrives"), None);
}

#[test]
fn a_chunk_is_never_longer_than_asked_for() {
    let (client, session, _server) = pair();
    let (send, _recv) = session.open_stream().expect("a stream");
    send.write_bytes(&mut pattern(0, 10_000)).expect("taken");
    send.finish().expect("the stream ends");
    let (_send, recv) = client.accept_stream().expect("a stream");
    let mut offset = 0;
    while let Some(chunk) = recv.read_chunk(7).expect("bytes") {
        assert!((1..=7).contains(&chunk.len()));
        assert_eq!(chunk, pattern(offset, chunk.len()));
        offset += chunk.len() as u64;
    }
    assert_eq!(offset, 10_000);
}

#[test]
fn a_finished_stream_takes_nothing_more() {
    let (client, _session, _server) = pair();
    let (send, _recv) = client.open_stream().expect("a stream");
    send.write_bytes(&mut pattern(0, 10)).expect("taken");
    send.finish().expect("the stream ends");
    let again = send.write_bytes(&mut pattern(0, 10));
    assert!(
        matches!(again, Err(Error::Misuse(Misuse::Finished(_)))),
        "{again:?}"
    );
}

#[test]
fn a_stopped_stream_says_so_to_its_writer() {
    let (client, session, _server) = pair();
    let (send, _recv) = client.open_stream().expect("a stream");
    send.write_bytes(&mut pattern(0, 10)).expect("taken");
    let (_send, recv) = session.accept_stream().expect("a stream");
    recv.stop(77).expect("stopped");
    assert_eq!(send.stopped().expect("told"), Some(77));
    let next = loop {
        match send.write_bytes(&mut pattern(0, 1000)) {
            Ok(()) => {}
            Err(error) => break error,
        }
    };
    assert!(
        matches!(next, Error::Stopped(77) | Error::Misuse(_)),
        "{next:?}"
    );
}

/// [ERR-4]
#[test]
fn a_reset_reaches_the_reader_with_its_code() {
    let (client, session, _server) = pair();
    let (send, _recv) = client.open_stream().expect("a stream");
    send.write_bytes(&mut pattern(0, 10)).expect("taken");
    let (_send, recv) = session.accept_stream().expect("a stream");
    recv.read_chunk(10).expect("the first bytes");
    send.reset(99).expect("reset");
    for _ in 0..2 {
        let read = recv.read_chunk(10);
        assert!(matches!(read, Err(Error::Reset(99))), "{read:?}");
    }
}

//! One stream from a primary and a secondary.

use bytes::Bytes;
use kwik_core::event::PathEvent;
use kwik_core::ids::{ByteRange, PathId};
use kwik_core::path::{PathSpec, RawTarget};
use kwik_core::ticket::MasterKey;
use kwik_core::wire::LostReason;
use kwik_mio::{
    Client, Error, PrimaryNotice, PrimarySession, SecondaryNotice, SecondarySession, Server,
    ServerOptions, kwik_core,
};
use std::time::Duration;

use crate::fixtures::*;

struct Trio {
    client: Client,
    primary: PrimarySession,
    secondary: SecondarySession,
    path: PathId,
    _servers: (Server, Server),
}

/// A client, its primary, and one secondary that it has joined.
fn trio() -> Trio {
    let key = || MasterKey::from_bytes([7; 32]);
    let (own, pin) = identity(Some(key()), |_| None);
    let serve = |identity| {
        let server = Server::bind(LOOPBACK, identity, ServerOptions::default());
        patient_server(server.expect("a free port"))
    };
    let first = serve(own);
    let (other, other_pin) = identity(None, |pin| Some(key().peer_key(pin)));
    let second = serve(other);
    let client = connect(&target(first.local_addr(), pin));
    let primary = accept_primary(&first);
    let path = primary
        .add_path(PathSpec {
            addrs: [second.local_addr()].into_iter().collect(),
            server_name: "kwik".to_owned(),
            pin: other_pin,
        })
        .expect("a path");
    let secondary = accept_secondary(&second);
    match primary.next_event().expect("an event") {
        PrimaryNotice::Path(PathEvent::Active(active)) => assert_eq!(active, path),
        other => panic!("{other:?}"),
    }
    Trio {
        client,
        primary,
        secondary,
        path,
        _servers: (first, second),
    }
}

fn range(start: u64, end: u64) -> ByteRange {
    ByteRange::new(start, end).expect("ordered")
}

/// Writes every grant from the pattern, until the session ends.
fn serve_pattern(secondary: &SecondarySession) {
    while let Ok(notice) = secondary.next_event() {
        if let SecondaryNotice::Grant { grant, extent, .. } = notice {
            let mut segment = secondary.open_segment(grant).expect("a segment");
            segment.set_timeout(Some(PATIENCE));
            let len = usize::try_from(extent.range().len()).expect("small");
            let mut data = pattern(extent.range().start(), len);
            match segment.write_bytes(&mut data) {
                Ok(()) => segment.finish().expect("the segment ends"),
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[test]
fn a_reader_gets_one_stream_from_two_servers() {
    const THIRD: u64 = 1 << 20;
    let third = |at| pattern(at, 1 << 20);
    let Trio {
        client,
        primary,
        secondary,
        path,
        _servers,
    } = trio();
    let second = spawn(move || serve_pattern(&secondary));
    let first = spawn(move || {
        let (send, _recv) = primary.open_stream().expect("a stream");
        send.write_bytes(&mut third(0)).expect("taken");
        let middle = range(THIRD, 2 * THIRD);
        let command = Bytes::from_static(b"the middle");
        let grant = primary
            .delegate(send.id(), middle, path, command)
            .expect("a grant");
        send.write_bytes(&mut third(2 * THIRD)).expect("taken");
        send.finish().expect("the stream ends");
        match primary.next_event().expect("an event") {
            PrimaryNotice::GrantDone { grant: done, end } => {
                assert_eq!((done, end), (grant, 2 * THIRD));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(send.stopped().expect("it arrives"), None);
        primary
    });
    let (_send, recv) = client.accept_stream().expect("a stream");
    assert_eq!(read_pattern(&recv), 3 * THIRD);
    let primary = first.join().expect("content");
    let brought: Vec<u64> = client
        .paths()
        .expect("open")
        .iter()
        .map(|info| info.received_bytes)
        .collect();
    assert_eq!(brought, [2 * THIRD, THIRD]);
    assert_eq!(client.stats().expect("open").grants, 1);
    drop((client, recv, _send));
    second.join().expect("content");
    primary.closed().expect("the client leaves");
}

/// [GRANT-16]
#[test]
fn a_refused_grant_comes_back_with_its_code() {
    let trio = trio();
    let (send, _recv) = trio.primary.open_stream().expect("a stream");
    let grant = trio
        .primary
        .delegate(send.id(), range(0, 1000), trio.path, Bytes::new())
        .expect("a grant");
    match trio.secondary.next_event().expect("an event") {
        SecondaryNotice::Grant {
            grant: granted,
            remote_stream_id,
            ..
        } => {
            assert_eq!((granted, remote_stream_id), (grant, send.id()));
            trio.secondary.refuse(granted, 42).expect("refused");
        }
        other => panic!("{other:?}"),
    }
    match trio.primary.next_event().expect("an event") {
        PrimaryNotice::GrantLost {
            grant: lost,
            reason,
            missing,
        } => {
            assert_eq!((lost, reason), (grant, LostReason::Refused(42)));
            assert_eq!(missing.bytes(), 1000);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_raw_message_reaches_the_secondary() {
    let trio = trio();
    let message = Bytes::from_static(b"hello");
    let grant = trio
        .primary
        .send_raw(trio.path, RawTarget::Message, message.clone())
        .expect("sent");
    assert_eq!(grant, None);
    let notice = trio.secondary.next_event().expect("an event");
    assert_eq!(notice, SecondaryNotice::Raw(message));
}

#[test]
fn a_write_without_credit_gives_way_to_an_event() {
    let trio = trio();
    let (send, _recv) = trio.primary.open_stream().expect("a stream");
    let grant = trio
        .primary
        .delegate(send.id(), range(0, 1 << 20), trio.path, Bytes::new())
        .expect("a grant");
    let SecondaryNotice::Grant { .. } = trio.secondary.next_event().expect("an event") else {
        panic!("a grant was given");
    };
    // The reader waits at the granted range, so credit ends after a window.
    let mut data = pattern(1 << 20, 32 << 20);
    let waited = send
        .with_timeout(Duration::from_millis(500))
        .write_bytes(&mut data);
    assert!(matches!(waited, Err(Error::TimedOut)), "{waited:?}");
    assert!(!data.is_empty());
    let writer = {
        let send = send.clone();
        spawn(move || {
            let outcome = send.write_bytes(&mut data);
            (outcome, data)
        })
    };
    std::thread::sleep(Duration::from_millis(100));
    trio.secondary.refuse(grant, 1).expect("refused");
    let (outcome, mut data) = writer.join().expect("it returns");
    assert!(matches!(outcome, Err(Error::EventsPending)), "{outcome:?}");

    // The application learns what is lost, writes it itself, and both go on.
    let PrimaryNotice::GrantLost { missing, .. } = trio.primary.next_event().expect("an event")
    else {
        panic!("the grant is lost");
    };
    let lost = missing.first().expect("a range");
    let segment = trio
        .primary
        .open_segment_at(send.id(), lost.start())
        .expect("a segment");
    let client = trio.client.clone();
    let reader = spawn(move || {
        let (_send, recv) = client.accept_stream().expect("a stream");
        read_pattern(&recv)
    });
    let len = usize::try_from(lost.len()).expect("small");
    segment
        .write_bytes(&mut pattern(lost.start(), len))
        .expect("taken");
    segment.finish().expect("the segment ends");
    send.write_bytes(&mut data).expect("taken");
    send.finish().expect("the stream ends");
    assert_eq!(reader.join().expect("content"), 33 << 20);
}

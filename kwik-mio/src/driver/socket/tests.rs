//! Two sockets on loopback.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::*;

fn transmit(destination: SocketAddr, size: usize, segment_size: Option<usize>) -> Transmit {
    Transmit {
        destination,
        ecn: Some(Ecn::Ect0),
        size,
        segment_size,
        src_ip: None,
    }
}

fn send_all(socket: &Socket, transmit: &Transmit, contents: &[u8]) -> (usize, usize) {
    let (mut sent, mut calls) = (0, 0);
    while sent < contents.len() {
        let (bytes, _) = socket
            .send(transmit, &contents[sent..])
            .expect("loopback takes datagrams");
        sent += bytes;
        calls += 1;
    }
    (sent, calls)
}

fn receive_bytes(socket: &mut Socket, expected: usize) -> Vec<Datagram> {
    let mut datagrams: Vec<Datagram> = Vec::new();
    let until = Instant::now() + Duration::from_secs(5);
    while datagrams.iter().map(|each| each.data.len()).sum::<usize>() < expected {
        assert!(Instant::now() < until, "datagrams did not arrive");
        match socket.receive(|datagram| datagrams.push(datagram)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => panic!("{error}"),
        }
    }
    datagrams
}

#[test]
fn a_batch_arrives_as_its_datagrams() {
    let mut receiver = Socket::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let sender = Socket::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let contents: Vec<u8> = (0..60_000u32).map(|at| (at % 251) as u8).collect();
    let batch = transmit(receiver.local_addr(), contents.len(), Some(1200));
    send_all(&sender, &batch, &contents);

    let datagrams = receive_bytes(&mut receiver, contents.len());
    assert!(datagrams.iter().all(|each| each.data.len() == 1200));
    assert_eq!(datagrams.len(), 50);
    let joined: Vec<u8> = datagrams
        .iter()
        .flat_map(|each| each.data.iter().copied())
        .collect();
    assert_eq!(joined, contents);
    for datagram in &datagrams {
        assert_eq!(datagram.remote, sender.local_addr());
        assert_eq!(datagram.local_ip, Some(Ipv4Addr::LOCALHOST.into()));
        assert_eq!(datagram.ecn, Some(Ecn::Ect0));
    }
}

#[test]
fn a_batch_larger_than_a_system_call_is_sent_in_parts() {
    let mut receiver = Socket::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let sender = Socket::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let contents = vec![7; 16_000 * 10];
    let batch = transmit(receiver.local_addr(), contents.len(), Some(16_000));
    let (_, calls) = send_all(&sender, &batch, &contents);
    assert!(calls >= 3, "65507 bytes a call at most");
    let datagrams = receive_bytes(&mut receiver, contents.len());
    assert_eq!(datagrams.len(), 10);
}

#[test]
fn a_dual_stack_socket_speaks_to_both_families() {
    let Ok(mut dual) = Socket::bind((Ipv6Addr::UNSPECIFIED, 0).into()) else {
        // A machine without IPv6.
        return;
    };
    let port = dual.local_addr().port();
    for (own, dual_addr) in [
        (
            IpAddr::from(Ipv4Addr::LOCALHOST),
            IpAddr::from(Ipv4Addr::LOCALHOST),
        ),
        (Ipv6Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()),
    ] {
        let Ok(mut single) = Socket::bind((own, 0).into()) else {
            continue;
        };
        let ping = transmit((dual_addr, port).into(), 4, None);
        send_all(&single, &ping, b"ping");
        let arrived = receive_bytes(&mut dual, 4);
        assert_eq!(arrived[0].remote, single.local_addr());
        assert_eq!(arrived[0].local_ip, Some(dual_addr));
        // And back, from the very address that was spoken to.
        let pong = Transmit {
            src_ip: arrived[0].local_ip,
            ..transmit(arrived[0].remote, 4, None)
        };
        send_all(&dual, &pong, b"pong");
        let arrived = receive_bytes(&mut single, 4);
        assert_eq!(arrived[0].remote, SocketAddr::new(dual_addr, port));
        assert_eq!(&arrived[0].data[..], b"pong");
    }
}

#[test]
fn a_chunk_that_lingers_pins_one_slab() {
    let mut slab = BytesMut::new();
    let first = copy_out(&mut slab, &[1; 1200]);
    let address = first.as_ptr() as usize;
    // The slab is used up before another one is taken.
    let neighbours: Vec<BytesMut> = (0..12).map(|_| copy_out(&mut slab, &[2; 1200])).collect();
    let within = |each: &BytesMut| (each.as_ptr() as usize).wrapping_sub(address) < SLAB_BYTES;
    assert!(neighbours.iter().all(within));
    let later = copy_out(&mut slab, &[3; 1200]);
    assert!(!within(&later), "a second slab while the first is held");
}

#[test]
fn nothing_waiting_is_would_block() {
    let mut socket = Socket::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let error = socket.receive(|_| ()).err().expect("an error");
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
}

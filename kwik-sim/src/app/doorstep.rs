//! Calls on an endpoint that are of no use to anybody.
//!
//! Owns targets that cannot be connected to, datagrams that are none, and the time told wrongly. None
//! of it may begin a session or touch one.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use kwik_core::carrier::{DialTarget, Now};
use kwik_core::datagram::Datagram;
use kwik_core::endpoint::{ConnectError, Endpoint};

use crate::clock::Moment;

/// Bytes of the datagrams that look like the first of a connection.
const INITIAL_BYTES: u64 = 1200;

/// Makes them all. `ordinal` varies the datagrams.
///
/// # Panics
///
/// If a target that cannot be connected to is, or a session appears.
pub fn everything(endpoint: &mut Endpoint, moment: Moment, ordinal: u64) {
    let now = moment.now;
    let sessions = endpoint.sessions();
    for (addr, name) in [
        ("192.0.2.1:0", "kwik.sim"),
        ("0.0.0.0:443", "kwik.sim"),
        ("[::]:443", "kwik.sim"),
        ("192.0.2.1:443", ""),
        ("192.0.2.1:443", "no name"),
        ("192.0.2.1:443", "dots..within"),
    ] {
        let addr: SocketAddr = addr.parse().expect("an address");
        let target = DialTarget {
            addr,
            server_name: name.to_owned(),
            pin: [0; 32],
        };
        let refusal = match (addr.port() == 0 || addr.ip().is_unspecified(), name) {
            (true, _) => ConnectError::Address(addr),
            (false, name) => ConnectError::ServerName(name.to_owned()),
        };
        assert_eq!(endpoint.connect(now, target), Err(refusal));
    }
    for data in nonsense(ordinal) {
        endpoint.handle_datagram(now, from_nowhere(&data, ordinal));
    }
    tell_the_time(endpoint, now);
    endpoint.set_accepting(false);
    endpoint.set_accepting(true);
    // Of those that there were, some may be over by now.
    assert!(endpoint.sessions() <= sessions, "a session came");
}

/// What is no datagram of QUIC: nothing, one byte, a short header of no connection, a first packet of
/// another version, and one of ours that cannot be opened.
fn nonsense(ordinal: u64) -> [Vec<u8>; 6] {
    let noise = |len: u64| {
        let mixed = |i: u64| (ordinal + i).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let byte = |i: u64| mixed(i).to_be_bytes()[0];
        (0..len).map(byte).collect::<Vec<u8>>()
    };
    let initial = |version: u8| {
        // A long header, the version, a connection id of eight bytes for us and none for them.
        let mut bytes = vec![0xc3, 0, 0, 0, version, 8];
        bytes.extend(noise(8));
        bytes.extend([0, 0, 0x44, 0x9e]);
        bytes.extend(noise(INITIAL_BYTES - bytes.len() as u64));
        bytes
    };
    let mut short = noise(40);
    short[0] = 0x40 | short[0] & 0x3f;
    [
        Vec::new(),
        noise(1),
        short,
        noise(60),
        initial(0x5a),
        initial(1),
    ]
}

fn from_nowhere(data: &[u8], ordinal: u64) -> Datagram {
    let port = 1024 + u16::try_from(ordinal % 60_000).unwrap_or(0);
    Datagram {
        remote: SocketAddr::from(([198, 51, 100, 9], port)),
        local_ip: None,
        ecn: None,
        data: BytesMut::from(data),
    }
}

/// More often than it asked for, twice at one time, and as it was a while ago.
fn tell_the_time(endpoint: &mut Endpoint, now: Now) {
    endpoint.handle_timeout(now);
    endpoint.handle_timeout(now);
    for back in [Duration::from_millis(1), Duration::from_secs(3600)] {
        if let Some(monotonic) = now.monotonic.checked_sub(back) {
            endpoint.handle_timeout(Now { monotonic, ..now });
        }
    }
    endpoint.handle_timeout(now);
}

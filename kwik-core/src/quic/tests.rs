//! Endpoints of the quic room against each other, on a network in memory.

mod carriers;
mod life;
pub(crate) mod net;
mod trust;
pub(crate) mod wire;

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::time::Duration;

use bytes::Bytes;

use self::net::{Identity, Net};
use crate::carrier::{CarrierEnd, Carriers, Order, ReadState};
use crate::config::{Config, QuicConfig};
use crate::ids::{CarrierId, PathId, SessionHandle};

const PATH: PathId = PathId::PRIMARY;
const CLIENT: usize = 0;
const SERVER: usize = 1;
/// The session of the only connection at either end.
const SESSION: SessionHandle = SessionHandle(0);

fn quic_config() -> QuicConfig {
    Config::default().quic
}

/// A client and a server with a connection, up at both ends.
fn pair_with(config: &QuicConfig, path: PathId) -> Net {
    let identity = Identity::new();
    let mut net = Net::new();
    net.add_host(config, None);
    net.add_host(config, Some(&identity));
    net.dial(CLIENT, SESSION, path, SERVER, identity.pin())
        .expect("dialled");
    net.run(Duration::from_millis(500));
    assert!(net.is_up(CLIENT) && net.is_up(SERVER));
    net
}

fn pair() -> Net {
    pair_with(&quic_config(), PATH)
}

fn control() -> CarrierId {
    CarrierId {
        path: PATH,
        stream: 0,
    }
}

/// Reads all there is.
fn read(net: &mut Net, host: usize, carrier: CarrierId, order: Order) -> Read {
    let mut chunks = Vec::new();
    let state = net
        .carriers(host)
        .read(carrier, order, usize::MAX, &mut |offset, bytes| {
            chunks.push((offset, bytes));
            ControlFlow::Continue(())
        });
    Read { chunks, state }
}

struct Read {
    chunks: Vec<(u64, Bytes)>,
    state: Result<ReadState, CarrierEnd>,
}

impl Read {
    fn len(&self) -> usize {
        self.chunks.iter().map(|(_, bytes)| bytes.len()).sum()
    }
}

/// Writes what QUIC takes of `data`, which is then shorter.
fn write(net: &mut Net, host: usize, carrier: CarrierId, data: &mut Bytes) -> usize {
    net.carriers(host).write(carrier, data).expect("writable")
}

fn open_uni(net: &mut Net, host: usize) -> CarrierId {
    net.carriers(host)
        .open_uni(PATH)
        .expect("open")
        .expect("credit")
}

/// A client and a server that are not on one machine: small datagrams, a small first window.
fn distant_pair() -> Net {
    let identity = Identity::new();
    let mut net = Net::new();
    net.add_host(&quic_config(), None);
    net.add_host(&quic_config(), Some(&identity));
    net.move_to(SERVER, SocketAddr::from(([192, 0, 2, 1], 4433)));
    net.move_to(CLIENT, SocketAddr::from(([192, 0, 2, 2], 4433)));
    net.dial(CLIENT, SESSION, PATH, SERVER, identity.pin())
        .expect("dialled");
    net
}

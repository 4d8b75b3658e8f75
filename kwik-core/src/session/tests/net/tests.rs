//! The in-memory QUIC keeps the promises of [`Carriers`], and makes no others.

mod ends;
mod transport;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;

use super::{CONTROL, ConnId, EndLimits, Item, Net, Parcel, Phase, Port, Side};
use crate::carrier::{CarrierEnd, Carriers, DownCause, Input, Order, ReadState};
use crate::ids::{ByteRange, CarrierId, PathId};

const LIMITS: EndLimits = EndLimits {
    send_buffer_bytes: 100,
    streams: [3, 2],
    stream_window_bytes: 1 << 20,
    window_bytes: 1 << 30,
};
const PATH: PathId = PathId(7);

/// One connection and the two ends of it.
struct Pair {
    net: Net,
    paths: [BTreeMap<PathId, ConnId>; 2],
    conn: ConnId,
}

impl Pair {
    fn new() -> Self {
        Self::with(LIMITS, LIMITS)
    }

    fn with(client: EndLimits, server: EndLimits) -> Self {
        let mut net = Net::new();
        let conn = net.connect(PATH, client, server);
        let paths = [
            BTreeMap::from([(PATH, conn)]),
            BTreeMap::from([(PathId::PRIMARY, conn)]),
        ];
        let mut pair = Self { net, paths, conn };
        let exporter = pair.net.exporter(conn);
        let up = Input::PathUp {
            path: PATH,
            control: client_carrier(CONTROL),
            exporter,
        };
        assert_eq!(pair.inputs(Side::Client), [up]);
        pair
    }

    /// A pair whose server knows of the connection.
    fn greeted() -> Self {
        let mut pair = Self::new();
        pair.write(Side::Client, CONTROL, b"x");
        pair.settle();
        pair.inputs(Side::Server);
        assert_eq!(pair.read(Side::Server, CONTROL, Order::Ordered).0, b"x");
        pair.settle();
        pair.inputs(Side::Client);
        pair
    }

    fn port(&mut self, side: Side) -> Port<'_> {
        Port::new(&mut self.net, &self.paths[side as usize], side)
    }

    fn id(side: Side, stream: u64) -> CarrierId {
        match side {
            Side::Client => client_carrier(stream),
            Side::Server => server_carrier(stream),
        }
    }

    fn path(side: Side) -> PathId {
        Self::id(side, 0).path
    }

    /// The server opens its first segment, number 3, and writes this into it.
    fn begin_segment(&mut self, bytes: &[u8]) {
        let opened = self.port(Side::Server).open_uni(PathId::PRIMARY);
        assert_eq!(opened, Ok(Some(server_carrier(3))));
        self.write(Side::Server, 3, bytes);
    }

    fn write(&mut self, side: Side, stream: u64, bytes: &[u8]) -> usize {
        let mut data = Bytes::copy_from_slice(bytes);
        let written = self
            .port(side)
            .write(Self::id(side, stream), &mut data)
            .expect("open");
        assert_eq!(data.len(), bytes.len() - written);
        written
    }

    fn read(
        &mut self,
        side: Side,
        stream: u64,
        order: Order,
    ) -> (Vec<u8>, Result<ReadState, CarrierEnd>) {
        let mut read = Vec::new();
        let state =
            self.port(side)
                .read(Self::id(side, stream), order, 1 << 20, &mut |_, chunk| {
                    read.extend_from_slice(&chunk);
                    ControlFlow::Continue(())
                });
        (read, state)
    }

    fn inputs(&mut self, side: Side) -> Vec<Input> {
        std::iter::from_fn(|| self.net.poll_input(self.conn, side)).collect()
    }

    /// Inputs but for [`Input::Heard`].
    fn news(&mut self, side: Side) -> Vec<Input> {
        self.inputs(side)
            .into_iter()
            .filter(|input| !matches!(input, Input::Heard(_)))
            .collect()
    }

    fn settle(&mut self) {
        while let Some(&parcel) = self.net.parcels().first() {
            self.net.deliver(parcel);
        }
    }

    /// Delivers what matches, and nothing else.
    fn deliver(&mut self, toward: Side, matches: impl Fn(Item) -> bool) {
        let parcels = self.net.parcels();
        let chosen = parcels
            .into_iter()
            .filter(|p| p.toward == toward && matches(p.item));
        chosen.for_each(|parcel| self.net.deliver(parcel));
    }

    fn deliver_range(&mut self, toward: Side, stream: u64, range: (u64, u64)) {
        let range = ByteRange::new(range.0, range.1).expect("ordered");
        self.net.deliver(Parcel {
            conn: self.conn,
            toward,
            item: Item::Data { stream, range },
        });
    }
}

fn client_carrier(stream: u64) -> CarrierId {
    CarrierId { path: PATH, stream }
}

fn server_carrier(stream: u64) -> CarrierId {
    CarrierId {
        path: PathId::PRIMARY,
        stream,
    }
}

#[test]
fn a_server_hears_of_a_connection_with_its_first_control_byte() {
    let mut pair = Pair::new();
    assert_eq!(
        pair.net.phase(pair.conn, Side::Server),
        Phase::AwaitingControl
    );
    assert_eq!(
        pair.port(Side::Server).open_uni(PathId::PRIMARY),
        Err(CarrierEnd::Gone)
    );
    pair.write(Side::Client, CONTROL, b"hello");
    pair.settle();
    let exporter = pair.net.exporter(pair.conn);
    let up = Input::PathUp {
        path: PathId::PRIMARY,
        control: server_carrier(CONTROL),
        exporter,
    };
    assert_eq!(
        pair.inputs(Side::Server),
        [up, Input::Readable(server_carrier(CONTROL))]
    );
    assert_eq!(
        pair.read(Side::Server, CONTROL, Order::Ordered),
        (b"hello".to_vec(), Ok(ReadState::Blocked))
    );
}

#[test]
fn a_stream_that_carries_nothing_is_shown_by_a_later_one() {
    let mut pair = Pair::greeted();
    for stream in [1, 5] {
        assert_eq!(
            pair.port(Side::Server).open_bidi(PathId::PRIMARY),
            Ok(Some(server_carrier(stream)))
        );
    }
    pair.settle();
    assert_eq!(pair.news(Side::Client), [], "nothing was sent on it");
    let mut early = Bytes::from_static(b"x");
    assert_eq!(
        pair.port(Side::Client).write(client_carrier(1), &mut early),
        Err(CarrierEnd::Gone)
    );
    pair.write(Side::Server, 5, b"x");
    pair.settle();
    let shown = [1, 5].map(|stream| Input::Opened(client_carrier(stream)));
    assert_eq!(pair.news(Side::Client), shown);
    assert_eq!(
        pair.read(Side::Client, 1, Order::Ordered),
        (vec![], Ok(ReadState::Blocked))
    );
}

#[test]
fn a_close_ends_everything_for_both() {
    let mut pair = Pair::greeted();
    pair.write(Side::Client, CONTROL, b"y");
    pair.net.close(pair.conn, Side::Client, 17);
    let mut more = Bytes::from_static(b"z");
    assert_eq!(
        pair.port(Side::Client)
            .write(client_carrier(CONTROL), &mut more),
        Err(CarrierEnd::Gone)
    );
    assert_eq!(
        pair.port(Side::Client).open_bidi(PATH),
        Err(CarrierEnd::Gone)
    );
    assert!(pair.port(Side::Client).path_stats(PATH).is_none());
    pair.settle();
    let down = Input::PathDown {
        path: PathId::PRIMARY,
        cause: DownCause::ClosedByPeer(17),
    };
    assert_eq!(pair.news(Side::Server), [down]);
    assert_eq!(pair.news(Side::Client), [], "it was forgotten");
    assert_eq!(
        pair.read(Side::Server, CONTROL, Order::Ordered),
        (vec![], Err(CarrierEnd::Gone))
    );
    assert!(pair.net.parcels().is_empty());
}

#[test]
fn nothing_passes_a_cut() {
    let mut pair = Pair::greeted();
    pair.write(Side::Client, CONTROL, b"y");
    pair.net.set_cut(pair.conn, true);
    assert!(pair.net.parcels().is_empty());
    pair.net.set_cut(pair.conn, false);
    pair.settle();
    assert!(
        pair.news(Side::Server)
            .contains(&Input::Readable(server_carrier(CONTROL)))
    );
}

#[test]
fn each_delivery_is_heard() {
    let mut pair = Pair::greeted();
    pair.write(Side::Client, CONTROL, b"y");
    pair.settle();
    assert_eq!(
        pair.inputs(Side::Server)[0],
        Input::Heard(Pair::path(Side::Server))
    );
    assert_eq!(
        pair.inputs(Side::Client)[0],
        Input::Heard(Pair::path(Side::Client))
    );
}

#[test]
fn calls_on_what_never_was_are_harmless() {
    let mut pair = Pair::greeted();
    let nowhere = CarrierId {
        path: PathId(99),
        stream: 8,
    };
    let mut port = pair.port(Side::Client);
    let mut data = Bytes::from_static(b"x");
    for carrier in [nowhere, client_carrier(400), client_carrier(3)] {
        assert_eq!(port.write(carrier, &mut data), Err(CarrierEnd::Gone));
        assert_eq!(
            port.write_control(carrier, &mut data),
            Err(CarrierEnd::Gone)
        );
        assert_eq!(port.finish(carrier), Err(CarrierEnd::Gone));
        port.reset(carrier, 1);
        port.stop(carrier, 1);
        port.set_priority(carrier, 1);
        let read = port.read(
            carrier,
            Order::Any,
            9,
            &mut |_, _| ControlFlow::Continue(()),
        );
        assert_eq!(read, Err(CarrierEnd::Gone));
    }
    assert_eq!(port.open_bidi(nowhere.path), Err(CarrierEnd::Gone));
}

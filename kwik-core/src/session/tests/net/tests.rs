//! The in-memory QUIC keeps the promises of [`Carriers`], and makes no others.

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
fn a_full_send_buffer_holds_up_bulk_but_not_control() {
    let mut pair = Pair::greeted();
    let stream = pair
        .port(Side::Server)
        .open_uni(PathId::PRIMARY)
        .expect("up")
        .expect("credit");
    assert_eq!(stream, server_carrier(3));
    assert_eq!(pair.write(Side::Server, 3, &[1; 150]), 100);
    let mut frame = Bytes::from_static(b"frame");
    assert_eq!(
        pair.port(Side::Server)
            .write_control(server_carrier(CONTROL), &mut frame),
        Ok(5)
    );
    assert_eq!(pair.news(Side::Server), [], "no room yet");
    pair.settle();
    assert_eq!(pair.news(Side::Server), [Input::Writable(stream)]);
    assert_eq!(pair.news(Side::Server), [], "told once");
    assert_eq!(pair.write(Side::Server, 3, &[1; 50]), 50);
}

#[test]
fn readable_is_told_only_after_a_read_came_up_short() {
    let mut pair = Pair::greeted();
    pair.port(Side::Server)
        .open_uni(PathId::PRIMARY)
        .expect("up");
    pair.write(Side::Server, 3, b"ab");
    pair.settle();
    assert_eq!(pair.news(Side::Client), [Input::Opened(client_carrier(3))]);
    pair.write(Side::Server, 3, b"cd");
    pair.settle();
    assert_eq!(pair.news(Side::Client), [], "nobody has read yet");
    let mut first = Vec::new();
    let state = pair
        .port(Side::Client)
        .read(client_carrier(3), Order::Any, 3, &mut |at, chunk| {
            first.push((at, chunk.len()));
            ControlFlow::Continue(())
        });
    assert_eq!((first, state), (vec![(0, 2), (2, 1)], Ok(ReadState::More)));
    assert_eq!(
        pair.read(Side::Client, 3, Order::Any),
        (b"d".to_vec(), Ok(ReadState::Blocked))
    );
    pair.write(Side::Server, 3, b"e");
    pair.settle();
    assert_eq!(
        pair.news(Side::Client),
        [Input::Readable(client_carrier(3))]
    );
}

#[test]
fn a_chunk_that_broke_the_read_is_consumed() {
    let mut pair = Pair::greeted();
    pair.port(Side::Server)
        .open_uni(PathId::PRIMARY)
        .expect("up");
    pair.write(Side::Server, 3, b"abcd");
    pair.deliver_range(Side::Client, 3, (0, 2));
    pair.deliver_range(Side::Client, 3, (2, 4));
    let state =
        pair.port(Side::Client)
            .read(client_carrier(3), Order::Ordered, 9, &mut |at, chunk| {
                assert_eq!((at, &chunk[..]), (0, &b"ab"[..]));
                ControlFlow::Break(())
            });
    assert_eq!(state, Ok(ReadState::More));
    assert_eq!(pair.read(Side::Client, 3, Order::Ordered).0, b"cd");
}

#[test]
fn spans_that_overtake_are_read_in_any_order_but_not_in_order() {
    let mut pair = Pair::greeted();
    pair.port(Side::Server)
        .open_uni(PathId::PRIMARY)
        .expect("up");
    pair.write(Side::Server, 3, b"abcdef");
    pair.port(Side::Server)
        .finish(server_carrier(3))
        .expect("open");
    pair.deliver_range(Side::Client, 3, (2, 4));
    pair.deliver(Side::Client, |item| item == Item::Fin { stream: 3 });
    assert_eq!(
        pair.read(Side::Client, 3, Order::Ordered),
        (vec![], Ok(ReadState::Blocked))
    );
    pair.deliver_range(Side::Client, 3, (0, 1));
    assert_eq!(
        pair.read(Side::Client, 3, Order::Ordered),
        (b"a".to_vec(), Ok(ReadState::Blocked))
    );
    assert_eq!(
        pair.read(Side::Client, 3, Order::Any),
        (b"cd".to_vec(), Ok(ReadState::Blocked))
    );
    pair.settle();
    assert_eq!(
        pair.read(Side::Client, 3, Order::Any),
        (b"bef".to_vec(), Ok(ReadState::Finished))
    );
    assert_eq!(
        pair.read(Side::Client, 3, Order::Any),
        (vec![], Err(CarrierEnd::Gone)),
        "told once"
    );
}

#[test]
#[should_panic(expected = "never be read in order again")]
fn reading_in_order_after_any_fails_the_test() {
    let mut pair = Pair::greeted();
    pair.port(Side::Server)
        .open_uni(PathId::PRIMARY)
        .expect("up");
    pair.write(Side::Server, 3, b"abcdef");
    pair.settle();
    pair.read(Side::Client, 3, Order::Any).1.expect("readable");
    pair.read(Side::Client, 3, Order::Ordered)
        .1
        .expect("readable");
}

#[test]
fn finished_is_told_when_the_writer_knows_that_all_arrived() {
    let mut pair = Pair::greeted();
    pair.port(Side::Server)
        .open_uni(PathId::PRIMARY)
        .expect("up");
    pair.write(Side::Server, 3, b"abc");
    pair.port(Side::Server)
        .finish(server_carrier(3))
        .expect("open");
    pair.deliver(Side::Client, |_| true);
    assert_eq!(pair.news(Side::Server), []);
    pair.settle();
    assert_eq!(
        pair.news(Side::Server),
        [Input::Finished(server_carrier(3))]
    );
    let mut more = Bytes::from_static(b"d");
    assert_eq!(
        pair.port(Side::Server).write(server_carrier(3), &mut more),
        Err(CarrierEnd::Gone)
    );
    assert_eq!(
        pair.port(Side::Server).finish(server_carrier(3)),
        Err(CarrierEnd::Gone)
    );
    assert_eq!(
        pair.net.open_carriers(pair.conn),
        [3],
        "the reader has not seen the end"
    );
    assert_eq!(
        pair.read(Side::Client, 3, Order::Ordered).1,
        Ok(ReadState::Finished)
    );
    pair.settle();
    assert_eq!(pair.net.open_carriers(pair.conn), []);
}

#[test]
fn a_reset_drops_what_is_unread_and_is_told_once() {
    let mut pair = Pair::greeted();
    pair.port(Side::Server)
        .open_uni(PathId::PRIMARY)
        .expect("up");
    pair.write(Side::Server, 3, &[1; 100]);
    pair.deliver_range(Side::Client, 3, (0, 10));
    assert_eq!(
        pair.write(Side::Server, CONTROL, b"x"),
        0,
        "the buffer is full"
    );
    pair.port(Side::Server).reset(server_carrier(3), 9);
    assert_eq!(
        pair.news(Side::Server),
        [Input::Writable(server_carrier(CONTROL))]
    );
    pair.settle();
    assert_eq!(
        pair.read(Side::Client, 3, Order::Any),
        (vec![], Err(CarrierEnd::Reset(9)))
    );
    assert_eq!(
        pair.read(Side::Client, 3, Order::Any),
        (vec![], Err(CarrierEnd::Gone))
    );
    pair.settle();
    assert_eq!(pair.net.open_carriers(pair.conn), []);
}

#[test]
fn a_reset_behind_everything_is_not_heard() {
    let mut pair = Pair::greeted();
    pair.port(Side::Server)
        .open_uni(PathId::PRIMARY)
        .expect("up");
    pair.write(Side::Server, 3, b"abc");
    pair.port(Side::Server)
        .finish(server_carrier(3))
        .expect("open");
    pair.deliver(Side::Client, |item| item.stream() == Some(3));
    pair.port(Side::Server).reset(server_carrier(3), 9);
    pair.settle();
    assert_eq!(
        pair.read(Side::Client, 3, Order::Any),
        (b"abc".to_vec(), Ok(ReadState::Finished))
    );
    pair.settle();
    assert_eq!(pair.net.open_carriers(pair.conn), []);
}

#[test]
fn a_stop_reaches_the_writer_which_owes_a_reset() {
    let mut pair = Pair::greeted();
    pair.port(Side::Server)
        .open_uni(PathId::PRIMARY)
        .expect("up");
    pair.write(Side::Server, 3, b"abc");
    pair.settle();
    pair.port(Side::Client).stop(client_carrier(3), 5);
    assert_eq!(
        pair.read(Side::Client, 3, Order::Any),
        (vec![], Err(CarrierEnd::Gone))
    );
    assert_eq!(
        pair.write(Side::Server, 3, b"d"),
        1,
        "the writer does not know yet"
    );
    pair.settle();
    let stopped = Input::Stopped {
        carrier: server_carrier(3),
        code: 5,
    };
    assert_eq!(pair.news(Side::Server), [stopped]);
    let mut more = Bytes::from_static(b"e");
    assert_eq!(
        pair.port(Side::Server).write(server_carrier(3), &mut more),
        Err(CarrierEnd::Stopped(5))
    );
    assert_eq!(
        pair.port(Side::Server).finish(server_carrier(3)),
        Err(CarrierEnd::Stopped(5))
    );
    assert_eq!(
        pair.net.open_carriers(pair.conn),
        [3],
        "without a reset the carrier leaks"
    );
    pair.port(Side::Server).reset(server_carrier(3), 6);
    pair.settle();
    assert_eq!(pair.net.open_carriers(pair.conn), []);
    assert_eq!(
        pair.port(Side::Server).write(server_carrier(3), &mut more),
        Err(CarrierEnd::Gone)
    );
}

#[test]
fn a_carrier_comes_back_to_its_opener_when_the_reader_is_done() {
    let mut pair = Pair::greeted();
    for _ in 0..2 {
        assert!(
            pair.port(Side::Server)
                .open_uni(PathId::PRIMARY)
                .expect("up")
                .is_some()
        );
    }
    assert_eq!(pair.port(Side::Server).open_uni(PathId::PRIMARY), Ok(None));
    for stream in [3, 7] {
        pair.write(Side::Server, stream, b"abc");
        pair.port(Side::Server)
            .finish(server_carrier(stream))
            .expect("open");
    }
    pair.settle();
    assert!(
        !pair
            .news(Side::Server)
            .contains(&Input::UniCredit(PathId::PRIMARY))
    );
    assert_eq!(
        pair.read(Side::Client, 7, Order::Any).1,
        Ok(ReadState::Finished)
    );
    pair.settle();
    assert!(
        pair.news(Side::Server)
            .contains(&Input::UniCredit(PathId::PRIMARY))
    );
    assert!(
        pair.port(Side::Server)
            .open_uni(PathId::PRIMARY)
            .expect("up")
            .is_some()
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
fn windows_hold_up_control_too_until_they_are_read() {
    let tight = EndLimits {
        stream_window_bytes: 30,
        window_bytes: 40,
        ..LIMITS
    };
    let mut pair = Pair::with(tight, LIMITS);
    pair.write(Side::Client, CONTROL, b"x");
    pair.settle();
    for stream in [3, 7] {
        assert_eq!(
            pair.port(Side::Server).open_uni(PathId::PRIMARY),
            Ok(Some(server_carrier(stream)))
        );
    }
    assert_eq!(
        pair.write(Side::Server, 3, &[1; 50]),
        30,
        "the window of the stream"
    );
    assert_eq!(
        pair.write(Side::Server, 7, &[1; 50]),
        10,
        "the window of the connection"
    );
    let mut frame = Bytes::from_static(b"frame");
    assert_eq!(
        pair.port(Side::Server)
            .write_control(server_carrier(CONTROL), &mut frame),
        Ok(0)
    );
    pair.settle();
    assert!(
        !pair
            .news(Side::Server)
            .iter()
            .any(|input| matches!(input, Input::Writable(_)))
    );
    pair.read(Side::Client, 7, Order::Any).1.expect("readable");
    pair.settle();
    let woken = pair.news(Side::Server);
    // Last in, first out; stream 3 has no window of its own.
    assert_eq!(
        woken,
        [CONTROL, 7].map(|stream| Input::Writable(server_carrier(stream)))
    );
}

#[test]
fn a_stopped_carrier_gives_its_window_back() {
    let tight = EndLimits {
        window_bytes: 40,
        ..LIMITS
    };
    let mut pair = Pair::with(tight, LIMITS);
    pair.write(Side::Client, CONTROL, b"x");
    pair.settle();
    pair.port(Side::Server)
        .open_uni(PathId::PRIMARY)
        .expect("up");
    assert_eq!(pair.write(Side::Server, 3, &[1; 50]), 40);
    pair.deliver_range(Side::Client, 3, (0, 10));
    pair.port(Side::Client).stop(client_carrier(3), 1);
    pair.settle();
    pair.port(Side::Server).reset(server_carrier(3), 1);
    pair.settle();
    assert_eq!(pair.write(Side::Server, CONTROL, &[1; 50]), 40);
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

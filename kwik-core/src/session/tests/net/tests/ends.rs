//! How a carrier comes to its end: finished, reset or stopped, what each of the two ends hears of it, and
//! when the carrier is free again.

use bytes::Bytes;

use super::{Pair, client_carrier, server_carrier};
use crate::carrier::{CarrierEnd, Carriers, Input, Order, ReadState};
use crate::ids::PathId;
use crate::session::tests::net::{CONTROL, Side};

#[test]
fn finished_is_told_when_the_writer_knows_that_all_arrived() {
    let mut pair = Pair::greeted();
    pair.begin_segment(b"abc");
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
    pair.begin_segment(b"abc");
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
    pair.begin_segment(b"abc");
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

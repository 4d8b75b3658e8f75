//! How bytes pass through a carrier: what buffers and windows hold up, in which order they are read,
//! and when an end is told that it can go on.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::{LIMITS, Pair, client_carrier, server_carrier};
use crate::carrier::{CarrierEnd, Carriers, Input, Order, ReadState};
use crate::ids::PathId;
use crate::session::tests::net::{CONTROL, EndLimits, Item, Side};

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
    pair.begin_segment(b"ab");
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
    pair.begin_segment(b"abcd");
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
    pair.begin_segment(b"abcdef");
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
    pair.begin_segment(b"abcdef");
    pair.settle();
    pair.read(Side::Client, 3, Order::Any).1.expect("readable");
    pair.read(Side::Client, 3, Order::Ordered)
        .1
        .expect("readable");
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

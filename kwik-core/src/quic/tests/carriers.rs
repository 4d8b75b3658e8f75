//! What a session does to its carriers, and what it is told of them.

use std::ops::ControlFlow;
use std::time::Duration;

use bytes::Bytes;

use super::{
    CLIENT, PATH, SERVER, control, distant_pair, open_uni, pair, pair_with, quic_config, read,
    write,
};
use crate::carrier::{CarrierEnd, Carriers, Input, Order, ReadState};
use crate::config::QuicConfig;
use crate::error::code;
use crate::ids::{CarrierId, PathId};

#[test]
fn a_carrier_is_read_in_order_first_and_in_any_order_then() {
    let mut net = pair();
    let segment = open_uni(&mut net, SERVER);
    write(
        &mut net,
        SERVER,
        segment,
        &mut Bytes::from_static(b"0123456789abcdefBODY"),
    );
    net.run(Duration::from_millis(100));
    assert!(net.told(CLIENT).contains(&Input::Opened(segment)));

    let mut header = Vec::new();
    let state = net
        .carriers(CLIENT)
        .read(segment, Order::Ordered, 16, &mut |_, bytes| {
            header.extend_from_slice(&bytes);
            ControlFlow::Continue(())
        });
    assert_eq!(
        (state, &header[..]),
        (Ok(ReadState::More), &b"0123456789abcdef"[..])
    );
    let body = read(&mut net, CLIENT, segment, Order::Any);
    assert_eq!(body.chunks, [(16, Bytes::from_static(b"BODY"))]);
    assert_eq!(body.state, Ok(ReadState::Blocked));
    net.carriers(SERVER).finish(segment).expect("finished");
    net.run(Duration::from_millis(100));
    assert!(net.told(CLIENT).contains(&Input::Readable(segment)));
    assert_eq!(
        read(&mut net, CLIENT, segment, Order::Any).state,
        Ok(ReadState::Finished)
    );
    assert_eq!(
        read(&mut net, CLIENT, segment, Order::Any).state,
        Err(CarrierEnd::Gone)
    );
    assert!(net.told(SERVER).contains(&Input::Finished(segment)));
}

#[test]
fn an_ordered_read_after_an_unordered_one_is_refused_and_harms_nothing() {
    let mut net = pair();
    let segment = open_uni(&mut net, SERVER);
    write(&mut net, SERVER, segment, &mut Bytes::from_static(b"one"));
    net.run(Duration::from_millis(100));
    assert_eq!(read(&mut net, CLIENT, segment, Order::Any).len(), 3);
    assert_eq!(
        read(&mut net, CLIENT, segment, Order::Ordered).state,
        Err(CarrierEnd::Gone)
    );
    write(&mut net, SERVER, segment, &mut Bytes::from_static(b"two"));
    net.run(Duration::from_millis(100));
    assert_eq!(read(&mut net, CLIENT, segment, Order::Any).len(), 3);
}

#[test]
fn a_write_that_came_up_short_is_woken_until_all_is_through() {
    let mut net = pair();
    let segment = open_uni(&mut net, SERVER);
    let mut data = Bytes::from(vec![7; 8 << 20]);
    let mut received = 0;
    write(&mut net, SERVER, segment, &mut data);
    assert!(!data.is_empty(), "the send window holds it back");
    while received < 8 << 20 {
        net.run(Duration::from_millis(1));
        received += read(&mut net, CLIENT, segment, Order::Any).len();
        if net.take_told(SERVER).contains(&Input::Writable(segment)) {
            write(&mut net, SERVER, segment, &mut data);
        }
        assert!(
            net.elapsed() < Duration::from_secs(60),
            "stuck at {received}"
        );
    }
    assert!(data.is_empty());
}

/// [CONN-8]
#[test]
fn a_control_frame_passes_a_full_send_window() {
    let mut net = pair();
    let segment = open_uni(&mut net, SERVER);
    let mut bulk = Bytes::from(vec![7; 8 << 20]);
    write(&mut net, SERVER, segment, &mut bulk);
    let mut frame = Bytes::from_static(b"frame");
    assert_eq!(
        write(&mut net, SERVER, control(), &mut frame.clone()),
        0,
        "the window is full"
    );
    assert_eq!(
        net.carriers(SERVER).write_control(control(), &mut frame),
        Ok(5)
    );
    let more = net.carriers(SERVER).write(segment, &mut bulk);
    assert_eq!(more, Ok(0), "the reserve is not for bulk data");
    net.run(Duration::from_millis(30));
    assert_eq!(read(&mut net, CLIENT, control(), Order::Ordered).len(), 5);
}

/// [CONN-7]
#[test]
fn streams_that_nobody_reads_do_not_fill_the_window_of_the_connection() {
    let config = QuicConfig {
        stream_receive_window_bytes: 64 << 10,
        bidi_streams_max: 5,
        ..quic_config()
    };
    for (writer, reader) in [(CLIENT, SERVER), (SERVER, CLIENT)] {
        let mut net = pair_with(&config, PATH);
        read(&mut net, reader, control(), Order::Ordered);
        let mut streams = 0;
        while let Ok(Some(stream)) = net.carriers(writer).open_bidi(PATH) {
            let mut bulk = Bytes::from(vec![7; 1 << 20]);
            for _ in 0..20 {
                write(&mut net, writer, stream, &mut bulk);
                net.run(Duration::from_millis(10));
            }
            let taken = (1 << 20) - bulk.len();
            assert!(taken >= 64 << 10, "{taken} bytes: its own window is full");
            streams += 1;
        }
        assert!(streams >= 4, "{streams}");
        let mut frame = Bytes::from_static(b"frame");
        net.carriers(writer)
            .write_control(control(), &mut frame)
            .expect("written");
        net.run(Duration::from_millis(100));
        assert_eq!(read(&mut net, reader, control(), Order::Ordered).len(), 5);
    }
}

/// [CTL-12]
#[test]
fn a_control_frame_overtakes_bulk_data_of_any_priority() {
    let mut net = distant_pair();
    net.run(Duration::from_millis(500));
    let segment = open_uni(&mut net, SERVER);
    net.carriers(SERVER).set_priority(segment, i32::MAX - 1);
    let mut bulk = Bytes::from(vec![7; 8 << 20]);
    let accepted = write(&mut net, SERVER, segment, &mut bulk);
    let mut frame = Bytes::from_static(b"frame");
    net.carriers(SERVER)
        .write_control(control(), &mut frame)
        .expect("written");
    net.run(Duration::from_millis(6));
    assert_eq!(read(&mut net, CLIENT, control(), Order::Ordered).len(), 5);
    assert!(read(&mut net, CLIENT, segment, Order::Any).len() < accepted);
}

#[test]
fn the_send_buffer_follows_the_congestion_window() {
    let mut net = pair();
    let segment = open_uni(&mut net, SERVER);
    let mut data = Bytes::from(vec![7; 16 << 20]);
    // Twice ten large datagrams.
    assert_eq!(write(&mut net, SERVER, segment, &mut data), 180_000);
    for _ in 0..20 {
        net.run(Duration::from_millis(10));
        read(&mut net, CLIENT, segment, Order::Any);
        write(&mut net, SERVER, segment, &mut data);
    }
    net.run(Duration::from_millis(100));
    read(&mut net, CLIENT, segment, Order::Any);
    net.run(Duration::from_millis(100));
    let mut more = Bytes::from(vec![7; 16 << 20]);
    let next = open_uni(&mut net, SERVER);
    assert!(write(&mut net, SERVER, next, &mut more) > 1 << 20);
}

#[test]
fn the_control_carrier_is_the_first_that_is_told_writable() {
    let mut net = pair();
    let mut bulk = Bytes::from(vec![7; 1 << 20]);
    write(&mut net, SERVER, control(), &mut bulk.clone());
    let segments = [(); 3].map(|()| open_uni(&mut net, SERVER));
    for segment in segments {
        write(&mut net, SERVER, segment, &mut bulk);
    }
    net.run(Duration::from_millis(200));
    let writable: Vec<CarrierId> = net
        .told(SERVER)
        .iter()
        .filter_map(|input| {
            if let Input::Writable(carrier) = input {
                Some(*carrier)
            } else {
                None
            }
        })
        .take(4)
        .collect();
    assert_eq!(writable, [control(), segments[0], segments[1], segments[2]]);
}

#[test]
fn a_stopped_carrier_is_told_and_its_reset_frees_it() {
    let mut net = pair();
    let segment = open_uni(&mut net, SERVER);
    write(
        &mut net,
        SERVER,
        segment,
        &mut Bytes::from_static(b"unwanted"),
    );
    net.run(Duration::from_millis(100));
    net.carriers(CLIENT).stop(segment, code::ENDED);
    net.run(Duration::from_millis(100));
    assert!(net.told(SERVER).contains(&Input::Stopped {
        carrier: segment,
        code: code::ENDED
    }));
    let mut more = Bytes::from_static(b"more");
    let stopped = Err(CarrierEnd::Stopped(code::ENDED));
    assert_eq!(net.carriers(SERVER).write(segment, &mut more), stopped);
    assert_eq!(
        net.carriers(SERVER).finish(segment),
        Err(CarrierEnd::Stopped(code::ENDED))
    );
    net.carriers(SERVER).reset(segment, code::ENDED);
    net.run(Duration::from_millis(100));
    assert_eq!(
        net.carriers(SERVER).write(segment, &mut more),
        Err(CarrierEnd::Gone)
    );
}

#[test]
fn a_reset_reaches_the_reader_with_its_code() {
    let mut net = pair();
    let segment = open_uni(&mut net, SERVER);
    write(&mut net, SERVER, segment, &mut Bytes::from_static(b"half"));
    net.run(Duration::from_millis(100));
    net.carriers(SERVER).reset(segment, 77);
    net.run(Duration::from_millis(100));
    assert!(net.told(CLIENT).contains(&Input::Readable(segment)));
    assert_eq!(
        read(&mut net, CLIENT, segment, Order::Any).state,
        Err(CarrierEnd::Reset(77))
    );
}

#[test]
fn carriers_that_do_not_exist_are_gone() {
    let mut net = pair();
    for stream in [1, 2, 3, 4, 5, 7, 400, u64::MAX] {
        for (host, path) in [(CLIENT, PATH), (SERVER, PATH), (CLIENT, PathId(9))] {
            let carrier = CarrierId { path, stream };
            let mut data = Bytes::from_static(b"x");
            let mut carriers = net.carriers(host);
            assert_eq!(
                carriers.write(carrier, &mut data),
                Err(CarrierEnd::Gone),
                "{carrier:?}"
            );
            assert_eq!(carriers.finish(carrier), Err(CarrierEnd::Gone));
            carriers.reset(carrier, u64::MAX);
            carriers.stop(carrier, u64::MAX);
            carriers.set_priority(carrier, 3);
            assert_eq!(
                read(&mut net, host, carrier, Order::Any).state,
                Err(CarrierEnd::Gone)
            );
        }
    }
    net.run(Duration::from_millis(100));
    assert!(net.is_up(CLIENT) && net.is_up(SERVER));
}

/// [CONN-6]
#[test]
fn a_secondary_has_no_credit_for_a_bidirectional_carrier() {
    let mut net = pair_with(&quic_config(), PathId(3));
    assert_eq!(net.carriers(SERVER).open_bidi(PATH), Ok(None));
    assert!(net.carriers(SERVER).open_uni(PATH).expect("open").is_some());
}

/// [CONN-6]
#[test]
fn a_primary_may_open_streams_and_a_client_may_not_open_segments() {
    let mut net = pair();
    assert_eq!(net.carriers(CLIENT).open_uni(PATH), Ok(None));
    let stream = net
        .carriers(SERVER)
        .open_bidi(PATH)
        .expect("open")
        .expect("credit");
    assert_eq!(stream.stream, 1);
    let stream = net
        .carriers(CLIENT)
        .open_bidi(PATH)
        .expect("open")
        .expect("credit");
    assert_eq!(stream.stream, 4, "stream 0 is the control carrier");
}

#[test]
fn credit_is_told_when_a_carrier_has_ended() {
    let config = QuicConfig {
        segments_max: 1,
        ..quic_config()
    };
    let mut net = pair_with(&config, PATH);
    let segment = open_uni(&mut net, SERVER);
    assert_eq!(net.carriers(SERVER).open_uni(PATH), Ok(None));
    write(&mut net, SERVER, segment, &mut Bytes::from_static(b"x"));
    net.carriers(SERVER).finish(segment).expect("finished");
    net.run(Duration::from_millis(100));
    net.take_told(SERVER);
    read(&mut net, CLIENT, segment, Order::Any);
    net.run(Duration::from_millis(100));
    assert!(net.told(SERVER).contains(&Input::UniCredit(PATH)));
    open_uni(&mut net, SERVER);
}

#[test]
fn readable_is_told_once_for_many_frames() {
    let mut net = pair();
    let segment = open_uni(&mut net, SERVER);
    write(&mut net, SERVER, segment, &mut Bytes::from_static(b"x"));
    net.run(Duration::from_millis(100));
    net.take_told(CLIENT);
    write(
        &mut net,
        SERVER,
        segment,
        &mut Bytes::from(vec![1; 100 << 10]),
    );
    net.run(Duration::from_millis(100));
    let told = net.told(CLIENT);
    let datagrams = told
        .iter()
        .filter(|input| **input == Input::Heard(PATH))
        .count();
    let readable = told
        .iter()
        .filter(|input| **input == Input::Readable(segment))
        .count();
    assert!(readable >= 1 && readable <= datagrams);
}

#[test]
fn every_byte_arrives_once_and_at_its_offset_however_many_datagrams_are_lost() {
    let mut net = pair();
    net.wire.loss_percent = 10;
    let segment = open_uni(&mut net, SERVER);
    let content: Bytes = (0..1u32 << 20)
        .map(|at| (at >> 8 ^ at).to_le_bytes()[0])
        .collect();
    let mut left = content.clone();
    let (mut found, mut received) = (vec![0; content.len()], 0);
    let mut state = Ok(ReadState::Blocked);
    write(&mut net, SERVER, segment, &mut left);
    while state != Ok(ReadState::Finished) {
        net.run(Duration::from_millis(20));
        if net.take_told(SERVER).contains(&Input::Writable(segment)) {
            write(&mut net, SERVER, segment, &mut left);
            if left.is_empty() {
                net.carriers(SERVER).finish(segment).expect("finished");
            }
        }
        let part = read(&mut net, CLIENT, segment, Order::Any);
        for (offset, bytes) in &part.chunks {
            let at = usize::try_from(*offset).expect("small");
            found[at..at + bytes.len()].copy_from_slice(bytes);
        }
        received += part.len();
        state = part.state;
        assert!(
            net.elapsed() < Duration::from_secs(300),
            "stuck at {received}"
        );
    }
    assert_eq!(received, content.len());
    assert!(found == content, "the bytes differ");
}

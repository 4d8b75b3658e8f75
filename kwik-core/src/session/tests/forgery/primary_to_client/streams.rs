//! What a hostile primary says of streams: their ends, their segments, their bytes.

use bytes::Bytes;

use super::{CARRIER, STREAM, aggregated, assert_costs_session, assert_goes_on, send, welcomed};
use crate::error::code;
use crate::ids::{PathId, StreamId};
use crate::session::tests::content::content;
use crate::session::tests::hand::{HandPrimary, granted};
use crate::session::tests::world::{Setup, span};
use crate::wire::{Aggregate, ControlFrame, SegmentHeader, SegmentOwner};

/// [END-3]
#[test]
fn two_final_sizes_that_differ_are_a_violation() {
    let (mut world, _, _) = aggregated();
    HandPrimary::final_size(&mut world, STREAM, 100);
    HandPrimary::final_size(&mut world, STREAM, 100);
    assert_goes_on(&mut world);
    HandPrimary::final_size(&mut world, STREAM, 101);
    assert_costs_session(world, code::FINAL_SIZE);
}

/// [END-3]
#[test]
fn a_final_size_below_bytes_that_are_here_is_a_violation() {
    for (range, read_to) in [((0, 50), u64::MAX), ((0, 50), 0), ((40, 50), 0)] {
        let (mut world, _, _) = aggregated();
        world.limit_reader(STREAM, read_to);
        HandPrimary::segment(&mut world, STREAM, range);
        world.settle();
        HandPrimary::final_size(&mut world, STREAM, 49);
        assert_costs_session(world, code::FINAL_SIZE);
    }
}

/// [AGG-1]
#[test]
fn a_plain_stream_has_no_final_size() {
    let (mut world, _) = welcomed();
    let stream = HandPrimary::open_stream(&mut world);
    world.settle();
    HandPrimary::final_size(&mut world, stream, 9);
    assert_costs_session(world, code::UNEXPECTED);

    // Nor one that QUIC has not shown.
    let (mut world, _) = welcomed();
    HandPrimary::final_size(&mut world, STREAM, 9);
    assert_costs_session(world, code::UNEXPECTED);
}

/// [AGG-1] [AGG-2]
#[test]
fn a_stream_is_aggregated_once_and_from_its_plain_end_on() {
    let (mut world, _, _) = aggregated();
    HandPrimary::aggregate(&mut world, STREAM, 0);
    assert_costs_session(world, code::UNEXPECTED);

    // Plain bytes that were read already lie behind the plain end.
    let (mut world, _) = welcomed();
    let stream = HandPrimary::open_stream(&mut world);
    let plain = content(stream, span(0, 10));
    world.script(0, |s, cx| s.write(CARRIER, plain, cx.carriers));
    world.settle();
    assert_eq!(world.read_to(stream), 10);
    HandPrimary::aggregate(&mut world, stream, 9);
    assert_costs_session(world, code::UNEXPECTED);

    // Plain bytes that come later.
    let (mut world, _, _) = aggregated();
    let plain = content(STREAM, span(0, 10));
    world.script(0, |s, cx| s.write(CARRIER, plain, cx.carriers));
    assert_costs_session(world, code::UNEXPECTED);
}

/// [END-5]
#[test]
fn the_carrier_of_an_aggregated_stream_does_not_end_before_its_content() {
    let (mut world, _, _) = aggregated();
    world.script(0, |s, cx| s.finish(CARRIER, cx.carriers));
    assert_costs_session(world, code::FINAL_SIZE);

    // Nor inside the plain part.
    let (mut world, _) = welcomed();
    HandPrimary::open_stream(&mut world);
    HandPrimary::aggregate(&mut world, STREAM, 10);
    let plain = content(STREAM, span(0, 9));
    world.script(0, |s, cx| {
        s.write(CARRIER, plain, cx.carriers);
        s.finish(CARRIER, cx.carriers);
    });
    assert_costs_session(world, code::FINAL_SIZE);
}

/// [FLOW-8]
#[test]
fn bytes_beyond_the_credit_are_a_violation() {
    let (mut world, _, _) = aggregated();
    world.limit_reader(STREAM, 0);
    let window = Setup::default().config.client.stream_window_bytes;
    HandPrimary::segment(&mut world, STREAM, (window - 10, window));
    assert_goes_on(&mut world);
    HandPrimary::segment(&mut world, STREAM, (window - 10, window + 1));
    assert_costs_session(world, code::FLOW_CONTROL);
}

/// [SEG-5]
#[test]
fn a_segment_lies_behind_the_plain_part() {
    let (mut world, _) = welcomed();
    HandPrimary::open_stream(&mut world);
    HandPrimary::aggregate(&mut world, STREAM, 10);
    HandPrimary::segment(&mut world, STREAM, (9, 20));
    assert_costs_session(world, code::STREAM);
}

/// [SEG-3]
#[test]
fn a_primary_does_not_write_by_a_grant() {
    let (mut world, mut primary, path) = aggregated();
    let grant = primary.grant(&mut world, path, STREAM, (0, 9));
    let body = content(STREAM, span(0, 9));
    world.script(0, |s, cx| {
        s.segment(
            PathId::PRIMARY,
            granted(grant, span(0, 9)),
            &body,
            true,
            cx.carriers,
        )
    });
    assert_costs_session(world, code::UNEXPECTED);
}

#[test]
fn a_segment_of_a_stream_that_cannot_exist_is_a_violation() {
    let (mut world, _, _) = aggregated();
    HandPrimary::segment(&mut world, StreamId(4 * 1000 + 1), (0, 9));
    assert_costs_session(world, code::STREAM);
}

#[test]
fn a_segment_header_that_cannot_be_decoded_costs_the_session() {
    let (mut world, _, _) = aggregated();
    world.script(0, |s, cx| {
        let carrier = cx
            .carriers
            .open_uni(PathId::PRIMARY)
            .expect("up")
            .expect("credit");
        s.write(carrier, Bytes::from_static(&[0xff; 20]), cx.carriers);
    });
    assert_costs_session(world, code::ENCODING);
}

#[test]
fn offsets_at_the_very_end_do_not_overflow() {
    let (mut world, _, _) = aggregated();
    let header = SegmentHeader {
        owner: SegmentOwner::Primary(STREAM),
        offset: (1 << 62) - 1,
    };
    world.script(0, |s, cx| {
        s.segment(
            PathId::PRIMARY,
            header,
            &Bytes::from_static(b"xyz"),
            true,
            cx.carriers,
        )
    });
    assert_costs_session(world, code::STREAM);
    let (mut world, _, _) = aggregated();
    HandPrimary::final_size(&mut world, STREAM, (1 << 62) - 1);
    assert_goes_on(&mut world);
}

#[test]
fn scattered_bytes_do_not_fill_the_clients_memory() {
    let (mut world, _, _) = aggregated();
    world.limit_reader(STREAM, 0);
    let max = Setup::default().config.client.reassembly_ranges_max as u64;
    for index in 0..=max {
        let at = 1 + index * 2;
        HandPrimary::segment(&mut world, STREAM, (at, at + 1));
        if index % 64 == 63 {
            world.settle();
        }
    }
    assert_costs_session(world, code::EXCESSIVE_LOAD);
}

/// [STR-6]
#[test]
fn streams_that_were_never_shown_are_bounded() {
    let (mut world, _) = welcomed();
    let max = u64::from(Setup::default().config.quic.bidi_streams_max);
    for index in 0..max {
        let stream = StreamId(index << 2 | 1);
        HandPrimary::aggregate(&mut world, stream, 0);
    }
    assert_goes_on(&mut world);
    HandPrimary::aggregate(&mut world, StreamId(max << 2 | 1), 0);
    assert_costs_session(world, code::STREAM);
}

#[test]
fn a_final_size_in_the_aggregate_counts_as_one() {
    let (mut world, _) = welcomed();
    HandPrimary::open_stream(&mut world);
    let frame = Aggregate {
        stream: STREAM,
        plain_end: 0,
        final_size: Some(5),
    };
    send(&mut world, ControlFrame::Aggregate(frame));
    HandPrimary::final_size(&mut world, STREAM, 6);
    assert_costs_session(world, code::FINAL_SIZE);
}

/// [SEG-10]
#[test]
fn a_segment_of_the_primary_has_an_end() {
    let mut setup = Setup {
        scripted_primary: true,
        ..Setup::default()
    };
    setup.config.client.stream_window_bytes = 4 << 20;
    setup.config.client.session_window_bytes = 4 << 20;
    let mut world = setup.build();
    HandPrimary::welcome(&mut world);
    let stream = HandPrimary::open_stream(&mut world);
    HandPrimary::aggregate(&mut world, stream, 0);
    HandPrimary::segment(&mut world, stream, (0, SegmentHeader::BODY_MAX));
    assert_goes_on(&mut world);
    assert_eq!(world.read_to(stream), SegmentHeader::BODY_MAX);
    let from = 2 * SegmentHeader::BODY_MAX;
    HandPrimary::segment(
        &mut world,
        stream,
        (from, from + SegmentHeader::BODY_MAX + 1),
    );
    assert_costs_session(world, code::EXCESSIVE_LOAD);
}

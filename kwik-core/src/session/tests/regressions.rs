//! Faults that this world has found, each pinned by the shortest sequence that shows it.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::content::content;
use super::hand::{HandPrimary, SESSION};
use super::net::Side;
use super::world::{CLIENT, Setup, What, span};
use crate::error::{Misuse, StreamError};
use crate::event::{ClientEvent, StreamEvent};
use crate::ids::{CarrierId, PathId, StreamId};
use crate::plan::{PlanSpec, Spread};
use crate::wire::{ControlFrame, Welcome};

fn scripted() -> Setup {
    Setup {
        scripted_primary: true,
        ..Setup::default()
    }
}

/// QUIC orders nothing between carriers: the stream is shown while WELCOME is still on its way.
#[test]
fn connected_comes_before_a_stream_that_overtook_welcome() {
    let mut world = scripted().build();
    world.settle();
    let hold = world.hold(PathId::PRIMARY, Side::Client, What::Control);
    HandPrimary::send(
        &mut world,
        &ControlFrame::Welcome(Welcome { session: SESSION }),
    );
    HandPrimary::open_stream(&mut world);
    world.settle();
    world.client(|c, _| assert_eq!(c.events, []));
    world.lift(hold);
    world.settle();
    world.as_client(CLIENT, |c, _| {
        let opened = ClientEvent::Stream(StreamEvent::Opened);
        assert_eq!(c.events[..2], [ClientEvent::Connected, opened]);
    });
}

/// AGGREGATE can come before anybody has read the stream's own carrier. QUIC tells of an arrival only
/// after a read that came up short, so somebody has to read it all the same.
#[test]
fn the_end_of_an_aggregated_streams_carrier_is_heard_although_nobody_reads_it() {
    let mut world = scripted().build();
    let _primary = HandPrimary::welcome(&mut world);
    world.client(|c, _| c.accepts = false);
    let stream = HandPrimary::open_stream(&mut world);
    world.settle();
    HandPrimary::aggregate(&mut world, stream, 0);
    HandPrimary::segment(&mut world, stream, (0, 100));
    HandPrimary::final_size(&mut world, stream, 100);
    world.settle();
    world.client(|c, cx| {
        assert_eq!(c.session.accept_stream(), Some(stream));
        c.session.finish(stream, cx.carriers).expect("open");
    });
    world.client(|c, _| c.read(stream, u64::MAX));
    world.settle();
    assert!(world.is_whole(stream, 100));
    let carrier = CarrierId {
        path: PathId::PRIMARY,
        stream: stream.0,
    };
    world.script(0, |s, cx| s.finish(carrier, cx.carriers));
    world.settle();
    world.assert_no_carrier_leaks(PathId::PRIMARY);
}

#[test]
fn a_reset_of_an_aggregated_stream_is_heard_although_nobody_reads_its_carrier() {
    for plain_end in [0, 10] {
        let mut world = scripted().build();
        let _primary = HandPrimary::welcome(&mut world);
        let hold = world.hold(PathId::PRIMARY, Side::Client, What::Streams);
        let stream = HandPrimary::open_stream(&mut world);
        let carrier = CarrierId {
            path: PathId::PRIMARY,
            stream: stream.0,
        };
        let plain = content(stream, span(0, plain_end));
        world.script(0, |s, cx| s.write(carrier, plain, cx.carriers));
        HandPrimary::aggregate(&mut world, stream, plain_end);
        world.settle();
        world.lift(hold);
        world.settle();
        assert_eq!(world.read_to(stream), plain_end);
        world.script(0, |_, cx| cx.carriers.reset(carrier, 42));
        world.settle();
        let end = world.client(|c, _| c.readers[&stream].end.clone());
        assert_eq!(end, Some(Err(StreamError::Reset(42))));
    }
}

#[test]
fn a_reset_is_heard_if_aggregate_came_before_the_first_read() {
    let mut world = scripted().build();
    let _primary = HandPrimary::welcome(&mut world);
    world.client(|c, _| c.accepts = false);
    let stream = HandPrimary::open_stream(&mut world);
    world.settle();
    HandPrimary::aggregate(&mut world, stream, 0);
    world.settle();
    world.client(|c, _| {
        assert_eq!(c.session.accept_stream(), Some(stream));
        c.read(stream, u64::MAX);
    });
    world.settle();
    let carrier = CarrierId {
        path: PathId::PRIMARY,
        stream: stream.0,
    };
    world.script(0, |_, cx| cx.carriers.reset(carrier, 42));
    world.settle();
    let end = world.client(|c, _| c.readers[&stream].end.clone());
    assert_eq!(end, Some(Err(StreamError::Reset(42))));
}

/// Otherwise a plain part that is longer than the window leaves the segments without any
/// credit [FLOW-2].
#[test]
fn credit_follows_the_reader_through_the_plain_part() {
    let mut world = scripted().build();
    let _primary = HandPrimary::welcome(&mut world);
    let stream = HandPrimary::open_stream(&mut world);
    let carrier = CarrierId {
        path: PathId::PRIMARY,
        stream: stream.0,
    };
    let plain_end = 3 * Setup::default().config.client.stream_window_bytes;
    HandPrimary::aggregate(&mut world, stream, plain_end);
    let plain = content(stream, span(0, plain_end));
    world.script(0, |s, cx| s.write(carrier, plain, cx.carriers));
    world.settle();
    assert_eq!(world.read_to(stream), plain_end);
    let mut credit = 0;
    for frame in HandPrimary::frames(&mut world) {
        if let ControlFrame::MaxOffset(max) = frame {
            credit = max.offset;
        }
    }
    assert!(credit > plain_end, "{credit}");
}

/// A path whose grants wait for the reader of one stream cannot take a piece of another: the plan
/// would wait for its turn for ever.
#[test]
fn a_rotation_passes_over_a_path_that_is_full_of_other_streams() {
    let mut setup = Setup::default();
    setup.config.server.grants_per_path_max = 2;
    let mut world = setup.joined();
    let (unread, stream) = (world.open_stream(), world.open_stream());
    world.limit_reader(unread, 0);
    let far = 10 * Setup::default().config.client.stream_window_bytes;
    world.delegate(unread, (far, far + 10), PathId(1));
    world.delegate(unread, (far + 10, far + 20), PathId(1));
    world.primary(|p, cx| {
        let spread = Spread::Rotate {
            range_bytes: 8 << 10,
        };
        let spec = PlanSpec {
            command: Bytes::from_static(b"it"),
            spread,
        };
        p.session
            .plan(cx.now, stream, span(0, 200_000), spec, cx.carriers)
            .expect("fresh");
        p.session
            .finish(cx.now, stream, cx.carriers)
            .expect("planned");
    });
    world.settle();
    assert!(world.is_whole(stream, 200_000));
}

/// AGGREGATE can come before QUIC has shown its stream [STR-5]. Who guesses the name of that is told
/// that there is none, and loses nothing by it.
#[test]
fn a_stream_that_was_not_shown_has_no_name_yet_and_is_not_ended_by_guesses() {
    let mut world = scripted().build();
    let _primary = HandPrimary::welcome(&mut world);
    let hold = world.hold(PathId::PRIMARY, Side::Client, What::Streams);
    let stream = HandPrimary::open_stream(&mut world);
    let carrier = CarrierId {
        path: PathId::PRIMARY,
        stream: stream.0,
    };
    let plain = content(stream, span(0, 10));
    world.script(0, |s, cx| s.write(carrier, plain, cx.carriers));
    HandPrimary::aggregate(&mut world, stream, 10);
    world.settle();
    world.client(|c, cx| {
        let unknown = Misuse::UnknownStream(stream);
        let session = &mut c.session;
        let read = session.read(cx, stream, 1, &mut |_| ControlFlow::Continue(()));
        assert_eq!(read, Err(unknown.clone().into()));
        assert_eq!(session.stop(cx, stream, 1), Err(unknown.clone()));
        let written = session.write(stream, &mut Bytes::from_static(b"no"), cx.carriers);
        assert_eq!(written, Err(unknown.clone().into()));
        let finished = session.finish(stream, cx.carriers);
        assert_eq!(finished, Err(unknown.clone().into()));
        assert_eq!(session.reset(stream, 1, cx.carriers), Err(unknown));
    });
    world.lift(hold);
    world.settle();
    HandPrimary::segment(&mut world, stream, (10, 100));
    HandPrimary::final_size(&mut world, stream, 100);
    world.settle();
    assert!(world.is_whole(stream, 100));
}

/// The first stream of a connection is the control carrier [CTL-1], and a session that has not begun
/// has not ended: who asks for a stream too early is told when to ask again.
#[test]
fn a_client_opens_no_stream_before_it_is_welcomed() {
    let mut world = scripted().build();
    world.client(|c, cx| assert_eq!(c.session.open_stream(cx.carriers), Ok(None)));
    world.settle();
    world.client(|c, cx| assert_eq!(c.session.open_stream(cx.carriers), Ok(None)));
    let _primary = HandPrimary::welcome(&mut world);
    world.settle();
    world.client(|c, cx| {
        let available = ClientEvent::Stream(StreamEvent::Available);
        assert_eq!(c.events.first(), Some(&ClientEvent::Connected));
        assert!(c.events.contains(&available), "{:?}", c.events);
        let opened = c.session.open_stream(cx.carriers);
        assert_eq!(opened, Ok(Some(StreamId(4))));
    });
}

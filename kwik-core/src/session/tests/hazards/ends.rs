//! Stop, reset, final sizes and closing, with bytes and grants on their way.

use std::time::Duration;

use super::{OTHER, PATH, assert_open, fates, is_active, joined, window};
use crate::carrier::DownCause;
use crate::error::{CloseReason, StreamError, code};
use crate::event::{ClientEvent, PrimaryEvent, SecondaryEvent, StreamEvent};
use crate::ids::{PathId, StreamId};
use crate::session::tests::apps::Service;
use crate::session::tests::content::content;
use crate::session::tests::hand::{HandPrimary, max_offset};
use crate::session::tests::net::Side;
use crate::session::tests::world::{Setup, What, World, span};
use crate::wire::ControlFrame;

fn told_primary(world: &mut World, event: StreamEvent) -> bool {
    world.primary(|p, _| p.events.contains(&PrimaryEvent::Stream(event)))
}

fn reset(world: &mut World, stream: StreamId, code: u64) {
    world
        .primary(|p, cx| p.session.reset(cx.now, stream, code, cx.carriers))
        .expect("open");
}

fn end_of(world: &mut World, stream: StreamId) -> Option<Result<(), StreamError>> {
    world.client(|c, _| c.readers.get(&stream).and_then(|reader| reader.end.clone()))
}

/// The client sees a stream of the primary on which only secondaries write.
#[test]
fn a_stream_that_only_secondaries_write_is_seen() {
    let mut world = joined();
    let stream = world.open_stream();
    world.delegate(stream, (0, 5000), PATH);
    world.finish(stream);
    world.settle();
    assert!(world.is_whole(stream, 5000));
    assert!(told_primary(&mut world, StreamEvent::Finished(stream)));
    world.assert_no_carrier_leaks(PathId::PRIMARY);
}

#[test]
fn a_stream_of_the_clients_may_be_written_by_secondaries_too() {
    let mut world = joined();
    world.primary(|p, _| p.answers_elsewhere = false);
    let stream = world.client(|c, cx| {
        let stream = c
            .session
            .open_stream(cx.carriers)
            .expect("open")
            .expect("credit");
        let mut request = content(stream, span(0, 20));
        c.session
            .write(stream, &mut request, cx.carriers)
            .expect("open");
        c.session.finish(stream, cx.carriers).expect("open");
        c.read(stream, u64::MAX);
        stream
    });
    world.settle();
    world.write(stream, (0, 100), false);
    world.settle();
    world.delegate(stream, (100, 5000), PATH);
    world.write(stream, (5000, 6000), true);
    world.settle();
    assert!(world.is_whole(stream, 6000));
}

/// [STR-3]: who writes what the client reads has nothing to do with what it writes.
#[test]
fn the_other_direction_of_an_aggregated_stream_is_plain() {
    let mut world = joined();
    world.primary(|p, _| p.answers_elsewhere = false);
    let write = |world: &mut World, stream: StreamId, range| {
        world.client(|c, cx| {
            let mut data = content(stream, range);
            c.session
                .write(stream, &mut data, cx.carriers)
                .expect("open");
        });
        world.settle();
    };
    let stream = world
        .client(|c, cx| c.session.open_stream(cx.carriers))
        .expect("open")
        .expect("credit");
    world.client(|c, _| c.read(stream, u64::MAX));
    write(&mut world, stream, span(0, 20));
    world.delegate(stream, (0, 5000), PATH);
    world.settle();
    assert_eq!(world.read_to(stream), 5000);
    write(&mut world, stream, span(20, 40));
    world.primary(|p, _| assert_eq!(p.requests.get(&stream), Some(&(40, false))));
}

/// [STR-5]: AGGREGATE, GRANT and segments may overtake the preamble.
#[test]
fn everything_may_come_before_the_stream_is_shown() {
    let mut world = joined();
    let hold = world.hold(PathId::PRIMARY, Side::Client, What::Streams);
    let stream = world.open_stream();
    world.delegate(stream, (0, 5000), PATH);
    world.write(stream, (5000, 6000), true);
    world.settle();
    world.client(|c, _| {
        assert!(c.session.accept_stream().is_none(), "QUIC has not shown it");
        assert!(!c.events.contains(&ClientEvent::Stream(StreamEvent::Opened)));
    });
    world.lift(hold);
    world.settle();
    assert!(world.is_whole(stream, 6000));
}

/// [AGG-4]: a segment that would have to wait for AGGREGATE costs the session; it had no credit.
#[test]
fn segments_before_aggregate_are_not_waited_for() {
    let mut world = Setup {
        scripted_primary: true,
        ..Setup::default()
    }
    .build();
    let _primary = HandPrimary::welcome(&mut world);
    let stream = HandPrimary::open_stream(&mut world);
    HandPrimary::segment(&mut world, stream, (0, 5000));
    world.settle();
    let is_closed = world.client(|c, _| c.session.is_closed());
    assert!(is_closed, "it is a violation");
}

/// Grants that reach beyond the end are clipped; an honest session is not lost for them.
#[test]
fn a_final_size_below_granted_ranges_clips_them() {
    let mut world = Setup {
        scripted_primary: true,
        ..Setup::default()
    }
    .build();
    let mut primary = HandPrimary::welcome(&mut world);
    let path = primary.add_path(&mut world, 1);
    let stream = HandPrimary::open_stream(&mut world);
    HandPrimary::aggregate(&mut world, stream, 0);
    world.settle();
    world.secondary(1, |s, _| s.service = Service::Ignore);
    primary.grant(&mut world, path, stream, (0, 3000));
    primary.grant(&mut world, path, stream, (3000, 9000));
    HandPrimary::segment(&mut world, stream, (0, 2000));
    HandPrimary::final_size(&mut world, stream, 2000);
    world.settle();
    assert!(world.is_whole(stream, 2000));
    world.client(|c, _| assert!(!c.session.is_closed()));
    let finals = HandPrimary::frames(&mut world)
        .into_iter()
        .filter(|frame| matches!(frame, ControlFrame::GrantStatus(_)))
        .count();
    assert!(finals <= 2);
    assert!(is_active(&mut world, path));
}

/// The reader's application lets go of a stream that three servers write [END-8] [GRANT-11].
#[test]
fn a_stop_with_grants_in_flight_leaks_nothing() {
    let mut setup = Setup::default();
    setup.config.client.session_window_bytes = window();
    let mut world = setup.joined();
    let stream = world.open_stream();
    world.limit_reader(stream, 10);
    let grants = [
        world.delegate(stream, (0, 50_000), PATH),
        world.delegate(stream, (50_000, 2 * window()), OTHER),
    ];
    world.write(stream, (2 * window(), 3 * window()), true);
    world.settle_until(|world| world.read_to(stream) == 10);
    world.client(|c, cx| {
        c.readers.clear();
        c.session.stop(cx, stream, 77).expect("open");
    });
    world.settle();
    assert!(told_primary(
        &mut world,
        StreamEvent::Stopped { stream, code: 77 }
    ));
    for grant in grants {
        assert_eq!(fates(&mut world, grant).len(), 1);
    }
    assert_open(&mut world);
    for path in [PathId::PRIMARY, PATH, OTHER] {
        world.assert_no_carrier_leaks(path);
    }
    // The budget came back.
    let next = world.open_stream();
    world.limit_reader(next, 0);
    world.delegate(next, (0, window()), PATH);
    world.settle();
    let held = world.client(|c, _| c.session.stats().buffered_bytes);
    assert_eq!(held, window(), "all of it has credit at once");
}

/// The primary's application gives a stream up that three servers write [END-7] [GRANT-11].
#[test]
fn a_reset_with_grants_in_flight_leaks_nothing() {
    let mut world = joined();
    let stream = world.open_stream();
    world.limit_reader(stream, 10);
    world.delegate(stream, (0, 50_000), PATH);
    world.delegate(stream, (50_000, 2 * window()), OTHER);
    world.write(stream, (2 * window(), 3 * window()), false);
    world.settle_until(|world| world.read_to(stream) == 10);
    reset(&mut world, stream, 78);
    world.limit_reader(stream, u64::MAX);
    world.settle();
    assert_eq!(
        end_of(&mut world, stream),
        Some(Err(StreamError::Reset(78)))
    );
    for path in [PathId::PRIMARY, PATH, OTHER] {
        world.assert_no_carrier_leaks(path);
    }
    for site in [1, 2] {
        world.secondary(site, |s, _| {
            assert!(!s.session.is_closed(), "{:?}", s.events)
        });
    }
    assert!(is_active(&mut world, PATH) && is_active(&mut world, OTHER));
}

/// [STR-6]: MAX_OFFSET and STREAM_DONE meet a stream that the primary has reset and forgotten.
#[test]
fn late_frames_for_a_stream_that_is_gone_are_ignored() {
    let mut world = joined();
    let stream = world.open_stream();
    world.delegate(stream, (0, 5000), PATH);
    world.finish(stream);
    let hold = world.hold(PathId::PRIMARY, Side::Server, What::Control);
    world.settle();
    assert!(world.is_whole(stream, 5000));
    reset(&mut world, stream, 79);
    world.settle();
    world.lift(hold);
    world.settle();
    assert_open(&mut world);
}

/// [FLOW-9]: a MAX_OFFSET for a stream without grants is none of a secondary's business.
#[test]
fn a_late_max_offset_is_ignored_by_a_secondary() {
    let mut world = joined();
    let stream = world.open_stream();
    world.delegate(stream, (0, 5000), PATH);
    world.settle();
    let frame = max_offset(stream, 1 << 40);
    world.forge_control(PATH, &frame);
    world.settle();
    assert!(world.is_joined(1));
    world.secondary(1, |s, _| {
        assert!(
            !s.events
                .iter()
                .any(|event| matches!(event, SecondaryEvent::Closed(_)))
        );
    });
}

/// The end is in sight as soon as the reader is there, without another round trip [END-4].
#[test]
fn the_end_is_seen_without_a_round_trip() {
    let mut world = joined();
    let stream = world.open_stream();
    world.delegate(stream, (0, 5000), PATH);
    world.finish(stream);
    let hold = world.hold(PathId::PRIMARY, Side::Server, What::All);
    world.settle();
    assert!(world.is_whole(stream, 5000));
    assert!(
        !told_primary(&mut world, StreamEvent::Finished(stream)),
        "it has not heard of it"
    );
    world.lift(hold);
    world.settle();
    assert!(told_primary(&mut world, StreamEvent::Finished(stream)));
}

/// Closing with data in flight: `Finished` says when there is none [SESS-5].
#[test]
fn finished_means_that_closing_loses_nothing() {
    for seed in 0..20 {
        let mut world = Setup {
            seed: Some(seed),
            ..Setup::default()
        }
        .joined();
        let stream = world.open_stream();
        world.delegate(stream, (0, 40_000), PATH);
        world.write(stream, (40_000, 80_000), true);
        world.limit_reader(stream, 0);
        let finished =
            world.settle_until(|world| told_primary(world, StreamEvent::Finished(stream)));
        assert!(finished, "all fits into the window");
        world.primary(|p, cx| p.session.close(cx.now, code::NO_ERROR, cx.carriers));
        // Every byte is at the client, whatever becomes of the connections.
        let held = world.client(|c, _| c.session.stats().buffered_bytes);
        assert_eq!(held, 80_000, "seed {seed}");
    }
}

/// The loss of the primary ends everything with an error, never with a hang [SESS-4] [END-9].
#[test]
fn the_loss_of_the_primary_ends_every_stream() {
    let mut world = joined();
    let stream = world.open_stream();
    world.delegate(stream, (0, 10 * window()), PATH);
    world.limit_reader(stream, 10);
    world.settle();
    world.crash(0);
    world.advance(Duration::from_secs(31));
    world.limit_reader(stream, u64::MAX);
    world.settle();
    let lost = StreamError::SessionLost(CloseReason::TimedOut);
    assert_eq!(end_of(&mut world, stream), Some(Err(lost)));
    assert!(
        !world.is_joined(1) && !world.is_joined(2),
        "the secondaries are let go"
    );
    world.client(|c, _| {
        assert_eq!(
            c.events.last(),
            Some(&ClientEvent::Closed(CloseReason::TimedOut))
        );
    });
}

/// [SESS-5]
#[test]
fn a_close_by_the_client_reaches_everybody() {
    let mut world = joined();
    let stream = world.open_stream();
    world.delegate(stream, (0, 10 * window()), PATH);
    world.settle_until(|world| world.read_to(stream) > 1000);
    world.client(|c, _| c.session.close(code::NO_ERROR));
    world.settle();
    let by_peer = CloseReason::Peer(code::NO_ERROR);
    world.primary(|p, _| {
        assert_eq!(
            p.events.last(),
            Some(&PrimaryEvent::Closed(by_peer.clone()))
        );
    });
    world.secondary(1, |s, _| {
        assert_eq!(s.events.last(), Some(&SecondaryEvent::Closed(by_peer)));
    });
}

/// A stopped segment is owed a reset, or QUIC keeps it for ever [SEG-13].
#[test]
fn a_stopped_carrier_is_reset_by_every_server() {
    let mut world = Setup {
        send_buffer_bytes: 4 << 10,
        ..Setup::default()
    }
    .joined();
    let stream = world.open_stream();
    world.set_offset(stream, 60_000);
    // Nothing is acknowledged: both are stuck in the middle of a segment.
    let paths = [PathId::PRIMARY, PATH];
    let feedback = paths.map(|path| world.hold(path, Side::Server, What::Feedback));
    let grant = world.delegate(stream, (0, 50_000), PATH);
    world.write_at(stream, (50_000, 60_000));
    world.settle();
    for path in paths {
        assert_eq!(
            world.net.segments_of(world.conn(path)).len(),
            1,
            "path {path}"
        );
    }
    // REVOKE and the stop of the stream itself are still on their way.
    for path in paths {
        world.hold(path, Side::Server, What::Control);
        world.hold(path, Side::Server, What::Streams);
    }
    world.client(|c, cx| {
        c.readers.clear();
        c.session.stop(cx, stream, 1).expect("open");
    });
    world.settle();
    feedback.into_iter().for_each(|hold| world.lift(hold));
    world.settle();
    for path in paths {
        assert_eq!(
            world.net.segments_of(world.conn(path)),
            [0_u64; 0],
            "path {path}"
        );
    }
    world.secondary(1, |s, _| {
        assert_eq!(s.events.last(), Some(&SecondaryEvent::Stopped(grant)));
    });
}

/// A QUIC stream of the client's is stopped by the primary [STR-4].
#[test]
fn a_stop_by_the_primary_is_heard_by_the_client() {
    let mut world = joined();
    let stream = world.client(|c, cx| {
        let stream = c
            .session
            .open_stream(cx.carriers)
            .expect("open")
            .expect("credit");
        let mut request = content(stream, span(0, 20));
        c.session
            .write(stream, &mut request, cx.carriers)
            .expect("open");
        stream
    });
    world.settle();
    world.primary(|p, cx| {
        p.requests.insert(stream, (0, true));
        p.session
            .stop(cx.now, stream, 5, cx.carriers)
            .expect("open");
        p.session.finish(cx.now, stream, cx.carriers).expect("open");
    });
    world.client(|c, _| c.read(stream, u64::MAX));
    world.settle();
    let stopped = ClientEvent::Stream(StreamEvent::Stopped { stream, code: 5 });
    world.client(|c, _| assert!(c.events.contains(&stopped)));
    world.assert_no_carrier_leaks(PathId::PRIMARY);
}

/// [ERR-3]
#[test]
fn a_session_that_the_primary_closes_says_why() {
    let failed = "reset".to_owned();
    // One of the codes is of no table.
    for (cause, reason) in [
        (
            DownCause::Failed(failed.clone()),
            CloseReason::Failed(failed),
        ),
        (DownCause::ClosedByPeer(99), CloseReason::Peer(99)),
    ] {
        let mut world = Setup {
            scripted_primary: true,
            ..Setup::default()
        }
        .build();
        let _primary = HandPrimary::welcome(&mut world);
        world.settle();
        world.fail(PathId::PRIMARY, cause);
        world.settle();
        world.client(|c, _| assert_eq!(c.events.last(), Some(&ClientEvent::Closed(reason))));
    }
}

/// The primary's connection is lost while the reader lags behind: what had arrived is read first, as
/// far as it is contiguous, and the end of what was whole is an end.
#[test]
fn what_had_arrived_survives_the_loss_of_the_primary() {
    let mut world = joined();
    world.net.reads_after_down = true;
    let [plain, ended, many, gap] = [(); 4].map(|()| world.open_stream());
    world.write(plain, (0, 5000), false);
    world.write(ended, (0, 5000), true);
    world.write(many, (0, 2000), false);
    world.settle();
    world.delegate(many, (2000, 4000), PATH);
    world.write(many, (4000, 5000), true);
    world.secondary(2, |s, _| s.service = Service::Ignore);
    world.delegate(gap, (0, 2000), PATH);
    world.delegate(gap, (2000, 3000), OTHER);
    world.write(gap, (3000, 5000), false);
    let streams = [(plain, 5000), (ended, 5000), (many, 5000), (gap, 2000)];
    for (stream, _) in streams {
        world.limit_reader(stream, 1000);
    }
    world.settle();
    world.fail(PathId::PRIMARY, DownCause::ClosedByPeer(code::NO_ERROR));
    world.settle();
    for (stream, readable) in streams {
        world.limit_reader(stream, u64::MAX);
        world.settle();
        assert_eq!(world.read_to(stream), readable, "{stream}");
        let lost = Err(StreamError::SessionLost(CloseReason::Peer(code::NO_ERROR)));
        let end = if stream == ended || stream == many {
            Ok(())
        } else {
            lost
        };
        assert_eq!(end_of(&mut world, stream), Some(end), "{stream}");
    }
    world.client(|c, _| {
        assert_eq!(c.session.stats().delivered_bytes, 17_000);
        assert!(!c.session.has_leftovers());
    });
}

//! Windows, budgets, carriers and control under load: nothing waits for ever.

use std::time::Duration;

use bytes::Bytes;

use super::{OTHER, PATH, assert_open, fates, is_active, joined, window};
use crate::event::{PrimaryEvent, SecondaryEvent};
use crate::ids::PathId;
use crate::path::RawTarget;
use crate::plan::{PlanSpec, Spread};
use crate::session::tests::apps::Service;
use crate::session::tests::content::content;
use crate::session::tests::net::Side;
use crate::session::tests::world::{DialFate, Setup, What, World, span};

fn raw(world: &mut World, path: PathId, message: &'static [u8]) {
    world
        .primary(|p, cx| {
            let message = Bytes::from_static(message);
            p.session
                .send_raw(cx.now, path, RawTarget::Message, message, cx.carriers)
        })
        .expect("an active path");
}

fn got_raw(world: &mut World, site: usize, message: &'static [u8]) -> bool {
    let event = SecondaryEvent::Raw(Bytes::from_static(message));
    world.secondary(site, |s, _| s.events.contains(&event))
}

/// A path that takes over the lowest hole has to learn how far it may write: nobody reads on, so
/// nobody else tells it [FLOW-6].
#[test]
fn a_path_that_takes_over_the_lowest_hole_has_credit() {
    let mut world = joined();
    let stream = world.open_stream();
    // The reader passes the first window, so that a path without news could write nothing more.
    let (hole, end) = (3 * window(), 3 * window() + 1000);
    world.delegate(stream, (0, hole), PATH);
    world.settle();
    assert_eq!(world.read_to(stream), hole);
    world.secondary(1, |s, _| s.service = Service::Ignore);
    let lost = world.delegate(stream, (hole, end), PATH);
    world.settle();
    world.crash(1);
    world.advance(Duration::from_secs(5));
    assert!(matches!(fates(&mut world, lost)[..], [Err(_)]));
    world.delegate(stream, (hole, end), OTHER);
    world.finish(stream);
    world.settle();
    assert!(world.is_whole(stream, end));
}

fn few_carriers(segments_max: u32) -> World {
    let mut setup = Setup::default();
    setup.config.quic.segments_max = segments_max;
    setup.joined()
}

/// [SEG-4]
#[test]
fn segments_beyond_the_window_hold_no_carriers() {
    let mut world = few_carriers(2);
    let stream = world.open_stream();
    world.limit_reader(stream, 0);
    let far = |index: u64| (window() + index * 1000, window() + index * 1000 + 1000);
    world.set_offset(stream, window() + 4000);
    // At the secondary and at the primary: all of it without credit.
    world.delegate(stream, far(0), PATH);
    world.delegate(stream, far(1), PATH);
    world.write_at(stream, far(2));
    world.write_at(stream, far(3));
    world.settle();
    for path in [PathId::PRIMARY, PATH] {
        assert_eq!(
            world.net.segments_of(world.conn(path)),
            [0_u64; 0],
            "path {path}"
        );
    }
    world.delegate(stream, (0, window() / 2), PATH);
    world.write_at(stream, (window() / 2, window()));
    world.settle();
    world.limit_reader(stream, u64::MAX);
    world.settle();
    world.finish(stream);
    world.settle();
    assert!(world.is_whole(stream, window() + 4000));
}

/// [SEG-4]
#[test]
fn segments_that_straddle_the_window_give_their_carriers_back() {
    let mut world = few_carriers(1);
    let stream = world.open_stream();
    world.limit_reader(stream, 0);
    let end = window() + 40_000;
    // One that begins inside the window and ends outside would hold the only carrier of the path.
    world.set_offset(stream, end);
    world.delegate(stream, (window() - 2000, window() - 1000), OTHER);
    world.delegate(stream, (window() - 1000, window() + 20_000), PATH);
    world.delegate(stream, (window() + 20_000, end), PATH);
    world.settle();
    world.delegate(stream, (0, window() - 2000), PATH);
    world.settle();
    world.limit_reader(stream, u64::MAX);
    world.finish(stream);
    world.settle();
    assert!(world.is_whole(stream, end));
    for path in [PathId::PRIMARY, PATH, OTHER] {
        assert_eq!(
            world.net.segments_of(world.conn(path)),
            [0_u64; 0],
            "path {path}"
        );
    }
}

/// [SEG-7]: open handles that have credit and write nothing hold no carrier either.
#[test]
fn idle_segments_hold_no_carriers() {
    let mut world = few_carriers(2);
    let stream = world.open_stream();
    world.set_offset(stream, 10_000);
    let idle = |world: &mut World, offset: u64| {
        world.primary(|p, cx| {
            let opened = p
                .session
                .open_segment_at(cx.now, stream, offset, cx.carriers);
            opened.expect("bounded, but not by carriers")
        })
    };
    let handles: Vec<_> = (1..10)
        .map(|index| idle(&mut world, index * 1000))
        .collect();
    world.settle();
    world.write_at(stream, (0, 1000));
    world.settle();
    assert_eq!(world.read_to(stream), 1000);
    for (handle, at) in handles.into_iter().zip(1..) {
        world.primary(|p, _| p.write_segment(stream, handle, span(at * 1000, at * 1000 + 1000)));
    }
    world.settle();
    world.finish(stream);
    world.settle();
    assert!(world.is_whole(stream, 10_000));
}

/// [GRANT-20]: a secondary serves its grants independently: one that is far ahead of the reader
/// does not hold up the lowest.
#[test]
fn a_grant_without_credit_does_not_hold_up_a_lower_one() {
    let mut world = joined();
    let stream = world.open_stream();
    world.set_offset(stream, 3 * window());
    world.delegate(stream, (2 * window(), 3 * window()), PATH);
    world.settle();
    world.delegate(stream, (window(), 2 * window()), PATH);
    world.settle();
    world.delegate(stream, (0, window()), PATH);
    world.finish(stream);
    world.settle();
    assert!(world.is_whole(stream, 3 * window()));
}

/// The application of the primary may be blocked in a write when a path dies: a plan grants
/// again inside the core.
#[test]
fn a_plan_grants_again_without_the_application() {
    let mut world = joined();
    world.secondary(1, |s, _| s.service = Service::Ignore);
    let blocked = world.open_stream();
    world.limit_reader(blocked, 0);
    world.set_offset(blocked, 10);
    world.write_at(blocked, (0, 10));
    world.write(blocked, (10, 3 * window()), true);
    let stream = world.open_stream();
    let size = 2 * window();
    world.primary(|p, cx| {
        let spec = PlanSpec {
            command: Bytes::from_static(b"it"),
            spread: Spread::Pull,
        };
        p.session
            .plan(cx.now, stream, span(0, size), spec, cx.carriers)
            .expect("fresh");
        p.session
            .finish(cx.now, stream, cx.carriers)
            .expect("planned");
    });
    world.settle();
    world.crash(1);
    world.advance(Duration::from_secs(10));
    assert!(world.is_whole(stream, size));
    world.primary(|p, _| {
        let lost = |event: &&PrimaryEvent| matches!(event, PrimaryEvent::GrantLost { .. });
        assert_eq!(p.events.iter().find(lost), None, "the plan's business");
    });
}

/// [FLOW-4]: a GRANT that waits for its path to join is stamped with the credit of the moment at
/// which it leaves.
#[test]
fn a_grant_that_waited_for_its_path_carries_todays_credit() {
    let mut world = Setup::default().build();
    world.settle();
    world.sites[2].dials = DialFate::AcceptAfter(Duration::from_secs(3));
    world.add_path(1);
    world.add_path(2);
    world.settle();
    let stream = world.open_stream();
    let hole = 2 * window();
    world.delegate(stream, (0, hole), PATH);
    // Queued while the credit is one window; the reader stops at this very hole.
    world.delegate(stream, (hole, hole + 5000), OTHER);
    world.finish(stream);
    world.settle();
    assert_eq!(world.read_to(stream), hole);
    world.advance(Duration::from_secs(4));
    assert!(world.is_whole(stream, hole + 5000));
}

/// [FLOW-5]: on AGGREGATE the client gives credit at once, although there is nothing to read.
#[test]
fn an_aggregated_stream_has_credit_before_anything_was_read() {
    let mut world = joined();
    let stream = world.open_stream();
    world.set_offset(stream, 1000);
    world.write_at(stream, (0, 1000));
    world.write(stream, (1000, 2000), true);
    world.settle();
    assert!(world.is_whole(stream, 2000));
}

/// [SEG-6]: priorities are strict. What a stream waits for comes first, wherever in the stream it is.
#[test]
fn priority_falls_with_the_distance_from_what_the_reader_waits_for() {
    let mut setup = Setup {
        send_buffer_bytes: 64 << 20,
        ..Setup::default()
    };
    setup.config.client.stream_window_bytes = 32 << 20;
    setup.config.client.session_window_bytes = 1 << 30;
    setup.config.server.segment_max_bytes = 64 << 10;
    let mut world = setup.joined();
    let hold = world.hold(PATH, Side::Client, What::Segments);
    world.secondary(1, |s, _| s.service = Service::Ignore);
    let (far, near) = (world.open_stream(), world.open_stream());
    world.limit_reader(far, 0);
    // One stream is far ahead of its beginning, the other has just begun.
    let (start, ahead) = (10 << 20, 13 << 20);
    let grants = [(far, ahead), (far, start), (near, 0)]
        .map(|(stream, at)| (world.delegate(stream, (at, at + 1000), PATH), stream, at));
    world.settle();
    // Three segments at the same time, the most distant first.
    for (grant, stream, at) in grants {
        world.secondary(1, |s, cx| {
            let segment = s.session.open_segment(grant).expect("granted");
            let mut data = content(stream, span(at, at + 10));
            s.session
                .write_segment(segment, &mut data, cx.carriers)
                .expect("credit");
        });
    }
    let conn = world.conn(PATH);
    let carriers = world.net.open_carriers(conn);
    let priorities: Vec<_> = carriers
        .into_iter()
        .map(|carrier| {
            let offset = world.net.segment_offset(conn, carrier);
            (
                offset,
                world
                    .net
                    .priority(conn, Side::Client, carrier)
                    .expect("open"),
            )
        })
        .collect();
    let of = |offset: u64| {
        priorities
            .iter()
            .find(|(at, _)| *at == offset)
            .expect("written")
            .1
    };
    assert_eq!(of(start), of(0), "each stream's lowest byte is as urgent");
    assert!(of(ahead) < of(start), "{priorities:?}");
    world.lift(hold);
}

/// [FLOW-7]: unread streams that hold the whole budget leave every other its reserve.
#[test]
fn unread_streams_do_not_starve_the_one_that_is_read() {
    let mut setup = Setup::default();
    setup.config.client.session_window_bytes = setup.config.client.stream_window_bytes;
    let mut world = setup.joined();
    for _ in 0..3 {
        let unread = world.open_stream();
        world.limit_reader(unread, 0);
        world.delegate(unread, (0, window()), PATH);
    }
    world.settle();
    let read = world.open_stream();
    let size = window() + 999;
    world.delegate(read, (0, size), OTHER);
    world.finish(read);
    world.settle();
    assert!(world.is_whole(read, size));
}

/// The window of the secondary's connection is finite: unread bytes must not fill
/// it [SEG-11] [CONN-7].
#[test]
fn unread_streams_do_not_fill_the_window_of_the_connection() {
    let mut setup = Setup::default();
    setup.config.quic.secondary_receive_window_bytes = 64 << 10;
    let mut world = setup.joined();
    let stream = world.open_stream();
    world.limit_reader(stream, 0);
    let grant = world.delegate(stream, (0, window()), PATH);
    world.settle();
    assert_eq!(
        fates(&mut world, grant),
        [Ok(window())],
        "GRANT_DONE came through"
    );
    let other = world.open_stream();
    world.delegate(other, (0, 1000), PATH);
    world.finish(other);
    world.settle();
    assert!(world.is_whole(other, 1000));
}

/// Send buffers that are full of bulk leave control alone [CONN-8].
#[test]
fn bulk_never_blocks_control() {
    let mut world = Setup {
        send_buffer_bytes: 32 << 10,
        ..Setup::default()
    }
    .joined();
    // Nobody acknowledges: the buffers of both servers fill up.
    let holds = [PathId::PRIMARY, PATH].map(|path| world.hold(path, Side::Server, What::Feedback));
    let (plain, stream) = (world.open_stream(), world.open_stream());
    world.limit_reader(plain, 0);
    world.write(plain, (0, 4 << 20), true);
    world.delegate(stream, (0, window()), PATH);
    world.settle();
    assert!(
        world.read_to(stream) < window(),
        "the secondary's buffer is full"
    );
    raw(&mut world, PATH, b"are you there");
    world.settle();
    assert!(got_raw(&mut world, 1, b"are you there"));
    // And back: a refusal passes the secondary's own bulk.
    world.secondary(1, |s, _| s.service = Service::Refuse(7));
    let refused = world.delegate(stream, (window(), window() + 10), PATH);
    world.settle();
    assert!(matches!(fates(&mut world, refused)[..], [Err(_)]));
    holds.into_iter().for_each(|hold| world.lift(hold));
    world.limit_reader(plain, u64::MAX);
    world.settle();
    assert!(world.is_whole(plain, 4 << 20));
}

/// The client holds at most one window of a stream whose reader stopped, and hears
/// everybody [FLOW-2].
#[test]
fn a_reader_that_stops_costs_one_window() {
    let mut world = joined();
    let stream = world.open_stream();
    world.limit_reader(stream, 1000);
    for (index, path) in [PATH, OTHER, PATH, OTHER].into_iter().enumerate() {
        let start = index as u64 * window();
        world.delegate(stream, (start, start + window()), path);
    }
    world.finish(stream);
    world.settle();
    world.advance(Duration::from_secs(60));
    let held = world.client(|c, _| c.session.stats().buffered_bytes_max);
    assert!(held <= window(), "{held}");
    assert!(is_active(&mut world, PATH) && is_active(&mut world, OTHER));
    raw(&mut world, OTHER, b"still there");
    world.settle();
    assert!(got_raw(&mut world, 2, b"still there"));
    world.limit_reader(stream, u64::MAX);
    world.settle();
    assert!(world.is_whole(stream, 4 * window()));
}

/// First grants that are larger than the window would give one server all of it.
#[test]
fn the_first_window_is_shared_by_all_servers() {
    let mut world = joined();
    let stream = world.open_stream();
    world.limit_reader(stream, 0);
    world.primary(|p, cx| {
        let spec = PlanSpec {
            command: Bytes::from_static(b"it"),
            spread: Spread::Pull,
        };
        p.session
            .plan(cx.now, stream, span(0, 20 * window()), spec, cx.carriers)
            .expect("fresh");
    });
    world.settle();
    let infos = world.client(|c, cx| c.session.paths(cx.carriers));
    assert_eq!(infos.len(), 3);
    for info in infos {
        assert!(info.received_bytes >= window() / 10, "{info:?}");
    }
}

/// A connection whose control carrier is blocked does not make its session ask to be called at once.
#[test]
fn blocked_output_does_not_make_a_session_spin() {
    let mut world = joined();
    let hold = world.hold(PathId::PRIMARY, Side::Client, What::All);
    let stream = world.open_stream();
    world.write(stream, (0, 4 << 20), true);
    world.settle();
    let calls = world.calls();
    world.advance(Duration::from_secs(5));
    assert!(
        world.calls() - calls < 50,
        "{} calls in 5 idle seconds",
        world.calls() - calls
    );
    world.lift(hold);
    world.settle();
    assert!(world.is_whole(stream, 4 << 20));
    assert_open(&mut world);
}

/// An idle session costs nothing.
#[test]
fn an_idle_session_is_left_alone() {
    let mut world = joined();
    let stream = world.open_stream();
    world.delegate(stream, (0, 1000), PATH);
    world.settle();
    let calls = world.calls();
    world.advance(Duration::from_secs(60));
    // A keep-alive of each connection every ten seconds is heard at both ends.
    assert!(
        world.calls() - calls < 100,
        "{} calls in a minute",
        world.calls() - calls
    );
}

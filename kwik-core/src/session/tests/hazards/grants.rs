//! The life of a grant between three ends that hear of everything in their own order.

use std::time::Duration;

use bytes::Bytes;

use super::{Fate, OTHER, PATH, assert_open, fates, is_active, joined, window};
use crate::error::{Misuse, StreamError};
use crate::event::{PrimaryEvent, SecondaryEvent};
use crate::ids::{GrantId, PathId};
use crate::session::tests::apps::Service;
use crate::session::tests::content::content;
use crate::session::tests::hand::HandPrimary;
use crate::session::tests::net::Side;
use crate::session::tests::world::{Setup, What, World, span};
use crate::wire::{ControlFrame, GrantOutcome, LostReason};

fn revoke(world: &mut World, grant: GrantId) {
    world
        .primary(|p, cx| p.session.revoke(cx.now, grant, cx.carriers))
        .expect("live");
}

/// [GRANT-6]: control and segments are unordered to each other. GRANT_DONE ends nothing by itself.
#[test]
fn grant_done_that_overtakes_its_bytes_ends_nothing() {
    let mut world = joined();
    let hold = world.hold(PATH, Side::Client, What::Segments);
    let stream = world.open_stream();
    let grant = world.delegate(stream, (0, 5000), PATH);
    world.finish(stream);
    world.settle();
    world.secondary(1, |s, cx| {
        assert!(
            s.session.finish_grant(grant, cx.carriers).is_ok(),
            "all was written"
        );
    });
    assert_eq!(
        fates(&mut world, grant),
        [],
        "a lost packet is no lost grant"
    );
    world.lift(hold);
    world.settle();
    assert_eq!(fates(&mut world, grant), [Ok(5000)]);
    assert!(world.is_whole(stream, 5000));
}

/// [GRANT-6], with a grant that was not filled: what was written still counts [GRANT-18].
#[test]
fn a_short_grant_waits_for_the_bytes_that_were_written() {
    let mut world = joined();
    world.secondary(1, |s, _| s.service = Service::Short(3000));
    let hold = world.hold(PATH, Side::Client, What::Segments);
    let stream = world.open_stream();
    let grant = world.delegate(stream, (0, 5000), PATH);
    world.settle();
    assert_eq!(fates(&mut world, grant), []);
    world.lift(hold);
    world.settle();
    let lost: Fate = Err((LostReason::Short, [span(3000, 5000)].into_iter().collect()));
    assert_eq!(fates(&mut world, grant), [lost]);
    assert_eq!(world.read_to(stream), 3000);
}

/// [SEG-9]: a server never resets a carrier whose header is whole: what it wrote may still fill
/// holes [GRANT-8].
#[test]
fn what_was_written_before_a_revoke_still_arrives() {
    let mut world = joined();
    let hold = world.hold(PATH, Side::Client, What::Segments);
    let stream = world.open_stream();
    let grant = world.delegate(stream, (0, 5000), PATH);
    world.settle();
    revoke(&mut world, grant);
    world.settle();
    world.lift(hold);
    world.settle();
    assert_eq!(world.read_to(stream), 5000);
    assert_eq!(fates(&mut world, grant), [Ok(5000)]);
    assert!(
        is_active(&mut world, PATH),
        "an honest path that was slow is no violator"
    );
}

/// A path that is alive and writes nothing [GRANT-12].
#[test]
fn a_grant_that_does_not_begin_is_lost_in_time() {
    let mut world = joined();
    world.secondary(1, |s, _| s.service = Service::Ignore);
    let stream = world.open_stream();
    let grant = world.delegate(stream, (0, 5000), PATH);
    world.advance(Duration::from_secs(4));
    assert_eq!(fates(&mut world, grant), []);
    world.advance(Duration::from_secs(2));
    let lost: Fate = Err((
        LostReason::NotStarted,
        [span(0, 5000)].into_iter().collect(),
    ));
    assert_eq!(fates(&mut world, grant), [lost]);
    world.delegate(stream, (0, 5000), OTHER);
    world.finish(stream);
    world.settle();
    assert!(world.is_whole(stream, 5000));
}

/// [GRANT-12]: a grant without credit cannot begin, and that is nobody's fault.
#[test]
fn the_clock_of_a_grant_stands_while_it_has_no_credit() {
    let mut world = joined();
    let stream = world.open_stream();
    world.limit_reader(stream, 0);
    world.delegate(stream, (0, window()), PATH);
    let waiting = world.delegate(stream, (window(), 2 * window()), OTHER);
    world.finish(stream);
    world.settle();
    world.advance(Duration::from_secs(60));
    assert_eq!(fates(&mut world, waiting), []);
    world.limit_reader(stream, u64::MAX);
    world.settle();
    assert!(world.is_whole(stream, 2 * window()));
}

/// [GRANT-12]: a grant that queues behind another one of its path is not late: the path is at work.
#[test]
fn the_clock_is_the_paths_and_bytes_of_any_grant_count() {
    let mut world = joined();
    let hold = world.hold(PATH, Side::Client, What::Segments);
    let stream = world.open_stream();
    let first = world.delegate(stream, (0, 20_000), PATH);
    let second = world.delegate(stream, (20_000, 40_000), PATH);
    world.settle();
    let carrier = world.segment_in_flight(PATH);
    // Slow packets of the first, a second apart.
    for index in 0..13 {
        world.deliver(
            PATH,
            Side::Client,
            carrier,
            (index * 1500, index * 1500 + 1500),
        );
        world.advance(Duration::from_secs(1));
    }
    assert_eq!(
        (fates(&mut world, first), fates(&mut world, second)),
        (vec![], vec![])
    );
    world.lift(hold);
    world.settle();
    assert_eq!(
        (fates(&mut world, first), fates(&mut world, second)),
        (vec![Ok(20_000)], vec![Ok(40_000)])
    );
}

/// [GRANT-12]: both clocks ran from the last byte, and a grant that came just before they ran out was
/// lost before it could begin.
#[test]
fn a_path_that_was_idle_has_all_the_time_for_its_next_grant() {
    for reads_on in [true, false] {
        let mut world = joined();
        let stream = world.open_stream();
        if !reads_on {
            world.limit_reader(stream, 500);
        }
        let first = world.delegate(stream, (0, 1000), PATH);
        world.settle();
        assert_eq!(fates(&mut world, first), [Ok(1000)]);
        world.secondary(1, |s, _| s.service = Service::Ignore);
        world.advance(Duration::from_millis(4700));
        let second = world.delegate(stream, (1000, 2000), PATH);
        world.advance(Duration::from_secs(4));
        assert_eq!(fates(&mut world, second), []);
        world.advance(Duration::from_secs(2));
        let fate = fates(&mut world, second);
        assert!(
            matches!(fate[..], [Err((LostReason::NotStarted, _))]),
            "{fate:?}"
        );
    }
}

/// [GRANT-12]: the same for a grant that gets credit after the path had none for long.
#[test]
fn a_grant_that_gets_credit_has_all_the_time_to_go_on() {
    let mut world = joined();
    let stream = world.open_stream();
    world.limit_reader(stream, 0);
    let grant = world.delegate(stream, (0, 2 * window()), PATH);
    world.settle();
    world.advance(Duration::from_millis(4700));
    let hold = world.hold(PATH, Side::Client, What::Segments);
    world.limit_reader(stream, window());
    world.advance(Duration::from_secs(4));
    assert_eq!(fates(&mut world, grant), []);
    world.lift(hold);
    world.limit_reader(stream, u64::MAX);
    world.settle();
    assert_eq!(fates(&mut world, grant), [Ok(2 * window())]);
}

/// [GRANT-9]: FINAL_SIZE clips a grant at the client while its secondary writes on: dropped in silence.
#[test]
fn bytes_that_a_final_size_cut_off_are_nobodys_fault() {
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
    let hold = world.hold(path, Side::Client, What::Segments);
    let grant = primary.grant(&mut world, path, stream, (0, 10_000));
    world.settle();
    HandPrimary::final_size(&mut world, stream, 4000);
    world.settle();
    world.lift(hold);
    world.settle();
    assert!(world.is_whole(stream, 4000));
    assert!(is_active(&mut world, path));
    let done = HandPrimary::frames(&mut world).into_iter().any(|frame| {
        matches!(frame, ControlFrame::GrantStatus(status)
            if status.grant == grant && status.outcome == GrantOutcome::Done { end: 4000 })
    });
    assert!(done, "the grant ends where the stream does");
    world.assert_no_carrier_leaks(path);
}

/// [END-6]: a clip is told to the secondary, which writes no further.
#[test]
fn a_clip_reaches_the_secondary() {
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
    let grant = primary.grant(&mut world, path, stream, (0, 10_000));
    world.settle();
    HandPrimary::final_size(&mut world, stream, 4000);
    world.settle();
    let revoked = SecondaryEvent::Revoked { grant, end: 4000 };
    world.secondary(1, |s, _| {
        assert!(s.events.contains(&revoked), "{:?}", s.events)
    });
}

/// [SEG-8]: QUIC took 7 of 16 header bytes when REVOKE came: reset, and freed in silence.
#[test]
fn a_segment_with_half_a_header_is_reset_and_freed() {
    let mut world = joined();
    world.secondary(1, |s, _| s.service = Service::Ignore);
    let stream = world.open_stream();
    let grant = world.delegate(stream, (0, 5000), PATH);
    world.settle();
    let conn = world.conn(PATH);
    let hold = world.hold(PATH, Side::Client, What::All);
    // Room for seven bytes: everything sent so far has arrived.
    world.net.limit_send_buffer(conn, Side::Server, 7);
    world.secondary(1, |s, cx| {
        let segment = s.session.open_segment(grant).expect("granted");
        let mut data = content(stream, span(0, 100));
        let written = s.session.write_segment(segment, &mut data, cx.carriers);
        assert_eq!(written, Ok(0), "not even the header");
    });
    assert_eq!(world.net.in_flight(conn, Side::Client), [(3, 7)]);
    world.deliver(PATH, Side::Client, 3, (0, 7));
    revoke(&mut world, grant);
    world.settle();
    assert!(
        world.net.was_reset(conn, Side::Client, 3),
        "half a header says nothing"
    );
    world.lift(hold);
    world.settle();
    assert!(
        is_active(&mut world, PATH),
        "half a header is not malformed"
    );
    assert!(matches!(
        fates(&mut world, grant)[..],
        [Err((LostReason::Revoked, _))]
    ));
    world.assert_no_carrier_leaks(PATH);
}

/// [GRANT-10]: a REVOKE that is never answered.
#[test]
fn draining_ends_in_time() {
    let mut world = joined();
    world.secondary(1, |s, _| s.service = Service::Ignore);
    let stream = world.open_stream();
    let grant = world.delegate(stream, (0, 5000), PATH);
    world.settle();
    let hold = world.hold(PATH, Side::Client, What::Control);
    revoke(&mut world, grant);
    world.set_offset(stream, 0);
    world.advance(Duration::from_secs(1));
    assert_eq!(fates(&mut world, grant), []);
    world.advance(Duration::from_secs(2));
    let lost: Fate = Err((LostReason::Revoked, [span(0, 5000)].into_iter().collect()));
    assert_eq!(fates(&mut world, grant), [lost]);
    assert!(is_active(&mut world, PATH), "the path is kept");
    world.lift(hold);
    world.settle();
    assert_open(&mut world);
}

/// [GRANT-10]: bytes of an id that has ended are dropped without blame.
#[test]
fn bytes_behind_the_end_of_a_grant_are_dropped_without_blame() {
    let mut world = joined();
    let holds = [What::Segments, What::Control].map(|what| world.hold(PATH, Side::Client, what));
    let stream = world.open_stream();
    let grant = world.delegate(stream, (0, 5000), PATH);
    world.settle();
    revoke(&mut world, grant);
    world.advance(Duration::from_secs(3));
    assert!(matches!(
        fates(&mut world, grant)[..],
        [Err((LostReason::Revoked, _))]
    ));
    world.write(stream, (5000, 6000), false);
    world.write_at(stream, (0, 5000));
    world.settle();
    world.finish(stream);
    world.settle();
    assert!(world.is_whole(stream, 6000));
    holds.into_iter().for_each(|hold| world.lift(hold));
    world.settle();
    assert!(is_active(&mut world, PATH));
    world.assert_no_carrier_leaks(PATH);
}

/// [GRANT-13]: what another live grant covers already is not granted a third time.
#[test]
fn a_lost_grant_reports_only_what_nobody_brings() {
    let mut world = joined();
    world.secondary(1, |s, _| s.service = Service::Ignore);
    world.secondary(2, |s, _| s.service = Service::Ignore);
    let stream = world.open_stream();
    let first = world.delegate(stream, (0, 5000), PATH);
    world.settle();
    revoke(&mut world, first);
    world.delegate(stream, (2000, 5000), OTHER);
    world.settle();
    let lost: Fate = Err((LostReason::Revoked, [span(0, 2000)].into_iter().collect()));
    assert_eq!(fates(&mut world, first), [lost]);
}

/// [GRANT-13]: failover does not wait for draining, and late bytes still fill the holes that are asked
/// for again. GRANT_DONE may come before them: it says that they are on their way.
#[test]
fn a_slow_grant_is_reported_at_once_and_its_late_bytes_count() {
    for done_overtakes in [true, false] {
        let mut world = joined();
        world.secondary(2, |s, _| s.service = Service::Ignore);
        let hold = world.hold(PATH, Side::Client, What::Segments);
        let control = world.hold(PATH, Side::Client, What::Control);
        let stream = world.open_stream();
        let slow = world.delegate(stream, (0, 5000), PATH);
        if done_overtakes {
            world.lift(control);
        }
        world.advance(Duration::from_millis(5300));
        let fate = fates(&mut world, slow);
        assert!(
            matches!(fate[..], [Err((LostReason::NotStarted, _))]),
            "{fate:?}"
        );
        let again = world.delegate(stream, (0, 5000), OTHER);
        world.lift(control);
        world.settle();
        world.lift(hold);
        world.settle();
        assert_eq!(
            world.read_to(stream),
            5000,
            "GRANT_DONE first: {done_overtakes}"
        );
        assert_eq!(fates(&mut world, again), [Ok(5000)]);
        assert!(is_active(&mut world, PATH));
        assert_eq!(fates(&mut world, slow).len(), 1, "one final status");
    }
}

/// [GRANT-10]: bytes of a grant that is reported lost are placed only where a live one asks for them.
/// The primary may have decided otherwise about the rest.
#[test]
fn late_bytes_of_a_lost_grant_count_only_where_they_are_asked_for_again() {
    let mut world = joined();
    world.secondary(2, |s, _| s.service = Service::Ignore);
    let hold = world.hold(PATH, Side::Client, What::Segments);
    let stream = world.open_stream();
    let slow = world.delegate(stream, (0, 5000), PATH);
    world.advance(Duration::from_millis(5300));
    assert_eq!(fates(&mut world, slow).len(), 1);
    world.delegate(stream, (0, 2000), OTHER);
    world.settle();
    world.lift(hold);
    world.settle();
    assert!(world.read_to(stream) <= 2000, "{}", world.read_to(stream));
    assert!(is_active(&mut world, PATH));
}

/// A path with all the grants that it may have dies: the statuses that are owed are no flood, and
/// there can be no more of them than that [GRANT-14].
#[test]
fn the_statuses_that_a_dead_path_owes_are_no_flood() {
    let mut world = joined();
    world.secondary(1, |s, _| s.service = Service::Ignore);
    let stream = world.open_stream();
    let max = Setup::default().config.server.grants_per_path_max as u64;
    for index in 0..max {
        world.delegate(stream, (index * 10, index * 10 + 10), PATH);
    }
    let more = world.primary(|p, cx| {
        let range = span(max * 10, max * 10 + 10);
        p.session
            .delegate(cx.now, stream, range, PATH, Bytes::new(), cx.carriers)
    });
    assert!(
        matches!(more, Err(StreamError::Misuse(Misuse::Limit(_)))),
        "{more:?}"
    );
    world.settle();
    world.crash(1);
    world.advance(Duration::from_secs(5));
    assert_open(&mut world);
    let lost = world.primary(|p, _| {
        let lost = |event: &&PrimaryEvent| matches!(event, PrimaryEvent::GrantLost { .. });
        p.events.iter().filter(lost).count() as u64
    });
    assert_eq!(lost, max, "one each");
    world.delegate(stream, (0, max * 10), OTHER);
    world.finish(stream);
    world.settle();
    assert!(world.is_whole(stream, max * 10));
}

/// A GRANT meets a stream that the client has finished with: forgotten, or waiting for what it sent
/// there to be acknowledged [GRANT-5].
#[test]
fn a_grant_for_a_stream_that_is_over_is_lost_and_nothing_else() {
    for forgotten in [true, false] {
        let mut world = joined();
        let deaf = |world: &mut World| world.hold(PathId::PRIMARY, Side::Server, What::All);
        let early = (!forgotten).then(|| deaf(&mut world));
        let stream = world.open_stream();
        world.delegate(stream, (0, 1000), PATH);
        world.settle();
        let hold = early.unwrap_or_else(|| deaf(&mut world));
        world
            .client(|c, cx| c.session.stop(cx, stream, 99))
            .expect("open");
        world.client(|c, _| c.readers.clear());
        world.settle();
        // The primary has not heard of it.
        let late = world.delegate(stream, (1000, 2000), PATH);
        world.settle();
        world.lift(hold);
        world.settle();
        assert_open(&mut world);
        assert!(is_active(&mut world, PATH));
        let fate = fates(&mut world, late);
        assert!(matches!(fate[..], [Err((LostReason::Gone, _))]), "{fate:?}");
        world.assert_no_carrier_leaks(PATH);
        world.assert_no_carrier_leaks(PathId::PRIMARY);
    }
}

/// A GRANT meets a path that the client has given up [GRANT-5].
#[test]
fn a_grant_for_a_dead_path_is_lost_and_nothing_else() {
    let mut world = joined();
    let stream = world.open_stream();
    let hold = world.hold(PathId::PRIMARY, Side::Server, What::All);
    world.fail(PATH, crate::carrier::DownCause::TimedOut);
    world.settle();
    let late = world.delegate(stream, (0, 1000), PATH);
    world.settle();
    world.lift(hold);
    world.settle();
    assert!(matches!(
        fates(&mut world, late)[..],
        [Err((LostReason::Path, _))]
    ));
    assert_open(&mut world);
}

/// [GRANT-5] [GRANT-19]: a grant that is answered at once reports what is missing, and no more; and
/// [END-9] its range stays one that nobody brings: the reader would wait for ever.
#[test]
fn a_grant_that_is_not_forwarded_reports_exactly_what_is_missing() {
    let mut world = joined();
    let stream = world.open_stream();
    world.write_at(stream, (500, 600));
    world.write_at(stream, (0, 100));
    world.settle();
    let hold = world.hold(PathId::PRIMARY, Side::Server, What::All);
    world.fail(PATH, crate::carrier::DownCause::TimedOut);
    world.settle();
    let late = world.delegate(stream, (0, 1000), PATH);
    world.settle();
    world.lift(hold);
    world.settle();
    let holes = [span(100, 500), span(600, 1000)].into_iter().collect();
    assert_eq!(
        fates(&mut world, late),
        [Err((LostReason::Path, holes)) as Fate]
    );
    world.advance(Duration::from_secs(31));
    let end = world.client(|c, _| c.readers[&stream].end.clone());
    assert_eq!(end, Some(Err(StreamError::Hole(span(100, 500)))));
}

/// [GRANT-12]: a grant that is passed over by younger ones of its stream is lost too, although its
/// path is at work: it could hold up the reader for ever.
#[test]
fn a_grant_that_is_passed_over_is_lost_in_time() {
    let mut world = joined();
    world.secondary(1, |s, _| s.service = Service::Ignore);
    let stream = world.open_stream();
    let passed_over = world.delegate(stream, (0, 1000), PATH);
    world.settle();
    world.secondary(1, |s, _| {
        s.forget_new();
        s.service = Service::Fill;
    });
    for index in 1..8 {
        world.delegate(stream, (index * 1000, index * 1000 + 1000), PATH);
        world.advance(Duration::from_secs(1));
    }
    assert!(matches!(
        fates(&mut world, passed_over)[..],
        [Err((LostReason::NotStarted, _))]
    ));
    world.delegate(stream, (0, 1000), OTHER);
    world.settle();
    assert_eq!(world.read_to(stream), 8000);
    assert!(is_active(&mut world, PATH));
}

/// Whatever becomes of a grant, the primary hears it once [GRANT-3].
#[test]
fn every_grant_has_exactly_one_final_status() {
    for seed in 0..30 {
        let mut world = Setup {
            seed: Some(seed),
            ..Setup::default()
        }
        .joined();
        let stream = world.open_stream();
        let mut grants = Vec::new();
        for index in 0..20 {
            let path = if index % 2 == 0 { PATH } else { OTHER };
            grants.push(world.delegate(stream, (index * 3000, index * 3000 + 3000), path));
        }
        world.settle_until(|world| world.read_to(stream) > 8000);
        for &grant in grants
            .iter()
            .skip((seed % 5).try_into().expect("small"))
            .step_by(3)
        {
            // Some of them have ended already.
            let _ = world.primary(|p, cx| p.session.revoke(cx.now, grant, cx.carriers));
        }
        match seed % 3 {
            0 => world.crash(2),
            1 => world.fail(OTHER, crate::carrier::DownCause::TimedOut),
            _ => {}
        }
        world.advance(Duration::from_secs(10));
        for grant in grants {
            assert_eq!(
                fates(&mut world, grant).len(),
                1,
                "seed {seed}, grant {grant}"
            );
        }
        assert_open(&mut world);
    }
}

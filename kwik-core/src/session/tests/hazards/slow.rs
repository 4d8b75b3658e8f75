//! Secondaries that bring little: who is waited for, and who is not [GRANT-12].

use std::time::Duration;

use super::{Fate, PATH, fates, is_active, joined};
use crate::ids::GrantId;
use crate::session::tests::net::Side;
use crate::session::tests::world::{What, World, span};
use crate::wire::LostReason;

/// Delivers a byte of a carrier each second, the header at first.
fn drip(world: &mut World, carrier: u64, seconds: u64) {
    world.deliver(PATH, Side::Client, carrier, (0, 16));
    for at in 16..16 + seconds {
        world.deliver(PATH, Side::Client, carrier, (at, at + 1));
        world.advance(Duration::from_secs(1));
    }
}

/// [GRANT-12]: each byte that came let both clocks start anew, so that a byte a second was waited for
/// for as long as there were bytes. A reader that does not wait leaves it to the path's clock.
#[test]
fn who_drips_is_not_waited_for() {
    for is_read in [true, false] {
        let mut world = joined();
        let hold = world.hold(PATH, Side::Client, What::Segments);
        let stream = world.open_stream();
        if !is_read {
            world.limit_reader(stream, 0);
        }
        let grant = world.delegate(stream, (0, 20_000), PATH);
        world.settle();
        let carrier = world.segment_in_flight(PATH);
        drip(&mut world, carrier, 4);
        assert_eq!(fates(&mut world, grant), [], "it has its time");
        world.advance(Duration::from_secs(2));
        let lost: Fate = Err((
            LostReason::NotStarted,
            [span(4, 20_000)].into_iter().collect(),
        ));
        assert_eq!(fates(&mut world, grant), [lost]);
        world.lift(hold);
        world.settle();
        assert!(is_active(&mut world, PATH), "it is no violation");
    }
}

/// [GRANT-12]: the path is at work, but drips for the grant at which the reader waits.
#[test]
fn who_drips_for_the_reader_alone_is_not_waited_for() {
    let mut world = joined();
    let hold = world.hold(PATH, Side::Client, What::Segments);
    let stream = world.open_stream();
    let dripping = world.delegate(stream, (0, 20_000), PATH);
    world.settle();
    let slow = world.segment_in_flight(PATH);
    let busy = world.delegate(stream, (20_000, 60_000), PATH);
    world.settle();
    let conn = world.conn(PATH);
    let carriers = world.net.in_flight(conn, Side::Client);
    let fast = carriers.iter().find(|(carrier, _)| *carrier != slow);
    let fast = fast.expect("a segment of the other grant").0;
    world.deliver(PATH, Side::Client, slow, (0, 16));
    for at in 0..6 {
        world.deliver(PATH, Side::Client, slow, (16 + at, 17 + at));
        world.deliver(PATH, Side::Client, fast, (at * 6000, at * 6000 + 6000));
        world.advance(Duration::from_secs(1));
    }
    let fate = fates(&mut world, dripping);
    assert!(
        matches!(fate[..], [Err((LostReason::NotStarted, _))]),
        "{fate:?}"
    );
    assert_eq!(fates(&mut world, busy), [], "the other is at work");
    world.lift(hold);
    world.settle();
    assert_eq!(fates(&mut world, busy), [Ok(60_000)]);
}

/// [GRANT-12]: the grants of a path share its pace, so none of them has to keep it alone.
#[test]
fn each_of_many_grants_has_to_bring_its_share_alone() {
    let mut world = joined();
    let hold = world.hold(PATH, Side::Client, What::Segments);
    let stream = world.open_stream();
    let grants: Vec<GrantId> = (0..8)
        .map(|index| world.delegate(stream, (index * 4000, index * 4000 + 4000), PATH))
        .collect();
    world.settle();
    let conn = world.conn(PATH);
    let carriers = world.net.in_flight(conn, Side::Client);
    assert_eq!(carriers.len(), grants.len(), "all are served at once");
    for at in 0..12 {
        for (carrier, _) in &carriers {
            world.deliver(PATH, Side::Client, *carrier, (at * 200, at * 200 + 200));
        }
        world.advance(Duration::from_secs(1));
    }
    world.lift(hold);
    world.settle();
    for grant in grants {
        let fate = fates(&mut world, grant);
        assert!(matches!(fate[..], [Ok(_)]), "{fate:?}");
    }
}

/// [GRANT-12]: little is enough if nothing else is asked for. The clock of a path that has brought all
/// it had to begins anew for what it is asked for next, however little that was.
#[test]
fn a_small_grant_that_came_whole_is_enough() {
    let mut world = joined();
    let hold = world.hold(PATH, Side::Client, What::Segments);
    let stream = world.open_stream();
    world.limit_reader(stream, 0);
    let small = world.delegate(stream, (0, 1000), PATH);
    world.settle();
    let carrier = world.segment_in_flight(PATH);
    world.advance(Duration::from_secs(4));
    let next = world.delegate(stream, (1000, 21_000), PATH);
    world.settle();
    world.deliver(PATH, Side::Client, carrier, (0, 1016));
    world.settle();
    assert_eq!(fates(&mut world, small), [Ok(1000)]);
    world.advance(Duration::from_secs(4));
    assert_eq!(fates(&mut world, next), [], "asked for a moment ago");
    world.lift(hold);
    world.settle();
    assert_eq!(fates(&mut world, next), [Ok(21_000)]);
}

/// [GRANT-12]: nobody owes the bytes of a grant that was taken back.
#[test]
fn what_was_taken_back_is_not_waited_for() {
    let mut world = joined();
    let hold = world.hold(PATH, Side::Client, What::Segments);
    let stream = world.open_stream();
    world.limit_reader(stream, 0);
    let revoked = world.delegate(stream, (1000, 4000), PATH);
    world.settle();
    let small = world.delegate(stream, (0, 1000), PATH);
    world.settle();
    let carriers = world.net.in_flight(world.conn(PATH), Side::Client);
    let carrier = carriers.last().expect("a segment of each").0;
    world.advance(Duration::from_secs(3));
    world
        .primary(|p, cx| p.session.revoke(cx.now, revoked, cx.carriers))
        .expect("live");
    world.advance(Duration::from_secs(1));
    let next = world.delegate(stream, (4000, 24_000), PATH);
    world.settle();
    world.deliver(PATH, Side::Client, carrier, (0, 1016));
    world.settle();
    assert_eq!(fates(&mut world, small), [Ok(1000)]);
    world.advance(Duration::from_secs(4));
    assert_eq!(fates(&mut world, next), [], "asked for a moment ago");
    world.lift(hold);
}

/// [GRANT-12]: the clocks ran on while everybody was cut off, and an honest path lost its grants as soon
/// as it was heard again. They go on where they stood, and not anew: answers to probes bring nothing.
#[test]
fn an_outage_is_nobodys_delay() {
    for is_read in [true, false] {
        let mut world = joined();
        let hold = world.hold(PATH, Side::Client, What::Segments);
        let stream = world.open_stream();
        if !is_read {
            world.limit_reader(stream, 0);
        }
        let grant = world.delegate(stream, (0, 20_000), PATH);
        world.settle();
        world.advance(Duration::from_secs(1));
        world.cut_all();
        world.advance(Duration::from_millis(3500));
        world.heal();
        world.advance(Duration::from_secs(2));
        assert_eq!(fates(&mut world, grant), [], "read: {is_read}");
        world.advance(Duration::from_millis(2500));
        let fate = fates(&mut world, grant);
        assert!(
            matches!(fate[..], [Err((LostReason::NotStarted, _))]),
            "read: {is_read}: {fate:?}"
        );
        world.lift(hold);
        world.settle();
        assert!(is_active(&mut world, PATH));
    }
}

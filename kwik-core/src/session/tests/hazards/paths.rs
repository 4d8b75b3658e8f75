//! Dialling, joining, silence and retirement.

use std::time::Duration;

use bytes::Bytes;

use super::{OTHER, PATH, assert_open, fates, is_active, joined};
use crate::carrier::{DownCause, Output};
use crate::error::{CloseReason, code};
use crate::event::{ClientEvent, PathEvent, SecondaryEvent};
use crate::ids::PathId;
use crate::path::{PathPhase, RawTarget};
use crate::session::tests::apps::Service;
use crate::session::tests::hand::{self, HandPrimary};
use crate::session::tests::net::Side;
use crate::session::tests::world::{DialFate, Setup, What, World};
use crate::wire::{ControlFrame, Joined, LostReason, PathStatus, PathStatusState, Refused};

/// A world whose secondaries have not been named yet.
fn connected() -> World {
    let mut world = Setup::default().build();
    world.settle();
    world
}

fn was_told(world: &mut World, event: PathEvent) -> bool {
    world.client(|c, _| c.events.contains(&ClientEvent::Path(event)))
}

fn send_message(world: &mut World, path: PathId, message: &'static [u8]) {
    let sent = world.primary(|p, cx| {
        let bytes = Bytes::from_static(message);
        p.session
            .send_raw(cx.now, path, RawTarget::Message, bytes, cx.carriers)
    });
    assert_eq!(sent, Ok(None));
}

/// GRANT and RAW before JOINED wait, and leave in their order [GRANT-4] [JOIN-10].
#[test]
fn orders_before_the_join_wait_for_it() {
    let mut world = connected();
    world.sites[1].dials = DialFate::AcceptAfter(Duration::from_secs(1));
    world.sites[1].service = Service::Ignore;
    let path = world.add_path(1);
    let stream = world.open_stream();
    send_message(&mut world, path, b"first");
    let grant = world.delegate(stream, (0, 1000), path);
    send_message(&mut world, path, b"third");
    world.settle();
    world.advance(Duration::from_secs(2));
    world.secondary(1, |s, _| {
        let kinds: Vec<_> = s.events.iter().map(std::mem::discriminant).collect();
        assert_eq!(kinds.len(), 4, "{:?}", s.events);
        assert_eq!(
            s.events[1],
            SecondaryEvent::Raw(Bytes::from_static(b"first"))
        );
        assert!(
            matches!(s.events[2], SecondaryEvent::Grant { grant: granted, .. } if granted == grant)
        );
        assert_eq!(
            s.events[3],
            SecondaryEvent::Raw(Bytes::from_static(b"third"))
        );
    });
}

/// Work that waits for a dial is no reason to suspect the path of silence, not even when some of it was
/// answered already.
#[test]
fn a_path_that_is_dialled_is_not_suspected_of_silence() {
    let mut setup = Setup::default();
    setup.config.client.outbox_bytes_max = 100;
    let mut world = setup.build();
    world.settle();
    world.sites[1].dials = DialFate::AcceptAfter(Duration::from_secs(3));
    let path = world.add_path(1);
    let stream = world.open_stream();
    for start in [0, 1000, 2000] {
        world.delegate(stream, (start, start + 1000), path);
    }
    world.advance(Duration::from_secs(4));
    assert!(is_active(&mut world, path));
}

/// A dial that fails answers the grants that waited for it.
#[test]
fn grants_that_wait_for_a_failed_dial_are_lost() {
    let mut world = connected();
    world.sites[1].dials = DialFate::Silence;
    let path = world.add_path(1);
    let stream = world.open_stream();
    let grant = world.delegate(stream, (0, 1000), path);
    world.settle();
    assert_eq!(fates(&mut world, grant), []);
    world.advance(Duration::from_secs(11));
    assert!(matches!(
        fates(&mut world, grant)[..],
        [Err((LostReason::Path, _))]
    ));
    assert_open(&mut world);
}

/// RETIRE during a dial cancels it, and the path does not come back [PATH-8].
#[test]
fn retiring_during_a_dial_cancels_it() {
    let mut world = connected();
    world.sites[1].dials = DialFate::AcceptAfter(Duration::from_secs(1));
    let path = world.add_path(1);
    let stream = world.open_stream();
    let grant = world.delegate(stream, (0, 1000), path);
    world.settle();
    world
        .primary(|p, cx| p.session.retire_path(cx.now, path, cx.carriers))
        .expect("named");
    world.advance(Duration::from_secs(3));
    assert!(was_told(&mut world, PathEvent::Retired(path)));
    assert!(!was_told(&mut world, PathEvent::Active(path)));
    assert_eq!(world.newest(1), None, "nobody was connected to");
    assert_eq!(fates(&mut world, grant).len(), 1);
}

#[test]
fn retiring_during_a_join_cancels_it() {
    let mut world = connected();
    let path = world.add_path(1);
    assert!(world.settle_until(|world| world.newest(1).is_some()));
    let hold = world.hold(path, Side::Client, What::Control);
    world.settle();
    world
        .primary(|p, cx| p.session.retire_path(cx.now, path, cx.carriers))
        .expect("named");
    world.settle();
    world.lift(hold);
    world.settle();
    assert!(was_told(&mut world, PathEvent::Retired(path)));
    assert!(!was_told(&mut world, PathEvent::Active(path)));
    assert!(!world.is_joined(1));
}

/// A retired path finishes what it has, and then closes [PATH-8].
#[test]
fn a_retired_path_finishes_what_it_has() {
    let mut world = joined();
    let hold = world.hold(PATH, Side::Client, What::Segments);
    let stream = world.open_stream();
    let grant = world.delegate(stream, (0, 5000), PATH);
    world.settle();
    world
        .primary(|p, cx| p.session.retire_path(cx.now, PATH, cx.carriers))
        .expect("active");
    world.settle();
    assert!(world.is_joined(1), "it still has work");
    world.lift(hold);
    world.settle();
    assert_eq!(fates(&mut world, grant), [Ok(5000)]);
    assert!(was_told(&mut world, PathEvent::Retired(PATH)));
    assert!(!world.is_joined(1));
    world.primary(|p, _| {
        let info = p.session.paths().into_iter().find(|info| info.path == PATH);
        assert_eq!(info.map(|info| info.phase), Some(PathPhase::Retired));
    });
}

/// The last byte of its last grant ends the path, and counts all the same.
#[test]
fn the_bytes_that_end_a_retired_path_are_counted() {
    let mut world = joined();
    let hold = world.hold(PATH, Side::Client, What::Segments);
    let stream = world.open_stream();
    world.delegate(stream, (0, 5000), PATH);
    world
        .primary(|p, cx| p.session.retire_path(cx.now, PATH, cx.carriers))
        .expect("active");
    world.settle();
    world.lift(hold);
    world.settle();
    let paths = world.client(|c, cx| c.session.paths(cx.carriers));
    let info = paths.iter().find(|info| info.path == PATH);
    let seen = info.map(|info| (info.phase, info.received_bytes));
    assert_eq!(seen, Some((PathPhase::Retired, 5000)));
}

/// [PATH-8]
#[test]
fn a_retired_path_with_endless_work_closes_in_time() {
    let mut world = joined();
    world.secondary(1, |s, _| s.service = Service::Ignore);
    let stream = world.open_stream();
    // Without credit its clock stands, so only the retirement's own bound ends it.
    world.limit_reader(stream, 0);
    let start = 10 * super::window();
    let grant = world.delegate(stream, (start, start + 5000), PATH);
    world.settle();
    world
        .primary(|p, cx| p.session.retire_path(cx.now, PATH, cx.carriers))
        .expect("active");
    world.advance(Duration::from_secs(13));
    assert!(was_told(&mut world, PathEvent::Retired(PATH)));
    assert_eq!(fates(&mut world, grant).len(), 1);
}

/// A silent secondary with work is dead long before QUIC gives it up [PATH-6].
#[test]
fn a_secondary_that_falls_silent_is_dead_in_time() {
    let mut world = joined();
    let stream = world.open_stream();
    world.secondary(1, |s, _| s.service = Service::Ignore);
    let grant = world.delegate(stream, (0, 5000), PATH);
    world.settle();
    // The primary is idle, so nothing but the probes is heard [PATH-7].
    world.crash(1);
    world.advance(Duration::from_secs(3));
    assert!(was_told(&mut world, PathEvent::Dead(PATH)));
    assert!(matches!(
        fates(&mut world, grant)[..],
        [Err((LostReason::Path, _))]
    ));
    assert!(is_active(&mut world, OTHER));
}

/// [PATH-7]: with no other secondary, the primary is the one to be asked, and it alone.
#[test]
fn a_dead_secondary_is_found_although_there_is_no_other() {
    let mut world = Setup {
        secondaries: 1,
        ..Setup::default()
    }
    .joined();
    let stream = world.open_stream();
    world.secondary(1, |s, _| s.service = Service::Ignore);
    world.delegate(stream, (0, 5000), PATH);
    world.settle();
    world.crash(1);
    world.advance(Duration::from_secs(3));
    assert!(was_told(&mut world, PathEvent::Dead(PATH)));
}

/// [PATH-7]: the primary is slow or idle, and one secondary dies: another one bears witness.
#[test]
fn a_dead_secondary_is_found_while_the_primary_is_silent() {
    let mut world = joined();
    let stream = world.open_stream();
    world.secondary(1, |s, _| s.service = Service::Ignore);
    let grant = world.delegate(stream, (0, 5000), PATH);
    world.settle();
    let slow = world.hold(PathId::PRIMARY, Side::Client, What::All);
    world.crash(1);
    world.advance(Duration::from_secs(3));
    assert!(was_told(&mut world, PathEvent::Dead(PATH)));
    assert!(is_active(&mut world, OTHER));
    world.lift(slow);
    world.settle();
    assert!(matches!(
        fates(&mut world, grant)[..],
        [Err((LostReason::Path, _))]
    ));
    assert_open(&mut world);
}

/// [PATH-7]: one that is suspected itself is asked only if there is no other.
#[test]
fn of_two_dead_secondaries_neither_hides_the_other() {
    let mut world = Setup {
        secondaries: 3,
        ..Setup::default()
    }
    .joined();
    let stream = world.open_stream();
    for (site, path) in [(1, PATH), (2, OTHER)] {
        world.secondary(site, |s, _| s.service = Service::Ignore);
        let start = site as u64 * 5000;
        world.delegate(stream, (start, start + 5000), path);
    }
    world.settle();
    world.hold(PathId::PRIMARY, Side::Client, What::All);
    world.crash(1);
    world.crash(2);
    world.advance(Duration::from_secs(3));
    for path in [PATH, OTHER] {
        assert!(was_told(&mut world, PathEvent::Dead(path)), "{path}");
    }
    assert!(is_active(&mut world, PathId(3)));
}

#[test]
fn a_silent_secondary_without_work_is_left_alone() {
    let mut world = joined();
    let stream = world.open_stream();
    world.delegate(stream, (0, 5000), PATH);
    world.settle();
    let hold = world.hold(PATH, Side::Client, What::All);
    world.advance(Duration::from_secs(25));
    assert!(is_active(&mut world, PATH));
    world.lift(hold);
    world.settle();
}

/// Two work at once; the transfer needs both after the outage.
fn with_two_at_work() -> (World, crate::ids::StreamId) {
    let mut world = joined();
    let stream = world.open_stream();
    world.limit_reader(stream, 1000);
    world.set_offset(stream, 2 * super::window());
    world.delegate(stream, (0, super::window()), PATH);
    world.delegate(stream, (super::window(), 2 * super::window()), OTHER);
    world.finish(stream);
    assert!(world.settle_until(|world| world.read_to(stream) == 1000));
    (world, stream)
}

/// An outage of the client is not the death of every server.
#[test]
fn an_outage_of_the_client_kills_nobody() {
    for seconds in [2, 5, 20] {
        let (mut world, stream) = with_two_at_work();
        world.cut_all();
        world.advance(Duration::from_secs(seconds));
        world.heal();
        world.advance(Duration::from_secs(1));
        assert!(
            is_active(&mut world, PATH) && is_active(&mut world, OTHER),
            "{seconds} s"
        );
        world.limit_reader(stream, u64::MAX);
        world.advance(Duration::from_secs(1));
        assert!(world.is_whole(stream, 2 * super::window()), "{seconds} s");
    }
}

/// Nor is a pause of its process, after which every timer is late [PATH-7].
#[test]
fn a_pause_of_the_client_kills_nobody() {
    for seconds in [2, 5, 20] {
        let (mut world, stream) = with_two_at_work();
        world.pause_client(Duration::from_secs(seconds));
        world.advance(Duration::from_secs(1));
        assert!(
            is_active(&mut world, PATH) && is_active(&mut world, OTHER),
            "{seconds} s"
        );
        world.limit_reader(stream, u64::MAX);
        world.advance(Duration::from_secs(1));
        assert!(world.is_whole(stream, 2 * super::window()), "{seconds} s");
    }
}

/// [PATH-7]: after an outage the primary answers first; the secondary is not dead for that.
#[test]
fn who_answers_last_after_an_outage_is_not_dead() {
    let mut world = joined();
    let stream = world.open_stream();
    world.secondary(1, |s, _| s.service = Service::Ignore);
    world.limit_reader(stream, 0);
    world.delegate(stream, (0, 5000), PATH);
    world.settle();
    world.cut_all();
    world.advance(Duration::from_secs(5));
    // The primary is heard one second before the secondary.
    let late = world.hold(PATH, Side::Client, What::All);
    world.heal();
    world.advance(Duration::from_secs(1));
    assert!(is_active(&mut world, PATH));
    world.lift(late);
    world.heal();
    world.advance(Duration::from_secs(2));
    assert!(is_active(&mut world, PATH));
}

/// JOINED is lost: the same ticket joins again, on a newer connection, until a command was accepted.
#[test]
fn the_same_ticket_joins_again_until_a_command_was_accepted() {
    let mut world = Setup {
        scripted_client: true,
        ..Setup::default()
    }
    .build();
    world.settle();
    let target = world.sites[1].target();
    let peer = hand::master().peer_key(&world.sites[1].pin);
    let ticket = peer.issue(&hand::ticket(&world, PATH));
    let dial = |world: &mut World, path: PathId| {
        let target = target.clone();
        world.scripted_client(|c, _| c.push(Output::Dial { path, target }));
        world.settle();
    };
    let join = |world: &mut World, conn: PathId| {
        let ticket = ticket.clone();
        world.scripted_client(|c, cx| {
            let join = hand::join(ticket, PATH, &c.exporter(conn));
            c.send(conn, &ControlFrame::Join(join), cx.carriers);
        });
        world.settle();
        world.scripted_client(|c, _| c.frames(conn))
    };
    // Three connections for one path, as the client names them: only the newest lives.
    dial(&mut world, PathId(11));
    assert_eq!(join(&mut world, PathId(11)), [ControlFrame::Joined(Joined)]);
    let first = world.newest(1).expect("joined");
    dial(&mut world, PathId(12));
    assert_eq!(join(&mut world, PathId(12)), [ControlFrame::Joined(Joined)]);
    // The older connection is closed, and says nothing more [JOIN-7].
    let down = world.scripted_client(|c, _| c.down(PathId(11)).cloned());
    assert_eq!(down, Some(DownCause::ClosedByPeer(code::PATH_ENDED)));
    world.as_secondary(first, |s, _| {
        assert_eq!(
            s.events.last(),
            Some(&SecondaryEvent::Closed(CloseReason::Local))
        );
    });
    assert!(world.is_joined(1));
    // A command makes the connection the one.
    let mut sealer = crate::ticket::Sealer::new(&peer, hand::SESSION, PATH);
    let raw = crate::wire::Raw {
        path: PATH,
        sealed: sealer.seal_raw(b"to work"),
    };
    world.scripted_client(|c, cx| c.send(PathId(12), &ControlFrame::Raw(raw), cx.carriers));
    world.settle();
    let working = world.newest(1).expect("joined");
    dial(&mut world, PathId(13));
    assert_eq!(
        join(&mut world, PathId(13)),
        [ControlFrame::Refused(Refused { code: code::JOIN })]
    );
    world.as_secondary(working, |s, _| assert!(!s.session.is_closed()));
}

/// A dial that comes up after its path was given up belongs to nobody.
#[test]
fn a_dial_that_is_answered_too_late_joins_nothing() {
    let mut world = connected();
    world.sites[1].dials = DialFate::AcceptAfter(Duration::from_secs(11));
    let path = world.add_path(1);
    world.advance(Duration::from_secs(15));
    assert!(was_told(&mut world, PathEvent::Dead(path)));
    assert!(!world.is_joined(1));
}

/// [PATH-9]: the end of a path is told before what it costs, or the primary would grant the same
/// ranges to it again.
#[test]
fn the_end_of_a_path_is_told_before_its_grants_are_lost() {
    let mut world = Setup {
        scripted_primary: true,
        ..Setup::default()
    }
    .build();
    let mut primary = HandPrimary::welcome(&mut world);
    world.sites[1].service = Service::Ignore;
    let path = primary.add_path(&mut world, 1);
    let stream = HandPrimary::open_stream(&mut world);
    HandPrimary::aggregate(&mut world, stream, 0);
    primary.grant(&mut world, path, stream, (0, 1000));
    world.settle();
    let status = |state| ControlFrame::PathStatus(PathStatus { path, state });
    assert!(HandPrimary::frames(&mut world).contains(&status(PathStatusState::Active)));
    world.fail(path, DownCause::TimedOut);
    world.settle();
    let frames = HandPrimary::frames(&mut world);
    assert_eq!(frames.first(), Some(&status(PathStatusState::Dead)));
    assert!(
        matches!(frames[..], [_, ControlFrame::GrantStatus(_)]),
        "{frames:?}"
    );
}

/// A server that accepts every connection and never the join costs one deadline [PATH-5].
#[test]
fn a_join_that_is_never_answered_fails_with_the_dial() {
    let mut world = connected();
    world.sites[1].scripted = true;
    let path = world.add_path(1);
    world.advance(Duration::from_secs(9));
    assert!(!was_told(&mut world, PathEvent::Dead(path)));
    world.advance(Duration::from_secs(2));
    assert!(was_told(&mut world, PathEvent::Dead(path)));
}

/// [JOIN-9] [PATH-4]: dials that wait for their turn come while their tickets are good.
#[test]
fn dials_that_wait_for_their_turn_still_join() {
    let mut setup = Setup {
        secondaries: 6,
        ..Setup::default()
    };
    setup.config.client.dial.dials_max = 1;
    let mut world = setup.build();
    world.settle();
    // Five silent servers take ten seconds each before it is the last one's turn.
    for site in 1..=5 {
        world.sites[site].dials = DialFate::Silence;
    }
    for site in 1..=6 {
        world.add_path(site);
    }
    world.advance(Duration::from_secs(55));
    assert!(world.is_joined(6));
}

/// [SEG-4]: a segment that found no carrier goes on when there is one, and only then.
#[test]
fn a_segment_without_a_carrier_goes_on_when_there_is_one() {
    let mut setup = Setup::default();
    setup.config.quic.segments_max = 1;
    let mut world = setup.joined();
    let stream = world.open_stream();
    let hold = world.hold(PATH, Side::Client, What::Segments);
    world.delegate(stream, (0, 100_000), PATH);
    world.delegate(stream, (100_000, 200_000), PATH);
    world.finish(stream);
    world.settle();
    let calls = world.calls();
    world.settle();
    assert_eq!(world.calls(), calls, "nobody tries again and again");
    world.lift(hold);
    world.settle();
    assert!(world.is_whole(stream, 200_000));
}

/// On a closed connection nobody waits for a carrier.
#[test]
fn a_write_on_a_closed_connection_ends() {
    let mut world = joined();
    world.secondary(1, |s, _| s.service = Service::Ignore);
    let stream = world.open_stream();
    let grant = world.delegate(stream, (0, 1000), PATH);
    world.settle();
    let conn = world.conn(PATH);
    world.net.fail(conn, Side::Server, DownCause::TimedOut);
    world.secondary(1, |s, cx| {
        // The session has not heard of it yet.
        let segment = s.session.open_segment(grant).expect("granted");
        let mut data = Bytes::from_static(b"x");
        let written = s.session.write_segment(segment, &mut data, cx.carriers);
        assert!(written.is_err(), "{written:?}");
    });
    world.settle();
    assert!(!world.is_joined(1));
}

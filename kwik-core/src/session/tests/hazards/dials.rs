//! Redials, and how often is dialled.

use std::time::Duration;

use bytes::Bytes;

use super::{OTHER, PATH, assert_open, fates, is_active};
use crate::event::{ClientEvent, PathEvent, SecondaryEvent};
use crate::ids::PathId;
use crate::path::PathPhase;
use crate::session::tests::apps::Service;
use crate::session::tests::net::Side;
use crate::session::tests::world::{DialFate, Setup, What, World};
use crate::wire::{ControlFrame, Joined};

const THIRD: Duration = Duration::from_nanos(10_000_000_000 / 3);
const MOMENT: Duration = Duration::from_millis(1);

/// A world whose secondaries have not been named yet.
fn connected() -> World {
    let mut world = Setup::default().build();
    world.settle();
    world
}

fn was_told(world: &mut World, event: PathEvent) -> bool {
    world.client(|c, _| c.events.contains(&ClientEvent::Path(event)))
}

/// How often each path was given up.
fn deaths(world: &mut World) -> usize {
    world.client(|c, _| {
        let is_death =
            |event: &&ClientEvent| matches!(event, ClientEvent::Path(PathEvent::Dead(_)));
        c.events.iter().filter(is_death).count()
    })
}

fn phase(world: &mut World, path: PathId) -> Option<PathPhase> {
    let infos = world.client(|c, cx| c.session.paths(cx.carriers));
    let info = infos.into_iter().find(|info| info.path == path);
    info.map(|info| info.phase)
}

/// [PATH-5]: the first connection gets no answer; a fresh one is begun when a third of the deadline
/// has passed, not before and not after, and what waits for the path leaves on it.
#[test]
fn a_dial_without_an_answer_is_begun_afresh_at_a_third_of_its_time() {
    let mut world = connected();
    world.sites[1].dials = DialFate::Silence;
    world.sites[1].service = Service::Ignore;
    let path = world.add_path(1);
    let stream = world.open_stream();
    let grant = world.delegate(stream, (0, 1000), path);
    world.settle();
    world.sites[1].dials = DialFate::Accept;
    world.advance(THIRD - MOMENT);
    assert_eq!(phase(&mut world, path), Some(PathPhase::Dialing));
    assert_eq!(
        world.newest(1),
        None,
        "a dial is not repeated before its time"
    );
    world.advance(MOMENT * 2);
    assert!(is_active(&mut world, path));
    world.secondary(1, |s, _| {
        let granted = |event: &SecondaryEvent| matches!(event, SecondaryEvent::Grant { grant: g, .. } if *g == grant);
        assert_eq!(s.events.iter().filter(|event| granted(event)).count(), 1);
    });
    assert_eq!(fates(&mut world, grant), []);
}

/// [JOIN-7] [PATH-5]: JOIN or its answer is lost. The older connection is closed before the newer
/// asks, so that the grants that waited cannot leave on one that is superseded.
#[test]
fn a_join_without_an_answer_is_asked_again_on_a_fresh_connection() {
    for lost in [Side::Client, Side::Server] {
        let mut world = connected();
        let path = world.add_path(1);
        assert!(world.settle_until(|world| world.find_conn(path).is_some()));
        let older = world.conn(path);
        world.hold_conn(older, lost, What::All);
        let stream = world.open_stream();
        let grant = world.delegate(stream, (0, 1000), path);
        world.finish(stream);
        world.settle();
        assert_eq!(
            phase(&mut world, path),
            Some(PathPhase::Joining),
            "{lost:?}"
        );
        world.advance(THIRD - MOMENT);
        assert_eq!(world.conn(path), older, "{lost:?}: too early");
        world.advance(MOMENT * 3);
        assert_ne!(world.conn(path), older, "{lost:?}: too late");
        assert!(is_active(&mut world, path), "{lost:?}");
        assert!(world.is_whole(stream, 1000), "{lost:?}");
        assert_eq!(fates(&mut world, grant), [Ok(1000)], "{lost:?}");
        world.advance(Duration::from_secs(40));
        assert!(
            is_active(&mut world, path),
            "{lost:?}: the older one's end is nobody's"
        );
        assert_open(&mut world);
    }
}

/// [JOIN-7]: an answer that comes on a connection that was replaced does not count.
#[test]
fn a_late_answer_on_an_older_connection_joins_nothing() {
    let mut world = connected();
    world.sites[1].scripted = true;
    let path = world.add_path(1);
    assert!(world.settle_until(|world| world.newest(1).is_some()));
    let older = world.newest(1).expect("dialled");
    let conn = world.conn(path);
    world.settle();
    world.hold_conn(conn, Side::Client, What::All);
    world.as_script(older, |s, cx| {
        s.send(PathId::PRIMARY, &ControlFrame::Joined(Joined), cx.carriers);
    });
    world.advance(THIRD + MOMENT);
    let newer = world.newest(1).expect("redialled");
    assert_ne!(newer, older);
    world.heal();
    world.settle();
    assert_eq!(phase(&mut world, path), Some(PathPhase::Joining));
    let asked = world.as_script(newer, |s, _| s.frames(PathId::PRIMARY));
    assert!(matches!(asked[..], [ControlFrame::Join(_)]), "{asked:?}");
    world.as_script(newer, |s, cx| {
        s.send(PathId::PRIMARY, &ControlFrame::Joined(Joined), cx.carriers);
    });
    world.settle();
    assert!(is_active(&mut world, path));
}

/// [JOIN-7]: a server opens segments before it lets the client join, begins their headers, and falls
/// silent. A client that is made to dial again and again would keep them all.
#[test]
fn segments_of_a_connection_that_was_replaced_are_forgotten() {
    let mut world = connected();
    world.sites[1].scripted = true;
    let path = world.add_path(1);
    assert!(world.settle_until(|world| world.newest(1).is_some()));
    let older = world.newest(1).expect("dialled");
    world.settle();
    let segments_open = |world: &mut World| world.client(|c, _| c.session.segments_open(path));
    world.as_script(older, |s, cx| {
        for _ in 0..3 {
            let carrier = cx.carriers.open_uni(PathId::PRIMARY);
            let carrier = carrier.expect("up").expect("carrier credit");
            s.write(carrier, Bytes::from_static(&[1; 8]), cx.carriers);
        }
    });
    world.settle();
    assert_eq!(segments_open(&mut world), 3);
    world.cut(path);
    world.advance(THIRD + MOMENT);
    assert_ne!(world.newest(1), Some(older), "redialled");
    assert_eq!(phase(&mut world, path), Some(PathPhase::Joining));
    assert_eq!(segments_open(&mut world), 0);
}

/// [PATH-5]: what is said before a handshake is done anybody may have said. A refusal, or a packet that
/// somebody on the way made or damaged, ended the path.
#[test]
fn a_refusal_before_a_handshake_is_done_ends_no_dial() {
    let mut world = connected();
    world.sites[1].dials = DialFate::Refuse;
    world.sites[1].service = Service::Ignore;
    let path = world.add_path(1);
    let stream = world.open_stream();
    let grant = world.delegate(stream, (0, 1000), path);
    world.settle();
    world.advance(THIRD - MOMENT);
    assert_eq!(phase(&mut world, path), Some(PathPhase::Dialing));
    world.sites[1].dials = DialFate::Accept;
    assert_eq!(world.newest(1), None, "who refuses is not dialled faster");
    world.advance(MOMENT * 2);
    assert!(is_active(&mut world, path));
    assert_eq!(fates(&mut world, grant), [], "what waits goes on waiting");
}

/// [PATH-5]: who refuses three times is believed; and a wrong pin at once.
#[test]
fn a_dial_of_which_every_connection_fails_has_failed() {
    for (fate, thirds) in [(DialFate::Refuse, 2), (DialFate::Impostor, 0)] {
        let mut world = connected();
        world.sites[1].dials = fate;
        let path = world.add_path(1);
        if thirds > 0 {
            world.advance(THIRD * thirds - MOMENT);
            assert!(!was_told(&mut world, PathEvent::Dead(path)), "{fate:?}");
        }
        world.advance(Duration::from_millis(100));
        assert!(was_told(&mut world, PathEvent::Dead(path)), "{fate:?}");
        assert_open(&mut world);
    }
}

/// [PATH-5]: the same holds for the primary.
#[test]
fn a_refused_dial_of_the_primary_is_begun_afresh() {
    let refused = || Setup {
        primary_dials: DialFate::Refuse,
        ..Setup::default()
    };
    let mut world = refused().build();
    world.advance(Duration::from_secs(1));
    world.sites[0].dials = DialFate::Accept;
    world.advance(THIRD);
    assert_open(&mut world);
    world.client(|c, _| assert!(c.events.contains(&ClientEvent::Connected)));
    let mut world = refused().build();
    world.advance(THIRD * 2 - MOMENT);
    world.client(|c, _| assert!(!c.session.is_closed()));
    world.advance(Duration::from_millis(100));
    world.client(|c, _| assert!(c.session.is_closed()));
}

/// [PATH-5]: whoever answers, if slowly, is not dialled anew for it at once.
#[test]
fn a_slow_answer_is_waited_for_as_long_as_something_is_heard() {
    let mut world = connected();
    let path = world.add_path(1);
    assert!(world.settle_until(|world| world.find_conn(path).is_some()));
    let first = world.conn(path);
    let hold = world.hold_conn(first, Side::Client, What::Control);
    for _ in 0..2 {
        world.advance(Duration::from_secs(3));
        world.net.hear(first, Side::Client);
    }
    world.lift(hold);
    world.settle();
    assert!(is_active(&mut world, path));
    assert_eq!(world.conn(path), first);
}

/// What is said before a handshake is done anybody may have said: it is no sign that this end is not
/// cut off [ERR-1] [PATH-7].
#[test]
fn a_half_made_connection_bears_no_witness_against_others() {
    let mut world = Setup::default().joined();
    world.secondary(1, |s, _| s.service = Service::Ignore);
    let stream = world.open_stream();
    world.limit_reader(stream, 0);
    world.delegate(stream, (0, 5000), PATH);
    world.settle();
    world.sites[2].dials = DialFate::Silence;
    let dialled = world.add_path(2);
    world.settle();
    world.cut_all();
    for _ in 0..80 {
        world.advance(Duration::from_millis(100));
        world.client(|c, cx| {
            let heard = crate::carrier::Input::Heard(dialled);
            c.session.handle(cx.now, heard, cx.carriers);
        });
    }
    assert!(is_active(&mut world, PATH) && is_active(&mut world, OTHER));
}

/// [PATH-4]: a primary that names path after path cannot make a client dial without end.
#[test]
fn dials_of_a_minute_are_bounded() {
    let mut setup = Setup {
        secondaries: 3,
        ..Setup::default()
    };
    setup.config.client.dial.dials_per_minute_max = 6;
    setup.config.client.dial.dials_per_minute_and_target_max = 4;
    let mut world = setup.build();
    world.settle();
    world.sites[1].dials = DialFate::Impostor;
    let churn = |world: &mut World, site: usize, times: usize| {
        for _ in 0..times {
            world.add_path(site);
            world.advance(Duration::from_millis(500));
        }
    };
    churn(&mut world, 1, 4);
    assert_eq!(deaths(&mut world), 4);
    // The host would answer by now, and is not asked.
    world.sites[1].dials = DialFate::Accept;
    let refused = world.add_path(1);
    world.settle();
    assert!(was_told(&mut world, PathEvent::Dead(refused)));
    assert_eq!(world.newest(1), None, "not dialled");
    // Another target may be, but not for ever.
    churn(&mut world, 2, 2);
    assert!(world.is_joined(2));
    let refused = world.add_path(3);
    world.settle();
    assert!(was_told(&mut world, PathEvent::Dead(refused)));
    // The primary is told what it is told of any dial that failed [PATH-9].
    world.primary(|p, _| {
        let info = p
            .session
            .paths()
            .into_iter()
            .find(|info| info.path == refused);
        assert_eq!(info.map(|info| info.phase), Some(PathPhase::Dead));
    });
    world.advance(Duration::from_secs(60));
    let again = world.add_path(3);
    world.settle();
    assert!(is_active(&mut world, again));
    assert_open(&mut world);
}

/// [PATH-4]: connections that replace a silent one are dials too.
#[test]
fn redials_count_among_the_dials_of_a_minute() {
    let mut setup = Setup::default();
    setup.config.client.dial.dials_per_minute_and_target_max = 2;
    let mut world = setup.build();
    world.settle();
    world.sites[1].dials = DialFate::Silence;
    let path = world.add_path(1);
    world.advance(THIRD + MOMENT);
    assert!(!was_told(&mut world, PathEvent::Dead(path)));
    world.sites[1].dials = DialFate::Accept;
    world.advance(THIRD);
    assert!(was_told(&mut world, PathEvent::Dead(path)));
    assert_eq!(world.newest(1), None);
    assert_eq!(world.dialing(), 0, "its connection was given up");
}

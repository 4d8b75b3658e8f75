//! Forged orders, replays, and copies that differ.

use std::time::Duration;

use super::{Fate, PATH, assert_open, fates, is_active};
use crate::carrier::{DownCause, Output};
use crate::config::Overlap;
use crate::error::code;
use crate::event::{ClientEvent, PrimaryEvent, SecondaryEvent, StreamEvent};
use crate::ids::{GrantId, SessionId, StreamId};
use crate::session::tests::hand::{self, HandSecondary, SESSION};
use crate::session::tests::net::Side;
use crate::session::tests::world::{Setup, What, World, span};
use crate::ticket::{SEQ_WINDOW, Sealer};
use crate::wire::{ControlFrame, Extent, Grant, Joined, LostReason, Raw, Sealed};

fn rejecting() -> World {
    let mut setup = Setup::default();
    setup.config.client.overlap = Overlap::Reject;
    let mut world = setup.build();
    world.settle();
    world
}

fn conflicts(world: &mut World) -> usize {
    world.client(|c, _| {
        c.events
            .iter()
            .filter(|event| matches!(event, ClientEvent::Conflict { .. }))
            .count()
    })
}

/// A hand-played client that has joined the secondary at site 1, and what only the primary has.
fn hand_client() -> (World, Sealer) {
    let mut world = Setup {
        scripted_client: true,
        ..Setup::default()
    }
    .build();
    world.settle();
    let target = world.sites[1].target();
    world.scripted_client(|c, _| c.push(Output::Dial { path: PATH, target }));
    world.settle();
    let peer = hand::master().peer_key(&world.sites[1].pin);
    let ticket = peer.issue(&hand::ticket(&world, PATH));
    world.scripted_client(|c, cx| {
        let join = hand::join(ticket, PATH, &c.exporter(PATH));
        c.send(PATH, &ControlFrame::Join(join), cx.carriers);
    });
    world.settle();
    let frames = world.scripted_client(|c, _| c.frames(PATH));
    assert_eq!(frames, [ControlFrame::Joined(Joined)]);
    (world, Sealer::new(&peer, SESSION, PATH))
}

fn say(world: &mut World, frame: &ControlFrame) {
    world.scripted_client(|c, cx| c.send(PATH, frame, cx.carriers));
    world.settle();
}

/// A client forges an order to a secondary; a stolen secondary opens tickets for another.
#[test]
fn only_the_primary_commands_a_secondary() {
    let (mut world, _) = hand_client();
    // The thief has the key of secondary 2.
    let stolen = hand::master().peer_key(&world.sites[2].pin);
    let extent = Extent::Fixed(span(0, 1 << 40));
    let sealed =
        Sealer::new(&stolen, SESSION, PATH).seal_grant(GrantId(0), StreamId(4), extent, b"/etc");
    let forged = Grant {
        grant: GrantId(0),
        path: PATH,
        stream: StreamId(4),
        extent,
        max_offset: 1 << 40,
        sealed,
    };
    say(&mut world, &ControlFrame::Grant(forged));
    world.secondary(1, |s, _| {
        assert!(matches!(
            s.events[..],
            [SecondaryEvent::Joined, SecondaryEvent::Closed(_)]
        ));
    });
}

/// [SEAL-4]: sequence numbers are accepted once each, in any order within a window.
#[test]
fn a_message_that_passed_a_withheld_one_spoils_nothing() {
    let (mut world, mut sealer) = hand_client();
    let seals: Vec<Sealed> = (0..3).map(|_| sealer.seal_raw(b"order")).collect();
    for index in [2, 0, 1] {
        let raw = Raw {
            path: PATH,
            sealed: seals[index].clone(),
        };
        say(&mut world, &ControlFrame::Raw(raw));
    }
    world.secondary(1, |s, _| assert_eq!(s.events.len(), 4, "{:?}", s.events));
}

#[test]
fn a_message_older_than_the_window_is_refused() {
    let (mut world, mut sealer) = hand_client();
    let old = sealer.seal_raw(b"old");
    for _ in 0..SEQ_WINDOW - 1 {
        let _ = sealer.seal_raw(b"skipped");
    }
    say(
        &mut world,
        &ControlFrame::Raw(Raw {
            path: PATH,
            sealed: sealer.seal_raw(b"new"),
        }),
    );
    say(
        &mut world,
        &ControlFrame::Raw(Raw {
            path: PATH,
            sealed: old,
        }),
    );
    let down = world.scripted_client(|c, _| c.down(PATH).cloned());
    assert_eq!(down, Some(DownCause::ClosedByPeer(code::JOIN)));
}

/// [JOIN-5] [SEAL-6]: the primary's clock may be ahead or behind by the tolerated skew.
#[test]
fn clocks_that_differ_a_little_refuse_nobody() {
    for (ahead, joins) in [(-6, false), (-4, true), (4, true), (6, false)] {
        let mut world = Setup::default().build();
        world.settle();
        // Issued by the primary, checked by the secondary, which has just started.
        world.sites[0].ahead_seconds = ahead;
        world.add_path(1);
        world.settle();
        assert_eq!(world.is_joined(1), joins, "primary {ahead} s ahead");
    }
}

/// [SESS-3]: sealing keys hang on the session, so no nonce is used twice.
#[test]
fn two_sessions_of_one_primary_have_keys_of_their_own() {
    let peer = hand::master().peer_key(&[1; 32]);
    let mut first = Sealer::new(&peer, SESSION, PATH);
    let mut second = Sealer::new(&peer, SessionId([8; 16]), PATH);
    assert_ne!(
        first.seal_raw(b"same").bytes,
        second.seal_raw(b"same").bytes
    );
    let mut world = Setup::default().build();
    world.settle();
    let id = world.primary(|p, _| p.session.session_id());
    assert_eq!(world.client(|c, _| c.session.session_id()), Some(id));
}

/// Under `Reject`: the liar wrote first, the honest copy differs. Nobody can tell which is which, so
/// the range goes back to the primary, whose own bytes decide [OVL-4] [OVL-6].
#[test]
fn a_conflict_of_two_secondaries_blames_neither() {
    let mut world = rejecting();
    let liar = HandSecondary::join(&mut world, 1);
    let honest = world.add_path(2);
    world.settle();
    let stream = world.open_stream();
    world.limit_reader(stream, 0);
    let first = world.delegate(stream, (0, 1000), liar.path);
    world.settle();
    liar.lie(&mut world, first, (0, 1000));
    world.settle();
    assert_eq!(
        fates(&mut world, first),
        [Ok(1000)],
        "nobody knows better yet"
    );
    // A second copy, near the end of a plan or by an application that doubts.
    let second = world.delegate(stream, (0, 2000), honest);
    world.settle();
    assert!(conflicts(&mut world) > 0);
    assert!(
        is_active(&mut world, honest),
        "the honest path is not blamed"
    );
    assert!(
        is_active(&mut world, liar.path),
        "nor is the other: who lied is not known"
    );
    // Back to the primary, whatever of it was reported present before.
    let lost: Fate = Err((LostReason::Conflict, [span(0, 1000)].into_iter().collect()));
    assert_eq!(fates(&mut world, second), [lost]);
    world.write_at(stream, (0, 1000));
    world.settle();
    world.limit_reader(stream, u64::MAX);
    world.set_offset(stream, 2000);
    world.write(stream, (2000, 3000), true);
    world.settle();
    assert!(world.is_whole(stream, 3000));
}

/// Under `Reject` the primary's own bytes convict: the path alone pays [OVL-4].
#[test]
fn a_secondary_that_contradicts_the_primary_loses_its_path() {
    let mut world = rejecting();
    let liar = HandSecondary::join(&mut world, 1);
    let stream = world.open_stream();
    world.limit_reader(stream, 0);
    let grant = world.delegate(stream, (0, 1000), liar.path);
    world.write_at(stream, (0, 1000));
    world.settle();
    // All of it is here, so the grant is over; one more shows what a lie costs.
    let more = world.delegate(stream, (1000, 2000), liar.path);
    let hold = world.hold(liar.path, Side::Client, What::Segments);
    liar.lie(&mut world, more, (1000, 1500));
    world.write_at(stream, (1000, 1500));
    world.settle();
    world.lift(hold);
    world.settle();
    assert_eq!(
        liar.down(&mut world),
        Some(DownCause::ClosedByPeer(code::CONFLICT))
    );
    assert_eq!(fates(&mut world, grant), [Ok(1000)]);
    world.write_at(stream, (1500, 2000));
    world.limit_reader(stream, u64::MAX);
    world.settle();
    world.finish(stream);
    world.settle();
    assert!(world.is_whole(stream, 2000));
    assert_open(&mut world);
}

/// [OVL-4]: whichever copy came first. What the primary writes later convicts who lied before, and
/// not the honest one beside it.
#[test]
fn a_lie_that_came_before_the_primarys_bytes_costs_the_path_too() {
    let mut world = rejecting();
    let liar = HandSecondary::join(&mut world, 1);
    let honest = world.add_path(2);
    world.settle();
    let stream = world.open_stream();
    world.limit_reader(stream, 0);
    let grant = world.delegate(stream, (0, 1000), liar.path);
    world.delegate(stream, (1000, 2000), honest);
    world.settle();
    liar.lie(&mut world, grant, (0, 1000));
    world.settle();
    assert_eq!(fates(&mut world, grant), [Ok(1000)]);
    world.write_at(stream, (0, 2000));
    world.settle();
    assert_eq!(
        liar.down(&mut world),
        Some(DownCause::ClosedByPeer(code::CONFLICT))
    );
    assert!(is_active(&mut world, honest));
    world.limit_reader(stream, u64::MAX);
    world.finish(stream);
    world.settle();
    assert!(world.is_whole(stream, 2000));
    assert_open(&mut world);
}

/// [OVL-5]: nor are the bytes evidence that a grant had brought before it was taken back, or those
/// that came while it drained.
#[test]
fn what_a_revoked_grant_had_brought_is_no_evidence() {
    for comes_late in [false, true] {
        let mut world = rejecting();
        let hand = HandSecondary::join(&mut world, 1);
        let stream = world.open_stream();
        world.limit_reader(stream, 0);
        let grant = world.delegate(stream, (0, 1000), hand.path);
        world.settle();
        let hold = world.hold(hand.path, Side::Client, What::Segments);
        hand.lie(&mut world, grant, (0, 500));
        if !comes_late {
            world.lift(hold);
            world.settle();
        }
        world
            .primary(|p, cx| p.session.revoke(cx.now, grant, cx.carriers))
            .expect("live");
        world.settle();
        if comes_late {
            world.lift(hold);
            world.settle();
        }
        world.write_at(stream, (0, 1000));
        world.settle();
        assert!(conflicts(&mut world) > 0);
        assert!(is_active(&mut world, hand.path), "late: {comes_late}");
    }
}

/// With `FirstWins` a differing copy is counted and told, and changes nothing [OVL-3].
#[test]
fn the_first_copy_stays_by_default() {
    let mut world = Setup::default().build();
    world.settle();
    let liar = HandSecondary::join(&mut world, 1);
    let stream = world.open_stream();
    world.limit_reader(stream, 0);
    let grant = world.delegate(stream, (0, 1000), liar.path);
    let hold = world.hold(liar.path, Side::Client, What::Segments);
    liar.lie(&mut world, grant, (0, 1000));
    world.write_at(stream, (0, 500));
    world.settle();
    world.lift(hold);
    world.settle();
    assert!(conflicts(&mut world) > 0);
    world.limit_reader(stream, 500);
    world.settle();
    assert_eq!(world.read_to(stream), 500);
    assert!(is_active(&mut world, liar.path));
}

#[test]
fn the_primarys_copy_replaces_a_secondarys_if_that_is_wanted() {
    let mut setup = Setup::default();
    setup.config.client.overlap = Overlap::PrimaryWins;
    let mut world = setup.build();
    world.settle();
    let liar = HandSecondary::join(&mut world, 1);
    let stream = world.open_stream();
    world.limit_reader(stream, 0);
    let grant = world.delegate(stream, (0, 1000), liar.path);
    liar.lie(&mut world, grant, (0, 1000));
    world.settle();
    world.write_at(stream, (0, 1000));
    world.settle();
    world.limit_reader(stream, u64::MAX);
    world.finish(stream);
    world.settle();
    assert!(world.is_whole(stream, 1000));
}

/// [OVL-6]: under `Reject` a conflict may still reopen a range, so STREAM_DONE waits for the reader.
#[test]
fn a_stream_is_not_done_while_a_conflict_may_reopen_it() {
    let mut world = rejecting();
    let honest = world.add_path(2);
    world.settle();
    let stream = world.open_stream();
    world.limit_reader(stream, 0);
    world.delegate(stream, (0, 1000), honest);
    world.finish(stream);
    world.advance(Duration::from_secs(1));
    let finished = PrimaryEvent::Stream(StreamEvent::Finished(stream));
    world.primary(|p, _| assert!(!p.events.contains(&finished)));
    world.limit_reader(stream, u64::MAX);
    world.settle();
    assert!(world.is_whole(stream, 1000));
    world.primary(|p, _| assert!(p.events.contains(&finished)));
}

/// [OVL-1] [OVL-5]: what still comes of a grant that was taken back is no evidence for blame.
#[test]
fn draining_bytes_are_no_evidence() {
    let mut world = rejecting();
    let hand = HandSecondary::join(&mut world, 1);
    let stream = world.open_stream();
    world.limit_reader(stream, 0);
    let grant = world.delegate(stream, (0, 1000), hand.path);
    world.settle();
    let hold = world.hold(hand.path, Side::Client, What::Segments);
    hand.lie(&mut world, grant, (0, 1000));
    world
        .primary(|p, cx| p.session.revoke(cx.now, grant, cx.carriers))
        .expect("live");
    world.write_at(stream, (0, 500));
    world.settle();
    world.lift(hold);
    world.settle();
    assert!(is_active(&mut world, hand.path));
    let fate: Vec<Fate> = fates(&mut world, grant);
    assert!(
        !matches!(fate[..], [Err((LostReason::Conflict, _))]),
        "{fate:?}"
    );
}

//! The world itself, with a hand-played primary between an honest client and honest secondaries.

use std::time::Duration;

use super::{DialFate, Setup, What};
use crate::carrier::DownCause;
use crate::event::{ClientEvent, PathEvent, SecondaryEvent};
use crate::ids::PathId;
use crate::session::tests::hand::HandPrimary;
use crate::session::tests::net::Side;
use crate::wire::{ControlFrame, GrantOutcome, GrantStatus, PathStatusState};

fn scripted(seed: Option<u64>) -> Setup {
    Setup {
        scripted_primary: true,
        seed,
        ..Setup::default()
    }
}

/// [SEG-1] [SEG-11]
#[test]
fn a_granted_range_reaches_the_reader_in_every_order() {
    for seed in 0..50 {
        let mut world = scripted(Some(seed)).build();
        let mut primary = HandPrimary::welcome(&mut world);
        let path = primary.add_path(&mut world, 1);
        let stream = HandPrimary::open_stream(&mut world);
        HandPrimary::aggregate(&mut world, stream, 0);
        // It has credit for a segment when that is answered [AGG-4].
        world.settle();
        let grant = primary.grant(&mut world, path, stream, (0, 100_000));
        HandPrimary::segment(&mut world, stream, (100_000, 110_000));
        HandPrimary::final_size(&mut world, stream, 110_000);
        world.settle();
        assert!(world.is_whole(stream, 110_000), "seed {seed}");
        let done = GrantOutcome::Done { end: 100_000 };
        let frames = HandPrimary::frames(&mut world);
        let status = |frame: &&ControlFrame| {
            matches!(frame, ControlFrame::GrantStatus(status)
            if !matches!(status.outcome, GrantOutcome::Progress { .. }))
        };
        let finals: Vec<_> = frames.iter().filter(status).collect();
        assert_eq!(
            finals,
            [&ControlFrame::GrantStatus(GrantStatus {
                grant,
                outcome: done
            })]
        );
        assert!(
            frames
                .iter()
                .any(|frame| matches!(frame, ControlFrame::StreamDone(_)))
        );
        world.assert_no_carrier_leaks(path);
    }
}

#[test]
fn a_join_comes_about_and_a_crash_ends_it() {
    let mut world = scripted(None).build();
    let mut primary = HandPrimary::welcome(&mut world);
    let path = primary.add_path(&mut world, 1);
    world.settle();
    assert!(world.is_joined(1));
    world.secondary(1, |s, _| assert_eq!(s.events, [SecondaryEvent::Joined]));
    let heard = world.client(|c, _| {
        c.events
            .contains(&ClientEvent::Path(PathEvent::Active(path)))
    });
    assert!(heard);
    world.crash(1);
    world.advance(Duration::from_secs(29));
    assert!(world.client(|c, _| !c.events.contains(&ClientEvent::Path(PathEvent::Dead(path)))));
    world.advance(Duration::from_secs(12));
    assert!(world.client(|c, _| c.events.contains(&ClientEvent::Path(PathEvent::Dead(path)))));
}

#[test]
fn a_dial_fails_as_it_is_told_to() {
    for fate in [DialFate::Refuse, DialFate::Silence] {
        let mut world = scripted(None).build();
        let mut primary = HandPrimary::welcome(&mut world);
        world.sites[1].dials = fate;
        primary.add_path(&mut world, 1);
        world.advance(Duration::from_secs(11));
        let dead = |frame: &ControlFrame| matches!(frame, ControlFrame::PathStatus(status) if status.state == PathStatusState::Dead);
        assert!(HandPrimary::frames(&mut world).iter().any(dead), "{fate:?}");
    }
}

#[test]
fn idle_connections_live_and_cut_ones_do_not() {
    let mut world = scripted(None).build();
    let mut primary = HandPrimary::welcome(&mut world);
    let path = primary.add_path(&mut world, 1);
    world.advance(Duration::from_secs(300));
    assert!(world.is_joined(1));
    world.cut(path);
    world.advance(Duration::from_secs(31));
    assert!(!world.is_joined(1));
    world.cut_all();
    world.advance(Duration::from_secs(31));
    assert_eq!(
        world.script(0, |s, _| s.down(PathId::PRIMARY).cloned()),
        Some(DownCause::TimedOut)
    );
}

#[test]
fn what_is_held_arrives_when_it_is_lifted() {
    let mut world = scripted(None).build();
    let mut primary = HandPrimary::welcome(&mut world);
    let path = primary.add_path(&mut world, 1);
    world.settle();
    let hold = world.hold(path, Side::Client, What::Segments);
    let stream = HandPrimary::open_stream(&mut world);
    HandPrimary::aggregate(&mut world, stream, 0);
    primary.grant(&mut world, path, stream, (0, 1000));
    world.settle();
    assert_eq!(world.read_to(stream), 0);
    let in_flight = world.net.in_flight(world.conn(path), Side::Client);
    assert_eq!(in_flight, [(3, 1016)]);
    world.deliver(path, Side::Client, 3, (0, 100));
    world.settle();
    assert_eq!(world.read_to(stream), 84);
    world.lift(hold);
    world.settle();
    assert_eq!(world.read_to(stream), 1000);
}

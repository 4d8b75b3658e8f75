//! Raw peers that do not come to rest.

use super::*;
use crate::stage::{Setting, Stage};
use crate::world::FaultOf;

const MS: Duration = Duration::from_millis(1);

/// A world whose primary runs this script, some time later.
fn lived(play: impl Fn(&mut Line<'_>, &Cue) + 'static) -> Stage {
    let setting = Setting::new(1, 0, 1000);
    let mut stage = setting.build();
    let peer = RawPeer::server(setting.crypto, setting.identity(1), always(play));
    stage.world.install(stage.primary, peer);
    stage.world.run_for(2000 * MS);
    stage
}

#[test]
fn a_script_that_brings_about_what_it_is_told_is_a_livelock() {
    // Each alarm brings the next one.
    struct Alarmed;
    impl Script for Alarmed {
        fn on_cue(&mut self, _: &mut Line<'_>, _: &Cue) {}

        fn alarm(&self) -> Option<Duration> {
            Some(Duration::ZERO)
        }
    }
    let setting = Setting::new(1, 0, 1000);
    let mut stage = setting.build();
    let casting: Casting = Rc::new(|| Box::new(Alarmed));
    let peer = RawPeer::server(setting.crypto, setting.identity(1), casting);
    stage.world.install(stage.primary, peer);
    stage.world.run_for(2000 * MS);
    let fault = stage.world.fault().expect("a livelock");
    assert_eq!(
        (fault.host, fault.what),
        (stage.primary, FaultOf::NeverDone)
    );
}

#[test]
fn more_events_than_a_round_may_have_are_a_livelock() {
    let mut stage = lived(|_, _| {});
    assert_eq!(stage.world.fault(), None);
    let unrest = stage
        .world
        .act(stage.primary, |peer: &mut RawPeer, moment| {
            assert!(!peer.lines.is_empty());
            peer.has_endless_events = true;
            peer.unrest(moment)
        });
    assert_eq!(unrest, Some(Unrest::EventsWithoutEnd));
}

/// QUIC under a script is judged as QUIC under an endpoint.
#[test]
fn a_deadline_that_stays_due_is_told_unless_the_line_is_silent() {
    let mut stage = lived(|_, _| {});
    let judged = stage
        .world
        .act(stage.primary, |peer: &mut RawPeer, moment| {
            let mut late = moment;
            late.now.monotonic += 60_000 * MS;
            late.time += 60_000 * MS;
            for _ in 0..LOSS_TIMERS_MAX {
                peer.rest.on_expiry(late.time);
            }
            let before = peer.unrest(late);
            peer.rest.on_expiry(late.time);
            (before, peer.unrest(late))
        });
    assert_eq!(judged.0, None);
    assert!(
        matches!(judged.1, Some(Unrest::TimerDue { .. })),
        "{judged:?}"
    );
}

//! What a hostile secondary says on its control carrier, and what it does not hear there.

use std::time::Duration;

use bytes::Bytes;
use smallvec::smallvec;

use super::{OWN, scene, scene_with};
use crate::error::code;
use crate::ids::{CarrierId, GrantId, PathId};
use crate::path::RawTarget;
use crate::session::tests::forgery::frames_but;
use crate::session::tests::net::{CONTROL, Side};
use crate::session::tests::world::{Setup, What, span};
use crate::wire::{ControlFrame, GrantDone, GrantRefused, Joined, Refused};

/// [CTL-10] [END-1]
#[test]
fn frames_of_other_roles() {
    for frame in frames_but(&["JOINED", "REFUSED", "GRANT_REFUSED", "GRANT_DONE"]) {
        let mut scene = scene();
        scene.hand.send(&mut scene.world, &frame);
        scene.assert_costs_path(code::UNEXPECTED);
    }
}

#[test]
fn a_second_joined() {
    let mut scene = scene();
    scene
        .hand
        .send(&mut scene.world, &ControlFrame::Joined(Joined));
    scene.assert_costs_path(code::UNEXPECTED);
}

#[test]
fn ends_of_other_grants() {
    for grant in [GrantId(99), GrantId(1)] {
        for refuses in [true, false] {
            let mut scene = scene();
            assert_eq!((scene.own, scene.other), (GrantId(0), GrantId(1)));
            let frame = if refuses {
                ControlFrame::GrantRefused(GrantRefused { grant, code: 1 })
            } else {
                ControlFrame::GrantDone(GrantDone {
                    grant,
                    written: smallvec![],
                    more: false,
                })
            };
            scene.hand.send(&mut scene.world, &frame);
            scene.assert_costs_path(code::GRANT);
        }
    }
}

/// It says that it has written what never comes: the grant is lost in time.
#[test]
fn an_end_that_is_a_lie() {
    let mut scene = scene();
    let written = smallvec![span(OWN.0, OWN.1)];
    let frame = ControlFrame::GrantDone(GrantDone {
        grant: scene.own,
        written,
        more: false,
    });
    scene.hand.send(&mut scene.world, &frame);
    scene.world.advance(Duration::from_secs(6));
    scene.make_up();
}

#[test]
fn an_end_that_claims_other_ranges() {
    let mut scene = scene();
    let written = smallvec![span(5000, 1 << 40)];
    let frame = ControlFrame::GrantDone(GrantDone {
        grant: scene.own,
        written,
        more: false,
    });
    scene.hand.send(&mut scene.world, &frame);
    scene
        .hand
        .write(&mut scene.world, scene.own, scene.stream, (5000, OWN.1));
    scene.world.settle();
    scene.make_up();
}

#[test]
fn an_end_without_end() {
    let mut scene = scene_with(Setup::default());
    scene.size = 200_000;
    let wide = scene
        .world
        .delegate(scene.stream, (20_000, 200_000), scene.hand.path);
    scene.world.settle();
    let mut at = 20_000;
    'flood: for _ in 0..2000 {
        let mut written = smallvec![];
        for _ in 0..128 {
            if at + 2 > 200_000 {
                break 'flood;
            }
            written.push(span(at, at + 1));
            at += 2;
        }
        let frame = ControlFrame::GrantDone(GrantDone {
            grant: wide,
            written,
            more: true,
        });
        scene.hand.send(&mut scene.world, &frame);
        scene.world.settle();
        if scene.hand.down(&mut scene.world).is_some() {
            break;
        }
    }
    scene.assert_costs_path(code::EXCESSIVE_LOAD);
}

#[test]
fn bytes_that_are_no_frame() {
    let mut scene = scene();
    scene.hand.send_bytes(
        &mut scene.world,
        Bytes::from_static(&[0x20, 0xbf, 0xff, 0xff, 0xff]),
    );
    scene.assert_costs_path(code::ENCODING);
}

/// [CTL-3]
#[test]
fn an_end_of_the_control_carrier() {
    let control = CarrierId {
        path: PathId::PRIMARY,
        stream: CONTROL,
    };
    let mut finished = scene();
    finished
        .world
        .script(1, |s, cx| s.finish(control, cx.carriers));
    finished.assert_costs_path(code::UNEXPECTED);
    let mut reset = scene();
    reset.world.script(1, |_, cx| cx.carriers.reset(control, 3));
    reset.assert_costs_path(code::UNEXPECTED);
    let mut stopped = scene();
    stopped
        .world
        .script(1, |_, cx| cx.carriers.stop(control, 3));
    stopped.assert_costs_path(code::UNEXPECTED);
}

#[test]
fn a_refusal_after_the_join() {
    let mut scene = scene();
    scene.hand.send(
        &mut scene.world,
        &ControlFrame::Refused(Refused { code: 1 }),
    );
    scene.assert_costs_path(code::PATH_ENDED);
}

/// It does not read what the primary has to say to it.
#[test]
fn deafness() {
    let mut setup = Setup {
        server_window_bytes: Some(4 << 10),
        ..Setup::default()
    };
    setup.config.client.control_unread_bytes_max = 64 << 10;
    let mut scene = scene_with(setup);
    scene
        .world
        .hold(scene.hand.path, Side::Client, What::Feedback);
    for _ in 0..20 {
        scene.world.primary(|p, cx| {
            let (path, message) = (scene.hand.path, Bytes::from_static(&[0; 8000]));
            // The path may be dead by now.
            let _ = p
                .session
                .send_raw(cx.now, path, RawTarget::Message, message, cx.carriers);
        });
        scene.world.settle();
    }
    scene.assert_costs_path(code::EXCESSIVE_LOAD);
}

/// It answers nothing that it is told: no probe, no REVOKE. It delays, and no more than that.
#[test]
fn silence_after_every_order() {
    let mut scene = scene();
    scene
        .world
        .primary(|p, cx| p.session.revoke(cx.now, scene.own, cx.carriers))
        .expect("live");
    scene.world.advance(Duration::from_secs(3));
    scene.make_up();
}

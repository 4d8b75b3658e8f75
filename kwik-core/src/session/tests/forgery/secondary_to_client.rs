//! A hostile secondary at an honest client of an honest primary: it alone loses its path, nothing of
//! it reaches the application, and the transfer completes from the others.

mod control;

use std::time::Duration;

use bytes::Bytes;

use crate::carrier::DownCause;
use crate::error::code;
use crate::event::{ClientEvent, PathEvent, PrimaryEvent};
use crate::ids::{ByteRange, GrantId, PathId, StreamId};
use crate::session::tests::content::content;
use crate::session::tests::hand::{HandSecondary, granted};
use crate::session::tests::net::Side;
use crate::session::tests::world::{Setup, World, span};
use crate::wire::{ControlFrame, SegmentHeader, SegmentOwner};

/// What a hostile secondary was granted: the first half of a stream.
const OWN: (u64, u64) = (0, 10_000);
/// What an honest one brings.
const HONEST: (u64, u64) = (10_000, 20_000);

struct Scene {
    world: World,
    hand: HandSecondary,
    honest: PathId,
    stream: StreamId,
    /// The grant of the hostile one.
    own: GrantId,
    /// The grant of the honest one.
    other: GrantId,
    size: u64,
}

fn scene() -> Scene {
    scene_with(Setup::default())
}

fn scene_with(setup: Setup) -> Scene {
    let mut world = setup.build();
    world.settle();
    let hand = HandSecondary::join(&mut world, 1);
    let honest = world.add_path(2);
    world.settle();
    let stream = world.open_stream();
    let own = world.delegate(stream, OWN, hand.path);
    let other = world.delegate(stream, HONEST, honest);
    world.settle();
    let frames = hand.frames(&mut world);
    assert!(matches!(frames[..], [ControlFrame::Grant(_)]), "{frames:?}");
    Scene {
        world,
        hand,
        honest,
        stream,
        own,
        other,
        size: HONEST.1,
    }
}

impl Scene {
    /// What the hostile one is granted is missing, and comes from the honest one.
    fn make_up(&mut self) {
        let (honest, stream) = (self.honest, self.stream);
        let lost: Vec<ByteRange> = self.world.primary(|p, _| {
            let lost = |event: &PrimaryEvent| {
                if let PrimaryEvent::GrantLost { missing, .. } = event {
                    let (first, last) = (missing.first()?, missing.last()?);
                    Some(span(first.start(), last.end()))
                } else {
                    None
                }
            };
            p.events.iter().filter_map(lost).collect()
        });
        assert!(!lost.is_empty(), "its grants are lost");
        for range in lost {
            self.world
                .delegate(stream, (range.start(), range.end()), honest);
        }
        self.world.finish(stream);
        self.world.settle();
        assert!(self.world.is_whole(stream, self.size));
        let honest_is_dead = ClientEvent::Path(PathEvent::Dead(honest));
        self.world.client(|c, _| {
            assert!(!c.session.is_closed());
            assert!(!c.events.contains(&honest_is_dead), "nobody else pays");
        });
    }

    /// It has lost its path for this, and nothing else has happened.
    #[track_caller]
    fn assert_costs_path(mut self, code: u64) {
        self.world.settle();
        assert_eq!(
            self.hand.down(&mut self.world),
            Some(DownCause::ClosedByPeer(code))
        );
        self.make_up();
    }

    /// It has gained nothing, and its path goes on until it is retired.
    #[track_caller]
    fn assert_gains_nothing(mut self) {
        self.world.settle();
        assert_eq!(self.hand.down(&mut self.world), None);
        assert_eq!(
            self.hand.carriers(&mut self.world),
            0,
            "the client opens nothing there"
        );
        let path = self.hand.path;
        self.world
            .primary(|p, cx| p.session.revoke(cx.now, self.own, cx.carriers))
            .expect("live");
        self.world
            .primary(|p, cx| p.session.retire_path(cx.now, path, cx.carriers))
            .expect("active");
        self.world.advance(Duration::from_secs(12));
        self.make_up();
    }

    fn segment(&mut self, owner: SegmentOwner, offset: u64, body: &Bytes) {
        self.hand
            .segment(&mut self.world, SegmentHeader { owner, offset }, body);
    }
}

fn junk(bytes: usize) -> Bytes {
    Bytes::from(vec![0xee; bytes])
}

#[test]
fn an_honest_one_is_believed() {
    let mut scene = scene();
    scene
        .hand
        .write(&mut scene.world, scene.own, scene.stream, OWN);
    scene.world.finish(scene.stream);
    scene.world.settle();
    assert!(scene.world.is_whole(scene.stream, HONEST.1));
}

/// [SEG-5] [PATH-11] [ERR-1]
#[test]
fn bytes_outside_its_grant() {
    let outside = [
        (OWN.1, 1),
        (OWN.1 - 5, 6),
        (1 << 40, 10),
        ((1 << 62) - 1, 10),
    ];
    for (offset, bytes) in outside {
        let mut scene = scene();
        scene.segment(SegmentOwner::Grant(scene.own), offset, &junk(bytes));
        scene.assert_costs_path(code::GRANT);
    }
}

/// [FLOW-3] [GRANT-10]
#[test]
fn bytes_of_a_grant_that_was_never_given() {
    let mut scene = scene();
    scene.segment(SegmentOwner::Grant(GrantId(99)), 0, &junk(10));
    scene.assert_costs_path(code::GRANT);
}

#[test]
fn bytes_of_somebody_elses_grant() {
    let mut scene = scene();
    scene.segment(SegmentOwner::Grant(scene.other), HONEST.0, &junk(10));
    scene.assert_costs_path(code::GRANT);
}

/// An id below its own highest might be one of its own that has ended: no blame, and no effect.
#[test]
fn bytes_of_a_lower_grant_of_somebody_else() {
    let mut scene = scene();
    let later = scene
        .world
        .delegate(scene.stream, (30_000, 30_010), scene.hand.path);
    scene.world.settle();
    assert!(later > scene.other);
    scene.segment(SegmentOwner::Grant(scene.other), 20_000, &junk(10));
    scene.world.settle();
    assert_eq!(scene.hand.down(&mut scene.world), None);
    let held = scene.world.client(|c, _| c.session.stats().buffered_bytes);
    assert_eq!(held, HONEST.1 - HONEST.0, "nothing was placed");
}

#[test]
fn bytes_of_a_grant_that_has_ended() {
    let mut scene = scene();
    scene
        .hand
        .write(&mut scene.world, scene.own, scene.stream, OWN);
    scene.world.settle();
    assert_eq!(scene.world.read_to(scene.stream), HONEST.1);
    // Bytes that were read are never replaced; those ahead are not its own.
    scene.hand.lie(&mut scene.world, scene.own, OWN);
    scene.segment(SegmentOwner::Grant(scene.own), HONEST.1, &junk(100));
    scene.world.settle();
    assert_eq!(scene.hand.down(&mut scene.world), None);
    scene.world.write(scene.stream, (HONEST.1, 21_000), true);
    scene.world.settle();
    assert!(scene.world.is_whole(scene.stream, 21_000));
}

/// [FLOW-8]
#[test]
fn bytes_beyond_the_credit() {
    let window = Setup::default().config.client.stream_window_bytes;
    let mut scene = scene();
    let stream = scene.stream;
    scene.world.limit_reader(stream, 0);
    let far = scene
        .world
        .delegate(stream, (HONEST.1, 2 * window), scene.hand.path);
    scene.world.settle();
    // Nobody has read: the window begins at the honest one's bytes at the latest.
    let credit = 2 * window - 1;
    scene.segment(SegmentOwner::Grant(far), credit, &junk(1));
    scene.world.settle();
    let down = scene.hand.down(&mut scene.world);
    assert_eq!(down, Some(DownCause::ClosedByPeer(code::FLOW_CONTROL)));
}

#[test]
fn a_header_that_cannot_be_decoded() {
    let mut scene = scene();
    scene.world.script(1, |s, cx| {
        let carrier = cx
            .carriers
            .open_uni(PathId::PRIMARY)
            .expect("up")
            .expect("credit");
        s.write(carrier, Bytes::from_static(&[0x7f; 16]), cx.carriers);
    });
    scene.assert_costs_path(code::ENCODING);
}

/// [SEG-3]
#[test]
fn the_header_of_a_primary() {
    let mut scene = scene();
    let stream = scene.stream;
    scene.segment(SegmentOwner::Primary(stream), 0, &junk(10));
    scene.assert_costs_path(code::UNEXPECTED);
}

/// A carrier that ends before its header is complete says nothing [SEG-8].
#[test]
fn headers_that_are_cut_off() {
    let mut scene = scene();
    for bytes in 0..16 {
        scene.world.script(1, |s, cx| {
            let carrier = cx
                .carriers
                .open_uni(PathId::PRIMARY)
                .expect("up")
                .expect("credit");
            s.write(carrier, junk(bytes), cx.carriers);
            if bytes % 2 == 0 {
                s.finish(carrier, cx.carriers);
            } else {
                cx.carriers.reset(carrier, 5);
            }
        });
    }
    scene.world.settle();
    scene.world.assert_no_carrier_leaks(scene.hand.path);
    scene.assert_gains_nothing();
}

/// Segments without a byte behind the header cost their carriers, and nothing stays [SEG-12].
#[test]
fn a_flood_of_empty_segments() {
    let mut scene = scene();
    for _ in 0..500 {
        scene.segment(SegmentOwner::Grant(scene.own), 0, &Bytes::new());
        scene.world.settle();
    }
    scene.world.assert_no_carrier_leaks(scene.hand.path);
    scene.assert_gains_nothing();
}

#[test]
fn a_stream_of_its_own() {
    let mut scene = scene();
    let conn = scene.world.conn(scene.hand.path);
    scene.world.script(1, |_, cx| {
        assert_eq!(
            cx.carriers.open_bidi(PathId::PRIMARY),
            Ok(None),
            "QUIC gives it no credit"
        );
    });
    // Even past QUIC's own limit the application would not see it.
    scene.world.net.force_stream_credit(conn, Side::Client, 1);
    scene.world.script(1, |s, cx| {
        let carrier = cx
            .carriers
            .open_bidi(PathId::PRIMARY)
            .expect("up")
            .expect("forced");
        s.write(carrier, Bytes::from_static(b"look at me"), cx.carriers);
    });
    scene.world.settle();
    scene
        .world
        .client(|c, _| assert!(c.session.accept_stream().is_none()));
    scene.assert_costs_path(code::UNEXPECTED);
}

/// Single bytes with gaps between them: memory is bounded, and the others do not pay [ERR-5].
#[test]
fn a_flood_of_gaps() {
    let mut scene = scene();
    scene.world.limit_reader(scene.stream, 0);
    let grant = scene.own;
    for index in 0..4000 {
        let at = 1 + index * 2;
        scene
            .hand
            .write(&mut scene.world, grant, scene.stream, (at, at + 1));
        if index % 32 == 31 {
            scene.world.settle();
            if scene.hand.down(&mut scene.world).is_some() {
                break;
            }
        }
    }
    scene.world.limit_reader(scene.stream, u64::MAX);
    scene.assert_costs_path(code::EXCESSIVE_LOAD);
}

#[test]
fn bytes_before_the_join() {
    let mut world = Setup::default().build();
    world.settle();
    world.sites[1].scripted = true;
    let path = world.add_path(1);
    world.settle();
    let stream = world.open_stream();
    let grant = world.delegate(stream, (0, 1000), path);
    world.settle();
    let body = content(stream, span(0, 1000));
    world.script(1, |s, cx| {
        s.segment(
            PathId::PRIMARY,
            granted(grant, span(0, 1000)),
            &body,
            true,
            cx.carriers,
        )
    });
    world.settle();
    let down = world.script(1, |s, _| s.down(PathId::PRIMARY).cloned());
    assert_eq!(down, Some(DownCause::ClosedByPeer(code::GRANT)));
    assert_eq!(world.read_to(stream), 0);
}

/// [ERR-6]
#[test]
fn random_frames_and_segments_never_panic() {
    for seed in 0..60 {
        let mut scene = scene_with(Setup {
            seed: Some(seed),
            ..Setup::default()
        });
        let mut random = super::random::Frames::new(seed);
        for _ in 0..100 {
            if scene.hand.down(&mut scene.world).is_some() {
                break;
            }
            if random.once_in(3) {
                let (header, body) = random.segment();
                scene.world.script(1, |s, cx| {
                    if let Ok(Some(carrier)) = cx.carriers.open_uni(PathId::PRIMARY) {
                        s.write(
                            carrier,
                            Bytes::copy_from_slice(&header.encode()),
                            cx.carriers,
                        );
                        s.write(carrier, body, cx.carriers);
                    }
                });
            } else {
                let frame = random.frame();
                scene.hand.send(&mut scene.world, &frame);
            }
            if random.once_in(4) {
                // The reader trusts nobody here: it would find foreign bytes in a granted range.
                scene.world.client(|c, _| c.readers.clear());
                scene.world.settle();
            }
        }
        scene.world.client(|c, _| {
            assert!(!c.session.is_closed(), "seed {seed}");
            let honest_is_dead = ClientEvent::Path(PathEvent::Dead(scene.honest));
            assert!(!c.events.contains(&honest_is_dead), "seed {seed}");
        });
    }
}

/// [SEG-10]
#[test]
fn a_segment_without_end() {
    let mut setup = Setup::default();
    setup.config.client.stream_window_bytes = 4 << 20;
    setup.config.client.session_window_bytes = 4 << 20;
    let mut scene = scene_with(setup);
    let from = HONEST.1;
    let most = from + SegmentHeader::BODY_MAX;
    let wide = (from, from + 2 * SegmentHeader::BODY_MAX);
    let grant = scene.world.delegate(scene.stream, wide, scene.hand.path);
    scene.size = wide.1;
    scene.world.settle();
    let (hand, stream) = (&scene.hand, scene.stream);
    hand.write(&mut scene.world, grant, stream, (from, most));
    scene.world.settle();
    assert_eq!(hand.down(&mut scene.world), None);
    hand.write(&mut scene.world, grant, stream, (from, most + 1));
    scene.assert_costs_path(code::EXCESSIVE_LOAD);
}

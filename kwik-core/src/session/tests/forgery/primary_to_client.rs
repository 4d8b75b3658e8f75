//! A hostile primary at an honest client: it is trusted for content, not for the client's network,
//! and not to keep the protocol.

mod streams;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use smallvec::smallvec;

use crate::carrier::DownCause;
use crate::error::{CloseReason, code};
use crate::event::{ClientEvent, PathEvent, SecondaryEvent};
use crate::ids::{CarrierId, GrantId, PathId, StreamId};
use crate::session::tests::apps::Service;
use crate::session::tests::content::content;
use crate::session::tests::hand::{HandPrimary, SESSION};
use crate::session::tests::net::Side;
use crate::session::tests::world::{CLIENT, DialFate, Setup, What, World, span};
use crate::wire::{
    ControlFrame, Extent, GrantOutcome, LostReason, PathStatus, PathStatusState, Raw, RetirePath,
    Revoke, Sealed, Welcome,
};

/// The first stream that the primary opens.
const STREAM: StreamId = StreamId(1);
const CONTROL: CarrierId = CarrierId {
    path: PathId::PRIMARY,
    stream: 0,
};
const CARRIER: CarrierId = CarrierId {
    path: PathId::PRIMARY,
    stream: STREAM.0,
};

fn welcomed() -> (World, HandPrimary) {
    let mut world = Setup {
        scripted_primary: true,
        ..Setup::default()
    }
    .build();
    let primary = HandPrimary::welcome(&mut world);
    world.settle();
    (world, primary)
}

/// A client with one joined secondary, whose path is `PathId(1)`, and one aggregated stream.
fn aggregated() -> (World, HandPrimary, PathId) {
    let (mut world, mut primary) = welcomed();
    let path = primary.add_path(&mut world, 1);
    assert_eq!(HandPrimary::open_stream(&mut world), STREAM);
    HandPrimary::aggregate(&mut world, STREAM, 0);
    world.settle();
    assert!(world.is_joined(1));
    (world, primary, path)
}

fn send(world: &mut World, frame: ControlFrame) {
    HandPrimary::send(world, &frame);
    world.settle();
}

/// The client has closed the session with this code, and says so last.
#[track_caller]
fn assert_costs_session(mut world: World, code: u64) {
    world.settle();
    assert_eq!(
        world.script(0, |s, _| s.down(PathId::PRIMARY).cloned()),
        Some(DownCause::ClosedByPeer(code))
    );
    world.as_client(CLIENT, |c, _| {
        let last = c.events.last();
        assert!(
            matches!(last, Some(ClientEvent::Closed(CloseReason::Violation(_)))),
            "{last:?}"
        );
    });
    assert!(!world.is_joined(1), "the secondaries are told too");
}

#[track_caller]
fn assert_goes_on(world: &mut World) {
    world.settle();
    assert_eq!(
        world.script(0, |s, _| s.down(PathId::PRIMARY).cloned()),
        None
    );
}

/// [SESS-2]
#[test]
fn nothing_comes_before_welcome_and_welcome_comes_once() {
    let mut world = Setup {
        scripted_primary: true,
        ..Setup::default()
    }
    .build();
    world.settle();
    send(
        &mut world,
        ControlFrame::RetirePath(RetirePath { path: PathId(1) }),
    );
    assert_costs_session(world, code::UNEXPECTED);
    let (mut world, _) = welcomed();
    send(
        &mut world,
        ControlFrame::Welcome(Welcome { session: SESSION }),
    );
    assert_costs_session(world, code::UNEXPECTED);
}

/// [CTL-10]
#[test]
fn frames_of_other_roles_are_violations() {
    let own = [
        "WELCOME",
        "ADD_PATH",
        "RETIRE_PATH",
        "AGGREGATE",
        "GRANT",
        "REVOKE",
        "FINAL_SIZE",
        "RAW",
    ];
    for frame in super::frames_but(&own) {
        let (mut world, _) = welcomed();
        send(&mut world, frame);
        assert_costs_session(world, code::UNEXPECTED);
    }
}

/// [ERR-1]
#[test]
fn bytes_that_are_no_frame_cost_the_session() {
    let (mut world, _) = welcomed();
    let bomb = Bytes::from_static(&[0x20, 0xbf, 0xff, 0xff, 0xff]);
    world.script(0, |s, cx| {
        s.write_control(PathId::PRIMARY, bomb, cx.carriers)
    });
    assert_costs_session(world, code::ENCODING);
}

/// [CTL-3]
#[test]
fn the_control_carrier_does_not_end() {
    let (mut world, _) = welcomed();
    world.script(0, |s, cx| s.finish(CONTROL, cx.carriers));
    assert_costs_session(world, code::UNEXPECTED);
    let (mut world, _) = welcomed();
    world.script(0, |_, cx| cx.carriers.reset(CONTROL, 7));
    assert_costs_session(world, code::UNEXPECTED);
    let (mut world, _) = welcomed();
    world.script(0, |_, cx| cx.carriers.stop(CONTROL, 7));
    assert_costs_session(world, code::UNEXPECTED);
}

/// [PATH-1]
#[test]
fn a_path_id_is_named_once_and_never_zero() {
    for (id, code) in [(0, code::ENCODING), (1, code::UNEXPECTED)] {
        let (mut world, mut primary) = welcomed();
        primary.add_path(&mut world, 1);
        let frame = primary.add_path_frame(&world, 2, PathId(id));
        send(&mut world, ControlFrame::AddPath(frame));
        assert_costs_session(world, code);
    }
}

/// [PATH-2] [PATH-3]
#[test]
fn a_public_primary_cannot_turn_its_client_against_hosts_near_it() {
    let (mut world, mut primary) = welcomed();
    let targets = [
        "127.0.0.1:4433",
        "10.0.0.7:4433",
        "[::1]:4433",
        "169.254.169.254:8080",
        "203.0.113.2:22",
    ];
    for (index, target) in targets.into_iter().enumerate() {
        let path = PathId(index as u64 + 1);
        let addr: SocketAddr = target.parse().expect("an address");
        // A listening host would be reached if it were dialled.
        world.sites[1].addr = addr;
        let mut frame = primary.add_path_frame(&world, 1, path);
        frame.addrs = smallvec![addr];
        send(&mut world, ControlFrame::AddPath(frame));
        let dead = ControlFrame::PathStatus(PathStatus {
            path,
            state: PathStatusState::Dead,
        });
        assert!(HandPrimary::frames(&mut world).contains(&dead), "{target}");
    }
    assert_eq!(world.newest(1), None, "nobody was dialled");
    assert_goes_on(&mut world);
}

/// [PATH-4]
#[test]
fn paths_and_dials_are_bounded() {
    let (mut world, mut primary) = welcomed();
    world.sites[1].dials = DialFate::Silence;
    let policy = Setup::default().config.client.dial;
    for id in 1..=policy.paths_max as u64 + 3 {
        let frame = primary.add_path_frame(&world, 1, PathId(id));
        send(&mut world, ControlFrame::AddPath(frame));
    }
    assert_eq!(world.dialing(), policy.dials_max);
    let dead = world.client(|c, _| {
        c.events
            .iter()
            .filter(|event| matches!(event, ClientEvent::Path(PathEvent::Dead(_))))
            .count()
    });
    assert_eq!(dead, 3, "those that found no room");
    assert_goes_on(&mut world);
}

/// [STR-6] [GRANT-5]
#[test]
fn a_grant_names_a_path_and_a_stream_that_can_exist() {
    let (mut world, mut primary, path) = aggregated();
    let mut grant = primary.grant_frame(path, STREAM, Extent::Fixed(span(0, 9)));
    grant.path = PathId(2);
    send(&mut world, ControlFrame::Grant(grant));
    assert_costs_session(world, code::UNEXPECTED);
    for impossible in [STREAM.0 + 4 * 1000, 4] {
        let (mut world, mut primary, path) = aggregated();
        primary.grant(&mut world, path, StreamId(impossible), (0, 9));
        assert_costs_session(world, code::STREAM);
    }
}

/// [GRANT-1]
#[test]
fn a_grant_id_is_given_once() {
    let (mut world, mut primary, path) = aggregated();
    let grant = primary.grant_frame(path, STREAM, Extent::Fixed(span(0, 9)));
    send(&mut world, ControlFrame::Grant(grant.clone()));
    send(&mut world, ControlFrame::Grant(grant));
    assert_costs_session(world, code::UNEXPECTED);
}

/// [AGG-1] [GRANT-2]
#[test]
fn a_grant_needs_an_aggregated_stream() {
    let (mut world, mut primary, path) = aggregated();
    let plain = HandPrimary::open_stream(&mut world);
    world.settle();
    primary.grant(&mut world, path, plain, (0, 9));
    assert_costs_session(world, code::UNEXPECTED);
    let (mut world, mut primary, path) = aggregated();
    let stream = HandPrimary::open_stream(&mut world);
    HandPrimary::aggregate(&mut world, stream, 100);
    primary.grant(&mut world, path, stream, (99, 200));
    assert_costs_session(world, code::UNEXPECTED);
}

/// [GRANT-14]
#[test]
fn unanswered_grants_of_a_path_are_bounded() {
    let (mut world, mut primary, path) = aggregated();
    world.secondary(1, |s, _| s.service = Service::Ignore);
    let max = Setup::default().config.client.grants_per_path_max as u64;
    for index in 0..max {
        primary.grant(&mut world, path, STREAM, (index * 10, index * 10 + 10));
    }
    assert_goes_on(&mut world);
    primary.grant(&mut world, path, STREAM, (9000, 9001));
    assert_costs_session(world, code::EXCESSIVE_LOAD);
}

/// [GRANT-1] [PATH-1]
#[test]
fn orders_about_what_never_was_are_violations() {
    let sealed = Sealed {
        seq: 0,
        bytes: Bytes::from_static(&[0; 20]),
    };
    for frame in [
        ControlFrame::Revoke(Revoke {
            grant: GrantId(5),
            end: 0,
        }),
        ControlFrame::RetirePath(RetirePath { path: PathId(5) }),
        ControlFrame::Raw(Raw {
            path: PathId(5),
            sealed,
        }),
    ] {
        let (mut world, _, _) = aggregated();
        send(&mut world, frame);
        assert_costs_session(world, code::UNEXPECTED);
    }
}

/// [STR-2]: the preamble is what stands first, whatever it says.
#[test]
fn a_preamble_of_another_value_is_no_content() {
    let (mut world, _) = welcomed();
    let content = content(STREAM, span(0, 10));
    world.script(0, |s, cx| {
        let carrier = cx
            .carriers
            .open_bidi(PathId::PRIMARY)
            .expect("up")
            .expect("credit");
        let bytes = Bytes::from([&[0xee][..], &content].concat());
        s.write(carrier, bytes, cx.carriers);
        s.finish(carrier, cx.carriers);
    });
    world.settle();
    assert!(world.is_whole(STREAM, 10));
}

/// [AGG-3]
#[test]
fn a_stream_that_has_ended_is_not_aggregated_any_more() {
    let (mut world, _) = welcomed();
    HandPrimary::open_stream(&mut world);
    world.script(0, |s, cx| s.finish(CARRIER, cx.carriers));
    world.settle();
    assert!(world.is_whole(STREAM, 0));
    HandPrimary::aggregate(&mut world, STREAM, 0);
    assert_goes_on(&mut world);
    assert!(
        HandPrimary::frames(&mut world)
            .iter()
            .all(|frame| !matches!(frame, ControlFrame::MaxOffset(_))),
        "there is no credit for it"
    );
}

/// [SEAL-7] [GRANT-4]: a grant that finds no room is answered at once: of the seals behind it the
/// secondary takes only so many.
#[test]
fn a_grant_that_finds_no_room_is_answered_before_others_pass_it() {
    let mut setup = Setup {
        scripted_primary: true,
        ..Setup::default()
    };
    setup.config.client.outbox_bytes_max = 100;
    let mut world = setup.build();
    let mut primary = HandPrimary::welcome(&mut world);
    world.sites[1].dials = DialFate::AcceptAfter(Duration::from_secs(1));
    let path = primary.add_path(&mut world, 1);
    HandPrimary::open_stream(&mut world);
    HandPrimary::aggregate(&mut world, STREAM, 0);
    for index in 0..3 {
        primary.grant(&mut world, path, STREAM, (index * 10, index * 10 + 10));
    }
    world.settle();
    let lost: Vec<GrantId> = HandPrimary::frames(&mut world)
        .into_iter()
        .filter_map(|frame| {
            let ControlFrame::GrantStatus(status) = frame else {
                return None;
            };
            let reason = LostReason::Limit;
            let limit =
                matches!(status.outcome, GrantOutcome::Lost { reason: r, .. } if r == reason);
            limit.then_some(status.grant)
        })
        .collect();
    assert!(lost.len() < 3 && lost.contains(&GrantId(2)), "{lost:?}");
    world.advance(Duration::from_secs(2));
    let came = world.secondary(1, |s, _| {
        let grant = |event: &SecondaryEvent| matches!(event, SecondaryEvent::Grant { .. });
        s.events.iter().filter(|event| grant(event)).count()
    });
    assert_eq!(came, 3 - lost.len());
}

/// [GRANT-4]
#[test]
fn a_flood_of_messages_for_a_path_that_does_not_join_is_bounded() {
    let (mut world, mut primary) = welcomed();
    world.sites[1].dials = DialFate::AcceptAfter(Duration::from_secs(1));
    let path = primary.add_path(&mut world, 1);
    for _ in 0..200 {
        let raw = primary.raw_frame(path, &[0; 8000]);
        send(&mut world, ControlFrame::Raw(raw));
    }
    world.advance(Duration::from_secs(2));
    let came = world.secondary(1, |s, _| {
        s.events
            .iter()
            .filter(|event| matches!(event, SecondaryEvent::Raw(_)))
            .count()
    });
    let room = Setup::default().config.client.outbox_bytes_max;
    assert!(came > 0 && came <= room / 8000, "{came}");
    assert_goes_on(&mut world);
}

/// [ERR-6]
#[test]
fn random_frames_and_segments_never_panic() {
    for seed in 0..200 {
        let setup = Setup {
            scripted_primary: true,
            seed: Some(seed),
            ..Setup::default()
        };
        let mut world = setup.build();
        let mut primary = HandPrimary::welcome(&mut world);
        primary.add_path(&mut world, 1);
        HandPrimary::open_stream(&mut world);
        HandPrimary::aggregate(&mut world, STREAM, 0);
        // Nobody reads: the bytes are anything.
        world.client(|c, _| c.accepts = false);
        let mut random = super::random::Frames::new(seed);
        for _ in 0..60 {
            if world.script(0, |s, _| s.down(PathId::PRIMARY).is_some()) {
                break;
            }
            if random.once_in(4) {
                let (header, body) = random.segment();
                world.script(0, |s, cx| {
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
                HandPrimary::send(&mut world, &frame);
            }
            if random.once_in(3) {
                world.settle();
            }
        }
        world.advance(Duration::from_secs(20));
    }
}

/// It asks and asks, and does not read the answers.
#[test]
fn a_primary_that_does_not_listen_does_not_fill_the_clients_memory() {
    let mut setup = Setup {
        scripted_primary: true,
        ..Setup::default()
    };
    setup.server_window_bytes = Some(4 << 10);
    setup.config.client.control_unread_bytes_max = 64 << 10;
    let mut world = setup.build();
    let mut primary = HandPrimary::welcome(&mut world);
    let path = primary.add_path(&mut world, 1);
    HandPrimary::open_stream(&mut world);
    HandPrimary::aggregate(&mut world, STREAM, 0);
    world.settle();
    // Each grant for a stream that is gone is answered at once.
    world
        .client(|c, cx| c.session.stop(cx, STREAM, 1))
        .expect("open");
    world.hold(PathId::PRIMARY, Side::Client, What::Feedback);
    for index in 0..20_000 {
        primary.grant(&mut world, path, STREAM, (index, index + 1));
        if index % 100 == 99 {
            world.settle();
            if world.client(|c, _| c.session.is_closed()) {
                break;
            }
        }
    }
    assert_costs_session(world, code::EXCESSIVE_LOAD);
}

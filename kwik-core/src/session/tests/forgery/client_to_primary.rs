//! A hostile client at an honest primary: it lies about paths, grants, credit and holes. It can spoil
//! its own session, and no more.

use std::time::Duration;

use bytes::Bytes;
use smallvec::{SmallVec, smallvec};

use crate::carrier::DownCause;
use crate::error::{CloseReason, code};
use crate::event::PrimaryEvent;
use crate::ids::{ByteRange, CarrierId, GrantId, PathId, StreamId};
use crate::session::tests::hand::{join_key, max_offset};
use crate::session::tests::net::{CONTROL, Side};
use crate::session::tests::world::{Setup, World, span};
use crate::wire::{
    ControlFrame, GrantOutcome, GrantStatus, Hello, Hole, LostReason, PathStatus, PathStatusState,
    StreamDone,
};

const PRIMARY: PathId = PathId::PRIMARY;
const PATH: PathId = PathId(1);
const STREAM: StreamId = StreamId(1);
const GRANT: GrantId = GrantId(0);

/// A hand-played client that was welcomed.
fn welcomed() -> World {
    let mut world = Setup {
        scripted_client: true,
        ..Setup::default()
    }
    .build();
    world.settle();
    say(
        &mut world,
        &ControlFrame::Hello(Hello {
            join_key_thumbprint: join_key().thumbprint(),
        }),
    );
    let frames = world.scripted_client(|c, _| c.frames(PRIMARY));
    assert!(
        matches!(frames[..], [ControlFrame::Welcome(_)]),
        "{frames:?}"
    );
    world
}

/// And to which a stream was aggregated, of which one path holds `[0, 1000)`.
fn granted() -> World {
    let mut world = welcomed();
    assert_eq!(world.add_path(1), PATH);
    say(
        &mut world,
        &ControlFrame::PathStatus(PathStatus {
            path: PATH,
            state: PathStatusState::Active,
        }),
    );
    assert_eq!(world.open_stream(), STREAM);
    assert_eq!(world.delegate(STREAM, (0, 1000), PATH), GRANT);
    world.settle();
    world
}

fn say(world: &mut World, frame: &ControlFrame) {
    world.scripted_client(|c, cx| c.send(PRIMARY, frame, cx.carriers));
    world.settle();
}

fn status(grant: GrantId, outcome: GrantOutcome) -> ControlFrame {
    ControlFrame::GrantStatus(GrantStatus { grant, outcome })
}

fn lost(end: u64, missing: &[(u64, u64)], more: bool) -> GrantOutcome {
    let missing = missing
        .iter()
        .map(|&(start, end)| span(start, end))
        .collect();
    GrantOutcome::Lost {
        reason: LostReason::Short,
        end,
        missing,
        more,
    }
}

#[track_caller]
fn assert_costs_session(mut world: World, code: u64) {
    world.settle();
    let down = world.scripted_client(|c, _| c.down(PRIMARY).cloned());
    assert_eq!(down, Some(DownCause::ClosedByPeer(code)));
    world.primary(|p, _| {
        let last = p.events.last();
        assert!(
            matches!(last, Some(PrimaryEvent::Closed(CloseReason::Violation(_)))),
            "{last:?}"
        );
    });
}

#[track_caller]
fn assert_goes_on(world: &mut World) {
    world.settle();
    world.primary(|p, _| assert!(!p.session.is_closed(), "{:?}", p.events.last()));
}

/// [CTL-10] [SESS-1]
#[test]
fn frames_of_other_roles() {
    let own = [
        "PATH_STATUS",
        "GRANT_STATUS",
        "HOLE",
        "STREAM_DONE",
        "MAX_OFFSET",
    ];
    for frame in super::frames_but(&own) {
        let mut world = welcomed();
        say(&mut world, &frame);
        assert_costs_session(world, code::UNEXPECTED);
    }
}

#[test]
fn bytes_that_are_no_frame() {
    let mut world = welcomed();
    let bomb = Bytes::from_static(&[0x20, 0xbf, 0xff, 0xff, 0xff]);
    world.scripted_client(|c, cx| c.write_control(PRIMARY, bomb, cx.carriers));
    assert_costs_session(world, code::ENCODING);
}

/// [CTL-3]
#[test]
fn an_end_of_the_control_carrier() {
    let control = CarrierId {
        path: PRIMARY,
        stream: CONTROL,
    };
    let mut world = welcomed();
    world.scripted_client(|c, cx| c.finish(control, cx.carriers));
    assert_costs_session(world, code::UNEXPECTED);
    let mut world = welcomed();
    world.scripted_client(|_, cx| cx.carriers.reset(control, 1));
    assert_costs_session(world, code::UNEXPECTED);
    let mut world = welcomed();
    world.scripted_client(|_, cx| cx.carriers.stop(control, 1));
    assert_costs_session(world, code::UNEXPECTED);
}

#[test]
fn a_segment_of_a_client() {
    let mut world = welcomed();
    let conn = world.conn(PRIMARY);
    world.scripted_client(|_, cx| assert_eq!(cx.carriers.open_uni(PRIMARY), Ok(None)));
    world.net.force_uni_credit(conn, Side::Server);
    world.scripted_client(|c, cx| {
        let carrier = cx.carriers.open_uni(PRIMARY).expect("up").expect("forced");
        c.write(carrier, Bytes::from_static(&[0; 20]), cx.carriers);
    });
    assert_costs_session(world, code::UNEXPECTED);
}

#[test]
fn a_path_that_was_never_named() {
    for path in [PathId(0), PathId(2), PathId(1 << 40)] {
        let mut world = granted();
        let frame = ControlFrame::PathStatus(PathStatus {
            path,
            state: PathStatusState::Active,
        });
        world.scripted_client(|c, cx| c.send(PRIMARY, &frame, cx.carriers));
        world.settle();
        world.primary(|p, _| assert!(p.session.is_closed(), "{path}"));
    }
}

/// [PATH-10]
#[test]
fn a_path_that_comes_back_from_the_dead() {
    let mut world = granted();
    for state in [
        PathStatusState::Dead,
        PathStatusState::Active,
        PathStatusState::Retired,
    ] {
        say(
            &mut world,
            &ControlFrame::PathStatus(PathStatus { path: PATH, state }),
        );
    }
    assert_goes_on(&mut world);
    let refused = world.primary(|p, cx| {
        p.session.delegate(
            cx.now,
            STREAM,
            span(2000, 3000),
            PATH,
            Bytes::new(),
            cx.carriers,
        )
    });
    assert!(refused.is_err(), "a dead path gets nothing");
}

/// [GRANT-1]
#[test]
fn a_grant_that_was_never_given() {
    let outcomes = [
        GrantOutcome::Done { end: 9 },
        GrantOutcome::Progress { present: 9 },
        lost(9, &[], false),
    ];
    for outcome in outcomes {
        let mut world = granted();
        say(&mut world, &status(GrantId(1), outcome));
        assert_costs_session(world, code::UNEXPECTED);
    }
}

#[test]
fn an_end_outside_the_grant() {
    for outcome in [
        GrantOutcome::Done { end: 1001 },
        GrantOutcome::Done { end: (1 << 62) - 1 },
        lost(1001, &[], false),
        lost(1000, &[(0, 1001)], false),
        lost(1000, &[(1 << 40, 1 << 41)], false),
    ] {
        let mut world = granted();
        say(&mut world, &status(GRANT, outcome));
        assert_costs_session(world, code::UNEXPECTED);
    }
}

#[test]
fn a_second_final_status_is_ignored() {
    let mut world = granted();
    say(
        &mut world,
        &status(GRANT, lost(1000, &[(500, 1000)], false)),
    );
    say(&mut world, &status(GRANT, GrantOutcome::Done { end: 1000 }));
    say(&mut world, &status(GRANT, lost(1000, &[(0, 1000)], false)));
    assert_goes_on(&mut world);
    let finals = world.primary(|p, _| {
        let verdict = |event: &&PrimaryEvent| {
            matches!(
                event,
                PrimaryEvent::GrantDone { .. } | PrimaryEvent::GrantLost { .. }
            )
        };
        p.events.iter().filter(verdict).count()
    });
    assert_eq!(finals, 1);
}

#[test]
fn progress_beyond_all_bounds() {
    let mut world = granted();
    for present in [1, (1 << 62) - 1, 0] {
        say(
            &mut world,
            &status(GRANT, GrantOutcome::Progress { present }),
        );
    }
    assert_goes_on(&mut world);
    let info = world.primary(|p, _| p.session.paths());
    assert!(
        info.iter().all(|info| info.received_bytes <= 1000),
        "{info:?}"
    );
}

/// A list without end, which a final frame never follows.
#[test]
fn missing_ranges_without_end() {
    let mut world = welcomed();
    world.add_path(1);
    say(
        &mut world,
        &ControlFrame::PathStatus(PathStatus {
            path: PATH,
            state: PathStatusState::Active,
        }),
    );
    let stream = world.open_stream();
    let grant = world.delegate(stream, (0, 1 << 40), PATH);
    for list in 0..1000_u64 {
        let missing: SmallVec<[ByteRange; 4]> = (0..128)
            .map(|index| span((list * 128 + index) * 2, (list * 128 + index) * 2 + 1))
            .collect();
        let outcome = GrantOutcome::Lost {
            reason: LostReason::Path,
            end: 1 << 40,
            missing,
            more: true,
        };
        say(&mut world, &status(grant, outcome));
        if world.scripted_client(|c, _| c.down(PRIMARY).is_some()) {
            break;
        }
    }
    assert_costs_session(world, code::EXCESSIVE_LOAD);
}

#[test]
fn credit_without_bounds() {
    let mut world = granted();
    say(&mut world, &max_offset(STREAM, (1 << 62) - 1));
    say(&mut world, &max_offset(STREAM, 0));
    assert_goes_on(&mut world);
    // It is QUIC that bounds what is sent then.
    world.write(STREAM, (1000, 100_000), false);
    world.settle();
    assert_goes_on(&mut world);
}

/// [AGG-1]
#[test]
fn credit_for_streams_that_take_none() {
    let mut world = welcomed();
    let plain = world.open_stream();
    say(&mut world, &max_offset(plain, 1000));
    assert_costs_session(world, code::UNEXPECTED);
    for impossible in [5, 4, 1 << 40] {
        let mut world = granted();
        say(&mut world, &max_offset(StreamId(impossible), 1000));
        assert_costs_session(world, code::STREAM);
    }
}

/// [END-10]
#[test]
fn holes_that_are_none() {
    let mut world = granted();
    say(&mut world, &max_offset(STREAM, 100_000));
    world.write(STREAM, (1000, 5000), false);
    world.settle();
    let holes: [&[(u64, u64)]; 4] = [
        &[(0, 1000)],       // a live grant covers it
        &[(5000, 1 << 40)], // nobody has written so far
        &[(1 << 61, (1 << 62) - 1)],
        &[],
    ];
    for ranges in holes {
        let ranges = ranges
            .iter()
            .map(|&(start, end)| span(start, end))
            .collect();
        say(
            &mut world,
            &ControlFrame::Hole(Hole {
                stream: STREAM,
                ranges,
            }),
        );
    }
    assert_goes_on(&mut world);
    world.primary(|p, _| {
        assert!(
            !p.events
                .iter()
                .any(|event| matches!(event, PrimaryEvent::Hole { .. }))
        );
    });
    // Where something was written the primary has to believe it: the client may have dropped it.
    let ranges = smallvec![span(2000, 3000)];
    say(
        &mut world,
        &ControlFrame::Hole(Hole {
            stream: STREAM,
            ranges,
        }),
    );
    assert_goes_on(&mut world);
}

#[test]
fn holes_in_streams_that_have_none() {
    let mut world = welcomed();
    let plain = world.open_stream();
    say(
        &mut world,
        &ControlFrame::Hole(Hole {
            stream: plain,
            ranges: smallvec![span(0, 9)],
        }),
    );
    assert_costs_session(world, code::UNEXPECTED);
    let mut world = granted();
    say(
        &mut world,
        &ControlFrame::Hole(Hole {
            stream: StreamId(400),
            ranges: smallvec![span(0, 9)],
        }),
    );
    assert_costs_session(world, code::STREAM);
}

#[test]
fn an_end_before_the_final_size() {
    let mut world = granted();
    say(
        &mut world,
        &ControlFrame::StreamDone(StreamDone { stream: STREAM }),
    );
    assert_costs_session(world, code::UNEXPECTED);
    let mut world = welcomed();
    let plain = world.open_stream();
    say(
        &mut world,
        &ControlFrame::StreamDone(StreamDone { stream: plain }),
    );
    assert_costs_session(world, code::UNEXPECTED);
}

/// It says that it has all while bytes are missing: it only deceives itself.
#[test]
fn an_end_that_is_a_lie() {
    let mut world = granted();
    world.finish(STREAM);
    world.settle();
    say(
        &mut world,
        &ControlFrame::StreamDone(StreamDone { stream: STREAM }),
    );
    say(
        &mut world,
        &ControlFrame::StreamDone(StreamDone { stream: STREAM }),
    );
    say(&mut world, &status(GRANT, GrantOutcome::Done { end: 1000 }));
    assert_goes_on(&mut world);
}

/// A client that says nothing at all about its grants: the session goes on, and it gets nothing.
#[test]
fn silence() {
    let mut world = granted();
    world.advance(Duration::from_secs(100));
    assert_goes_on(&mut world);
}

/// [ERR-6]
#[test]
fn random_frames_never_panic() {
    for seed in 0..200 {
        let setup = Setup {
            scripted_client: true,
            seed: Some(seed),
            ..Setup::default()
        };
        let mut world = setup.build();
        world.settle();
        let hello = Hello {
            join_key_thumbprint: [1; 32],
        };
        say(&mut world, &ControlFrame::Hello(hello));
        world.add_path(1);
        let state = PathStatusState::Active;
        say(
            &mut world,
            &ControlFrame::PathStatus(PathStatus { path: PATH, state }),
        );
        let stream = world.open_stream();
        for index in 0..4 {
            world.delegate(stream, (index * 1000, index * 1000 + 1000), PATH);
        }
        world.write(stream, (4000, 6000), seed % 2 == 0);
        let mut random = super::random::Frames::new(seed);
        for _ in 0..60 {
            if world.scripted_client(|c, _| c.down(PRIMARY).is_some()) {
                break;
            }
            say(&mut world, &random.frame());
        }
    }
}

/// It makes the primary talk and does not read.
#[test]
fn deafness() {
    let mut setup = Setup {
        scripted_client: true,
        ..Setup::default()
    };
    // Nothing of control is read ahead: that is as deaf as it gets.
    setup.config.quic.stream_receive_window_bytes = 4 << 10;
    setup.config.server.control_unread_bytes_max = 64 << 10;
    let mut world = setup.build();
    world.settle();
    say(
        &mut world,
        &ControlFrame::Hello(Hello {
            join_key_thumbprint: join_key().thumbprint(),
        }),
    );
    world.hold(
        PRIMARY,
        Side::Server,
        crate::session::tests::world::What::Feedback,
    );
    for _ in 0..1000 {
        let path = world.add_path(1);
        let state = PathStatusState::Dead;
        say(
            &mut world,
            &ControlFrame::PathStatus(PathStatus { path, state }),
        );
        if world.primary(|p, _| p.session.is_closed()) {
            break;
        }
    }
    assert_costs_session(world, code::EXCESSIVE_LOAD);
}

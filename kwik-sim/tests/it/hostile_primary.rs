//! A hostile primary at an honest client. The client trusts it for content and for nothing else: what
//! it breaks costs its own session, and no order of it makes the client dial, hold or wait for more
//! than it allows.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;
use kwik_core::error::{CloseReason, code};
use kwik_core::ids::{ByteRange, GrantId, PathId, SessionId, StreamId};
use kwik_core::path::PathPhase;
use kwik_core::wire::{
    AddPath, Aggregate, ControlFrame, Extent, FinalSize, Grant, Joined, PathStatusState, Revoke,
    Sealed, SegmentHeader, SegmentOwner, Welcome,
};
use kwik_sim::raw::{Carrier, Cue, End, Line, Log, RawPeer, always};
use kwik_sim::{Setting, Stage, World};

use crate::SECOND;

/// The stream that the client opens for its request.
const REQUEST: StreamId = StreamId(4);

/// A world in which a primary that says WELCOME and then does `attack` has an honest client. Its one
/// secondary runs `secondary`.
fn world(
    attack: impl Fn(&mut Line<'_>, &Cue) + 'static,
    secondary: impl Fn(&mut Line<'_>, &Cue) + 'static,
) -> Stage {
    let setting = Setting::new(1, 1, 1000);
    let mut stage = setting.build();
    let script = always(move |line: &mut Line<'_>, cue: &Cue| {
        if matches!(cue, Cue::Frame(ControlFrame::Hello(_))) {
            let session = SessionId([3; 16]);
            line.send(&ControlFrame::Welcome(Welcome { session }));
        }
        attack(line, cue);
    });
    let primary = RawPeer::server(setting.crypto, setting.identity(1), script);
    stage.world.install(stage.primary, primary);
    let secondary = RawPeer::server(setting.crypto, setting.identity(2), always(secondary));
    stage.world.install(stage.secondaries[0], secondary);
    stage
}

fn log(stage: &Stage) -> &Log {
    stage.world.node::<RawPeer>(stage.primary).log()
}

fn is_hello(cue: &Cue) -> bool {
    matches!(cue, Cue::Frame(ControlFrame::Hello(_)))
}

/// Joins, and writes nothing.
fn joins(line: &mut Line<'_>, cue: &Cue) {
    if matches!(cue, Cue::Frame(ControlFrame::Join(_))) {
        line.send(&ControlFrame::Joined(Joined));
    }
}

/// Names the secondary of the world, or somebody who is not there.
fn add_path(path: u64, exists: bool) -> ControlFrame {
    let host = if exists { 2 } else { 100 };
    ControlFrame::AddPath(AddPath {
        path: PathId(path),
        addrs: [World::addr_of_ordinal(host)].into_iter().collect(),
        server_name: "kwik.sim".to_owned(),
        pin: Setting::new(1, 1, 0).identity(2).pin,
        ticket: Bytes::from_static(&[0; 100]),
    })
}

fn aggregate() -> ControlFrame {
    ControlFrame::Aggregate(Aggregate {
        stream: REQUEST,
        plain_end: 0,
        final_size: None,
    })
}

fn final_size(size: u64) -> ControlFrame {
    let stream = REQUEST;
    ControlFrame::FinalSize(FinalSize { stream, size })
}

fn grant(id: u64, path: u64, start: u64, end: u64) -> ControlFrame {
    ControlFrame::Grant(Grant {
        grant: GrantId(id),
        path: PathId(path),
        stream: REQUEST,
        extent: Extent::Fixed(ByteRange::new(start, end).expect("ordered")),
        max_offset: 0,
        sealed: Sealed {
            seq: id,
            bytes: Bytes::from_static(&[0; 32]),
        },
    })
}

fn segment(line: &mut Line<'_>, offset: u64, body: &[u8]) {
    let owner = SegmentOwner::Primary(REQUEST);
    line.segment(SegmentHeader { owner, offset }, body);
}

/// The client ends the session with this code: every stream fails, and no other path is left.
#[track_caller]
fn costs_the_session(code: u64, attack: impl Fn(&mut Line<'_>) + 'static) {
    costs_the_session_when(code, |_| false, attack, |_| ());
}

/// With what is done when the path has joined, and what at another moment.
#[track_caller]
fn costs_the_session_when(
    code: u64,
    is_time: impl Fn(&Cue) -> bool + 'static,
    at_first: impl Fn(&mut Line<'_>) + 'static,
    attack: impl Fn(&mut Line<'_>) + 'static,
) {
    let when_joined = move |line: &mut Line<'_>, cue: &Cue| {
        if is_hello(cue) {
            line.send(&add_path(1, true));
        } else if is_active(cue, 1) {
            at_first(line);
        } else if is_time(cue) {
            attack(line);
        }
    };
    let mut stage = world(when_joined, joins);
    stage.world.run_for(2 * SECOND);
    assert_eq!(log(&stage).closed_with, [code]);
    let closed = stage.reader().closed().map(|(_, reason)| reason.clone());
    let Some(CloseReason::Violation(violation)) = closed else {
        panic!("not blamed for it: {closed:?}");
    };
    assert_eq!(violation.code(), code, "{violation}");
    assert!(stage.reader().fault().is_some(), "the streams tell");
    let secondary: &RawPeer = stage.world.node(stage.secondaries[0]);
    assert_eq!(secondary.log().closed_with.len(), 1, "closed too [SESS-4]");
    assert_eq!(stage.stats().map_or(0, |stats| stats.buffered_bytes), 0);
}

/// As [`costs_the_session`]; the attack comes when the primary has credit for the stream.
#[track_caller]
fn costs_the_session_with_credit(code: u64, attack: impl Fn(&mut Line<'_>) + 'static) {
    let has_credit = |cue: &Cue| matches!(cue, Cue::Frame(ControlFrame::MaxOffset(_)));
    costs_the_session_when(code, has_credit, |line| line.send(&aggregate()), attack);
}

fn is_active(cue: &Cue, path: u64) -> bool {
    matches!(cue, Cue::Frame(ControlFrame::PathStatus(status))
        if status.path == PathId(path) && status.state == PathStatusState::Active)
}

#[test]
fn frames_that_contradict_others_cost_the_session() {
    let frames: [&[ControlFrame]; 9] = [
        // Ids that do not rise.
        &[add_path(1, true)],
        &[aggregate(), grant(5, 1, 0, 9), grant(5, 1, 10, 19)],
        // A path, and a grant, that were never named.
        &[aggregate(), grant(0, 7, 0, 9)],
        &[ControlFrame::Revoke(Revoke {
            grant: GrantId(7),
            end: 0,
        })],
        // A stream that is not aggregated, and one that is twice.
        &[grant(0, 1, 0, 9)],
        &[final_size(9)],
        &[aggregate(), aggregate()],
        // WELCOME again, and what is not a primary's to send.
        &[ControlFrame::Welcome(Welcome {
            session: SessionId([4; 16]),
        })],
        &[ControlFrame::Joined(Joined)],
    ];
    for frames in frames {
        let frames = frames.to_vec();
        costs_the_session(code::UNEXPECTED, move |line| {
            frames.iter().for_each(|frame| line.send(frame));
        });
    }
}

/// [END-3]
#[test]
fn sizes_that_contradict_each_other_cost_the_session() {
    costs_the_session(code::FINAL_SIZE, |line| {
        [aggregate(), final_size(10), final_size(11)]
            .iter()
            .for_each(|frame| line.send(frame));
    });
    costs_the_session_with_credit(code::FINAL_SIZE, |line| {
        segment(line, 0, &[0; 500]);
        line.send(&final_size(10));
        // If the size overtakes the bytes, they are dropped in silence; a second one tells then.
        line.send(&final_size(11));
    });
}

/// [GRANT-14]
#[test]
fn more_grants_than_a_path_may_have_cost_the_session() {
    costs_the_session(code::EXCESSIVE_LOAD, |line| {
        line.send(&aggregate());
        (0..33).for_each(|id| line.send(&grant(id, 1, id * 10, id * 10 + 10)));
    });
}

/// [FLOW-8]
#[test]
fn bytes_beyond_the_credit_cost_the_session() {
    costs_the_session_with_credit(code::FLOW_CONTROL, |line| {
        segment(line, (1 << 62) - 100, &[0; 10]);
    });
}

/// [STR-6]
#[test]
fn a_stream_that_cannot_exist_costs_the_session() {
    costs_the_session(code::STREAM, |line| {
        line.send(&ControlFrame::Aggregate(Aggregate {
            stream: StreamId(1 << 40),
            plain_end: 0,
            final_size: None,
        }));
    });
}

/// [CTL-11]: what it makes the client answer it has to read.
#[test]
fn who_makes_the_client_talk_and_does_not_listen_loses_the_session() {
    struct Deaf {
        is_deaf: bool,
        id: u64,
    }
    impl kwik_sim::raw::Script for Deaf {
        fn on_cue(&mut self, line: &mut Line<'_>, cue: &Cue) {
            if is_hello(cue) {
                let session = SessionId([3; 16]);
                line.send(&ControlFrame::Welcome(Welcome { session }));
                // Nobody is there: dead in ten seconds, and every grant is answered then.
                line.send(&add_path(1, false));
                self.is_deaf = true;
            }
            // Each is answered at once: the path has ended.
            if matches!(cue, Cue::Alarm) && self.id < 800_000 {
                if self.id == 0 {
                    line.send(&aggregate());
                }
                let frames = (self.id..self.id + 20_000).map(|id| grant(id, 1, 0, 1 << 40));
                let bytes: Vec<u8> = frames.flat_map(|frame| frame.encode()).collect();
                line.send_bytes(&bytes);
                self.id += 20_000;
            }
        }

        fn alarm(&self) -> Option<std::time::Duration> {
            let step = SECOND / 2;
            let steps = u32::try_from(self.id / 20_000).expect("few");
            let goes_on = self.is_deaf && self.id < 800_000;
            goes_on.then(|| 12 * SECOND + step * steps)
        }

        fn is_deaf(&self) -> bool {
            self.is_deaf
        }
    }
    let setting = Setting::new(1, 1, 1000);
    let mut stage = setting.build();
    let casting: kwik_sim::raw::Casting = Rc::new(|| {
        Box::new(Deaf {
            is_deaf: false,
            id: 0,
        })
    });
    let primary = RawPeer::server(setting.crypto, setting.identity(1), casting);
    stage.world.install(stage.primary, primary);
    stage.world.run_for(60 * SECOND);
    assert_eq!(
        log(&stage).closed_with,
        [code::EXCESSIVE_LOAD],
        "{:?}",
        stage.reader().closed()
    );
}

/// [PATH-4]: a thousand names of a server that accepts connections and joins nobody.
#[test]
fn a_flood_of_paths_makes_the_client_dial_no_more_than_it_allows() {
    let (open, most) = (Rc::new(Cell::new(0u32)), Rc::new(Cell::new(0u32)));
    let (dials, peak) = (Rc::clone(&open), Rc::clone(&most));
    let dead = Rc::new(RefCell::new(Vec::new()));
    let told = Rc::clone(&dead);
    let attack = move |line: &mut Line<'_>, cue: &Cue| {
        if is_hello(cue) {
            (1..=1000).for_each(|path| line.send(&add_path(path, true)));
        } else if let Cue::Frame(ControlFrame::PathStatus(status)) = cue {
            assert_eq!(status.state, PathStatusState::Dead);
            told.borrow_mut().push((line.moment.time, status.path));
        }
    };
    let mut stage = world(attack, move |_, cue| {
        if matches!(cue, Cue::Frame(ControlFrame::Join(_))) {
            dials.set(dials.get() + 1);
            peak.set(peak.get().max(dials.get()));
        }
    });
    stage.world.run_for(SECOND);
    assert_eq!(dead.borrow().len(), 992, "beyond eight, dead at once");
    let live = |stage: &mut Stage| {
        let paths = stage.paths();
        let live = paths.iter().filter(|info| info.phase == PathPhase::Joining);
        live.count()
    };
    assert_eq!((live(&mut stage), open.get()), (4, 4), "four at a time");
    // Each dial that leads to no join is repeated, and the target may have only so many in a minute.
    stage.world.run_for(10 * SECOND);
    assert_eq!(dead.borrow().len(), 1000, "and all of them in time");
    assert_eq!(live(&mut stage), 0);
    assert!(open.get() <= 12, "{} dials", open.get());
    assert_eq!(stage.reader().closed(), None, "it is no violation");
    let unique: std::collections::BTreeSet<_> =
        dead.borrow().iter().map(|(_, path)| *path).collect();
    assert_eq!(unique.len(), 1000, "each told once");
}

/// Streams that are opened and reset at once, as fast as the client lets them.
#[test]
fn a_rapid_reset_of_streams_harms_nobody() {
    let opened = Rc::new(Cell::new(0u32));
    let count = Rc::clone(&opened);
    let mut stage = world(
        move |line, cue| {
            let is_greeted = !matches!(cue, Cue::Up);
            while is_greeted
                && count.get() < 20_000
                && let Some(stream) = line.open_bidi()
            {
                count.set(count.get() + 1);
                line.write(stream, &[0]);
                line.end(stream, End::Reset);
            }
        },
        joins,
    );
    stage.world.run_for(5 * SECOND);
    eprintln!("{} streams", opened.get());
    assert!(opened.get() >= 100, "it had its chance");
    assert_eq!(stage.reader().closed(), None);
}

/// [AGG-4]: they are not waited with. A primary that never sends AGGREGATE would fill the client's memory
/// with them.
#[test]
fn segments_before_aggregate_cost_the_session() {
    let window = 8 << 20;
    let taken = Rc::new(Cell::new(0u64));
    let (count, carriers) = (Rc::clone(&taken), RefCell::new(Vec::<Carrier>::new()));
    let attack = move |line: &mut Line<'_>, cue: &Cue| {
        if matches!(cue, Cue::Up) || count.get() > 4 * window {
            return;
        }
        let mut carriers = carriers.borrow_mut();
        while let Some(carrier) = line.open() {
            // A stream that the primary may open.
            let owner = SegmentOwner::Primary(StreamId(1));
            line.write(carrier, &SegmentHeader { owner, offset: 0 }.encode());
            carriers.push(carrier);
        }
        for &carrier in carriers.iter() {
            let written = line.write(carrier, &[0; 64 << 10]).unwrap_or(0);
            count.set(count.get() + written as u64);
            if written == 0 {
                break;
            }
        }
    };
    let mut stage = world(attack, joins);
    stage.world.run_for(30 * SECOND);
    assert_eq!(log(&stage).closed_with, [code::UNEXPECTED]);
    assert!(taken.get() <= 2 * window, "{} bytes", taken.get());
}

//! Hostile clients at a primary that serves an honest one: they lose their own connection at the
//! most, and the honest one gets what it asks for as if nobody else were there.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use kwik_core::error::code;
use kwik_core::ids::{GrantId, PathId, SessionId, StreamId};
use kwik_core::wire::{
    ControlFrame, GrantOutcome, GrantStatus, Hello, Hole, LostReason, MaxOffset, PathStatus,
    PathStatusState, Ranges, StreamDone, Welcome,
};
use kwik_sim::app::Delivery;
use kwik_sim::raw::{Cue, End, Line, Log, RawPeer, always};
use kwik_sim::{HostId, Setting, Stage};

use crate::SECOND;

/// Attackers at the same time.
const ATTACKERS: usize = 3;

fn setting() -> Setting {
    Setting::new(1, 1, 1 << 20)
}

/// How long the honest transfer takes if nobody disturbs it.
fn calm(setting: &Setting) -> Duration {
    let mut stage = setting.build();
    stage.run_to_end(10 * SECOND);
    stage.reader().done_at().expect("an undisturbed transfer")
}

/// A world with an honest client and some that say HELLO and then do `attack` at every cue from
/// WELCOME on.
fn besieged(
    setting: &Setting,
    attack: impl Fn(&mut Line<'_>, &Cue) + 'static,
) -> (Stage, Vec<HostId>) {
    let mut stage = setting.build();
    let primary = stage.world.addr(stage.primary);
    let attack = Rc::new(attack);
    let attackers = (0..ATTACKERS).map(|_| {
        let attack = Rc::clone(&attack);
        let script = always(move |line: &mut Line<'_>, cue: &Cue| {
            if matches!(cue, Cue::Up) {
                line.send(&ControlFrame::Hello(hello()));
            } else {
                attack(line, cue);
            }
        });
        stage
            .world
            .add_host(RawPeer::client(setting.crypto, primary, script))
    });
    let attackers = attackers.collect();
    stage.run_to_end(10 * SECOND);
    let report = stage.report("besieged");
    assert!(report.is_success(), "{report}");
    let bound = calm(setting) * 2;
    assert!(report.done_at <= Some(bound), "{report}");
    // The attack goes on for a while, and still does no harm.
    stage.world.run_for(3 * SECOND);
    assert!(stage.report("besieged").is_success());
    assert_eq!(stage.reader().closed(), None);
    (stage, attackers)
}

fn hello() -> Hello {
    Hello {
        join_key_thumbprint: [9; 32],
    }
}

fn log(stage: &Stage, host: HostId) -> &Log {
    stage.world.node::<RawPeer>(host).log()
}

/// The attackers are closed upon with this code.
#[track_caller]
fn costs_the_connection(code: u64, attack: impl Fn(&mut Line<'_>) + 'static) {
    let (stage, attackers) = besieged(&setting(), move |line, cue| {
        if matches!(cue, Cue::Frame(ControlFrame::Welcome(_))) {
            attack(line);
        }
    });
    for attacker in attackers {
        assert_eq!(log(&stage, attacker).closed_with, [code]);
    }
}

/// The attackers are suffered.
#[track_caller]
fn costs_nothing(attack: impl Fn(&mut Line<'_>, &Cue) + 'static) -> (Stage, Vec<HostId>) {
    let (stage, attackers) = besieged(&setting(), attack);
    for &attacker in &attackers {
        assert_eq!(log(&stage, attacker).closed_with, [0_u64; 0]);
    }
    (stage, attackers)
}

#[test]
fn frames_that_are_not_a_clients_cost_the_connection() {
    costs_the_connection(code::UNEXPECTED, |line| {
        line.send(&ControlFrame::Hello(hello()));
    });
    costs_the_connection(code::UNEXPECTED, |line| {
        line.send(&ControlFrame::Welcome(Welcome {
            session: SessionId([0; 16]),
        }));
    });
    costs_the_connection(code::ENCODING, |line| {
        line.send_bytes(&[0x02, 1, 0xc0]);
    });
    costs_the_connection(code::UNEXPECTED, |line| line.end_control(End::Finish));
    costs_the_connection(code::UNEXPECTED, |line| line.stop_control());
}

#[test]
fn talk_of_what_was_never_given_costs_the_connection() {
    costs_the_connection(code::UNEXPECTED, |line| {
        line.send(&ControlFrame::PathStatus(PathStatus {
            path: PathId(99),
            state: PathStatusState::Dead,
        }));
    });
    costs_the_connection(code::UNEXPECTED, |line| {
        let outcome = GrantOutcome::Done { end: 10 };
        let grant = GrantId(99);
        line.send(&ControlFrame::GrantStatus(GrantStatus { grant, outcome }));
    });
    let stream = StreamId(400);
    costs_the_connection(code::STREAM, move |line| {
        line.send(&ControlFrame::StreamDone(StreamDone { stream }));
    });
    costs_the_connection(code::STREAM, move |line| {
        let ranges = Ranges::new();
        line.send(&ControlFrame::Hole(Hole { stream, ranges }));
    });
    costs_the_connection(code::STREAM, move |line| {
        line.send(&ControlFrame::MaxOffset(MaxOffset { stream, offset: 1 }));
    });
}

/// [CTL-5]
#[test]
fn a_flood_of_frames_that_mean_nothing_harms_nobody() {
    costs_nothing(|line, cue| {
        if matches!(cue, Cue::Frame(ControlFrame::Welcome(_))) {
            line.send_bytes(&[0x7f, 0xff, 3, 1, 2, 3].repeat(100_000));
        }
    });
}

/// Streams that are opened and reset at once, as fast as QUIC lets them.
#[test]
fn a_rapid_reset_of_streams_harms_nobody() {
    let opened = Rc::new(Cell::new(0u32));
    let count = Rc::clone(&opened);
    let (stage, _) = costs_nothing(move |line, _| {
        while count.get() < 20_000
            && let Some(stream) = line.open_bidi()
        {
            count.set(count.get() + 1);
            line.write(stream, b"x");
            line.end(stream, End::Reset);
        }
    });
    assert_eq!(opened.get(), 20_000, "it had its chance");
    assert_eq!(stage.primary_app().closed(), []);
}

/// As many streams as there may be, each with a byte that does not make a request.
#[test]
fn streams_that_never_end_harm_nobody() {
    let opened = Rc::new(Cell::new(0));
    let count = Rc::clone(&opened);
    costs_nothing(move |line, _| {
        while let Some(stream) = line.open_bidi() {
            count.set(count.get() + 1);
            line.write(stream, &[1]);
        }
    });
    // Of the hundred that each may have, the control carrier is one.
    assert_eq!(opened.get(), 99 * ATTACKERS);
}

/// It claims to have joined, and has lost every grant as soon as it gets it: whoever grants again
/// has to do with it, and nobody else.
#[test]
fn grants_that_are_lost_at_once_harm_nobody() {
    for delivery in [setting().delivery, Delivery::Delegate { range_bytes: 4096 }] {
        let setting = setting().delivery(delivery);
        let (stage, attackers) = besieged(&setting, move |line, cue| match cue {
            Cue::Frame(ControlFrame::Welcome(_)) => ask(line, 10 << 20),
            Cue::Frame(ControlFrame::AddPath(add)) => {
                line.send(&ControlFrame::PathStatus(PathStatus {
                    path: add.path,
                    state: PathStatusState::Active,
                }));
            }
            Cue::Frame(ControlFrame::Aggregate(aggregate)) => {
                line.send(&ControlFrame::MaxOffset(MaxOffset {
                    stream: aggregate.stream,
                    offset: 1 << 40,
                }));
            }
            Cue::Frame(ControlFrame::Grant(grant)) => {
                let range = grant.extent.range();
                let outcome = GrantOutcome::Lost {
                    reason: LostReason::Short,
                    end: range.end(),
                    missing: [range].into_iter().collect(),
                    more: false,
                };
                let grant = grant.grant;
                line.send(&ControlFrame::GrantStatus(GrantStatus { grant, outcome }));
            }
            Cue::Frame(_) | Cue::Up | Cue::Room | Cue::Alarm => {}
        });
        let log = log(&stage, attackers[0]);
        let is_grant = |frame: &&ControlFrame| matches!(frame, ControlFrame::Grant(_));
        let grants = log.frames.iter().filter(is_grant).count();
        eprintln!("{delivery:?}: {grants} grants");
        assert!(grants > 0, "it had its chance");
        assert_eq!(log.closed_with, [0_u64; 0]);
        assert_eq!(stage.primary_app().errors(), []);
    }
}

/// Asks as a reader does, for an answer on a stream of the primary.
fn ask(line: &mut Line<'_>, bytes: u64) {
    let stream = line.open_bidi().expect("credit");
    line.write(stream, &[&[1, 0], &bytes.to_be_bytes()[..]].concat());
    line.end(stream, End::Finish);
}

/// It asks for much and takes nothing: neither credit nor a byte.
#[test]
fn answers_that_nobody_takes_harm_nobody() {
    let (stage, attackers) = costs_nothing(|line, cue| {
        if matches!(cue, Cue::Frame(ControlFrame::Welcome(_))) {
            (0..90).for_each(|_| ask(line, 1 << 40));
        }
    });
    let frames = &log(&stage, attackers[0]).frames;
    let aggregated = |frame: &&ControlFrame| matches!(frame, ControlFrame::Aggregate(_));
    assert!(frames.iter().filter(aggregated).count() > 10, "{frames:?}");
}

/// [SESS-1]
#[test]
fn a_client_without_a_word_is_closed_upon() {
    let setting = setting();
    let mut stage = setting.build();
    let primary = stage.world.addr(stage.primary);
    let silent = RawPeer::client(setting.crypto, primary, always(|_, _| {}));
    let silent = stage.world.add_host(silent);
    stage.run_to_end(10 * SECOND);
    assert!(stage.report("silent").is_success());
    stage.world.run_for(11 * SECOND);
    // Not even its control carrier was seen.
    assert_eq!(log(&stage, silent).closed_with, [code::UNEXPECTED]);
}

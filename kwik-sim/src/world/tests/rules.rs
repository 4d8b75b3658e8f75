//! Steps, whose turn it was, and the rules that every program keeps.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use kwik_core::Config;
use kwik_core::event::Event;

use super::*;
use crate::crypto::CryptoMode;
use crate::host::{App, Hosted, Unrest};

#[test]
fn a_step_is_one_event_and_tells_whose_turn_it_was() {
    let (mut world, a, b) = pair(1, &[(5 * MS, 1), (7 * MS, 1)]);
    let at = |micros| Some(Duration::from_micros(micros));
    // Both programs start.
    assert_eq!(world.step(100 * MS), Some(Duration::ZERO));
    assert_eq!(world.turned(), [a, b]);
    assert_eq!(world.step(100 * MS), at(5000));
    assert_eq!(world.turned(), [a]);
    assert_eq!(world.step(100 * MS), at(7000));
    assert_eq!(world.turned(), [a]);
    assert_eq!(world.step(100 * MS), at(15_200));
    assert_eq!(world.turned(), [b]);
    // Nothing is due before this limit, so it has come.
    assert_eq!(world.step(16 * MS), None);
    assert_eq!(world.turned(), []);
    assert_eq!(world.time(), 16 * MS);
    assert_eq!(world.step(100 * MS), at(17_200));
    assert_eq!(world.step(100 * MS), None);
    assert_eq!(world.time(), 100 * MS);
    assert_eq!(world.step(50 * MS), None, "time does not run backwards");
    assert_eq!(world.time(), 100 * MS);
}

#[test]
fn running_is_stepping() {
    let life = |is_stepped: bool| {
        let plan: Vec<_> = (1..100).map(|i| (i * MS, 3)).collect();
        let (mut world, _, b) = pair(1, &plan);
        if is_stepped {
            while world.step(500 * MS).is_some() {}
        } else {
            world.run_until(500 * MS, |_| false);
        }
        (world.trace_hash(), arrivals(&world, b), world.time())
    };
    assert_eq!(life(true), life(false));
}

#[test]
fn a_host_that_only_receives_in_its_sleep_takes_no_turn() {
    let (mut world, _, b) = pair(1, &[(5 * MS, 1)]);
    world.set_paused(b, true);
    let mut turns = Vec::new();
    while world.step(100 * MS).is_some() {
        turns.extend_from_slice(world.turned());
    }
    assert!(!turns.contains(&b));
}

/// A program that does not come to rest.
struct Restless {
    how: How,
    rounds: u32,
    peer: SocketAddr,
    is_asked: bool,
}

#[derive(Clone, Copy)]
enum How {
    /// Its deadline is always now, and it says that this is well.
    AlwaysDue,
    /// It says that a deadline is due although it was handled.
    TimerDue,
    /// It answers each datagram with one.
    Answers,
}

impl Node for Restless {
    fn receive(&mut self, _: Moment, _: Datagram) {
        self.is_asked = true;
    }

    fn expire(&mut self, _: Moment) {}

    fn run(&mut self, _: Moment) {
        self.rounds += 1;
    }

    fn transmit(&mut self, _: Moment, buf: &mut Vec<u8>) -> Option<Transmit> {
        let is_asked = std::mem::take(&mut self.is_asked);
        buf.push(0);
        is_asked.then_some(Transmit {
            destination: self.peer,
            ecn: None,
            size: 1,
            segment_size: None,
            src_ip: None,
        })
    }

    fn wake_at(&mut self, clock: &Clock) -> Option<Duration> {
        match self.how {
            How::AlwaysDue => Some(clock.time()),
            How::TimerDue | How::Answers => None,
        }
    }

    fn unrest(&mut self, _: Moment) -> Option<Unrest> {
        let since = 3 * MS;
        matches!(self.how, How::TimerDue).then_some(Unrest::TimerDue { since })
    }
}

/// A restless program that talks to the host with this ordinal; it speaks first if `is_asked`.
fn restless(how: How, peer: usize, is_asked: bool) -> Program {
    Box::new(move |_| {
        Box::new(Restless {
            how,
            rounds: 0,
            peer: World::addr_of_ordinal(peer),
            is_asked,
        })
    })
}

#[test]
fn a_program_that_is_never_done_is_halted_and_the_others_live_on() {
    let mut world = World::new(1);
    let b = world.add_host(restless(How::AlwaysDue, 0, false));
    let a = world.add_host(toy(2, &[(5 * MS, 1), (50 * MS, 1)]));
    let c = world.add_host(toy(1, &[]));
    world.run_for(100 * MS);
    let fault = world.fault().cloned().unwrap();
    assert_eq!(fault.host, b);
    assert_eq!(fault.at, Duration::ZERO);
    assert_eq!(fault.what, FaultOf::NeverDone);
    assert_eq!(fault.what.rule(), "I13");
    assert!(fault.to_string().contains("host 0"), "{fault}");
    assert_eq!(world.node::<Restless>(b).rounds, 10_001);
    assert_eq!(arrivals(&world, c).len(), 2);
    assert_eq!(world.time(), 100 * MS);
    // A fresh start is a fresh chance; the first fault remains.
    let harmless = toy(1, &[(150 * MS, 1)]);
    world.install(b, harmless);
    world.run_for(100 * MS);
    assert_eq!(arrivals(&world, a).len(), 1);
    assert_eq!(world.fault(), Some(&fault));
}

#[test]
fn a_deadline_that_stays_due_is_a_fault_at_once() {
    let mut world = World::new(1);
    world.run_for(7 * MS);
    let host = world.add_host(restless(How::TimerDue, 1, false));
    world.add_host(toy(0, &[(10 * MS, 1)]));
    world.run_for(100 * MS);
    let since = 3 * MS;
    let fault = WorldFault {
        host,
        at: 7 * MS,
        what: FaultOf::Unrest(Unrest::TimerDue { since }),
    };
    assert_eq!(world.fault(), Some(&fault));
    assert_eq!(world.node::<Restless>(host).rounds, 1);
}

#[test]
fn of_two_that_answer_each_other_while_time_stands_still_one_is_halted() {
    let mut world = World::new(1);
    world.set_link_default(LinkSpec {
        latency: Duration::ZERO,
        bandwidth_bits_per_second: None,
        ..LinkSpec::default()
    });
    world.add_host(restless(How::Answers, 1, true));
    world.add_host(restless(How::Answers, 0, false));
    let mut steps = 0;
    while world.step(MS).is_some() {
        steps += 1;
    }
    let fault = world.fault().expect("a livelock");
    assert_eq!((fault.at, fault.what), (Duration::ZERO, FaultOf::NeverDone));
    assert!(steps <= 20_100, "{steps}");
}

#[test]
fn rounds_at_different_instants_are_no_livelock() {
    let mut world = World::new(1);
    world.add_host(restless(How::Answers, 1, true));
    world.add_host(restless(How::Answers, 0, false));
    world.set_link_default(LinkSpec {
        latency: Duration::from_micros(100),
        ..LinkSpec::default()
    });
    world.run_for(5000 * MS);
    assert!(
        world.datagrams_sent() > 10_100,
        "{}",
        world.datagrams_sent()
    );
    assert_eq!(world.fault(), None);
}

/// An application whose alarm is due at once, so many times.
struct Alarmed(Rc<Cell<u32>>);

impl App for Alarmed {
    fn start(&mut self, _: &mut Hosted<'_>) {}

    fn on_event(&mut self, _: &mut Hosted<'_>, _: Event) {}

    fn alarm(&self) -> Option<Duration> {
        (self.0.get() > 0).then_some(Duration::ZERO)
    }

    fn on_alarm(&mut self, _: &mut Hosted<'_>) {
        self.0.set(self.0.get() - 1);
    }
}

#[test]
fn an_alarm_that_is_due_at_once_is_no_fault_unless_it_never_ends() {
    for (alarms, rule) in [(100, None), (u32::MAX, Some("I13"))] {
        let left = Rc::new(Cell::new(alarms));
        let app = Rc::clone(&left);
        let mut world = World::new(1);
        let program = KwikNode::program(
            Arc::new(Config::default()),
            None,
            CryptoMode::Null,
            move || Alarmed(Rc::clone(&app)),
        );
        let host = world.add_host(program);
        world.run_for(MS);
        // Acting as the program makes it due as well.
        for _ in 0..3 {
            world.act(host, |_: &mut KwikNode, _| ());
            world.run_for(MS);
        }
        assert_eq!(world.fault().map(|fault| fault.what.rule()), rule);
        assert!(left.get() == 0 || rule.is_some());
    }
}

/// A program that always has another datagram to send.
struct Endless(SocketAddr);

impl Node for Endless {
    fn receive(&mut self, _: Moment, _: Datagram) {}

    fn expire(&mut self, _: Moment) {}

    fn run(&mut self, _: Moment) {}

    fn transmit(&mut self, _: Moment, buf: &mut Vec<u8>) -> Option<Transmit> {
        buf.push(0);
        Some(Transmit {
            destination: self.0,
            ecn: None,
            size: 1,
            segment_size: None,
            src_ip: None,
        })
    }

    fn wake_at(&mut self, _: &Clock) -> Option<Duration> {
        None
    }
}

#[test]
fn who_sends_without_end_is_halted() {
    let mut world = World::new(1);
    let host = world.add_host(Box::new(|_| Box::new(Endless(World::addr_of_ordinal(7)))));
    world.run_for(MS);
    let fault = world.fault().expect("a livelock");
    assert_eq!((fault.host, fault.what), (host, FaultOf::NeverDone));
    assert_eq!(world.datagrams_sent(), 10_001);
}

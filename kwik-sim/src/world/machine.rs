//! A machine of a world: a program, its socket, and when it is due.
//!
//! Owns what the program is shown and in which order. Never sees the network.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use kwik_core::endpoint::Datagram;

use super::fault::FaultOf;
use crate::clock::{Clock, Moment};
use crate::host::{Node, Program};
use crate::link::Link;

/// Datagrams that a host handles before it sends and looks at its application.
const DATAGRAMS_PER_ROUND: usize = 64;

/// Steps of one host at one instant, rounds and bursts that it sends: more is a livelock.
pub(super) const STEPS_PER_INSTANT_MAX: u32 = 10_000;

/// What a host's socket holds; more is lost, as with a real one.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// A machine.
pub(super) struct Machine {
    /// Where it is seen from outside.
    pub(super) addr: SocketAddr,
    /// What its program takes for its address: where it was seen at first.
    pub(super) addr_inside: SocketAddr,
    /// How often it has changed the address at which it is seen.
    pub(super) rebinds: u32,
    pub(super) program: Program,
    /// What runs; none after a crash.
    pub(super) node: Option<Box<dyn Node>>,
    pub(super) births: u64,
    pub(super) is_paused: bool,
    /// Whether the program broke a rule and gets no more turns.
    pub(super) is_halted: bool,
    /// What the socket holds.
    inbox: VecDeque<Datagram>,
    inbox_bytes: usize,
    pub(super) wake_at: Option<Duration>,
    pub(super) wall_clock_ahead_seconds: i64,
    /// The links from here, by the ordinal of the other end.
    pub(super) links: Vec<Option<Link>>,
    /// The instant of the last step, and how many there were at it.
    steps: (Duration, u32),
}

/// What a round came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Round {
    /// There was nothing to do.
    Idle,
    /// The program did something and may have more to do.
    Busy,
}

impl Machine {
    pub(super) fn new(addr: SocketAddr, program: Program) -> Self {
        Self {
            addr,
            addr_inside: addr,
            rebinds: 0,
            program,
            node: None,
            births: 0,
            is_paused: false,
            is_halted: false,
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            wake_at: None,
            wall_clock_ahead_seconds: 0,
            links: Vec::new(),
            steps: (Duration::ZERO, 0),
        }
    }

    /// Ends the program; its socket goes with it.
    pub(super) fn crash(&mut self) {
        self.node = None;
        self.wake_at = None;
        self.is_halted = false;
        self.inbox.clear();
        self.inbox_bytes = 0;
    }

    /// A datagram reaches the socket; without a program there is none.
    pub(super) fn push(&mut self, datagram: Datagram) {
        let len = datagram.data.len();
        if self.node.is_some() && self.inbox_bytes + len <= SOCKET_BUFFER_BYTES {
            self.inbox_bytes += len;
            self.inbox.push_back(datagram);
        }
    }

    /// When there is something to do; zero if there is already.
    pub(super) fn due_at(&self) -> Option<Duration> {
        if self.is_paused || self.is_halted || self.node.is_none() {
            return None;
        }
        if self.inbox.is_empty() {
            self.wake_at
        } else {
            Some(Duration::ZERO)
        }
    }

    /// Handles a batch of datagrams, or a deadline once there is none left: after a pause the socket
    /// is believed before the clock.
    pub(super) fn round(&mut self, moment: Moment, clock: &Clock) -> Round {
        let Some(node) = self.node.as_deref_mut() else {
            return Round::Idle;
        };
        let batch = self.inbox.len().min(DATAGRAMS_PER_ROUND);
        for datagram in self.inbox.drain(..batch) {
            self.inbox_bytes -= datagram.data.len();
            node.receive(moment, datagram);
        }
        if batch == 0 {
            // It may have been woken while it was paused.
            let is_woken = self.wake_at.is_some_and(|at| at <= moment.time);
            if node.wake_at(clock).is_none_or(|at| at > moment.time) && !is_woken {
                return Round::Idle;
            }
            self.wake_at = None;
            node.expire(moment);
        }
        node.run(moment);
        Round::Busy
    }

    /// The program takes a step; false if it was one too many.
    pub(super) fn step(&mut self, at: Duration) -> bool {
        if self.steps.0 != at {
            self.steps = (at, 0);
        }
        self.steps.1 = self.steps.1.saturating_add(1);
        self.steps.1 <= STEPS_PER_INSTANT_MAX
    }

    /// What is wrong with the program, after a round in which it sent all that it had.
    pub(super) fn fault(&mut self, moment: Moment) -> Option<FaultOf> {
        if !self.step(moment.time) {
            return Some(FaultOf::NeverDone);
        }
        let unrest = self.node.as_deref_mut()?.unrest(moment)?;
        Some(FaultOf::Unrest(unrest))
    }
}

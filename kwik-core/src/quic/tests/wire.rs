//! A network in memory: a constant delay, chosen losses, a virtual clock.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use crate::carrier::Now;
use crate::datagram::{Datagram, Transmit};

const DELAY: Duration = Duration::from_millis(5);

/// Which of the first datagrams between two nodes are lost: bit `n` stands for the datagram of number
/// `n` in its direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Losses {
    pub(crate) between: (usize, usize),
    /// Datagrams of the first node, and of the second.
    pub(crate) lost: [u64; 2],
    sent: [u32; 2],
}

impl Losses {
    pub(crate) fn new(between: (usize, usize), lost: [u64; 2]) -> Self {
        Self {
            between,
            lost,
            sent: [0; 2],
        }
    }

    /// Whether this one gets lost.
    fn take(&mut self, from: usize, to: usize) -> bool {
        let (first, second) = self.between;
        let direction = match (from, to) {
            pair if pair == (first, second) => 0,
            pair if pair == (second, first) => 1,
            _ => return false,
        };
        let number = self.sent[direction];
        self.sent[direction] += 1;
        number < u64::BITS && self.lost[direction] >> number & 1 == 1
    }
}
/// Datagrams that are kept to be forged.
const SEEN_MAX: usize = 1000;

/// Somebody on the network.
pub(crate) trait Node {
    fn addr(&self) -> SocketAddr;
    fn take_in(&mut self, now: Now, datagram: Datagram);
    fn next_deadline(&mut self) -> Option<Instant>;
    fn handle_timeout(&mut self, now: Now);
    /// Takes what there is to be told.
    fn turn(&mut self, now: Now);
    fn poll_transmit(&mut self, now: Now, buf: &mut Vec<u8>) -> Option<Transmit>;
}

pub(crate) struct Wire {
    start: Instant,
    now: Instant,
    flying: BTreeMap<(Instant, u64), (usize, Datagram)>,
    sent: u64,
    /// Nothing is delivered any more.
    pub(crate) cut: bool,
    /// Nothing that this one sends is delivered any more.
    pub(crate) cut_from: Option<usize>,
    /// Loses so many of a hundred datagrams, in no order that matters.
    pub(crate) loss_percent: u64,
    /// Loses these.
    pub(crate) losses: Option<Losses>,
    /// From one node to another.
    pub(crate) delay: Duration,
    /// When each datagram was sent, by whom, and its size.
    pub(crate) trace: Vec<(Duration, usize, usize)>,
    /// Datagrams of established connections, and to whom they went.
    seen: VecDeque<(usize, Datagram)>,
}

impl Wire {
    #[expect(
        clippy::disallowed_methods,
        reason = "an `Instant` to begin with cannot be had otherwise"
    )]
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self {
            start: now,
            now,
            flying: BTreeMap::new(),
            sent: 0,
            cut: false,
            cut_from: None,
            loss_percent: 0,
            losses: None,
            delay: DELAY,
            trace: Vec::new(),
            seen: VecDeque::new(),
        }
    }

    pub(crate) fn now(&self) -> Now {
        Now {
            monotonic: self.now,
            unix_seconds: 1_800_000_000 + self.elapsed().as_secs(),
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// Delivers a datagram to `to` that looks like one of its connection, but is not.
    pub(crate) fn forge(&mut self, to: usize) {
        let seen = self.seen.iter().rev().find(|(node, _)| *node == to);
        let mut datagram = seen.expect("a datagram to forge").1.clone();
        let last = datagram.data.len() - 1;
        datagram.data[last] ^= 1;
        self.fly(Duration::ZERO, to, datagram);
    }

    /// Lets so much time pass.
    pub(crate) fn run<N: Node>(&mut self, nodes: &mut [N], duration: Duration) {
        let end = self.now + duration;
        loop {
            self.settle(nodes);
            let arrival = self.flying.keys().next().map(|&(at, _)| at);
            let timers = nodes.iter_mut().filter_map(Node::next_deadline);
            let next = timers.chain(arrival).min().filter(|&at| at <= end);
            let Some(next) = next else { break };
            self.now = self.now.max(next);
            self.deliver(nodes);
            let now = self.now();
            nodes.iter_mut().for_each(|node| node.handle_timeout(now));
        }
        self.now = end;
    }

    fn deliver<N: Node>(&mut self, nodes: &mut [N]) {
        let now = self.now();
        while let Some(entry) = self.flying.first_entry() {
            if entry.key().0 > self.now {
                return;
            }
            let (to, datagram) = entry.remove();
            if datagram.data.first().is_some_and(|byte| byte & 0x80 == 0) {
                self.seen.push_back((to, datagram.clone()));
                if self.seen.len() > SEEN_MAX {
                    self.seen.pop_front();
                }
            }
            nodes[to].take_in(now, datagram);
        }
    }

    /// Until nobody has anything to tell or to send.
    fn settle<N: Node>(&mut self, nodes: &mut [N]) {
        let now = self.now();
        let addrs: Vec<SocketAddr> = nodes.iter().map(Node::addr).collect();
        for (from, node) in nodes.iter_mut().enumerate() {
            node.turn(now);
            let mut buf = Vec::new();
            while let Some(transmit) = node.poll_transmit(now, &mut buf) {
                self.send(from, &addrs, &transmit, &buf);
                node.turn(now);
            }
        }
    }

    fn send(&mut self, from: usize, addrs: &[SocketAddr], transmit: &Transmit, buf: &[u8]) {
        let to = addrs.iter().position(|addr| *addr == transmit.destination);
        let segment = transmit.segment_size.unwrap_or(transmit.size);
        for bytes in buf[..transmit.size].chunks(segment) {
            self.trace.push((self.elapsed(), from, bytes.len()));
            // The fractional parts of multiples of the golden ratio are spread evenly.
            let chance = (self.sent.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % 100;
            let datagram = Datagram {
                remote: addrs[from],
                local_ip: None,
                ecn: transmit.ecn,
                data: BytesMut::from(bytes),
            };
            let (losses, delay) = (&mut self.losses, self.delay);
            let lost =
                to.is_some_and(|to| losses.as_mut().is_some_and(|losses| losses.take(from, to)));
            let cut = self.cut || self.cut_from == Some(from);
            match to.filter(|_| !cut && !lost && chance >= self.loss_percent) {
                Some(to) => self.fly(delay, to, datagram),
                None => self.sent += 1,
            }
        }
    }

    fn fly(&mut self, delay: Duration, to: usize, datagram: Datagram) {
        self.sent += 1;
        self.flying
            .insert((self.now + delay, self.sent), (to, datagram));
    }
}

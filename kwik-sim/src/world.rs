//! Hosts, the network between them, and the time that passes.
//!
//! Owns the order of everything that happens: by time, at one time by the order in which it was
//! caused. Two worlds that are built and told the same do the same. Never sees what a program does.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;
use kwik_core::endpoint::{Datagram, Transmit};

use crate::clock::{Clock, Moment};
use crate::host::{Birth, KwikNode, Node, Program};
use crate::link::{Link, LinkSpec};
use crate::rng::{Chance, Purpose};
use crate::trace::{Trace, TraceMode};

/// Datagrams that a host handles before it sends and looks at its application.
const DATAGRAMS_PER_ROUND: usize = 64;

/// Rounds of one host, and steps of the world, at one instant: more is a livelock.
const STEPS_PER_INSTANT_MAX: u32 = 10_000;

/// What a host's socket holds; more is lost, as with a real one.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// The port of every host.
const PORT: u16 = 4433;

/// Names a host of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostId(usize);

/// A simulated world.
pub struct World {
    seed: u64,
    clock: Clock,
    /// Things happen at multiples of this only, so that a host finds several datagrams at once, as
    /// it does behind a network card.
    quantum: Duration,
    hosts: Vec<Host>,
    by_addr: BTreeMap<SocketAddr, HostId>,
    links: BTreeMap<(HostId, HostId), Link>,
    link_default: LinkSpec,
    /// Datagrams under way, by arrival, then by the order of sending.
    flights: BTreeMap<(Duration, u64), Flight>,
    sequence: u64,
    trace: Trace,
    steps_at_instant: u32,
    /// What a host sends, reused.
    buf: Vec<u8>,
}

/// A machine.
struct Host {
    addr: SocketAddr,
    program: Program,
    /// What runs; none after a crash.
    node: Option<Box<dyn Node>>,
    births: u64,
    is_paused: bool,
    /// What the socket holds.
    inbox: VecDeque<Datagram>,
    inbox_bytes: usize,
    wake_at: Option<Duration>,
    wall_clock_ahead_seconds: i64,
}

/// A datagram under way.
struct Flight {
    from: HostId,
    to: HostId,
    datagram: Datagram,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("seed", &self.seed)
            .field("time", &self.clock.time())
            .field("hosts", &self.hosts.len())
            .field("flights", &self.flights.len())
            .finish_non_exhaustive()
    }
}

impl World {
    /// An empty world. Whatever is left to chance in it follows from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            clock: Clock::new(),
            quantum: Duration::from_micros(200),
            hosts: Vec::new(),
            by_addr: BTreeMap::new(),
            links: BTreeMap::new(),
            link_default: LinkSpec::default(),
            flights: BTreeMap::new(),
            sequence: 0,
            trace: Trace::default(),
            steps_at_instant: 0,
            buf: Vec::new(),
        }
    }

    /// Adds a machine and starts its program.
    ///
    /// # Panics
    ///
    /// If there are 250 hosts already.
    pub fn add_host(&mut self, program: Program) -> HostId {
        let id = HostId(self.hosts.len());
        let addr = Self::addr_of_ordinal(id.0);
        self.by_addr.insert(addr, id);
        self.hosts.push(Host {
            addr,
            program,
            node: None,
            births: 0,
            is_paused: false,
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            wake_at: None,
            wall_clock_ahead_seconds: 0,
        });
        self.restart(id);
        id
    }

    /// The address that the host added after `ordinal` others has.
    ///
    /// # Panics
    ///
    /// If `ordinal` is above 249.
    #[must_use]
    pub fn addr_of_ordinal(ordinal: usize) -> SocketAddr {
        let last = u8::try_from(ordinal + 1).expect("at most 250 hosts");
        assert!(last <= 250, "at most 250 hosts");
        SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, last)), PORT)
    }

    /// The address of a host.
    #[must_use]
    pub fn addr(&self, host: HostId) -> SocketAddr {
        self.hosts[host.0].addr
    }

    /// Time since the beginning.
    #[must_use]
    pub fn time(&self) -> Duration {
        self.clock.time()
    }

    /// What of the datagrams counts in [`Self::trace_hash`], from now on.
    pub fn set_trace_mode(&mut self, mode: TraceMode) {
        self.trace.set_mode(mode);
    }

    /// A number that two worlds have in common only if the same datagrams were sent at the same
    /// times.
    #[must_use]
    pub fn trace_hash(&self) -> u64 {
        self.trace.hash()
    }

    /// How many datagrams were sent.
    #[must_use]
    pub fn datagrams_sent(&self) -> u64 {
        self.trace.datagrams()
    }

    /// What the program of a host knows and remembers.
    ///
    /// # Panics
    ///
    /// If the host is down or runs another kind of program.
    #[must_use]
    pub fn node<N: Node>(&self, host: HostId) -> &N {
        let node = self.hosts[host.0].node.as_deref().expect("the host is up");
        let node: &dyn Any = node;
        node.downcast_ref().expect("the program has this type")
    }

    /// The application of a host that runs a [`KwikNode`].
    ///
    /// # Panics
    ///
    /// If the host is down or runs something else.
    #[must_use]
    pub fn app<A: crate::host::App>(&self, host: HostId) -> &A {
        self.node::<KwikNode>(host).app()
    }

    /// Acts as the program of a host, now.
    ///
    /// # Panics
    ///
    /// If the host is down or runs another kind of program.
    pub fn act<N: Node, T>(&mut self, host: HostId, act: impl FnOnce(&mut N, Moment) -> T) -> T {
        let host = &mut self.hosts[host.0];
        let moment = self.clock.moment(host.wall_clock_ahead_seconds);
        let node: &mut dyn Any = host.node.as_deref_mut().expect("the host is up");
        let node = node.downcast_mut().expect("the program has this type");
        let result = act(node, moment);
        host.wake_at = Some(moment.time);
        result
    }
}

/// The network.
impl World {
    /// The properties of every link that has none of its own.
    pub fn set_link_default(&mut self, spec: LinkSpec) {
        self.link_default = spec;
    }

    /// The link from one host to another.
    pub fn link(&mut self, from: HostId, to: HostId) -> &mut Link {
        let (seed, spec) = (self.seed, &self.link_default);
        self.links.entry((from, to)).or_insert_with(|| {
            let ordinal = (from.0 as u64) << 32 | to.0 as u64;
            Link::new(seed, ordinal, spec.clone())
        })
    }

    /// Gives both directions between two hosts these properties.
    pub fn set_links(&mut self, a: HostId, b: HostId, spec: &LinkSpec) {
        *self.link(a, b).spec_mut() = spec.clone();
        *self.link(b, a).spec_mut() = spec.clone();
    }

    /// Cuts or heals both directions between two hosts.
    pub fn set_cut(&mut self, a: HostId, b: HostId, cut: bool) {
        self.link(a, b).set_cut(cut);
        self.link(b, a).set_cut(cut);
    }

    /// Cuts or heals all links of a host.
    pub fn set_isolated(&mut self, host: HostId, isolated: bool) {
        for other in (0..self.hosts.len()).map(HostId).filter(|&o| o != host) {
            self.set_cut(host, other, isolated);
        }
    }
}

/// The fates of hosts.
impl World {
    /// Ends the program at once; nobody is told, and its state is gone.
    pub fn crash(&mut self, host: HostId) {
        let host = &mut self.hosts[host.0];
        host.node = None;
        host.wake_at = None;
        host.inbox.clear();
        host.inbox_bytes = 0;
    }

    /// Starts the program anew, after a crash or instead of one.
    pub fn restart(&mut self, id: HostId) {
        self.crash(id);
        let host = &mut self.hosts[id.0];
        let chance = Chance::new(self.seed, Purpose::EndpointSeed, id.0 as u64);
        let moment = self.clock.moment(host.wall_clock_ahead_seconds);
        host.node = Some((host.program)(&Birth {
            moment,
            entropy: chance.bytes(host.births),
            addr: host.addr,
        }));
        host.births += 1;
        host.wake_at = Some(moment.time);
    }

    /// Puts another program on the host and starts it.
    pub fn install(&mut self, host: HostId, program: Program) {
        self.hosts[host.0].program = program;
        self.restart(host);
    }

    /// Whether a program runs on the host.
    #[must_use]
    pub fn is_up(&self, host: HostId) -> bool {
        self.hosts[host.0].node.is_some()
    }

    /// Stops the program in its tracks, or lets it go on; its socket keeps receiving meanwhile.
    pub fn set_paused(&mut self, host: HostId, paused: bool) {
        self.hosts[host.0].is_paused = paused;
    }

    /// Lets the wall clock of a host differ from the others'.
    pub fn set_wall_clock_ahead(&mut self, host: HostId, seconds: i64) {
        self.hosts[host.0].wall_clock_ahead_seconds = seconds;
    }
}

/// The passage of time.
impl World {
    /// Lets things happen until `done` says so or the time `limit` has come; returns whether `done`
    /// said so.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        loop {
            if done(self) {
                return true;
            }
            match self.next_time() {
                Some(at) if at <= limit => self.step_to(at),
                Some(_) | None => {
                    self.clock.advance_to(limit.max(self.clock.time()));
                    return false;
                }
            }
        }
    }

    /// Lets so much time pass.
    pub fn run_for(&mut self, duration: Duration) {
        let limit = self.clock.time() + duration;
        self.run_until(limit, |_| false);
    }

    /// When something happens next.
    fn next_time(&self) -> Option<Duration> {
        let arrival = self.flights.keys().next().map(|&(at, _)| at);
        let wakes = self.hosts.iter().filter_map(Host::due_at);
        let at = wakes.chain(arrival).min()?;
        Some(at.max(self.clock.time()))
    }

    /// Lets everything happen that is due at a time.
    fn step_to(&mut self, at: Duration) {
        if at > self.clock.time() {
            self.steps_at_instant = 0;
        }
        self.steps_at_instant += 1;
        assert!(
            self.steps_at_instant <= STEPS_PER_INSTANT_MAX,
            "livelock: the world stands still at {at:?}"
        );
        self.clock.advance_to(at);
        self.deliver(at);
        for id in (0..self.hosts.len()).map(HostId) {
            if self.hosts[id.0].due_at().is_some_and(|due| due <= at) {
                self.turn(id);
            }
        }
    }

    /// Puts what arrives into the sockets.
    fn deliver(&mut self, at: Duration) {
        while let Some(entry) = self.flights.first_entry() {
            if entry.key().0 > at {
                return;
            }
            let Flight { from, to, datagram } = entry.remove();
            let link = self.link(from, to);
            if link.is_cut() {
                link.count_cut();
                continue;
            }
            self.hosts[to.0].push(datagram);
        }
    }

    /// One host handles all that waits for it.
    fn turn(&mut self, id: HostId) {
        let moment = self.clock.moment(self.hosts[id.0].wall_clock_ahead_seconds);
        for _ in 0..STEPS_PER_INSTANT_MAX {
            let host = &mut self.hosts[id.0];
            if !host.round(moment, &self.clock) {
                host.wake_at = host
                    .node
                    .as_mut()
                    .and_then(|node| node.wake_at(&self.clock));
                host.wake_at = host.wake_at.map(|at| round_up(at, self.quantum));
                return;
            }
            self.send_all(id, moment);
        }
        panic!("livelock: {id:?} is never done at {:?}", moment.time);
    }

    /// Sends all that a host has to send.
    fn send_all(&mut self, id: HostId, moment: Moment) {
        let mut buf = std::mem::take(&mut self.buf);
        while let Some(node) = self.hosts[id.0].node.as_deref_mut() {
            buf.clear();
            let Some(transmit) = node.transmit(moment, &mut buf) else {
                break;
            };
            self.send(id, &transmit, &buf);
        }
        self.buf = buf;
    }

    /// Puts a burst of datagrams on its way.
    fn send(&mut self, from: HostId, transmit: &Transmit, buf: &[u8]) {
        let to = self.by_addr.get(&transmit.destination).copied();
        let now = self.clock.time();
        let mut rest = BytesMut::from(&buf[..transmit.size]);
        while !rest.is_empty() {
            let len = transmit.segment_size.unwrap_or(rest.len()).min(rest.len());
            let data = rest.split_to(len);
            self.trace.add(now, from.0, to.map(|to| to.0), &data);
            // Nobody lives there: lost, as on the Internet.
            let Some(to) = to else { continue };
            let arrivals = self.link(from, to).carry(now, len);
            let datagram = Datagram {
                remote: self.hosts[from.0].addr,
                local_ip: Some(transmit.destination.ip()),
                ecn: transmit.ecn,
                data,
            };
            if let Some(at) = arrivals.second {
                self.fly(at, from, to, datagram.clone());
            }
            if let Some(at) = arrivals.first {
                self.fly(at, from, to, datagram);
            }
        }
    }

    fn fly(&mut self, at: Duration, from: HostId, to: HostId, datagram: Datagram) {
        let key = (round_up(at, self.quantum), self.sequence);
        self.sequence += 1;
        self.flights.insert(key, Flight { from, to, datagram });
    }
}

impl Host {
    /// A datagram reaches the socket; without a program there is none.
    fn push(&mut self, datagram: Datagram) {
        let len = datagram.data.len();
        if self.node.is_some() && self.inbox_bytes + len <= SOCKET_BUFFER_BYTES {
            self.inbox_bytes += len;
            self.inbox.push_back(datagram);
        }
    }

    /// When there is something to do; zero if there is already.
    fn due_at(&self) -> Option<Duration> {
        if self.is_paused || self.node.is_none() {
            return None;
        }
        if self.inbox.is_empty() {
            self.wake_at
        } else {
            Some(Duration::ZERO)
        }
    }

    /// Handles a batch of datagrams, or a deadline once there is none left: after a pause the socket
    /// is believed before the clock. False if there was nothing to do.
    fn round(&mut self, moment: Moment, clock: &Clock) -> bool {
        let Some(node) = self.node.as_deref_mut() else {
            return false;
        };
        let batch = self.inbox.len().min(DATAGRAMS_PER_ROUND);
        for datagram in self.inbox.drain(..batch) {
            self.inbox_bytes -= datagram.data.len();
            node.receive(moment, datagram);
        }
        if batch == 0 {
            if node.wake_at(clock).is_none_or(|at| at > moment.time)
                && self.wake_at != Some(moment.time)
            {
                return false;
            }
            self.wake_at = None;
            node.expire(moment);
        }
        node.run(moment);
        true
    }
}

/// The next multiple of `quantum` that is not before `at`.
fn round_up(at: Duration, quantum: Duration) -> Duration {
    let quantum = quantum.as_nanos().max(1);
    let nanos = at.as_nanos().div_ceil(quantum) * quantum;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;

//! Hosts, the network between them, and the time that passes.
//!
//! Owns the order of everything that happens: by time, at one time by the order in which it was
//! caused. Two worlds that are built and told the same do the same. Never sees what a program does.

mod fault;
mod flights;
mod ledger;
mod machine;

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;
use kwik_core::endpoint::{Datagram, Transmit};

pub use self::fault::{FaultOf, WorldFault};
use self::flights::{Flight, Flights};
pub use self::ledger::Exchanged;
use self::ledger::Ledger;
use self::machine::{Machine, Round};
use crate::clock::{Clock, Moment};
use crate::host::{Birth, KwikNode, Node, Program};
use crate::link::{Arrivals, Link, LinkSpec};
use crate::rng::{Chance, Purpose};
use crate::trace::{Trace, TraceMode};

/// The port of every host.
const PORT: u16 = 4433;

/// Ports above this one are those of hosts that were rebound.
const PORT_REBOUND: u16 = 10_000;

/// Names a host of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostId(usize);

impl HostId {
    /// How many hosts were added before.
    #[must_use]
    pub const fn ordinal(self) -> usize {
        self.0
    }
}

/// A simulated world.
pub struct World {
    seed: u64,
    clock: Clock,
    /// Things happen at multiples of this only, so that a host finds several datagrams at once, as
    /// it does behind a network card.
    quantum: Duration,
    hosts: Vec<Machine>,
    /// Every address at which a host was ever seen, and how often it had changed it by then.
    by_addr: BTreeMap<SocketAddr, (HostId, u32)>,
    /// Rebinds of all hosts: none gets an address that another had.
    rebinds: u32,
    link_default: LinkSpec,
    flights: Flights,
    trace: Trace,
    /// Kept only if somebody wants it.
    ledger: Option<Ledger>,
    /// Who took a turn in the last step.
    turned: Vec<HostId>,
    fault: Option<WorldFault>,
    /// What a host sends, reused.
    buf: Vec<u8>,
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
            rebinds: 0,
            link_default: LinkSpec::default(),
            flights: Flights::default(),
            trace: Trace::default(),
            ledger: None,
            turned: Vec::new(),
            fault: None,
            buf: Vec::new(),
        }
    }

    /// Adds a machine and starts its program.
    ///
    /// # Panics
    ///
    /// If there are 250 hosts already.
    pub fn add_host(&mut self, program: Program) -> HostId {
        self.add_host_ahead(program, 0)
    }

    /// As [`Self::add_host`], with a wall clock that runs ahead from the beginning.
    ///
    /// # Panics
    ///
    /// If there are 250 hosts already.
    pub fn add_host_ahead(&mut self, program: Program, seconds: i64) -> HostId {
        let id = HostId(self.hosts.len());
        let addr = Self::addr_of_ordinal(id.0);
        self.by_addr.insert(addr, (id, 0));
        self.hosts.push(Machine::new(addr, program));
        self.set_wall_clock_ahead(id, seconds);
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

    /// The address at which a host is seen.
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

    /// Keeps an account of what each host and each address exchange, from now on.
    pub fn keep_ledger(&mut self) {
        self.ledger.get_or_insert_default();
    }

    /// What a host exchanged with each address since there is an account.
    pub fn exchanged(&self, host: HostId) -> impl Iterator<Item = (SocketAddr, Exchanged)> {
        self.ledger.iter().flat_map(move |ledger| ledger.of(host))
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

    /// As [`Self::act`], for a look that changes nothing: the host is not woken by it.
    ///
    /// # Panics
    ///
    /// If the host is down or runs another kind of program.
    pub fn look<N: Node, T>(&mut self, host: HostId, look: impl FnOnce(&mut N, Moment) -> T) -> T {
        let host = &mut self.hosts[host.0];
        let moment = self.clock.moment(host.wall_clock_ahead_seconds);
        let node: &mut dyn Any = host.node.as_deref_mut().expect("the host is up");
        look(
            node.downcast_mut().expect("the program has this type"),
            moment,
        )
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
        let links = &mut self.hosts[from.0].links;
        if links.len() <= to.0 {
            links.resize_with(to.0 + 1, || None);
        }
        links[to.0].get_or_insert_with(|| {
            let ordinal = (from.0 as u64) << 32 | to.0 as u64;
            Link::new(self.seed, ordinal, self.link_default.clone())
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

    /// Lets the NAT before a host forget it: the host is seen at another port from now on, and if
    /// `address` says so at another address too. What is sent to the old one, or is under way to it,
    /// is lost. The host is not told.
    pub fn rebind(&mut self, id: HostId, address: bool) {
        self.rebinds += 1;
        let host = &mut self.hosts[id.0];
        host.rebinds += 1;
        host.addr
            .set_port(PORT_REBOUND + (self.rebinds % 50_000) as u16);
        if address {
            let [.., high, low] = self.rebinds.to_be_bytes();
            // The range for benchmarks (RFC 2544): nobody else is there.
            host.addr
                .set_ip(IpAddr::V4(Ipv4Addr::new(198, 18, high, low)));
        }
        self.by_addr.insert(host.addr, (id, host.rebinds));
    }
}

/// The fates of hosts.
impl World {
    /// Ends the program at once; nobody is told, and its state is gone.
    pub fn crash(&mut self, host: HostId) {
        self.hosts[host.0].crash();
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
            addr: host.addr_inside,
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

    /// Lets the wall clock of a host jump forward, or back, from where it is. Its monotonic clock
    /// and its deadlines stay.
    pub fn jump_wall_clock(&mut self, host: HostId, seconds: i64) {
        let ahead = &mut self.hosts[host.0].wall_clock_ahead_seconds;
        *ahead = ahead.saturating_add(seconds);
    }

    /// The first rule that a program broke. Its host is halted: it gets no more turns, until it is
    /// started anew.
    #[must_use]
    pub fn fault(&self) -> Option<&WorldFault> {
        self.fault.as_ref()
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
            if self.step(limit).is_none() {
                return false;
            }
        }
    }

    /// Lets happen what comes next and tells when that was. If nothing comes by the time `limit`,
    /// it is `limit` then.
    pub fn step(&mut self, limit: Duration) -> Option<Duration> {
        self.turned.clear();
        let next = self.next_time().filter(|&at| at <= limit);
        match next {
            Some(at) => self.step_to(at),
            None => self.clock.advance_to(limit.max(self.clock.time())),
        }
        next
    }

    /// The hosts that did something in the last step, in that order.
    #[must_use]
    pub fn turned(&self) -> &[HostId] {
        &self.turned
    }

    /// Lets so much time pass.
    pub fn run_for(&mut self, duration: Duration) {
        let limit = self.clock.time() + duration;
        self.run_until(limit, |_| false);
    }

    /// When something happens next.
    #[must_use]
    pub fn next_time(&self) -> Option<Duration> {
        let wakes = self.hosts.iter().filter_map(Machine::due_at);
        let at = wakes.chain(self.flights.first_at()).min()?;
        Some(at.max(self.clock.time()))
    }

    /// Whether a datagram is under way.
    #[must_use]
    pub fn is_anything_under_way(&self) -> bool {
        self.flights.first_at().is_some()
    }

    /// Lets everything happen that is due at a time.
    fn step_to(&mut self, at: Duration) {
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
        while let Some(mut arrived) = self.flights.take(at) {
            for flight in arrived.drain(..) {
                self.land(flight);
            }
            self.flights.reuse(arrived);
        }
    }

    fn land(&mut self, flight: Flight) {
        let Flight { from, to, .. } = flight;
        let rebinds = self.hosts[to.0].rebinds;
        let link = self.link(from, to);
        if link.is_cut() {
            link.count_cut();
        } else if flight.rebinds != rebinds {
            link.count_astray();
        } else {
            let Datagram { remote, data, .. } = &flight.datagram;
            if let Some(ledger) = &mut self.ledger {
                ledger.note_received(to, *remote, data.len());
            }
            self.hosts[to.0].push(flight.datagram);
        }
    }

    /// One host handles all that waits for it.
    fn turn(&mut self, id: HostId) {
        self.turned.push(id);
        let moment = self.clock.moment(self.hosts[id.0].wall_clock_ahead_seconds);
        while self.hosts[id.0].round(moment, &self.clock) == Round::Busy {
            self.send_all(id, moment);
            if let Some(what) = self.hosts[id.0].fault(moment) {
                self.halt(id, what);
                return;
            }
        }
        let host = &mut self.hosts[id.0];
        let node = host.node.as_mut();
        let wake_at = node.and_then(|node| node.wake_at(&self.clock));
        host.wake_at = wake_at.map(|at| round_up(at, self.quantum));
    }

    /// Gives a host no more turns.
    fn halt(&mut self, id: HostId, what: FaultOf) {
        self.hosts[id.0].is_halted = true;
        let at = self.clock.time();
        self.fault.get_or_insert(WorldFault { host: id, at, what });
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
            // Who sends without end is never done.
            if !self.hosts[id.0].step(moment.time) {
                break;
            }
        }
        self.buf = buf;
    }

    /// Puts a burst of datagrams on its way.
    fn send(&mut self, from: HostId, transmit: &Transmit, buf: &[u8]) {
        let to = self.by_addr.get(&transmit.destination).copied();
        let now = self.clock.time();
        let segment = transmit.segment_size.unwrap_or(transmit.size).max(1);
        for data in buf[..transmit.size].chunks(segment) {
            self.trace.add(now, from.0, to.map(|(to, _)| to.0), data);
            if let Some(ledger) = &mut self.ledger {
                ledger.note_sent(from, transmit.destination, data.len());
            }
            // Nobody lives there: lost, as on the Internet.
            let Some((to, rebinds)) = to else { continue };
            let arrivals = self.link(from, to).carry(now, data.len(), transmit.ecn);
            let datagram = Datagram {
                remote: self.hosts[from.0].addr,
                local_ip: Some(self.hosts[to.0].addr_inside.ip()),
                ecn: arrivals.ecn,
                data: BytesMut::from(data),
            };
            let flight = Flight {
                from,
                to,
                rebinds,
                datagram,
            };
            self.fly(flight, arrivals);
        }
    }

    /// Lets a datagram, or two, or none, arrive.
    fn fly(&mut self, mut flight: Flight, arrivals: Arrivals) {
        if let Some(at) = arrivals.second {
            self.flights
                .push(round_up(at, self.quantum), flight.clone());
        }
        if let Some(at) = arrivals.first {
            if let Some(damage) = arrivals.damage {
                let payload = &mut flight.datagram.data;
                let left = damage.apply(payload);
                payload.truncate(left);
            }
            self.flights.push(round_up(at, self.quantum), flight);
        }
    }
}

/// The next multiple of `quantum` that is not before `at`.
fn round_up(at: Duration, quantum: Duration) -> Duration {
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let quantum = nanos(quantum).max(1);
    Duration::from_nanos(nanos(at).div_ceil(quantum).saturating_mul(quantum))
}

#[cfg(test)]
mod tests;

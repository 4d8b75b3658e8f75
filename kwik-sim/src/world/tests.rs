//! Worlds with toy programs: what the network and the hosts do, without QUIC.

mod rules;
mod weather;

use kwik_core::datagram::Ecn;

use super::*;

const MS: Duration = Duration::from_millis(1);

/// Sends a burst when its alarm is due, and notes what it receives and when.
#[derive(Default)]
struct Toy {
    /// When to send, how many datagrams, where to.
    plan: Vec<(Duration, usize, SocketAddr)>,
    received: Vec<(Duration, SocketAddr, usize)>,
    /// The same as they came.
    datagrams: Vec<Datagram>,
    /// Datagrams that were sent; each carries its number.
    sent: u64,
    turns: usize,
    /// What its clocks showed at each turn.
    moments: Vec<Moment>,
}

impl Node for Toy {
    fn receive(&mut self, moment: Moment, datagram: Datagram) {
        let len = datagram.data.len();
        self.received.push((moment.time, datagram.remote, len));
        self.datagrams.push(datagram);
    }

    fn expire(&mut self, _: Moment) {}

    fn run(&mut self, moment: Moment) {
        self.turns += 1;
        self.moments.push(moment);
    }

    fn transmit(&mut self, moment: Moment, buf: &mut Vec<u8>) -> Option<Transmit> {
        let due = self.plan.iter().position(|(at, ..)| *at <= moment.time)?;
        let (_, count, destination) = self.plan.remove(due);
        for _ in 0..count {
            buf.extend_from_slice(&self.sent.to_be_bytes());
            buf.extend_from_slice(&[7; 992]);
            self.sent += 1;
        }
        Some(Transmit {
            destination,
            ecn: Some(Ecn::Ect0),
            size: count * 1000,
            segment_size: Some(1000),
            src_ip: None,
        })
    }

    fn wake_at(&mut self, _: &Clock) -> Option<Duration> {
        self.plan.iter().map(|(at, ..)| *at).min()
    }
}

/// A toy that sends `plan` to the host with the other of the first two ordinals.
fn toy(to: usize, plan: &[(Duration, usize)]) -> Program {
    let plan = plan.to_vec();
    Box::new(move |_| {
        let addr = World::addr_of_ordinal(to);
        let plan = plan.iter().map(|&(at, count)| (at, count, addr)).collect();
        Box::new(Toy {
            plan,
            ..Toy::default()
        })
    })
}

/// Two toys, of which the first sends.
fn pair(seed: u64, plan: &[(Duration, usize)]) -> (World, HostId, HostId) {
    let mut world = World::new(seed);
    let a = world.add_host(toy(1, plan));
    let b = world.add_host(toy(0, &[]));
    (world, a, b)
}

/// When the datagrams arrived at a toy.
fn arrivals(world: &World, host: HostId) -> Vec<Duration> {
    let toy = world.node::<Toy>(host);
    toy.received.iter().map(|&(at, ..)| at).collect()
}

#[test]
fn a_burst_is_cut_into_datagrams_that_arrive_after_the_latency() {
    let (mut world, a, b) = pair(1, &[(5 * MS, 3)]);
    world.run_for(100 * MS);
    let toy = world.node::<Toy>(b);
    assert_eq!(toy.received.len(), 3);
    let all_from_a = |&(at, from, len): &(Duration, SocketAddr, usize)| {
        from == world.addr(a) && len == 1000 && (15 * MS..16 * MS).contains(&at)
    };
    assert!(toy.received.iter().all(all_from_a), "{:?}", toy.received);
    assert_eq!(world.time(), 100 * MS);
    assert_eq!(world.datagrams_sent(), 3);
}

#[test]
fn datagrams_of_one_instant_are_handled_in_one_turn() {
    let (mut world, a, b) = pair(1, &[(5 * MS, 40)]);
    world.link(a, b).spec_mut().bandwidth_bits_per_second = None;
    world.run_for(100 * MS);
    let toy = world.node::<Toy>(b);
    assert_eq!(toy.received.len(), 40);
    assert_eq!(toy.turns, 2, "one to start, one for the burst");
}

#[test]
fn a_cut_loses_what_is_sent_and_what_is_under_way() {
    let (mut world, a, b) = pair(1, &[(5 * MS, 1), (20 * MS, 1), (50 * MS, 1)]);
    world.run_until(10 * MS, |_| false);
    world.set_cut(a, b, true);
    world.run_until(40 * MS, |_| false);
    world.set_cut(a, b, false);
    world.run_for(100 * MS);
    assert_eq!(arrivals(&world, b).len(), 1);
    assert_eq!(world.link(a, b).stats().cut, 2);
}

#[test]
fn a_crashed_host_receives_nothing_and_a_restarted_one_has_forgotten() {
    let (mut world, _, b) = pair(1, &[(5 * MS, 1), (30 * MS, 1), (60 * MS, 1)]);
    world.run_until(20 * MS, |_| false);
    assert_eq!(arrivals(&world, b).len(), 1);
    world.crash(b);
    assert!(!world.is_up(b));
    world.run_until(50 * MS, |_| false);
    world.restart(b);
    assert_eq!(arrivals(&world, b).len(), 0);
    world.run_for(50 * MS);
    assert_eq!(arrivals(&world, b).len(), 1);
}

#[test]
fn a_paused_host_finds_everything_in_its_socket_when_it_goes_on() {
    let (mut world, _, b) = pair(1, &[(5 * MS, 2), (30 * MS, 1)]);
    world.set_paused(b, true);
    world.run_until(200 * MS, |_| false);
    world.set_paused(b, false);
    world.run_for(100 * MS);
    assert_eq!(arrivals(&world, b), [200 * MS; 3]);
}

#[test]
fn each_start_has_its_own_entropy() {
    let seen = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let note = std::rc::Rc::clone(&seen);
    let mut world = World::new(1);
    let host = world.add_host(Box::new(move |birth| {
        note.borrow_mut().push(birth.entropy);
        Box::new(Toy::default())
    }));
    world.restart(host);
    let seen = seen.borrow();
    assert_eq!(seen.len(), 2);
    assert_ne!(seen[0], seen[1]);
}

#[test]
fn the_trace_tells_seeds_apart_and_nothing_else() {
    let life = |seed: u64, plan: &[(Duration, usize)]| {
        let (mut world, a, b) = pair(seed, plan);
        world.link(a, b).spec_mut().loss_ppm = 100_000;
        world.run_for(1000 * MS);
        (world.trace_hash(), arrivals(&world, b))
    };
    let plan: Vec<_> = (0..200).map(|i| (i * MS, 1)).collect();
    assert_eq!(life(1, &plan), life(1, &plan));
    // What was sent is the same; what was lost is not.
    let (one, other) = (life(1, &plan), life(2, &plan));
    assert_eq!(one.0, other.0);
    assert_ne!(one.1, other.1);
    assert_ne!(one.0, life(1, &plan[1..]).0);
}

#[test]
fn what_is_sent_to_nobody_is_lost() {
    let mut world = World::new(1);
    world.add_host(toy(7, &[(MS, 1)]));
    world.run_for(100 * MS);
    assert_eq!(world.datagrams_sent(), 1);
}

#[test]
fn times_are_rounded_up_to_the_quantum() {
    let quantum = Duration::from_micros(200);
    let nanos = Duration::from_nanos;
    assert_eq!(round_up(Duration::ZERO, quantum), Duration::ZERO);
    assert_eq!(round_up(nanos(1), quantum), quantum);
    assert_eq!(round_up(nanos(200_000), quantum), quantum);
    assert_eq!(round_up(nanos(200_001), quantum), 2 * quantum);
}

/// What it was woken for is still to be done when its pause is over.
#[test]
fn a_host_that_was_woken_in_its_pause_takes_its_turn_behind_it() {
    let mut world = World::new(1);
    let host = world.add_host(Box::new(|_: &Birth| Box::new(Toy::default())));
    world.run_for(MS);
    let turns = world.node::<Toy>(host).turns;
    world.set_paused(host, true);
    world.act(host, |_: &mut Toy, _| ());
    world.run_for(MS);
    assert_eq!(world.node::<Toy>(host).turns, turns);
    world.set_paused(host, false);
    world.run_for(MS);
    assert_eq!(world.node::<Toy>(host).turns, turns + 1);
}

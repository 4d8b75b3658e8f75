//! What befalls datagrams between hosts, and hosts as a whole.

use super::*;
use crate::link::{Burst, EcnPolicy};

/// One datagram a millisecond, so many.
fn stream(count: u32) -> Vec<(Duration, usize)> {
    (1..=count).map(|i| (i * MS, 1)).collect()
}

/// What a datagram of a toy looks like when it is sent.
fn is_whole(data: &[u8]) -> bool {
    data.len() == 1000 && data[8..].iter().all(|byte| *byte == 7)
}

/// The numbers of the datagrams that arrived whole.
fn numbers(world: &World, host: HostId) -> Vec<u64> {
    let datagrams = world.node::<Toy>(host).datagrams.iter();
    datagrams
        .filter(|datagram| is_whole(&datagram.data))
        .map(|datagram| u64::from_be_bytes(datagram.data[..8].try_into().unwrap()))
        .collect()
}

/// A link on which much goes wrong, but nothing is doubled.
fn stormy() -> LinkSpec {
    LinkSpec {
        loss_ppm: 50_000,
        burst: Some(Burst {
            start_ppm: 10_000,
            length_mean: 4,
        }),
        reorder_ppm: 100_000,
        jitter: 7 * MS,
        ..LinkSpec::default()
    }
}

#[test]
fn nothing_arrives_twice_unless_it_was_doubled() {
    for duplicate_ppm in [0, 200_000] {
        let (mut world, a, b) = pair(3, &stream(1000));
        *world.link(a, b).spec_mut() = LinkSpec {
            duplicate_ppm,
            ..stormy()
        };
        world.run_for(2000 * MS);
        let mut numbers = numbers(&world, b);
        assert!(!numbers.is_sorted(), "they overtake each other");
        let arrived = numbers.len() as u64;
        numbers.sort_unstable();
        numbers.dedup();
        let stats = world.link(a, b).stats();
        assert_eq!(stats.datagrams, 1000);
        assert_eq!(numbers.len() as u64, 1000 - stats.lost - stats.burst_lost);
        assert_eq!(arrived - numbers.len() as u64, stats.duplicated);
        assert_eq!(stats.duplicated > 100, duplicate_ppm > 0);
    }
}

#[test]
fn corrupted_datagrams_arrive_damaged_and_the_others_whole() {
    let (mut world, a, b) = pair(3, &stream(1000));
    world.link(a, b).spec_mut().corrupt_ppm = 100_000;
    world.run_for(2000 * MS);
    let toy = world.node::<Toy>(b);
    assert_eq!(toy.datagrams.len(), 1000);
    // The number itself may be what was hit: compare with what was sent as the n-th.
    let sent = |number: usize| {
        let mut data = (number as u64).to_be_bytes().to_vec();
        data.resize(1000, 7);
        data
    };
    let arrived = toy.datagrams.iter().enumerate();
    let damaged = arrived.filter(|(number, datagram)| datagram.data[..] != sent(*number)[..]);
    let damaged = damaged.count() as u64;
    assert!((70..130).contains(&damaged), "{damaged}");
    assert_eq!(damaged, world.link(a, b).stats().corrupted);
}

#[test]
fn of_a_doubled_datagram_one_copy_is_damaged() {
    let (mut world, a, b) = pair(3, &stream(100));
    world.link(a, b).spec_mut().corrupt_ppm = 1_000_000;
    world.link(a, b).spec_mut().duplicate_ppm = 1_000_000;
    world.run_for(200 * MS);
    let mut numbers = numbers(&world, b);
    numbers.dedup();
    assert_eq!(world.node::<Toy>(b).datagrams.len(), 200);
    assert!(numbers.len() >= 99, "{numbers:?}");
}

#[test]
fn ecn_marks_reach_the_other_end_as_the_link_leaves_them() {
    let arriving = |policy| {
        let (mut world, a, b) = pair(1, &[(MS, 1)]);
        world.link(a, b).spec_mut().ecn = policy;
        world.run_for(100 * MS);
        world.node::<Toy>(b).datagrams[0].ecn
    };
    assert_eq!(arriving(EcnPolicy::Keep), Some(Ecn::Ect0));
    assert_eq!(arriving(EcnPolicy::Bleach), None);
    assert_eq!(arriving(EcnPolicy::Mark { ppm: 1_000_000 }), Some(Ecn::Ce));
}

#[test]
fn a_cut_in_one_direction_passes_the_other() {
    let mut world = World::new(1);
    let a = world.add_host(toy(1, &stream(10)));
    let b = world.add_host(toy(0, &stream(10)));
    world.link(a, b).set_cut(true);
    world.run_for(100 * MS);
    assert_eq!(arrivals(&world, b).len(), 0);
    assert_eq!(arrivals(&world, a).len(), 10);
    assert_eq!(world.link(a, b).stats().cut, 10);
    assert_eq!(world.link(b, a).stats().cut, 0);
}

#[test]
fn a_host_that_was_rebound_is_seen_elsewhere_and_not_told() {
    for address in [false, true] {
        let (mut world, a, b) = pair(1, &[(MS, 1), (50 * MS, 1)]);
        let before = world.addr(a);
        world.run_until(40 * MS, |_| false);
        let turns = world.node::<Toy>(a).turns;
        world.rebind(a, address);
        world.run_until(45 * MS, |_| false);
        assert_eq!(world.node::<Toy>(a).turns, turns);
        world.run_for(100 * MS);
        let after = world.addr(a);
        assert_ne!(before.port(), after.port());
        assert_eq!(before.ip() != after.ip(), address);
        let toy = world.node::<Toy>(b);
        let seen: Vec<_> = toy.received.iter().map(|&(_, from, _)| from).collect();
        assert_eq!(seen, [before, after]);
    }
}

#[test]
fn what_is_sent_or_under_way_to_an_old_address_is_lost() {
    // b sends to where a was born, before and after.
    let mut world = World::new(1);
    let a = world.add_host(toy(1, &[]));
    let b = world.add_host(toy(0, &[(MS, 1), (20 * MS, 1), (50 * MS, 1)]));
    let born_at = world.addr(a);
    world.run_until(25 * MS, |_| false);
    world.rebind(a, true);
    world.run_for(100 * MS);
    assert_eq!(arrivals(&world, a).len(), 1);
    assert_eq!(world.link(b, a).stats().astray, 2);
    // To where it is now it comes through, and the host finds itself where it always was.
    let now_at = world.addr(a);
    let now = world.time();
    world.act(b, |toy: &mut Toy, _| toy.plan = vec![(now, 1, now_at)]);
    world.run_for(100 * MS);
    assert_eq!(arrivals(&world, a).len(), 2);
    let last = &world.node::<Toy>(a).datagrams[1];
    assert_eq!(last.local_ip, Some(born_at.ip()));
    // Once more: the second port is gone as well.
    world.rebind(a, false);
    let now = world.time();
    world.act(b, |toy: &mut Toy, _| toy.plan = vec![(now, 1, now_at)]);
    world.run_for(100 * MS);
    assert_eq!(arrivals(&world, a).len(), 2);
}

#[test]
fn no_two_hosts_are_ever_seen_at_one_address() {
    let (mut world, a, b) = pair(1, &[]);
    let mut seen = vec![world.addr(a), world.addr(b)];
    for turn in 0..1000 {
        let host = if turn % 3 == 0 { a } else { b };
        world.rebind(host, turn % 2 == 0);
        seen.push(world.addr(host));
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 1002);
}

#[test]
fn a_wall_clock_jumps_in_mid_life_and_nothing_else_does() {
    let (mut world, a, b) = pair(1, &[(1000 * MS, 1), (2000 * MS, 1), (3000 * MS, 1)]);
    world.set_wall_clock_ahead(a, 5);
    world.run_until(1500 * MS, |_| false);
    world.jump_wall_clock(a, 86_400);
    world.run_until(2500 * MS, |_| false);
    world.jump_wall_clock(a, -2 * 86_400);
    world.run_for(1000 * MS);
    let moments = &world.node::<Toy>(a).moments;
    let [born, first, second, third] = moments[..] else {
        panic!("{} turns", moments.len());
    };
    let wall = |moment: Moment| moment.now.unix_seconds;
    assert_eq!(wall(first), wall(born) + 1);
    assert_eq!(wall(second), wall(born) + 2 + 86_400);
    assert_eq!(wall(third), wall(born) + 3 - 86_400);
    for (moment, seconds) in [(first, 1), (second, 2), (third, 3)] {
        let passed = moment.now.monotonic - born.now.monotonic;
        assert_eq!(passed, seconds * 1000 * MS);
    }
    // The other's clock is as it was.
    let other = world.node::<Toy>(b).moments[0];
    assert_eq!(wall(born), wall(other) + 5);
}

//! What a link does to datagrams: each fault alone, and none at the cost of another.

use super::*;

const MS: Duration = Duration::from_millis(1);

fn link(spec: LinkSpec) -> Link {
    Link::new(1, 0, spec)
}

#[test]
fn datagrams_arrive_in_order_at_the_rate_of_the_link() {
    // 1,000,000 bytes a second: one datagram of 1000 bytes with its headers each millisecond.
    let mut link = link(LinkSpec {
        bandwidth_bits_per_second: Some(8_000_000),
        ..LinkSpec::default()
    });
    for i in 1..=20 {
        let arrivals = link.carry(Duration::ZERO, 972, None);
        assert_eq!(arrivals.first, Some(i * MS + 10 * MS));
        assert_eq!(arrivals.second, None);
    }
    // Once the queue has emptied, the next one does not wait.
    assert_eq!(link.carry(40 * MS, 972, None).first, Some(51 * MS));
}

#[test]
fn a_full_queue_loses_what_comes_last() {
    let mut link = link(LinkSpec {
        bandwidth_bits_per_second: Some(8_000_000),
        queue_max_bytes: 5_000,
        ..LinkSpec::default()
    });
    let carried = (0..10).filter(|_| link.carry(Duration::ZERO, 972, None).first.is_some());
    assert_eq!(carried.count(), 5);
    assert_eq!(link.stats().overflowed, 5);
    assert!(link.carry(MS, 972, None).first.is_some(), "one has left");
}

#[test]
fn a_queue_that_is_smaller_than_a_datagram_still_carries_one() {
    let mut link = link(LinkSpec {
        queue_max_bytes: 0,
        ..LinkSpec::default()
    });
    assert!(link.carry(Duration::ZERO, 1200, None).first.is_some());
    assert!(link.carry(Duration::ZERO, 1200, None).first.is_none());
}

#[test]
fn a_cut_link_carries_nothing_until_it_is_healed() {
    let mut link = link(LinkSpec::default());
    link.set_cut(true);
    assert_eq!(link.carry(Duration::ZERO, 100, None), Arrivals::default());
    link.set_cut(false);
    assert!(link.carry(Duration::ZERO, 100, None).first.is_some());
    assert_eq!(link.stats().cut, 1);
}

#[test]
fn what_is_too_large_vanishes() {
    let mut link = link(LinkSpec::default());
    assert!(link.carry(Duration::ZERO, 1472, None).first.is_some());
    assert!(link.carry(Duration::ZERO, 1473, None).first.is_none());
}

/// The ordinals of the datagrams that a link loses.
fn losses(spec: LinkSpec) -> Vec<u32> {
    let mut link = link(spec);
    let lost = |i: &u32| link.carry(*i * MS, 100, None).first.is_none();
    (0..2000).filter(lost).collect()
}

#[test]
fn one_fault_does_not_shift_another() {
    let alone = LinkSpec {
        loss_ppm: 20_000,
        ..LinkSpec::default()
    };
    let together = LinkSpec {
        reorder_ppm: 100_000,
        duplicate_ppm: 100_000,
        ..alone.clone()
    };
    let lost = losses(alone);
    assert!((20..60).contains(&lost.len()), "{}", lost.len());
    assert_eq!(lost, losses(together));
}

#[test]
fn held_back_datagrams_are_overtaken_and_doubled_ones_come_twice() {
    let mut link = link(LinkSpec {
        reorder_ppm: 200_000,
        duplicate_ppm: 200_000,
        bandwidth_bits_per_second: None,
        ..LinkSpec::default()
    });
    let arrivals: Vec<_> = (0..200).map(|i| link.carry(i * MS, 100, None)).collect();
    assert!(
        arrivals
            .windows(2)
            .any(|pair| pair[0].first > pair[1].first)
    );
    let twice = arrivals.iter().filter(|a| a.second.is_some()).count() as u64;
    assert_eq!(twice, link.stats().duplicated);
    assert!(twice > 20);
}

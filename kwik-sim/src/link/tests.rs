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

/// A link without a queue, on which everything arrives after its latency but for its faults.
fn clear() -> LinkSpec {
    LinkSpec {
        bandwidth_bits_per_second: None,
        ..LinkSpec::default()
    }
}

/// A fault: what switches it on.
type Switch = fn(&mut LinkSpec);

/// All faults that are left to chance, each often enough to be seen, and the mask.
const FAULTS: [Switch; 8] = [
    |spec| spec.loss_ppm = 50_000,
    |spec| {
        spec.burst = Some(Burst {
            start_ppm: 10_000,
            length_mean: 5,
        });
    },
    |spec| spec.drop_first = 0xf0f0,
    |spec| {
        spec.reorder_ppm = 100_000;
        spec.reorder_delay = Duration::from_secs(1);
    },
    |spec| spec.duplicate_ppm = 100_000,
    |spec| spec.jitter = 5 * MS,
    |spec| spec.corrupt_ppm = 100_000,
    |spec| spec.ecn = EcnPolicy::Mark { ppm: 100_000 },
];

/// What can be seen to have happened to a datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    is_lost: bool,
    is_held_back: bool,
    is_doubled: bool,
    jitter: Duration,
    damage: Option<Damage>,
    is_marked: bool,
}

impl Seen {
    /// Both at once.
    fn and(self, other: Self) -> Self {
        let both = Self {
            is_lost: self.is_lost || other.is_lost,
            is_held_back: self.is_held_back || other.is_held_back,
            is_doubled: self.is_doubled || other.is_doubled,
            jitter: self.jitter + other.jitter,
            damage: self.damage.or(other.damage),
            is_marked: self.is_marked || other.is_marked,
        };
        if both.is_lost { Self::LOST } else { both }
    }

    /// What is lost shows nothing else.
    const LOST: Self = Self {
        is_lost: true,
        is_held_back: false,
        is_doubled: false,
        jitter: Duration::ZERO,
        damage: None,
        is_marked: false,
    };
}

/// What happens to 20,000 datagrams on a link with these faults.
fn seen(faults: &[Switch]) -> Vec<Seen> {
    let mut spec = clear();
    for switch in faults {
        switch(&mut spec);
    }
    let mut link = link(spec);
    let one = |_| {
        let arrivals = link.carry(Duration::ZERO, 1000, Some(Ecn::Ect0));
        let Some(at) = arrivals.first else {
            return Seen::LOST;
        };
        let late = at - 10 * MS;
        Seen {
            is_lost: false,
            is_held_back: late.as_secs() == 1,
            is_doubled: arrivals.second.is_some(),
            jitter: Duration::from_nanos(late.subsec_nanos().into()),
            damage: arrivals.damage,
            is_marked: arrivals.ecn == Some(Ecn::Ce),
        }
    };
    (0..20_000).map(one).collect()
}

#[test]
fn faults_together_do_to_each_datagram_what_each_does_alone() {
    let alone = FAULTS.map(|fault| seen(&[fault]));
    for without in 0..=FAULTS.len() {
        let is_on = |index: &usize| *index != without;
        let on: Vec<_> = (0..FAULTS.len()).filter(is_on).collect();
        let together: Vec<_> = on.iter().map(|&index| FAULTS[index]).collect();
        for (at, seen) in seen(&together).into_iter().enumerate() {
            let each = on.iter().map(|&index| alone[index][at]);
            assert_eq!(
                seen,
                each.fold(Seen::default(), Seen::and),
                "{without} {at}"
            );
        }
    }
}

#[test]
fn no_two_faults_share_their_draws() {
    let hits = FAULTS.map(|fault| {
        let hit = |(at, seen): (usize, Seen)| (seen != Seen::default()).then_some(at);
        seen(&[fault])
            .into_iter()
            .enumerate()
            .filter_map(hit)
            .collect::<Vec<_>>()
    });
    // Jitter hits all, the mask a few.
    let is_rare = |hits: &&Vec<usize>| (100..10_000).contains(&hits.len());
    let rare: Vec<_> = hits.iter().filter(is_rare).collect();
    assert_eq!(rare.len(), 6);
    for (one, fault) in rare.iter().enumerate() {
        for other in &rare[..one] {
            let both = fault.iter().filter(|at| other.contains(at)).count();
            let rarer = fault.len().min(other.len());
            assert!(both * 3 < rarer, "{both} of {rarer}");
        }
    }
}

#[test]
fn each_fault_does_something() {
    for fault in FAULTS {
        let hit = |seen: &Seen| *seen != Seen::default();
        assert!(seen(&[fault]).iter().any(hit));
    }
    assert!(seen(&[]).iter().all(|seen| *seen == Seen::default()));
}

#[test]
fn what_a_cut_or_a_small_mtu_takes_does_not_shift_the_faults() {
    let all = |is_disturbed: fn(u32) -> bool| {
        let mut spec = clear();
        for fault in FAULTS {
            fault(&mut spec);
        }
        let mut link = link(spec);
        let mut arrivals = Vec::new();
        for i in 0..2000 {
            link.set_cut(is_disturbed(i) && i % 2 == 0);
            let len = if is_disturbed(i) && i % 2 == 1 {
                1500
            } else {
                1000
            };
            arrivals.push(link.carry(Duration::ZERO, len, Some(Ecn::Ect0)));
        }
        arrivals
    };
    let (calm, disturbed) = (all(|_| false), all(|i| (500..700).contains(&i)));
    assert_eq!(calm[..500], disturbed[..500]);
    assert!(disturbed[500..700].iter().all(|a| a.first.is_none()));
    assert_eq!(calm[700..], disturbed[700..]);
}

#[test]
fn both_directions_and_all_pairs_of_hosts_have_their_own_draws() {
    let losses = |ordinal| {
        let spec = LinkSpec {
            loss_ppm: 500_000,
            ..clear()
        };
        let mut link = Link::new(1, ordinal, spec);
        let lost = |_| link.carry(MS, 100, None).first.is_none();
        (0..64).map(lost).collect::<Vec<_>>()
    };
    assert_ne!(losses(1 << 32), losses(1));
    assert_ne!(losses(1 << 32), losses(2 << 32));
    assert_eq!(losses(1), losses(1));
}

#[test]
fn jitter_is_even_and_lets_datagrams_overtake_each_other() {
    let mut link = link(LinkSpec {
        jitter: 8 * MS,
        ..clear()
    });
    let late = |_| link.carry(Duration::ZERO, 100, None).first.unwrap() - 10 * MS;
    let late: Vec<_> = (0..10_000).map(late).collect();
    assert!(late.iter().all(|late| *late <= 8 * MS));
    for quarter in 0..4u32 {
        let within = quarter * 2 * MS..(quarter + 1) * 2 * MS;
        let count = late.iter().filter(|&&late| within.contains(&late)).count();
        assert!((2300..2700).contains(&count), "{count} within {within:?}");
    }
    assert!(late.windows(2).any(|pair| pair[0] > pair[1] + 7 * MS));
    assert!(link.stats().jittered >= 9_990);
}

#[test]
fn the_copies_of_a_datagram_find_their_own_ways() {
    let mut link = link(LinkSpec {
        jitter: 8 * MS,
        duplicate_ppm: 1_000_000,
        ..clear()
    });
    let arrivals: Vec<_> = (0..100).map(|_| link.carry(MS, 100, None)).collect();
    let apart = |a: &&Arrivals| a.first.unwrap().abs_diff(a.second.unwrap()) > MS;
    assert!(arrivals.iter().filter(apart).count() > 50);
}

#[test]
fn losses_come_in_runs_of_the_mean_length() {
    let mut link = link(LinkSpec {
        burst: Some(Burst {
            start_ppm: 10_000,
            length_mean: 8,
        }),
        ..clear()
    });
    let lost = |_| link.carry(Duration::ZERO, 100, None).first.is_none();
    let lost: Vec<_> = (0..200_000).map(lost).collect();
    let total = lost.iter().filter(|lost| **lost).count();
    let runs = lost.windows(2).filter(|pair| !pair[0] && pair[1]).count();
    assert_eq!(link.stats().burst_lost, total as u64);
    assert_eq!(link.stats().lost, 0);
    // One datagram in a hundred of those that arrive starts a run, unless it falls into one.
    assert!((1700..2000).contains(&runs), "{runs} runs");
    let mean = total as f64 / runs as f64;
    assert!((7.5..8.7).contains(&mean), "{mean} datagrams in a run");
    let longest = lost.split(|lost| !lost).map(<[bool]>::len).max();
    assert!(longest > Some(30), "{longest:?}");
}

#[test]
fn a_run_of_losses_ends_with_the_storm() {
    let storm = Burst {
        start_ppm: 1_000_000,
        length_mean: u32::MAX,
    };
    let mut link = link(LinkSpec {
        burst: Some(storm),
        ..clear()
    });
    assert!((0..100).all(|_| link.carry(MS, 100, None).first.is_none()));
    link.spec_mut().burst = None;
    assert!((0..100).all(|_| link.carry(MS, 100, None).first.is_some()));
    link.spec_mut().burst = Some(Burst {
        start_ppm: 0,
        ..storm
    });
    assert!((0..100).all(|_| link.carry(MS, 100, None).first.is_some()));
}

#[test]
fn corruption_flips_a_bit_or_cuts_short_and_always_shows() {
    let mut link = link(LinkSpec {
        corrupt_ppm: 300_000,
        ..clear()
    });
    let sent: Vec<u8> = (0..100).collect();
    let (mut flips, mut cuts, mut first_bytes) = (0, 0, 0);
    for _ in 0..10_000 {
        let Some(damage) = link.carry(MS, 100, None).damage else {
            continue;
        };
        let mut payload = sent.clone();
        let left = damage.apply(&mut payload);
        payload.truncate(left);
        assert_ne!(payload, sent);
        first_bytes += u32::from(payload.first() != Some(&0));
        if payload.len() == 100 {
            let differ = |(a, b): (&u8, &u8)| (a ^ b).count_ones();
            assert_eq!(payload.iter().zip(&sent).map(differ).sum::<u32>(), 1);
            flips += 1;
        } else {
            assert!(sent.starts_with(&payload));
            cuts += 1;
        }
    }
    assert_eq!(link.stats().corrupted, flips + cuts);
    assert!((1350..1650).contains(&flips), "{flips} flips");
    assert!((1350..1650).contains(&cuts), "{cuts} cuts");
    assert!((10..60).contains(&first_bytes), "every place is hit");
}

#[test]
fn what_is_empty_cannot_be_damaged() {
    let mut link = link(LinkSpec {
        corrupt_ppm: 1_000_000,
        ..clear()
    });
    assert!((0..100).all(|_| link.carry(MS, 0, None).damage.is_none()));
    assert!((0..100).all(|_| link.carry(MS, 1, None).damage.is_some()));
    assert_eq!(link.stats().corrupted, 100);
}

#[test]
fn ecn_marks_are_kept_or_bleached_or_set() {
    let arriving = |policy, sent| {
        let mut link = link(LinkSpec {
            ecn: policy,
            ..clear()
        });
        let ecn: Vec<_> = (0..10_000).map(|_| link.carry(MS, 100, sent).ecn).collect();
        (ecn, link.stats())
    };
    let capable = Some(Ecn::Ect0);
    let (ecn, _) = arriving(EcnPolicy::Keep, capable);
    assert!(ecn.iter().all(|ecn| *ecn == capable));
    let (ecn, stats) = arriving(EcnPolicy::Bleach, capable);
    assert!(ecn.iter().all(Option::is_none));
    assert_eq!(stats.ecn_bleached, 10_000);
    let (ecn, stats) = arriving(EcnPolicy::Mark { ppm: 250_000 }, capable);
    let marked = ecn.iter().filter(|ecn| **ecn == Some(Ecn::Ce)).count();
    assert!((2300..2700).contains(&marked), "{marked}");
    assert_eq!(stats.ecn_marked, marked as u64);
    let kept = ecn.iter().filter(|ecn| **ecn == capable).count();
    assert_eq!(kept, 10_000 - marked);
    // Who does not take part is not marked, and who was marked stays marked.
    let (ecn, stats) = arriving(EcnPolicy::Mark { ppm: 1_000_000 }, None);
    assert!(ecn.iter().all(Option::is_none));
    assert_eq!((stats.ecn_marked, stats.ecn_bleached), (0, 0));
    let (ecn, stats) = arriving(EcnPolicy::Mark { ppm: 1_000_000 }, Some(Ecn::Ce));
    assert!(ecn.iter().all(|ecn| *ecn == Some(Ecn::Ce)));
    assert_eq!(stats.ecn_marked, 0);
}

#[test]
fn the_mask_takes_exactly_the_datagrams_that_it_names() {
    let mask = 1 << 63 | 0b1010_0001;
    let mut link = link(LinkSpec {
        drop_first: mask,
        ..clear()
    });
    for ordinal in 0..256u32 {
        let is_named = ordinal < 64 && mask >> ordinal & 1 == 1;
        let arrives = link.carry(MS, 100, None).first.is_some();
        assert_eq!(arrives, !is_named, "{ordinal}");
    }
    assert_eq!(link.stats().dropped_first, 4);
    assert_eq!(link.stats().lost, 0);
}

#[test]
fn a_black_hole_can_open_and_close_in_mid_transfer() {
    let mut link = link(clear());
    assert!(link.carry(MS, 1452, None).first.is_some());
    link.spec_mut().payload_max_bytes = 1300;
    assert!(link.carry(MS, 1301, None).first.is_none());
    assert!(link.carry(MS, 1300, None).first.is_some());
    link.spec_mut().payload_max_bytes = 1472;
    assert!(link.carry(MS, 1452, None).first.is_some());
    assert_eq!(link.stats().oversized, 1);
}

#[test]
fn what_is_lost_on_the_way_has_taken_its_share_of_the_bandwidth() {
    for fault in [FAULTS[0], FAULTS[1], FAULTS[2]] {
        let mut spec = LinkSpec {
            bandwidth_bits_per_second: Some(8_000_000),
            queue_max_bytes: u64::MAX,
            ..LinkSpec::default()
        };
        fault(&mut spec);
        let mut link = link(spec);
        for i in 1..=2000 {
            if let Some(at) = link.carry(Duration::ZERO, 972, None).first {
                assert_eq!(at, i * MS + 10 * MS);
            }
        }
    }
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

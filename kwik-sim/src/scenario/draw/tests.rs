//! What the scenarios that are drawn from seeds are like.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::link::{EcnPolicy, LinkSpec};
use crate::scenario::{Fault, FaultKind, Way, When, Who};

const SEEDS: u64 = 10_000;

/// A property with its name.
type Named<T> = (&'static str, fn(&T) -> bool);

fn drawn() -> impl Iterator<Item = Scenario> {
    (0..SEEDS).map(Scenario::from_seed)
}

/// Of `SEEDS` scenarios, those that are so.
fn count(is_so: impl Fn(&Scenario) -> bool) -> u64 {
    drawn().filter(is_so).count() as u64
}

#[test]
fn without_bytes_nothing_befalls_anybody() {
    let simple = Scenario::new(0, 2, USUAL_BYTES);
    assert_eq!(Scenario::from_bytes(&[]), simple);
    assert_eq!(Scenario::from_bytes(&[0; 100]), simple);
    let number = Scenario::from_bytes(&7_u16.to_le_bytes()).seed;
    assert!(number == 7 || number == 7 << 8, "{number}");
}

#[test]
fn a_seed_is_kept_and_gives_the_same_scenario_again() {
    for seed in [0, 7, u64::MAX] {
        let scenario = Scenario::from_seed(seed);
        assert_eq!(scenario.seed, seed);
        assert_eq!(scenario, Scenario::from_seed(seed));
    }
    let others = drawn().filter(|s| s.faults != Scenario::from_seed(1).faults);
    assert!(others.count() > 1000);
}

#[test]
fn any_bytes_give_a_scenario_that_survives_its_text_form() {
    let seeds = (0..500).map(expanded);
    let short = (0..64).map(|len| vec![255 - u8::try_from(len).expect("short"); len]);
    let cut = (0..200).map(|len| expanded(len as u64)[..len].to_vec());
    for bytes in seeds.chain(short).chain(cut) {
        let scenario = Scenario::from_bytes(&bytes);
        let text = scenario.to_text();
        assert_eq!(Scenario::from_text(&text), Ok(scenario), "{text}");
    }
}

#[test]
fn a_seed_has_bytes_enough() {
    for seed in 0..SEEDS {
        let bytes = expanded(seed);
        let mut draw = Draw {
            from: Unstructured::new(&bytes),
        };
        let _ = draw.scenario();
        assert!(!draw.from.is_empty(), "seed {seed}");
    }
}

#[test]
fn every_fault_has_somebody_to_befall() {
    for scenario in drawn() {
        let text = || scenario.to_text();
        assert!(scenario.is_coherent(), "{}", text());
        assert!(!scenario.asks.is_empty());
        let client = scenario.tuning.config().client;
        assert!(client.stream_window_bytes >= client.stream_reserve_bytes);
    }
}

#[test]
fn every_kind_of_fault_is_drawn_and_many_worlds_have_none() {
    let mut counts = BTreeMap::new();
    let (mut calm, mut crowded) = (0, 0);
    for scenario in drawn() {
        calm += u64::from(scenario.faults.is_empty());
        crowded += u64::from(scenario.faults.len() >= 6);
        let mut names: Vec<_> = scenario.faults.iter().map(|f| f.what.name()).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            *counts.entry(name).or_insert(0) += 1;
        }
    }
    eprintln!("{counts:?}, {calm} calm, {crowded} crowded");
    assert_eq!(counts.len(), 17, "{counts:?}");
    assert!(counts.values().all(|&drawn| drawn >= 50), "{counts:?}");
    assert!((SEEDS / 20..SEEDS * 2 / 5).contains(&calm), "{calm} calm");
    assert!((SEEDS / 20..SEEDS / 3).contains(&crowded), "{crowded}");
}

/// The cuts of both directions of links, in the order in which they come: server, begin, end.
fn cuts(scenario: &Scenario) -> Vec<(Who, Duration, Duration)> {
    let cut = |fault: &Fault| match (fault.at, &fault.what) {
        (
            When::Time(at),
            FaultKind::Cut {
                server,
                way: Way::Both,
                lasts,
            },
        ) => Some((*server, at, at + *lasts)),
        _ => None,
    };
    scenario.faults.iter().filter_map(cut).collect()
}

#[test]
fn links_are_cut_in_one_order_and_healed_in_another() {
    let (mut nested, mut crossed, mut crowds, mut with_the_primary) = (0, 0, 0, 0);
    let simple = Scenario::new(0, 3, USUAL_BYTES);
    for seed in 0..1000 {
        let bytes = expanded(seed);
        let mut draw = Draw {
            from: Unstructured::new(&bytes),
        };
        let mut scenario = simple.clone();
        scenario.faults = draw.swizzle(&simple, Duration::from_secs(1));
        assert!(scenario.is_coherent(), "seed {seed}");
        let cuts = cuts(&scenario);
        assert_eq!(cuts.len(), scenario.faults.len(), "seed {seed}");
        let servers: BTreeSet<_> = cuts.iter().map(|(server, ..)| server).collect();
        assert!(
            servers.len() == cuts.len() && servers.len() >= 2,
            "{cuts:?}"
        );
        assert!(cuts.is_sorted_by(|a, b| a.1 < b.1), "{cuts:?}");
        let (last, first_healed) = (cuts.last(), cuts.iter().map(|(.., end)| *end).min());
        assert!(last.map(|(_, at, _)| *at) < first_healed, "{cuts:?}");
        nested += u32::from(cuts.is_sorted_by(|a, b| a.2 > b.2));
        crossed += u32::from(!cuts.is_sorted_by(|a, b| a.2 < b.2));
        crowds += u32::from(cuts.len() == 4);
        with_the_primary += u32::from(servers.contains(&Who::Primary));
    }
    let counts = [nested, crossed, crowds, with_the_primary];
    assert!(
        counts.iter().all(|&count| (100..900).contains(&count)),
        "{counts:?}"
    );
    let swizzled = |s: &Scenario| {
        let cuts = cuts(s);
        cuts.iter().any(|a| {
            cuts.iter()
                .any(|b| a.0 != b.0 && a.1 < b.1 && b.1 < b.2 && b.2 < a.2)
        })
    };
    assert!(count(swizzled) >= 100, "{}", count(swizzled));
}

#[test]
fn without_bytes_the_first_that_is_cut_comes_back_last() {
    let mut draw = Draw {
        from: Unstructured::new(&[]),
    };
    let mut scenario = Scenario::new(0, 2, USUAL_BYTES);
    scenario.faults = draw.swizzle(&scenario, Duration::from_secs(1));
    let millis = |from, to| (Duration::from_millis(from), Duration::from_millis(to));
    let times: Vec<_> = cuts(&scenario)
        .iter()
        .map(|(who, a, b)| (*who, (*a, *b)))
        .collect();
    let expected = [
        (Who::Secondary(0), millis(100, 500)),
        (Who::Secondary(1), millis(200, 400)),
    ];
    assert_eq!(times, expected);
    assert!(
        draw.swizzle(&Scenario::new(0, 0, 1), Duration::from_secs(1))
            .is_empty()
    );
}

#[test]
fn every_property_of_a_link_is_drawn_and_losses_are_mostly_small() {
    let of_links = |is_so: fn(&LinkSpec) -> bool| {
        count(|s| s.servers().any(|(_, server)| is_so(&server.downlink)))
    };
    let properties: [Named<LinkSpec>; 11] = [
        ("latency", |l| l.latency.as_millis() > 100),
        ("jitter", |l| !l.jitter.is_zero()),
        ("rate", |l| {
            l.bandwidth_bits_per_second.is_some_and(|b| b < 1_000_000)
        }),
        ("no rate", |l| l.bandwidth_bits_per_second.is_none()),
        ("loss", |l| l.loss_ppm > 0),
        ("burst", |l| l.burst.is_some()),
        ("reorder", |l| l.reorder_ppm > 0),
        ("duplicate", |l| l.duplicate_ppm > 0),
        ("corrupt", |l| l.corrupt_ppm > 0),
        ("ecn", |l| l.ecn != EcnPolicy::Keep),
        ("first", |l| l.drop_first != 0),
    ];
    for (name, is_so) in properties {
        assert!(of_links(is_so) >= 50, "{name}: {}", of_links(is_so));
    }
    let heavy = of_links(|l| l.loss_ppm > 50_000);
    assert!(heavy * 3 < of_links(|l| l.loss_ppm > 0), "{heavy}");
    let asymmetric = count(|s| s.primary.uplink != s.primary.downlink);
    assert!(asymmetric > SEEDS / 4, "{asymmetric}");
}

#[test]
fn every_other_feature_is_drawn() {
    let features: [Named<Scenario>; 23] = [
        ("usual size", |s| s.wanted() == USUAL_BYTES),
        ("nothing", |s| s.wanted() == 0),
        ("one byte", |s| s.wanted() == 1),
        ("much", |s| s.wanted() >= 1 << 20),
        ("several", |s| s.asks.len() > 1),
        ("slow", |s| s.has_pace(|p| matches!(p, Pace::Slow { .. }))),
        ("rest", |s| s.has_pace(|p| matches!(p, Pace::Rest { .. }))),
        ("stopped", |s| s.has_end("stopped")),
        ("reset", |s| s.has_end("reset")),
        ("taken back", |s| s.has_end("taken-back")),
        ("mute", |s| s.has_conduct(Conduct::Mute)),
        ("liar", |s| s.has_conduct(Conduct::Lies)),
        ("slow writer", |s| {
            s.secondaries.iter().any(|s| s.conduct.rate().is_some())
        }),
        ("slow primary", |s| s.primary.conduct.rate().is_some()),
        ("alone", |s| s.sharing == Sharing::Alone),
        ("rotate", |s| matches!(s.sharing, Sharing::Rotate { .. })),
        ("delegate", |s| {
            matches!(s.sharing, Sharing::Delegate { .. })
        }),
        ("clients", |s| !s.others.is_empty()),
        ("raw", |s| matches!(s.sharing, Sharing::Raw { .. })),
        ("revokes", |s| s.sharing.revokes().is_some()),
        ("reject", |s| s.tuning.overlap == Overlap::Reject),
        ("clock", |s| s.primary.clock_ahead_seconds != 0),
        ("marks", |s| s.marks),
    ];
    for (name, is_so) in features {
        assert!(count(is_so) >= 50, "{name}: {}", count(is_so));
    }
    assert!(count(|s| s.wanted() == USUAL_BYTES && s.secondaries.len() == 2) > SEEDS / 2);
    let marked = count(|s| s.marks);
    assert!((SEEDS / 5..SEEDS * 3 / 10).contains(&marked), "{marked}");
    let cuts =
        |way: Way| move |f: &FaultKind| matches!(f, FaultKind::Cut { way: w, .. } if *w == way);
    for way in [Way::Up, Way::Down, Way::Both] {
        assert!(count(|s| s.faults.iter().any(|f| cuts(way)(&f.what))) >= 50);
    }
    assert!(count(|s| s.faults.iter().any(|f| f.what.who() == Some(Who::Client))) >= 50);
}

#[test]
fn nobody_waits_for_minutes() {
    for scenario in drawn() {
        let window = scenario.tuning.stream_window_bytes;
        let rate = links::rate(&scenario.primary, window).max(1);
        let seconds = scenario.wanted() / rate;
        assert!(seconds <= 2 * SECONDS_MAX, "{}", scenario.to_text());
    }
}

impl Scenario {
    fn has_pace(&self, is_so: fn(&Pace) -> bool) -> bool {
        self.asks.iter().any(|ask| is_so(&ask.pace))
    }

    fn has_end(&self, name: &str) -> bool {
        self.asks.iter().any(|ask| ask.ends.name() == Some(name))
    }

    fn has_conduct(&self, conduct: Conduct) -> bool {
        self.secondaries.iter().any(|s| s.conduct == conduct)
    }
}

//! What is left of a scenario, and when the search must not go on.

use std::time::Duration;

use super::*;
use crate::app::Conduct;
use crate::link::LinkSpec;
use crate::outcome::FailureClass;
use crate::scenario::{Fault, FaultKind, Way, When, Who};

/// More than any search needs.
const BUDGET: usize = 100_000;

/// A scenario in which much is going on, with a crash of secondary 1 and losses on its downlink.
fn crowded() -> Scenario {
    let crowded = (0..).map(Scenario::from_seed).find(|s| {
        let ills = |link: &LinkSpec| link.loss_ppm > 0 && *link != lossy(link.loss_ppm);
        s.faults.len() > 8
            && s.asks.len() > 1
            && s.secondaries.get(1).is_some_and(|s| ills(&s.downlink))
            && crashes(s, 1)
            && !crashes(s, 0)
    });
    crowded.expect("seeds go on")
}

fn lossy(loss_ppm: u32) -> LinkSpec {
    LinkSpec {
        loss_ppm,
        ..LinkSpec::default()
    }
}

fn crashes(scenario: &Scenario, secondary: usize) -> bool {
    let crash = FaultKind::Crash(Who::Secondary(secondary));
    scenario.faults.iter().any(|fault| fault.what == crash)
}

#[test]
fn what_is_not_needed_is_taken_away() {
    let scenario = crowded();
    let fails = |s: &Scenario| {
        let lossy = |at: usize| {
            s.secondaries
                .get(at)
                .is_some_and(|s| s.downlink.loss_ppm > 0)
        };
        crashes(s, 1) && lossy(1)
    };
    let small = shrink(&scenario, fails, BUDGET);
    let mut expected = Scenario::new(scenario.seed, 2, 0);
    expected.secondaries[1].downlink = small.secondaries[1].downlink.clone();
    expected.faults = vec![Fault {
        at: When::Time(Duration::ZERO),
        what: FaultKind::Crash(Who::Secondary(1)),
    }];
    assert_eq!(small, expected, "{}", small.to_text());
    let loss_ppm = small.secondaries[1].downlink.loss_ppm;
    assert_eq!(small.secondaries[1].downlink, lossy(loss_ppm));
    assert!((1000..2000).contains(&loss_ppm));
    let lines = small.to_text().lines().count();
    assert!(lines <= 26, "{lines}: {}", small.to_text());
    assert_eq!(small, shrink(&scenario, fails, BUDGET), "always the same");
}

#[test]
fn secondaries_move_up_with_what_befalls_them() {
    let mut scenario = Scenario::new(3, 4, 1000);
    scenario.secondaries[2].downlink = lossy(10_000);
    for (at, who) in [(1, 3), (2, 2), (3, 0)] {
        scenario.faults.push(Fault {
            at: When::Percent(at),
            what: FaultKind::Crash(Who::Secondary(who)),
        });
    }
    // It fails if anybody crashes whose link loses something.
    let small = shrink(
        &scenario,
        |s| {
            assert!(s.is_coherent(), "{}", s.to_text());
            let mut links = s.secondaries.iter().enumerate();
            links.any(|(at, server)| server.downlink.loss_ppm > 0 && crashes(s, at))
        },
        BUDGET,
    );
    assert_eq!(small.secondaries.len(), 1);
    assert!(crashes(&small, 0));
    assert_eq!(small.faults.len(), 1);
}

#[test]
fn sizes_and_durations_are_halved_as_far_as_it_goes() {
    let mut scenario = Scenario::new(3, 1, 1_000_000);
    scenario.faults.push(Fault {
        at: When::Percent(37),
        what: FaultKind::Cut {
            server: Who::Primary,
            way: Way::Both,
            lasts: Duration::from_secs(60),
        },
    });
    let lasts = |s: &Scenario| match s.faults.as_slice() {
        [
            Fault {
                what: FaultKind::Cut { lasts, .. },
                ..
            },
        ] => lasts.as_millis(),
        _ => 0,
    };
    let is_late = |s: &Scenario| s.faults.iter().any(|f| f.at >= When::Percent(30));
    let fails = |s: &Scenario| s.wanted() >= 40_000 && lasts(s) >= 1500 && is_late(s);
    let small = shrink(&scenario, fails, BUDGET);
    assert_eq!(small.wanted(), 1 << 16);
    assert_eq!(lasts(&small), 1875);
    assert_eq!(small.faults[0].at, When::Percent(30));
    assert!(matches!(
        small.faults[0].what,
        FaultKind::Cut { way: Way::Down, .. }
    ));
}

#[test]
fn whatever_fails_always_becomes_the_simplest_of_all() {
    for seed in 0..200 {
        let small = shrink(&Scenario::from_seed(seed), |_| true, BUDGET);
        assert_eq!(small, Scenario::new(seed, 0, 0));
    }
}

#[test]
fn it_fails_at_the_end_and_the_budget_is_kept() {
    for seed in 0..200 {
        let scenario = Scenario::from_seed(seed);
        // A rule that is as good as arbitrary, but for the scenario itself.
        let fails = |s: &Scenario| *s == scenario || s.to_text().len().is_multiple_of(3);
        for budget in [0, 1, 10, 1000] {
            let mut runs = 0;
            let small = shrink(
                &scenario,
                |s| {
                    runs += 1;
                    assert!(s.is_coherent(), "{}", s.to_text());
                    fails(s)
                },
                budget,
            );
            assert!(runs <= budget, "{runs} of {budget}");
            assert!(fails(&small), "{}", small.to_text());
        }
    }
}

#[test]
fn the_test_that_is_to_be_pasted_has_the_scenario_in_it() {
    let scenario = Scenario::new(7, 1, 1000);
    let failure = Failure {
        class: FailureClass::Liveness,
        rule: "I8: in time",
        detail: "two\nlines".to_owned(),
        at: Duration::from_secs(1),
    };
    let test = regression_test(&scenario, &failure);
    assert!(test.starts_with("/// liveness at 1.000 s: I8: in time: two\n/// lines\n#[test]\n"));
    assert!(
        test.contains("fn seed_7_liveness_i8__in_time() {"),
        "{test}"
    );
    let text = test.split("##").nth(1).expect("a raw string");
    assert_eq!(Scenario::from_text(text.trim_matches('"')), Ok(scenario));
}

#[test]
fn a_writer_becomes_honest_if_it_can_and_faster_if_not() {
    let slow = |millis| Conduct::Slow {
        bytes: 1000,
        every: Duration::from_millis(millis),
    };
    let mut scenario = Scenario::new(3, 2, 1000);
    scenario.secondaries[0].conduct = slow(500);
    scenario.secondaries[1].conduct = slow(500);
    let is_slow = |s: &Scenario| {
        let mut conducts = s.secondaries.iter().map(|s| s.conduct);
        conducts.any(|conduct| conduct.rate().is_some_and(|rate| rate < 20_000.0))
    };
    let small = shrink(&scenario, is_slow, BUDGET);
    assert_eq!(small.secondaries.len(), 1, "{}", small.to_text());
    assert_eq!(
        small.secondaries[0].conduct,
        slow(62),
        "{}",
        small.to_text()
    );
}

/// A failure of the same class and rule as all the others that are made here.
fn failure(detail: &str) -> Failure {
    Failure {
        class: FailureClass::Correctness,
        rule: "promise",
        detail: detail.to_owned(),
        at: Duration::ZERO,
    }
}

fn crash(detail: &str) -> Failure {
    Failure {
        class: FailureClass::Crash,
        rule: "I11",
        ..failure(detail)
    }
}

#[test]
fn a_fault_is_known_again_whatever_shrank() {
    let alike = [
        [
            "path 12 to secondary 3 died at 1.250 s, and nothing was in its way",
            "path 1 to secondary 0 died at 0.003 s, and nothing was in its way",
        ],
        [
            "0 of 65536 bytes 9.960 s after the last fault was over; [PathInfo { path: PathId(1) }]",
            "700 of 900 bytes 0.100 s after the last fault was over; []",
        ],
        [
            "error event: kwik_core::session: it is lost path=PathId(3) (and 2 more)",
            "error event: kwik_core::session: it is lost",
        ],
        [
            "host 3 at 31.2ms: I14: a deadline is due for 0ns although it was handled",
            "host 1 at 2s: I14: a deadline is due for 15µs although it was handled",
        ],
        [
            "everything was to arrive: no server supplied [0, 9) [10, 12)",
            "everything was to arrive: no server supplied [4096, 65536)",
        ],
    ];
    for [before, after] in alike {
        let [before, after] = [before, after].map(|detail| Symptom::of(&failure(detail)));
        assert_eq!(before, after);
    }
    let [before, after] = [
        "left: 5\n0: a::frame",
        "no path 7 any more\n1: another::frame",
    ]
    .map(|said| crash(&format!("panicked at kwik-core/src/grant.rs:77:9: {said}")));
    assert_eq!(Symptom::of(&before), Symptom::of(&after));
}

#[test]
fn two_faults_that_break_one_rule_are_told_apart() {
    let failures = [
        failure("everything was to arrive: no server supplied [0, 9)"),
        failure("everything was to arrive: the peer did not answer in time"),
        failure("it was not to fail so: the peer did not answer in time"),
        failure("client: 1 sessions, drained: false, sends: false, timer: true"),
        failure("secondary 1: 1 sessions, drained: false, sends: false, timer: true"),
        crash("panicked at kwik-core/src/grant.rs:77:9: no path 7"),
        crash("panicked at kwik-core/src/grant.rs:78:9: no path 7"),
        crash("panicked at kwik-core/src/plan.rs:77:9: no path 7"),
        crash("panicked at an unknown place: no path 7"),
        crash("panicked at an unknown place: no grant 7"),
        Failure {
            rule: "calls",
            ..failure("everything was to arrive: no server supplied [0, 9)")
        },
    ];
    for (at, one) in failures.iter().enumerate() {
        for other in &failures[at + 1..] {
            assert_ne!(Symptom::of(one), Symptom::of(other));
        }
    }
}

/// With a crash a hole stays, without one the session is lost: both break the same promise.
#[test]
fn the_search_does_not_wander_to_another_fault() {
    let scenario = crowded();
    let live = |s: &Scenario| {
        let at = s.faults.len() * 1000;
        Some(failure(&if crashes(s, 1) {
            format!(
                "everything was to arrive: no server supplied [{at}, {})",
                2 * at
            )
        } else {
            format!("everything was to arrive: nobody answered in {at} s")
        }))
    };
    let first = live(&scenario).expect("a failure");
    let (small, last) = shrink_alike(&scenario, &first, live, BUDGET);
    assert_eq!(small.faults.len(), 1, "{}", small.to_text());
    assert!(crashes(&small, 1) && small.secondaries.len() == 2);
    assert_eq!(Some(last), live(&small), "told with it");
}

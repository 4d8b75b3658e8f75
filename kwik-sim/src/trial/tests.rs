//! That a life is judged: by what it says itself, and by what is heard of it.

use super::*;
use crate::scenario::{Fault, FaultKind, When, Who};

/// What becomes of a life that ends so.
fn concluded(life: impl FnOnce() -> Result<(), Failure>) -> Failure {
    let outcome = conclude(None, capture::guarded(life));
    outcome.failure.expect("a failure")
}

#[test]
fn a_panic_is_a_crash() {
    let failure = concluded(|| panic!("no such world"));
    assert_eq!((failure.class, failure.rule), (FailureClass::Crash, "I11"));
    assert!(failure.detail.contains("no such world"), "{failure}");
}

#[test]
fn an_error_that_is_logged_is_one() {
    let failure = concluded(|| {
        tracing::error!("impossible");
        Ok(())
    });
    let seen = (failure.class, failure.rule);
    assert_eq!(seen, (FailureClass::Correctness, "I11"));
    assert!(failure.detail.contains("impossible"), "{failure}");
}

#[test]
fn a_life_without_faults_is_complete() {
    for crypto in [CryptoMode::Null, CryptoMode::Rustls] {
        let outcome = run(&Scenario::new(1, 2, 256 << 10), crypto);
        assert_eq!(outcome.failure, None);
        assert_eq!(outcome.ending, Ending::Complete);
        let convergence = outcome.convergence.expect("a promise");
        assert!(convergence.took < convergence.bound);
    }
}

#[test]
fn a_dead_secondary_degrades_a_life_and_a_dead_primary_ends_it() {
    let mut scenario = Scenario::new(1, 2, 256 << 10);
    for (who, ending) in [
        (Who::Secondary(0), Ending::Degraded),
        (Who::Primary, Ending::Failed),
    ] {
        scenario.faults = vec![Fault {
            at: When::Percent(10),
            what: FaultKind::Crash(who),
        }];
        let outcome = run(&scenario, CryptoMode::Null);
        assert_eq!((outcome.failure, outcome.ending), (None, ending), "{who}");
    }
}

/// A trial of a scenario with a promise that is not its own.
fn held_against(scenario: &Scenario, promise: impl FnOnce(&mut Promise)) -> Option<Failure> {
    let mut trial = Trial::new(scenario, CryptoMode::Null);
    promise(&mut trial.promise);
    trial.live().err()
}

#[test]
fn what_breaks_a_promise_is_a_failure() {
    // The path of a secondary that dies.
    let mut scenario = Scenario::new(1, 1, 256 << 10);
    scenario.faults = vec![Fault {
        at: When::Percent(10),
        what: FaultKind::Crash(Who::Secondary(0)),
    }];
    for joins in [true, false] {
        let failure = held_against(&scenario, |promise| {
            promise.may_die.clear();
            promise.joins = joins;
        });
        assert_eq!(failure.map(|failure| failure.rule), Some("promise"));
    }
    // The time: nothing comes any more, and the session is not given up before half a minute.
    scenario.faults[0].what = FaultKind::Crash(Who::Primary);
    scenario.secondaries.clear();
    let failure = held_against(&scenario, |promise| promise.completes = true);
    let seen = failure.map(|failure| (failure.class, failure.rule));
    assert_eq!(seen, Some((FailureClass::Liveness, "I8")));
    // That a session comes about.
    scenario.faults.clear();
    scenario.primary.downlink.payload_max_bytes = 1000;
    let failure = held_against(&scenario, |promise| promise.completes = true);
    assert_eq!(failure, None, "it never connected, and was not promised to");
    let failure = held_against(&scenario, |promise| {
        (promise.completes, promise.connects) = (true, true);
    });
    assert_eq!(failure.map(|failure| failure.rule), Some("I8"));
}

#[test]
fn cuts_that_are_healed_in_another_order_than_they_came_are_a_swizzle() {
    let millis = Duration::from_millis;
    let cut = |server, at, lasts| Fault {
        at: When::Time(millis(at)),
        what: FaultKind::Cut {
            server,
            way: crate::scenario::Way::Both,
            lasts: millis(lasts),
        },
    };
    let mut scenario = Scenario::new(1, 2, 1 << 20);
    for (second, is_swizzle) in [(50, true), (300, false)] {
        scenario.faults = vec![
            cut(Who::Secondary(0), 40, 200),
            cut(Who::Secondary(1), 60, second),
        ];
        let outcome = run(&scenario, CryptoMode::Null);
        assert_eq!((outcome.failure, outcome.ending), (None, Ending::Complete));
        assert_eq!(outcome.met.contains(&"swizzle"), is_swizzle, "{second}");
    }
}

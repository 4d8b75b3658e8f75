//! A primary that takes grants back while they are being filled.

use std::collections::BTreeSet;
use std::time::Duration;

use kwik_core::ids::GrantId;
use kwik_sim::app::{Conduct, Delivery, Revokes};
use kwik_sim::outcome::Ending;
use kwik_sim::scenario::Sharing;
use kwik_sim::{CryptoMode, Scenario, Setting, trial};

use crate::SECOND;

const RANGE_BYTES: u64 = 64 << 10;

const fn every_second(after_millis: u64) -> Option<Revokes> {
    Some(Revokes {
        one_of: 2,
        after: Duration::from_millis(after_millis),
    })
}

#[test]
fn what_is_missing_of_grants_that_are_taken_back_comes_from_somebody_else() {
    let delivery = Delivery::Delegate {
        range_bytes: RANGE_BYTES,
    };
    // So slow that a grant is taken back in the middle of it.
    let slow = Conduct::Slow {
        bytes: 2000,
        every: Duration::from_millis(10),
    };
    let mut setting = Setting::new(1, 2, 2 << 20).delivery(delivery);
    setting.secondaries = vec![slow; 2];
    setting.revokes = every_second(250);
    let mut stage = setting.build();
    stage.run_to_end(60 * SECOND);
    let report = stage.report("revokes");
    assert!(report.is_success(), "{report}");
    assert_eq!(stage.primary_app().errors(), []);
    stage.world.run_for(SECOND);
    assert_eq!(stage.grants_owed(), 0);
    let taken_back: BTreeSet<GrantId> = stage.primary_app().taken_back().into_iter().collect();
    let losses = stage.primary_app().losses();
    assert!(taken_back.len() >= 4, "{taken_back:?}");
    assert!(losses.iter().all(|loss| taken_back.contains(&loss.grant)));
    // Some in the middle of it: a part had come.
    let is_part = |missing: u64, granted: u64| missing > 0 && missing < granted;
    let parts = losses
        .iter()
        .map(|loss| (loss.missing.bytes(), loss.granted.len()));
    let parts = parts.filter(|&(missing, granted)| is_part(missing, granted));
    assert!(parts.count() >= 2, "{losses:?}");
}

#[test]
fn a_trial_in_which_grants_are_taken_back_keeps_all_promises() {
    let mut scenario = Scenario::new(2, 3, 1 << 20);
    for millis in [0, 5, 30, 60] {
        scenario.sharing = Sharing::Delegate {
            range_bytes: RANGE_BYTES,
            revokes: every_second(millis),
        };
        let text = scenario.to_text();
        assert_eq!(Scenario::from_text(&text).as_ref(), Ok(&scenario), "{text}");
        let outcome = trial::run(&scenario, CryptoMode::Null);
        assert_eq!(outcome.failure, None, "{millis} ms");
        assert_eq!(outcome.ending, Ending::Complete);
        assert!(outcome.met.contains(&"revokes"));
    }
    let old = "(seed: 1, asks: [], sharing: Delegate(range_bytes: 7))";
    let sharing = Scenario::from_text(old).map(|scenario| scenario.sharing);
    let expected = Sharing::Delegate {
        range_bytes: 7,
        revokes: None,
    };
    assert_eq!(sharing, Ok(expected));
}

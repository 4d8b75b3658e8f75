//! Open grants: secondaries that decide themselves how much they write.

use kwik_sim::app::{Conduct, Delivery};
use kwik_sim::outcome::Ending;
use kwik_sim::scenario::{Fault, FaultKind, Sharing, When, Who};
use kwik_sim::{CryptoMode, Scenario, Setting, trial};

use crate::SECOND;

const RANGE_BYTES: u64 = 32 << 10;

const fn honest(open_bytes: u64) -> Conduct {
    Conduct::Honest { open_bytes }
}

#[test]
fn pieces_land_where_they_belong_however_much_of_each_is_written() {
    for open_bytes in [0, 1, 5000, RANGE_BYTES, 1 << 30] {
        let delivery = Delivery::Raw {
            range_bytes: RANGE_BYTES,
        };
        let mut setting = Setting::new(1, 2, 512 << 10).delivery(delivery);
        setting.secondaries = vec![honest(open_bytes), Conduct::HONEST];
        let mut stage = setting.build();
        stage.run_to_end(60 * SECOND);
        let report = stage.report("open grants");
        assert!(report.is_success(), "{open_bytes}: {report}");
        stage.world.run_for(SECOND);
        assert_eq!(stage.primary_app().errors(), []);
        assert_eq!(
            (stage.grants_owed(), stage.primary_app().losses()),
            (0, &[][..])
        );
        let given = stage.primary_app().pieces_given();
        let grants = [0, 1].map(|index| stage.secondary_app(index).grants());
        assert!(
            given >= 6 && grants.iter().sum::<u64>() == given,
            "{grants:?} of {given}"
        );
        // A message comes before each piece.
        let notes = [0, 1].map(|index| stage.secondary_app(index).raw().len() as u64);
        assert_eq!(notes, grants);
        let brought = |path: usize| report.shares[path].1;
        match open_bytes {
            0 => assert_eq!(brought(1), 0),
            1 | 5000 => assert_eq!(brought(1), open_bytes * grants[0]),
            // All of each piece.
            _ => assert!(brought(1) >= (grants[0] - 1) * RANGE_BYTES, "{report}"),
        }
        assert!(brought(2) > 0, "{report}");
    }
}

#[test]
fn a_trial_with_open_grants_keeps_all_promises_also_when_one_is_lost() {
    let mut scenario = Scenario::new(2, 3, 512 << 10);
    scenario.sharing = Sharing::Raw {
        range_bytes: RANGE_BYTES,
    };
    scenario.secondaries[1].conduct = honest(7000);
    let text = scenario.to_text();
    assert_eq!(Scenario::from_text(&text).as_ref(), Ok(&scenario), "{text}");
    let outcome = trial::run(&scenario, CryptoMode::Null);
    assert_eq!((outcome.failure, outcome.ending), (None, Ending::Complete));
    assert!(outcome.met.contains(&"open-grants"));
    for percent in [5, 20, 40, 60, 80] {
        let crash = |index| Fault {
            at: When::Percent(percent),
            what: FaultKind::Crash(Who::Secondary(index)),
        };
        scenario.faults = vec![crash(0), crash(1), crash(2)];
        let outcome = trial::run(&scenario, CryptoMode::Null);
        let seen = (outcome.failure, outcome.ending);
        assert_eq!(seen, (None, Ending::Degraded), "{percent} %");
    }
}

//! Several clients of the same servers: each has its session, and none sees a byte of another.

use kwik_sim::app::{AnswerOn, Ask, Delivery, Request};
use kwik_sim::outcome::Ending;
use kwik_sim::scenario::Sharing;
use kwik_sim::{CryptoMode, Scenario, Setting, trial};

use crate::SECOND;

const RANGE_BYTES: u64 = 16 << 10;

#[test]
fn every_client_gets_its_own_bytes() {
    let deliveries = [
        Setting::new(0, 0, 0).delivery,
        Delivery::Plain,
        Delivery::Delegate {
            range_bytes: RANGE_BYTES,
        },
        Delivery::Raw {
            range_bytes: RANGE_BYTES,
        },
    ];
    for delivery in deliveries {
        let mut setting = Setting::new(1, 2, 256 << 10).delivery(delivery);
        setting.others = [128 << 10, 0, 50_000]
            .map(|bytes| {
                Ask::new(Request {
                    bytes,
                    answer_on: AnswerOn::OwnStream,
                })
            })
            .to_vec();
        let mut stage = setting.build();
        stage.world.run_for(10 * SECOND);
        let report = stage.report("clients");
        assert!(report.is_success(), "{delivery:?}: {report}");
        let read = [0, 1, 2].map(|index| {
            let reader = stage.other_reader(index);
            assert_eq!(reader.fault(), None, "{delivery:?}: client {index}");
            assert!(reader.done_at().is_some(), "{delivery:?}: client {index}");
            reader.bytes()
        });
        assert_eq!(read, [128 << 10, 0, 50_000]);
        assert_eq!(stage.primary_app().sessions().len(), 4);
        assert_eq!(stage.primary_app().errors(), []);
    }
}

#[test]
fn a_trial_with_several_clients_keeps_all_promises() {
    let mut scenario = Scenario::new(2, 2, 256 << 10);
    scenario.others = vec![64 << 10, 1];
    for sharing in [
        Sharing::Pull,
        Sharing::Delegate {
            range_bytes: RANGE_BYTES,
            revokes: None,
        },
    ] {
        scenario.sharing = sharing;
        let text = scenario.to_text();
        assert_eq!(Scenario::from_text(&text).as_ref(), Ok(&scenario), "{text}");
        let outcome = trial::run(&scenario, CryptoMode::Null);
        assert_eq!((outcome.failure, outcome.ending), (None, Ending::Complete));
        assert!(outcome.met.contains(&"clients"));
    }
}

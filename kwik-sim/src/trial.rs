//! A scenario is lived through.
//!
//! Owns the run of one scenario from its beginning to its judgement. Panics of what it runs are
//! caught: they are an outcome like any other.

use std::time::Duration;

use crate::crypto::CryptoMode;
use crate::outcome::{Ending, Failure, FailureClass, Outcome};
use crate::scenario::Scenario;
use crate::stage::Setting;

/// Lives one scenario through.
#[must_use]
pub fn run(scenario: &Scenario, _crypto: CryptoMode) -> Outcome {
    let mut setting = Setting::new(scenario.seed, scenario.secondaries.len(), 0);
    setting.asks.clone_from(&scenario.asks);
    setting.delivery = scenario.sharing.delivery();
    setting.config = scenario.tuning.config();
    setting.secondaries = scenario.secondaries.iter().map(|s| s.conduct).collect();
    let mut stage = setting.build();
    stage.run_to_end(Duration::from_secs(60));
    let report = stage.report("trial");
    Outcome {
        ending: if report.is_success() {
            Ending::Complete
        } else {
            Ending::Failed
        },
        failure: (!report.is_success()).then(|| Failure {
            class: FailureClass::Correctness,
            rule: "complete",
            detail: report.to_string(),
            at: stage.world.time(),
        }),
        trace: report.trace,
        datagrams: report.datagrams,
        took: stage.world.time(),
        convergence: None,
        met: scenario.faults.iter().map(|f| f.what.name()).collect(),
    }
}

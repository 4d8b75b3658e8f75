//! What is shown of a scenario that failed: how to see it again, and a small form of it to be kept.

use kwik_sim::crypto::CryptoMode;
use kwik_sim::outcome::Failure;
use kwik_sim::shrink::{regression_test, shrink_alike};
use kwik_sim::words::Indented;
use kwik_sim::{Scenario, trial};

use super::exit::{Stop, print};

/// Trials that a search for a smaller scenario may cost.
const SHRINK_BUDGET: usize = 400;

/// Says what failed, and the command that shows it again.
pub(super) fn say(failure: &Failure, options: &str) -> Result<(), Stop> {
    print(format_args!("FAILED {failure}"))?;
    print(format_args!("again: kwik-sim run{options}"))
}

/// Searches for a smaller scenario that fails in the same way, and prints it as a test.
pub(super) fn print_shrunk(
    scenario: &Scenario,
    failure: &Failure,
    crypto: CryptoMode,
) -> Result<(), Stop> {
    let mut trials = 0u32;
    let live = |candidate: &Scenario| {
        trials += 1;
        trial::run(candidate, crypto).failure
    };
    let (smaller, failure) = shrink_alike(scenario, failure, live, SHRINK_BUDGET);
    print(format_args!("shrunk, after {trials} trials, to:"))?;
    print(Indented(&regression_test(&smaller, &failure)))
}

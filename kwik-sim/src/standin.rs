//! Stand-ins for parts of the simulator that are being written: the drawing of scenarios, the presets,
//! shrinking, and the report of the masks. Each has the name and form of the real thing.

use std::fmt;

use crate::crypto::CryptoMode;
use crate::outcome::{Ending, Failure};
use crate::scenario::{Fault, FaultKind, Scenario, When, Who};

/// A scenario with a name.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// Its name.
    pub name: &'static str,
    /// What it is about, in a line.
    pub summary: &'static str,
    /// Builds it for a seed.
    pub build: fn(u64) -> Scenario,
}

/// All presets.
#[must_use]
pub fn presets() -> &'static [Preset] {
    &[
        Preset {
            name: "clean",
            summary: "two secondaries, clean links",
            build: |seed| Scenario::new(seed, 2, 4 << 20),
        },
        Preset {
            name: "crash",
            summary: "one of two secondaries dies at 30 %",
            build: |seed| {
                let mut scenario = Scenario::new(seed, 2, 10 << 20);
                scenario.faults.push(Fault {
                    at: When::Percent(30),
                    what: FaultKind::Crash(Who::Secondary(1)),
                });
                scenario
            },
        },
    ]
}

/// A smaller scenario that still fails.
pub fn shrink(
    scenario: &Scenario,
    mut still_fails: impl FnMut(&Scenario) -> bool,
    budget: usize,
) -> Scenario {
    let mut best = scenario.clone();
    for at in (0..scenario.faults.len()).rev().take(budget) {
        let mut smaller = best.clone();
        smaller.faults.remove(at);
        if still_fails(&smaller) {
            best = smaller;
        }
    }
    best
}

/// A test that lives a scenario through.
#[must_use]
pub fn regression_test(scenario: &Scenario, failure: &Failure) -> String {
    format!("// {failure}\n{}\n", scenario.to_text())
}

/// The cells of the table of faults and outcomes that a long swarm must fill.
#[must_use]
pub fn expected_cells() -> &'static [(&'static str, Ending)] {
    &[
        ("none", Ending::Complete),
        ("secondary-crash", Ending::Complete),
        ("secondary-crash", Ending::Degraded),
    ]
}

/// What came of all masks.
#[derive(Clone, Debug, Default)]
pub struct MaskReport {}

impl MaskReport {
    /// Whether every mask was survived.
    #[must_use]
    pub fn is_success(&self) -> bool {
        true
    }
}

impl fmt::Display for MaskReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no masks were tried")
    }
}

/// Tries all masks.
#[must_use]
pub fn run_masks(_crypto: CryptoMode, _threads: usize) -> MaskReport {
    MaskReport {}
}

//! The smallest scenario that still fails.
//!
//! Owns the search for it: one simplification after the other is tried, and kept if the scenario fails
//! with it too. Nothing is left to chance, so that the same failure shrinks to the same text. Also the
//! text of a test that keeps it.

mod steps;
mod symptom;
#[cfg(test)]
mod tests;

use std::fmt::Write;

pub use self::symptom::Symptom;
use crate::outcome::Failure;
use crate::scenario::Scenario;

/// A smaller scenario that still fails, found with at most `budget` calls of `still_fails`. The
/// scenario itself must fail.
pub fn shrink(
    scenario: &Scenario,
    mut still_fails: impl FnMut(&Scenario) -> bool,
    budget: usize,
) -> Scenario {
    let mut search = Search {
        best: scenario.clone(),
        left: budget,
        still_fails: &mut still_fails,
    };
    // One that worked may make others possible that did not work before.
    while search.round() {}
    search.best
}

/// A smaller scenario that fails by the same fault, as far as the [`Symptom`] tells, and how it fails. Each
/// of at most `budget` scenarios is lived by `live`, which says how it failed.
pub fn shrink_alike(
    scenario: &Scenario,
    failure: &Failure,
    mut live: impl FnMut(&Scenario) -> Option<Failure>,
    budget: usize,
) -> (Scenario, Failure) {
    let symptom = Symptom::of(failure);
    let mut latest = failure.clone();
    let still_fails = |candidate: &Scenario| {
        let found = live(candidate).filter(|found| Symptom::of(found) == symptom);
        let is_alike = found.is_some();
        // What fails alike is kept: this is the failure of the best so far.
        latest = found.unwrap_or_else(|| latest.clone());
        is_alike
    };
    let smaller = shrink(scenario, still_fails, budget);
    (smaller, latest)
}

/// How far the search has come.
struct Search<'a> {
    best: Scenario,
    /// Calls that may still be made.
    left: usize,
    still_fails: &'a mut dyn FnMut(&Scenario) -> bool,
}

impl Search<'_> {
    /// Tries everything once; whether something helped.
    fn round(&mut self) -> bool {
        let mut helped = false;
        for step in steps::ALL {
            // What is tried next follows from what was kept: the same index then means the next one.
            let mut index = 0;
            while let Some(smaller) = step(&self.best, index) {
                if self.left == 0 {
                    return false;
                }
                if self.keep(smaller) {
                    helped = true;
                } else {
                    index += 1;
                }
            }
        }
        helped
    }

    /// Keeps a scenario if it is another and still fails.
    fn keep(&mut self, smaller: Scenario) -> bool {
        if smaller == self.best {
            return false;
        }
        self.left -= 1;
        let fails = (self.still_fails)(&smaller);
        if fails {
            self.best = smaller;
        }
        fails
    }
}

/// A test that keeps a scenario from failing again, to be put among the other regressions.
#[must_use]
pub fn regression_test(scenario: &Scenario, failure: &Failure) -> String {
    let (class, rule) = (failure.class, name_of(failure.rule));
    let mut test = String::new();
    // A String takes everything.
    for line in failure.to_string().lines() {
        let _ = writeln!(test, "/// {}", line.trim_end());
    }
    let _ = writeln!(test, "#[test]");
    let _ = writeln!(test, "fn seed_{}_{class}_{rule}() {{", scenario.seed);
    let _ = writeln!(test, "    assert_clean(");
    let _ = writeln!(test, "        r##\"{}\"##,", scenario.to_text());
    let _ = writeln!(test, "    );");
    let _ = writeln!(test, "}}");
    test
}

/// What of a text can be part of the name of a function.
fn name_of(text: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = text.to_ascii_lowercase().chars().map(letter).collect();
    name.trim_matches('_').to_owned()
}

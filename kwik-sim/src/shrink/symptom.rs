//! What failures of one fault have in common.
//!
//! Owns the words of a failure by which it is known again, while everything else about the scenario
//! becomes smaller: class, rule, and the place of a panic or the words of the detail. What shrinks with
//! the scenario, numbers and lists of any length, is no part of it.

use crate::outcome::{Failure, FailureClass};

/// Stands for numbers, however many in a row.
const NUMBERS: &str = "#";

/// By what a failure is known again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Symptom {
    class: FailureClass,
    rule: &'static str,
    words: String,
}

impl Symptom {
    /// That of a failure.
    #[must_use]
    pub fn of(failure: &Failure) -> Self {
        let place = match failure.class {
            FailureClass::Crash => place_of_panic(&failure.detail),
            FailureClass::Liveness | FailureClass::Correctness => None,
        };
        Self {
            class: failure.class,
            rule: failure.rule,
            words: place.map_or_else(|| words(&failure.detail), str::to_owned),
        }
    }
}

/// Where a panic came from. What it said may change with the scenario.
fn place_of_panic(detail: &str) -> Option<&str> {
    let (place, _) = detail.strip_prefix("panicked at ")?.split_once(": ")?;
    // A place that is known has a line.
    place.contains(':').then_some(place)
}

/// The words of a detail up to what may be missing or of any length: further lines, the fields and the
/// number of error events, and the states of paths behind a semicolon.
fn words(detail: &str) -> String {
    let line = detail.lines().next().unwrap_or_default();
    let line = line.split(';').next().unwrap_or_default();
    let line = line.split(" (and ").next().unwrap_or_default();
    let mut kept: Vec<&str> = Vec::new();
    for word in line.split_whitespace() {
        if word.contains('=') {
            break;
        }
        let word = match word {
            word if word.contains(|c: char| c.is_ascii_digit()) => NUMBERS,
            word => word,
        };
        if word != NUMBERS || kept.last() != Some(&NUMBERS) {
            kept.push(word);
        }
    }
    kept.join(" ")
}

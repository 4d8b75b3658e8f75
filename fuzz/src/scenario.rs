//! Whole worlds.

use kwik_sim::crypto::CryptoMode;
use kwik_sim::{Scenario, trial};

/// The bytes say what a world is like and what befalls it. What is promised of such a world is kept.
///
/// # Panics
///
/// If it is not. The message has the scenario in it, as text.
pub fn pair_script(input: &[u8]) {
    let scenario = Scenario::from_bytes(input);
    let outcome = trial::run(&scenario, CryptoMode::Null);
    if let Some(failure) = outcome.failure {
        panic!("{failure}\n{}", scenario.to_text());
    }
}

//! The simulator finds a bug that was planted for it.
//!
//! With `--cfg kwik_canary` the core has one known bug. A swarm that passes then would pass anything.
#![cfg(kwik_canary)]

use kwik_sim::{CryptoMode, Scenario, trial};

/// Among so many seeds the bug must show itself.
const SEEDS: u64 = 2_000;

#[test]
fn the_planted_bug_is_found() {
    let mut found = (0..SEEDS).filter_map(|seed| {
        let outcome = trial::run(&Scenario::from_seed(seed), CryptoMode::Null);
        Some((seed, outcome.failure?))
    });
    let (seed, failure) = found.next().expect("a failure");
    eprintln!("seed {seed}: {failure}");
    // Nobody was told that they are missing: the reader waits for them until it gives up.
    assert_eq!(failure.rule, "promise", "{failure}");
    assert!(failure.detail.contains("no server supplied"), "{failure}");
}

//! Drawn worlds in which everything must heal, as many as a test run can afford: `kwik-sim swarm` lives
//! through more. Half of them under TLS.

use kwik_sim::{CryptoMode, Scenario, atlas, trial};

/// Seeds that are lived through.
const SEEDS: u64 = 60;

#[test]
fn whatever_befalls_a_transfer_that_can_heal_the_client_gets_everything() {
    for seed in 0..SEEDS {
        let scenario = atlas::healing(Scenario::from_seed(seed));
        let crypto = if seed % 2 == 0 {
            CryptoMode::Null
        } else {
            CryptoMode::Rustls
        };
        let outcome = trial::run(&scenario, crypto);
        if let Some(failure) = outcome.failure {
            panic!("seed {seed}, {crypto:?}: {failure}\n{}", scenario.to_text());
        }
    }
}

//! Scenarios that failed once.
//!
//! Each is what a failure was shrunk to, with the failure in words above it. The text is the scenario:
//! it means the same however scenarios are drawn from seeds.

use kwik_sim::crypto::CryptoMode;
use kwik_sim::{Scenario, trial};

/// Lives the scenario through, with each kind of protection; nothing may be wrong with it.
fn assert_clean(text: &str) {
    let scenario = Scenario::from_text(text).expect("the text of a scenario");
    assert!(scenario.is_coherent(), "somebody is missing in {text}");
    for crypto in [CryptoMode::Null, CryptoMode::Rustls] {
        let outcome = trial::run(&scenario, crypto);
        if let Some(failure) = outcome.failure {
            panic!("{crypto:?}: {failure}\n{text}");
        }
    }
}

/// livelock: the world stands still at 31.2 ms (a reader that was to rest before its first byte never
/// did, and was woken for it without end)
#[test]
fn a_reader_may_rest_before_its_first_byte() {
    assert_clean(
        r##"(
            seed: 149,
            asks: [
                (
                    request: (bytes: 1, answer_on: OwnStream),
                    pace: Rest(after: 0, length: "100ms"),
                ),
            ],
        )"##,
    );
}

/// liveness at 660.010 s: I8: 0 of 0 bytes 600.000 s after the last fault was over (half of a handshake
/// was lost, and after a pause of a minute QUIC's idle timeout, which grows with the round trip, was ten
/// minutes: the client waited for a primary that had forgotten it)
#[test]
fn a_primary_that_has_forgotten_a_handshake_is_dialled_afresh() {
    assert_clean(
        r##"(
            seed: 402527,
            asks: [
                (
                    request: (bytes: 0, answer_on: OwnStream),
                ),
            ],
            faults: [
                (
                    at: Time("19ms"),
                    what: Outage(lasts: "7ms"),
                ),
                (
                    at: Time("10ms"),
                    what: Pause(who: Client, lasts: "1m"),
                ),
            ],
        )"##,
    );
}

/// liveness at 9.960 s: I8: 708176 of 1048576 bytes 9.960 s after the last fault was over (the bound
/// counted on the fast secondary for what the primary had begun to write itself)
#[test]
fn what_a_slow_primary_has_begun_takes_as_long_as_it_takes() {
    assert_clean(
        r##"#![enable(implicit_some)]
        (
            seed: 10007893,
            primary: (
                downlink: (
                    latency: "200ms",
                    queue_max_bytes: 3000,
                ),
            ),
            secondaries: [
                (),
            ],
            asks: [
                (
                    request: (bytes: 1048576, answer_on: OwnStream),
                ),
            ],
        )"##,
    );
}

#[test]
#[should_panic(expected = "the text of a scenario")]
fn what_is_no_scenario_is_not_clean() {
    assert_clean("(seed: 1)");
}

/// liveness at 30.081 s: I8: 69192 of 131072 bytes 30.081 s after the last fault was over (a secondary
/// had left out every other byte of its piece, and in rotation four of the gaps were filled at a time)
#[test]
fn gaps_that_a_hostile_secondary_left_are_filled_many_at_a_time() {
    assert_clean(
        r##"#![enable(implicit_some)]
    (
        seed: 216364,
        primary: (
            downlink: (
                latency: "50ms",
            ),
        ),
        secondaries: [
            (
                conduct: Hostile(Perforates),
            ),
        ],
        asks: [
            (
                request: (bytes: 131072, answer_on: OwnStream),
            ),
        ],
        sharing: Rotate(
            range_bytes: 65536,
        ),
    )"##,
    );
}

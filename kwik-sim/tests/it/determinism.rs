//! The same seed lives the same life.

use kwik_sim::stage::{Terms, one_lost, rotation, two_secondaries};

use crate::{SECOND, lossy};

fn terms(seed: u64) -> Terms {
    Terms {
        seed,
        bytes: 512 << 10,
        link: lossy(10_000),
        limit: 20 * SECOND,
    }
}

/// TLS draws keys at random, so the bytes of the datagrams differ; nothing else does.
#[test]
fn the_same_seed_gives_the_same_report_and_trace() {
    for seed in 0..5 {
        for story in [two_secondaries, rotation, one_lost] {
            let (one, other) = (story(&terms(seed)), story(&terms(seed)));
            assert!(one.is_success(), "{one}");
            assert_eq!(one, other);
        }
    }
}

#[test]
fn another_seed_gives_another_trace() {
    let mut traces: Vec<_> = (0..5).map(|s| two_secondaries(&terms(s)).trace).collect();
    traces.sort_unstable();
    traces.dedup();
    assert_eq!(traces.len(), 5);
}

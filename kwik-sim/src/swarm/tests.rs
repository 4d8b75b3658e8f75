//! That a swarm has one result, and what it counts.

use std::time::Duration;

use super::*;
use crate::outcome::{Convergence, Ending, Failure, FailureClass, Outcome};

const MS: Duration = Duration::from_millis(1);

/// An invented outcome that differs from seed to seed.
fn outcome(seed: u64) -> Outcome {
    let failure = seed.is_multiple_of(10).then(|| Failure {
        class: match seed % 3 {
            0 => FailureClass::Crash,
            1 => FailureClass::Liveness,
            _ => FailureClass::Correctness,
        },
        rule: "I0",
        detail: format!("seed {seed}"),
        at: Duration::ZERO,
    });
    Outcome {
        ending: if seed.is_multiple_of(2) {
            Ending::Complete
        } else {
            Ending::Degraded
        },
        failure,
        trace: seed * 77,
        datagrams: seed,
        took: MS,
        convergence: Some(Convergence {
            took: MS * u32::try_from(seed % 7).expect("small"),
            bound: 6 * MS,
        }),
        met: if seed.is_multiple_of(2) {
            vec![]
        } else {
            vec!["pause", "crash"]
        },
    }
}

/// A swarm of invented outcomes that stops after some failures. Low seeds take longer, so that on
/// several threads the results come in another order.
fn swarm(threads: usize, failures_max: usize) -> Tally {
    let mut tally = Tally::default();
    let threads = NonZeroUsize::new(threads).expect("some");
    let live = |seed: u64| {
        let work = if seed.is_multiple_of(5) { 200_000 } else { 100 };
        let burnt: u64 = (0..work).fold(seed, |a, b| std::hint::black_box(a ^ b));
        std::hint::black_box(burnt);
        outcome(seed)
    };
    in_order(3..203, threads, live, |seed, outcome| {
        tally.add(seed, outcome);
        if tally.failures().len() < failures_max {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    tally
}

#[test]
fn the_number_of_threads_changes_nothing() {
    for failures_max in [usize::MAX, 5] {
        let one = swarm(1, failures_max);
        for threads in [2, 3, 8] {
            assert_eq!(swarm(threads, failures_max), one, "{threads} threads");
        }
    }
    assert_eq!(swarm(4, 5).count(), 48, "seeds 3 to 50");
    assert_eq!(swarm(4, usize::MAX).count(), 200);
}

#[test]
fn a_tally_counts_outcomes_and_faults() {
    let tally = swarm(2, usize::MAX);
    assert_eq!(tally.failures().len(), 20);
    assert_eq!(tally.ended(Column::Broken), 20);
    assert_eq!(tally.ended(Column::Ended(Ending::Degraded)), 100);
    assert_eq!(tally.ended(Column::Ended(Ending::Complete)), 80);
    assert_eq!(tally.hits("pause", Column::Ended(Ending::Degraded)), 100);
    assert_eq!(tally.hits("none", Column::Broken), 20);
    assert_eq!(tally.worst_class(), Some(FailureClass::Correctness));
    let (seed, worst) = tally.worst_convergence().expect("there is one");
    assert_eq!((seed, worst.took), (6, 6 * MS), "the first of the worst");
}

#[test]
fn the_digest_tells_the_order_of_the_traces() {
    let digest = |seeds: [u64; 2]| {
        let mut tally = Tally::default();
        for seed in seeds {
            tally.add(seed, outcome(seed));
        }
        tally.digest()
    };
    assert_eq!(digest([1, 2]), digest([1, 2]));
    assert_ne!(digest([1, 2]), digest([2, 1]));
    assert_ne!(digest([1, 2]), digest([1, 3]));
}

#[test]
fn a_cell_that_can_happen_and_did_not_is_told() {
    let tally = swarm(2, usize::MAX);
    let expected = [
        ("pause", Ending::Degraded),
        ("pause", Ending::Failed),
        ("storm", Ending::Complete),
    ];
    assert_eq!(
        tally.empty_cells(&expected),
        [("pause", Ending::Failed), ("storm", Ending::Complete)]
    );
    let table = tally.table(&expected).to_string();
    let row = |fault: &str| -> Vec<String> {
        let line = table.lines().find(|line| line.starts_with(fault));
        let words = line.expect("a row").split_whitespace();
        words.skip(1).map(str::to_owned).collect()
    };
    assert_eq!(row("pause"), ["·", "100", "?", "·"], "{table}");
    assert_eq!(row("storm"), ["?", "·", "·", "·"], "{table}");
    assert_eq!(row("none"), ["80", "·", "·", "20"], "{table}");
}

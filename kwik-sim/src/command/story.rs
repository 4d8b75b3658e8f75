//! What happened in one scenario, in a few lines.

use std::collections::BTreeMap;

use kwik_sim::Scenario;
use kwik_sim::outcome::{Ending, Outcome};
use kwik_sim::timeline::recorder::{Fact, Recording};
use kwik_sim::words;

/// The lines, without what failed and the trace.
pub(super) fn lines(
    scenario: &Scenario,
    outcome: &Outcome,
    recording: &Recording,
    crypto: &str,
) -> Vec<String> {
    let mut lines = vec![format!(
        "seed {}: {}; {crypto} crypto",
        scenario.seed,
        words::scenario(scenario)
    )];
    let faults = scenario.faults.iter().map(words::fault);
    lines.extend(faults.map(|fault| format!("  fault   {fault}")));
    lines.extend(path_lines(recording));
    lines.push(format!(
        "  {} after {}, {} datagrams{}",
        ending(outcome),
        words::seconds(outcome.took),
        outcome.datagrams,
        convergence(outcome)
    ));
    lines
}

/// How it ended; an end that was allowed for is not to be taken for a failure.
fn ending(outcome: &Outcome) -> &'static str {
    match (outcome.ending, &outcome.failure) {
        (Ending::Failed, None) => "the session was lost, as it may be with such faults,",
        (Ending::Failed, Some(_)) => "failed  ",
        (Ending::Complete, _) => "complete",
        (Ending::Degraded, _) => "complete, although a path died,",
    }
}

fn convergence(outcome: &Outcome) -> String {
    outcome.convergence.map_or_else(String::new, |convergence| {
        format!(
            "; got over its faults in {} (bound {})",
            words::seconds(convergence.took),
            words::seconds(convergence.bound)
        )
    })
}

/// A line a path: what it brought, and its share.
fn path_lines(recording: &Recording) -> Vec<String> {
    let mut brought: BTreeMap<u64, u64> = BTreeMap::new();
    for (_, fact) in &recording.facts {
        if let Fact::Dialing { path, .. } = fact {
            brought.entry(*path).or_default();
        }
        if let Some((path, bytes)) = fact.arrived() {
            *brought.entry(path).or_default() += bytes.len();
        }
    }
    let total = brought.values().sum();
    let line = |(path, bytes): (u64, u64)| {
        let role = if path == 0 { "primary" } else { "secondary" };
        let share = words::percent(bytes, total);
        let bytes = words::bytes(bytes);
        format!("  path {path:<2} {role:9} {bytes:>10} {share:>8}")
    };
    brought.into_iter().map(line).collect()
}

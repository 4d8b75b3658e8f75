//! `kwik-sim swarm`: many seeds, and what came of them together.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use kwik_sim::atlas::expected_cells;
use kwik_sim::shrink::Symptom;
use kwik_sim::swarm::{self, Column, Tally};
use kwik_sim::{Scenario, trial, words};

use super::args::SwarmArgs;
use super::exit::{Exit, Stop, because, print};
use super::failing;
use super::parts::threads;
use super::stopwatch::Stopwatch;

/// More failures teach nothing new.
const FAILURES_MAX: usize = 20;
/// Failures that are shrunk and printed.
const SHRUNK_MAX: usize = 4;
/// A swarm of so many seeds has no excuse for an empty cell.
const LONG_SWARM: u64 = 100_000;

pub(super) fn run(args: &SwarmArgs) -> Result<Exit, Stop> {
    let (crypto, threads) = (args.crypto.mode(), threads(args.threads));
    let watch = Stopwatch::start();
    let progress = progress(args.seeds);
    let mut tally = Tally::default();
    let seeds = args.from..args.from.saturating_add(args.seeds);
    let scenario = |seed| args.healing.of(Scenario::from_seed(seed));
    let live = |seed| trial::run(&scenario(seed), crypto);
    swarm::in_order(seeds, threads, live, |seed, outcome| {
        tally.add(seed, outcome);
        progress.inc(1);
        if tally.failures().len() < FAILURES_MAX {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    progress.finish_and_clear();
    let elapsed = watch.elapsed();
    print(speed_line(&tally, elapsed, threads.get()))?;
    print_result(args, &tally)?;
    if let Some(ledger) = &args.ledger {
        append(ledger, &ledger_line(args, &tally, elapsed))?;
    }
    print_failures(args, &tally)?;
    verdict(args, &tally)
}

/// A line on a terminal; nothing elsewhere.
fn progress(seeds: u64) -> ProgressBar {
    let template = "{bar:30} {pos} of {len} seeds, {per_sec}, {eta} left";
    let style = ProgressStyle::with_template(template);
    ProgressBar::new(seeds).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn speed_line(tally: &Tally, elapsed: Duration, threads: usize) -> String {
    let (real, lived) = (elapsed.as_secs_f64().max(1e-9), tally.lived().as_secs_f64());
    #[expect(
        clippy::cast_precision_loss,
        reason = "a rate is shown with few digits"
    )]
    let rate = tally.count() as f64 / real;
    #[expect(clippy::cast_precision_loss, reason = "there are not so many threads")]
    let per_core = rate / threads as f64;
    let threads = words::count(threads, "thread");
    format!(
        "{} seeds in {real:.1} s: {rate:.1} a second, {per_core:.1} a core ({threads}); {:.0} times \
         real time, {} datagrams",
        tally.count(),
        lived / real,
        tally.datagrams(),
    )
}

/// Everything that follows from the seeds alone.
fn print_result(args: &SwarmArgs, tally: &Tally) -> Result<(), Stop> {
    let counts = Column::ALL.map(|column| format!("{} {}", tally.ended(column), column.name()));
    print(counts.join(", "))?;
    print(tally.table(expected_cells()))?;
    if let Some((seed, worst)) = tally.worst_convergence() {
        print(format_args!(
            "slowest to get over its faults: seed {seed}, {} of {}",
            words::seconds(worst.took),
            words::seconds(worst.bound)
        ))?;
    }
    if tally.count() < args.seeds {
        let (count, failures) = (tally.count(), tally.failures().len());
        print(format_args!(
            "stopped after {failures} failures in {count} seeds"
        ))?;
    }
    print(format_args!("digest {:016x}", tally.digest()))
}

fn print_failures(args: &SwarmArgs, tally: &Tally) -> Result<(), Stop> {
    for (seed, failure) in tally.failures() {
        let (healing, crypto) = (args.healing.option(), args.crypto.option());
        let options = format!(" --seed {seed}{healing}{crypto}");
        failing::say(failure, &options)?;
    }
    // One of each kind: the second would shrink to the same.
    let mut kinds = BTreeSet::new();
    let firsts = tally.failures().iter();
    let firsts = firsts.filter(|(_, failure)| kinds.insert(Symptom::of(failure)));
    for (seed, failure) in firsts.take(SHRUNK_MAX) {
        print(format_args!("seed {seed}"))?;
        let scenario = args.healing.of(Scenario::from_seed(*seed));
        failing::print_shrunk(&scenario, failure, args.crypto.mode())?;
    }
    Ok(())
}

fn verdict(args: &SwarmArgs, tally: &Tally) -> Result<Exit, Stop> {
    if let Some(class) = tally.worst_class() {
        return Ok(Exit::Broken(class));
    }
    let empty = tally.empty_cells(expected_cells());
    // Where everything heals, there are cells that nothing can fill.
    if args.seeds < LONG_SWARM || args.healing.is_on() || empty.is_empty() {
        return Ok(Exit::Clean);
    }
    for (fault, ending) in empty {
        print(format_args!("never seen: {fault}, {}", ending.name()))?;
    }
    Ok(Exit::Incomplete)
}

/// What is kept of a run. Two runs of the same seeds must agree in the digest.
fn ledger_line(args: &SwarmArgs, tally: &Tally, elapsed: Duration) -> String {
    format!(
        "version={}{} from={} count={}{} crypto={} seconds={:.1} failures={} digest={:016x}",
        env!("CARGO_PKG_VERSION"),
        // What only assertions would have seen is seen with them alone.
        if cfg!(debug_assertions) {
            "+assertions"
        } else {
            ""
        },
        args.from,
        tally.count(),
        args.healing.option(),
        args.crypto.name(),
        elapsed.as_secs_f64(),
        tally.failures().len(),
        tally.digest(),
    )
}

fn append(ledger: &Path, line: &str) -> Result<(), Stop> {
    let file = OpenOptions::new().create(true).append(true).open(ledger);
    // In one piece: several processes may keep one ledger.
    file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()))
        .map_err(because(format!("cannot append to {}", ledger.display())))
}

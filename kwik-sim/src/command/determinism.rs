//! `kwik-sim determinism`: each seed in two processes.
//!
//! Two processes differ in what one process cannot: where memory lies, what the random keys of hash
//! tables are, when threads run.

use std::io::{BufRead, BufReader, Lines};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::process::{Child, ChildStdout, Command, Stdio};

use kwik_sim::outcome::{FailureClass, Outcome};
use kwik_sim::{Scenario, swarm, trial};

use super::args::DeterminismArgs;
use super::exit::{Exit, Stop, because, print};
use super::parts::threads;

/// Mismatches that are printed; all are counted.
const SHOWN_MAX: u64 = 20;

pub(super) fn run(args: &DeterminismArgs) -> Result<Exit, Stop> {
    let mut processes = [Outcomes::start(args)?, Outcomes::start(args)?];
    let [one, other] = &mut processes;
    let mut mismatches = 0;
    for seed in seeds(args) {
        let (one, other) = (one.next(seed)?, other.next(seed)?);
        if one != other {
            mismatches += 1;
            if mismatches <= SHOWN_MAX {
                let (healing, crypto) = (args.healing.option(), args.crypto.option());
                print(format_args!("seed {seed}{healing}{crypto}:"))?;
                for (one, other) in differences(&one, &other) {
                    print(format_args!(
                        "    {one} in one process, {other} in the other"
                    ))?;
                }
            }
        }
    }
    for process in processes {
        process.end()?;
    }
    print(format_args!(
        "{} seeds in two processes: {mismatches} differ",
        args.seeds
    ))?;
    Ok(match mismatches {
        0 => Exit::Clean,
        _ => Exit::Broken(FailureClass::Correctness),
    })
}

/// `kwik-sim outcomes`: what each of the two processes runs.
pub(super) fn print_outcomes(args: &DeterminismArgs) -> Result<Exit, Stop> {
    let crypto = args.crypto.mode();
    // Two of us share the cores.
    let threads = NonZeroUsize::new(threads(None).get() / 2).unwrap_or(NonZeroUsize::MIN);
    let mut result = Ok(());
    let scenario = |seed| args.healing.of(Scenario::from_seed(seed));
    let live = |seed| trial::run(&scenario(seed), crypto);
    swarm::in_order(seeds(args), threads, live, |seed, outcome| {
        result = print(format_args!("{seed} {}", line(&outcome)));
        match result {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    });
    result.map(|()| Exit::Clean)
}

/// Between the parts of an outcome. Nothing in it has one: those of a text are escaped.
const SEPARATOR: char = '\t';

/// All of an outcome in one line.
fn line(outcome: &Outcome) -> String {
    // Without `..`, so that a new part cannot be forgotten here.
    let Outcome {
        ending,
        failure,
        trace,
        datagrams,
        took,
        convergence,
        met,
    } = outcome;
    [
        format!("ending {}", ending.name()),
        format!("failure {failure:?}"),
        format!("trace {trace:016x}"),
        format!("datagrams {datagrams}"),
        format!("took {took:?}"),
        format!("convergence {convergence:?}"),
        format!("met {met:?}"),
    ]
    .join(&SEPARATOR.to_string())
}

/// The parts in which two outcomes differ.
fn differences<'a>(one: &'a str, other: &'a str) -> Vec<(&'a str, &'a str)> {
    let parts = one.split(SEPARATOR).zip(other.split(SEPARATOR));
    parts.filter(|(one, other)| one != other).collect()
}

fn seeds(args: &DeterminismArgs) -> std::ops::Range<u64> {
    args.from..args.from.saturating_add(args.seeds)
}

/// A process that prints what came of seeds.
struct Outcomes {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Outcomes {
    fn start(args: &DeterminismArgs) -> Result<Self, Stop> {
        let program = std::env::current_exe().map_err(because("cannot find myself"))?;
        let mut child = Command::new(program)
            .args(["outcomes", "--crypto", args.crypto.name()])
            .args(args.healing.option().split_whitespace())
            .args(["--seeds", &args.seeds.to_string()])
            .args(["--from", &args.from.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(because("cannot start myself"))?;
        let stdout = child.stdout.take();
        let stdout = stdout.ok_or_else(|| Stop::failed("a process without an output"))?;
        let lines = BufReader::new(stdout).lines();
        Ok(Self { child, lines })
    }

    /// What came of the next seed, which must be this one.
    fn next(&mut self, seed: u64) -> Result<String, Stop> {
        let line = self.lines.next().transpose();
        let line = line.map_err(because("cannot read from a process"))?;
        let outcome = line.as_deref().and_then(|line| line.split_once(' '));
        match outcome {
            Some((named, outcome)) if named == seed.to_string() => Ok(outcome.to_owned()),
            _ => Err(Stop::failed(format!("a process ended before seed {seed}"))),
        }
    }

    fn end(mut self) -> Result<(), Stop> {
        let status = self
            .child
            .wait()
            .map_err(because("cannot wait for a process"))?;
        if status.success() {
            Ok(())
        } else {
            Err(Stop::failed(format!("a process ended with {status}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kwik_sim::outcome::{Convergence, Ending, Failure};

    use super::*;

    /// A change of the part of an outcome that has this name.
    type Change = (&'static str, fn(&mut Outcome));

    #[test]
    fn two_outcomes_that_differ_in_anything_differ_there_alone() {
        let outcome = Outcome {
            ending: Ending::Complete,
            failure: None,
            trace: 1,
            datagrams: 2,
            took: Duration::from_secs(3),
            convergence: None,
            met: vec!["cut"],
        };
        let changes: [Change; 7] = [
            ("ending", |o| o.ending = Ending::Degraded),
            ("failure", |o| {
                o.failure = Some(Failure {
                    class: FailureClass::Crash,
                    rule: "I11",
                    detail: "two\tparts\nand lines".to_owned(),
                    at: Duration::ZERO,
                });
            }),
            ("trace", |o| o.trace = 7),
            ("datagrams", |o| o.datagrams = 7),
            ("took", |o| o.took = Duration::from_nanos(3_000_000_001)),
            ("convergence", |o| {
                o.convergence = Some(Convergence {
                    took: Duration::ZERO,
                    bound: Duration::ZERO,
                });
            }),
            ("met", |o| o.met.clear()),
        ];
        let one = line(&outcome);
        assert!(differences(&one, &one).is_empty());
        for (name, change) in changes {
            let mut changed = outcome.clone();
            change(&mut changed);
            let other = line(&changed);
            let differences = differences(&one, &other);
            assert!(
                !other.contains('\n') && differences.len() == 1,
                "{differences:?}"
            );
            assert!(differences[0].1.starts_with(name), "{differences:?}");
        }
    }
}

//! `kwik-sim determinism`: each seed in two processes.
//!
//! Two processes differ in what one process cannot: where memory lies, what the random keys of hash
//! tables are, when threads run.

use std::io::{BufRead, BufReader, Lines};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::process::{Child, ChildStdout, Command, Stdio};

use kwik_sim::outcome::FailureClass;
use kwik_sim::{Scenario, swarm, trial};

use super::args::DeterminismArgs;
use super::exit::{Exit, Stop, because, print};
use super::parts::threads;

/// Mismatches that are printed; all are counted.
const SHOWN_MAX: u64 = 20;

pub(super) fn run(args: &DeterminismArgs) -> Result<Exit, Stop> {
    let mut processes = [Traces::start(args)?, Traces::start(args)?];
    let [one, other] = &mut processes;
    let mut mismatches = 0;
    for seed in seeds(args) {
        let (one, other) = (one.next(seed)?, other.next(seed)?);
        if one != other {
            mismatches += 1;
            if mismatches <= SHOWN_MAX {
                print(format_args!(
                    "seed {seed}: {one} in one process, {other} in the other"
                ))?;
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

/// `kwik-sim traces`: what each of the two processes runs.
pub(super) fn print_traces(args: &DeterminismArgs) -> Result<Exit, Stop> {
    let crypto = args.crypto.mode();
    // Two of us share the cores.
    let threads = NonZeroUsize::new(threads(None).get() / 2).unwrap_or(NonZeroUsize::MIN);
    let mut result = Ok(());
    let live = |seed| trial::run(&Scenario::from_seed(seed), crypto).trace;
    swarm::in_order(seeds(args), threads, live, |seed, trace| {
        result = print(format_args!("{seed} {trace:016x}"));
        match result {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    });
    result.map(|()| Exit::Clean)
}

fn seeds(args: &DeterminismArgs) -> std::ops::Range<u64> {
    args.from..args.from.saturating_add(args.seeds)
}

/// A process that prints traces.
struct Traces {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Traces {
    fn start(args: &DeterminismArgs) -> Result<Self, Stop> {
        let program = std::env::current_exe().map_err(because("cannot find myself"))?;
        let mut child = Command::new(program)
            .args(["traces", "--crypto", args.crypto.name()])
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

    /// The trace of the next seed, which must be this one.
    fn next(&mut self, seed: u64) -> Result<String, Stop> {
        let line = self.lines.next().transpose();
        let line = line.map_err(because("cannot read from a process"))?;
        let trace = line.as_deref().and_then(|line| line.split_once(' '));
        match trace {
            Some((named, trace)) if named == seed.to_string() => Ok(trace.to_owned()),
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

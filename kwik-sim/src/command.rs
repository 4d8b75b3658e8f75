//! The `kwik-sim` command: trials from a terminal.
//!
//! Owns what lies between the command line and the simulator: arguments, what is shown, files, real
//! time and processes. Never judges a scenario.

mod args;
mod determinism;
mod exit;
mod failing;
mod list;
mod masks;
mod parts;
mod run;
mod shrink;
mod stopwatch;
mod story;
mod swarm;

use std::process::ExitCode;

use clap::Parser;

use self::args::{Args, Command};
use self::exit::{Exit, Stop, report};

/// Runs the command that the process was started with.
pub(crate) fn run() -> ExitCode {
    match Args::try_parse() {
        Ok(args) => report(dispatch(args.command)),
        Err(error) if error.use_stderr() => report(Err(Stop::usage(args::usage_line(&error)))),
        Err(help) => match help.print() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
    }
}

fn dispatch(command: Command) -> Result<Exit, Stop> {
    match command {
        Command::Run(args) => run::run(&args),
        Command::Swarm(args) => swarm::run(&args),
        Command::Determinism(args) => determinism::run(&args),
        Command::Outcomes(args) => determinism::print_outcomes(&args),
        Command::Shrink(args) => shrink::run(&args),
        Command::Masks(args) => masks::run(&args),
        Command::List => list::run(),
    }
}

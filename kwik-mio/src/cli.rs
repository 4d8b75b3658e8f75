//! The `kwik` command.
//!
//! Owns everything between the command line and the library: arguments, keys, files, processes,
//! what is shown, and the exit code.

mod args;
mod demo;
mod failure;
mod get;
mod identity;
mod keygen;
mod logging;
mod pin;
mod private;
mod random;
mod serve;
mod signal;
mod url;

use std::process::ExitCode;

use clap::Parser;

use self::args::{Args, Command};
use self::failure::Failure;

/// Runs the command that the process was started with.
#[must_use]
pub fn run() -> ExitCode {
    match Args::try_parse() {
        Ok(args) => match dispatch(args.command) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => failure.report(),
        },
        Err(error) if error.use_stderr() => Failure::usage(args::usage_line(&error)).report(),
        Err(help) => match help.print() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
    }
}

fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(args) => serve::run(&args),
        Command::Get(args) => get::run(args),
        Command::Keygen(args) => keygen::run(&args),
        Command::Demo(args) => demo::run(&args),
    }
}

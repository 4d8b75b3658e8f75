//! How the command ends, and the only place that writes to the terminal.
//!
//! Owns the exit codes. Those of a rule that was broken are the simulator's.

use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use kwik_sim::outcome::{Failure, FailureClass};

/// How a command ended that did what it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// All went well.
    Clean,
    /// Not enough was seen to say so.
    Incomplete,
    /// A rule was broken.
    Broken(FailureClass),
}

impl Exit {
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Incomplete => 1,
            Self::Broken(class) => class.exit_code(),
        }
    }
}

impl From<Option<&Failure>> for Exit {
    fn from(failure: Option<&Failure>) -> Self {
        failure.map_or(Self::Clean, |failure| Self::Broken(failure.class))
    }
}

/// Why a command could not do what it was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stop {
    code: u8,
    /// `None`: there is nobody to tell.
    message: Option<String>,
}

impl Stop {
    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self {
            code: 1,
            message: Some(message.into()),
        }
    }

    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self {
            code: 2,
            message: Some(message.into()),
        }
    }
}

/// Prefixes what failed to why.
pub(super) fn because(what: impl Display) -> impl FnOnce(std::io::Error) -> Stop {
    move |error| Stop::failed(format!("{what}: {error}"))
}

/// What to leave the process with; says why, if it was stopped.
pub(super) fn report(result: Result<Exit, Stop>) -> ExitCode {
    match result {
        Ok(exit) => exit.code().into(),
        Err(stop) => {
            if let Some(message) = stop.message {
                // If stderr is gone there is nobody to tell.
                let _ = writeln!(std::io::stderr().lock(), "kwik-sim: {message}");
            }
            stop.code.into()
        }
    }
}

/// Prints a line, or several.
pub(super) fn print(text: impl Display) -> Result<(), Stop> {
    let mut stdout = std::io::stdout().lock();
    let written = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
    written.map_err(|error| {
        if error.kind() == ErrorKind::BrokenPipe {
            // Whoever read it has enough.
            Stop {
                code: 1,
                message: None,
            }
        } else {
            because("cannot write to stdout")(error)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ending_has_its_exit_code() {
        let broken = |class| Exit::Broken(class).code();
        assert_eq!(Exit::Clean.code(), 0);
        assert_eq!(Exit::Incomplete.code(), 1);
        assert_eq!(broken(FailureClass::Crash), 127);
        assert_eq!(broken(FailureClass::Liveness), 128);
        assert_eq!(broken(FailureClass::Correctness), 129);
        assert_eq!(Stop::usage("").code, 2);
    }
}

//! How the command ends when it does not end well.
//!
//! Owns the exit codes and the one line on stderr.

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

/// What kind of failure it is, which is all that the exit code tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// It could not be done.
    Failed,
    /// It was asked for in a way that makes no sense.
    Usage,
    /// The server or the content is not what it should be.
    Unverified,
    /// The user had enough of it.
    Interrupted,
}

impl Exit {
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unverified => 3,
            Self::Interrupted => 130,
        }
    }
}

/// Why the command ends, in words for its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    /// `None`: there is nobody to tell.
    pub(super) message: Option<String>,
}

impl Failure {
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: Some(message.into()),
        }
    }

    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub(super) fn unverified(message: impl Into<String>) -> Self {
        Self::new(Exit::Unverified, message)
    }

    pub(super) fn interrupted() -> Self {
        Self::new(Exit::Interrupted, "interrupted")
    }

    pub(super) const fn quiet(exit: Exit) -> Self {
        Self {
            exit,
            message: None,
        }
    }

    /// Says it on stderr, and what to leave the process with.
    pub(super) fn report(&self) -> ExitCode {
        if let Some(message) = &self.message {
            say(message);
        }
        ExitCode::from(self.exit.code())
    }
}

/// Prefixes what failed to why.
pub(super) fn because(what: impl Display) -> impl FnOnce(std::io::Error) -> Failure {
    move |error| Failure::failed(format!("{what}: {error}"))
}

/// One line to the user. Where stderr leads to is none of our business: nobody is told if it fails.
pub(super) fn say(message: &str) {
    let _ = writeln!(std::io::stderr().lock(), "kwik: {}", printable(message));
}

/// What a terminal cannot mistake for a command, on one line: parts of a message may come from a
/// peer.
pub(super) fn printable(text: &str) -> String {
    let escape = |c: char| {
        let (plain, escaped) = if c.is_control() {
            (None, Some(c.escape_debug()))
        } else {
            (Some(c), None)
        };
        plain.into_iter().chain(escaped.into_iter().flatten())
    };
    text.chars().flat_map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_stays_on_its_line_and_commands_no_terminal() {
        assert_eq!(
            printable("a\nb\u{1b}[2Jc\u{9b}é"),
            "a\\nb\\u{1b}[2Jc\\u{9b}é"
        );
    }
}

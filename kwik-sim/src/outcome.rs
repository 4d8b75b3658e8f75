//! What came of a scenario.
//!
//! Owns the words for it: how it ended, what was wrong with that, and the process exit code that
//! tells the kinds of failure apart.

use std::fmt;
use std::time::Duration;

/// What came of a scenario. Two runs of one scenario have the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// What was wrong, if anything.
    pub failure: Option<Failure>,
    /// The hash over all datagrams.
    pub trace: u64,
    /// Datagrams that were sent.
    pub datagrams: u64,
    /// Virtual time that passed until it ended.
    pub took: Duration,
    /// Time from the moment at which the last fault had healed to the end of the transfers, and the
    /// bound on it; none if nothing was promised.
    pub convergence: Option<Convergence>,
    /// Faults that came before the end, by name, each once.
    pub met: Vec<&'static str>,
}

/// How a scenario ended, as far as the client can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// Everything was read, and no path died.
    Complete,
    /// Everything was read, although paths died.
    Degraded,
    /// The session, or a stream, ended with an error that was allowed for.
    Failed,
}

/// How long it took to get over the faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convergence {
    /// From the moment at which the last fault had healed.
    pub took: Duration,
    /// At most so long was allowed.
    pub bound: Duration,
}

/// What was wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Of which kind.
    pub class: FailureClass,
    /// Which rule was broken: the name of an invariant, or what was promised.
    pub rule: &'static str,
    /// What was seen, in words.
    pub detail: String,
    /// When, since the world began.
    pub at: Duration,
}

/// Kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureClass {
    /// A panic.
    Crash,
    /// Something that must happen did not, in time.
    Liveness,
    /// Something happened that must not.
    Correctness,
}

impl FailureClass {
    /// The exit code of a process that found it.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Crash => 127,
            Self::Liveness => 128,
            Self::Correctness => 129,
        }
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Crash => "crash",
            Self::Liveness => "liveness",
            Self::Correctness => "correctness",
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at.as_secs_f64();
        write!(
            f,
            "{} at {at:.3} s: {}: {}",
            self.class, self.rule, self.detail
        )
    }
}

impl Ending {
    /// Its name, as the counts of a swarm have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
        }
    }
}

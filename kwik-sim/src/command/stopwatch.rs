//! Real time: how long the command itself takes.

use std::time::{Duration, Instant};

/// Started when it is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(
        clippy::disallowed_methods,
        reason = "only the speed of the command depends on it, nothing in a world"
    )]
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "only the speed of the command depends on it, nothing in a world"
    )]
    pub(super) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

//! The state of one secondary path at the client. Only this file can change it.
//!
//! ```text
//! Dialing ──► Joining ──► Active ──► Retiring ──► Retired
//!    │           │           │           │
//!    └───────────┴───────────┴───────────┴──► Dead   (and ──► Retired, if retired before Active)
//! ```

use super::PathPhase;

/// Where a path is; transitions only forward, and never back from an end [PATH-10].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PathState(PathPhase);

impl PathState {
    pub(crate) const fn new() -> Self {
        Self(PathPhase::Dialing)
    }

    pub(crate) const fn phase(self) -> PathPhase {
        self.0
    }

    /// The connection stands. False if that was not awaited.
    pub(crate) fn on_connected(&mut self) -> bool {
        self.step(PathPhase::Dialing, PathPhase::Joining)
    }

    /// The secondary accepted the join. False if that was not awaited.
    pub(crate) fn on_joined(&mut self) -> bool {
        self.step(PathPhase::Joining, PathPhase::Active)
    }

    /// The primary retires the path. True if its grants may still finish; otherwise the caller ends
    /// it at once.
    pub(crate) fn on_retire(&mut self) -> bool {
        self.step(PathPhase::Active, PathPhase::Retiring)
    }

    /// The path has ended. False if it had before: an end is told once.
    pub(crate) fn end(&mut self, phase: PathPhase) -> bool {
        debug_assert!(phase.has_ended(), "a path ends as dead or retired");
        if self.0.has_ended() {
            return false;
        }
        self.0 = phase;
        true
    }

    fn step(&mut self, from: PathPhase, to: PathPhase) -> bool {
        let fits = self.0 == from;
        if fits {
            self.0 = to;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [PATH-10]
    #[test]
    fn a_dead_path_never_comes_back() {
        let mut state = PathState::new();
        assert!(state.on_connected());
        assert!(state.end(PathPhase::Dead));
        assert!(!state.on_joined() && !state.on_connected() && !state.on_retire());
        assert!(!state.end(PathPhase::Retired), "an end is told once");
        assert_eq!(state.phase(), PathPhase::Dead);
    }
}

//! The state of one secondary path at the client. Only this file can change it.
//!
//! ```text
//!    ┌─ redial ──┐
//!    ▼           │
//! Dialing ──► Joining ──► Active ──► Retiring ──► Retired
//!    │           │           │           │
//!    └───────────┴───────────┴───────────┴──► Dead   (and ──► Retired, if retired before Active)
//! ```
//!
//! A redial is the only way back: a fresh connection has its join before it [PATH-5].

use super::PathPhase;

/// Where a path is; transitions only forward, but for a redial, and never back from an end
/// [PATH-10].
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

    /// A fresh connection takes the place of one that did not lead to a join. False if none is
    /// awaited.
    pub(crate) fn on_redial(&mut self) -> bool {
        match self.0 {
            PathPhase::Dialing => true,
            PathPhase::Joining => self.step(PathPhase::Joining, PathPhase::Dialing),
            PathPhase::Active | PathPhase::Retiring | PathPhase::Dead | PathPhase::Retired => false,
        }
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
        assert!(!state.on_redial());
        assert!(!state.end(PathPhase::Retired), "an end is told once");
        assert_eq!(state.phase(), PathPhase::Dead);
    }
    /// [PATH-5]
    #[test]
    fn a_redial_leads_from_a_join_back_to_a_dial_and_from_nowhere_else() {
        let mut state = PathState::new();
        assert!(state.on_redial());
        assert!(state.on_connected() && state.on_redial());
        assert_eq!(state.phase(), PathPhase::Dialing);
        assert!(!state.on_joined(), "what was asked before does not count");
        assert!(state.on_connected() && state.on_joined());
        assert!(!state.on_redial() && state.phase() == PathPhase::Active);
        assert!(state.on_retire() && !state.on_redial());
    }
}

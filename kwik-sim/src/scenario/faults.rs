//! Whom a fault befalls, and for how long.

use std::time::Duration;

use super::{FaultKind, Scenario, Who};
use crate::app::Conduct;

impl FaultKind {
    /// The host that it befalls; none if it is the client's links or its NAT.
    #[must_use]
    pub const fn who(&self) -> Option<Who> {
        Some(match *self {
            Self::Crash(who) | Self::Poke(who) | Self::Meddle(who) => who,
            Self::Restart { who, .. } | Self::Pause { who, .. } | Self::ClockJump { who, .. } => {
                who
            }
            Self::Cut { server, .. }
            | Self::Storm { server, .. }
            | Self::BlackHole { server, .. } => server,
            Self::Retire(index) | Self::AddAgain(index) => Who::Secondary(index),
            Self::Outage { .. } | Self::Rebind { .. } => return None,
        })
    }

    /// How long a fault lasts; `None` if it is over at once or never.
    #[must_use]
    pub const fn lasts(&self) -> Option<Duration> {
        match self {
            Self::Restart { down: lasts, .. }
            | Self::Pause { lasts, .. }
            | Self::Cut { lasts, .. }
            | Self::Outage { lasts }
            | Self::Storm { lasts, .. } => Some(*lasts),
            Self::Crash(_)
            | Self::BlackHole { .. }
            | Self::Rebind { .. }
            | Self::ClockJump { .. }
            | Self::Retire(_)
            | Self::AddAgain(_)
            | Self::Poke(_)
            | Self::Meddle(_) => None,
        }
    }

    /// Whether a program ends without a word.
    pub(crate) const fn is_death(&self) -> bool {
        matches!(self, Self::Crash(_) | Self::Restart { .. })
    }

    /// Makes it befall another secondary, if it befalls one.
    pub(crate) const fn set_secondary(&mut self, other: usize) {
        match self {
            Self::Crash(who) | Self::Poke(who) | Self::Meddle(who) => who.set_secondary(other),
            Self::Restart { who, .. } | Self::Pause { who, .. } | Self::ClockJump { who, .. } => {
                who.set_secondary(other);
            }
            Self::Cut { server, .. }
            | Self::Storm { server, .. }
            | Self::BlackHole { server, .. } => server.set_secondary(other),
            Self::Retire(index) | Self::AddAgain(index) => *index = other,
            Self::Outage { .. } | Self::Rebind { .. } => {}
        }
    }

    /// Whether it befalls servers alone: the client is none.
    const fn is_for_servers(&self) -> bool {
        match self {
            Self::Crash(_)
            | Self::Restart { .. }
            | Self::Cut { .. }
            | Self::Storm { .. }
            | Self::BlackHole { .. }
            | Self::Retire(_)
            | Self::AddAgain(_) => true,
            Self::Pause { .. }
            | Self::Outage { .. }
            | Self::Rebind { .. }
            | Self::ClockJump { .. }
            | Self::Poke(_)
            | Self::Meddle(_) => false,
        }
    }
}

impl Who {
    const fn set_secondary(&mut self, other: usize) {
        match self {
            Self::Secondary(index) => *index = other,
            Self::Client | Self::Primary => {}
        }
    }
}

impl Scenario {
    /// Whether every fault has somebody whom it can befall, the primary is honest, and marks harm nobody.
    #[must_use]
    pub fn is_coherent(&self) -> bool {
        let is_honest = matches!(
            self.primary.conduct,
            Conduct::Honest { .. } | Conduct::Slow { .. }
        );
        is_honest
            && (!self.marks || self.may_have_marks())
            && self.faults.iter().all(|fault| match fault.what.who() {
                None | Some(Who::Primary) => true,
                Some(Who::Client) => !fault.what.is_for_servers(),
                Some(Who::Secondary(index)) => index < self.secondaries.len(),
            })
    }
}

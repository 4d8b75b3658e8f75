//! Rules that every program keeps, and who broke one.

use std::fmt;
use std::time::Duration;

use super::HostId;
use super::machine::STEPS_PER_INSTANT_MAX;
use crate::host::Unrest;

/// A program broke a rule that holds for all of them; its host was halted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorldFault {
    /// Whose program.
    pub host: HostId,
    /// When.
    pub at: Duration,
    /// What it did.
    pub what: FaultOf,
}

/// What a program did that none may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultOf {
    /// It had something to do again and again while the time stood still. If several keep each
    /// other busy, it is whoever comes first.
    NeverDone,
    /// It was not at rest when it had to be.
    Unrest(Unrest),
}

impl FaultOf {
    /// Which [invariant](crate::oracle) it broke.
    #[must_use]
    pub const fn rule(self) -> &'static str {
        match self {
            Self::NeverDone => "I13",
            Self::Unrest(Unrest::TimerDue { .. }) => "I14",
            Self::Unrest(Unrest::EventsWithoutEnd) => "I13",
        }
    }
}

impl fmt::Display for WorldFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, at) = (self.host.ordinal(), self.at);
        write!(f, "host {host} at {at:?}: {}: ", self.what.rule())?;
        match self.what {
            FaultOf::NeverDone => {
                write!(f, "not done after {STEPS_PER_INSTANT_MAX} steps")
            }
            FaultOf::Unrest(Unrest::TimerDue { since }) => {
                write!(f, "a deadline is due for {since:?} although it was handled")
            }
            FaultOf::Unrest(Unrest::EventsWithoutEnd) => f.write_str("each event brings another"),
        }
    }
}

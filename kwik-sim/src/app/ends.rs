//! Answers that end before their end, because somebody gives up.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How an answer ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ends {
    /// Where all of it was brought and read.
    #[default]
    Whole,
    /// The reader wants no more of it once it has read a share.
    Stopped {
        /// How much of it is read, of a hundred.
        percent: u8,
        /// With which code.
        code: u64,
    },
    /// The primary gives it up before it has told the end. It comes on the stream of the request: of
    /// those that a primary opens, a reader does not know which is which.
    Reset {
        /// How long after it was begun.
        #[serde(with = "humantime_serde")]
        after: Duration,
        /// With which code.
        code: u64,
    },
    /// The client takes the request back before it is whole, and the primary gives up the stream with
    /// the same code.
    TakenBack {
        /// With which code.
        code: u64,
    },
}

/// When a primary is to give up an answer, as the request tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GiveUp {
    /// How long after it was begun.
    pub(super) after: Duration,
    /// With which code.
    pub(super) code: u64,
}

impl Ends {
    /// Its name, as the counts of a swarm have it; none if it is as always.
    #[must_use]
    pub const fn name(&self) -> Option<&'static str> {
        match self {
            Self::Whole => None,
            Self::Stopped { .. } => Some("stopped"),
            Self::Reset { .. } => Some("reset"),
            Self::TakenBack { .. } => Some("taken-back"),
        }
    }

    pub(super) fn is_whole(&self) -> bool {
        *self == Self::Whole
    }

    /// How long nothing need happen before it ends.
    #[must_use]
    pub const fn delay(&self) -> Duration {
        match self {
            Self::Reset { after, .. } => *after,
            Self::Whole | Self::Stopped { .. } | Self::TakenBack { .. } => Duration::ZERO,
        }
    }

    /// What the primary has to be told.
    pub(super) const fn give_up(&self) -> Option<GiveUp> {
        match *self {
            Self::Reset { after, code } => Some(GiveUp { after, code }),
            Self::Whole | Self::Stopped { .. } | Self::TakenBack { .. } => None,
        }
    }

    /// The bytes, of so many, after which the reader wants no more, and the code that it says then.
    pub(super) fn stop(&self, bytes: u64) -> Option<(u64, u64)> {
        match *self {
            Self::Stopped { percent, code } => {
                let share = u128::from(bytes) * u128::from(percent.min(100)) / 100;
                Some((u64::try_from(share).unwrap_or(bytes), code))
            }
            Self::Whole | Self::Reset { .. } | Self::TakenBack { .. } => None,
        }
    }

    /// Whether a stream is to end with this code of the primary's.
    pub(super) const fn expects_reset(&self, with: u64) -> bool {
        match *self {
            Self::Reset { code, .. } | Self::TakenBack { code } => code == with,
            Self::Whole | Self::Stopped { .. } => false,
        }
    }

    /// Whether a stream that was read so far, of so many bytes, has ended as it was to: before its end,
    /// or there.
    pub(super) const fn is_right(&self, gave_up: bool, read: u64, bytes: u64) -> bool {
        match self {
            Self::Whole => !gave_up && read == bytes,
            // Of all of it the end may come along with the last byte.
            Self::Stopped { .. } => gave_up || read == bytes,
            Self::Reset { .. } | Self::TakenBack { .. } => gave_up,
        }
    }
}

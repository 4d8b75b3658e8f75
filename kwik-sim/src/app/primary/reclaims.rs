//! Grants that a primary takes back while they are being filled.
//!
//! Owns which, and when. What is missing of them then goes to somebody else, as that of any lost one.

use std::collections::BTreeMap;
use std::time::Duration;

use kwik_core::endpoint;
use kwik_core::error::{Misuse, StreamError};
use kwik_core::ids::{GrantId, PathId, StreamId};
use serde::{Deserialize, Serialize};

use super::session::Session;

/// Which grants a delegating primary takes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revokes {
    /// One of so many. With one of one, nothing would ever be brought.
    pub one_of: u32,
    /// How long after it was given, unless it has ended by then.
    #[serde(with = "humantime_serde")]
    pub after: Duration,
}

/// The grants that are to be taken back.
#[derive(Default)]
pub(super) struct Reclaims {
    spec: Option<Revokes>,
    given: u32,
    due: BTreeMap<GrantId, Duration>,
    /// Those that were.
    pub(super) taken_back: Vec<GrantId>,
}

impl Reclaims {
    pub(super) fn new(spec: Option<Revokes>) -> Self {
        Self {
            spec,
            ..Self::default()
        }
    }

    pub(super) fn note_given(&mut self, grant: GrantId, time: Duration) {
        let Some(Revokes { one_of, after }) = self.spec else {
            return;
        };
        self.given += 1;
        if self.given.is_multiple_of(one_of.max(2)) {
            self.due.insert(grant, time + after);
        }
    }

    pub(super) fn note_ended(&mut self, grant: GrantId) {
        self.due.remove(&grant);
    }

    /// When the next is to be taken back.
    pub(super) fn next_at(&self) -> Option<Duration> {
        self.due.values().copied().min()
    }
}

impl Session {
    /// Takes back the grants whose time has come.
    pub(super) fn take_back(
        &mut self,
        primary: &mut endpoint::Primary<'_>,
    ) -> Result<(), StreamError> {
        let time = self.time;
        let due = self.reclaims.due.iter().filter(|(_, at)| **at <= time);
        for grant in due.map(|(&grant, _)| grant).collect::<Vec<_>>() {
            self.reclaims.due.remove(&grant);
            match primary.revoke(grant) {
                Ok(()) => self.reclaims.taken_back.push(grant),
                // Its end is about to be told.
                Err(Misuse::UnknownGrant(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// What a path has not brought is somebody else's turn first.
    pub(super) fn pass_over(&mut self, stream: StreamId, path: PathId) {
        let place = self.paths.iter().position(|&p| p == path);
        if let (Some(place), Some(shared)) = (place, self.shared.get_mut(&stream)) {
            // The hand of a path is one behind its place, because the first is the primary's own.
            shared.turn = place + 2;
        }
    }
}

//! What a primary session counts.

use super::PrimarySession;

/// Counts of a primary session, since its beginning. Grants are those of the application and those of
/// plans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrimaryStats {
    /// Grants that were given.
    pub grants_given: u64,
    /// Grants that have no final status yet.
    pub grants_live: u64,
    /// Bytes of the ranges that were granted, each as often as it was; those of an open grant count
    /// when it has ended.
    pub granted_bytes: u64,
    /// Bytes that final statuses reported missing.
    pub lost_bytes: u64,
    /// Statuses behind the final one of their grant, which are ignored: a client that keeps the
    /// protocol sends none.
    pub late_statuses: u64,
}

/// The counters behind [`PrimaryStats`].
#[derive(Default)]
pub(super) struct Counters {
    pub(super) granted_bytes: u64,
    pub(super) lost_bytes: u64,
    pub(super) late_statuses: u64,
}

impl PrimarySession {
    pub(crate) fn stats(&self) -> PrimaryStats {
        let counters = &self.grants.counters;
        PrimaryStats {
            grants_given: self.grants.given(),
            grants_live: self.grants.live_count(),
            granted_bytes: counters.granted_bytes,
            lost_bytes: counters.lost_bytes,
            late_statuses: counters.late_statuses,
        }
    }
}

//! How full a session of a primary is.

use super::PrimarySession;
use crate::session::gauges::PrimaryGauges;

impl PrimarySession {
    /// What is held now, but for the events that the endpoint has taken.
    pub(crate) fn gauges(&self) -> PrimaryGauges {
        let (paths, paths_ended) = self.paths.count();
        PrimaryGauges {
            control_unsent_bytes: self.desk.control.outbox_bytes(),
            control_partial_bytes: self.desk.control.partial_bytes(),
            grants_per_path_max: self.paths.most_grants(),
            streams: self.streams.table.len(),
            segments: self.segments.opened_by_application(),
            paths,
            paths_ended,
            events: self.desk.events_queued(),
        }
    }
}

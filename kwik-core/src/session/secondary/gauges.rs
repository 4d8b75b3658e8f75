//! How full a session of a secondary is.

use super::SecondarySession;
use crate::session::gauges::SecondaryGauges;

impl SecondarySession {
    /// What is held now, but for the events that the endpoint has taken.
    pub(crate) fn gauges(&self) -> SecondaryGauges {
        let open = self.segments.open.values();
        let ended = open.filter(|segment| segment.ended).count();
        SecondaryGauges {
            control_unsent_bytes: self.control.outbox_bytes(),
            control_partial_bytes: self.control.partial_bytes(),
            grants: self.grants.len(),
            segments: self.segments.open.len() - ended,
            segments_ended: ended,
            events: self.events.len(),
        }
    }
}

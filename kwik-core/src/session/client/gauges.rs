//! How full a client session is.

use super::ClientSession;
use crate::session::control::ControlChannel;
use crate::session::gauges::ClientGauges;

impl ClientSession {
    /// What is held now, but for the events that the endpoint has taken.
    pub(crate) fn gauges(&self) -> ClientGauges {
        let mut gauges = ClientGauges {
            streams: self.streams.len(),
            segments: self.inbound.len(),
            paths: self.paths.live.len(),
            paths_ended: self.paths.ended_len(),
            events: self.events.len(),
            ..ClientGauges::default()
        };
        for recv in self.streams.aggregated_halves() {
            let reassembly = &recv.reassembly;
            gauges.buffered_bytes += reassembly.buffered_bytes();
            gauges.pinned_bytes += reassembly.pinned_bytes();
            gauges.gaps += reassembly.gaps();
            gauges.stream_gaps_max = gauges.stream_gaps_max.max(reassembly.gaps());
        }
        gauges.note_control(self.primary.control.as_ref());
        for (&id, path) in &self.paths.live {
            gauges.note_control(path.control.as_ref());
            gauges.dials += usize::from(path.dial.is_some());
            let waiting = &mut gauges.control_waiting_bytes_max;
            *waiting = path.waiting_bytes.max(*waiting);
            let gaps = self.ledger.gaps_on(id);
            gauges.path_gaps_max = gauges.path_gaps_max.max(gaps);
            let grants = self.ledger.unanswered_on(id);
            gauges.grants_per_path_max = gauges.grants_per_path_max.max(grants);
        }
        gauges
    }
}

impl ClientGauges {
    fn note_control(&mut self, channel: Option<&ControlChannel>) {
        let Some(channel) = channel else { return };
        let unsent = channel.outbox_bytes();
        self.control_unsent_bytes_max = self.control_unsent_bytes_max.max(unsent);
        let partial = channel.partial_bytes();
        self.control_partial_bytes_max = self.control_partial_bytes_max.max(partial);
    }
}

//! How full an endpoint and its sessions are.
//!
//! Owns the way from a handle to the sizes. Looks only: no session is woken by it.

use super::Endpoint;
use super::sessions::Session;
use crate::ids::SessionHandle;
use crate::quic::{renew_map, renew_queue};
use crate::session::{EndpointGauges, SessionGauges};

impl Endpoint {
    /// What the endpoint holds now, over all its sessions.
    #[must_use]
    pub fn gauges(&self) -> EndpointGauges {
        EndpointGauges {
            sessions: self.sessions.len(),
            events: self.events.len(),
            ..self.quic.gauges()
        }
    }

    /// What a session holds now; `None` if it is forgotten, or if its client has not said yet what it is
    /// for.
    #[must_use]
    pub fn session_gauges(&self, session: SessionHandle) -> Option<SessionGauges> {
        let entry = self.sessions.get(session)?;
        let queued = entry.events_queued;
        Some(match &entry.session {
            Session::Greeting(_) => return None,
            Session::Client(session) => {
                let mut gauges = session.gauges();
                gauges.events += queued;
                SessionGauges::Client(gauges)
            }
            Session::Primary(session) => {
                let mut gauges = session.gauges();
                gauges.events += queued;
                SessionGauges::Primary(gauges)
            }
            Session::Secondary(session) => {
                let mut gauges = session.gauges();
                gauges.events += queued;
                SessionGauges::Secondary(gauges)
            }
        })
    }

    /// The last session is forgotten: so is the room that it took in the tables.
    pub(super) fn rest_if_empty(&mut self) {
        if self.sessions.len() == 0 {
            self.sessions.let_go_of_room();
            self.quic.let_go_of_room();
            renew_map(&mut self.joins);
            renew_queue(&mut self.events);
        }
    }
}

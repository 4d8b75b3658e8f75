//! How many connections there are, and the room that those left behind which are gone.
//!
//! Owns nothing. An ordered map keeps a node when it has been emptied, and a queue all that it ever
//! had; they are let go of when an endpoint has come to rest, never in between.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Quic;
use crate::session::EndpointGauges;

impl Quic {
    /// Lets go of what the tables keep although they are empty. What is quinn's stays: its endpoint
    /// gives no room back.
    pub(crate) fn let_go_of_room(&mut self) {
        renew_map(&mut self.conns);
        renew_map(&mut self.by_handle);
        renew_map(&mut self.by_path);
        renew_map(&mut self.per_session);
        renew_set(&mut self.deadlines);
        renew_set(&mut self.telling);
        renew_set(&mut self.sending);
        renew_queue(&mut self.inputs);
        renew_queue(&mut self.orphans);
        renew_queue(&mut self.responses);
        self.scratch = Vec::new();
    }

    /// What is held now, as far as connections go.
    pub(crate) fn gauges(&self) -> EndpointGauges {
        EndpointGauges {
            connections: self.conns.len(),
            clients: self.clients,
            handshakes: self.handshakes,
            responses: self.responses.len(),
            ..EndpointGauges::default()
        }
    }
}

/// A map without entries keeps no node.
pub(crate) fn renew_map<K, V>(map: &mut BTreeMap<K, V>) {
    if map.is_empty() {
        *map = BTreeMap::new();
    }
}

/// A set without entries keeps no node.
pub(crate) fn renew_set<T>(set: &mut BTreeSet<T>) {
    if set.is_empty() {
        *set = BTreeSet::new();
    }
}

/// A queue without entries keeps no room.
pub(crate) fn renew_queue<T>(queue: &mut VecDeque<T>) {
    if queue.is_empty() {
        *queue = VecDeque::new();
    }
}

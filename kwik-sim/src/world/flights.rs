//! Datagrams under way.

use std::collections::BTreeMap;
use std::time::Duration;

use kwik_core::endpoint::Datagram;

use super::HostId;

/// A datagram under way.
#[derive(Clone)]
pub(super) struct Flight {
    pub(super) from: HostId,
    pub(super) to: HostId,
    /// How often the receiver had changed its address when it got the one that this was sent to.
    pub(super) rebinds: u32,
    pub(super) datagram: Datagram,
}

/// Datagrams under way: by arrival, then in the order of sending.
///
/// Few arrive together, but many are under way, and arrivals are multiples of a quantum: one entry
/// for all that arrive at a time.
#[derive(Default)]
pub(super) struct Flights {
    by_arrival: BTreeMap<Duration, Vec<Flight>>,
    /// Emptied vectors, for reuse.
    spare: Vec<Vec<Flight>>,
}

impl Flights {
    pub(super) fn push(&mut self, at: Duration, flight: Flight) {
        let spare = &mut self.spare;
        let arrivals = self.by_arrival.entry(at);
        arrivals
            .or_insert_with(|| spare.pop().unwrap_or_default())
            .push(flight);
    }

    /// When the next one arrives.
    pub(super) fn first_at(&self) -> Option<Duration> {
        self.by_arrival.keys().next().copied()
    }

    /// The earliest ones, if they arrive by `at`. To be given back to [`Self::reuse`].
    pub(super) fn take(&mut self, at: Duration) -> Option<Vec<Flight>> {
        let entry = self.by_arrival.first_entry()?;
        (*entry.key() <= at).then(|| entry.remove())
    }

    /// Takes an emptied vector back.
    pub(super) fn reuse(&mut self, emptied: Vec<Flight>) {
        self.spare.push(emptied);
    }

    pub(super) fn len(&self) -> usize {
        self.by_arrival.values().map(Vec::len).sum()
    }
}

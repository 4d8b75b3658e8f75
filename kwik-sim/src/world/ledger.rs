//! Who sent how much to which address, and how much came from there.
//!
//! Owns one entry for each host and each address that it exchanged datagrams with, as the host sees it:
//! a client that is rebound is somebody else afterwards.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::HostId;

/// What a host and an address exchanged, in bytes of UDP payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exchanged {
    /// What the host got from there.
    pub received: u64,
    /// What the host sent there, whether it arrived or not.
    pub sent: u64,
    /// The most that it had sent at any time beyond three times what it had got by then.
    pub beyond_triple: u64,
}

/// The entries of a world.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: BTreeMap<(HostId, SocketAddr), Exchanged>,
}

impl Ledger {
    pub(super) fn note_received(&mut self, host: HostId, from: SocketAddr, bytes: usize) {
        self.entries.entry((host, from)).or_default().received += bytes as u64;
    }

    pub(super) fn note_sent(&mut self, host: HostId, to: SocketAddr, bytes: usize) {
        let entry = self.entries.entry((host, to)).or_default();
        entry.sent += bytes as u64;
        let beyond = entry.sent.saturating_sub(3 * entry.received);
        entry.beyond_triple = entry.beyond_triple.max(beyond);
    }

    pub(super) fn of(&self, host: HostId) -> impl Iterator<Item = (SocketAddr, Exchanged)> {
        let entries = self.entries.iter();
        let of_it = entries.filter(move |((of, _), _)| *of == host);
        of_it.map(|(&(_, addr), &exchanged)| (addr, exchanged))
    }
}

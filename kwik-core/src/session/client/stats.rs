//! What a client session counts.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::ids::StreamId;

/// Counts of a client session, since its beginning. All in bytes but `grants`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientStats {
    /// Bytes of all streams that the application has read.
    pub delivered_bytes: u64,
    /// Control frames and segment headers, both ways.
    pub control_bytes: u64,
    /// Grants that the primary gave.
    pub grants: u64,
    /// Bytes that were reported lost and came later.
    pub regranted_bytes: u64,
    /// Bytes that came although they were there already.
    pub duplicate_bytes: u64,
    /// Bytes of which two copies differed.
    pub conflict_bytes: u64,
    /// Bytes that wait in all reassemblies.
    pub buffered_bytes: u64,
    /// The most that ever waited.
    pub buffered_bytes_max: u64,
}

/// The counters behind [`ClientStats`].
#[derive(Default)]
pub(super) struct Counters {
    pub(super) delivered_bytes: u64,
    pub(super) segment_header_bytes: u64,
    /// Control bytes of paths that have ended.
    pub(super) ended_control_bytes: u64,
    pub(super) grants: u64,
    pub(super) regranted_bytes: u64,
    pub(super) duplicate_bytes: u64,
    pub(super) conflict_bytes: u64,
    /// Bytes that the primary brought first, plain ones included, and when the last of them came.
    pub(super) primary_bytes: u64,
    pub(super) primary_at: Option<Instant>,
    buffered: BTreeMap<StreamId, u64>,
    buffered_bytes: u64,
    buffered_bytes_max: u64,
}

impl Counters {
    /// The primary brought so many bytes that nobody had brought before.
    pub(super) fn note_primary(&mut self, bytes: u64, now: Instant) {
        self.primary_bytes += bytes;
        if bytes > 0 {
            self.primary_at = Some(now);
        }
    }

    /// A stream's reassembly holds so many bytes now.
    pub(super) fn note_buffered(&mut self, stream: StreamId, bytes: u64) {
        let before = if bytes == 0 {
            self.buffered.remove(&stream)
        } else {
            self.buffered.insert(stream, bytes)
        };
        self.buffered_bytes = self.buffered_bytes + bytes - before.unwrap_or(0);
        self.buffered_bytes_max = self.buffered_bytes_max.max(self.buffered_bytes);
    }

    pub(super) fn public(&self, control_bytes: u64) -> ClientStats {
        ClientStats {
            delivered_bytes: self.delivered_bytes,
            control_bytes: control_bytes + self.segment_header_bytes + self.ended_control_bytes,
            grants: self.grants,
            regranted_bytes: self.regranted_bytes,
            duplicate_bytes: self.duplicate_bytes,
            conflict_bytes: self.conflict_bytes,
            buffered_bytes: self.buffered_bytes,
            buffered_bytes_max: self.buffered_bytes_max,
        }
    }
}

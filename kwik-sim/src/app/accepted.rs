//! What an endpoint has taken from an application to be sent.

use std::collections::BTreeMap;

use kwik_core::ids::{ByteRange, StreamId};
use kwik_core::ranges::RangeSet;

/// The bytes of each stream that were taken.
#[derive(Debug, Default)]
pub struct Accepted {
    streams: BTreeMap<StreamId, RangeSet>,
}

impl Accepted {
    /// The bytes of a stream from one offset to another were taken.
    pub(super) fn note(&mut self, stream: StreamId, from: u64, to: u64) {
        if let Some(range) = ByteRange::new(from, to).filter(|range| !range.is_empty()) {
            self.streams.entry(stream).or_default().insert(range);
        }
    }

    /// Those of a stream.
    #[must_use]
    pub fn of(&self, stream: StreamId) -> Option<&RangeSet> {
        self.streams.get(&stream)
    }
}

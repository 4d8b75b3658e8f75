//! Which secondary wrote bytes that are not read yet, for the day on which the primary writes others.
//!
//! Owns who wrote what. Never sees the bytes.

use std::collections::BTreeMap;

use crate::ids::{ByteRange, PathId};
use crate::ranges::RangeSet;

/// Unread bytes by the secondary that wrote them, no byte twice.
#[derive(Debug)]
pub(super) struct Evidence {
    by_path: BTreeMap<PathId, RangeSet>,
    /// Ranges that are kept. What finds no room is evidence against nobody.
    ranges_max: usize,
}

impl Evidence {
    pub(super) const fn new(ranges_max: usize) -> Self {
        Self {
            by_path: BTreeMap::new(),
            ranges_max,
        }
    }

    /// A secondary wrote these bytes, of which none was there.
    pub(super) fn add(&mut self, path: PathId, range: ByteRange) {
        let ranges: usize = self.by_path.values().map(RangeSet::len).sum();
        if ranges < self.ranges_max {
            self.by_path.entry(path).or_default().insert(range);
        }
    }

    /// These bytes were read, replaced or thrown away.
    pub(super) fn forget(&mut self, range: ByteRange) {
        self.by_path.retain(|_, written| {
            written.remove(range);
            !written.is_empty()
        });
    }

    /// What a secondary wrote here counts against it no more.
    pub(super) fn acquit(&mut self, path: PathId, range: ByteRange) {
        if let Some(written) = self.by_path.get_mut(&path) {
            written.remove(range);
        }
    }

    /// Who wrote which of these bytes.
    pub(super) fn within(&self, range: ByteRange) -> impl Iterator<Item = (PathId, RangeSet)> {
        self.by_path
            .iter()
            .map(move |(&path, written)| (path, written.within(range)))
    }
}

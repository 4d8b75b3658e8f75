//! A set of bytes of one stream, kept as disjoint ranges.
//!
//! Owns the merging and splitting of ranges. Never sees what the ranges stand for.

use std::collections::BTreeMap;

use crate::ids::ByteRange;

/// A set of offsets, stored as disjoint ranges that do not touch. All operations cost
/// O(log n + ranges touched).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeSet {
    /// Start to end of each range.
    ranges: BTreeMap<u64, u64>,
    /// Sum of the lengths.
    bytes: u64,
}

impl RangeSet {
    /// The empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is nothing in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Number of disjoint ranges.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Number of bytes in the set.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The lowest range.
    #[must_use]
    pub fn first(&self) -> Option<ByteRange> {
        self.iter().next()
    }

    /// The highest range.
    #[must_use]
    pub fn last(&self) -> Option<ByteRange> {
        self.iter().next_back()
    }

    /// The ranges, lowest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = ByteRange> + '_ {
        self.ranges
            .iter()
            .filter_map(|(&start, &end)| ByteRange::new(start, end))
    }

    /// Adds the bytes of `range`; returns how many of them were new.
    pub fn insert(&mut self, range: ByteRange) -> u64 {
        if range.is_empty() {
            return 0;
        }
        let before = self.bytes;
        let (mut start, mut end) = (range.start(), range.end());
        // Ranges that overlap or touch: at most one begins before `start`.
        while let Some((&s, &e)) = self.ranges.range(..=end).next_back() {
            if e < start {
                break;
            }
            self.ranges.remove(&s);
            self.bytes -= e - s;
            start = start.min(s);
            end = end.max(e);
        }
        self.ranges.insert(start, end);
        self.bytes += end - start;
        self.bytes - before
    }

    /// Takes the bytes of `range` out; returns how many were there.
    pub fn remove(&mut self, range: ByteRange) -> u64 {
        if range.is_empty() {
            return 0;
        }
        let before = self.bytes;
        while let Some((&s, &e)) = self.ranges.range(..range.end()).next_back() {
            if e <= range.start() {
                break;
            }
            self.ranges.remove(&s);
            self.bytes -= e - s;
            if s < range.start() {
                self.ranges.insert(s, range.start());
                self.bytes += range.start() - s;
            }
            if e > range.end() {
                self.ranges.insert(range.end(), e);
                self.bytes += e - range.end();
            }
        }
        before - self.bytes
    }

    /// Adds every byte of `other`.
    pub fn insert_all(&mut self, other: &Self) {
        other.iter().for_each(|range| {
            self.insert(range);
        });
    }

    /// Takes every byte of `other` out.
    pub fn remove_all(&mut self, other: &Self) {
        other.iter().for_each(|range| {
            self.remove(range);
        });
    }

    /// Whether every byte of `range` is in the set.
    #[must_use]
    pub fn contains(&self, range: ByteRange) -> bool {
        range.is_empty()
            || self
                .ranges
                .range(..=range.start())
                .next_back()
                .is_some_and(|(_, &end)| end >= range.end())
    }

    /// The range that has the byte before `at`.
    #[must_use]
    pub fn before(&self, at: u64) -> Option<ByteRange> {
        let (&start, &end) = self.ranges.range(..at).next_back()?;
        (end >= at).then(|| ByteRange::new(start, end)).flatten()
    }

    /// Whether some byte of `range` is in the set.
    #[must_use]
    pub fn overlaps(&self, range: ByteRange) -> bool {
        !range.is_empty()
            && self
                .ranges
                .range(..range.end())
                .next_back()
                .is_some_and(|(_, &end)| end > range.start())
    }

    /// The bytes of the set that lie in `range`.
    #[must_use]
    pub fn within(&self, range: ByteRange) -> Self {
        let mut found = Self::new();
        if range.is_empty() {
            return found;
        }
        for (&s, &e) in self.ranges.range(..range.end()).rev() {
            if e <= range.start() {
                break;
            }
            if let Some(part) = ByteRange::new(s.max(range.start()), e.min(range.end())) {
                found.insert(part);
            }
        }
        found
    }

    /// The bytes of `range` that are not in the set.
    #[must_use]
    pub fn missing_in(&self, range: ByteRange) -> Self {
        let mut missing = Self::from(range);
        missing.remove_all(&self.within(range));
        missing
    }
}

impl From<ByteRange> for RangeSet {
    fn from(range: ByteRange) -> Self {
        let mut set = Self::new();
        set.insert(range);
        set
    }
}

impl FromIterator<ByteRange> for RangeSet {
    fn from_iter<I: IntoIterator<Item = ByteRange>>(ranges: I) -> Self {
        let mut set = Self::new();
        for range in ranges {
            set.insert(range);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The bytes below `LIMIT` as a plain list of booleans.
    fn naive(set: &RangeSet) -> Vec<bool> {
        let mut bits = vec![false; LIMIT];
        for range in set.iter() {
            for at in range.start()..range.end() {
                bits[usize::try_from(at).expect("small")] = true;
            }
        }
        bits
    }

    const LIMIT: usize = 64;

    proptest! {
        #[test]
        fn behaves_like_a_list_of_booleans(
            ops in prop::collection::vec((any::<bool>(), 0u64..64, 0u64..64), 0..40),
            probe in (0u64..64, 0u64..64),
        ) {
            let mut set = RangeSet::new();
            let mut model = vec![false; LIMIT];
            for (add, a, b) in ops {
                let range = ByteRange::new(a.min(b), a.max(b)).expect("ordered");
                let span = usize::try_from(range.start()).unwrap()..usize::try_from(range.end()).unwrap();
                let changed = model[span.clone()].iter().filter(|&&bit| bit != add).count() as u64;
                model[span].fill(add);
                let told = if add { set.insert(range) } else { set.remove(range) };
                prop_assert_eq!(told, changed);
            }
            prop_assert_eq!(naive(&set), model.clone());
            prop_assert_eq!(set.bytes(), model.iter().filter(|&&bit| bit).count() as u64);
            let ranges: Vec<_> = set.iter().collect();
            prop_assert!(ranges.windows(2).all(|pair| pair[0].end() < pair[1].start()));

            for at in 1..=LIMIT {
                let before = set.before(at as u64);
                prop_assert_eq!(before.is_some(), model[at - 1]);
                prop_assert!(before.is_none_or(|range| ranges.contains(&range)));
                prop_assert!(before.is_none_or(|range| (range.start()..=range.end()).contains(&(at as u64))));
            }

            let probe = ByteRange::new(probe.0.min(probe.1), probe.0.max(probe.1)).expect("ordered");
            let bits = &model[usize::try_from(probe.start()).unwrap()..usize::try_from(probe.end()).unwrap()];
            prop_assert_eq!(set.contains(probe), bits.iter().all(|&bit| bit));
            prop_assert_eq!(set.overlaps(probe), bits.iter().any(|&bit| bit));
            prop_assert_eq!(set.within(probe).bytes(), bits.iter().filter(|&&bit| bit).count() as u64);
            prop_assert_eq!(set.missing_in(probe).bytes(), bits.iter().filter(|&&bit| !bit).count() as u64);
        }
    }
}

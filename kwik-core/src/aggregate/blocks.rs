//! Where buffered bytes lie: owned blocks, packed.
//!
//! Owns the memory. Never sees whose bytes they are, nor which copy is right.
//!
//! A chunk that QUIC hands over may pin 64 KiB of receive buffer for one byte, and nothing tells. So
//! every chunk is copied, once, into a block of at most [`BLOCK_BYTES`]; chunks that follow each
//! other share one.
//!
//! ```text
//!             cursor
//!  ┌────────────┬───┐┌────────────┐┌──────┬╌╌╌╌┐      ┌───┬╌┐
//!  │ read       │   ││ full       ││ tail │    ┆      │   │ ┆
//!  └────────────┴───┘└────────────┘└──────┴╌╌╌╌┘      └───┴╌┘
//!  ├──────────────── one run ─────────────┤   a hole   a run
//! ```
//!
//! - Blocks do not overlap, are not empty, and end after the cursor.
//! - Of two blocks that touch, the first has no spare capacity, and both together hold more than
//!   [`BLOCK_BYTES`]: they would be one otherwise. So the number of blocks is bounded by the bytes
//!   and the runs, however small the chunks were.
//! - The spare capacity of the tail is bounded by the caller.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::ids::ByteRange;

/// Most bytes in one block. Small enough that moving a whole block for the sake of one byte costs a
/// hostile peer's packet no more than its decryption did.
pub const BLOCK_BYTES: usize = 16 << 10;

/// What a block costs besides its bytes: its place in the map and in the allocator.
const BLOCK_OVERHEAD_BYTES: usize = 96;

/// Blocks by the offset of their first byte.
#[derive(Debug)]
pub(super) struct Blocks {
    /// Most bytes in one block: [`BLOCK_BYTES`], or less in tests.
    block_max: usize,
    map: BTreeMap<u64, Vec<u8>>,
    /// Sum of the capacities.
    allocated: usize,
}

impl Blocks {
    pub(super) const fn new(block_max: usize) -> Self {
        Self {
            block_max,
            map: BTreeMap::new(),
            allocated: 0,
        }
    }

    /// Memory in use, bookkeeping included.
    pub(super) fn pinned_bytes(&self) -> usize {
        let overhead = self.map.len().saturating_mul(BLOCK_OVERHEAD_BYTES);
        self.allocated.saturating_add(overhead)
    }

    /// Copies in bytes of which none is held. A block that has to grow may get as much as `spare`
    /// capacity more than it needs.
    pub(super) fn store(&mut self, mut at: u64, mut bytes: &[u8], spare: usize) {
        while !bytes.is_empty() {
            let taken = self.append(at, bytes, spare);
            at = at.saturating_add(taken as u64);
            bytes = bytes.get(taken..).unwrap_or_default();
        }
        self.join(at);
    }

    /// Copies as many of the bytes as one block takes; returns how many.
    fn append(&mut self, at: u64, bytes: &[u8], spare: usize) -> usize {
        let block_max = self.block_max;
        if let Some((&start, block)) = self.map.range_mut(..at).next_back()
            && end_of(start, block) == at
            && block.len() < block_max
        {
            let (piece, _) = split(bytes, block_max.saturating_sub(block.len()));
            let before = block.capacity();
            let needed = block.len().saturating_add(piece.len());
            if needed > before {
                let capacity = needed.saturating_add(spare).min(block_max);
                block.reserve_exact(capacity.saturating_sub(block.len()));
            }
            block.extend_from_slice(piece);
            let grown = block.capacity().saturating_sub(before);
            self.allocated = self.allocated.saturating_add(grown);
            return piece.len();
        }
        let (piece, _) = split(bytes, block_max);
        let mut block = Vec::with_capacity(piece.len().saturating_add(spare).min(block_max));
        block.extend_from_slice(piece);
        self.put(at, block);
        piece.len()
    }

    /// The held bytes of `range`, block by block, each with its offset.
    pub(super) fn within(&self, range: ByteRange) -> impl Iterator<Item = (u64, &[u8])> {
        let first = self.first_near(range.start());
        self.map
            .range(first..range.end().max(first))
            .filter_map(move |(&start, block)| {
                let place = place(start, block, range);
                let at = place.start();
                let held = block.get(span(start, place))?;
                (!held.is_empty()).then_some((at, held))
            })
    }

    /// Where to begin a walk over the blocks that reach to `at` or past it.
    fn first_near(&self, at: u64) -> u64 {
        self.map
            .range(..=at)
            .next_back()
            .map_or(at, |(&start, _)| start)
    }

    /// Replaces the held bytes of `range` by those of `bytes`, which begins where `range` does.
    pub(super) fn overwrite(&mut self, range: ByteRange, bytes: &[u8]) {
        let first = self.first_near(range.start());
        for (&start, block) in self.map.range_mut(first..range.end().max(first)) {
            let place = place(start, block, range);
            if let (Some(held), Some(copy)) = (
                block.get_mut(span(start, place)),
                bytes.get(span(range.start(), place)),
            ) {
                held.copy_from_slice(copy);
            }
        }
    }

    /// Drops the held bytes of `range`, which lies at or past the cursor.
    pub(super) fn discard(&mut self, range: ByteRange, cursor: u64) {
        while let Some((&start, block)) = self.map.range(..range.end()).next_back()
            && end_of(start, block) > range.start()
            && let Some(mut block) = self.take(start)
        {
            if end_of(start, &block) > range.end() {
                let right = block.split_off(distance(start, range.end()));
                self.put(range.end(), right);
            }
            if start.max(cursor) < range.start() {
                block.truncate(distance(start, range.start()));
                block.shrink_to_fit();
                self.put(start, block);
            }
        }
        // What is left on either side may fit into the next block outwards.
        if let Some((&start, _)) = self.map.range(..range.start()).next_back() {
            self.join(start);
        }
        if let Some(right) = self.map.get(&range.end()) {
            self.join(end_of(range.end(), right));
        }
    }

    /// Gives back the spare capacity of the block that ends at `at`.
    pub(super) fn trim(&mut self, at: u64) {
        if let Some((&start, block)) = self.map.range(..at).next_back()
            && end_of(start, block) == at
            && let Some(mut block) = self.take(start)
        {
            block.shrink_to_fit();
            self.put(start, block);
        }
    }

    /// Takes up to `max` bytes from the cursor on, without a copy if the block ends within them.
    pub(super) fn read(&mut self, cursor: u64, max: usize) -> Option<Bytes> {
        let (&start, block) = self.map.first_key_value()?;
        if start > cursor || max == 0 {
            return None;
        }
        let unread = block.get(distance(start, cursor)..)?;
        if max < unread.len() {
            let (piece, _) = split(unread, max);
            return Some(Bytes::copy_from_slice(piece));
        }
        let mut bytes = Bytes::from(self.take(start)?);
        Some(bytes.split_off(distance(start, cursor)))
    }

    /// Makes one block of the two that touch at `at`, if it is not too large; else the first of them
    /// gives its spare capacity back.
    fn join(&mut self, at: u64) {
        let Some(after) = self.map.get(&at).map(Vec::len) else {
            return;
        };
        let Some((&start, before)) = self.map.range(..at).next_back() else {
            return;
        };
        if end_of(start, before) != at {
            return;
        }
        let fits = before.len().saturating_add(after) <= self.block_max;
        let spare = before.capacity() > before.len();
        if fits && let (Some(mut block), Some(tail)) = (self.take(start), self.take(at)) {
            block.reserve_exact(tail.len());
            block.extend_from_slice(&tail);
            block.shrink_to_fit();
            self.put(start, block);
        } else if spare {
            self.trim(at);
        }
    }

    fn put(&mut self, start: u64, block: Vec<u8>) {
        self.allocated = self.allocated.saturating_add(block.capacity());
        self.map.insert(start, block);
    }

    fn take(&mut self, start: u64) -> Option<Vec<u8>> {
        let block = self.map.remove(&start)?;
        self.allocated = self.allocated.saturating_sub(block.capacity());
        Some(block)
    }

    /// Sum of the capacities of all blocks.
    pub(super) const fn allocated_bytes(&self) -> usize {
        self.allocated
    }

    /// Most bytes in one block.
    pub(super) const fn block_max(&self) -> usize {
        self.block_max
    }

    /// Number of blocks.
    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    /// The blocks' places, lowest first.
    pub(super) fn places(&self) -> impl Iterator<Item = ByteRange> {
        self.map
            .iter()
            .filter_map(|(&start, block)| ByteRange::new(start, end_of(start, block)))
    }

    /// Asserts what the head of this file promises.
    pub(super) fn check(&self, cursor: u64) {
        let mut before: Option<(u64, &Vec<u8>)> = None;
        let mut allocated = 0_usize;
        for (&start, block) in &self.map {
            allocated = allocated.saturating_add(block.capacity());
            assert!(!block.is_empty(), "an empty block is kept");
            assert!(block.len() <= self.block_max, "a block is too long");
            assert!(end_of(start, block) > cursor, "a block is kept after use");
            if let Some((first, before)) = before {
                let end = end_of(first, before);
                assert!(start >= end && start > cursor, "blocks overlap");
                if start == end {
                    let both = before.len().saturating_add(block.len());
                    assert!(both > self.block_max, "two blocks that could be one");
                    assert_eq!(before.capacity(), before.len(), "spare within a run");
                }
            }
            before = Some((start, block));
        }
        assert_eq!(allocated, self.allocated, "capacity is miscounted");
    }
}

fn end_of(start: u64, block: &[u8]) -> u64 {
    start.saturating_add(block.len() as u64)
}

/// The part of the block at `start` that lies in `range`.
fn place(start: u64, block: &[u8], range: ByteRange) -> ByteRange {
    ByteRange::new(start, end_of(start, block)).map_or(range, |place| place.intersection(range))
}

/// Where `place` lies in bytes that begin at `start`.
pub(super) fn span(start: u64, place: ByteRange) -> std::ops::Range<usize> {
    distance(start, place.start())..distance(start, place.end())
}

/// From one place to a later one in the same block or chunk.
fn distance(from: u64, to: u64) -> usize {
    usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX)
}

fn split(bytes: &[u8], at: usize) -> (&[u8], &[u8]) {
    bytes.split_at_checked(at).unwrap_or((bytes, &[]))
}

//! Claims about the reassembly, one by one.
#![expect(clippy::arithmetic_side_effects, reason = "an overflow fails the test")]

mod memory;
mod model;

use bytes::Bytes;

use super::*;
use crate::config::Overlap;
use crate::ids::{ByteRange, OFFSET_LIMIT};
use crate::ranges::RangeSet;

const A: Source = Source::Secondary(PathId(1));
const B: Source = Source::Secondary(PathId(2));

#[test]
fn chunks_in_any_order_are_read_in_order() {
    let mut stream = reassembly(Overlap::FirstWins);
    put(&mut stream, 6, b"ghi", A);
    put(&mut stream, 3, b"def", B);
    assert_eq!(stream.read(99), None);
    put(&mut stream, 0, b"abc", Source::Primary);
    assert_eq!(stream.contiguous_end(), 9);
    assert_eq!(drain(&mut stream), b"abcdefghi");
    assert_eq!((stream.cursor(), stream.buffered_bytes()), (9, 0));
    assert_eq!(stream.pinned_bytes(), 0);
}

#[test]
fn a_stream_begins_where_its_plain_part_ends() {
    let mut stream = Reassembly::new(100, limits(Overlap::FirstWins));
    assert_eq!((stream.cursor(), stream.highest()), (100, 100));
    assert!(stream.is_complete(range(0, 100)));
    assert_eq!(stream.missing_in(range(90, 110)), set(&[(100, 110)]));
    let inserted = put(&mut stream, 98, b"xyz", A);
    assert_eq!((inserted.duplicate_bytes, inserted.new_bytes), (2, 1));
    assert_eq!(drain(&mut stream), b"z");
}

#[test]
fn an_empty_chunk_changes_nothing_wherever_it_is() {
    let mut stream = reassembly(Overlap::Reject);
    put(&mut stream, 5, b"x", A);
    for at in [0, 5, 6, 1000, OFFSET_LIMIT] {
        assert_eq!(put(&mut stream, at, b"", A), Inserted::default());
    }
    assert_eq!(stream.received(), &set(&[(5, 6)]));
}

#[test]
fn a_chunk_that_straddles_the_cursor_gives_its_end() {
    let mut stream = reassembly(Overlap::FirstWins);
    put(&mut stream, 0, b"abcd", A);
    assert_eq!(stream.read(2).as_deref(), Some(&b"ab"[..]));
    let inserted = put(&mut stream, 0, b"ABCDEF", B);
    assert_eq!((inserted.new_bytes, inserted.duplicate_bytes), (2, 4));
    // What was read is not compared: it may be gone.
    assert_eq!(inserted.conflict, Some(range(2, 4)));
    assert_eq!(drain(&mut stream), b"cdEF");
}

#[test]
fn a_chunk_below_the_cursor_is_dropped() {
    let mut stream = reassembly(Overlap::Reject);
    put(&mut stream, 0, b"abcd", A);
    drain(&mut stream);
    let inserted = put(&mut stream, 1, b"XY", B);
    assert_eq!(
        inserted,
        Inserted {
            duplicate_bytes: 2,
            ..Inserted::default()
        }
    );
}

#[test]
fn a_contained_chunk_is_a_duplicate_and_an_enclosing_one_fills_around() {
    let mut stream = reassembly(Overlap::FirstWins);
    put(&mut stream, 2, b"cdef", A);
    let inner = put(&mut stream, 3, b"de", B);
    assert_eq!((inner.new_bytes, inner.duplicate_bytes), (0, 2));
    assert_eq!(inner.conflict, None);
    put(&mut stream, 8, b"i", A);
    let outer = put(&mut stream, 0, b"abcdefghij", B);
    assert_eq!((outer.new_bytes, outer.duplicate_bytes), (5, 5));
    assert_eq!(drain(&mut stream), b"abcdefghij");
}

#[test]
fn adjacent_chunks_make_one_range() {
    let mut stream = reassembly(Overlap::FirstWins);
    put(&mut stream, 10, b"x", A);
    put(&mut stream, 12, b"z", A);
    assert_eq!(stream.received().len(), 2);
    put(&mut stream, 11, b"y", A);
    assert_eq!(stream.received(), &set(&[(10, 13)]));
    assert_eq!(stream.missing_in(range(0, 20)), set(&[(0, 10), (13, 20)]));
    assert!(stream.is_complete(range(10, 13)) && !stream.is_complete(range(9, 13)));
}

#[test]
fn the_largest_offset_can_be_written_and_nothing_beyond() {
    let mut stream = reassembly(Overlap::FirstWins);
    put(&mut stream, OFFSET_LIMIT - 2, b"yz", A);
    assert_eq!(stream.highest(), OFFSET_LIMIT);
    for (at, len) in [(OFFSET_LIMIT - 2, 3), (OFFSET_LIMIT, 1), (u64::MAX, 1)] {
        let bytes = Bytes::from(vec![0; len]);
        assert_eq!(stream.insert(at, bytes, A), Err(InsertError::BeyondLimit));
    }
    let mut last = Reassembly::new(OFFSET_LIMIT - 2, limits(Overlap::FirstWins));
    put(&mut last, OFFSET_LIMIT - 2, b"yz", A);
    assert_eq!(drain(&mut last), b"yz");
    assert_eq!(last.contiguous_end(), OFFSET_LIMIT);
}

#[test]
fn one_range_too_many_is_refused_but_the_front_never() {
    let limits = Limits {
        overlap: Overlap::FirstWins,
        ranges_max: 2,
    };
    let mut stream = Reassembly::new(0, limits);
    put(&mut stream, 10, b"x", A);
    put(&mut stream, 20, b"x", A);
    let more = stream.insert(30, Bytes::from_static(b"x"), A);
    assert_eq!(more, Err(InsertError::TooManyRanges));
    assert_eq!(stream.received(), &set(&[(10, 11), (20, 21)]));
    // What only lengthens a range is taken, and so is what the reader waits for.
    put(&mut stream, 9, b"x", A);
    put(&mut stream, 21, b"x", A);
    put(&mut stream, 0, b"x", A);
    put(&mut stream, 1, b"xxxxxxxx", A);
    // Two ranges have become the front: there is room for one more.
    put(&mut stream, 30, b"x", A);
}

#[test]
fn a_small_read_takes_part_and_a_read_of_nothing_nothing() {
    let mut stream = reassembly(Overlap::FirstWins);
    put(&mut stream, 0, b"abcdef", A);
    assert_eq!(stream.read(0), None);
    assert_eq!(stream.read(4).as_deref(), Some(&b"abcd"[..]));
    put(&mut stream, 6, b"gh", A);
    assert_eq!(stream.read(99).as_deref(), Some(&b"efgh"[..]));
    assert_eq!(stream.read(99), None);
}

#[test]
fn a_whole_block_is_read_without_a_copy() {
    let mut stream = reassembly(Overlap::FirstWins);
    put(&mut stream, 0, &vec![7; 3 * BLOCK_BYTES], A);
    let before = stream.pinned_bytes();
    let block = stream.read(BLOCK_BYTES).unwrap();
    assert_eq!(block.len(), BLOCK_BYTES);
    assert!(stream.pinned_bytes() + BLOCK_BYTES as u64 <= before);
}

// Copies that differ.

/// [OVL-2]
#[test]
fn the_first_copy_wins_by_default() {
    let mut stream = reassembly(Overlap::FirstWins);
    put(&mut stream, 0, b"abcdef", A);
    let inserted = put(&mut stream, 0, b"aXcdYfg", Source::Primary);
    assert_eq!(inserted.conflict, Some(range(1, 5)));
    assert_eq!(inserted.conflict_bytes, 2);
    assert_eq!((inserted.new_bytes, inserted.duplicate_bytes), (1, 6));
    assert!(inserted.reopened.is_empty());
    assert_eq!(drain(&mut stream), b"abcdefg");
}

/// [OVL-2]
#[test]
fn the_primarys_copy_replaces_a_secondarys_and_is_not_replaced() {
    let mut stream = reassembly(Overlap::PrimaryWins);
    put(&mut stream, 0, b"abcdef", A);
    let inserted = put(&mut stream, 1, b"BC", Source::Primary);
    assert!(inserted.primary_differs);
    assert_eq!(inserted.conflict, Some(range(1, 3)));
    let inserted = put(&mut stream, 0, b"zzzzzz", B);
    assert!(inserted.primary_differs);
    assert_eq!(inserted.conflict_bytes, 6);
    assert_eq!(drain(&mut stream), b"aBCdef");
}

#[test]
fn an_equal_copy_of_the_primary_confirms_a_secondarys() {
    let mut stream = reassembly(Overlap::Reject);
    put(&mut stream, 0, b"abc", A);
    put(&mut stream, 0, b"abc", Source::Primary);
    let inserted = put(&mut stream, 0, b"xyz", B);
    assert!(inserted.primary_differs && inserted.reopened.is_empty());
    assert_eq!(drain(&mut stream), b"abc");
}

#[test]
fn a_second_copy_of_the_primary_itself_does_not_replace_the_first() {
    for overlap in [Overlap::PrimaryWins, Overlap::Reject] {
        let mut stream = reassembly(overlap);
        put(&mut stream, 0, b"abc", Source::Primary);
        let inserted = put(&mut stream, 0, b"xyz", Source::Primary);
        assert_eq!(inserted.conflict_bytes, 3);
        assert_eq!(drain(&mut stream), b"abc");
    }
}

/// [OVL-2]
#[test]
fn under_reject_two_secondaries_that_differ_both_lose_the_range() {
    let mut stream = reassembly(Overlap::Reject);
    put(&mut stream, 0, b"abcdef", A);
    let inserted = put(&mut stream, 1, b"bXdYfgh", B);
    assert_eq!(inserted.conflict, Some(range(2, 5)));
    assert_eq!(inserted.reopened, set(&[(2, 5)]));
    assert!(!inserted.primary_differs);
    assert_eq!((inserted.new_bytes, inserted.duplicate_bytes), (2, 5));
    assert_eq!(stream.received(), &set(&[(0, 2), (5, 8)]));
    put(&mut stream, 2, b"CDE", Source::Primary);
    assert_eq!(drain(&mut stream), b"abCDEfgh");
}

#[test]
fn under_reject_the_primarys_bytes_stay_within_a_reopened_range() {
    let mut stream = reassembly(Overlap::Reject);
    put(&mut stream, 0, b"abcdef", A);
    put(&mut stream, 2, b"cd", Source::Primary);
    let inserted = put(&mut stream, 0, b"zzzzzz", B);
    assert!(inserted.primary_differs);
    assert_eq!(inserted.conflict, Some(range(0, 6)));
    assert_eq!(inserted.reopened, set(&[(0, 2), (4, 6)]));
    assert_eq!(stream.received(), &set(&[(2, 4)]));
}

#[test]
fn under_reject_the_primarys_copy_replaces_a_lie_that_came_first() {
    let mut stream = reassembly(Overlap::Reject);
    put(&mut stream, 0, b"lies!!", A);
    let inserted = put(&mut stream, 0, b"truth", Source::Primary);
    assert!(inserted.primary_differs && inserted.reopened.is_empty());
    assert_eq!(drain(&mut stream), b"truth!");
}

/// Who wrote what the primary refutes is told, and nobody else [OVL-4].
#[test]
fn under_reject_the_primary_refutes_who_wrote_a_lie_before() {
    let mut stream = reassembly(Overlap::Reject);
    put(&mut stream, 0, b"lies", A);
    put(&mut stream, 4, b"true", B);
    put(&mut stream, 8, b"lies", A);
    stream.acquit(PathId(1), range(8, 12));
    let inserted = put(&mut stream, 8, b"true", Source::Primary);
    assert_eq!(inserted.refuted, [], "its grant was taken back");
    let inserted = put(&mut stream, 0, b"truetrue", Source::Primary);
    assert_eq!(inserted.refuted, [PathId(1)]);
    assert_eq!(drain(&mut stream), b"truetruetrue");
}

#[test]
fn what_was_thrown_away_is_no_evidence() {
    let mut stream = reassembly(Overlap::Reject);
    put(&mut stream, 0, b"true", A);
    put(&mut stream, 0, b"lies", B);
    put(&mut stream, 0, b"lies", B);
    let inserted = put(&mut stream, 0, b"true", Source::Primary);
    assert_eq!(inserted.refuted, [PathId(2)]);
}

#[test]
fn evidence_that_finds_no_room_is_evidence_against_nobody() {
    let limits = Limits {
        overlap: Overlap::Reject,
        ranges_max: 1,
    };
    let mut stream = Reassembly::new(0, limits);
    put(&mut stream, 0, b"ab", A);
    put(&mut stream, 2, b"cd", B);
    let inserted = put(&mut stream, 0, b"ABCD", Source::Primary);
    assert_eq!(inserted.refuted, [PathId(1)]);
}

#[test]
fn under_reject_a_reopening_that_makes_too_many_ranges_changes_nothing() {
    let limits = Limits {
        overlap: Overlap::Reject,
        ranges_max: 1,
    };
    let mut stream = Reassembly::new(0, limits);
    put(&mut stream, 10, b"abcdef", A);
    let refused = stream.insert(12, Bytes::from_static(b"X"), B);
    assert_eq!(refused, Err(InsertError::TooManyRanges));
    put(&mut stream, 0, b"0123456789", A);
    assert_eq!(drain(&mut stream), b"0123456789abcdef");
}

#[test]
fn what_was_read_of_a_block_is_not_reopened() {
    let mut stream = reassembly(Overlap::Reject);
    put(&mut stream, 0, b"abcdef", A);
    stream.read(3);
    let inserted = put(&mut stream, 0, b"ABCDEF", B);
    assert_eq!(inserted.reopened, set(&[(3, 6)]));
    assert_eq!((stream.cursor(), stream.buffered_bytes()), (3, 0));
    assert_eq!(stream.pinned_bytes(), 0);
    put(&mut stream, 3, b"def", Source::Primary);
    assert_eq!(drain(&mut stream), b"def");
}

// Helpers.

fn limits(overlap: Overlap) -> Limits {
    Limits {
        overlap,
        ranges_max: 1024,
    }
}

fn reassembly(overlap: Overlap) -> Reassembly {
    Reassembly::new(0, limits(overlap))
}

fn put(stream: &mut Reassembly, at: u64, bytes: &[u8], source: Source) -> Inserted {
    let inserted = stream.insert(at, Bytes::copy_from_slice(bytes), source);
    stream.check();
    inserted.expect("within the limits")
}

fn drain(stream: &mut Reassembly) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(bytes) = stream.read(usize::MAX) {
        stream.check();
        all.extend_from_slice(&bytes);
    }
    all
}

fn range(start: u64, end: u64) -> ByteRange {
    ByteRange::new(start, end).expect("a range")
}

fn set(ranges: &[(u64, u64)]) -> RangeSet {
    ranges
        .iter()
        .map(|&(start, end)| range(start, end))
        .collect()
}

//! The bound on memory, under chunks that are cut to break it.

use super::*;

const WINDOW: u64 = 256 << 10;
const RANGES_MAX: usize = 1024;

/// The bound of the mission, 20 %, and a constant: two blocks at the front, and the bookkeeping of
/// as many ranges as are allowed. `check` has compared the count to the capacities of the blocks.
fn assert_bound(stream: &Reassembly) {
    let constant = 2 * BLOCK_BYTES as u64 + 128 * RANGES_MAX as u64;
    let bound = stream.buffered_bytes() * 12 / 10 + constant;
    assert!(
        stream.pinned_bytes() <= bound,
        "{} pinned for {} buffered",
        stream.pinned_bytes(),
        stream.buffered_bytes()
    );
}

/// Inserts chunks of `len` at these offsets, one byte of content each; those that would be a range
/// too many are left out.
fn hostile(offsets: impl Iterator<Item = u64>, len: usize) -> Reassembly {
    let mut stream = reassembly(Overlap::FirstWins);
    for (step, at) in offsets.enumerate() {
        let _ = stream.insert(at, Bytes::from(vec![0xaa; len]), A);
        if step % 997 == 0 {
            stream.check();
            assert_bound(&stream);
        }
    }
    stream.check();
    assert_bound(&stream);
    stream
}

#[test]
fn single_bytes_upwards_stay_in_bound() {
    let stream = hostile(1..WINDOW, 1);
    assert_eq!(stream.buffered_bytes(), WINDOW - 1);
}

#[test]
fn single_bytes_downwards_stay_in_bound() {
    let stream = hostile((WINDOW / 4..WINDOW / 2).rev(), 1);
    assert_eq!(stream.buffered_bytes(), WINDOW / 4);
}

#[test]
fn every_other_byte_and_then_the_rest_stay_in_bound() {
    let group = 2 * RANGES_MAX as u64;
    let offsets = (1..WINDOW / 2 / group).flat_map(|at| {
        let start = at * group;
        let evens = (start..start + group).step_by(2);
        evens.chain((start + 1..start + group).step_by(2))
    });
    hostile(offsets, 1);
}

#[test]
fn scattered_single_bytes_stay_in_bound() {
    // 40503 is odd: a walk over all residues.
    let scattered = |span: u64| (0..span).map(move |step| 1 + step * 40_503 % span);
    hostile(scattered(2048), 1);
    hostile(scattered(1 << 16).map(|at| at / 3 * 64), 1);
}

#[test]
fn as_many_ranges_as_are_allowed_that_grow_in_turn_stay_in_bound() {
    let ranges = RANGES_MAX as u64;
    for (len, rounds) in [(1, 24), (37, 30), (1400, 15), (BLOCK_BYTES + 1, 1)] {
        let offsets = (0..rounds)
            .flat_map(|round| (1..=ranges).map(move |range| (range << 20) + round * len as u64));
        let stream = hostile(offsets, len);
        assert_eq!(stream.buffered_bytes(), ranges * rounds * len as u64);
    }
}

#[test]
fn a_reader_that_follows_byte_by_byte_stays_in_bound() {
    let mut stream = reassembly(Overlap::FirstWins);
    put(&mut stream, 1, &vec![1; 3 * BLOCK_BYTES], A);
    put(&mut stream, 0, &[1], A);
    for _ in 0..2 * BLOCK_BYTES {
        assert_eq!(stream.read(1).map(|bytes| bytes.len()), Some(1));
        assert_bound(&stream);
    }
    stream.check();
}

#[test]
fn what_a_conflict_cuts_to_pieces_stays_in_bound() {
    let mut stream = reassembly(Overlap::Reject);
    for at in 0..8 {
        put(
            &mut stream,
            at * BLOCK_BYTES as u64,
            &vec![1; BLOCK_BYTES],
            A,
        );
    }
    // Every second kilobyte goes, then all but a few bytes of the others.
    for at in 0..64 {
        put(&mut stream, 1 + at * 2048, &[2; 1024], B);
    }
    for at in 0..64 {
        put(&mut stream, 1024 + at * 2048, &[2; 1000], B);
        assert_bound(&stream);
    }
}

#[test]
fn a_tail_that_a_conflict_cut_off_gives_its_spare_memory_back() {
    let mut stream = reassembly(Overlap::Reject);
    let run = vec![1; 9 * BLOCK_BYTES];
    for at in (1..=16).map(|at| at << 20) {
        put(&mut stream, at, &run, A);
        put(&mut stream, at + run.len() as u64, &[1], A);
    }
    for at in (1..=16).map(|at| at << 20) {
        put(&mut stream, at, &vec![2; run.len()], B);
    }
    assert_eq!(stream.buffered_bytes(), 16);
    assert!(stream.pinned_bytes() < 16 * 128);
}

#[test]
fn no_chunk_that_was_handed_in_is_kept() {
    let mut stream = reassembly(Overlap::FirstWins);
    let datagram = Bytes::from(vec![5; 64 << 10]);
    for at in [0, 7, 9000, 9001, 60_000] {
        let chunk = datagram.slice(at..at + 1);
        stream.insert(at as u64, chunk, A).expect("a few ranges");
        assert!(datagram.is_unique(), "the chunk pins its datagram");
    }
}

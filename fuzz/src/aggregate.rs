//! The reassembly against a list of bytes.

use bytes::Bytes;
use kwik_core::aggregate::{BLOCK_BYTES, Inserted, Limits, Reassembly, Source};
use kwik_core::config::Overlap;
use kwik_core::ids::{ByteRange, PathId};
use kwik_core::ranges::RangeSet;

/// Bytes of the stream: enough for several blocks.
const LEN: usize = 3 * BLOCK_BYTES;

/// Bytes of one operation of the input.
const OP_BYTES: usize = 6;

/// Operations between two comparisons of everything, which take longer than an operation does.
const CHECK_INTERVAL: usize = 16;

/// The first three bytes say the policy, the number of ranges and the start; then every
/// `OP_BYTES` are a chunk that arrives or a read. The stream is what a list of bytes would make
/// of it, and its memory is in bound.
pub fn aggregate_diff(input: &[u8]) {
    let Some((&[overlap, ranges, start], ops)) = input.split_first_chunk() else {
        return;
    };
    let overlap = match overlap % 3 {
        0 => Overlap::FirstWins,
        1 => Overlap::PrimaryWins,
        _ => Overlap::Reject,
    };
    let limits = Limits {
        overlap,
        ranges_max: usize::from(ranges),
    };
    let mut pair = Pair::new(usize::from(start), limits);
    for (step, op) in ops.as_chunks::<OP_BYTES>().0.iter().enumerate() {
        let &[kind, lie, a, b, c, d] = op;
        let at = usize::from(u16::from_le_bytes([a, b])) % LEN;
        let len = usize::from(u16::from_le_bytes([c, d])) >> (kind >> 3 & 7);
        match kind % 4 {
            0 => pair.insert(at, len, lie, Source::Primary),
            1 => pair.insert(at, len, lie, Source::Secondary(PathId(1))),
            2 => pair.insert(at, len, lie, Source::Secondary(PathId(2))),
            _ => {
                pair.read(len);
            }
        }
        pair.check_counts();
        if step % CHECK_INTERVAL == 0 {
            pair.check();
        }
    }
    while pair.read(LEN) {}
    pair.check();
}

struct Pair {
    limits: Limits,
    stream: Reassembly,
    /// The model: each byte, and whether the primary vouches for it.
    bytes: Vec<Option<(u8, bool)>>,
    cursor: usize,
    /// Bytes of the model that are present and not read.
    unread: u64,
}

impl Pair {
    fn new(start: usize, limits: Limits) -> Self {
        Self {
            limits,
            stream: Reassembly::new(start as u64, limits),
            bytes: vec![None; LEN],
            cursor: start,
            unread: 0,
        }
    }

    fn insert(&mut self, at: usize, len: usize, lie: u8, source: Source) {
        let len = len.min(LEN.saturating_sub(at));
        let chunk = content(at, len, lie);
        let before = self.stream.received().clone();
        let bytes = Bytes::from(chunk.clone());
        match self.stream.insert(at as u64, bytes, source) {
            Ok(told) => self.follow(at, &chunk, source, &told),
            Err(_) => assert_eq!(&before, self.stream.received(), "refused, yet changed"),
        }
    }

    /// Does to the list of bytes what was to be done, and compares what was told of it.
    fn follow(&mut self, at: usize, chunk: &[u8], source: Source, told: &Inserted) {
        let tracks = self.limits.overlap != Overlap::FirstWins;
        let rejects = self.limits.overlap == Overlap::Reject && source != Source::Primary;
        let mine = tracks && source == Source::Primary;
        let (mut new, mut duplicate, mut conflicts) = (0, 0, 0);
        let reopened = mask(at, chunk.len(), &told.reopened);
        for ((place, &byte), reopened) in (at..).zip(chunk).zip(reopened) {
            let held = &mut self.bytes[place];
            match held {
                _ if place < self.cursor => {
                    assert!(!reopened, "reopened what was read");
                    duplicate += 1;
                }
                Some((value, vouched)) => {
                    duplicate += 1;
                    let differs = *value != byte;
                    conflicts += u64::from(differs);
                    assert!(!(reopened && *vouched), "reopened the primary's");
                    assert!(reopened || !differs || !rejects || *vouched, "kept a lie");
                    if mine && !*vouched {
                        *value = byte;
                    }
                    *vouched |= mine;
                }
                None if reopened => {}
                None => {
                    new += 1;
                    *held = Some((byte, mine));
                }
            }
            if reopened && self.bytes[place].take().is_some() {
                self.unread -= 1;
            }
        }
        self.unread += new;
        assert!(rejects || told.reopened.is_empty(), "reopened for nothing");
        assert_eq!(told.new_bytes, new);
        assert_eq!(told.duplicate_bytes, duplicate);
        assert_eq!(told.conflict_bytes, conflicts);
        assert_eq!(told.conflict.is_some(), conflicts > 0);
    }

    /// Whether there was something to read.
    fn read(&mut self, max: usize) -> bool {
        let read = self.stream.read(max).unwrap_or_default();
        assert!(read.len() <= max);
        let front = self.bytes[self.cursor..].iter().take(read.len());
        assert!(
            front
                .map(|byte| byte.map(|byte| byte.0))
                .eq(read.iter().map(|&byte| Some(byte))),
            "read other bytes"
        );
        self.cursor += read.len();
        self.unread -= read.len() as u64;
        let more = self.bytes.get(self.cursor).is_some_and(Option::is_some);
        assert!(!read.is_empty() || max == 0 || !more, "there was a byte");
        !read.is_empty()
    }

    fn check(&self) {
        let mut received: RangeSet = runs(&self.bytes, self.cursor);
        received.insert(range(0, self.cursor));
        assert_eq!(self.stream.received(), &received);
        assert_eq!(self.stream.cursor(), self.cursor as u64);
    }

    fn check_counts(&self) {
        let buffered = self.stream.buffered_bytes();
        assert_eq!(buffered, self.unread);
        let ranges = 128 * self.limits.ranges_max as u64;
        let bound = buffered * 12 / 10 + 2 * BLOCK_BYTES as u64 + ranges + 256;
        assert!(self.stream.pinned_bytes() <= bound, "memory out of bound");
    }
}

/// The runs of bytes that are present, from `start` on.
fn runs(bytes: &[Option<(u8, bool)>], start: usize) -> RangeSet {
    let mut at = start;
    bytes[start..]
        .chunk_by(|a, b| a.is_some() == b.is_some())
        .filter_map(|run| {
            let place = range(at, at + run.len());
            at += run.len();
            run.first()?.is_some().then_some(place)
        })
        .collect()
}

/// A chunk of the stream; `lie` changes every `lie`th byte of it, or none.
fn content(at: usize, len: usize, lie: u8) -> Vec<u8> {
    let step = usize::from(lie);
    (at..at + len)
        .map(|place| {
            let honest = u8::try_from(place % 127).unwrap_or_default();
            let lies = step != 0 && place % step == 0;
            honest | (u8::from(lies) << 7)
        })
        .collect()
}

/// Which of the `len` bytes from `at` on are in `set`, all of which is among them.
fn mask(at: usize, len: usize, set: &RangeSet) -> Vec<bool> {
    let mut mask = vec![false; len];
    for place in set.iter() {
        let start = usize::try_from(place.start()).expect("within the stream") - at;
        mask[start..][..usize::try_from(place.len()).expect("a chunk")].fill(true);
    }
    mask
}

fn range(start: usize, end: usize) -> ByteRange {
    ByteRange::new(start as u64, end as u64).expect("within the stream")
}

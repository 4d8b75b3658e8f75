//! The reassembly against a list of bytes.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// Bytes of the model's stream.
const LEN: usize = 160;

/// The bytes above the cursor one by one: the value, and whether the primary vouches for it.
struct Model {
    limits: Limits,
    bytes: Vec<Option<(u8, bool)>>,
    /// Which secondary wrote a byte, as long as the primary has not.
    writers: Vec<Option<PathId>>,
    cursor: usize,
}

#[derive(Clone, Debug)]
enum Op {
    /// A chunk; where `lies` has a bit, its byte is not the stream's own.
    Insert {
        at: usize,
        len: usize,
        lies: u64,
        source: Source,
    },
    Read {
        max: usize,
    },
}

impl Model {
    fn insert(&mut self, at: usize, chunk: &[u8], source: Source) -> Result<Inserted, InsertError> {
        let mut told = Inserted::default();
        // Differences to the bytes of secondaries, and to those of the primary.
        let (mut others, mut vouched) = (Vec::new(), Vec::new());
        for (place, byte) in (at..).zip(chunk) {
            if place < self.cursor {
                told.duplicate_bytes += 1;
            } else if let Some((held, by_primary)) = self.bytes[place] {
                told.duplicate_bytes += 1;
                match (held != *byte, by_primary) {
                    (true, true) => vouched.push(place),
                    (true, false) => others.push(place),
                    (false, _) => {}
                }
            }
        }
        told.conflict_bytes = (others.len() + vouched.len()) as u64;
        told.conflict = hull(others.iter().chain(&vouched).copied());
        let tracks = self.limits.overlap != Overlap::FirstWins;
        let primary = source == Source::Primary;
        told.primary_differs =
            !vouched.is_empty() || (primary && tracks && told.conflict.is_some());

        if self.limits.overlap == Overlap::Reject && primary {
            let refuted = others.iter().filter_map(|&place| self.writers[place]);
            told.refuted = refuted.collect::<BTreeSet<_>>().into_iter().collect();
        }
        let mut lost = None;
        if self.limits.overlap == Overlap::Reject && !primary {
            lost = hull(others.into_iter());
        }
        let is_lost = |place: usize| lost.is_some_and(|lost| lost.contains(byte_at(place)));
        told.reopened = (0..LEN)
            .filter(|&place| is_lost(place) && !self.bytes[place].is_some_and(|held| held.1))
            .map(byte_at)
            .collect();
        self.check_ranges(at, chunk.len(), &told)?;

        for (place, &byte) in (at..).zip(chunk).filter(|(place, _)| *place >= self.cursor) {
            let mine = primary && tracks;
            if mine {
                self.writers[place] = None;
            }
            match &mut self.bytes[place] {
                Some((held, by_primary)) => {
                    if mine && !*by_primary {
                        *held = byte;
                    }
                    *by_primary |= mine;
                }
                None if is_lost(place) => {}
                empty @ None => {
                    self.writers[place] = match source {
                        Source::Primary => None,
                        Source::Secondary(path) => Some(path),
                    };
                    *empty = Some((byte, mine));
                    told.new_bytes += 1;
                }
            }
        }
        for (place, byte) in self.bytes.iter_mut().enumerate() {
            if told.reopened.contains(byte_at(place)) {
                *byte = None;
            }
        }
        Ok(told)
    }

    /// The limit, as the reassembly understands it.
    fn check_ranges(&self, at: usize, len: usize, told: &Inserted) -> Result<(), InsertError> {
        let received = self.received();
        let front = received
            .first()
            .is_some_and(|first| first.start() <= self.cursor as u64);
        let beyond = received.len() - usize::from(front);
        let place = range(
            at.max(self.cursor) as u64,
            (at + len).max(self.cursor) as u64,
        );
        let around = range(
            place.start().saturating_sub(1),
            (place.end() + 1).min(OFFSET_LIMIT),
        );
        let lengthens = place.start() == self.cursor as u64 || received.overlaps(around);
        let too_many = if told.reopened.is_empty() {
            !place.is_empty() && !lengthens && beyond >= self.limits.ranges_max
        } else {
            beyond + told.reopened.len() > self.limits.ranges_max
        };
        if too_many {
            return Err(InsertError::TooManyRanges);
        }
        Ok(())
    }

    fn received(&self) -> RangeSet {
        (0..LEN)
            .filter(|&place| place < self.cursor || self.bytes[place].is_some())
            .map(byte_at)
            .collect()
    }

    /// The bytes that can be read.
    fn front(&self) -> Vec<u8> {
        let unread = self.bytes[self.cursor..].iter();
        unread
            .map_while(|byte| byte.map(|(byte, _)| byte))
            .collect()
    }
}

fn byte_at(place: usize) -> ByteRange {
    range(place as u64, place as u64 + 1)
}

fn hull(places: impl Iterator<Item = usize> + Clone) -> Option<ByteRange> {
    let start = places.clone().min()?;
    let end = places.max()? + 1;
    ByteRange::new(start as u64, end as u64)
}

fn op() -> impl Strategy<Value = Op> {
    let source = prop_oneof![Just(A), Just(B), Just(Source::Primary)];
    let lies =
        prop_oneof![3 => Just(0), 1 => any::<u64>(), 1 => (0..64u32).prop_map(|bit| 1 << bit)];
    let len = prop_oneof![0..4usize, 0..60usize];
    let insert = (0..LEN, len, lies, source).prop_map(|(at, len, lies, source)| Op::Insert {
        at,
        len: len.min(LEN - at),
        lies,
        source,
    });
    let read = prop_oneof![0..5usize, 0..100usize].prop_map(|max| Op::Read { max });
    prop_oneof![4 => insert, 1 => read]
}

/// The byte that an honest server has at a place, or another one.
fn content(place: usize, lies: bool) -> u8 {
    u8::try_from(place % 251).expect("small") ^ (u8::from(lies) << 7)
}

fn run(limits: Limits, block_max: usize, start: usize, ops: Vec<Op>) -> Result<(), TestCaseError> {
    let mut stream = Reassembly::with_blocks_of(block_max, start as u64, limits);
    let mut model = Model {
        limits,
        bytes: vec![None; LEN],
        writers: vec![None; LEN],
        cursor: start,
    };
    for op in ops {
        match op {
            Op::Insert {
                at,
                len,
                lies,
                source,
            } => {
                let lie = |place: usize| lies >> ((place - at) % 64) & 1 != 0;
                let chunk: Vec<u8> = (at..at + len)
                    .map(|place| content(place, lie(place)))
                    .collect();
                let told = stream.insert(at as u64, Bytes::from(chunk.clone()), source);
                let mut expected = model.insert(at, &chunk, source);
                if let (Ok(told), Ok(expected)) = (&told, &mut expected)
                    && limits.ranges_max < LEN
                {
                    // Some of the evidence may have found no room.
                    let is_just = |path: &PathId| expected.refuted.contains(path);
                    prop_assert!(told.refuted.iter().all(is_just));
                    expected.refuted.clone_from(&told.refuted);
                }
                prop_assert_eq!(told, expected);
            }
            Op::Read { max } => {
                let front = model.front();
                let read = stream.read(max).unwrap_or_default();
                prop_assert!(read.len() <= max);
                prop_assert_eq!(read.is_empty(), front.is_empty() || max == 0);
                prop_assert_eq!(&read[..], &front[..read.len()]);
                model.cursor += read.len();
            }
        }
        stream.check();
        let received = model.received();
        prop_assert_eq!(stream.received(), &received);
        prop_assert_eq!(stream.cursor(), model.cursor as u64);
        let end = model.cursor + model.front().len();
        prop_assert_eq!(stream.contiguous_end(), end as u64);
        let highest = received.last().map_or(0, ByteRange::end);
        prop_assert_eq!(stream.highest(), highest);
        let unread = model.bytes[model.cursor..].iter().flatten().count();
        prop_assert_eq!(stream.buffered_bytes(), unread as u64);
    }
    let front = model.front();
    prop_assert_eq!(drain(&mut stream), front);
    Ok(())
}

proptest! {
    #[test]
    fn behaves_like_a_list_of_bytes(
        overlap in prop_oneof![
            Just(Overlap::FirstWins), Just(Overlap::PrimaryWins), Just(Overlap::Reject)
        ],
        ranges_max in prop_oneof![0..6usize, Just(1024)],
        block_max in prop_oneof![1..40usize, Just(BLOCK_BYTES)],
        start in prop_oneof![Just(0), 0..LEN],
        ops in prop::collection::vec(op(), 0..60),
    ) {
        run(Limits { overlap, ranges_max }, block_max, start, ops)?;
    }
}

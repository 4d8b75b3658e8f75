//! What the streams of the tests carry: a byte is a function of its stream and its offset, whoever
//! writes it.

use bytes::Bytes;

use super::rng::mix;
use crate::ids::{ByteRange, StreamId};

/// The bytes of `range` of a stream.
pub(super) fn content(stream: StreamId, range: ByteRange) -> Bytes {
    let words = range.start() / 8..range.end().div_ceil(8);
    let key = mix(stream.0 ^ 0x636f_6e74_656e_7400);
    let mut bytes =
        Vec::with_capacity(usize::try_from(range.len() + 16).expect("fits into memory"));
    for word in words {
        bytes.extend_from_slice(&mix(key.wrapping_add(word)).to_le_bytes());
    }
    let skip = usize::try_from(range.start() % 8).expect("small");
    let len = usize::try_from(range.len()).expect("fits into memory");
    Bytes::from(bytes).slice(skip..skip + len)
}

/// Fails the test if `bytes` are not those of the stream at `offset`.
pub(super) fn check(stream: StreamId, offset: u64, bytes: &[u8]) {
    let range = ByteRange::with_len(offset, bytes.len() as u64).expect("a stream ends before 2^62");
    assert!(
        content(stream, range) == bytes,
        "foreign bytes in {range} of stream {stream}"
    );
}

#[test]
fn content_does_not_depend_on_how_it_is_cut() {
    let stream = StreamId(5);
    let range = |start, end| ByteRange::new(start, end).expect("ordered");
    let whole = content(stream, range(0, 100));
    for (start, end) in [(0, 0), (0, 7), (3, 8), (8, 16), (13, 100)] {
        let part = content(stream, range(start, end));
        let at = usize::try_from(start).expect("small");
        assert_eq!(part, whole[at..at + part.len()]);
    }
    assert_ne!(content(StreamId(1), range(0, 8)), whole[..8]);
}

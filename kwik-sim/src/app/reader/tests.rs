//! That wrong bytes are told from forged ones.

use kwik_core::carrier::DialTarget;

use super::*;

fn spec(has_a_liar: bool) -> ReaderSpec {
    let content = Content::new(1);
    ReaderSpec {
        server: DialTarget {
            addr: ([127, 0, 0, 1], 1).into(),
            server_name: String::new(),
            pin: [0; 32],
        },
        asks: Vec::new(),
        content,
        number: 0,
        forged: has_a_liar.then(|| content.forged()),
        marks: None,
    }
}

/// Reads 200 bytes, of which those from 50 to 150 are what `write` makes.
fn read(has_a_liar: bool, write: impl Fn(Content) -> Bytes) -> StreamRead {
    let (spec, stream) = (spec(has_a_liar), StreamId(1));
    let mut bytes = spec.content.make(stream.0, 0, 200).to_vec();
    bytes[50..150].copy_from_slice(&write(spec.content.forged()));
    let mut read = StreamRead::default();
    for part in bytes.chunks(70) {
        read.take(&spec, stream, part, Duration::ZERO);
    }
    assert_eq!(read.bytes, 200);
    read
}

#[test]
fn forged_bytes_are_known_by_their_place() {
    let honest = read(true, |_| Content::new(1).make(1, 50, 100));
    assert_eq!((honest.wrong_at, honest.forged_bytes()), (None, 0));
    let forged = read(true, |forged| forged.make(1, 50, 100));
    assert_eq!(forged.wrong_at, None);
    // Some are the same by chance.
    assert!((90..=100).contains(&forged.forged_bytes()), "{forged:?}");
    let span = forged.forged.first().zip(forged.forged.last());
    assert!(span.is_some_and(|(a, b)| a.start() >= 50 && b.end() <= 150));
}

#[test]
fn forged_bytes_are_wrong_where_no_liar_wrote_them() {
    let shifted = read(true, |forged| forged.make(1, 51, 100));
    assert!(shifted.wrong_at.is_some_and(|at| (50..60).contains(&at)));
    let of_another_stream = read(true, |forged| forged.make(5, 50, 100));
    assert!(of_another_stream.wrong_at.is_some());
    let without_a_liar = read(false, |forged| forged.make(1, 50, 100));
    assert!(without_a_liar.wrong_at.is_some());
    assert_eq!(without_a_liar.forged_bytes(), 0);
}

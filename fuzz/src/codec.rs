//! Control frames and segment headers out of arbitrary bytes.

use bytes::Bytes;
use kwik_core::wire::{ControlFrame, Decoder, LARGE_FRAME_MAX_BYTES, SegmentHeader, WireError};

/// Room for the type and the length in front of a payload.
const HEAD_MAX_BYTES: usize = 16;

/// The first byte says how the rest is cut. However it is cut, the decoder yields the same frames
/// and the same error; what it yields, it also yields from its own encoding; and it never holds more
/// than one frame of what is not whole.
#[expect(clippy::missing_panics_doc, reason = "the panic is the finding")]
pub fn codec(input: &[u8]) {
    header(input);
    let Some((&cut, bytes)) = input.split_first() else {
        return;
    };
    let whole = decode(bytes, bytes.len().max(1));
    let cut = decode(bytes, usize::from(cut).max(1));
    assert_eq!(whole, cut, "the cut changes the meaning");
    for frame in &whole.0 {
        let encoded = frame.encode();
        assert_eq!(encoded.len(), frame.encoded_len(), "{}", frame.name());
        let again = decode(&encoded, encoded.len());
        assert_eq!(again, (vec![frame.clone()], None), "{}", frame.name());
    }
}

/// All frames, and what ended them.
fn decode(bytes: &[u8], cut: usize) -> (Vec<ControlFrame>, Option<WireError>) {
    let mut decoder = Decoder::new();
    let mut frames = Vec::new();
    for piece in bytes.chunks(cut) {
        decoder.push(Bytes::copy_from_slice(piece));
        loop {
            match decoder.poll_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.poll_frame(), Err(error), "an error that passes");
                    return (frames, Some(error));
                }
            }
        }
        let held = decoder.buffered_bytes();
        assert!(held <= LARGE_FRAME_MAX_BYTES + HEAD_MAX_BYTES, "{held}");
    }
    (frames, None)
}

fn header(input: &[u8]) {
    if let Some(bytes) = input.first_chunk()
        && let Ok(header) = SegmentHeader::decode(bytes)
    {
        assert_eq!(&header.encode(), bytes, "a header has one encoding");
    }
}

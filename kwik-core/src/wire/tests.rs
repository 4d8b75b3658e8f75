use super::*;
use crate::ids::StreamId;

#[test]
fn smoke() {
    let frame = ControlFrame::MaxOffset(MaxOffset {
        stream: StreamId(4),
        offset: 1 << 40,
    });
    let mut decoder = Decoder::new();
    for byte in frame.encode() {
        assert_eq!(decoder.poll_frame(), Ok(None));
        decoder.push(bytes::Bytes::copy_from_slice(&[byte]));
    }
    assert_eq!(decoder.poll_frame(), Ok(Some(frame)));
}

//! What is encoded is decoded, however it is cut, and nothing else is.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "a test that overflows has failed"
)]

mod bad;
mod strategies;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use proptest::sample::Index;

use self::strategies::{frame, header, ranges, varint};
use super::codec::{KINDS, Kind, Writer};
use super::*;
use crate::ids::{GrantId, StreamId};
use crate::ranges::RangeSet;

/// More than a decoder may ever hold between two polls: one frame that is not whole, and its head.
const HELD_MAX_BYTES: usize = LARGE_FRAME_MAX_BYTES + 16;

/// What a decoder says to bytes that arrive in these pieces, and the most that it held.
fn decode(
    pieces: impl IntoIterator<Item = Bytes>,
) -> (Result<Vec<ControlFrame>, WireError>, usize) {
    let mut decoder = Decoder::new();
    let (mut frames, mut held_max) = (Vec::new(), 0);
    for piece in pieces {
        decoder.push(piece);
        loop {
            match decoder.poll_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (Err(error), held_max.max(decoder.buffered_bytes())),
            }
        }
        held_max = held_max.max(decoder.buffered_bytes());
    }
    (Ok(frames), held_max)
}

fn decode_one(bytes: Bytes) -> Result<Vec<ControlFrame>, WireError> {
    decode([bytes]).0
}

/// `bytes` cut at these places.
fn cut(mut bytes: Bytes, places: &[Index]) -> Vec<Bytes> {
    let mut at: Vec<usize> = places
        .iter()
        .map(|place| place.index(bytes.len() + 1))
        .collect();
    at.sort_unstable();
    let mut pieces = Vec::new();
    for place in at.into_iter().rev() {
        pieces.push(bytes.split_off(place));
    }
    pieces.push(bytes);
    pieces.reverse();
    pieces
}

/// A frame with this type and payload, whatever they are.
fn raw_frame(code: u64, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_varint(code);
    out.put_sized(payload);
    out.freeze()
}

fn code_of(frame: &ControlFrame) -> u64 {
    let known = KINDS.iter().find(|(kind, _)| kind.name == frame.name());
    known.expect("every frame has a kind").0.code
}

fn payload_of(frame: &ControlFrame) -> Bytes {
    let bytes = frame.encode();
    let (_, rest) = varint::decode(&bytes).expect("a type");
    let (len, payload) = varint::decode(rest).expect("a length");
    assert_eq!(len, payload.len() as u64);
    bytes.slice_ref(payload)
}

proptest! {
    /// [CTL-1]
    #[test]
    fn every_frame_comes_back_as_it_was_sent(frame in frame()) {
        let bytes = frame.encode();
        prop_assert_eq!(bytes.len(), frame.encoded_len());
        prop_assert_eq!(decode([bytes]), (Ok(vec![frame]), 0));
    }

    /// [CTL-7]: only a frame that is whole can be wrong.
    #[test]
    fn every_truncation_asks_for_more(frame in frame(), place in any::<Index>()) {
        let bytes = frame.encode();
        let all = if bytes.len() < 600 { 0..bytes.len() } else { place.index(bytes.len())..bytes.len() };
        // Long frames: each place near either end, and one in the middle.
        for len in all.clone().take(300).chain(all.rev().take(300)) {
            prop_assert_eq!(decode([bytes.slice(..len)]), (Ok(vec![]), len));
        }
    }

    #[test]
    fn it_does_not_matter_where_the_bytes_are_cut(
        frames in prop::collection::vec(frame(), 0..6),
        places in prop::collection::vec(any::<Index>(), 0..12),
    ) {
        let mut bytes = BytesMut::new();
        frames.iter().for_each(|frame| bytes.extend_from_slice(&frame.encode()));
        let (decoded, held) = decode(cut(bytes.freeze(), &places));
        prop_assert_eq!(decoded, Ok(frames));
        prop_assert!(held <= HELD_MAX_BYTES);
    }

    #[test]
    fn bytes_may_come_one_at_a_time_before_the_first_poll(frame in frame()) {
        let mut decoder = Decoder::new();
        for byte in frame.encode() {
            decoder.push(Bytes::copy_from_slice(&[byte]));
        }
        prop_assert_eq!(decoder.poll_frame(), Ok(Some(frame)));
        prop_assert_eq!(decoder.poll_frame(), Ok(None));
    }

    /// [CTL-2]
    #[test]
    fn longer_forms_of_type_and_length_mean_the_same(frame in frame(), form in 1u32..4) {
        let payload = payload_of(&frame);
        let mut bytes = long_form(code_of(&frame), form);
        // The shortest form of a length that needs more than two bytes has four.
        bytes.extend(long_form(payload.len() as u64, form.max(2)));
        bytes.extend_from_slice(&payload);
        prop_assert_eq!(decode_one(bytes.into()), Ok(vec![frame]));
    }

    /// [CTL-5] [EXT-2]
    #[test]
    fn frames_of_unknown_types_are_skipped(
        frames in prop::collection::vec(frame(), 0..4),
        code in varint().prop_filter("unknown", |code| KINDS.iter().all(|(kind, _)| kind.code != *code)),
        unknown in prop::collection::vec(any::<u8>(), 0..=FRAME_MAX_BYTES),
        places in prop::collection::vec(any::<Index>(), 0..8),
    ) {
        let unknown = raw_frame(code, &unknown);
        let mut bytes = BytesMut::from(&unknown[..]);
        for frame in &frames {
            bytes.extend_from_slice(&frame.encode());
            bytes.extend_from_slice(&unknown);
        }
        let (decoded, held) = decode(cut(bytes.freeze(), &places));
        prop_assert_eq!(decoded, Ok(frames));
        prop_assert!(held <= HELD_MAX_BYTES);
    }

    /// [CTL-6] [EXT-3]
    #[test]
    fn bytes_behind_the_fields_are_ignored(
        frame in frame(),
        more in prop::collection::vec(any::<u8>(), 1..64),
    ) {
        let payload = [&payload_of(&frame)[..], &more].concat();
        let max = kind_of(&frame).payload_max;
        let decoded = decode_one(raw_frame(code_of(&frame), &payload));
        if payload.len() <= max {
            prop_assert_eq!(decoded, Ok(vec![frame]));
        } else {
            let refused = matches!(decoded, Err(WireError::TooLong { .. }));
            prop_assert!(refused);
        }
    }

    /// [CTL-7]
    #[test]
    fn a_payload_that_ends_early_is_an_error(frame in frame(), place in any::<Index>()) {
        let payload = payload_of(&frame);
        if !payload.is_empty() {
            let payload = payload.slice(..place.index(payload.len()));
            let decoded = decode_one(raw_frame(code_of(&frame), &payload));
            prop_assert!(matches!(decoded, Err(WireError::Short { .. })), "{:?}", decoded);
        }
    }

    /// [CTL-4]: the announced length alone decides; not a byte of the payload is kept.
    #[test]
    fn a_length_above_the_limit_is_refused_at_once(
        code in prop_oneof![prop::sample::select(all_codes()), varint()],
        more in varint(),
    ) {
        let known = KINDS.iter().find(|(kind, _)| kind.code == code);
        let max = known.map_or(FRAME_MAX_BYTES, |(kind, _)| kind.payload_max) as u64;
        let length = max.saturating_add(more.max(1)).min(varint::VARINT_MAX);
        let mut head = BytesMut::new();
        head.put_varint(code);
        head.put_varint(length);
        let mut decoder = Decoder::new();
        decoder.push(head.freeze());
        decoder.push(Bytes::from(vec![0; 100]));
        let error = decoder.poll_frame().expect_err("too long");
        let refused = matches!(error, WireError::TooLong { length: said, .. } if said == length);
        prop_assert!(refused);
        prop_assert_eq!(decoder.buffered_bytes(), 0);
        decoder.push(ControlFrame::Joined(Joined).encode());
        prop_assert_eq!(decoder.poll_frame(), Err(error), "an error is the end");
        prop_assert_eq!(decoder.buffered_bytes(), 0);
    }

    /// [CTL-4] [CTL-7]
    #[test]
    fn arbitrary_bytes_never_panic_nor_fill_the_memory(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 0..20),
    ) {
        let (_, held) = decode(pieces.into_iter().map(Bytes::from));
        prop_assert!(held <= HELD_MAX_BYTES);
    }

    #[test]
    fn arbitrary_payloads_never_panic_and_mean_what_they_say(
        code in prop::sample::select(all_codes()),
        payload in prop::collection::vec(prop_oneof![3 => 0u8..4, 1 => any::<u8>()], 0..200),
    ) {
        if let Ok(frames) = decode_one(raw_frame(code, &payload)) {
            prop_assert_eq!(decode_one(frames[0].encode()), Ok(frames));
        }
    }

    #[test]
    fn a_damaged_frame_never_panics(
        frame in frame(),
        damage in prop::collection::vec((any::<Index>(), any::<u8>()), 1..4),
        place in any::<Index>(),
    ) {
        let mut bytes = frame.encode().to_vec();
        for (at, with) in damage {
            let at = at.index(bytes.len());
            bytes[at] = with;
        }
        let (_, held) = decode(cut(bytes.into(), &[place]));
        prop_assert!(held <= HELD_MAX_BYTES);
    }

    /// [SEG-2]
    #[test]
    fn every_segment_header_comes_back_as_it_was_sent(header in header()) {
        prop_assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
    }

    /// [SEG-2]
    #[test]
    fn sixteen_bytes_are_one_header_or_none(bytes in any::<[u8; 16]>(), low in any::<bool>()) {
        let mut bytes = bytes;
        if low {
            // Arbitrary words are almost always past 2^62.
            bytes[0] &= 0x80;
            bytes[8] = 0;
        }
        if let Ok(header) = SegmentHeader::decode(&bytes) {
            prop_assert_eq!(header.encode(), bytes);
        }
    }

    /// [CTL-9]
    #[test]
    fn split_lists_hold_every_range_once(set in ranges(400)) {
        let set: RangeSet = set.into_iter().collect();
        let lists = split_ranges(&set);
        prop_assert!(!lists.is_empty());
        prop_assert!(lists.iter().all(|list| list.len() <= RANGES_PER_FRAME_MAX));
        prop_assert!(lists.len() <= 1 || lists.iter().all(|list| !list.is_empty()));
        let joined: Vec<_> = lists.concat();
        prop_assert_eq!(joined, set.iter().collect::<Vec<_>>());
    }
}

/// The code points are fixed for ever; `protocol.md` §5 lists them.
#[test]
fn code_points_are_those_of_the_protocol() {
    let kinds: Vec<_> = KINDS
        .iter()
        .map(|(kind, _)| (kind.code, kind.name))
        .collect();
    assert_eq!(
        kinds,
        [
            (0x01, "HELLO"),
            (0x02, "PATH_STATUS"),
            (0x03, "GRANT_STATUS"),
            (0x04, "HOLE"),
            (0x05, "STREAM_DONE"),
            (0x06, "MAX_OFFSET"),
            (0x10, "WELCOME"),
            (0x11, "ADD_PATH"),
            (0x12, "RETIRE_PATH"),
            (0x13, "AGGREGATE"),
            (0x14, "FINAL_SIZE"),
            (0x20, "GRANT"),
            (0x21, "REVOKE"),
            (0x22, "RAW"),
            (0x30, "JOIN"),
            (0x31, "JOINED"),
            (0x32, "REFUSED"),
            (0x33, "GRANT_REFUSED"),
            (0x34, "GRANT_DONE"),
        ]
    );
}

/// [CTL-4]: a sealed message of the largest size fits its frame, and the longest lists do.
#[test]
fn the_longest_frames_are_within_their_limits() {
    for frame in strategies::longest() {
        assert!(
            payload_of(&frame).len() <= kind_of(&frame).payload_max,
            "{}",
            frame.name()
        );
        assert_eq!(decode_one(frame.encode()), Ok(vec![frame]));
    }
}

/// A frame outlives the datagram that brought it; what waits must not pin the whole buffer.
#[test]
fn nothing_pins_the_receive_buffer() {
    let grant = strategies::longest()
        .into_iter()
        .find(|frame| frame.name() == "GRANT");
    let bytes = grant.expect("a GRANT").encode();
    let mut decoder = Decoder::new();

    let part = bytes.slice(..100);
    drop(bytes);
    decoder.push(part.clone());
    assert_eq!(decoder.poll_frame(), Ok(None));
    assert!(part.is_unique());

    let whole = strategies::longest().remove(0).encode();
    let mut decoder = Decoder::new();
    decoder.push(whole.clone());
    let frame = decoder.poll_frame();
    assert!(matches!(frame, Ok(Some(_))));
    assert!(whole.is_unique());
}

fn kind_of(frame: &ControlFrame) -> Kind {
    let code = code_of(frame);
    KINDS
        .iter()
        .find(|(kind, _)| kind.code == code)
        .expect("known")
        .0
}

fn all_codes() -> Vec<u64> {
    KINDS.iter().map(|(kind, _)| kind.code).collect()
}

/// A varint in the form of 2^`form` bytes, which must be enough for it.
fn long_form(value: u64, form: u32) -> Vec<u8> {
    let len = 1_usize << form;
    let tagged = value | u64::from(form) << (len * 8 - 2);
    tagged.to_be_bytes()[8 - len..].to_vec()
}

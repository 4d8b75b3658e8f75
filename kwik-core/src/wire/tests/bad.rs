//! Payloads that no honest peer sends, field by field.

use bytes::{BufMut, BytesMut};

use super::super::codec::Writer;
use super::super::varint::VARINT_MAX;
use super::super::*;
use super::{GrantId, StreamId, decode_one, raw_frame};

/// The payload that these varints make.
fn varints(values: &[u64]) -> Vec<u8> {
    let mut out = BytesMut::new();
    values.iter().for_each(|&value| out.put_varint(value));
    out.to_vec()
}

#[track_caller]
fn refuses(code: u64, payload: &[u8], field: &str) {
    match decode_one(raw_frame(code, payload)) {
        Err(WireError::Invalid { field: at, .. }) => assert_eq!(at, field),
        other => panic!("{code:#x} {payload:?}: {other:?}"),
    }
}

#[track_caller]
fn accepts(code: u64, payload: &[u8]) {
    let decoded = decode_one(raw_frame(code, payload));
    assert!(
        matches!(&decoded, Ok(frames) if frames.len() == 1),
        "{decoded:?}"
    );
}

/// [PATH-1]: no frame names path 0.
#[test]
fn the_path_of_the_primary_is_never_named() {
    for code in [0x02, 0x11, 0x12, 0x22] {
        refuses(code, &varints(&[0, 1]), "path");
    }
    refuses(0x20, &varints(&[1, 0]), "path");
    refuses(0x30, &[0; 200], "path");
}

/// [STR-1]: an application holds bidirectional streams only, and never the control carrier.
#[test]
fn streams_that_no_application_holds_are_refused() {
    for stream in [0, 2, 3, 6, VARINT_MAX] {
        for code in [0x04, 0x05, 0x06, 0x13, 0x14] {
            refuses(code, &varints(&[stream, 0, 0]), "stream");
        }
        refuses(0x20, &varints(&[1, 1, stream]), "stream");
    }
}

/// [CTL-7] [EXT-4]
#[test]
fn values_without_a_meaning_are_refused() {
    accepts(0x02, &varints(&[1, 2]));
    refuses(0x02, &varints(&[1, 3]), "state");
    accepts(0x03, &varints(&[1, 1, 5]));
    refuses(0x03, &varints(&[1, 3, 5]), "outcome");
    accepts(0x03, &varints(&[1, 2, 7, 5, 0, 0]));
    refuses(0x03, &varints(&[1, 2, 8, 5, 0, 0]), "reason");
    refuses(0x03, &varints(&[1, 2, 0, 5, 2, 0]), "more");
    refuses(0x34, &varints(&[1, 2, 0]), "more");
    accepts(0x13, &varints(&[4, 0, 1, 9]));
    refuses(0x13, &varints(&[4, 0, 2, 9]), "size known");
    accepts(0x20, &varints(&[1, 1, 4, 1, 7, 0, 0, 0]));
    refuses(0x20, &varints(&[1, 1, 4, 2, 7, 0, 0, 0]), "extent");
}

/// [CTL-8]
#[test]
fn ranges_are_not_empty_and_stay_below_the_largest_offset() {
    let hole = |values: &[u64]| varints(&[&[4], values].concat());
    accepts(0x04, &hole(&[0]));
    accepts(0x04, &hole(&[2, 0, 1, 0, 1]));
    accepts(0x04, &hole(&[1, 1, VARINT_MAX - 1]));
    accepts(0x04, &hole(&[1, 0, VARINT_MAX]));
    refuses(0x04, &hole(&[1, 5, 0]), "range");
    refuses(0x04, &hole(&[2, 0, 1, 3, 0]), "range");
    refuses(0x04, &hole(&[1, 2, VARINT_MAX - 1]), "range");
    refuses(0x04, &hole(&[2, 0, VARINT_MAX, 0, 1]), "range");
    refuses(0x04, &hole(&[2, 0, 1, VARINT_MAX, VARINT_MAX]), "range");
    refuses(0x20, &varints(&[1, 1, 4, 0, 7, 0, 0, 0, 0]), "range");
    refuses(
        0x20,
        &varints(&[1, 1, 4, 0, VARINT_MAX, 1, 0, 0, 0]),
        "range",
    );
}

/// [CTL-8]
#[test]
fn a_list_of_more_ranges_than_allowed_is_refused() {
    let list = |count: usize| {
        let steps = std::iter::repeat_n(1, 2 * count);
        varints(
            &[4, count as u64]
                .into_iter()
                .chain(steps)
                .collect::<Vec<_>>(),
        )
    };
    accepts(0x04, &list(RANGES_PER_FRAME_MAX));
    refuses(0x04, &list(RANGES_PER_FRAME_MAX + 1), "number of ranges");
    refuses(0x04, &varints(&[4, VARINT_MAX]), "number of ranges");
}

/// [PATH-3]
#[test]
fn bad_addresses_names_and_tickets_are_refused() {
    let add_path = |addrs: &[u8], name: &[u8], ticket_len: usize| {
        let mut out = BytesMut::from(&[1][..]);
        out.put_slice(addrs);
        out.put_sized(name);
        out.put_slice(&[0; 32]);
        out.put_sized(&vec![0; ticket_len]);
        out.to_vec()
    };
    let one = [1, 4, 127, 0, 0, 1, 0x11, 0x51];
    accepts(0x11, &add_path(&one, b"a", TICKET_MAX_BYTES));
    refuses(0x11, &add_path(&[0], b"a", 0), "addresses");
    refuses(0x11, &add_path(&[9], b"a", 0), "addresses");
    refuses(
        0x11,
        &add_path(&[1, 5, 127, 0, 0, 1, 0x11, 0x51], b"a", 0),
        "address",
    );
    refuses(0x11, &add_path(&one, b"", 0), "server name");
    refuses(0x11, &add_path(&one, b"\xff", 0), "server name");
    refuses(
        0x11,
        &add_path(&one, &[b'a'; SERVER_NAME_MAX_BYTES + 1], 0),
        "server name",
    );
    refuses(0x11, &add_path(&one, b"a", TICKET_MAX_BYTES + 1), "ticket");
}

/// [SEAL-1]
#[test]
fn a_sealed_message_above_its_limit_is_refused() {
    let raw = |len: usize| {
        let mut out = BytesMut::from(&varints(&[1, 0])[..]);
        out.put_sized(&vec![0; len]);
        out.to_vec()
    };
    accepts(0x22, &raw(SEALED_MAX_BYTES));
    refuses(0x22, &raw(SEALED_MAX_BYTES + 1), "sealed message");
}

/// [SEG-2]
#[test]
fn segment_headers_out_of_bounds_are_refused() {
    let decode = |owner: u64, offset: u64| {
        let bytes = (u128::from(owner) << 64) | u128::from(offset);
        SegmentHeader::decode(&bytes.to_be_bytes())
    };
    let invalid = |field| {
        Err(WireError::Invalid {
            frame: "segment header",
            field,
        })
    };
    let primary = 1 << 63;
    assert_eq!(
        decode(7, VARINT_MAX),
        Ok(SegmentHeader {
            owner: SegmentOwner::Grant(GrantId(7)),
            offset: VARINT_MAX
        })
    );
    assert_eq!(
        decode(primary | 4, 9),
        Ok(SegmentHeader {
            owner: SegmentOwner::Primary(StreamId(4)),
            offset: 9
        })
    );
    for owner in [
        1 << 62,
        primary | 1 << 62,
        primary,
        primary | 2,
        primary | 3,
        u64::MAX,
    ] {
        assert_eq!(decode(owner, 0), invalid("owner"));
    }
    for offset in [1 << 62, 1 << 63, u64::MAX] {
        assert_eq!(decode(7, offset), invalid("offset"));
    }
}

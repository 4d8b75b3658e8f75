//! QUIC's variable-length integers (RFC 9000 §16).
//!
//! Owns their form. Never sees what they count.

/// The largest value.
pub(super) const VARINT_MAX: u64 = (1 << 62) - 1;

/// Longest form, bytes.
pub(super) const VARINT_LEN_MAX: usize = 8;

/// The shortest form of `value`: its bytes, right-aligned, and how many of them count. Values past
/// [`VARINT_MAX`] cannot exist in the protocol and are written as that.
pub(super) fn encode(value: u64) -> ([u8; VARINT_LEN_MAX], usize) {
    let value = value.min(VARINT_MAX);
    let (tag, len) = match value {
        0..=0x3f => (0, 1),
        0x40..=0x3fff => (0x4000, 2),
        0x4000..=0x3fff_ffff => (0x8000_0000, 4),
        _ => (0xc000_0000_0000_0000, 8),
    };
    ((value | tag).to_be_bytes(), len)
}

/// The value at the front of `bytes`, in any of its forms [CTL-2], and what follows it; `None` if
/// it is not whole.
pub(super) fn decode(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (&first, _) = bytes.split_first()?;
    let len = 1_usize << (first >> 6);
    let (form, rest) = bytes.split_at_checked(len)?;
    let mut value = u64::from(first & 0x3f);
    for &byte in form.iter().skip(1) {
        value = value << 8 | u64::from(byte);
    }
    Some((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(value: u64) -> Vec<u8> {
        let (bytes, len) = encode(value);
        bytes[VARINT_LEN_MAX.saturating_sub(len)..].to_vec()
    }

    /// The examples of RFC 9000 §A.1 [CTL-2].
    #[test]
    fn forms_are_those_of_the_rfc() {
        assert_eq!(
            form(151_288_809_941_952_652),
            [0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c]
        );
        assert_eq!(form(494_878_333), [0x9d, 0x7f, 0x3e, 0x7d]);
        assert_eq!(form(15_293), [0x7b, 0xbd]);
        assert_eq!(form(37), [0x25]);
        assert_eq!(decode(&[0x40, 0x25, 7]), Some((37, &[7][..])));
    }

    #[test]
    fn each_length_begins_where_the_one_before_ends() {
        for (value, len) in [
            (0, 1),
            (63, 1),
            (64, 2),
            (16_383, 2),
            (16_384, 4),
            ((1 << 30) - 1, 4),
            (1 << 30, 8),
            (VARINT_MAX, 8),
        ] {
            let bytes = form(value);
            assert_eq!(bytes.len(), len);
            assert_eq!(decode(&bytes), Some((value, &[][..])));
            for cut in 0..len {
                assert_eq!(decode(&bytes[..cut]), None);
            }
        }
    }

    #[test]
    fn a_value_past_the_largest_is_written_as_the_largest() {
        assert_eq!(form(u64::MAX), form(VARINT_MAX));
    }
}

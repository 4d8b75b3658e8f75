//! The header of a segment.
//!
//! Owns its sixteen bytes. Never sees the bytes behind it.

use super::WireError;
use super::varint::VARINT_MAX;
use crate::ids::{GrantId, StreamId};

/// Set in the first word: the rest of it is a stream id, not a grant id.
const PRIMARY_BIT: u64 = 1 << 63;

/// What a segment begins with [SEG-1]. Fixed 16 bytes, big-endian.
///
/// | field  | form                    | rule                                                      |
/// |--------|-------------------------|-----------------------------------------------------------|
/// | owner  | 64 bits, top bit clear  | a grant id, below 2^62 [SEG-2]                            |
/// |        | 64 bits, top bit set    | a stream id in the rest: the primary's own bytes [SEG-2]  |
/// | offset | 64 bits                 | stream offset of the first byte behind it, below 2^62 [SEG-2] |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// By which right the bytes are written.
    pub owner: SegmentOwner,
    /// Where in the stream they begin.
    pub offset: u64,
}

/// By which right a segment's bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentOwner {
    /// A grant.
    Grant(GrantId),
    /// The primary writes its own stream.
    Primary(StreamId),
}

impl SegmentHeader {
    /// Length in bytes.
    pub const LEN: usize = 16;

    /// Bytes of the stream that one segment may have behind it [SEG-10].
    pub const BODY_MAX: u64 = 1 << 20;

    /// The bytes. Ids and offsets past 2^62 - 1 cannot exist and are written as that.
    #[must_use]
    pub fn encode(self) -> [u8; Self::LEN] {
        let owner = match self.owner {
            SegmentOwner::Grant(grant) => grant.0.min(VARINT_MAX),
            SegmentOwner::Primary(stream) => stream.0.min(VARINT_MAX) | PRIMARY_BIT,
        };
        let offset = self.offset.min(VARINT_MAX);
        ((u128::from(owner) << 64) | u128::from(offset)).to_be_bytes()
    }

    /// What the bytes say.
    ///
    /// # Errors
    ///
    /// [`WireError::Invalid`] for an id or offset past 2^62 - 1 and for a stream that no
    /// application can hold.
    pub fn decode(bytes: &[u8; Self::LEN]) -> Result<Self, WireError> {
        let (owner, offset) = bytes.split_at(8);
        let (owner, offset) = (word(owner), word(offset));
        let id = owner & !PRIMARY_BIT;
        let owner = if owner & PRIMARY_BIT == 0 {
            SegmentOwner::Grant(GrantId(id))
        } else {
            SegmentOwner::Primary(StreamId(id))
        };
        let stream_possible = match owner {
            SegmentOwner::Grant(_) => true,
            SegmentOwner::Primary(stream) => is_application_stream(stream),
        };
        if id > VARINT_MAX || !stream_possible {
            return Err(invalid("owner"));
        }
        if offset > VARINT_MAX {
            return Err(invalid("offset"));
        }
        Ok(Self { owner, offset })
    }
}

/// Whether an application can hold the stream: stream 0 is the control carrier [STR-1].
pub(super) const fn is_application_stream(stream: StreamId) -> bool {
    stream.is_bidirectional() && stream.0 != 0
}

/// Up to eight bytes as a big-endian number.
fn word(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |value, &byte| value << 8 | u64::from(byte))
}

const fn invalid(field: &'static str) -> WireError {
    WireError::Invalid {
        frame: "segment header",
        field,
    }
}

//! Public codecs of the wire protocol: control frames and the segment header.
//!
//! Owns the bytes of both ([`protocol`](crate::protocol) §5 and §6.2) and every check that needs
//! nothing but the bytes themselves. Never sees who sent them, nor whether they were expected.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod codec;
mod decoder;
mod frame;
mod payload;
mod segment;
mod varint;

pub use decoder::Decoder;
pub use frame::*;
pub use segment::{SegmentHeader, SegmentOwner};

use crate::ranges::RangeSet;

/// Longest payload of a frame, bytes; GRANT and RAW have [`LARGE_FRAME_MAX_BYTES`] [CTL-4].
pub const FRAME_MAX_BYTES: usize = 4096;

/// Longest payload of a GRANT or RAW frame, bytes [CTL-4].
pub const LARGE_FRAME_MAX_BYTES: usize = 20 << 10;

/// Longest sealed command or message, bytes: 16 KiB and room for the tag [SEAL-1].
pub const SEALED_MAX_BYTES: usize = (16 << 10) + 64;

/// Ranges that one frame lists; longer lists span several frames [CTL-8] [CTL-9].
pub const RANGES_PER_FRAME_MAX: usize = 128;

/// Addresses in one ADD_PATH [PATH-3].
pub const ADDRS_MAX: usize = 8;

/// Longest server name in ADD_PATH, bytes [PATH-3].
pub const SERVER_NAME_MAX_BYTES: usize = 255;

/// Longest ticket, bytes [JOIN-2].
pub const TICKET_MAX_BYTES: usize = 512;

/// Bytes that are not what the protocol says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The announced length is above the limit of the frame.
    #[error("{frame} of {length} bytes is too long")]
    TooLong {
        /// Its name.
        frame: &'static str,
        /// The announced length.
        length: u64,
    },
    /// The payload ends before, or within, a field.
    #[error("{frame} ends before {field} does")]
    Short {
        /// Its name.
        frame: &'static str,
        /// The field.
        field: &'static str,
    },
    /// A field has a value that means nothing.
    #[error("{frame} has an impossible {field}")]
    Invalid {
        /// Its name.
        frame: &'static str,
        /// The field.
        field: &'static str,
    },
}

/// The lists in which one set of ranges is sent: each fits one frame, and there is always at least
/// one, which may be empty [CTL-9].
#[must_use]
pub fn split_ranges(set: &RangeSet) -> Vec<Ranges> {
    let mut lists = vec![Ranges::new()];
    for range in set.iter() {
        match lists.last_mut() {
            Some(list) if list.len() < RANGES_PER_FRAME_MAX => list.push(range),
            Some(_) | None => lists.push(Ranges::from_iter([range])),
        }
    }
    lists
}

/// The code point and name of every frame.
#[cfg(test)]
pub(crate) fn known_frames() -> [(u64, &'static str); codec::KINDS.len()] {
    codec::KINDS.map(|(kind, _)| (kind.code, kind.name))
}

#[cfg(test)]
mod tests;

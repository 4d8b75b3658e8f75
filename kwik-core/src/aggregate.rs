//! Many sources, one order: the bytes of a stream that several servers write.
//!
//! Owns what was received of a stream and is not read yet, and decides between copies of the same
//! bytes. Never sees a path state, a frame or a clock.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod blocks;
mod evidence;
mod reassembly;

pub use blocks::BLOCK_BYTES;
pub use reassembly::{InsertError, Inserted, Limits, Reassembly};

use crate::ids::PathId;

/// Who wrote bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The primary, which is trusted for content.
    Primary,
    /// The secondary at the end of this path.
    Secondary(PathId),
}

#[cfg(test)]
mod tests;

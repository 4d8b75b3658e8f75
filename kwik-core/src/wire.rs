//! Public codecs of the wire protocol: control frames and the segment header.

mod frame;

pub use frame::*;

/// Bytes that are not what the protocol says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Placeholder.
    #[error("malformed")]
    Malformed,
}

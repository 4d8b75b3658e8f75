//! Which server gets which range next.
//!
//! Owns what is left to do of one plan and who was given what. Pure: it is told the credit, who can
//! write and how fast, and answers with ranges. Never sees a frame, a carrier or a grant id.

use bytes::Bytes;

/// How the ranges of a plan are dealt out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// Whoever has little left to do gets the lowest range next, of a size that it writes in about
    /// a tenth of a second.
    Pull,
    /// Pieces of this size go to everybody in turn, so that all write at the same time.
    Rotate {
        /// Bytes of a piece.
        range_bytes: u64,
    },
}

/// How a range is to be written by all servers together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanSpec {
    /// What every secondary is asked for, whichever piece it gets.
    pub command: Bytes,
    /// How the pieces are dealt out.
    pub spread: Spread,
}

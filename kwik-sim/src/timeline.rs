//! The life of one scenario, to be looked at.
//!
//! Owns the way from what was [recorded](recorder) over what is drawn ([`Chart`]) to one page that
//! needs nothing else, not even a network.

mod chart;
mod page;
pub mod recorder;
mod story;
mod streams;

pub use self::chart::{Chart, FaultMark, PathLane};
pub use self::page::render;
pub use self::story::Line;
pub use self::streams::{Cells, GrantBox, LossBox, StreamChart};

#[cfg(test)]
mod tests;

//! The driver and the blocking handles over real UDP on loopback. Every wait is bounded.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test panics on whatever it does not expect"
)]

mod aggregation;
mod bulk;
mod drops;
mod fixtures;
mod idle;
mod polled;
mod sessions;
mod streams;
mod timeouts;

//! The driver and the blocking handles over real UDP on loopback. Every wait is bounded.

mod aggregation;
mod bulk;
mod drops;
mod fixtures;
mod idle;
mod polled;
mod sessions;
mod streams;
mod timeouts;

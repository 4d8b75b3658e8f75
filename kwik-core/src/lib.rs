//! One stream from several servers, on QUIC: the pure state machine.

// The vocabulary.
pub mod carrier;
pub mod config;
pub mod error;
pub mod event;
pub mod ids;
pub mod ranges;
// The rooms, in the order in which a byte meets them.
pub mod aggregate;
mod grant;
pub mod path;
pub mod ticket;
pub mod wire;

//! One stream from several servers, on QUIC: the pure state machine.

// The vocabulary.
pub mod carrier;
pub mod config;
pub mod error;
pub mod event;
pub mod ids;
pub mod ranges;
// The rooms, in the order in which a byte meets them.
pub mod wire;
pub mod path;
mod grant;
pub mod aggregate;
pub mod ticket;

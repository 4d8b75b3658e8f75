//! One stream from several servers, on QUIC: the pure state machine.

// What goes over the wire, in words.
pub mod protocol;
// The vocabulary.
pub mod carrier;
pub mod config;
pub mod error;
pub mod event;
pub mod ids;
pub mod ranges;
// The rooms, in the order in which a byte meets them.
// A datagram finds its connection, and the connection its session.
pub mod endpoint;
// Connections and carriers.
mod quic;
// Frames and headers in bytes.
pub mod wire;
// Which connections a session has.
pub mod path;
mod session;
// Who may write what.
mod grant;
// Many sources, one order.
pub mod aggregate;
// Which server gets which range next.
pub mod plan;
// Proof that a client may join, and that an order is the primary's.
pub mod ticket;

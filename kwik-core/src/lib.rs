//! One stream from several servers, on QUIC: the pure state machine.
//!
//! A client reads one stream. Its *primary* server owns the session and may name *secondary* servers;
//! the client makes one more QUIC connection, a *path*, to each. The primary *grants* a secondary a
//! range of a stream and sends it, through the client, a sealed command; the secondary writes the
//! range, the client puts every byte at its offset, and the application reads one ordered stream. A
//! secondary can neither open a stream that the application sees, nor end one, nor place a byte
//! outside its grants. The wire protocol is in [`protocol`].
//!
//! (A path of the multipath extension of QUIC lives inside one connection. Here it is a connection.)
//!
//! # Driving it
//!
//! There are no sockets, clocks, random numbers or threads in this crate: they are arguments. An
//! [`Endpoint`] takes datagrams and the time, and gives datagrams, deadlines and events; its
//! [module](endpoint) tells in which order. Sessions and their streams are used through views that are
//! borrowed from it: [`Client`](endpoint::Client), [`Primary`](endpoint::Primary),
//! [`Secondary`](endpoint::Secondary). `kwik-mio` drives it over UDP, `kwik-sim` in a simulated
//! network; `examples/blocking_udp.rs` does so in some eighty lines over a socket of the standard
//! library.
//!
//! # Errors
//!
//! They are sorted by fault: [`Misuse`](error::Misuse) is the caller's, and changes nothing;
//! [`Violation`](error::Violation) is a peer's, and costs a secondary its path, the primary its
//! session. Whatever a peer sends, nothing panics. A panic is a bug of this crate.
//!
//! # The rooms
//!
//! In the order in which a byte meets them: `endpoint` (a datagram finds its session) → `quic`
//! (connections and carriers) → [`wire`] (frames and headers) → `session` (the three roles) →
//! [`path`] (connections: states, liveness, who may be dialled) → `grant` (who may write what, and
//! what is lost) → [`aggregate`] (many sources, one order). Beside them [`plan`] (which server gets
//! which range next), [`ticket`] (who may join, and whose orders are obeyed) and `crypto` (what
//! protects the connections). `session` never sees QUIC: between the two lies [`carrier`].

// What goes over the wire, in words.
pub mod protocol;
// The vocabulary.
pub mod carrier;
pub mod config;
pub mod datagram;
pub mod error;
pub mod event;
pub mod ids;
pub mod ranges;
// The rooms, in the order in which a byte meets them.
// A datagram finds its connection, and the connection its session.
pub mod endpoint;
// What protects the connections.
#[cfg(feature = "custom-crypto")]
pub mod crypto;
#[cfg(not(feature = "custom-crypto"))]
mod crypto;
// Connections and carriers.
mod quic;
// Frames and headers in bytes.
pub mod wire;
// What a client, a primary and a secondary know and do.
mod session;
// Which connections a session has.
pub mod path;
// Who may write what.
mod grant;
// Many sources, one order.
pub mod aggregate;
// Which server gets which range next.
pub mod plan;
// Proof that a client may join, and that an order is the primary's.
pub mod ticket;

pub use carrier::{DialTarget, Now};
pub use config::Config;
pub use endpoint::Endpoint;
pub use event::{Event, EventKind};

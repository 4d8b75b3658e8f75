//! Drives KWIK ([`kwik_core`]) over UDP with mio.
//!
//! Two forms. [`Driver`] is turned by hand in the embedder's own loop and never blocks but in
//! [`Driver::turn`] (with a [`mio::Poll`] of the embedder's own: [`Port`]). The blocking handles
//! ([`Client`], [`Server`] and what they give) run a driver on a thread of their own.

// The road of a datagram: the socket and its driver, and the handles above.
pub mod blocking;
pub mod driver;
// Files over streams: the protocol of the command, and the command.
#[cfg(feature = "cli")]
pub mod cli;
pub mod file;
// What all speak of.
mod error;
mod stats;

pub use kwik_core;
pub use mio;

pub use self::blocking::{
    Client, ClientNotice, ClientOptions, PrimaryNotice, PrimarySession, RecvStream,
    SecondaryNotice, SecondarySession, Segment, SendStream, Server, ServerOptions, Session,
};
pub use self::driver::{Driver, Port};
pub use self::error::Error;
pub use self::stats::{IoStats, LatencySummary};

/// The example in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

//! Blocking handles: the core for threads that may wait.
//!
//! Owns one background thread an endpoint, which drives its socket, and the handles, which call the
//! core under the endpoint's lock and wait for what is not there yet. Never parses a datagram.
//!
//! All handles are `Clone + Send + Sync`; clones stand for the same thing, each with its own
//! timeout. A call that waits when its session closes returns the error. What dropping the last
//! clone of a handle means is said at each: an unfinished [`SendStream`] is reset, an unread
//! [`RecvStream`] is stopped, a session closes once what was finished has arrived, an endpoint ends
//! its thread. Nothing waits busily.
//!
//! Waiting for credit and taking events must not wait for each other; see
//! [`Error::EventsPending`](crate::Error::EventsPending).

mod client;
mod entry;
mod primary;
mod secondary;
mod segment;
mod server;
mod session;
mod shared;
mod stream;
mod worker;

use std::time::Duration;

pub use self::client::{Client, ClientNotice, ClientOptions};
pub use self::primary::{PrimaryNotice, PrimarySession};
pub use self::secondary::{SecondaryNotice, SecondarySession};
pub use self::segment::Segment;
pub use self::server::{Server, ServerOptions, Session};
pub use self::stream::{RecvStream, SendStream};

/// How long data in flight is waited for after the last handle of a session is gone.
const LINGER: Duration = Duration::from_secs(3);

//! The session layer: the three roles, without QUIC.
//!
//! Owns what a client, a primary and a secondary know and do. Is fed [`Input`]s, acts through
//! [`Carriers`], and leaves [`Output`]s and events behind. Buffers no application bytes but those
//! that wait behind a hole of an aggregated stream, and those that a client has not read when its
//! primary is lost.
//!
//! [`Input`]: crate::carrier::Input
//! [`Carriers`]: crate::carrier::Carriers
//! [`Output`]: crate::carrier::Output

mod client;
mod control;
mod gauges;
mod greeting;
mod primary;
mod secondary;
mod segment;

use std::sync::Arc;

use crate::carrier::{Carriers, Now};
use crate::config::Config;
use crate::ticket::{MasterKey, PeerKey};

pub(crate) use self::client::ClientSession;
pub use self::client::ClientStats;
pub use self::gauges::{
    ClientGauges, EndpointGauges, PrimaryGauges, SecondaryGauges, SessionGauges,
};
pub(crate) use self::greeting::{Greeted, Greeting, PendingJoin};
pub(crate) use self::primary::PrimarySession;
pub use self::primary::PrimaryStats;
pub(crate) use self::secondary::SecondarySession;

/// The world of one call: the time, and QUIC.
pub(crate) struct Cx<'a> {
    pub(crate) now: Now,
    pub(crate) carriers: &'a mut dyn Carriers,
}

/// What the server sessions of an endpoint share.
pub(crate) struct ServerContext {
    pub(crate) config: Arc<Config>,
    /// To issue tickets and seal commands as a primary.
    pub(crate) master: Option<MasterKey>,
    /// To check tickets and open commands as a secondary.
    pub(crate) peer: Option<PeerKey>,
    /// Wall-clock seconds at which the endpoint began; older tickets are refused.
    pub(crate) started_unix_seconds: u64,
}

#[cfg(test)]
mod tests;

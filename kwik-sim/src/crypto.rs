//! How the datagrams of a world are protected.

use serde::{Deserialize, Serialize};

/// Which handshake and packet protection the endpoints of a world use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CryptoMode {
    /// None but an integrity tag: fast, and every byte follows from the seed.
    #[default]
    Null,
    /// TLS 1.3.
    Rustls,
}

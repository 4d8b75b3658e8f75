//! How the connections of a world are protected.
//!
//! Owns the choice between TLS and the null crypto, and the null crypto itself: a handshake with the
//! flights of TLS 1.3 but without a secret, and packets that carry a check sum instead of being
//! encrypted. It is there for two reasons. TLS draws keys that no seed determines, so under it the
//! bytes of two equal worlds differ; and most of the time of a short simulated transfer goes into it.
//!
//! | module        | owns                                                             |
//! |---------------|------------------------------------------------------------------|
//! | [`null`]      | the configurations that an endpoint takes                        |
//! | `session`     | the handshake of one connection, as quinn-proto drives it        |
//! | `flights`     | who says what when, and what is believed                         |
//! | `message`     | the messages in bytes                                            |
//! | `keys`        | secrets, packet keys and the keying material that is exported    |
//!
//! What the null crypto keeps of TLS, because the protocol or a fault of the network hangs on it:
//! three packet spaces, the pin, the application protocol, key updates, the integrity of a Retry,
//! keying material that is that of one connection alone, and a tag over every packet, so that damage
//! and misrouting become losses. What it lacks: whoever shows a certificate is believed to hold its
//! key, nothing is secret, and a peer can forge what it likes. Tests of those use TLS.

mod flights;
mod keys;
mod message;
pub mod null;
mod session;

use std::sync::Arc;

use kwik_core::config::Config;
use kwik_core::endpoint::{Endpoint, EndpointError, ServerIdentity};
use serde::{Deserialize, Serialize};

use self::null::NullCrypto;
use crate::host::Birth;
use crate::trace::TraceMode;

/// How the connections of a world are protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CryptoMode {
    /// By the null crypto: quick, and the same bytes from the same seed.
    #[default]
    Null,
    /// By TLS: from the same seed the same datagrams at the same times, but not the same bytes.
    Rustls,
}

impl CryptoMode {
    /// As much of the datagrams as follows from the seed.
    #[must_use]
    pub fn trace_mode(self) -> TraceMode {
        match self {
            Self::Null => TraceMode::Bytes,
            Self::Rustls => TraceMode::Lengths,
        }
    }

    /// An endpoint that is protected so, and whose chance follows from its birth.
    ///
    /// # Errors
    ///
    /// The identity cannot be used.
    pub fn endpoint(
        self,
        config: Arc<Config>,
        identity: Option<ServerIdentity>,
        birth: &Birth,
    ) -> Result<Endpoint, EndpointError> {
        let (seed, now) = (birth.entropy, birth.moment.now);
        match self {
            Self::Null => {
                let crypto = Arc::new(NullCrypto::new(seed));
                Endpoint::with_crypto(config, identity, seed, now, crypto)
            }
            Self::Rustls => Endpoint::new(config, identity, seed, now),
        }
    }
}

//! Every random value of an endpoint, grown from one seed.
//!
//! Owns the generators and the keys that never leave this process. The same seed gives the same
//! values: a simulated run can be repeated. (The one exception is the key share of a TLS handshake,
//! which `ring` draws itself; it changes bytes, never lengths or times.)

use std::time::Duration;

use quinn_proto::{ConnectionId, ConnectionIdGenerator};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// Bytes of a connection id that a peer addresses us by.
const CID_BYTES: usize = 8;
/// Bytes of the first destination id of a dial: unpredictable, at least 8 (RFC 9000 §7.2).
const INITIAL_CID_BYTES: usize = 16;

/// What a stream of the generator is for; each use has its own, so that one more draw here never
/// changes what is drawn there.
#[derive(Clone, Copy)]
enum Use {
    Keys = 1,
    ConnectionIds = 2,
    Dials = 3,
    Sessions = 4,
}

/// The seeds and keys of one endpoint.
pub(crate) struct Entropy {
    seed: [u8; 32],
    keys: ChaCha20Rng,
    dials: ChaCha20Rng,
    sessions: ChaCha20Rng,
}

impl Entropy {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self {
            seed,
            keys: generator(seed, Use::Keys),
            dials: generator(seed, Use::Dials),
            sessions: generator(seed, Use::Sessions),
        }
    }

    /// A secret of this endpoint; call in a fixed order.
    pub(super) fn key(&mut self) -> [u8; 32] {
        draw(&mut self.keys)
    }

    /// The first destination id of a dial.
    pub(super) fn initial_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&draw::<INITIAL_CID_BYTES>(&mut self.dials))
    }

    /// The name of a session of which this end is the primary.
    pub(crate) fn session_name(&mut self) -> [u8; 16] {
        draw(&mut self.sessions)
    }

    /// The seed of a session of which this end is the client.
    pub(crate) fn session_seed(&mut self) -> [u8; 32] {
        draw(&mut self.sessions)
    }

    /// Makes the ids that peers address us by.
    pub(super) fn connection_ids(&self) -> ConnectionIds {
        ConnectionIds(generator(self.seed, Use::ConnectionIds))
    }
}

fn generator(seed: [u8; 32], purpose: Use) -> ChaCha20Rng {
    let mut rng = ChaCha20Rng::from_seed(seed);
    rng.set_stream(purpose as u64);
    rng
}

fn draw<const N: usize>(rng: &mut ChaCha20Rng) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// Random connection ids from the endpoint's seed.
#[derive(Clone)]
pub(super) struct ConnectionIds(ChaCha20Rng);

impl ConnectionIdGenerator for ConnectionIds {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&draw::<CID_BYTES>(&mut self.0))
    }

    fn cid_len(&self) -> usize {
        CID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_draw_from_separate_streams() {
        let mut a = Entropy::new([7; 32]);
        let mut b = Entropy::new([7; 32]);
        a.key();
        a.initial_cid();
        assert_eq!(a.session_seed(), b.session_seed());
        assert_eq!(
            a.connection_ids().generate_cid(),
            b.connection_ids().generate_cid()
        );
        assert_ne!(a.session_seed(), b.key());
    }
}

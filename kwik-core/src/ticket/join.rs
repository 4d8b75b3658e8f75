//! Join tickets, and the proof of the key that they name.
//!
//! Owns [`Ticket`] and [`JoinKey`]. Never sees which joins were accepted before.

use std::fmt;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use ring::{digest, hmac};

use super::{JoinError, PeerKey};
use crate::ids::{PathId, SessionId};
use crate::wire::Join;

/// Length of a ticket.
pub const TICKET_BYTES: usize = SIGNED_BYTES + MAC_BYTES;

/// No ticket is valid for longer.
pub const TICKET_LIFE_MAX: Duration = Duration::from_secs(3600);

const VERSION: u8 = 1;
const SIGNED_BYTES: usize = 1 + 16 + 8 + 8 + 8 + 32;
const MAC_BYTES: usize = 32;
const TICKET_SALT: &[u8] = b"kwik/1 ticket";
const PROOF_LABEL: &[u8] = b"kwik/1 join";

/// The primary's word that the holder of a join key may be one path of a session [KEY-2].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The session.
    pub session: SessionId,
    /// The path.
    pub path: PathId,
    /// When it was made, by the primary's clock.
    pub issued_unix_seconds: u64,
    /// Until when it can be used.
    pub expires_unix_seconds: u64,
    /// SHA-256 of the client's public key.
    pub join_key_thumbprint: [u8; 32],
}

impl Ticket {
    /// Whether the ticket can be used now, at a secondary that started then [JOIN-5]. `skew` is how
    /// far the clocks of the two servers may differ: for so long after a restart it lets a ticket
    /// in twice [SEAL-6].
    ///
    /// # Errors
    ///
    /// The bound that is broken.
    pub fn check_time(
        &self,
        now_unix: u64,
        started_unix: u64,
        skew: Duration,
    ) -> Result<(), JoinError> {
        let (issued, expires) = (self.issued_unix_seconds, self.expires_unix_seconds);
        let skew = skew.as_secs();
        match expires.checked_sub(issued) {
            Some(life) if life <= TICKET_LIFE_MAX.as_secs() => {}
            Some(_) | None => return Err(JoinError::LifeOutOfBounds),
        }
        if issued < started_unix.saturating_sub(skew) {
            return Err(JoinError::IssuedBeforeStart);
        }
        if issued > now_unix.saturating_add(skew) {
            return Err(JoinError::IssuedInFuture);
        }
        if now_unix > expires.saturating_add(skew) {
            return Err(JoinError::Expired);
        }
        Ok(())
    }

    fn signed_bytes(&self) -> BytesMut {
        let mut out = BytesMut::with_capacity(TICKET_BYTES);
        out.put_u8(VERSION);
        out.put_slice(&self.session.0);
        out.put_u64(self.path.0);
        out.put_u64(self.issued_unix_seconds);
        out.put_u64(self.expires_unix_seconds);
        out.put_slice(&self.join_key_thumbprint);
        out
    }

    /// The fields of a ticket without its MAC; `None` if they are not [`SIGNED_BYTES`] of this version.
    fn parse(signed: &[u8]) -> Option<Self> {
        let (version, rest) = signed.split_first()?;
        let (session, rest) = rest.split_first_chunk()?;
        let (path, rest) = rest.split_first_chunk()?;
        let (issued, rest) = rest.split_first_chunk()?;
        let (expires, rest) = rest.split_first_chunk()?;
        let thumbprint = rest.try_into().ok()?;
        (*version == VERSION).then_some(Self {
            session: SessionId(*session),
            path: PathId(u64::from_be_bytes(*path)),
            issued_unix_seconds: u64::from_be_bytes(*issued),
            expires_unix_seconds: u64::from_be_bytes(*expires),
            join_key_thumbprint: thumbprint,
        })
    }
}

impl PeerKey {
    /// The bytes of a ticket for the secondary that has this key.
    #[must_use]
    pub fn issue(&self, ticket: &Ticket) -> Bytes {
        let mut out = ticket.signed_bytes();
        let mac = hmac::sign(&self.ticket_key(), &out);
        out.put_slice(mac.as_ref());
        out.freeze()
    }

    /// What a ticket says, if it was made with this key. The comparison takes constant time. Says
    /// nothing about the time, nor about who shows it: see [`Self::verify_join`].
    ///
    /// # Errors
    ///
    /// [`JoinError::Malformed`] or [`JoinError::Forged`].
    pub fn verify(&self, ticket: &[u8]) -> Result<Ticket, JoinError> {
        let (signed, mac) = ticket
            .split_at_checked(SIGNED_BYTES)
            .ok_or(JoinError::Malformed)?;
        if mac.len() != MAC_BYTES {
            return Err(JoinError::Malformed);
        }
        hmac::verify(&self.ticket_key(), signed, mac).map_err(|_| JoinError::Forged)?;
        Ticket::parse(signed).ok_or(JoinError::Malformed)
    }

    /// Everything that makes a JOIN acceptable but the clock: the ticket is ours, is one of this
    /// session and path, and its holder is at the other end of the connection with this TLS exporter.
    /// [`Ticket::check_time`] is left to do.
    ///
    /// # Errors
    ///
    /// The first thing that does not hold.
    pub fn verify_join(&self, join: &Join, exporter: &[u8; 32]) -> Result<Ticket, JoinError> {
        let ticket = self.verify(&join.ticket)?;
        if (ticket.session, ticket.path) != (join.session, join.path) {
            return Err(JoinError::OtherPath);
        }
        // Neither is a secret: anybody may learn how long this comparison takes.
        if ticket.join_key_thumbprint != thumbprint(&join.join_key) {
            return Err(JoinError::OtherKey);
        }
        verify_proof(&join.join_key, &join.proof, exporter, &join.ticket)?;
        Ok(ticket)
    }

    fn ticket_key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.derive(TICKET_SALT, &[]))
    }
}

/// The key pair with which a client proves that a ticket is its own.
pub struct JoinKey(Ed25519KeyPair);

impl JoinKey {
    /// The key pair of this seed, which has to be random.
    #[must_use]
    #[expect(
        clippy::missing_panics_doc,
        reason = "ring refuses seeds of other lengths only"
    )]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(seed).expect("an Ed25519 seed is 32 bytes"))
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        to_array(self.0.public_key().as_ref())
    }

    /// SHA-256 of the public half.
    #[must_use]
    pub fn thumbprint(&self) -> [u8; 32] {
        thumbprint(&self.public_key())
    }

    /// Proof that this key is at this end of the connection with this TLS exporter.
    #[must_use]
    pub fn prove(&self, exporter: &[u8; 32], ticket: &[u8]) -> [u8; 64] {
        to_array(self.0.sign(&proof_message(exporter, ticket)).as_ref())
    }
}

impl fmt::Debug for JoinKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinKey").finish_non_exhaustive()
    }
}

/// What a ticket says of a join key: SHA-256 of the public key.
#[must_use]
pub fn thumbprint(public_key: &[u8; 32]) -> [u8; 32] {
    sha256(public_key)
}

/// Checks a proof made by [`JoinKey::prove`].
///
/// # Errors
///
/// [`JoinError::BadProof`] if the key did not sign this exporter and this ticket.
pub fn verify_proof(
    public_key: &[u8; 32],
    proof: &[u8; 64],
    exporter: &[u8; 32],
    ticket: &[u8],
) -> Result<(), JoinError> {
    UnparsedPublicKey::new(&ED25519, public_key)
        .verify(&proof_message(exporter, ticket), proof)
        .map_err(|_| JoinError::BadProof)
}

fn proof_message(exporter: &[u8; 32], ticket: &[u8]) -> Vec<u8> {
    [PROOF_LABEL, exporter, &sha256(ticket)].concat()
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    to_array(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// Fixed-length output of an algorithm as an array.
fn to_array<const N: usize>(output: &[u8]) -> [u8; N] {
    output
        .try_into()
        .expect("keys, signatures and digests have the length of their algorithm")
}

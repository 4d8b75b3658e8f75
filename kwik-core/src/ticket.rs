//! Proof that a client may join a secondary, and seals that only the primary can make.
//!
//! Owns every key of KWIK and what is derived from it. Never sees a connection, a clock or a source
//! of randomness: time, seeds and the TLS exporter are arguments.
//!
//! All integers are big-endian, all labels ASCII without a terminator. `HKDF(salt, secret, info)` is
//! HKDF-SHA256 (RFC 5869), extract and expand, with 32 bytes of output.
//!
//! # Keys
//!
//! | key | derivation |
//! |---|---|
//! | peer key | `HKDF("kwik/1 peer key", master key, pin)`; pin: SHA-256 of the secondary's SubjectPublicKeyInfo |
//! | ticket key | `HKDF("kwik/1 ticket", peer key, "")` |
//! | sealing key | `HKDF("kwik/1 seal", peer key, session id ‖ path id u64)` |
//!
//! Peer keys are pairwise: who steals one secondary's key commands no other secondary.
//!
//! # Ticket
//!
//! 105 bytes: `version u8 = 1, session 16, path u64, issued u64, expires u64, thumbprint 32, mac 32`.
//! The times are Unix seconds. `mac = HMAC-SHA256(ticket key, the 73 bytes before it)`. The thumbprint
//! is the SHA-256 of the client's Ed25519 public key, the *join key*.
//!
//! # Proof
//!
//! An Ed25519 signature (RFC 8032) by the join key over
//! `"kwik/1 join" ‖ TLS exporter of this connection 32 ‖ SHA-256(ticket)`. Whoever copies a ticket
//! from the wire cannot use it on another connection.
//!
//! # Seal
//!
//! ChaCha20-Poly1305 (RFC 8439) under the sealing key. `nonce = 4 zero bytes ‖ seq u64`; the sequence
//! numbers count the seals of one path from 0, grants and raw messages together. Associated data:
//!
//! - of a raw message: `2 u8, session 16, path u64`;
//! - of a grant: `1 u8, session 16, path u64, grant u64, stream u64, extent u8, start u64, end u64`,
//!   where extent is 0 for a fixed range and 1 for an open one, whose end is written as 0.
//!
//! A receiver accepts each sequence number once, in any order within [`SEQ_WINDOW`]: a client may
//! have to withhold a grant for lack of credit while later messages pass (`protocol.md`, seals).

mod join;
mod keys;
mod seal;

pub use join::{JoinKey, TICKET_BYTES, TICKET_LIFE_MAX, Ticket, thumbprint, verify_proof};
pub use keys::{MasterKey, PeerKey};
pub use seal::{Opener, SEAL_OVERHEAD_BYTES, SEQ_WINDOW, Sealer};

/// Why a secondary turns a join down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// Not a ticket of this version.
    #[error("the ticket is malformed")]
    Malformed,
    /// The ticket was not made with this secondary's peer key.
    #[error("the ticket was not issued for this server")]
    Forged,
    /// The ticket names another session or path than the join.
    #[error("the ticket is one of another session or path")]
    OtherPath,
    /// The ticket was issued before this secondary started: it may have been used already.
    #[error("the ticket was issued before this server started")]
    IssuedBeforeStart,
    /// The ticket was issued later than now, beyond the clock skew.
    #[error("the ticket was issued in the future")]
    IssuedInFuture,
    /// The ticket expired.
    #[error("the ticket has expired")]
    Expired,
    /// The ticket lives for longer than [`TICKET_LIFE_MAX`], or not at all.
    #[error("the life of the ticket is out of bounds")]
    LifeOutOfBounds,
    /// The key that proves the join is not the one that the ticket names.
    #[error("the ticket names another join key")]
    OtherKey,
    /// The signature does not hold for this connection and this ticket.
    #[error("the proof does not hold for this connection")]
    BadProof,
}

/// Why a sealed message is not opened. It has consumed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Not made with the sealing key of this path, or not for this grant, stream and range.
    #[error("the seal does not hold")]
    Forged,
    /// A seal with this sequence number was opened before.
    #[error("the seal was opened before")]
    Replayed,
    /// The sequence number is [`SEQ_WINDOW`] or more below the highest one.
    #[error("the seal is too old")]
    TooOld,
}

#[cfg(test)]
mod tests;

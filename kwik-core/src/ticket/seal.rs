//! Orders of the primary that pass through the client unread and unchanged.
//!
//! Owns the two ends of a seal. Never sees what the sealed bytes mean, nor the frames' encoding.

use std::fmt;

use bytes::{BufMut, Bytes};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::{PeerKey, SealError};
use crate::ids::{GrantId, PathId, SessionId, StreamId};
use crate::wire::{Extent, Grant, Raw, Sealed};

/// Sequence numbers at and below the highest one that can still be accepted.
pub const SEQ_WINDOW: u64 = 64 * WINDOW_WORDS as u64;

/// How much longer a sealed message is than the message.
pub const SEAL_OVERHEAD_BYTES: usize = 16;

const WINDOW_WORDS: usize = 16;
const SEAL_SALT: &[u8] = b"kwik/1 seal";
const KIND_GRANT: u8 = 1;
const KIND_RAW: u8 = 2;
const EXTENT_FIXED: u8 = 0;
const EXTENT_OPEN: u8 = 1;

/// The primary's end of the seals of one path. There must never be two for one session and path:
/// they would use a nonce twice [SEAL-5].
pub struct Sealer {
    key: LessSafeKey,
    session: SessionId,
    path: PathId,
    next_seq: u64,
}

impl Sealer {
    /// The sealing end for a path to the secondary that has this key.
    #[must_use]
    pub fn new(peer: &PeerKey, session: SessionId, path: PathId) -> Self {
        Self {
            key: sealing_key(peer, session, path),
            session,
            path,
            next_seq: 0,
        }
    }

    /// Seals the command of a grant, bound to the grant, its stream and its range.
    pub fn seal_grant(
        &mut self,
        grant: GrantId,
        stream: StreamId,
        extent: Extent,
        command: &[u8],
    ) -> Sealed {
        let aad = grant_aad(self.session, self.path, grant, stream, extent);
        self.seal(&aad, command)
    }

    /// Seals a message that belongs to no stream.
    pub fn seal_raw(&mut self, message: &[u8]) -> Sealed {
        let aad = raw_aad(self.session, self.path);
        self.seal(&aad, message)
    }

    fn seal(&mut self, aad: &[u8], message: &[u8]) -> Sealed {
        let seq = self.next_seq;
        self.next_seq += 1;
        let mut bytes = Vec::with_capacity(message.len() + SEAL_OVERHEAD_BYTES);
        bytes.extend_from_slice(message);
        self.key
            .seal_in_place_append_tag(nonce(seq), Aad::from(aad), &mut bytes)
            .expect("ChaCha20-Poly1305 takes messages of up to 256 GiB");
        Sealed {
            seq,
            bytes: Bytes::from(bytes),
        }
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer")
            .field("session", &self.session)
            .field("path", &self.path)
            .field("next_seq", &self.next_seq)
            .finish_non_exhaustive()
    }
}

/// The secondary's end of the seals of one path.
pub struct Opener {
    key: LessSafeKey,
    session: SessionId,
    seen: SeqWindow,
}

impl Opener {
    /// The opening end for a path of this session.
    #[must_use]
    pub fn new(peer: &PeerKey, session: SessionId, path: PathId) -> Self {
        Self {
            key: sealing_key(peer, session, path),
            session,
            seen: SeqWindow::default(),
        }
    }

    /// The command of a grant, if the primary sealed it for exactly this grant and it is new.
    /// `max_offset` is the client's to say and not covered.
    ///
    /// # Errors
    ///
    /// Why it is refused; then its sequence number can still be used.
    pub fn open_grant(&mut self, grant: &Grant) -> Result<Bytes, SealError> {
        // The key is that of our own path: a grant that names another one does not open.
        let aad = grant_aad(
            self.session,
            grant.path,
            grant.grant,
            grant.stream,
            grant.extent,
        );
        self.open(&aad, &grant.sealed)
    }

    /// A message that belongs to no stream, if the primary sealed it and it is new.
    ///
    /// # Errors
    ///
    /// Why it is refused; then its sequence number can still be used.
    pub fn open_raw(&mut self, raw: &Raw) -> Result<Bytes, SealError> {
        let aad = raw_aad(self.session, raw.path);
        self.open(&aad, &raw.sealed)
    }

    fn open(&mut self, aad: &[u8], sealed: &Sealed) -> Result<Bytes, SealError> {
        self.seen.check(sealed.seq)?;
        let mut bytes = sealed.bytes.to_vec();
        let len = self
            .key
            .open_in_place(nonce(sealed.seq), Aad::from(aad), &mut bytes)
            .map_err(|_| SealError::Forged)?
            .len();
        bytes.truncate(len);
        self.seen.mark(sealed.seq);
        Ok(Bytes::from(bytes))
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

/// Which sequence numbers were accepted [SEAL-4].
///
/// ```text
///  refused: too old │ one bit each, at seq % SEQ_WINDOW │ accepted
///  ─────────────────┼───────────────────────────────────┼─────────▶ seq
///          next - SEQ_WINDOW                          next
/// ```
#[derive(Default)]
struct SeqWindow {
    /// One past the highest number accepted.
    next: u64,
    accepted: [u64; WINDOW_WORDS],
}

impl SeqWindow {
    fn check(&self, seq: u64) -> Result<(), SealError> {
        if seq >= self.next {
            return Ok(());
        }
        if self.next - seq > SEQ_WINDOW {
            return Err(SealError::TooOld);
        }
        let (word, bit) = place(seq);
        if self.accepted[word] & bit != 0 {
            return Err(SealError::Replayed);
        }
        Ok(())
    }

    /// Accepts a number that [`Self::check`] let pass.
    fn mark(&mut self, seq: u64) {
        // The places of numbers that are passed over hold bits of numbers that fall out now.
        if seq.saturating_sub(self.next) >= SEQ_WINDOW {
            self.accepted.fill(0);
        } else {
            for skipped in self.next..seq {
                let (word, bit) = place(skipped);
                self.accepted[word] &= !bit;
            }
        }
        let (word, bit) = place(seq);
        self.accepted[word] |= bit;
        self.next = self.next.max(seq.saturating_add(1));
    }
}

/// The word and the bit of a sequence number.
const fn place(seq: u64) -> (usize, u64) {
    let word = (seq / 64) % WINDOW_WORDS as u64;
    (word as usize, 1 << (seq % 64))
}

fn sealing_key(peer: &PeerKey, session: SessionId, path: PathId) -> LessSafeKey {
    let key = peer.derive(SEAL_SALT, &[&session.0, &path.0.to_be_bytes()]);
    LessSafeKey::new(
        UnboundKey::new(&CHACHA20_POLY1305, &key).expect("a ChaCha20-Poly1305 key is 32 bytes"),
    )
}

/// [SEAL-2]
fn nonce(seq: u64) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[4..].copy_from_slice(&seq.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

fn raw_aad(session: SessionId, path: PathId) -> Vec<u8> {
    aad(KIND_RAW, session, path)
}

/// What a seal binds its command to; `max_offset` is the client's to say [SEAL-2].
fn grant_aad(
    session: SessionId,
    path: PathId,
    grant: GrantId,
    stream: StreamId,
    extent: Extent,
) -> Vec<u8> {
    let mut aad = aad(KIND_GRANT, session, path);
    aad.put_u64(grant.0);
    aad.put_u64(stream.0);
    let (kind, start, end) = match extent {
        Extent::Fixed(range) => (EXTENT_FIXED, range.start(), range.end()),
        Extent::Open { start } => (EXTENT_OPEN, start, 0),
    };
    aad.put_u8(kind);
    aad.put_u64(start);
    aad.put_u64(end);
    aad
}

fn aad(kind: u8, session: SessionId, path: PathId) -> Vec<u8> {
    let mut aad = Vec::with_capacity(64);
    aad.put_u8(kind);
    aad.put_slice(&session.0);
    aad.put_u64(path.0);
    aad
}

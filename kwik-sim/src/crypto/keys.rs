//! Secrets that everybody could compute, and the tags of packets.
//!
//! Owns the hash that everything here is made of, XXH3: its values are laid down by a specification,
//! so that a hash of a trace means the same on every machine and with every release, and 1200 bytes
//! take it a tenth of a microsecond. Never sees a message of a handshake.

use bytes::BytesMut;
use quinn_proto::crypto::{CryptoError, HeaderKey, KeyPair, Keys, PacketKey};
use quinn_proto::{ConnectionId, Side};
use twox_hash::{XxHash3_64, XxHash3_128};

/// Bytes of the tag at the end of every packet, as many as those of TLS's ciphers.
pub(super) const TAG_BYTES: usize = 16;

/// Bytes that a header key samples: none are looked at, but the packets are padded as under TLS.
const SAMPLE_BYTES: usize = 16;

/// The bounds of AES-GCM in QUIC (RFC 9001 §6.6): the first makes quinn-proto update its keys.
const CONFIDENTIALITY_LIMIT_PACKETS: u64 = 1 << 23;
const INTEGRITY_LIMIT_PACKETS: u64 = 1 << 52;

/// Something that both ends of one connection know, and by chance nobody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Secret([u8; 16]);

impl Secret {
    /// The secret of these parts in this order; no other division of the same bytes has it.
    pub(super) fn of(parts: &[&[u8]]) -> Self {
        let mut bytes = Vec::new();
        for part in parts {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part);
        }
        Self(XxHash3_128::oneshot(&bytes).to_le_bytes())
    }

    /// The secret that follows from this one for one use.
    pub(super) fn derive(self, purpose: &[u8], context: &[u8]) -> Self {
        Self::of(&[&self.0, purpose, context])
    }

    /// Any number of bytes that follow from this secret for one use; other lengths, other bytes.
    pub(super) fn expand(self, purpose: &[u8], context: &[u8], output: &mut [u8]) {
        let length = (output.len() as u64).to_le_bytes();
        let key = Self::of(&[&self.0, purpose, context, &length]);
        for (piece, ordinal) in output.chunks_mut(16).zip(0_u64..) {
            let bytes = key.derive(b"piece", &ordinal.to_le_bytes()).0;
            piece.copy_from_slice(&bytes[..piece.len()]);
        }
    }

    /// The keys of a packet space that this is the secret of.
    pub(super) fn keys(self, side: Side) -> Keys {
        Keys {
            header: KeyPair {
                local: Box::new(Bare),
                remote: Box::new(Bare),
            },
            packet: self.packet_keys(side),
        }
    }

    pub(super) fn packet_keys(self, side: Side) -> KeyPair<Box<dyn PacketKey>> {
        let key = |sender: Side| -> Box<dyn PacketKey> {
            let sender: &[u8] = if sender.is_client() {
                b"client"
            } else {
                b"server"
            };
            Box::new(Tagger::new(self.derive(b"packets", sender)))
        };
        KeyPair {
            local: key(side),
            remote: key(!side),
        }
    }
}

/// The keys of Initial packets, which hang on the first destination id alone.
pub(super) fn initial(dst_cid: &ConnectionId, side: Side) -> Keys {
    Secret::of(&[b"initial", dst_cid]).keys(side)
}

/// What shows the client that a Retry answers its own first packet, undamaged.
pub(super) fn retry_tag(orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; TAG_BYTES] {
    Secret::of(&[b"retry", orig_dst_cid, packet]).0
}

/// Leaves headers as they are.
struct Bare;

impl HeaderKey for Bare {
    fn decrypt(&self, _pn_offset: usize, _packet: &mut [u8]) {}

    fn encrypt(&self, _pn_offset: usize, _packet: &mut [u8]) {}

    fn sample_size(&self) -> usize {
        SAMPLE_BYTES
    }
}

/// Leaves payloads as they are, and appends a tag over all of the packet.
struct Tagger {
    header_seed: u64,
    payload_seed: u64,
}

impl Tagger {
    fn new(secret: Secret) -> Self {
        let whole = u128::from_le_bytes(secret.0);
        let [payload_seed, header_seed] = [whole & u128::from(u64::MAX), whole >> 64]
            .map(|half| u64::try_from(half).unwrap_or_default());
        Self {
            header_seed,
            payload_seed,
        }
    }

    /// The header seeds the hash of the payload, and key and number that of the header.
    fn tag(&self, packet: u64, header: &[u8], payload: &[u8]) -> [u8; TAG_BYTES] {
        let number = XxHash3_64::oneshot_with_seed(self.header_seed, &packet.to_le_bytes());
        let header = XxHash3_64::oneshot_with_seed(number, header);
        XxHash3_128::oneshot_with_seed(header ^ self.payload_seed, payload).to_le_bytes()
    }
}

impl PacketKey for Tagger {
    fn encrypt(&self, packet: u64, buf: &mut [u8], header_len: usize) {
        let (header, rest) = buf.split_at_mut(header_len);
        let (payload, tag) = rest.split_at_mut(rest.len() - TAG_BYTES);
        tag.copy_from_slice(&self.tag(packet, header, payload));
    }

    fn decrypt(
        &self,
        packet: u64,
        header: &[u8],
        payload: &mut BytesMut,
    ) -> Result<(), CryptoError> {
        let Some((text, tag)) = payload.split_last_chunk::<TAG_BYTES>() else {
            return Err(CryptoError);
        };
        if *tag != self.tag(packet, header, text) {
            return Err(CryptoError);
        }
        payload.truncate(payload.len() - TAG_BYTES);
        Ok(())
    }

    fn tag_len(&self) -> usize {
        TAG_BYTES
    }

    fn confidentiality_limit(&self) -> u64 {
        CONFIDENTIALITY_LIMIT_PACKETS
    }

    fn integrity_limit(&self) -> u64 {
        INTEGRITY_LIMIT_PACKETS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_are_divided_otherwise_have_another_secret() {
        assert_ne!(Secret::of(&[b"ab", b"c"]), Secret::of(&[b"a", b"bc"]));
        assert_ne!(Secret::of(&[b"a"]), Secret::of(&[b"a", b""]));
    }
}

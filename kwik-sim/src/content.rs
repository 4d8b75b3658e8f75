//! What the streams of a simulated world carry.
//!
//! Owns a keyed function of stream and offset. Whoever writes a byte computes it and whoever reads it
//! checks it, so a misplaced byte or a leaked header byte is caught without storing a file.

use bytes::Bytes;

use crate::rng::{Chance, GOLDEN, Purpose, mix};

/// Bytes that are computed together.
pub(crate) const WORD_BYTES: usize = 8;

/// The index of the word that an offset lies in, and its place there.
pub(crate) const fn place(offset: u64) -> (u64, usize) {
    (offset / 8, (offset % 8) as usize)
}

/// The content of all streams of one world.
#[derive(Clone, Copy, Debug)]
pub struct Content {
    key: u64,
}

impl Content {
    /// The content that belongs to a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            key: Chance::new(seed, Purpose::Content, 0).draw(0),
        }
    }

    /// Another content, as a liar would write it.
    #[must_use]
    pub const fn forged(self) -> Self {
        Self {
            key: mix(self.key ^ GOLDEN),
        }
    }

    /// The content of a secondary with this index, where each server writes its own.
    #[must_use]
    pub const fn marked(self, index: usize) -> Self {
        Self {
            key: mix(self.key ^ mix(GOLDEN.wrapping_add(1 + index as u64))),
        }
    }

    /// The content that another client is given, by number: 0 is the one of which most is told. So nobody
    /// can mistake the bytes of one session for those of another.
    #[must_use]
    pub const fn of_client(self, number: u8) -> Self {
        match number {
            0 => self,
            _ => Self {
                key: mix(self.key.wrapping_add(number as u64)),
            },
        }
    }

    /// The content of one stream, word by word.
    pub(crate) fn words(self, stream: u64) -> Words {
        Words {
            key: mix(self.key ^ mix(stream)),
        }
    }

    /// The `len` bytes of `stream` from `offset` on.
    #[must_use]
    pub fn make(self, stream: u64, offset: u64, len: usize) -> Bytes {
        let mut bytes = vec![0; len];
        self.each_word(stream, offset, bytes.len(), |span, word| {
            bytes[span].copy_from_slice(word);
            true
        });
        bytes.into()
    }

    /// The offset of the first of `bytes` that is not what `stream` has there.
    #[must_use]
    pub fn first_difference(self, stream: u64, offset: u64, bytes: &[u8]) -> Option<u64> {
        let mut found = None;
        self.each_word(stream, offset, bytes.len(), |span, word| {
            let part = &bytes[span.clone()];
            if part != word {
                let within = part.iter().zip(word).take_while(|(a, b)| a == b).count();
                found = Some(offset + (span.start + within) as u64);
            }
            found.is_none()
        });
        found
    }

    /// Cuts `len` bytes from `offset` on at the borders of the words of the content; hands each part
    /// its bytes, until told to stop.
    fn each_word(
        self,
        stream: u64,
        offset: u64,
        len: usize,
        mut visit: impl FnMut(std::ops::Range<usize>, &[u8]) -> bool,
    ) {
        let words = self.words(stream);
        let mut at = 0;
        while at < len {
            let position = offset + at as u64;
            let (index, skip) = place(position);
            let word = words.at(index);
            let end = len.min(at + WORD_BYTES - skip);
            if !visit(at..end, &word[skip..skip + end - at]) {
                return;
            }
            at = end;
        }
    }
}

/// The content of one stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words {
    key: u64,
}

impl Words {
    /// The word with this index: the bytes of the stream from eight times as far on.
    pub(crate) fn at(self, index: u64) -> [u8; WORD_BYTES] {
        mix(self.key ^ index.wrapping_mul(GOLDEN)).to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_depends_on_stream_and_offset_only() {
        let content = Content::new(1);
        let whole = content.make(4, 0, 100);
        for start in 0..100u8 {
            for end in start..100 {
                let (start, end) = (usize::from(start), usize::from(end));
                let part = content.make(4, start as u64, end - start);
                assert_eq!(part, whole.slice(start..end));
            }
        }
        assert_ne!(content.make(8, 0, 100), whole);
        assert_ne!(Content::new(2).make(4, 0, 100), whole);
    }

    #[test]
    fn a_single_wrong_byte_is_found_where_it_is() {
        let content = Content::new(1);
        for wrong in 0..40 {
            let mut bytes = content.make(0, 1003, 40).to_vec();
            assert_eq!(content.first_difference(0, 1003, &bytes), None);
            bytes[wrong] ^= 1;
            let found = content.first_difference(0, 1003, &bytes);
            assert_eq!(found, Some(1003 + wrong as u64));
        }
    }

    #[test]
    fn shifted_content_does_not_pass() {
        let content = Content::new(1);
        let bytes = content.make(0, 0, 4096);
        assert!(content.first_difference(0, 1, &bytes).is_some());
        assert!(content.first_difference(0, 8, &bytes).is_some());
        assert!(content.first_difference(1, 0, &bytes).is_some());
    }
}

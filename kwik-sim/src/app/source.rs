//! A run of content on its way into an endpoint.
//!
//! Owns how far it has come and the bytes that were made and not yet taken.

use bytes::Bytes;

use crate::content::Content;

/// Bytes made at a time: large enough not to be split needlessly, small enough not to be made in vain.
const CHUNK_BYTES: u64 = 64 << 10;

/// The bytes from one offset of a stream to another, lowest first.
pub(super) struct Source {
    content: Content,
    stream: u64,
    /// The offset of the next byte to make.
    at: u64,
    end: u64,
    pending: Bytes,
    is_blocked: bool,
}

/// How far it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pumped {
    /// All was taken.
    Done,
    /// All was taken that was to be made for now.
    Spent,
    /// No more is taken for now.
    Blocked,
}

impl Source {
    pub(super) fn new(content: Content, stream: u64, start: u64, end: u64) -> Self {
        Self {
            content,
            stream,
            at: start,
            end,
            pending: Bytes::new(),
            is_blocked: false,
        }
    }

    /// Hands bytes to `write`, which takes some off the front, until it leaves some; but makes no more than
    /// `most` bytes. What was made before is not counted.
    pub(super) fn pump_some<E>(
        &mut self,
        most: u64,
        mut write: impl FnMut(&mut Bytes) -> Result<usize, E>,
    ) -> Result<Pumped, E> {
        let mut most = most;
        self.is_blocked = false;
        loop {
            if self.pending.is_empty() {
                let left = self.end.saturating_sub(self.at);
                if left == 0 {
                    return Ok(Pumped::Done);
                }
                let len = left.min(CHUNK_BYTES).min(most);
                if len == 0 {
                    return Ok(Pumped::Spent);
                }
                most -= len;
                let len_usize = usize::try_from(len).unwrap_or(0);
                self.pending = self.content.make(self.stream, self.at, len_usize);
                self.at += len;
            }
            write(&mut self.pending)?;
            if !self.pending.is_empty() {
                self.is_blocked = true;
                return Ok(Pumped::Blocked);
            }
        }
    }

    /// The stream.
    pub(super) fn stream(&self) -> u64 {
        self.stream
    }

    /// The offset of the next byte to be made.
    pub(super) const fn made(&self) -> u64 {
        self.at
    }

    /// Whether some of what was made was not taken, and nobody was asked again since.
    pub(super) const fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    /// The offset of the next byte to be taken.
    pub(super) fn next(&self) -> u64 {
        self.at - self.pending.len() as u64
    }

    /// Nothing is wanted from `end` on.
    pub(super) fn truncate(&mut self, end: u64) {
        let next = self.next();
        let keep = usize::try_from(end.saturating_sub(next)).unwrap_or(usize::MAX);
        self.pending.truncate(keep);
        self.at = next + self.pending.len() as u64;
        self.end = self.end.min(end);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Buf;

    use super::*;

    #[test]
    fn every_byte_is_offered_once_and_in_order() {
        let content = Content::new(1);
        let mut source = Source::new(content, 4, 10, 200_000);
        let mut taken = Vec::new();
        loop {
            let mut room = 7_000;
            let pumped = source.pump_some(u64::MAX, |bytes| {
                let take = bytes.len().min(room);
                room -= take;
                taken.extend_from_slice(&bytes[..take]);
                bytes.advance(take);
                Ok::<_, Infallible>(take)
            });
            if pumped == Ok(Pumped::Done) {
                break;
            }
        }
        assert_eq!(taken, content.make(4, 10, 199_990));
    }

    #[test]
    fn no_more_is_made_than_was_said_and_what_was_left_is_offered_again() {
        let mut source = Source::new(Content::new(1), 4, 0, 1000);
        let mut taken = 0;
        let mut pump = |most: u64, room: usize| {
            let pumped = source.pump_some(most, |bytes| {
                let take = bytes.len().min(room);
                taken += take;
                bytes.advance(take);
                Ok::<_, Infallible>(take)
            });
            (pumped, taken)
        };
        assert_eq!(pump(300, 1000), (Ok(Pumped::Spent), 300));
        assert_eq!(pump(300, 100), (Ok(Pumped::Blocked), 400));
        assert_eq!(pump(0, 1000), (Ok(Pumped::Spent), 600));
        assert_eq!(pump(400, 1000), (Ok(Pumped::Done), 1000));
    }

    #[test]
    fn a_truncated_source_ends_where_it_was_cut() {
        for (cut, left) in [(0, 0), (50, 0), (150, 50), (1000, 900)] {
            let mut source = Source::new(Content::new(1), 4, 0, 1000);
            let mut taken = 0;
            let mut take = |room: usize| {
                source.pump_some(u64::MAX, |bytes| {
                    let take = bytes.len().min(room);
                    taken += take;
                    bytes.advance(take);
                    Ok::<_, Infallible>(take)
                })
            };
            assert_eq!(take(100), Ok(Pumped::Blocked));
            source.truncate(cut);
            let mut rest = 0;
            let pumped = source.pump_some(u64::MAX, |bytes| {
                rest += bytes.len();
                bytes.clear();
                Ok::<_, Infallible>(0)
            });
            assert_eq!((pumped, rest), (Ok(Pumped::Done), left), "cut at {cut}");
        }
    }
}

//! Control frames out of a carrier's bytes, however these were cut.
//!
//! Owns the bytes of a frame that is not whole. Never holds more than one frame of them: a length
//! above its limit is an error before a byte behind it is kept.

use std::collections::VecDeque;
use std::mem;

use bytes::{Buf, Bytes};
use smallvec::SmallVec;

use super::codec::{Head, decode_payload};
use super::{ControlFrame, WireError};

/// Incremental decoder of control frames: [`push`](Self::push) what arrives, then
/// [`poll_frame`](Self::poll_frame) until there is no more.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Copied bytes of a frame that is not whole; precede `queue`.
    partial: Vec<u8>,
    /// Pushed since the last poll that ended in `None`; empty after one.
    queue: VecDeque<Bytes>,
    /// Bytes of a frame of unknown type that are still to be passed over.
    skip: usize,
    /// The error that ended it all.
    failed: Option<WireError>,
}

impl Decoder {
    /// A decoder at the first byte of a control carrier.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the carrier. They are not copied if they hold whole frames.
    pub fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() && self.failed.is_none() {
            self.queue.push_back(bytes);
        }
    }

    /// The next whole frame of a known type; `None` if more bytes are needed. Frames of unknown
    /// types are skipped [CTL-5]: extensions are built on that [EXT-2].
    ///
    /// # Errors
    ///
    /// Bytes that are not what the protocol says. The carrier is of no use any more: every later
    /// call returns the same error.
    pub fn poll_frame(&mut self) -> Result<Option<ControlFrame>, WireError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.next_frame().inspect_err(|&error| {
            *self = Self {
                failed: Some(error),
                ..Self::default()
            };
        })
    }

    /// Bytes held of a frame that is not whole, and of those pushed and not polled yet.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.queue.iter().fold(self.partial.len(), |sum, chunk| {
            sum.saturating_add(chunk.len())
        })
    }

    fn next_frame(&mut self) -> Result<Option<ControlFrame>, WireError> {
        loop {
            self.pass_over();
            let Some(head) = Head::decode(&self.peek_head())? else {
                self.gather(Head::LEN_MAX);
                return Ok(None);
            };
            let Some(kind) = head.known else {
                self.take(head.len);
                self.skip = head.payload_len;
                continue;
            };
            let Some(frame) = self.take(head.len.saturating_add(head.payload_len)) else {
                return Ok(None);
            };
            let payload = frame.get(head.len..).unwrap_or_default();
            return decode_payload(kind, payload).map(Some);
        }
    }

    /// Drops bytes that are to be skipped, as far as they have arrived. `partial` is empty if there
    /// are any.
    fn pass_over(&mut self) {
        while self.skip > 0
            && let Some(front) = self.queue.front_mut()
        {
            let passed = self.skip.min(front.len());
            front.advance(passed);
            self.skip = self.skip.saturating_sub(passed);
            self.drop_empty_front();
        }
    }

    /// As many of the next bytes as a head can have.
    fn peek_head(&self) -> SmallVec<[u8; Head::LEN_MAX]> {
        let queued = self.queue.iter().flat_map(|chunk| chunk.iter());
        self.partial
            .iter()
            .chain(queued)
            .take(Head::LEN_MAX)
            .copied()
            .collect()
    }

    /// The next `len` bytes; `None` if they have not all arrived.
    fn take(&mut self, len: usize) -> Option<Bytes> {
        if self.partial.is_empty()
            && let Some(front) = self.queue.front_mut()
            && front.len() >= len
        {
            let taken = front.split_to(len);
            self.drop_empty_front();
            return Some(taken);
        }
        self.gather(len)
            .then(|| Bytes::from(mem::take(&mut self.partial)))
    }

    /// Copies bytes until `partial` has `len` of them; false if they have not all arrived. Then all
    /// that have are copied, so that none pins a receive buffer while the rest is awaited.
    fn gather(&mut self, len: usize) -> bool {
        while self.partial.len() < len {
            let Some(front) = self.queue.front_mut() else {
                return false;
            };
            let wanted = len.saturating_sub(self.partial.len()).min(front.len());
            self.partial.extend_from_slice(&front.split_to(wanted));
            self.drop_empty_front();
        }
        true
    }

    fn drop_empty_front(&mut self) {
        if self.queue.front().is_some_and(Bytes::is_empty) {
            self.queue.pop_front();
        }
    }
}

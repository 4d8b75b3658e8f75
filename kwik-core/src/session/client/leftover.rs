//! What had arrived when the session was lost and its application had not read yet.
//!
//! Owns those bytes, for a while: QUIC forgets them with the connection. Never sees where they came
//! from.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::time::Instant;

use bytes::Bytes;

use super::ClientSession;
use super::recv::AggregatedRecv;
use crate::carrier::{CarrierEnd, ReadState};
use crate::error::StreamError;
use crate::ids::StreamId;
use crate::session::Cx;

/// The unread rest of every stream that has one.
#[derive(Default)]
pub(super) struct Leftovers {
    streams: BTreeMap<StreamId, Leftover>,
    /// When they are dropped, read or not.
    until: Option<Instant>,
}

/// The unread rest of one stream.
#[derive(Default)]
struct Leftover {
    chunks: VecDeque<Bytes>,
    /// The stream's own end, if that had arrived too.
    end: Option<End>,
}

#[derive(Clone, Copy)]
enum End {
    Finished,
    Reset(u64),
}

impl Leftovers {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.until.filter(|_| !self.is_empty())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// Drops what is left of a stream; whether there was anything.
    pub(super) fn forget(&mut self, stream: StreamId) -> bool {
        self.streams.remove(&stream).is_some()
    }

    pub(super) fn forget_all(&mut self) {
        self.streams.clear();
    }

    pub(super) fn on_timeout(&mut self, now: Instant) {
        if self.deadline().is_some_and(|at| at <= now) {
            self.forget_all();
        }
    }

    /// Hands on what is left of a stream, and then its end, or that it was `lost`.
    fn read(
        &mut self,
        stream: StreamId,
        mut max: usize,
        sink: &mut dyn FnMut(Bytes) -> ControlFlow<()>,
        lost: StreamError,
    ) -> Result<ReadState, StreamError> {
        let Some(left) = self.streams.get_mut(&stream) else {
            return Err(lost);
        };
        let all = left.chunks.len();
        while max > 0
            && let Some(mut chunk) = left.chunks.pop_front()
        {
            if chunk.len() > max {
                left.chunks.push_front(chunk.split_off(max));
            }
            max -= chunk.len();
            if sink(chunk).is_break() {
                break;
            }
        }
        if !left.chunks.is_empty() {
            return Ok(ReadState::More);
        }
        let end = match left.end {
            // Bytes first, what is wrong with the next read.
            Some(End::Reset(_)) | None if all > 0 => return Ok(ReadState::More),
            Some(End::Finished) => Ok(ReadState::Finished),
            Some(End::Reset(code)) => Err(StreamError::Reset(code)),
            None => Err(lost),
        };
        self.forget(stream);
        end
    }
}

impl ClientSession {
    /// The primary's connection is lost: takes what had arrived off it.
    pub(super) fn gather_leftovers(&mut self, cx: &mut Cx<'_>) {
        for stream in self.streams.unread() {
            let left = self.leftover(cx, stream);
            if left.end.is_some() || !left.chunks.is_empty() {
                self.leftovers.streams.insert(stream, left);
            }
        }
        self.leftovers.until = Some(cx.now.monotonic + self.config.client.leftover_max);
    }

    fn leftover(&mut self, cx: &mut Cx<'_>, stream: StreamId) -> Leftover {
        let mut left = Leftover::default();
        let delivered = self.stats.delivered_bytes;
        let own_left = self
            .streams
            .aggregated(stream)
            .map_or(u64::MAX, |recv| recv.plain_end - recv.plain_read);
        let state = self.read_own_carrier(
            cx,
            stream,
            usize::try_from(own_left).unwrap_or(usize::MAX),
            &mut |chunk| {
                left.chunks.push_back(chunk);
                ControlFlow::Continue(())
            },
        );
        // They are delivered when the application reads them.
        self.stats.delivered_bytes = delivered;
        if let Some(recv) = self.streams.aggregated_mut(stream) {
            left.add_segments(recv);
        } else if matches!(state, Ok(ReadState::Finished)) {
            left.end = Some(End::Finished);
        }
        if let Err(CarrierEnd::Reset(code)) = state {
            left.end = Some(End::Reset(code));
        }
        left
    }

    /// Reads what is left of a session that is lost.
    pub(super) fn read_leftover(
        &mut self,
        stream: StreamId,
        max: usize,
        sink: &mut dyn FnMut(Bytes) -> ControlFlow<()>,
    ) -> Result<ReadState, StreamError> {
        let lost = self.lost_error();
        let delivered = &mut self.stats.delivered_bytes;
        let mut counted = |chunk: Bytes| {
            *delivered += chunk.len() as u64;
            sink(chunk)
        };
        self.leftovers.read(stream, max, &mut counted, lost)
    }

    /// Whether something is left to be read of a session that is lost.
    pub(crate) fn has_leftovers(&self) -> bool {
        !self.leftovers.is_empty()
    }
}

impl Leftover {
    /// Adds what the segments brought, as far as it is contiguous at the reader.
    fn add_segments(&mut self, recv: &mut AggregatedRecv) {
        if let Some(code) = recv.reset {
            self.end = Some(End::Reset(code));
        } else if recv.plain_read == recv.plain_end {
            while let Some(chunk) = recv.reassembly.read(usize::MAX) {
                self.chunks.push_back(chunk);
            }
            self.end = recv.is_at_end().then_some(End::Finished);
        }
    }
}

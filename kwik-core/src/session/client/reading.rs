//! What a client's application reads: the plain part from QUIC, everything behind it from the
//! reassembly.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::ClientSession;
use super::recv::AggregatedRecv;
use super::streams::RecvHalf;
use crate::carrier::{CarrierEnd, Order, ReadState};
use crate::error::{Misuse, StreamError, Violation};
use crate::event::{ClientEvent, StreamEvent};
use crate::ids::{CarrierId, StreamId};
use crate::session::Cx;

impl ClientSession {
    /// Hands the next bytes of a stream to `sink`, at most `max`.
    pub(crate) fn read(
        &mut self,
        cx: &mut Cx<'_>,
        stream: StreamId,
        max: usize,
        sink: &mut dyn FnMut(Bytes) -> ControlFlow<()>,
    ) -> Result<ReadState, StreamError> {
        if self.is_closed() {
            return self.read_leftover(stream, max, sink);
        }
        let entry = self.streams.named(stream)?;
        entry.wants_read = false;
        let state = match &mut entry.recv {
            RecvHalf::Plain { .. } => self.read_plain(cx, stream, max, sink)?,
            RecvHalf::Aggregated(_) => self.read_aggregated(cx, stream, max, sink)?,
            RecvHalf::Closing | RecvHalf::Ended => return Err(Misuse::UnknownStream(stream).into()),
        };
        if state == ReadState::Blocked
            && let Some(entry) = self.streams.get_mut(stream)
        {
            entry.wants_read = true;
        }
        Ok(state)
    }

    fn read_plain(
        &mut self,
        cx: &mut Cx<'_>,
        stream: StreamId,
        max: usize,
        sink: &mut dyn FnMut(Bytes) -> ControlFlow<()>,
    ) -> Result<ReadState, StreamError> {
        match self.read_own_carrier(cx, stream, max, sink) {
            Ok(ReadState::Finished) => {
                self.end_recv(stream);
                Ok(ReadState::Finished)
            }
            Ok(state) => Ok(state),
            Err(end) => Err(self.on_recv_ended(cx, stream, end)),
        }
    }

    /// Reads the QUIC stream that the stream is, without the preamble byte.
    pub(super) fn read_own_carrier(
        &mut self,
        cx: &mut Cx<'_>,
        stream: StreamId,
        max: usize,
        sink: &mut dyn FnMut(Bytes) -> ControlFlow<()>,
    ) -> Result<ReadState, CarrierEnd> {
        let Some(entry) = self.streams.get_mut(stream) else {
            return Err(CarrierEnd::Gone);
        };
        let carrier = CarrierId::from(stream);
        if entry.preamble {
            let preamble = &mut entry.preamble;
            let state = cx.carriers.read(carrier, Order::Ordered, 1, &mut |_, _| {
                *preamble = false;
                ControlFlow::Continue(())
            })?;
            if *preamble || state == ReadState::Finished {
                return Ok(state);
            }
        }
        let read = match &mut entry.recv {
            RecvHalf::Plain { read } => read,
            RecvHalf::Aggregated(recv) => &mut recv.plain_read,
            RecvHalf::Closing | RecvHalf::Ended => return Err(CarrierEnd::Gone),
        };
        let start = *read;
        let state = cx
            .carriers
            .read(carrier, Order::Ordered, max, &mut |_, chunk| {
                *read += chunk.len() as u64;
                self.stats.delivered_bytes += chunk.len() as u64;
                self.stats
                    .note_primary(chunk.len() as u64, cx.now.monotonic);
                sink(chunk)
            });
        tracing::trace!(stream = stream.0, start, end = *read, "plain bytes read");
        state
    }

    fn read_aggregated(
        &mut self,
        cx: &mut Cx<'_>,
        stream: StreamId,
        max: usize,
        sink: &mut dyn FnMut(Bytes) -> ControlFlow<()>,
    ) -> Result<ReadState, StreamError> {
        let Some(recv) = self.streams.aggregated_mut(stream) else {
            return Err(Misuse::UnknownStream(stream).into());
        };
        if let Some(code) = recv.reset {
            return Err(self.on_recv_ended(cx, stream, CarrierEnd::Reset(code)));
        }
        let plain_left = recv.plain_end - recv.plain_read;
        if plain_left > 0 {
            let take = usize::try_from(plain_left).unwrap_or(usize::MAX).min(max);
            match self.read_own_carrier(cx, stream, take, sink) {
                // The primary said that there is more before the segments begin.
                Ok(ReadState::Finished) => {
                    self.close_by_violation(Violation::FinalSize(stream));
                    return Err(self.lost_error());
                }
                Ok(state) => return self.after_plain_read(cx, stream, state),
                Err(end) => return Err(self.on_recv_ended(cx, stream, end)),
            }
        }
        let mut delivered = 0;
        let all = recv.read(max, &mut |chunk| {
            delivered += chunk.len() as u64;
            sink(chunk)
        });
        self.stats.delivered_bytes += delivered;
        let end = recv.cursor();
        if delivered > 0 {
            tracing::trace!(
                stream = stream.0,
                start = end - delivered,
                end,
                "bytes read"
            );
            self.move_window(cx, stream);
        }
        self.after_aggregated_read(cx, stream, all)
    }

    /// The plain part of an aggregated stream was read on: credit follows the reader, and behind the
    /// part's end the carrier is watched for a reset.
    fn after_plain_read(
        &mut self,
        cx: &mut Cx<'_>,
        stream: StreamId,
        state: ReadState,
    ) -> Result<ReadState, StreamError> {
        self.move_window(cx, stream);
        let passed = |recv: &AggregatedRecv| recv.plain_read == recv.plain_end;
        if self.streams.aggregated(stream).is_some_and(passed)
            && let Err(violation) = self.read_idle_carrier(cx, stream)
        {
            self.close_by_violation(violation);
            return Err(self.lost_error());
        }
        let more = self
            .streams
            .aggregated(stream)
            .is_some_and(AggregatedRecv::has_next);
        Ok(if more { ReadState::More } else { state })
    }

    /// How a read of an aggregated stream ends: with its end, at a hole that nobody fills, or open
    /// [END-9].
    fn after_aggregated_read(
        &mut self,
        cx: &mut Cx<'_>,
        stream: StreamId,
        all: bool,
    ) -> Result<ReadState, StreamError> {
        let Some(recv) = self.streams.aggregated_mut(stream) else {
            return Err(Misuse::UnknownStream(stream).into());
        };
        if recv.is_at_end() {
            self.on_aggregated_end(cx, stream);
            return Ok(ReadState::Finished);
        }
        if !all && recv.has_next() {
            return Ok(ReadState::More);
        }
        recv.watch_reader(cx.now.monotonic);
        recv.failed_hole()
            .map_or(Ok(ReadState::Blocked), |hole| Err(StreamError::Hole(hole)))
    }

    /// The application has read all of an aggregated stream.
    fn on_aggregated_end(&mut self, cx: &mut Cx<'_>, stream: StreamId) {
        self.tell_done_if_complete(cx, stream);
        self.close_recv(cx, stream);
        self.read_closing(cx, stream);
    }

    /// The application wants no more of a stream [END-8].
    pub(crate) fn stop(
        &mut self,
        cx: &mut Cx<'_>,
        stream: StreamId,
        code: u64,
    ) -> Result<(), Misuse> {
        if self.is_closed() {
            return match self.leftovers.forget(stream) {
                true => Ok(()),
                false => Err(Misuse::Closed),
            };
        }
        let entry = self.streams.named(stream)?;
        match &entry.recv {
            RecvHalf::Closing | RecvHalf::Ended => return Err(Misuse::UnknownStream(stream)),
            RecvHalf::Plain { .. } | RecvHalf::Aggregated(_) => {}
        }
        cx.carriers.stop(stream.into(), code);
        self.close_recv(cx, stream);
        self.end_recv(stream);
        Ok(())
    }

    /// The receiving half as the application knew it is over: its grants and credit go back.
    fn close_recv(&mut self, cx: &mut Cx<'_>, stream: StreamId) {
        let Some(entry) = self.streams.get_mut(stream) else {
            return;
        };
        let closed = std::mem::replace(&mut entry.recv, RecvHalf::Closing);
        self.stop_segments_of_stream(cx, stream);
        if let RecvHalf::Aggregated(mut recv) = closed {
            recv.window.release(&mut self.window);
            self.stats.note_buffered(stream, 0);
            self.lose_grants_of_stream(cx, stream);
            self.feed_hungry(cx);
        }
    }

    fn end_recv(&mut self, stream: StreamId) {
        if let Some(entry) = self.streams.get_mut(stream) {
            entry.recv = RecvHalf::Ended;
        }
        self.forget_if_ended(stream);
    }

    fn on_recv_ended(&mut self, cx: &mut Cx<'_>, stream: StreamId, end: CarrierEnd) -> StreamError {
        self.close_recv(cx, stream);
        self.end_recv(stream);
        match end {
            CarrierEnd::Reset(code) | CarrierEnd::Stopped(code) => StreamError::Reset(code),
            CarrierEnd::Gone => Misuse::UnknownStream(stream).into(),
        }
    }

    /// Something arrived on the QUIC stream that a stream is.
    pub(super) fn on_stream_readable(
        &mut self,
        cx: &mut Cx<'_>,
        carrier: CarrierId,
    ) -> Result<(), Violation> {
        let stream = StreamId(carrier.stream);
        let Some(entry) = self.streams.get_mut(stream) else {
            return Ok(());
        };
        match &entry.recv {
            RecvHalf::Plain { .. } => self.tell_readable(stream),
            RecvHalf::Aggregated(recv) if recv.plain_read < recv.plain_end => {
                self.tell_readable(stream)
            }
            RecvHalf::Aggregated(_) => return self.read_idle_carrier(cx, stream),
            RecvHalf::Closing => self.read_closing(cx, stream),
            RecvHalf::Ended => {}
        }
        Ok(())
    }

    /// Behind its plain part the carrier of an aggregated stream brings nothing but a reset; and its
    /// end, which comes only after STREAM_DONE [END-5].
    fn read_idle_carrier(&mut self, cx: &mut Cx<'_>, stream: StreamId) -> Result<(), Violation> {
        // The preamble may still be unread, if nothing plain followed it.
        let before = self
            .streams
            .aggregated(stream)
            .map_or(0, |recv| recv.plain_read);
        let state = self.read_own_carrier(cx, stream, 1, &mut |_| ControlFlow::Continue(()));
        let after = self
            .streams
            .aggregated(stream)
            .map_or(0, |recv| recv.plain_read);
        if after > before {
            return Err(Violation::Unexpected("plain bytes of an aggregated stream"));
        }
        match state {
            Ok(ReadState::Finished) => {
                let done = self
                    .streams
                    .aggregated(stream)
                    .is_some_and(|recv| recv.done_sent);
                if !done {
                    return Err(Violation::FinalSize(stream));
                }
            }
            Ok(ReadState::More | ReadState::Blocked) => {}
            Err(CarrierEnd::Reset(code) | CarrierEnd::Stopped(code)) => {
                self.on_aggregated_reset(cx, stream, code);
            }
            Err(CarrierEnd::Gone) => {}
        }
        Ok(())
    }

    /// The primary gave up an aggregated stream: the reader is told at its next read [END-7].
    fn on_aggregated_reset(&mut self, cx: &mut Cx<'_>, stream: StreamId, code: u64) {
        if let Some(recv) = self.streams.aggregated_mut(stream) {
            recv.reset = Some(code);
        }
        self.stop_segments_of_stream(cx, stream);
        self.lose_grants_of_stream(cx, stream);
        self.tell_readable(stream);
    }

    /// Waits for the FIN that follows STREAM_DONE.
    fn read_closing(&mut self, cx: &mut Cx<'_>, stream: StreamId) {
        let read = cx
            .carriers
            .read(stream.into(), Order::Ordered, usize::MAX, &mut |_, _| {
                ControlFlow::Continue(())
            });
        if !matches!(read, Ok(ReadState::Blocked | ReadState::More)) {
            self.end_recv(stream);
        }
    }

    pub(super) fn tell_readable(&mut self, stream: StreamId) {
        if let Some(entry) = self.streams.get_mut(stream)
            && std::mem::take(&mut entry.wants_read)
        {
            self.events
                .push_back(ClientEvent::Stream(StreamEvent::Readable(stream)));
        }
    }
}

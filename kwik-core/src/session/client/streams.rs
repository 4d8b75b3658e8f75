//! The application streams of a client.
//!
//! Owns the stream table and the plain halves, which are QUIC's own; an aggregated receiving half is
//! `recv`'s. What the application calls is here.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::time::Instant;

use bytes::Bytes;

use super::ClientSession;
use super::recv::AggregatedRecv;
use crate::carrier::{CarrierEnd, Carriers, Order, ReadState};
use crate::config::ClientConfig;
use crate::error::{Misuse, StreamError, Violation};
use crate::event::{ClientEvent, StreamEvent};
use crate::ids::{ByteRange, CarrierId, PathId, StreamId};
use crate::session::Cx;

/// All streams that have not ended on both sides.
#[derive(Default)]
pub(super) struct Streams {
    table: BTreeMap<StreamId, ClientStream>,
    /// Streams that this end has opened.
    opened: u64,
    /// Streams of the primary that QUIC has shown.
    shown: u64,
    /// Streams of the primary that the application has not accepted.
    incoming: VecDeque<StreamId>,
    /// The application was refused a stream.
    wants_open: bool,
    /// How many streams of the primary may be open.
    remote_max: u64,
}

/// One stream.
struct ClientStream {
    send: SendHalf,
    recv: RecvHalf,
    /// The primary's preamble byte has not been read [STR-2].
    preamble: bool,
    /// A read came up short: readability is news.
    wants_read: bool,
    /// A write came up short.
    wants_write: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SendHalf {
    /// The application may write.
    Open,
    /// It has finished; not all has arrived.
    Finished,
    /// Nothing more happens.
    Ended,
}

enum RecvHalf {
    /// QUIC's own; so many bytes were read.
    Plain { read: u64 },
    /// Written by several servers.
    Aggregated(Box<AggregatedRecv>),
    /// The application has seen the end of an aggregated stream, or does not want it any more; QUIC
    /// has not ended it.
    Closing,
    /// Nothing more happens.
    Ended,
}

impl Streams {
    pub(super) fn new(remote_max: u64) -> Self {
        Self {
            remote_max,
            ..Self::default()
        }
    }

    pub(super) fn aggregated(&self, stream: StreamId) -> Option<&AggregatedRecv> {
        match &self.table.get(&stream)?.recv {
            RecvHalf::Aggregated(recv) => Some(recv),
            RecvHalf::Plain { .. } | RecvHalf::Closing | RecvHalf::Ended => None,
        }
    }

    pub(super) fn aggregated_mut(&mut self, stream: StreamId) -> Option<&mut AggregatedRecv> {
        match &mut self.table.get_mut(&stream)?.recv {
            RecvHalf::Aggregated(recv) => Some(recv),
            RecvHalf::Plain { .. } | RecvHalf::Closing | RecvHalf::Ended => None,
        }
    }

    /// The aggregated streams.
    pub(super) fn all_aggregated(
        &mut self,
    ) -> impl Iterator<Item = (StreamId, &mut AggregatedRecv)> {
        self.table
            .iter_mut()
            .filter_map(|(&id, stream)| match &mut stream.recv {
                RecvHalf::Aggregated(recv) => Some((id, &mut **recv)),
                RecvHalf::Plain { .. } | RecvHalf::Closing | RecvHalf::Ended => None,
            })
    }

    /// How many bytes of the stream's own carrier were read, if it is plain.
    pub(super) fn plain_read(&self, stream: StreamId) -> Option<u64> {
        match self.table.get(&stream)?.recv {
            RecvHalf::Plain { read } => Some(read),
            RecvHalf::Aggregated(_) | RecvHalf::Closing | RecvHalf::Ended => None,
        }
    }

    /// Whether the receiving half is known, and nobody will read it any more.
    pub(super) fn is_let_go(&self, stream: StreamId) -> bool {
        self.table
            .get(&stream)
            .is_some_and(|entry| matches!(entry.recv, RecvHalf::Closing | RecvHalf::Ended))
    }

    pub(super) fn aggregate(&mut self, stream: StreamId, recv: AggregatedRecv) {
        if let Some(entry) = self.table.get_mut(&stream) {
            entry.recv = RecvHalf::Aggregated(Box::new(recv));
        }
    }

    /// Bytes that the reassembly of a stream holds.
    pub(super) fn buffered_bytes(&self, stream: StreamId) -> u64 {
        self.aggregated(stream)
            .map_or(0, |recv| recv.reassembly.buffered_bytes())
    }

    /// Whether something about this stream may still come: false if it is gone [STR-6].
    ///
    /// # Errors
    ///
    /// The stream cannot exist.
    pub(super) fn may_come(&self, stream: StreamId) -> Result<bool, Violation> {
        let known = if stream.is_server_opened() {
            stream.index() < self.shown
        } else {
            stream.index() < self.opened
        };
        let possible = known
            || (stream.is_server_opened()
                && stream.index() < self.shown.saturating_add(self.remote_max));
        if !stream.is_bidirectional() || !possible {
            return Err(Violation::Stream(stream));
        }
        Ok(!known || self.table.contains_key(&stream))
    }

    /// The entry of a stream, made for one of the primary that QUIC has not shown yet [STR-5].
    fn entry(&mut self, stream: StreamId) -> &mut ClientStream {
        self.table
            .entry(stream)
            .or_insert_with(|| ClientStream::new(stream.is_server_opened()))
    }

    /// Makes an entry for a stream that may come; false if it is gone.
    pub(super) fn expect(&mut self, stream: StreamId) -> Result<bool, Violation> {
        let comes = self.may_come(stream)?;
        if comes {
            self.entry(stream);
        }
        Ok(comes)
    }

    /// When the first clock of a waiting reader runs out.
    pub(super) fn reader_deadline(&self, config: &ClientConfig) -> Option<Instant> {
        let deadline = |stream: &ClientStream| match &stream.recv {
            RecvHalf::Aggregated(recv) => {
                let hole = recv.hole_since().map(|since| since + config.hole_max);
                let wait = recv
                    .wait_since()
                    .map(|since| since + config.grant_start_max);
                [hole, wait].into_iter().flatten().min()
            }
            RecvHalf::Plain { .. } | RecvHalf::Closing | RecvHalf::Ended => None,
        };
        self.table.values().filter_map(deadline).min()
    }

    pub(super) fn forget_path(&mut self, path: PathId) {
        self.all_aggregated()
            .for_each(|(_, recv)| recv.window.forget(path));
    }
}

impl ClientStream {
    fn new(preamble: bool) -> Self {
        Self {
            send: SendHalf::Open,
            recv: RecvHalf::Plain { read: 0 },
            preamble,
            wants_read: true,
            wants_write: false,
        }
    }

    fn has_ended(&self) -> bool {
        self.send == SendHalf::Ended && matches!(self.recv, RecvHalf::Ended)
    }
}

impl ClientSession {
    /// Opens a stream; `None` if the primary gives no credit for one now.
    pub(crate) fn open_stream(
        &mut self,
        carriers: &mut dyn Carriers,
    ) -> Result<Option<StreamId>, Misuse> {
        self.check_open()?;
        match carriers.open_bidi(PathId::PRIMARY) {
            Err(_) => Err(Misuse::Closed),
            Ok(None) => {
                self.streams.wants_open = true;
                Ok(None)
            }
            Ok(Some(carrier)) => {
                let stream = StreamId(carrier.stream);
                self.streams.opened = self.streams.opened.max(stream.index() + 1);
                self.streams.entry(stream);
                Ok(Some(stream))
            }
        }
    }

    /// The next stream that the primary opened.
    pub(crate) fn accept_stream(&mut self) -> Option<StreamId> {
        self.streams.incoming.pop_front()
    }

    /// Takes bytes off the front of `data`. What a client sends is always plain [STR-3].
    pub(crate) fn write(
        &mut self,
        stream: StreamId,
        data: &mut Bytes,
        carriers: &mut dyn Carriers,
    ) -> Result<usize, StreamError> {
        self.check_stream_open()?;
        let entry = self
            .streams
            .table
            .get_mut(&stream)
            .ok_or(Misuse::UnknownStream(stream))?;
        if entry.send != SendHalf::Open {
            return Err(Misuse::Finished(stream).into());
        }
        match carriers.write(stream.into(), data) {
            Ok(written) => {
                entry.wants_write = !data.is_empty();
                Ok(written)
            }
            Err(end) => Err(self.on_send_ended(stream, end, carriers)),
        }
    }

    /// Ends the sending half behind what was written.
    pub(crate) fn finish(
        &mut self,
        stream: StreamId,
        carriers: &mut dyn Carriers,
    ) -> Result<(), StreamError> {
        self.check_stream_open()?;
        let entry = self
            .streams
            .table
            .get_mut(&stream)
            .ok_or(Misuse::UnknownStream(stream))?;
        if entry.send != SendHalf::Open {
            return Err(Misuse::Finished(stream).into());
        }
        match carriers.finish(stream.into()) {
            Ok(()) => {
                entry.send = SendHalf::Finished;
                Ok(())
            }
            Err(end) => Err(self.on_send_ended(stream, end, carriers)),
        }
    }

    /// Gives up the sending half.
    pub(crate) fn reset(
        &mut self,
        stream: StreamId,
        code: u64,
        carriers: &mut dyn Carriers,
    ) -> Result<(), Misuse> {
        let entry = self
            .streams
            .table
            .get_mut(&stream)
            .ok_or(Misuse::UnknownStream(stream))?;
        if entry.send == SendHalf::Ended {
            return Err(Misuse::Finished(stream));
        }
        entry.send = SendHalf::Ended;
        carriers.reset(stream.into(), code);
        self.forget_if_ended(stream);
        Ok(())
    }

    /// The primary stopped the sending half, which owes a reset then [STR-4], or it is gone.
    fn on_send_ended(
        &mut self,
        stream: StreamId,
        end: CarrierEnd,
        carriers: &mut dyn Carriers,
    ) -> StreamError {
        if let Some(entry) = self.streams.table.get_mut(&stream) {
            entry.send = SendHalf::Ended;
        }
        self.forget_if_ended(stream);
        match end {
            CarrierEnd::Stopped(code) => {
                carriers.reset(stream.into(), code);
                StreamError::Stopped(code)
            }
            CarrierEnd::Reset(_) | CarrierEnd::Gone => Misuse::UnknownStream(stream).into(),
        }
    }

    /// Hands the next bytes of a stream to `sink`, at most `max`.
    pub(crate) fn read(
        &mut self,
        cx: &mut Cx<'_>,
        stream: StreamId,
        max: usize,
        sink: &mut dyn FnMut(Bytes) -> ControlFlow<()>,
    ) -> Result<ReadState, StreamError> {
        self.check_stream_open()?;
        let entry = self
            .streams
            .table
            .get_mut(&stream)
            .ok_or(Misuse::UnknownStream(stream))?;
        entry.wants_read = false;
        let state = match &mut entry.recv {
            RecvHalf::Plain { .. } => self.read_plain(cx, stream, max, sink)?,
            RecvHalf::Aggregated(_) => self.read_aggregated(cx, stream, max, sink)?,
            RecvHalf::Closing | RecvHalf::Ended => return Err(Misuse::UnknownStream(stream).into()),
        };
        if state == ReadState::Blocked
            && let Some(entry) = self.streams.table.get_mut(&stream)
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
    fn read_own_carrier(
        &mut self,
        cx: &mut Cx<'_>,
        stream: StreamId,
        max: usize,
        sink: &mut dyn FnMut(Bytes) -> ControlFlow<()>,
    ) -> Result<ReadState, CarrierEnd> {
        let Some(entry) = self.streams.table.get_mut(&stream) else {
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
        cx.carriers
            .read(carrier, Order::Ordered, max, &mut |_, chunk| {
                *read += chunk.len() as u64;
                self.stats.delivered_bytes += chunk.len() as u64;
                self.stats.primary_bytes += chunk.len() as u64;
                sink(chunk)
            })
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
        if delivered > 0 {
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
        let entry = self
            .streams
            .table
            .get_mut(&stream)
            .ok_or(Misuse::UnknownStream(stream))?;
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
        let Some(entry) = self.streams.table.get_mut(&stream) else {
            return;
        };
        let closed = std::mem::replace(&mut entry.recv, RecvHalf::Closing);
        // Segments may be here although AGGREGATE is not.
        self.stop_segments_of_stream(cx, stream);
        if let RecvHalf::Aggregated(mut recv) = closed {
            recv.window.release(&mut self.window);
            self.stats.note_buffered(stream, 0);
            self.lose_grants_of_stream(cx, stream);
            self.feed_hungry(cx);
        }
    }

    fn end_recv(&mut self, stream: StreamId) {
        if let Some(entry) = self.streams.table.get_mut(&stream) {
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

    fn forget_if_ended(&mut self, stream: StreamId) {
        if self
            .streams
            .table
            .get(&stream)
            .is_some_and(ClientStream::has_ended)
        {
            self.streams.table.remove(&stream);
        }
    }

    /// QUIC shows a stream of the primary.
    pub(super) fn on_stream_opened(&mut self, carrier: CarrierId) {
        let stream = StreamId(carrier.stream);
        let streams = &mut self.streams;
        streams.shown = streams.shown.max(stream.index() + 1);
        streams.entry(stream);
        streams.incoming.push_back(stream);
        self.events
            .push_back(ClientEvent::Stream(StreamEvent::Opened));
    }

    /// Something arrived on the QUIC stream that a stream is.
    pub(super) fn on_stream_readable(
        &mut self,
        cx: &mut Cx<'_>,
        carrier: CarrierId,
    ) -> Result<(), Violation> {
        let stream = StreamId(carrier.stream);
        let Some(entry) = self.streams.table.get_mut(&stream) else {
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
        if let Some(entry) = self.streams.table.get_mut(&stream)
            && std::mem::take(&mut entry.wants_read)
        {
            self.events
                .push_back(ClientEvent::Stream(StreamEvent::Readable(stream)));
        }
    }

    pub(super) fn on_stream_writable(&mut self, carrier: CarrierId) {
        let stream = StreamId(carrier.stream);
        if let Some(entry) = self.streams.table.get_mut(&stream)
            && std::mem::take(&mut entry.wants_write)
        {
            self.events
                .push_back(ClientEvent::Stream(StreamEvent::Writable(stream)));
        }
    }

    pub(super) fn on_stream_credit(&mut self) {
        if std::mem::take(&mut self.streams.wants_open) {
            self.events
                .push_back(ClientEvent::Stream(StreamEvent::Available));
        }
    }

    /// The primary wants no more of what we send: a reset is owed [STR-4].
    pub(super) fn on_stream_stopped(
        &mut self,
        carrier: CarrierId,
        code: u64,
        carriers: &mut dyn Carriers,
    ) {
        let stream = StreamId(carrier.stream);
        let Some(entry) = self.streams.table.get_mut(&stream) else {
            return;
        };
        if entry.send != SendHalf::Ended {
            entry.send = SendHalf::Ended;
            carriers.reset(carrier, code);
            self.events
                .push_back(ClientEvent::Stream(StreamEvent::Stopped { stream, code }));
            self.forget_if_ended(stream);
        }
    }

    /// All that we sent has arrived.
    pub(super) fn on_stream_finished(&mut self, carrier: CarrierId) {
        let stream = StreamId(carrier.stream);
        let Some(entry) = self.streams.table.get_mut(&stream) else {
            return;
        };
        if entry.send == SendHalf::Finished {
            entry.send = SendHalf::Ended;
            self.events
                .push_back(ClientEvent::Stream(StreamEvent::Finished(stream)));
            self.forget_if_ended(stream);
        }
    }

    /// The stream for a grant of `range`; `None` if it is gone.
    pub(super) fn aggregated_for_grant(
        &mut self,
        stream: StreamId,
        range: ByteRange,
    ) -> Result<Option<&mut AggregatedRecv>, Violation> {
        if !self.streams.may_come(stream)? {
            return Ok(None);
        }
        match self
            .streams
            .table
            .get_mut(&stream)
            .map(|entry| &mut entry.recv)
        {
            Some(RecvHalf::Aggregated(recv)) if recv.reset.is_some() => Ok(None),
            Some(RecvHalf::Aggregated(recv)) if range.start() >= recv.plain_end => Ok(Some(recv)),
            Some(RecvHalf::Closing | RecvHalf::Ended) => Ok(None),
            Some(RecvHalf::Plain { .. } | RecvHalf::Aggregated(_)) | None => Err(
                Violation::Unexpected("GRANT before the segments of its stream"),
            ),
        }
    }
}

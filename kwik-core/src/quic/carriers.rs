//! What a session may do to its connections.
//!
//! Implements [`Carriers`] on the connections of one session. Borrowed quinn streams live and die
//! inside one call. A carrier that QUIC does not know (any more), or not yet, is gone.

use std::ops::ControlFlow;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use quinn_proto::{
    Chunks, Dir, FinishError, ReadError, ReadableError, StreamId, VarInt, WriteError,
};

use super::connection::{Conn, Phase, Progress};
use super::{ConnKey, Quic, varint};
use crate::carrier::{CarrierEnd, Carriers, Order, PathStats, ReadState};
use crate::ids::{CarrierId, PathId, SessionHandle};

/// The peer's share of a probe timeout: it may wait so long before it acknowledges (RFC 9000 §18.2).
const ACK_DELAY_MAX: Duration = Duration::from_millis(25);
/// The clock granularity of RFC 9002 §6.1.2.
const GRANULARITY: Duration = Duration::from_millis(1);

/// The connections of one session.
pub(crate) struct SessionCarriers<'a> {
    quic: &'a mut Quic,
    session: SessionHandle,
}

impl<'a> SessionCarriers<'a> {
    pub(super) fn new(quic: &'a mut Quic, session: SessionHandle) -> Self {
        Self { quic, session }
    }

    fn conn(&mut self, path: PathId) -> Result<(ConnKey, &mut Conn), CarrierEnd> {
        let key = self.quic.key(self.session, path).ok_or(CarrierEnd::Gone)?;
        let conn = self.quic.conns.get_mut(&key).ok_or(CarrierEnd::Gone)?;
        Ok((key, conn))
    }

    fn open(&mut self, path: PathId, dir: Dir) -> Result<Option<CarrierId>, CarrierEnd> {
        let (_, conn) = self.conn(path)?;
        if conn.phase != Phase::Up || conn.quinn.is_closed() {
            return Err(CarrierEnd::Gone);
        }
        let stream = conn.quinn.streams().open(dir);
        Ok(stream.map(|stream| CarrierId {
            path,
            stream: stream.into(),
        }))
    }

    /// Does something to the sending half of a carrier, after which there may be something to send.
    fn send<T>(
        &mut self,
        carrier: CarrierId,
        action: impl FnOnce(&mut Conn, StreamId) -> Result<T, CarrierEnd>,
    ) -> Result<T, CarrierEnd> {
        let (key, conn) = self.conn(carrier.path)?;
        let stream = conn.sending(carrier.stream).ok_or(CarrierEnd::Gone)?;
        let done = action(conn, stream);
        self.quic.wants_to_send(key);
        done
    }
}

impl Carriers for SessionCarriers<'_> {
    fn open_bidi(&mut self, path: PathId) -> Result<Option<CarrierId>, CarrierEnd> {
        self.open(path, Dir::Bi)
    }

    fn open_uni(&mut self, path: PathId) -> Result<Option<CarrierId>, CarrierEnd> {
        self.open(path, Dir::Uni)
    }

    fn write(&mut self, carrier: CarrierId, data: &mut Bytes) -> Result<usize, CarrierEnd> {
        self.send(carrier, |conn, stream| conn.write(stream, data))
    }

    fn write_control(&mut self, carrier: CarrierId, data: &mut Bytes) -> Result<usize, CarrierEnd> {
        self.send(carrier, |conn, stream| {
            conn.window.lift(&mut conn.quinn);
            let written = conn.write(stream, data);
            conn.window.restore(&mut conn.quinn);
            written
        })
    }

    fn finish(&mut self, carrier: CarrierId) -> Result<(), CarrierEnd> {
        self.send(carrier, |conn, stream| {
            conn.quinn
                .send_stream(stream)
                .finish()
                .map_err(|error| match error {
                    FinishError::Stopped(code) => CarrierEnd::Stopped(code.into_inner()),
                    FinishError::ClosedStream => CarrierEnd::Gone,
                })
        })
    }

    fn reset(&mut self, carrier: CarrierId, code: u64) {
        let _ = self.send(carrier, |conn, stream| {
            let reset = conn.quinn.send_stream(stream).reset(varint(code));
            reset.map_err(|_| CarrierEnd::Gone)
        });
    }

    fn stop(&mut self, carrier: CarrierId, code: u64) {
        let Ok((key, conn)) = self.conn(carrier.path) else {
            return;
        };
        let Some(stream) = conn.receiving(carrier.stream) else {
            return;
        };
        conn.progress.remove(&carrier.stream);
        // Stopping what is gone is harmless.
        let _ = conn.quinn.recv_stream(stream).stop(varint(code));
        self.quic.wants_to_send(key);
    }

    fn set_priority(&mut self, carrier: CarrierId, priority: i32) {
        let _ = self.send(carrier, |conn, stream| {
            let set = conn.quinn.send_stream(stream).set_priority(priority);
            set.map_err(|_| CarrierEnd::Gone)
        });
    }

    fn read(
        &mut self,
        carrier: CarrierId,
        order: Order,
        max: usize,
        sink: &mut dyn FnMut(u64, Bytes) -> ControlFlow<()>,
    ) -> Result<ReadState, CarrierEnd> {
        let (key, conn) = self.conn(carrier.path)?;
        let stream = conn.receiving(carrier.stream).ok_or(CarrierEnd::Gone)?;
        let (state, credit) = conn.read(stream, order, max, sink);
        if credit {
            self.quic.wants_to_send(key);
        }
        state
    }

    fn path_stats(&self, path: PathId) -> Option<PathStats> {
        let key = self.quic.key(self.session, path)?;
        let stats = self.quic.conns.get(&key)?.quinn.stats();
        Some(PathStats {
            rtt: stats.path.rtt,
            pto: probe_timeout(stats.path.rtt, stats.path.min_rtt),
            lost_packets: stats.path.lost_packets,
            sent_bytes: stats.udp_tx.bytes,
            received_bytes: stats.udp_rx.bytes,
        })
    }
}

impl Conn {
    /// The stream, if we may send on it.
    fn sending(&self, stream: u64) -> Option<StreamId> {
        let stream = self.known(stream)?;
        let ours = stream.initiator() == self.quinn.side();
        (ours || stream.dir() == Dir::Bi).then_some(stream)
    }

    /// The stream, if we may receive on it.
    fn receiving(&self, stream: u64) -> Option<StreamId> {
        let stream = self.known(stream)?;
        let theirs = stream.initiator() != self.quinn.side();
        (theirs || stream.dir() == Dir::Bi).then_some(stream)
    }

    /// The stream, unless it is one of the peer that it has not opened yet.
    fn known(&self, stream: u64) -> Option<StreamId> {
        let stream = StreamId::from(VarInt::from_u64(stream).ok()?);
        let ours = stream.initiator() == self.quinn.side();
        let accepted = self
            .accepted
            .get(stream.dir() as usize)
            .copied()
            .unwrap_or(0);
        (ours || stream.index() < accepted).then_some(stream)
    }

    /// Writes until `data` is empty or quinn says that it is blocked. Stopping after a short write
    /// would lose the wakeup: quinn arms it only when it refuses.
    fn write(&mut self, stream: StreamId, data: &mut Bytes) -> Result<usize, CarrierEnd> {
        if self.quinn.is_closed() {
            // quinn calls this blocked, and never wakes.
            return Err(CarrierEnd::Gone);
        }
        let (piece_bytes, mut total) = (self.window.piece_bytes(), 0);
        while !data.is_empty() {
            let mut piece = [data.slice(..data.len().min(piece_bytes))];
            match self.quinn.send_stream(stream).write_chunks(&mut piece) {
                Ok(written) => {
                    data.advance(written.bytes);
                    total += written.bytes;
                }
                Err(WriteError::Blocked) => break,
                Err(WriteError::Stopped(code)) => {
                    return Err(CarrierEnd::Stopped(code.into_inner()));
                }
                Err(WriteError::ClosedStream) => return Err(CarrierEnd::Gone),
            }
        }
        Ok(total)
    }

    /// Reads; also says whether there is credit to send.
    ///
    /// For quinn, a stream of both directions is always ordered and one of one direction never: to
    /// give the order up while something is unread miscounts what arrived twice (bytes come again,
    /// the stream never ends, `stop` underflows). So the order of a segment's header is kept here.
    fn read(
        &mut self,
        stream: StreamId,
        order: Order,
        max: usize,
        sink: &mut dyn FnMut(u64, Bytes) -> ControlFlow<()>,
    ) -> (Result<ReadState, CarrierEnd>, bool) {
        let (ordered, id) = (order == Order::Ordered, u64::from(stream));
        let mut progress = self.progress.get(&id).copied().unwrap_or_default();
        if ordered && progress.any_order {
            return (Err(CarrierEnd::Gone), false);
        }
        progress.any_order = !ordered;
        let mut receiver = self.quinn.recv_stream(stream);
        let mut chunks = match receiver.read(stream.dir() == Dir::Bi) {
            Ok(chunks) => chunks,
            Err(ReadableError::ClosedStream | ReadableError::IllegalOrderedRead) => {
                return (Err(CarrierEnd::Gone), false);
            }
        };
        let mut left = max;
        let state = loop {
            if left == 0 {
                break Ok(ReadState::More);
            }
            if ordered && progress.is_behind_gap(&mut chunks) {
                break Ok(ReadState::Blocked);
            }
            match chunks.next(left) {
                Ok(Some(chunk)) => {
                    left = left.saturating_sub(chunk.bytes.len());
                    progress.in_order = chunk.offset.saturating_add(chunk.bytes.len() as u64);
                    if sink(chunk.offset, chunk.bytes).is_break() {
                        break Ok(ReadState::More);
                    }
                }
                Ok(None) => break Ok(ReadState::Finished),
                Err(ReadError::Blocked) => break Ok(ReadState::Blocked),
                Err(ReadError::Reset(code)) => break Err(CarrierEnd::Reset(code.into_inner())),
            }
        };
        let credit = chunks.finalize().should_transmit();
        match state {
            Ok(ReadState::More | ReadState::Blocked) => {
                self.progress.insert(id, progress);
            }
            Ok(ReadState::Finished) | Err(_) => {
                self.progress.remove(&id);
            }
        }
        (state, credit)
    }
}

impl Progress {
    /// Whether the lowest bytes that are there do not come next. A chunk of no bytes tells where it
    /// would begin, and leaves everything as it is.
    fn is_behind_gap(self, chunks: &mut Chunks<'_>) -> bool {
        matches!(chunks.next(0), Ok(Some(chunk)) if chunk.offset != self.in_order)
    }
}

/// An estimate from above: quinn-proto keeps the round-trip variation to itself. While there are few
/// samples the variation is half a round trip; later, queues make most of it.
fn probe_timeout(rtt: Duration, min_rtt: Duration) -> Duration {
    let variation = rtt.saturating_sub(min_rtt).saturating_mul(4);
    rtt.saturating_add(rtt.max(variation).max(GRANULARITY))
        .saturating_add(ACK_DELAY_MAX)
}

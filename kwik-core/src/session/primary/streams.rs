//! The streams of a session: opened, accepted, read, and ended in both directions.
//!
//! Owns the table of streams and the state of their two halves. Never decides who writes which
//! range: see `cursor` for the sending half of an aggregated stream.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;

use bytes::Bytes;

use super::PrimarySession;
use super::cursor::Aggregated;
use crate::carrier::{CarrierEnd, Carriers, Now, Order, ReadState};
use crate::error::{CloseReason, Misuse, StreamError, Violation};
use crate::event::StreamEvent;
use crate::ids::{CarrierId, PathId, StreamId};

/// The one byte at the beginning of a stream of ours: QUIC does not show a stream without any
/// [STR-2].
const PREAMBLE: &[u8] = &[0];

/// All streams that are not over in both directions.
pub(super) struct Streams {
    pub(super) table: BTreeMap<StreamId, Stream>,
    /// Opened by the client and not accepted yet.
    opened: VecDeque<StreamId>,
    /// The lowest id of the client's that was never seen.
    client_next: u64,
    /// The lowest id of ours that was never used.
    own_next: u64,
    /// Whether the application was refused a stream and waits for credit.
    wants_credit: bool,
}

/// One stream.
pub(super) struct Stream {
    carrier: CarrierId,
    /// What QUIC has not taken of the preamble.
    preamble: Bytes,
    pub(super) send: SendHalf,
    receive: ReceiveHalf,
    /// Whether the application knows that there may be something to read.
    told_readable: bool,
}

/// What we send.
pub(super) enum SendHalf {
    /// Bytes travel on the stream's own carrier.
    Plain(Plain),
    /// New bytes travel in segments.
    Aggregated(Box<Aggregated>),
    /// All is said; QUIC tells when the carrier has arrived.
    Finishing,
    /// Reset, stopped with this code by the client, or received by it.
    Ended { stopped: Option<u64> },
}

/// The sending half of a plain stream.
#[derive(Default)]
pub(super) struct Plain {
    /// Bytes that QUIC has taken, without the preamble.
    pub(super) accepted: u64,
    /// Whether the last write came up short.
    pub(super) is_unfinished: bool,
    /// Whether [`StreamEvent::Writable`] is owed for it.
    is_waiting: bool,
}

/// What the client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReceiveHalf {
    Open,
    Finished,
    Reset(u64),
    Stopped,
}

/// What a stream id in a frame of the client names.
pub(super) enum Named<'a> {
    Stream(&'a mut Stream),
    /// One that is over.
    Gone,
}

impl Streams {
    pub(super) fn new() -> Self {
        Self {
            table: BTreeMap::new(),
            opened: VecDeque::new(),
            // Stream 0 is the control carrier.
            client_next: 4,
            own_next: 1,
            wants_credit: false,
        }
    }

    /// Judges a stream id that the client wrote [STR-6].
    pub(super) fn named(&mut self, stream: StreamId) -> Result<Named<'_>, Violation> {
        if let Some(found) = self.table.get_mut(&stream) {
            return Ok(Named::Stream(found));
        }
        let bound = if stream.is_server_opened() {
            self.own_next
        } else {
            self.client_next
        };
        if stream.is_bidirectional() && stream.0 < bound && stream.0 != 0 {
            Ok(Named::Gone)
        } else {
            Err(Violation::Stream(stream))
        }
    }

    /// The stream, as the application names it.
    pub(super) fn get(&mut self, stream: StreamId) -> Result<&mut Stream, Misuse> {
        self.table
            .get_mut(&stream)
            .ok_or(Misuse::UnknownStream(stream))
    }

    /// The sending half of an aggregated stream, if it is one and not over.
    pub(super) fn aggregated(&mut self, stream: StreamId) -> Option<&mut Aggregated> {
        self.table
            .get_mut(&stream)
            .and_then(|found| found.send.aggregated())
    }

    pub(super) fn by_carrier(&mut self, carrier: CarrierId) -> Option<(StreamId, &mut Stream)> {
        let stream = StreamId(carrier.stream);
        self.table.get_mut(&stream).map(|found| (stream, found))
    }

    fn add(&mut self, carrier: CarrierId, preamble: Bytes) -> StreamId {
        let stream = StreamId(carrier.stream);
        self.table.insert(
            stream,
            Stream {
                carrier,
                preamble,
                send: SendHalf::Plain(Plain::default()),
                receive: ReceiveHalf::Open,
                told_readable: false,
            },
        );
        stream
    }

    fn forget_if_over(&mut self, stream: StreamId) {
        if self.table.get(&stream).is_some_and(Stream::is_over) {
            self.table.remove(&stream);
        }
    }
}

impl SendHalf {
    pub(super) fn aggregated(&mut self) -> Option<&mut Aggregated> {
        match self {
            Self::Aggregated(aggregated) => Some(aggregated),
            Self::Plain(_) | Self::Finishing | Self::Ended { .. } => None,
        }
    }

    /// Whether the application may still add to it.
    pub(super) fn check_open(&self, stream: StreamId) -> Result<(), StreamError> {
        match self {
            Self::Plain(_) | Self::Aggregated(_) => Ok(()),
            Self::Ended {
                stopped: Some(code),
            } => Err(StreamError::Stopped(*code)),
            Self::Finishing | Self::Ended { stopped: None } => Err(Misuse::Finished(stream).into()),
        }
    }
}

impl Stream {
    fn is_over(&self) -> bool {
        matches!(self.send, SendHalf::Ended { .. }) && self.receive != ReceiveHalf::Open
    }

    /// Writes what is owed of the preamble; false if QUIC does not take it now.
    fn flush_preamble(&mut self, carriers: &mut dyn Carriers) -> Result<bool, CarrierEnd> {
        if !self.preamble.is_empty() {
            carriers.write(self.carrier, &mut self.preamble)?;
        }
        Ok(self.preamble.is_empty())
    }

    /// Writes to the stream's own carrier.
    pub(super) fn write_plain(
        &mut self,
        data: &mut Bytes,
        carriers: &mut dyn Carriers,
    ) -> Result<usize, CarrierEnd> {
        let has_begun = self.flush_preamble(carriers)?;
        let SendHalf::Plain(plain) = &mut self.send else {
            return Ok(0);
        };
        let written = if has_begun && !data.is_empty() {
            carriers.write(self.carrier, data)?
        } else {
            0
        };
        plain.accepted += written as u64;
        plain.is_unfinished = !data.is_empty();
        plain.is_waiting = plain.is_unfinished;
        Ok(written)
    }

    /// Ends the carrier, at once or behind the preamble.
    pub(super) fn finish_carrier(&mut self, carriers: &mut dyn Carriers) -> Result<(), CarrierEnd> {
        self.send = SendHalf::Finishing;
        if self.flush_preamble(carriers)? {
            carriers.finish(self.carrier)?;
        }
        Ok(())
    }
}

/// The error of a call on a carrier that is gone although the session does not know it yet.
pub(super) fn gone() -> StreamError {
    StreamError::SessionLost(CloseReason::Failed("the connection is gone".into()))
}

// What the application asks.
impl PrimarySession {
    /// Opens a stream; `None` if the client allows no more now: `StreamEvent::Available` follows.
    pub(crate) fn open_stream(
        &mut self,
        _now: Now,
        carriers: &mut dyn Carriers,
    ) -> Result<Option<StreamId>, Misuse> {
        self.desk.check_open()?;
        let carrier = match carriers.open_bidi(PathId::PRIMARY) {
            Ok(Some(carrier)) => carrier,
            Ok(None) => {
                self.streams.wants_credit = true;
                return Ok(None);
            }
            Err(CarrierEnd::Gone | CarrierEnd::Stopped(_) | CarrierEnd::Reset(_)) => {
                return Err(Misuse::Closed);
            }
        };
        let stream = self.streams.add(carrier, Bytes::from_static(PREAMBLE));
        self.streams.own_next = self.streams.own_next.max(stream.0 + 4);
        tracing::debug!(session = %self.desk.session, %stream, "stream opened");
        if let Ok(opened) = self.streams.get(stream) {
            // What QUIC does not take now follows with `Writable`; an end is told as an input.
            let _ = opened.flush_preamble(carriers);
        }
        Ok(Some(stream))
    }

    /// The next stream that the client opened.
    pub(crate) fn accept_stream(&mut self) -> Option<StreamId> {
        self.streams.opened.pop_front()
    }

    /// Hands what arrived to `sink`, in order.
    pub(crate) fn read(
        &mut self,
        _now: Now,
        stream: StreamId,
        max: usize,
        sink: &mut dyn FnMut(Bytes) -> ControlFlow<()>,
        carriers: &mut dyn Carriers,
    ) -> Result<ReadState, StreamError> {
        self.desk.check_usable()?;
        let found = self.streams.get(stream)?;
        match found.receive {
            ReceiveHalf::Open => {}
            ReceiveHalf::Finished => return Ok(ReadState::Finished),
            ReceiveHalf::Reset(code) => return Err(StreamError::Reset(code)),
            ReceiveHalf::Stopped => return Err(Misuse::UnknownStream(stream).into()),
        }
        let state = carriers.read(found.carrier, Order::Ordered, max, &mut |_, chunk| {
            sink(chunk)
        });
        found.told_readable = matches!(state, Ok(ReadState::More));
        match state {
            Ok(ReadState::Finished) => found.receive = ReceiveHalf::Finished,
            Err(CarrierEnd::Reset(code)) => found.receive = ReceiveHalf::Reset(code),
            Ok(ReadState::More | ReadState::Blocked)
            | Err(CarrierEnd::Gone | CarrierEnd::Stopped(_)) => {}
        }
        self.streams.forget_if_over(stream);
        state.map_err(|end| match end {
            CarrierEnd::Reset(code) => StreamError::Reset(code),
            CarrierEnd::Gone | CarrierEnd::Stopped(_) => gone(),
        })
    }

    /// Wants no more of what the client sends.
    pub(crate) fn stop(
        &mut self,
        _now: Now,
        stream: StreamId,
        code: u64,
        carriers: &mut dyn Carriers,
    ) -> Result<(), Misuse> {
        self.desk.check_open()?;
        let found = self.streams.get(stream)?;
        if found.receive != ReceiveHalf::Open {
            return Err(Misuse::UnknownStream(stream));
        }
        found.receive = ReceiveHalf::Stopped;
        carriers.stop(found.carrier, code);
        self.streams.forget_if_over(stream);
        Ok(())
    }

    /// Gives up sending, whoever was to write the rest.
    pub(crate) fn reset(
        &mut self,
        _now: Now,
        stream: StreamId,
        code: u64,
        carriers: &mut dyn Carriers,
    ) -> Result<(), Misuse> {
        self.desk.check_open()?;
        if matches!(self.streams.get(stream)?.send, SendHalf::Ended { .. }) {
            return Err(Misuse::Finished(stream));
        }
        tracing::debug!(session = %self.desk.session, %stream, code, "stream reset");
        self.give_up_sending(stream, code, None, carriers);
        Ok(())
    }
}

// What happens to carriers.
impl PrimarySession {
    pub(super) fn on_opened(&mut self, carrier: CarrierId) -> Result<(), Violation> {
        let stream = StreamId(carrier.stream);
        if !carrier.is_bidirectional() {
            return Err(Violation::Unexpected("segment of a client"));
        }
        if stream.is_server_opened() || stream.0 < self.streams.client_next {
            return Ok(());
        }
        self.streams.client_next = stream.0 + 4;
        self.streams.add(carrier, Bytes::new());
        self.streams.opened.push_back(stream);
        self.desk.tell_stream(StreamEvent::Opened);
        Ok(())
    }

    pub(super) fn on_readable(&mut self, carrier: CarrierId) {
        let Some((stream, found)) = self.streams.by_carrier(carrier) else {
            return;
        };
        if found.receive == ReceiveHalf::Open && !found.told_readable {
            found.told_readable = true;
            self.desk.tell_stream(StreamEvent::Readable(stream));
        }
    }

    pub(super) fn on_stream_writable(&mut self, carrier: CarrierId, carriers: &mut dyn Carriers) {
        let Some((stream, found)) = self.streams.by_carrier(carrier) else {
            return;
        };
        // An end of the carrier is told as an input of its own.
        let owed_preamble = !found.preamble.is_empty();
        if !matches!(found.flush_preamble(carriers), Ok(true)) {
            return;
        }
        match &mut found.send {
            SendHalf::Plain(plain) => {
                if std::mem::take(&mut plain.is_waiting) {
                    self.desk.tell_stream(StreamEvent::Writable(stream));
                }
            }
            SendHalf::Finishing if owed_preamble => {
                if let Err(CarrierEnd::Stopped(code)) = carriers.finish(carrier) {
                    self.on_stream_stopped(stream, code, carriers);
                }
            }
            SendHalf::Aggregated(_) | SendHalf::Finishing | SendHalf::Ended { .. } => {}
        }
    }

    pub(super) fn on_bidi_credit(&mut self) {
        if std::mem::take(&mut self.streams.wants_credit) {
            self.desk.tell_stream(StreamEvent::Available);
        }
    }

    /// The client wants no more of a stream: the carrier is owed a reset, or QUIC keeps it for ever
    /// [STR-4].
    pub(super) fn on_stream_stopped(
        &mut self,
        stream: StreamId,
        code: u64,
        carriers: &mut dyn Carriers,
    ) {
        let is_known = self
            .streams
            .get(stream)
            .is_ok_and(|s| !matches!(s.send, SendHalf::Ended { .. }));
        if is_known {
            tracing::debug!(session = %self.desk.session, %stream, code, "stream stopped");
            self.desk.tell_stream(StreamEvent::Stopped { stream, code });
            self.give_up_sending(stream, code, Some(code), carriers);
        }
    }

    /// The client has all of a stream's own carrier.
    pub(super) fn on_stream_finished(&mut self, carrier: CarrierId) {
        let Some((stream, found)) = self.streams.by_carrier(carrier) else {
            return;
        };
        if matches!(found.send, SendHalf::Finishing) {
            found.send = SendHalf::Ended { stopped: None };
            self.streams.forget_if_over(stream);
            self.desk.tell_stream(StreamEvent::Finished(stream));
        }
    }

    /// Nothing more is sent on the stream, by nobody [END-7] [END-8].
    fn give_up_sending(
        &mut self,
        stream: StreamId,
        code: u64,
        stopped: Option<u64>,
        carriers: &mut dyn Carriers,
    ) {
        let Ok(found) = self.streams.get(stream) else {
            return;
        };
        carriers.reset(found.carrier, code);
        let send = std::mem::replace(&mut found.send, SendHalf::Ended { stopped });
        if let SendHalf::Aggregated(mut aggregated) = send {
            aggregated
                .cursor
                .reset(code, &mut self.segments.flights, carriers);
            self.revoke_stream(stream, carriers);
        }
        self.segments.reset_stream(stream, code, carriers);
        self.plans.forget_stream(stream);
        self.streams.forget_if_over(stream);
    }
}

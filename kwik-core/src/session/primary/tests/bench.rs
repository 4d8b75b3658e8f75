//! One primary session, a QUIC that records what is done to it, and the tests' client.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};

use crate::carrier::{CarrierEnd, Carriers, Input, Now, Order, Output, PathStats, ReadState};
use crate::config::Config;
use crate::event::PrimaryEvent;
use crate::ids::{ByteRange, CarrierId, GrantId, PathId, SessionId, StreamId};
use crate::path::PathSpec;
use crate::session::ServerContext;
use crate::session::control::ControlChannel;
use crate::session::primary::PrimarySession;
use crate::ticket::MasterKey;
use crate::wire::{
    ControlFrame, Decoder, Grant, GrantOutcome, GrantStatus, Hello, LostReason, MaxOffset,
    PathStatus, PathStatusState, SegmentHeader, SegmentOwner,
};

pub(super) const CONTROL: CarrierId = CarrierId {
    path: PathId::PRIMARY,
    stream: 0,
};
pub(super) const PIN: [u8; 32] = [7; 32];
pub(super) const MASTER: [u8; 32] = [9; 32];
pub(super) const SESSION: SessionId = SessionId([3; 16]);

/// What was done to one carrier.
#[derive(Debug, Default)]
pub(super) struct Carrier {
    pub(super) sent: Vec<u8>,
    pub(super) finished: bool,
    pub(super) reset: Option<u64>,
    pub(super) stopped: Option<u64>,
    pub(super) priority: i32,
    /// What the client sent and was not read yet, and whether that is all.
    incoming: VecDeque<Bytes>,
    incoming_ended: bool,
    /// The client's STOP_SENDING, which writes find out.
    stopped_by_client: Option<u64>,
}

/// A QUIC connection that takes so many bytes and opens so many carriers.
pub(super) struct Quic {
    pub(super) carriers: BTreeMap<u64, Carrier>,
    pub(super) room: usize,
    pub(super) control_room: usize,
    pub(super) uni_credit: u64,
    pub(super) bidi_credit: u64,
    next_uni: u64,
    next_bidi: u64,
}

impl Quic {
    fn new() -> Self {
        Self {
            carriers: BTreeMap::from([(0, Carrier::default())]),
            room: usize::MAX,
            control_room: usize::MAX,
            uni_credit: u64::MAX,
            bidi_credit: u64::MAX,
            next_uni: 3,
            next_bidi: 1,
        }
    }

    fn open(&mut self, stream: u64) -> CarrierId {
        self.carriers.insert(stream, Carrier::default());
        CarrierId {
            path: PathId::PRIMARY,
            stream,
        }
    }

    fn take(&mut self, carrier: CarrierId, data: &mut Bytes) -> Result<usize, CarrierEnd> {
        let found = self
            .carriers
            .get_mut(&carrier.stream)
            .ok_or(CarrierEnd::Gone)?;
        assert!(
            !found.finished && found.reset.is_none(),
            "write to an ended {carrier:?}"
        );
        if let Some(code) = found.stopped_by_client {
            return Err(CarrierEnd::Stopped(code));
        }
        let taken = if carrier == CONTROL {
            data.len().min(self.control_room)
        } else {
            data.len().min(self.room)
        };
        if carrier != CONTROL {
            self.room -= taken;
        }
        found.sent.extend_from_slice(&data.split_to(taken));
        Ok(taken)
    }
}

impl Quic {
    /// STOP_SENDING arrives, and the session is not told of it yet.
    pub(super) fn stop_unnoticed(&mut self, stream: StreamId, code: u64) {
        if let Some(found) = self.carriers.get_mut(&stream.0) {
            found.stopped_by_client = Some(code);
        }
    }
}

impl Carriers for Quic {
    fn open_bidi(&mut self, _path: PathId) -> Result<Option<CarrierId>, CarrierEnd> {
        if self.bidi_credit == 0 {
            return Ok(None);
        }
        self.bidi_credit -= 1;
        self.next_bidi += 4;
        Ok(Some(self.open(self.next_bidi - 4)))
    }

    fn open_uni(&mut self, _path: PathId) -> Result<Option<CarrierId>, CarrierEnd> {
        if self.uni_credit == 0 {
            return Ok(None);
        }
        self.uni_credit -= 1;
        self.next_uni += 4;
        Ok(Some(self.open(self.next_uni - 4)))
    }

    fn write(&mut self, carrier: CarrierId, data: &mut Bytes) -> Result<usize, CarrierEnd> {
        self.take(carrier, data)
    }

    fn write_control(&mut self, carrier: CarrierId, data: &mut Bytes) -> Result<usize, CarrierEnd> {
        self.take(carrier, data)
    }

    fn finish(&mut self, carrier: CarrierId) -> Result<(), CarrierEnd> {
        let found = self
            .carriers
            .get_mut(&carrier.stream)
            .ok_or(CarrierEnd::Gone)?;
        if let Some(code) = found.stopped_by_client {
            return Err(CarrierEnd::Stopped(code));
        }
        found.finished = true;
        Ok(())
    }

    fn reset(&mut self, carrier: CarrierId, code: u64) {
        if let Some(found) = self.carriers.get_mut(&carrier.stream) {
            found.reset.get_or_insert(code);
        }
    }

    fn stop(&mut self, carrier: CarrierId, code: u64) {
        if let Some(found) = self.carriers.get_mut(&carrier.stream) {
            found.stopped.get_or_insert(code);
        }
    }

    fn set_priority(&mut self, carrier: CarrierId, priority: i32) {
        if let Some(found) = self.carriers.get_mut(&carrier.stream) {
            found.priority = priority;
        }
    }

    fn read(
        &mut self,
        carrier: CarrierId,
        _order: Order,
        _max: usize,
        sink: &mut dyn FnMut(u64, Bytes) -> ControlFlow<()>,
    ) -> Result<ReadState, CarrierEnd> {
        let found = self
            .carriers
            .get_mut(&carrier.stream)
            .ok_or(CarrierEnd::Gone)?;
        while let Some(chunk) = found.incoming.pop_front() {
            if sink(0, chunk).is_break() {
                return Ok(ReadState::More);
            }
        }
        Ok(if found.incoming_ended {
            ReadState::Finished
        } else {
            ReadState::Blocked
        })
    }

    fn path_stats(&self, _path: PathId) -> Option<PathStats> {
        None
    }
}

/// The session under test.
pub(super) struct Bench {
    pub(super) session: PrimarySession,
    pub(super) quic: Quic,
    pub(super) now: Now,
    decoder: Decoder,
    control_seen: usize,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with_config(Config::default())
    }

    pub(super) fn with_config(config: Config) -> Self {
        let context = ServerContext {
            config: Arc::new(config),
            master: Some(MasterKey::from_bytes(MASTER)),
            peer: None,
            started_unix_seconds: 0,
        };
        let now = Now {
            monotonic: epoch(),
            unix_seconds: 1_000_000,
        };
        let mut quic = Quic::new();
        let hello = Hello {
            join_key_thumbprint: [5; 32],
        };
        let control = ControlChannel::new(CONTROL);
        let session =
            PrimarySession::new(now, Arc::new(context), SESSION, hello, control, &mut quic);
        let mut bench = Self {
            session,
            quic,
            now,
            decoder: Decoder::new(),
            control_seen: 0,
        };
        assert_eq!(bench.events(), [PrimaryEvent::Accepted]);
        assert!(matches!(bench.frames()[..], [ControlFrame::Welcome(_)]));
        bench
    }

    pub(super) fn input(&mut self, input: Input) {
        self.session.handle(self.now, input, &mut self.quic);
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now.monotonic += time;
    }

    /// The client sends a frame.
    pub(super) fn client(&mut self, frame: &ControlFrame) {
        let control = self.quic.carriers.get_mut(&0).expect("control");
        control.incoming.push_back(frame.encode());
        self.input(Input::Readable(CONTROL));
    }

    /// All frames sent since the last call.
    pub(super) fn frames(&mut self) -> Vec<ControlFrame> {
        let sent = &self.quic.carriers[&0].sent;
        self.decoder
            .push(Bytes::copy_from_slice(&sent[self.control_seen..]));
        self.control_seen = sent.len();
        std::iter::from_fn(|| self.decoder.poll_frame().expect("well-formed")).collect()
    }

    /// The grants among the frames sent since the last call.
    pub(super) fn grants(&mut self) -> Vec<Grant> {
        let mut grants = Vec::new();
        for frame in self.frames() {
            if let ControlFrame::Grant(grant) = frame {
                grants.push(grant);
            }
        }
        grants
    }

    pub(super) fn events(&mut self) -> Vec<PrimaryEvent> {
        std::iter::from_fn(|| self.session.poll_event()).collect()
    }

    pub(super) fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.session.poll_output()).collect()
    }

    /// A stream that the primary opened.
    pub(super) fn stream(&mut self) -> StreamId {
        let stream = self
            .session
            .open_stream(self.now, &mut self.quic)
            .expect("open");
        stream.expect("credit")
    }

    /// A path that has joined.
    pub(super) fn path(&mut self) -> PathId {
        let path = self.added_path();
        self.path_status(path, PathStatusState::Active);
        self.events();
        self.frames();
        path
    }

    /// A path that has not joined.
    pub(super) fn added_path(&mut self) -> PathId {
        let spec = PathSpec {
            addrs: [([127, 0, 0, 1], 4433).into()].into_iter().collect(),
            server_name: "two".into(),
            pin: PIN,
        };
        self.session
            .add_path(self.now, spec, &mut self.quic)
            .expect("added")
    }

    pub(super) fn path_status(&mut self, path: PathId, state: PathStatusState) {
        self.client(&ControlFrame::PathStatus(PathStatus { path, state }));
    }

    pub(super) fn max_offset(&mut self, stream: StreamId, offset: u64) {
        self.client(&ControlFrame::MaxOffset(MaxOffset { stream, offset }));
    }

    pub(super) fn status(&mut self, grant: GrantId, outcome: GrantOutcome) {
        self.client(&ControlFrame::GrantStatus(GrantStatus { grant, outcome }));
    }

    pub(super) fn done(&mut self, grant: GrantId, end: u64) {
        self.status(grant, GrantOutcome::Done { end });
    }

    pub(super) fn lost(
        &mut self,
        grant: GrantId,
        reason: LostReason,
        end: u64,
        missing: &[ByteRange],
    ) {
        let missing = missing.iter().copied().collect();
        self.status(
            grant,
            GrantOutcome::Lost {
                reason,
                end,
                missing,
                more: false,
            },
        );
    }

    /// Writes at the cursor; what was taken.
    pub(super) fn write(&mut self, stream: StreamId, len: usize) -> usize {
        self.try_write(stream, len).expect("written")
    }

    pub(super) fn try_write(
        &mut self,
        stream: StreamId,
        len: usize,
    ) -> Result<usize, crate::error::StreamError> {
        let mut data = Bytes::from(vec![1; len]);
        let written = self
            .session
            .write(self.now, stream, &mut data, &mut self.quic)?;
        assert_eq!(written + data.len(), len);
        Ok(written)
    }

    pub(super) fn delegate(
        &mut self,
        stream: StreamId,
        range: ByteRange,
        path: PathId,
    ) -> Result<GrantId, crate::error::StreamError> {
        let command = Bytes::from_static(b"command");
        self.session
            .delegate(self.now, stream, range, path, command, &mut self.quic)
    }

    pub(super) fn finish(&mut self, stream: StreamId) -> Result<(), crate::error::StreamError> {
        self.session.finish(self.now, stream, &mut self.quic)
    }

    pub(super) fn set_offset(
        &mut self,
        stream: StreamId,
        offset: u64,
    ) -> Result<(), crate::error::StreamError> {
        self.session
            .set_offset(self.now, stream, offset, &mut self.quic)
    }

    /// The client stops a carrier.
    pub(super) fn stop(&mut self, carrier: CarrierId, code: u64) {
        if let Some(found) = self.quic.carriers.get_mut(&carrier.stream) {
            found.stopped_by_client = Some(code);
        }
        self.input(Input::Stopped { carrier, code });
    }

    /// The client opens a stream and sends `data`, and its end.
    pub(super) fn client_stream(&mut self, stream: u64, data: &'static [u8]) -> StreamId {
        let carrier = self.quic.open(stream);
        let found = self.quic.carriers.get_mut(&stream).expect("opened");
        found.incoming.push_back(Bytes::from_static(data));
        found.incoming_ended = true;
        self.input(Input::Opened(carrier));
        StreamId(stream)
    }

    pub(super) fn carrier(&self, stream: StreamId) -> &Carrier {
        &self.quic.carriers[&stream.0]
    }

    /// All segments: whose bytes, the stream range, and whether the carrier is finished.
    pub(super) fn segments(&self) -> Vec<(SegmentOwner, ByteRange, bool)> {
        let unis = self
            .quic
            .carriers
            .iter()
            .filter(|(stream, _)| *stream & 0b10 != 0);
        unis.filter(|(_, carrier)| carrier.sent.len() >= SegmentHeader::LEN)
            .map(|(_, carrier)| {
                let (header, body) = carrier
                    .sent
                    .split_first_chunk::<{ SegmentHeader::LEN }>()
                    .expect("whole");
                let header = SegmentHeader::decode(header).expect("header");
                let range = ByteRange::with_len(header.offset, body.len() as u64).expect("range");
                (header.owner, range, carrier.finished)
            })
            .collect()
    }
}

/// Some moment: nothing but differences counts.
#[expect(
    clippy::disallowed_methods,
    reason = "an instant can be made in no other way"
)]
fn epoch() -> Instant {
    Instant::now()
}

pub(super) fn range(start: u64, end: u64) -> ByteRange {
    ByteRange::new(start, end).expect("in order")
}

pub(super) fn uni(stream: u64) -> CarrierId {
    CarrierId {
        path: PathId::PRIMARY,
        stream,
    }
}

pub(super) fn bidi(stream: StreamId) -> CarrierId {
    CarrierId {
        path: PathId::PRIMARY,
        stream: stream.0,
    }
}

#[test]
fn the_recording_quic_takes_no_more_than_it_has_room() {
    let mut quic = Quic::new();
    quic.room = 3;
    let carrier = quic
        .open_bidi(PathId::PRIMARY)
        .expect("open")
        .expect("credit");
    let mut data = Bytes::from_static(b"abcde");
    assert_eq!(quic.write(carrier, &mut data), Ok(3));
    assert_eq!(data.remaining(), 2);
}

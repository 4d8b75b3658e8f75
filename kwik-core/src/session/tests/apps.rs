//! The applications on top of the sessions: readers that check every byte, servers that write what
//! they are asked for. Each does one thing at a time, so that a schedule can come between.

mod client;

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;

use bytes::Bytes;

use super::content::{check, content};
use super::rng::SplitMix;
use crate::carrier::ReadState;
use crate::error::{Misuse, StreamError, code};
use crate::event::{PrimaryEvent, SecondaryEvent, StreamEvent};
use crate::ids::{ByteRange, GrantId, PathId, SegmentId, SessionId, StreamId};
use crate::session::Cx;
use crate::session::primary::PrimarySession;
use crate::session::secondary::SecondarySession;
use crate::wire::Extent;

pub(super) use client::ClientApp;

/// Bytes that an application hands over at a time.
const WRITE_BYTES: u64 = 16 << 10;
/// Bytes that a reader takes at a time.
const READ_BYTES: u64 = 32 << 10;

/// A primary and what runs on it.
pub(super) struct PrimaryApp {
    pub(super) session: PrimarySession,
    pub(super) events: Vec<PrimaryEvent>,
    /// Runs of writes at the cursor of a stream.
    writes: BTreeMap<StreamId, Run>,
    /// Runs of writes into segments.
    segments: BTreeMap<SegmentId, (StreamId, Run)>,
    /// Streams of the client: so many bytes were read, and whether the end came.
    pub(super) requests: BTreeMap<StreamId, (u64, bool)>,
    unread: Vec<StreamId>,
    /// Whether ranges that a plan gives to the primary are written.
    pub(super) serves: bool,
    /// Whether answers go on streams of the primary's own, so that those of the client are finished
    /// once they were read.
    pub(super) answers_elsewhere: bool,
}

/// Bytes that are to be written.
#[derive(Debug)]
struct Run {
    at: u64,
    end: u64,
    /// The stream ends behind them.
    fin: bool,
    ready: bool,
}

impl PrimaryApp {
    pub(super) fn new(session: PrimarySession) -> Self {
        Self {
            session,
            events: Vec::new(),
            writes: BTreeMap::new(),
            segments: BTreeMap::new(),
            requests: BTreeMap::new(),
            unread: Vec::new(),
            serves: true,
            answers_elsewhere: true,
        }
    }

    pub(super) fn take_events(&mut self) {
        while let Some(event) = self.session.poll_event() {
            let closed = matches!(self.events.last(), Some(PrimaryEvent::Closed(_)));
            assert!(!closed, "{event:?} after Closed");
            let first = event == PrimaryEvent::Accepted;
            assert_eq!(
                first,
                self.events.is_empty(),
                "Accepted comes first, and once"
            );
            self.on_event(&event);
            self.events.push(event);
        }
    }

    fn on_event(&mut self, event: &PrimaryEvent) {
        match event {
            PrimaryEvent::Stream(StreamEvent::Opened) => {
                while let Some(stream) = self.session.accept_stream() {
                    self.read(stream);
                }
            }
            PrimaryEvent::Stream(StreamEvent::Readable(stream)) => self.unread.push(*stream),
            PrimaryEvent::Stream(StreamEvent::Writable(stream)) => {
                self.writes
                    .get_mut(stream)
                    .into_iter()
                    .for_each(|run| run.ready = true);
            }
            PrimaryEvent::SegmentWritable(segment) => {
                self.segments
                    .get_mut(segment)
                    .into_iter()
                    .for_each(|(_, run)| run.ready = true);
            }
            PrimaryEvent::OwnRange {
                stream,
                range,
                segment,
            } => {
                if self.serves {
                    self.write_segment(*stream, *segment, *range);
                }
            }
            PrimaryEvent::Accepted
            | PrimaryEvent::Stream(_)
            | PrimaryEvent::Path(_)
            | PrimaryEvent::GrantDone { .. }
            | PrimaryEvent::GrantLost { .. }
            | PrimaryEvent::Hole { .. }
            | PrimaryEvent::Closed(_) => {}
        }
    }

    /// Reads what the client writes on a stream.
    pub(super) fn read(&mut self, stream: StreamId) {
        self.requests.insert(stream, (0, false));
        self.unread.push(stream);
    }

    /// Writes the content of a stream at its cursor from now on, which is at `range.start()`.
    pub(super) fn write(&mut self, stream: StreamId, range: ByteRange, fin: bool) {
        let run = Run {
            at: range.start(),
            end: range.end(),
            fin,
            ready: true,
        };
        self.writes.insert(stream, run);
    }

    /// Writes the content of a range into a segment that is open at its start.
    pub(super) fn write_segment(&mut self, stream: StreamId, segment: SegmentId, range: ByteRange) {
        let run = Run {
            at: range.start(),
            end: range.end(),
            fin: true,
            ready: true,
        };
        self.segments.insert(segment, (stream, run));
    }

    /// What is still to be written, for the message of a failed test.
    pub(super) fn describe(&self) -> String {
        format!("{:?} {:?}", self.writes, self.segments)
    }

    /// Segments that are not written whole.
    pub(super) fn open_segments(&self) -> usize {
        self.segments.len()
    }

    /// Whether everything that was to be written is.
    pub(super) fn is_idle(&self) -> bool {
        self.writes.is_empty() && self.segments.is_empty()
    }

    pub(super) fn act(&mut self, cx: &mut Cx<'_>, chance: &mut Option<SplitMix>) -> bool {
        if let Some(stream) = self.unread.pop() {
            self.read_request(stream, cx);
            return true;
        }
        let segments: Vec<SegmentId> = self
            .segments
            .iter()
            .filter(|(_, (_, run))| run.ready)
            .map(|(&id, _)| id)
            .collect();
        if let Some(segment) = pick(&segments, chance) {
            self.write_segment_some(segment, cx, chance);
            return true;
        }
        let writes: Vec<StreamId> = self
            .writes
            .iter()
            .filter(|(_, run)| run.ready)
            .map(|(&id, _)| id)
            .collect();
        let Some(stream) = pick(&writes, chance) else {
            return false;
        };
        self.write_some(stream, cx, chance);
        true
    }

    fn read_request(&mut self, stream: StreamId, cx: &mut Cx<'_>) {
        let Some((read, ended)) = self.requests.get_mut(&stream) else {
            return;
        };
        if *ended {
            return;
        }
        let state = self.session.read(
            cx.now,
            stream,
            usize::MAX,
            &mut |chunk| {
                check(stream, *read, &chunk);
                *read += chunk.len() as u64;
                ControlFlow::Continue(())
            },
            cx.carriers,
        );
        match state {
            Ok(ReadState::More) => self.unread.push(stream),
            Ok(ReadState::Blocked) => {}
            Ok(ReadState::Finished) | Err(_) => {
                *ended = true;
                if self.answers_elsewhere && !stream.is_server_opened() {
                    let _ = self.session.finish(cx.now, stream, cx.carriers);
                }
            }
        }
    }

    fn write_some(&mut self, stream: StreamId, cx: &mut Cx<'_>, chance: &mut Option<SplitMix>) {
        let Some(run) = self.writes.get_mut(&stream) else {
            return;
        };
        let mut data = run.next(stream, chance);
        let written = self.session.write(cx.now, stream, &mut data, cx.carriers);
        let ended = run.advance(written, data.is_empty());
        let fin = run.fin;
        match ended {
            None => {}
            Some(whole) => {
                self.writes.remove(&stream);
                if whole && fin {
                    self.session
                        .finish(cx.now, stream, cx.carriers)
                        .expect("all was written");
                }
            }
        }
    }

    fn write_segment_some(
        &mut self,
        segment: SegmentId,
        cx: &mut Cx<'_>,
        chance: &mut Option<SplitMix>,
    ) {
        let Some((stream, run)) = self.segments.get_mut(&segment) else {
            return;
        };
        let mut data = run.next(*stream, chance);
        let written = self
            .session
            .write_segment(cx.now, segment, &mut data, cx.carriers);
        if run.advance(written, data.is_empty()).is_some() {
            self.segments.remove(&segment);
            // A segment that ended by itself is gone.
            let _ = self.session.finish_segment(cx.now, segment, cx.carriers);
        }
    }
}

impl Run {
    fn next(&self, stream: StreamId, chance: &mut Option<SplitMix>) -> Bytes {
        let mut len = (self.end - self.at).min(WRITE_BYTES);
        if let Some(rng) = chance {
            len = rng.below(len + 1).max(len.min(1));
        }
        content(
            stream,
            ByteRange::with_len(self.at, len).expect("in bounds"),
        )
    }

    /// Goes on behind what was written; whether the run is over, and then whether it is whole.
    fn advance(&mut self, written: Result<usize, StreamError>, all: bool) -> Option<bool> {
        match written {
            Ok(written) => {
                self.at += written as u64;
                self.ready = all;
                (all && self.at == self.end).then_some(true)
            }
            Err(StreamError::Misuse(Misuse::RangeTaken(range))) => {
                panic!("the test writes into a granted range: {range}")
            }
            Err(_) => Some(false),
        }
    }
}

/// How a secondary answers its grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// It writes what it is asked for. An open grant is filled with as many bytes as its command
    /// says, a little-endian `u64`.
    Fill,
    /// It writes so many bytes of each grant and says that this is all.
    Short(u64),
    /// It does nothing.
    Ignore,
    /// It gives grants back with this code.
    Refuse(u64),
}

/// A secondary and what runs on it.
pub(super) struct SecondaryApp {
    pub(super) session: SecondarySession,
    pub(super) events: Vec<SecondaryEvent>,
    /// What another join of the same client would name.
    pub(super) key: (SessionId, PathId),
    pub(super) service: Service,
    /// Grants that were not begun.
    new: VecDeque<(GrantId, StreamId, Extent, u64)>,
    open: BTreeMap<SegmentId, (GrantId, StreamId, Run)>,
}

impl SecondaryApp {
    pub(super) fn new(
        session: SecondarySession,
        key: (SessionId, PathId),
        service: Service,
    ) -> Self {
        Self {
            session,
            events: Vec::new(),
            key,
            service,
            new: VecDeque::new(),
            open: BTreeMap::new(),
        }
    }

    pub(super) fn take_events(&mut self) {
        while let Some(event) = self.session.poll_event() {
            let closed = matches!(self.events.last(), Some(SecondaryEvent::Closed(_)));
            assert!(!closed, "{event:?} after Closed");
            let first = event == SecondaryEvent::Joined;
            assert_eq!(
                first,
                self.events.is_empty(),
                "Joined comes first, and once"
            );
            match &event {
                SecondaryEvent::Grant {
                    grant,
                    remote_stream_id,
                    extent,
                    command,
                } => {
                    let len = command.get(..8).map_or(0, |len| {
                        u64::from_le_bytes(len.try_into().expect("8 bytes"))
                    });
                    self.new
                        .push_back((*grant, *remote_stream_id, *extent, len));
                }
                SecondaryEvent::SegmentWritable(segment) => {
                    self.open
                        .get_mut(segment)
                        .into_iter()
                        .for_each(|(_, _, run)| run.ready = true);
                }
                SecondaryEvent::Closed(_) => {
                    self.new.clear();
                    self.open.clear();
                }
                SecondaryEvent::Joined
                | SecondaryEvent::Raw(_)
                | SecondaryEvent::Revoked { .. }
                | SecondaryEvent::Stopped(_) => {}
            }
            self.events.push(event);
        }
    }

    pub(super) fn act(&mut self, cx: &mut Cx<'_>, chance: &mut Option<SplitMix>) -> bool {
        if self.service != Service::Ignore
            && let Some((grant, stream, extent, len)) = self.new.pop_front()
        {
            self.begin(grant, stream, extent, len, cx);
            return true;
        }
        let ready: Vec<SegmentId> = self
            .open
            .iter()
            .filter(|(_, (_, _, run))| run.ready)
            .map(|(&id, _)| id)
            .collect();
        let Some(segment) = pick(&ready, chance) else {
            return false;
        };
        self.write_some(segment, cx, chance);
        true
    }

    /// Never begins the grants that wait.
    pub(super) fn forget_new(&mut self) {
        self.new.clear();
    }

    fn begin(
        &mut self,
        grant: GrantId,
        stream: StreamId,
        extent: Extent,
        len: u64,
        cx: &mut Cx<'_>,
    ) {
        let wanted = match (self.service, extent) {
            (Service::Refuse(code), _) => {
                // The grant may have been taken back meanwhile.
                let _ = self.session.refuse_grant(grant, code, cx.carriers);
                return;
            }
            (Service::Short(len), _) => extent.range().len().min(len),
            (Service::Fill | Service::Ignore, Extent::Fixed(range)) => range.len(),
            (Service::Fill | Service::Ignore, Extent::Open { .. }) => len,
        };
        match self.session.open_segment(grant) {
            Ok(segment) => {
                let at = extent.range().start();
                let run = Run {
                    at,
                    end: at + wanted,
                    fin: true,
                    ready: true,
                };
                self.open.insert(segment, (grant, stream, run));
            }
            Err(StreamError::Misuse(Misuse::UnknownGrant(_))) => {}
            Err(error) => panic!("an offered grant can be opened: {error}"),
        }
    }

    fn write_some(&mut self, segment: SegmentId, cx: &mut Cx<'_>, chance: &mut Option<SplitMix>) {
        let Some((grant, stream, run)) = self.open.get_mut(&segment) else {
            return;
        };
        let grant = *grant;
        let mut data = run.next(*stream, chance);
        let written = self.session.write_segment(segment, &mut data, cx.carriers);
        if let Err(error) = &written {
            let ended = matches!(error, StreamError::Stopped(code::ENDED | code::PATH_ENDED));
            assert!(ended, "an honest secondary is not refused: {error}");
        }
        if run.advance(written, data.is_empty()).is_some() {
            self.open.remove(&segment);
            let _ = self.session.finish_segment(segment, cx.carriers);
            // A grant that was filled has ended by itself.
            let _ = self.session.finish_grant(grant, cx.carriers);
        }
    }
}

/// The first, or any if there is chance.
fn pick<T: Copy>(candidates: &[T], chance: &mut Option<SplitMix>) -> Option<T> {
    match chance {
        Some(rng) if !candidates.is_empty() => candidates.get(rng.index(candidates.len())).copied(),
        Some(_) | None => candidates.first().copied(),
    }
}

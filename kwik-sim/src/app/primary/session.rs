//! One client of a simulated primary: its requests, and the answers that are on their way.
//!
//! Owns which ranges of an answer nobody has yet, and who gets which next, where the application shares
//! the work out itself. Never sees the world.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;

use bytes::Bytes;
use kwik_core::carrier::ReadState;
use kwik_core::endpoint;
use kwik_core::error::{Misuse, StreamError};
use kwik_core::ids::{ByteRange, GrantId, PathId, SegmentId, StreamId};
use kwik_core::plan::PlanSpec;

use super::{Delivery, Ledger, PrimarySpec};
use crate::app::source::{Pumped, Source};
use crate::app::{Accepted, AnswerOn, Past, Request};
use crate::content::Content;

/// The command in every grant. What is wanted follows from the stream and the range.
const COMMAND: &[u8] = b"content";

/// Grants of one path that a delegating primary has outstanding.
const GRANTS_PER_PATH: usize = 4;

/// Ranges of its own that it writes at the same time.
const OWN_RANGES: usize = 2;

/// One client.
pub(super) struct Session {
    pub(super) content: Content,
    /// Secondaries that can be granted something.
    pub(super) paths: Vec<PathId>,
    /// Paths that were ever named, with the index of their secondary.
    pub(super) named: Vec<(usize, PathId)>,
    /// Requests that have not come whole.
    pub(super) requests: BTreeMap<StreamId, Vec<u8>>,
    /// Answers that wait for a stream.
    pub(super) unopened: VecDeque<Request>,
    /// What the primary writes at the cursor of a stream.
    pub(super) plain: BTreeMap<StreamId, Source>,
    /// What it writes into segments.
    pub(super) own: BTreeMap<SegmentId, (StreamId, Source)>,
    /// Answers that the application shares out.
    pub(super) shared: BTreeMap<StreamId, Shared>,
    pub(super) grants: BTreeMap<GrantId, (StreamId, PathId, ByteRange)>,
    pub(super) ledger: Ledger,
    /// What the endpoint took, at cursors and in segments.
    pub(super) accepted: Accepted,
    /// Answers that are to be handed on.
    pub(super) by_hand: Vec<(StreamId, u64)>,
    /// Streams that it opened and that were not taken note of.
    pub(super) opened: BTreeSet<StreamId>,
    /// What it has read, finished and let go of.
    pub(super) past: Past,
}

/// An answer that the application shares out.
pub(super) struct Shared {
    pub(super) size: u64,
    /// Ranges that nobody has.
    pub(super) todo: BTreeSet<ByteRange>,
    /// Whose turn it is.
    pub(super) turn: usize,
    pub(super) is_finished: bool,
}

impl Session {
    pub(super) fn new(content: Content) -> Self {
        Self {
            content,
            paths: Vec::new(),
            named: Vec::new(),
            opened: BTreeSet::new(),
            requests: BTreeMap::new(),
            unopened: VecDeque::new(),
            plain: BTreeMap::new(),
            own: BTreeMap::new(),
            shared: BTreeMap::new(),
            grants: BTreeMap::new(),
            ledger: Ledger::default(),
            accepted: Accepted::default(),
            by_hand: Vec::new(),
            past: Past::default(),
        }
    }

    /// Names a secondary to the client.
    pub(super) fn name(
        &mut self,
        primary: &mut endpoint::Primary<'_>,
        spec: &PrimarySpec,
        index: usize,
    ) -> Result<(), StreamError> {
        let path = primary.add_path(spec.secondaries[index].clone())?;
        self.paths.push(path);
        self.named.push((index, path));
        Ok(())
    }

    /// Takes a part of a request; answers when it is whole.
    pub(super) fn read(
        &mut self,
        primary: &mut endpoint::Primary<'_>,
        spec: &PrimarySpec,
        stream: StreamId,
    ) -> Result<(), StreamError> {
        let Some(request) = self.requests.get_mut(&stream) else {
            return Ok(());
        };
        let state = primary.read(stream, usize::MAX, &mut |chunk| {
            request.extend_from_slice(&chunk);
            ControlFlow::Continue(())
        });
        match state {
            Ok(ReadState::More | ReadState::Blocked) => return Ok(()),
            Ok(ReadState::Finished) => {}
            // Who takes its request back wants no answer.
            Err(StreamError::Reset(code)) => {
                self.requests.remove(&stream);
                return Ok(primary.reset(stream, code)?);
            }
            Err(error) => return Err(error),
        }
        self.past.read.insert(stream);
        let request = self.requests.remove(&stream).unwrap_or_default();
        let Some(request) = Request::decode(&request) else {
            return Ok(primary.reset(stream, 1)?);
        };
        match request.answer_on {
            AnswerOn::SameStream => self.answer(primary, spec, stream, request.bytes),
            AnswerOn::OwnStream => {
                self.finish(primary, stream)?;
                self.unopened.push_back(request);
                self.open_answers(primary, spec)
            }
        }
    }

    /// Opens the streams of answers that wait for one.
    pub(super) fn open_answers(
        &mut self,
        primary: &mut endpoint::Primary<'_>,
        spec: &PrimarySpec,
    ) -> Result<(), StreamError> {
        while let Some(request) = self.unopened.front().copied() {
            let Some(stream) = primary.open_stream()? else {
                return Ok(());
            };
            self.unopened.pop_front();
            self.opened.insert(stream);
            self.answer(primary, spec, stream, request.bytes)?;
        }
        Ok(())
    }

    /// Begins an answer.
    pub(super) fn answer(
        &mut self,
        primary: &mut endpoint::Primary<'_>,
        spec: &PrimarySpec,
        stream: StreamId,
        size: u64,
    ) -> Result<(), StreamError> {
        let whole = ByteRange::new(0, size).filter(|range| !range.is_empty());
        match (spec.delivery, whole) {
            (_, None) => self.finish(primary, stream),
            (Delivery::Plain, Some(_)) => {
                let source = Source::new(self.content, stream.0, 0, size);
                self.plain.insert(stream, source);
                self.write(primary, stream)
            }
            (Delivery::Plan(spread), Some(range)) => {
                let command = Bytes::from_static(COMMAND);
                primary.plan(stream, range, PlanSpec { command, spread })?;
                self.finish(primary, stream)
            }
            (Delivery::ByHand, Some(_)) => {
                self.by_hand.push((stream, size));
                Ok(())
            }
            (Delivery::Delegate { range_bytes }, Some(range)) => {
                self.shared.insert(stream, Shared::new(range, range_bytes));
                self.share(primary)
            }
        }
    }

    /// Writes at the cursor.
    pub(super) fn write(
        &mut self,
        primary: &mut endpoint::Primary<'_>,
        stream: StreamId,
    ) -> Result<(), StreamError> {
        let Some(source) = self.plain.get_mut(&stream) else {
            return Ok(());
        };
        let from = source.next();
        let pumped = source.pump(|bytes| primary.write(stream, bytes));
        self.accepted.note(stream, from, source.next());
        if pumped == Ok(Pumped::Blocked) {
            return Ok(());
        }
        self.plain.remove(&stream);
        pumped.and_then(|_| self.finish(primary, stream))
    }

    /// Ends a stream.
    fn finish(
        &mut self,
        primary: &mut endpoint::Primary<'_>,
        stream: StreamId,
    ) -> Result<(), StreamError> {
        primary.finish(stream)?;
        self.past.sent.insert(stream);
        Ok(())
    }

    /// Begins to write a range of its own.
    pub(super) fn begin_own(
        &mut self,
        primary: &mut endpoint::Primary<'_>,
        (stream, range, segment): (StreamId, ByteRange, SegmentId),
    ) -> Result<(), StreamError> {
        let source = Source::new(self.content, stream.0, range.start(), range.end());
        self.own.insert(segment, (stream, source));
        self.write_own(primary, segment)
    }

    /// Writes on a range of its own.
    pub(super) fn write_own(
        &mut self,
        primary: &mut endpoint::Primary<'_>,
        segment: SegmentId,
    ) -> Result<(), StreamError> {
        let Some((stream, source)) = self.own.get_mut(&segment) else {
            return Ok(());
        };
        let from = source.next();
        let pumped = source.pump(|bytes| primary.write_segment(segment, bytes));
        self.accepted.note(*stream, from, source.next());
        if pumped == Ok(Pumped::Blocked) {
            return Ok(());
        }
        self.own.remove(&segment);
        pumped.and_then(|_| primary.finish_segment(segment))?;
        self.past.segments.insert(segment);
        Ok(())
    }

    /// Gives out ranges, as far as somebody has a hand free.
    pub(super) fn share(&mut self, primary: &mut endpoint::Primary<'_>) -> Result<(), StreamError> {
        let streams: Vec<_> = self.shared.keys().copied().collect();
        for stream in streams {
            while self.share_one(primary, stream)? {}
            self.finish_shared(primary, stream)?;
        }
        Ok(())
    }

    /// Gives out one range; false if there is none, or nobody for it.
    pub(super) fn share_one(
        &mut self,
        primary: &mut endpoint::Primary<'_>,
        stream: StreamId,
    ) -> Result<bool, StreamError> {
        let Some(shared) = self.shared.get_mut(&stream) else {
            return Ok(false);
        };
        // The reader waits for the lowest first.
        let Some(&range) = shared.todo.first() else {
            return Ok(false);
        };
        // The primary comes in turn like its secondaries; whoever is busy is passed over.
        let hands = self.paths.len() + 1;
        let lowest = self.own.values().map(|(_, source)| source.next()).min();
        let has_a_hand_free = |hand: usize| match hand.checked_sub(1) {
            // Those that it has may wait for the credit that only this range brings.
            None => self.own.len() < OWN_RANGES || lowest.is_none_or(|at| range.start() < at),
            Some(index) => {
                let path = self.paths.get(index);
                let held = self.grants.values().filter(|(_, p, _)| Some(p) == path);
                held.count() < GRANTS_PER_PATH
            }
        };
        let mut in_turn = (0..hands).map(|i| (shared.turn + i) % hands);
        let Some(hand) = in_turn.find(|&hand| has_a_hand_free(hand)) else {
            return Ok(false);
        };
        shared.turn = hand + 1;
        shared.todo.remove(&range);
        let path = hand.checked_sub(1).and_then(|index| self.paths.get(index));
        match path.copied() {
            Some(path) => self.delegate(primary, stream, range, path)?,
            None => {
                let segment = primary.open_segment_at(stream, range.start())?;
                self.begin_own(primary, (stream, range, segment))?;
            }
        }
        Ok(true)
    }

    pub(super) fn delegate(
        &mut self,
        primary: &mut endpoint::Primary<'_>,
        stream: StreamId,
        range: ByteRange,
        path: PathId,
    ) -> Result<(), StreamError> {
        match primary.delegate(stream, range, path, Bytes::from_static(COMMAND)) {
            Ok(grant) => {
                self.grants.insert(grant, (stream, path, range));
                self.ledger.on_given(grant, stream, range);
                Ok(())
            }
            // Its end is about to be told.
            Err(StreamError::Misuse(Misuse::UnknownPath(_))) => {
                self.paths.retain(|&p| p != path);
                if let Some(shared) = self.shared.get_mut(&stream) {
                    shared.todo.insert(range);
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Tells the end of a stream once every byte below it has somebody.
    pub(super) fn finish_shared(
        &mut self,
        primary: &mut endpoint::Primary<'_>,
        stream: StreamId,
    ) -> Result<(), StreamError> {
        let Some(shared) = self.shared.get_mut(&stream) else {
            return Ok(());
        };
        let writes = self.own.values().any(|(of, _)| *of == stream);
        if shared.is_finished || writes || !shared.todo.is_empty() {
            return Ok(());
        }
        primary.set_offset(stream, shared.size)?;
        match primary.finish(stream) {
            // A loss is about to be told.
            Err(StreamError::Misuse(Misuse::RangeUncovered(_))) => Ok(()),
            result => {
                shared.is_finished = true;
                if result.is_ok() {
                    self.past.sent.insert(stream);
                }
                result
            }
        }
    }

    /// Nothing more is written on a stream.
    pub(super) fn forget(&mut self, stream: StreamId) {
        self.plain.remove(&stream);
        self.shared.remove(&stream);
        self.own.retain(|_, (of, _)| *of != stream);
    }
}

impl Shared {
    pub(super) fn new(whole: ByteRange, range_bytes: u64) -> Self {
        let step = usize::try_from(range_bytes.max(1)).unwrap_or(usize::MAX);
        let starts = (whole.start()..whole.end()).step_by(step);
        let range =
            |start: u64| ByteRange::new(start, whole.end().min(start.saturating_add(range_bytes)));
        Self {
            size: whole.end(),
            todo: starts.filter_map(range).collect(),
            turn: 0,
            is_finished: false,
        }
    }
}

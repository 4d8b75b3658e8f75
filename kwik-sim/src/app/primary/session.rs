//! One client of a simulated primary: its requests, and the answers that are on their way.
//!
//! Owns which ranges of an answer nobody has yet, and who gets which next, where the application shares
//! the work out itself. Never sees the world.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::time::Duration;

use kwik_core::carrier::ReadState;
use kwik_core::endpoint;
use kwik_core::error::{Misuse, StreamError, code};
use kwik_core::ids::{ByteRange, GrantId, PathId, SegmentId, StreamId};
use kwik_core::plan::PlanSpec;

use super::chain::Chain;
use super::reclaims::Reclaims;
use super::supply::Supply;
use super::{Delivery, Ledger, PrimarySpec};
use crate::app::command;
use crate::app::ends::GiveUp;
use crate::app::source::{Pumped, Source};
use crate::app::{Accepted, AnswerOn, Asked, Past};
use crate::content::Content;

/// Grants of one path that a delegating primary has outstanding.
const GRANTS_PER_PATH: usize = 4;

/// Ranges of its own that it writes at the same time.
const OWN_RANGES: usize = 2;

/// One client.
pub(super) struct Session {
    pub(super) content: Content,
    /// The number of the client, as it said it.
    pub(super) client: u8,
    /// Secondaries that can be granted something.
    pub(super) paths: Vec<PathId>,
    /// Paths that were ever named, with the index of their secondary.
    pub(super) named: Vec<(usize, PathId)>,
    /// Requests that have not come whole.
    pub(super) requests: BTreeMap<StreamId, Vec<u8>>,
    /// Answers that wait for a stream.
    pub(super) unopened: VecDeque<Asked>,
    /// Answers that are to be given up, when, and with which code. Their end is not told.
    pub(super) unwanted: BTreeMap<StreamId, (Duration, u64)>,
    /// The time, since the world began.
    pub(super) time: Duration,
    /// What the primary writes at the cursor of a stream.
    pub(super) plain: BTreeMap<StreamId, Source>,
    /// The streams of all segments that there were.
    segments: BTreeMap<SegmentId, StreamId>,
    /// Streams that were given up, by whomever.
    ended: BTreeSet<StreamId>,
    /// What it writes into segments.
    pub(super) own: BTreeMap<SegmentId, (StreamId, Source)>,
    /// Answers that the application shares out.
    pub(super) shared: BTreeMap<StreamId, Shared>,
    /// Answers that are brought piece by piece.
    pub(super) chains: BTreeMap<StreamId, Chain>,
    /// Pieces that secondaries were given.
    pub(super) pieces_given: u64,
    pub(super) grants: BTreeMap<GrantId, (StreamId, PathId, ByteRange)>,
    pub(super) ledger: Ledger,
    /// What the endpoint took, at cursors and in segments.
    pub(super) accepted: Accepted,
    /// Whence its bytes come, if not from the beginning.
    pub(super) supply: Option<Supply>,
    /// Grants that are to be taken back.
    pub(super) reclaims: Reclaims,
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
    pub(super) fn new(spec: &PrimarySpec) -> Self {
        Self {
            content: spec.content,
            client: 0,
            reclaims: Reclaims::new(spec.revokes),
            supply: Supply::new(spec.conduct),
            paths: Vec::new(),
            named: Vec::new(),
            opened: BTreeSet::new(),
            requests: BTreeMap::new(),
            unopened: VecDeque::new(),
            unwanted: BTreeMap::new(),
            time: Duration::ZERO,
            plain: BTreeMap::new(),
            segments: BTreeMap::new(),
            ended: BTreeSet::new(),
            own: BTreeMap::new(),
            shared: BTreeMap::new(),
            chains: BTreeMap::new(),
            pieces_given: 0,
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
        let Some(asked) = Asked::decode(&request) else {
            return Ok(primary.reset(stream, 1)?);
        };
        match asked.request.answer_on {
            AnswerOn::SameStream => self.answer(primary, spec, stream, asked),
            AnswerOn::OwnStream => {
                self.finish(primary, stream)?;
                self.unopened.push_back(asked);
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
        while let Some(asked) = self.unopened.front().copied() {
            let Some(stream) = primary.open_stream()? else {
                return Ok(());
            };
            self.unopened.pop_front();
            self.opened.insert(stream);
            self.answer(primary, spec, stream, asked)?;
        }
        Ok(())
    }

    /// Begins an answer.
    pub(super) fn answer(
        &mut self,
        primary: &mut endpoint::Primary<'_>,
        spec: &PrimarySpec,
        stream: StreamId,
        Asked {
            client,
            request,
            give_up,
        }: Asked,
    ) -> Result<(), StreamError> {
        self.client = client;
        self.content = spec.content.of_client(client);
        let size = request.bytes;
        if let Some(GiveUp { after, code }) = give_up {
            self.unwanted.insert(stream, (self.time + after, code));
        }
        let whole = ByteRange::new(0, size).filter(|range| !range.is_empty());
        match (spec.delivery, whole) {
            (_, None) => self.finish(primary, stream),
            (Delivery::Plain, Some(_)) => {
                let source = Source::new(self.content, stream.0, 0, size);
                self.plain.insert(stream, source);
                self.write(primary, stream)
            }
            (Delivery::Plan(spread), Some(range)) => {
                let command = command::encode(self.client, None);
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
            (Delivery::Raw { range_bytes }, Some(range)) => {
                let chain = Chain::new(range.end(), range_bytes);
                self.chains.insert(stream, chain);
                self.advance_one(primary, stream)
            }
        }
    }

    /// Writes at the cursor; goes on with the answer, or ends it, when all is written.
    pub(super) fn write(
        &mut self,
        primary: &mut endpoint::Primary<'_>,
        stream: StreamId,
    ) -> Result<(), StreamError> {
        self.write_some(primary, stream, self.at_once())
    }

    /// As [`Self::write`], but makes no more than `most` bytes.
    pub(super) fn write_some(
        &mut self,
        primary: &mut endpoint::Primary<'_>,
        stream: StreamId,
        most: u64,
    ) -> Result<(), StreamError> {
        if !self.plain.contains_key(&stream) || !self.write_on(primary, stream, most)? {
            return Ok(());
        }
        if self.chains.contains_key(&stream) {
            return self.advance_one(primary, stream);
        }
        self.finish(primary, stream)
    }

    /// Writes at the cursor; whether there is nothing left to write.
    pub(super) fn write_on(
        &mut self,
        primary: &mut endpoint::Primary<'_>,
        stream: StreamId,
        most: u64,
    ) -> Result<bool, StreamError> {
        let Some(source) = self.plain.get_mut(&stream) else {
            return Ok(true);
        };
        let (before, from) = (source.made(), source.next());
        let pumped = source.pump_some(most, |bytes| primary.write(stream, bytes));
        self.accepted.note(stream, from, source.next());
        let made = source.made() - before;
        self.spend(made);
        if matches!(pumped, Ok(Pumped::Blocked | Pumped::Spent)) {
            return Ok(false);
        }
        self.plain.remove(&stream);
        pumped.map(|_| true)
    }

    /// Tells the end of an answer, if it is to have one.
    pub(super) fn finish(
        &mut self,
        primary: &mut endpoint::Primary<'_>,
        stream: StreamId,
    ) -> Result<(), StreamError> {
        if self.unwanted.contains_key(&stream) {
            return Ok(());
        }
        primary.finish(stream)?;
        self.past.sent.insert(stream);
        Ok(())
    }

    /// Gives up the answers whose time has come, and tells which.
    pub(super) fn give_up(
        &mut self,
        primary: &mut endpoint::Primary<'_>,
    ) -> Result<Vec<(StreamId, u64)>, StreamError> {
        let due = self.unwanted.iter().filter(|(_, (at, _))| *at <= self.time);
        let due: Vec<_> = due.map(|(&stream, &(_, code))| (stream, code)).collect();
        for &(stream, code) in &due {
            self.forget(stream);
            primary.reset(stream, code)?;
        }
        if !due.is_empty() {
            // It has a hand free for others.
            self.share(primary)?;
        }
        Ok(due)
    }

    /// Begins to write a range of its own.
    pub(super) fn begin_own(
        &mut self,
        primary: &mut endpoint::Primary<'_>,
        (stream, range, segment): (StreamId, ByteRange, SegmentId),
    ) -> Result<(), StreamError> {
        self.segments.insert(segment, stream);
        // It may have been dealt before.
        if self.ended.contains(&stream) {
            return Ok(());
        }
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
        self.write_own_some(primary, segment, self.at_once())
    }

    /// As [`Self::write_own`], but makes no more than `most` bytes.
    pub(super) fn write_own_some(
        &mut self,
        primary: &mut endpoint::Primary<'_>,
        segment: SegmentId,
        most: u64,
    ) -> Result<(), StreamError> {
        let Some((stream, source)) = self.own.get_mut(&segment) else {
            return Ok(());
        };
        let (before, from) = (source.made(), source.next());
        let pumped = source.pump_some(most, |bytes| primary.write_segment(segment, bytes));
        self.accepted.note(*stream, from, source.next());
        let made = source.made() - before;
        self.spend(made);
        if matches!(pumped, Ok(Pumped::Blocked | Pumped::Spent)) {
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
        self.advance(primary)
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
        match primary.delegate(stream, range, path, command::encode(self.client, None)) {
            Ok(grant) => {
                self.grants.insert(grant, (stream, path, range));
                self.ledger.on_given(grant, stream, range);
                self.reclaims.note_given(grant, self.time);
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
        let has_no_end = self.unwanted.contains_key(&stream);
        if shared.is_finished || writes || !shared.todo.is_empty() || has_no_end {
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

    /// What a call that failed was about, if it may be only that the client has stopped the stream, which
    /// is about to be told.
    pub(super) fn doubt(&self, error: &StreamError) -> Option<Doubt> {
        match error {
            StreamError::Stopped(code) => Some(Doubt::Code(*code)),
            StreamError::Misuse(Misuse::Finished(stream) | Misuse::UnknownStream(stream)) => {
                Some(Doubt::Stream(*stream))
            }
            StreamError::Misuse(Misuse::UnknownSegment(segment)) => {
                self.segments.get(segment).copied().map(Doubt::Stream)
            }
            StreamError::Misuse(_)
            | StreamError::Reset(_)
            | StreamError::Hole(_)
            | StreamError::SessionLost(_) => None,
        }
    }

    /// Nothing more is written on a stream.
    pub(super) fn forget(&mut self, stream: StreamId) {
        self.ended.insert(stream);
        self.unwanted.remove(&stream);
        self.plain.remove(&stream);
        self.shared.remove(&stream);
        self.chains.remove(&stream);
        self.own.retain(|_, (of, _)| *of != stream);
    }
}

/// What a call was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// A stream.
    Stream(StreamId),
    /// One that was stopped with this code.
    Code(u64),
}

impl Doubt {
    /// Whether it is about a stream that was stopped with this code. Segments that come behind that are
    /// stopped with the protocol's own.
    pub(super) fn is_of(self, (stream, code): (StreamId, u64)) -> bool {
        match self {
            Self::Stream(of) => of == stream,
            Self::Code(with) => with == code || with == code::ENDED,
        }
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

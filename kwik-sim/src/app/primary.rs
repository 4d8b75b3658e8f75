//! A primary that answers requests, alone or together with its secondaries.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::time::Duration;

use bytes::Bytes;
use kwik_core::carrier::ReadState;
use kwik_core::endpoint;
use kwik_core::error::{CloseReason, Misuse, StreamError};
use kwik_core::event::{Event, EventKind, PathEvent, PrimaryEvent, StreamEvent};
use kwik_core::ids::{ByteRange, GrantId, PathId, SegmentId, SessionHandle, StreamId};
use kwik_core::path::PathSpec;
use kwik_core::plan::{PlanSpec, Spread};
use kwik_core::ranges::RangeSet;
use kwik_core::wire::LostReason;

use super::source::{Pumped, Source};
use super::{AnswerOn, Request};
use crate::content::Content;
use crate::host::{App, Hosted};

/// The command in every grant. What is wanted follows from the stream and the range.
const COMMAND: &[u8] = b"content";

/// Grants of one path that a delegating primary has outstanding.
const GRANTS_PER_PATH: usize = 4;

/// Ranges of its own that it writes at the same time.
const OWN_RANGES: usize = 2;

/// What a primary does.
#[derive(Clone, Debug)]
pub struct PrimarySpec {
    /// The secondaries that it names to every client.
    pub secondaries: Vec<PathSpec>,
    /// The answers.
    pub content: Content,
    /// Who writes them.
    pub delivery: Delivery,
}

/// How an answer is brought to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The primary writes all of it.
    Plain,
    /// The core shares it out.
    Plan(Spread),
    /// The application shares it out, in ranges of this length in turn, and takes care of lost ones.
    Delegate {
        /// Bytes of a range.
        range_bytes: u64,
    },
    /// Nobody, but for whoever acts as the application: see [`Primary::unanswered`].
    ByHand,
}

/// A range that came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// When, since the world began.
    pub at: Duration,
    /// The grant.
    pub grant: GrantId,
    /// What was granted.
    pub granted: ByteRange,
    /// What is missing of it.
    pub missing: RangeSet,
}

/// The primary.
pub struct Primary {
    spec: PrimarySpec,
    sessions: BTreeMap<SessionHandle, Session>,
    losses: Vec<Loss>,
    /// Grants of its own that are done, and where they ended.
    done: Vec<(GrantId, u64)>,
    /// Answers that are left to somebody else.
    unanswered: Vec<(StreamId, u64)>,
    paths: Vec<(Duration, PathEvent)>,
    /// Streams that it opened.
    opened: BTreeSet<StreamId>,
    holes: u64,
    closed: Vec<CloseReason>,
    errors: Vec<StreamError>,
}

/// One client.
struct Session {
    content: Content,
    /// Secondaries that can be granted something.
    paths: Vec<PathId>,
    /// Paths that were ever named, with the index of their secondary.
    named: Vec<(usize, PathId)>,
    /// Requests that have not come whole.
    requests: BTreeMap<StreamId, Vec<u8>>,
    /// Answers that wait for a stream.
    unopened: VecDeque<Request>,
    /// What the primary writes at the cursor of a stream.
    plain: BTreeMap<StreamId, Source>,
    /// What it writes into segments.
    own: BTreeMap<SegmentId, (StreamId, Source)>,
    /// Answers that the application shares out.
    shared: BTreeMap<StreamId, Shared>,
    grants: BTreeMap<GrantId, (StreamId, PathId, ByteRange)>,
    /// Answers that are to be handed on.
    by_hand: Vec<(StreamId, u64)>,
    /// Streams that it opened and that were not taken note of.
    opened: BTreeSet<StreamId>,
}

/// An answer that the application shares out.
struct Shared {
    size: u64,
    /// Ranges that nobody has.
    todo: BTreeSet<ByteRange>,
    /// Whose turn it is.
    turn: usize,
    is_finished: bool,
}

impl Primary {
    /// A primary that has done nothing.
    #[must_use]
    pub fn new(spec: PrimarySpec) -> Self {
        Self {
            spec,
            sessions: BTreeMap::new(),
            losses: Vec::new(),
            done: Vec::new(),
            unanswered: Vec::new(),
            paths: Vec::new(),
            opened: BTreeSet::new(),
            holes: 0,
            closed: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// The sessions that it has.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionHandle> {
        self.sessions.keys().copied().collect()
    }

    /// The secondaries of a session that can be granted something.
    #[must_use]
    pub fn paths(&self, session: SessionHandle) -> &[PathId] {
        self.sessions.get(&session).map_or(&[], |s| &s.paths)
    }

    /// Streams that it has opened, in whatever session.
    #[must_use]
    pub fn opened(&self) -> &BTreeSet<StreamId> {
        &self.opened
    }

    /// The path that it named last for a secondary, in the first of its sessions.
    #[must_use]
    pub fn newest_path(&self, index: usize) -> Option<PathId> {
        let session = self.sessions.values().next()?;
        let mut of_it = session.named.iter().rev().filter(|(i, _)| *i == index);
        of_it.next().map(|(_, path)| *path)
    }

    /// Grants of its own that it has not been told the end of.
    #[must_use]
    pub fn grants_owed(&self) -> usize {
        self.sessions.values().map(|s| s.grants.len()).sum()
    }

    /// Grants of its own that were lost (those of a plan are the core's).
    #[must_use]
    pub fn losses(&self) -> &[Loss] {
        &self.losses
    }

    /// Its own grants that are done, and where they ended.
    #[must_use]
    pub fn done(&self) -> &[(GrantId, u64)] {
        &self.done
    }

    /// The streams, and the lengths, of answers that are given by hand.
    #[must_use]
    pub fn unanswered(&self) -> &[(StreamId, u64)] {
        &self.unanswered
    }

    /// What happened to paths, and when.
    #[must_use]
    pub fn path_events(&self) -> &[(Duration, PathEvent)] {
        &self.paths
    }

    /// How often the reader waited for bytes that nobody was to bring.
    #[must_use]
    pub fn holes(&self) -> u64 {
        self.holes
    }

    /// Why its sessions ended.
    #[must_use]
    pub fn closed(&self) -> &[CloseReason] {
        &self.closed
    }

    /// Calls that failed.
    #[must_use]
    pub fn errors(&self) -> &[StreamError] {
        &self.errors
    }

    /// Does one step of a session, noting what fails.
    fn with<T>(
        &mut self,
        host: &mut Hosted<'_>,
        handle: SessionHandle,
        step: impl FnOnce(
            &mut Session,
            &mut endpoint::Primary<'_>,
            &PrimarySpec,
        ) -> Result<T, StreamError>,
    ) -> Option<T> {
        let session = self.sessions.get_mut(&handle)?;
        let mut primary = host.endpoint.primary(host.moment.now, handle)?;
        let result = step(session, &mut primary, &self.spec);
        self.unanswered.append(&mut session.by_hand);
        self.opened.append(&mut session.opened);
        result.map_err(|error| self.errors.push(error)).ok()
    }

    fn on_accepted(&mut self, host: &mut Hosted<'_>, handle: SessionHandle) {
        self.sessions
            .insert(handle, Session::new(self.spec.content));
        self.with(host, handle, |session, primary, spec| {
            (0..spec.secondaries.len()).try_for_each(|index| session.name(primary, spec, index))
        });
    }

    /// Names a secondary once more to the first of its clients, under a new path id.
    pub fn add_again(&mut self, host: &mut Hosted<'_>, index: usize) {
        let Some(&handle) = self.sessions.keys().next() else {
            return;
        };
        if index < self.spec.secondaries.len() {
            self.with(host, handle, |session, primary, spec| {
                session.name(primary, spec, index)
            });
        }
    }

    fn on_stream(&mut self, host: &mut Hosted<'_>, handle: SessionHandle, event: StreamEvent) {
        match event {
            StreamEvent::Opened => while self.accept(host, handle) {},
            StreamEvent::Available => {
                self.with(host, handle, Session::open_answers);
            }
            StreamEvent::Readable(stream) => {
                self.with(host, handle, |s, primary, spec| {
                    s.read(primary, spec, stream)
                });
            }
            StreamEvent::Writable(stream) => {
                self.with(host, handle, |s, primary, _| s.write(primary, stream));
            }
            StreamEvent::Stopped { stream, code } => {
                self.with(host, handle, |session, primary, _| {
                    session.forget(stream);
                    Ok(primary.reset(stream, code)?)
                });
            }
            StreamEvent::Finished(_) => {}
        }
    }

    fn accept(&mut self, host: &mut Hosted<'_>, handle: SessionHandle) -> bool {
        let accepted = self.with(host, handle, |session, primary, spec| {
            let Some(stream) = primary.accept_stream() else {
                return Ok(false);
            };
            session.requests.insert(stream, Vec::new());
            session.read(primary, spec, stream)?;
            Ok(true)
        });
        accepted == Some(true)
    }

    fn on_path(&mut self, host: &mut Hosted<'_>, handle: SessionHandle, event: PathEvent) {
        self.paths.push((host.moment.time, event));
        let (PathEvent::Dead(path) | PathEvent::Retired(path)) = event else {
            return;
        };
        self.with(host, handle, |session, primary, _| {
            session.paths.retain(|&p| p != path);
            session.share(primary)
        });
    }

    fn on_lost(
        &mut self,
        host: &mut Hosted<'_>,
        handle: SessionHandle,
        (grant, reason, missing): (GrantId, LostReason, RangeSet),
    ) {
        let Some(session) = self.sessions.get_mut(&handle) else {
            return;
        };
        let Some((stream, path, granted)) = session.grants.remove(&grant) else {
            return;
        };
        // It would refuse the next one too.
        if matches!(reason, LostReason::Refused(_)) {
            session.paths.retain(|&p| p != path);
        }
        let lost = missing.clone();
        self.losses.push(Loss {
            at: host.moment.time,
            grant,
            granted,
            missing,
        });
        self.bring(host, handle, stream, &lost);
    }

    /// Ranges need somebody to bring them.
    fn bring(
        &mut self,
        host: &mut Hosted<'_>,
        handle: SessionHandle,
        stream: StreamId,
        missing: &RangeSet,
    ) {
        self.with(host, handle, |session, primary, _| {
            if let Some(shared) = session.shared.get_mut(&stream) {
                shared.todo.extend(missing.iter());
            }
            session.share(primary)
        });
    }
}

impl Session {
    fn new(content: Content) -> Self {
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
            by_hand: Vec::new(),
        }
    }

    /// Names a secondary to the client.
    fn name(
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
    fn read(
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
        let request = self.requests.remove(&stream).unwrap_or_default();
        let Some(request) = Request::decode(&request) else {
            return Ok(primary.reset(stream, 1)?);
        };
        match request.answer_on {
            AnswerOn::SameStream => self.answer(primary, spec, stream, request.bytes),
            AnswerOn::OwnStream => {
                primary.finish(stream)?;
                self.unopened.push_back(request);
                self.open_answers(primary, spec)
            }
        }
    }

    /// Opens the streams of answers that wait for one.
    fn open_answers(
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
    fn answer(
        &mut self,
        primary: &mut endpoint::Primary<'_>,
        spec: &PrimarySpec,
        stream: StreamId,
        size: u64,
    ) -> Result<(), StreamError> {
        let whole = ByteRange::new(0, size).filter(|range| !range.is_empty());
        match (spec.delivery, whole) {
            (_, None) => primary.finish(stream),
            (Delivery::Plain, Some(_)) => {
                let source = Source::new(self.content, stream.0, 0, size);
                self.plain.insert(stream, source);
                self.write(primary, stream)
            }
            (Delivery::Plan(spread), Some(range)) => {
                let command = Bytes::from_static(COMMAND);
                primary.plan(stream, range, PlanSpec { command, spread })?;
                primary.finish(stream)
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
    fn write(
        &mut self,
        primary: &mut endpoint::Primary<'_>,
        stream: StreamId,
    ) -> Result<(), StreamError> {
        let Some(source) = self.plain.get_mut(&stream) else {
            return Ok(());
        };
        let pumped = source.pump(|bytes| primary.write(stream, bytes));
        if pumped == Ok(Pumped::Blocked) {
            return Ok(());
        }
        self.plain.remove(&stream);
        pumped.and_then(|_| primary.finish(stream))
    }

    /// Begins to write a range of its own.
    fn begin_own(
        &mut self,
        primary: &mut endpoint::Primary<'_>,
        (stream, range, segment): (StreamId, ByteRange, SegmentId),
    ) -> Result<(), StreamError> {
        let source = Source::new(self.content, stream.0, range.start(), range.end());
        self.own.insert(segment, (stream, source));
        self.write_own(primary, segment)
    }

    /// Writes on a range of its own.
    fn write_own(
        &mut self,
        primary: &mut endpoint::Primary<'_>,
        segment: SegmentId,
    ) -> Result<(), StreamError> {
        let Some((_, source)) = self.own.get_mut(&segment) else {
            return Ok(());
        };
        let pumped = source.pump(|bytes| primary.write_segment(segment, bytes));
        if pumped == Ok(Pumped::Blocked) {
            return Ok(());
        }
        self.own.remove(&segment);
        pumped.and_then(|_| primary.finish_segment(segment))
    }

    /// Gives out ranges, as far as somebody has a hand free.
    fn share(&mut self, primary: &mut endpoint::Primary<'_>) -> Result<(), StreamError> {
        let streams: Vec<_> = self.shared.keys().copied().collect();
        for stream in streams {
            while self.share_one(primary, stream)? {}
            self.finish_shared(primary, stream)?;
        }
        Ok(())
    }

    /// Gives out one range; false if there is none, or nobody for it.
    fn share_one(
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

    fn delegate(
        &mut self,
        primary: &mut endpoint::Primary<'_>,
        stream: StreamId,
        range: ByteRange,
        path: PathId,
    ) -> Result<(), StreamError> {
        match primary.delegate(stream, range, path, Bytes::from_static(COMMAND)) {
            Ok(grant) => {
                self.grants.insert(grant, (stream, path, range));
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
    fn finish_shared(
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
                result
            }
        }
    }

    /// Nothing more is written on a stream.
    fn forget(&mut self, stream: StreamId) {
        self.plain.remove(&stream);
        self.shared.remove(&stream);
        self.own.retain(|_, (of, _)| *of != stream);
    }
}

impl Shared {
    fn new(whole: ByteRange, range_bytes: u64) -> Self {
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

impl App for Primary {
    fn start(&mut self, _: &mut Hosted<'_>) {}

    fn on_event(&mut self, host: &mut Hosted<'_>, event: Event) {
        let handle = event.session;
        let EventKind::Primary(event) = event.kind else {
            return;
        };
        match event {
            PrimaryEvent::Accepted => self.on_accepted(host, handle),
            PrimaryEvent::Stream(event) => self.on_stream(host, handle, event),
            PrimaryEvent::Path(event) => self.on_path(host, handle, event),
            PrimaryEvent::GrantDone { grant, end } => {
                self.done.push((grant, end));
                self.with(host, handle, |session, primary, _| {
                    session.grants.remove(&grant);
                    session.share(primary)
                });
            }
            PrimaryEvent::GrantLost {
                grant,
                reason,
                missing,
            } => {
                self.on_lost(host, handle, (grant, reason, missing));
            }
            PrimaryEvent::Hole { stream, missing } => {
                self.holes += 1;
                self.bring(host, handle, stream, &missing);
            }
            PrimaryEvent::OwnRange {
                stream,
                range,
                segment,
            } => {
                self.with(host, handle, |session, primary, _| {
                    session.begin_own(primary, (stream, range, segment))
                });
            }
            PrimaryEvent::SegmentWritable(segment) => {
                self.with(host, handle, |session, primary, _| {
                    session.write_own(primary, segment)?;
                    session.share(primary)
                });
            }
            PrimaryEvent::Closed(reason) => {
                self.sessions.remove(&handle);
                self.closed.push(reason);
            }
        }
    }
}

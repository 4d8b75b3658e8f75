//! A primary that answers requests, alone or together with its secondaries.

mod chain;
mod ledger;
mod reclaims;
mod session;
mod supply;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kwik_core::endpoint;
use kwik_core::error::{CloseReason, StreamError};
use kwik_core::event::{Event, EventKind, PathEvent, PrimaryEvent, StreamEvent};
use kwik_core::ids::{ByteRange, GrantId, PathId, SessionHandle, StreamId};
use kwik_core::path::PathSpec;
use kwik_core::plan::Spread;
use kwik_core::ranges::RangeSet;
use kwik_core::wire::LostReason;

use self::ledger::Ledger;
pub use self::reclaims::Revokes;
use self::session::{Doubt, Session};
use super::{Accepted, Conduct, Past};
use crate::content::Content;
use crate::host::{App, Hosted};

/// What a primary does.
#[derive(Clone, Debug)]
pub struct PrimarySpec {
    /// The secondaries that it names to every client.
    pub secondaries: Vec<PathSpec>,
    /// The answers.
    pub content: Content,
    /// Who writes them.
    pub delivery: Delivery,
    /// Which of its grants it takes back, if it delegates.
    pub revokes: Option<Revokes>,
    /// How it behaves: honest, if slow.
    pub conduct: Conduct,
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
    /// The application gives out pieces of at most this length that begin where the one before has ended.
    Raw {
        /// Bytes of a piece.
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
    /// Streams that were given up, and with which code: by the client, and by itself.
    stopped: Vec<(StreamId, u64)>,
    gave_up: Vec<(StreamId, u64)>,
    closed: Vec<CloseReason>,
    errors: Vec<StreamError>,
    /// What was wrong with a final status.
    wrong_status: Option<String>,
    /// Calls that failed, and may have been made because it was not told yet that the client has stopped a
    /// stream.
    doubts: Vec<(SessionHandle, Doubt, StreamError)>,
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
            stopped: Vec::new(),
            gave_up: Vec::new(),
            closed: Vec::new(),
            errors: Vec::new(),
            wrong_status: None,
            doubts: Vec::new(),
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

    /// Grants that it has taken back, in the sessions that it has.
    #[must_use]
    pub fn taken_back(&self) -> Vec<GrantId> {
        let sessions = self.sessions.values();
        sessions
            .flat_map(|s| s.reclaims.taken_back.iter().copied())
            .collect()
    }

    /// Pieces of answers that secondaries were given, in the sessions that it has.
    #[must_use]
    pub fn pieces_given(&self) -> u64 {
        self.sessions.values().map(|s| s.pieces_given).sum()
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

    /// Answers of which the client wanted no more, and the codes that it said.
    #[must_use]
    pub fn stopped(&self) -> &[(StreamId, u64)] {
        &self.stopped
    }

    /// Answers that it gave up itself, and with which codes.
    #[must_use]
    pub fn gave_up(&self) -> &[(StreamId, u64)] {
        &self.gave_up
    }

    /// Why its sessions ended.
    #[must_use]
    pub fn closed(&self) -> &[CloseReason] {
        &self.closed
    }

    /// The first final status that was not to come, of a grant of its own.
    #[must_use]
    pub fn wrong_status(&self) -> Option<&str> {
        self.wrong_status.as_deref()
    }

    /// What its endpoint took of it, in each session that there is.
    pub fn accepted(&self) -> impl Iterator<Item = &Accepted> {
        self.sessions.values().map(|session| &session.accepted)
    }

    /// Calls that failed, but for those about which something is still to be told.
    #[must_use]
    pub fn errors(&self) -> &[StreamError] {
        &self.errors
    }

    /// Calls that failed, and about which nothing was told that excuses them.
    #[must_use]
    pub fn unexcused(&self) -> Option<&StreamError> {
        let doubts = self.doubts.iter().map(|(_, _, error)| error);
        self.errors.iter().chain(doubts).next()
    }

    /// The client has stopped a stream, which may have been why calls failed.
    fn excuse(&mut self, handle: SessionHandle, stream: StreamId, code: u64) {
        self.doubts
            .retain(|&(session, doubt, _)| session != handle || !doubt.is_of((stream, code)));
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
        session.time = host.moment.time;
        let result = step(session, &mut primary, &self.spec);
        self.unanswered.append(&mut session.by_hand);
        self.opened.append(&mut session.opened);
        let failed = |error| match session.doubt(&error) {
            // It was told before, and there was something left to write.
            Some(doubt) if self.stopped.iter().any(|&told| doubt.is_of(told)) => {}
            Some(doubt) => self.doubts.push((handle, doubt, error)),
            None => self.errors.push(error),
        };
        result.map_err(failed).ok()
    }

    fn on_accepted(&mut self, host: &mut Hosted<'_>, handle: SessionHandle) {
        self.sessions.insert(handle, Session::new(&self.spec));
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
                self.stopped.push((stream, code));
                self.excuse(handle, stream, code);
                self.with(host, handle, |session, primary, _| {
                    session.forget(stream);
                    session.share(primary)
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

    /// Enters a final status into the ledger of its session.
    fn enter(&mut self, handle: SessionHandle, status: impl FnOnce(&mut Ledger)) {
        let wrong = match self.sessions.get_mut(&handle) {
            Some(session) => {
                status(&mut session.ledger);
                session.ledger.take_wrong()
            }
            None => Some("a grant has a final status and no session".to_owned()),
        };
        self.wrong_status = self.wrong_status.take().or(wrong);
    }

    fn on_lost(
        &mut self,
        host: &mut Hosted<'_>,
        handle: SessionHandle,
        (grant, reason, missing): (GrantId, LostReason, RangeSet),
    ) {
        self.enter(handle, |ledger| ledger.on_lost(grant, &missing));
        let Some(session) = self.sessions.get_mut(&handle) else {
            return;
        };
        let Some((stream, path, granted)) = session.grants.remove(&grant) else {
            return;
        };
        session.reclaims.note_ended(grant);
        if reason == LostReason::Revoked {
            session.pass_over(stream, path);
        }
        // It would refuse the next one too.
        if matches!(reason, LostReason::Refused(_)) {
            session.paths.retain(|&p| p != path);
        }
        let is_chained = session.chains.contains_key(&stream);
        let lost = missing.clone();
        self.losses.push(Loss {
            at: host.moment.time,
            grant,
            granted,
            missing,
        });
        if is_chained {
            self.with(host, handle, |session, primary, _| {
                session.on_piece_lost(primary, stream, grant)?;
                session.share(primary)
            });
        } else {
            self.bring(host, handle, stream, &lost);
        }
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
            for range in missing.iter() {
                session.rewrite(primary, stream, range)?;
            }
            session.share(primary)
        });
    }
}

impl App for Primary {
    fn start(&mut self, _: &mut Hosted<'_>) {}

    fn alarm(&self) -> Option<Duration> {
        let unwanted = self.sessions.values().flat_map(|s| s.unwanted.values());
        let reclaims = self.sessions.values().filter_map(|s| s.reclaims.next_at());
        let supplies = self.sessions.values().filter_map(Session::supplied_at);
        let all = unwanted.map(|(at, _)| *at).chain(reclaims).chain(supplies);
        all.min()
    }

    fn on_alarm(&mut self, host: &mut Hosted<'_>) {
        for handle in self.sessions() {
            let given_up = self.with(host, handle, |session, primary, _| session.give_up(primary));
            self.gave_up.extend(given_up.into_iter().flatten());
            self.with(host, handle, |session, primary, _| {
                session.take_back(primary)
            });
            self.with(host, handle, |session, primary, _| {
                session.write_supplied(primary)
            });
        }
    }

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
                self.enter(handle, |ledger| ledger.on_done(grant, end));
                self.with(host, handle, |session, primary, _| {
                    if let Some((stream, ..)) = session.grants.remove(&grant) {
                        session.on_piece_done(stream, grant, end);
                    }
                    session.reclaims.note_ended(grant);
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

    fn tell_past(&self, handle: SessionHandle, past: &mut Past) {
        if let Some(session) = self.sessions.get(&handle) {
            past.sent.extend(&session.past.sent);
            past.read.extend(&session.past.read);
            past.segments.extend(&session.past.segments);
        }
    }
}

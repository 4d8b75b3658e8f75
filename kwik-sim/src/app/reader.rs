//! A client that asks for streams and reads them.
//!
//! Owns what an application does with a session. What becomes of one stream is `reading`'s.

mod reading;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Duration;

use bytes::Bytes;
use kwik_core::carrier::{DialTarget, ReadState};
use kwik_core::error::{CloseReason, StreamError};
use kwik_core::event::{ClientEvent, Event, EventKind, PathEvent, StreamEvent};
use kwik_core::ids::{SessionHandle, StreamId};

use self::reading::Reading;
pub use self::reading::{Ask, Pace, StreamRead};
use super::{AnswerOn, Ends, Marks, Past, Request};
use crate::content::Content;
use crate::host::{App, Hosted};

/// What a reader does.
#[derive(Clone, Debug)]
pub struct ReaderSpec {
    /// The primary.
    pub server: DialTarget,
    /// What it asks for once it is connected, each on a stream of its own.
    pub asks: Vec<Ask>,
    /// What the answers are.
    pub content: Content,
    /// The number of this client among all: see [`Content::of_client`].
    pub number: u8,
    /// What a liar writes in their place, if there is one among the servers: then it is no fault of
    /// anybody else if such bytes are read.
    pub forged: Option<Content>,
    /// Where each server writes a content of its own: these.
    pub marks: Option<Marks>,
}

/// The client.
#[derive(Debug)]
pub struct Reader {
    spec: ReaderSpec,
    session: Option<SessionHandle>,
    /// Requests whose stream could not be opened yet.
    unsent: Vec<Ask>,
    /// What QUIC has not taken yet of requests.
    pending: BTreeMap<StreamId, Bytes>,
    /// Requests whose answer comes on a stream that has not been seen.
    awaited: Vec<Ask>,
    streams: BTreeMap<StreamId, Reading>,
    /// Streams that the primary opened.
    accepted: Vec<StreamId>,
    /// Streams that have, or may have, something to read.
    readable: BTreeSet<StreamId>,
    connected_at: Option<Duration>,
    closed: Option<(Duration, CloseReason)>,
    paths: Vec<(Duration, PathEvent)>,
    conflicts: u64,
}

impl Reader {
    /// A reader that has done nothing.
    #[must_use]
    pub fn new(spec: ReaderSpec) -> Self {
        Self {
            unsent: spec.asks.clone(),
            spec,
            session: None,
            pending: BTreeMap::new(),
            awaited: Vec::new(),
            streams: BTreeMap::new(),
            accepted: Vec::new(),
            readable: BTreeSet::new(),
            connected_at: None,
            closed: None,
            paths: Vec::new(),
            conflicts: 0,
        }
    }

    /// The session.
    #[must_use]
    pub fn session(&self) -> Option<SessionHandle> {
        self.session
    }

    /// When the primary welcomed it.
    #[must_use]
    pub fn connected_at(&self) -> Option<Duration> {
        self.connected_at
    }

    /// When and why the session ended.
    #[must_use]
    pub fn closed(&self) -> Option<&(Duration, CloseReason)> {
        self.closed.as_ref()
    }

    /// What happened to its paths, and when.
    #[must_use]
    pub fn path_events(&self) -> &[(Duration, PathEvent)] {
        &self.paths
    }

    /// Places where two servers differed.
    #[must_use]
    pub fn conflicts(&self) -> u64 {
        self.conflicts
    }

    /// Streams that the primary was seen to open.
    #[must_use]
    pub fn accepted(&self) -> &[StreamId] {
        &self.accepted
    }

    /// The contents of the servers, if each writes its own.
    #[must_use]
    pub fn marks(&self) -> Option<&Marks> {
        self.spec.marks.as_ref()
    }

    /// What became of the streams that carry answers.
    pub fn streams(&self) -> impl Iterator<Item = (StreamId, &StreamRead)> {
        let is_answer = |reading: &&Reading| reading.ask.request.bytes != NO_ANSWER;
        self.streams
            .iter()
            .filter(move |(_, reading)| is_answer(reading))
            .map(|(&stream, reading)| (stream, &reading.read))
    }

    /// The streams that carry answers, with the length that was asked for.
    pub fn answers(&self) -> impl Iterator<Item = (StreamId, u64, &StreamRead)> {
        let wanted = |stream| self.streams[&stream].ask.request.bytes;
        self.streams()
            .map(move |(stream, read)| (stream, wanted(stream), read))
    }

    /// Bytes of answers that were read, or that nobody wants any more.
    #[must_use]
    pub fn settled_bytes(&self) -> u64 {
        let settled = |(_, wanted, read): (_, u64, &StreamRead)| match read.ended_at {
            Some(_) => wanted,
            None => read.bytes,
        };
        self.answers().map(settled).sum()
    }

    /// Bytes of answers read so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.streams().map(|(_, read)| read.bytes).sum()
    }

    /// When the last of the answers had been read whole and correct.
    #[must_use]
    pub fn done_at(&self) -> Option<Duration> {
        let whole = |reading: &Reading| {
            let read = &reading.read;
            let is_right = !read.wrong_end && read.wrong_at.is_none();
            read.ended_at.filter(|_| is_right)
        };
        if !self.unsent.is_empty() || !self.awaited.is_empty() || self.streams.is_empty() {
            return None;
        }
        let ends: Option<Vec<_>> = self.streams.values().map(whole).collect();
        ends?.into_iter().max()
    }

    /// The first fault that it noticed, in words; none of it depends on how fast things went.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        for (stream, Reading { read, .. }) in &self.streams {
            if let Some(offset) = read.wrong_at {
                return Some(format!("stream {stream}: wrong byte at {offset}"));
            }
            if let Some(error) = &read.error {
                return Some(format!("stream {stream}: {error}"));
            }
            if read.wrong_end {
                return Some(format!("stream {stream}: ends at {}", read.bytes));
            }
        }
        let (_, reason) = self.closed.as_ref()?;
        Some(format!("session closed: {reason}"))
    }

    fn open_all(&mut self, host: &mut Hosted<'_>) {
        while let (Some(session), Some(&ask)) = (self.session, self.unsent.first()) {
            let now = host.moment.now;
            let Some(mut client) = host.endpoint.client(now, session) else {
                return;
            };
            let Ok(Some(stream)) = client.open_stream() else {
                return;
            };
            self.unsent.remove(0);
            let asked = ask.asked(self.spec.number);
            let mut request = asked.encode();
            let is_taken_back = matches!(ask.ends, Ends::TakenBack { .. });
            if is_taken_back {
                request.truncate(request.len() / 2);
            }
            self.pending.insert(stream, request.into());
            let on_it = match asked.request.answer_on {
                AnswerOn::SameStream => ask,
                AnswerOn::OwnStream if is_taken_back => ask,
                AnswerOn::OwnStream => {
                    self.awaited.push(ask);
                    no_answer()
                }
            };
            self.streams.insert(stream, Reading::new(on_it));
            self.ask(host, stream);
        }
    }

    fn ask(&mut self, host: &mut Hosted<'_>, stream: StreamId) {
        let client = self
            .session
            .and_then(|s| host.endpoint.client(host.moment.now, s));
        let (Some(mut client), Some(pending)) = (client, self.pending.get_mut(&stream)) else {
            return;
        };
        let written = client.write(stream, pending);
        if written.is_ok() && !pending.is_empty() {
            return;
        }
        self.pending.remove(&stream);
        let ends = self.streams.get(&stream).map(|reading| reading.ask.ends);
        let ended = written.and_then(|_| match ends {
            Some(Ends::TakenBack { code }) => Ok(client.reset(stream, code)?),
            Some(Ends::Whole | Ends::Stopped { .. } | Ends::Reset { .. }) | None => {
                client.finish(stream)
            }
        });
        if let Err(error) = ended {
            self.fail(stream, error);
        }
    }

    fn accept_all(&mut self, host: &mut Hosted<'_>) {
        while let Some(session) = self.session {
            let client = host.endpoint.client(host.moment.now, session);
            let Some(stream) = client.and_then(|mut client| client.accept_stream()) else {
                return;
            };
            // Answers come in the order in which the primary saw the requests; of two in one order
            // only the lengths differ, so let the ends tell.
            let ask = if self.awaited.is_empty() {
                no_answer()
            } else {
                self.awaited.remove(0)
            };
            self.accepted.push(stream);
            self.streams.insert(stream, Reading::new(ask));
            self.readable.insert(stream);
            self.read(host, stream);
        }
    }

    /// Reads what the pace allows.
    fn read(&mut self, host: &mut Hosted<'_>, stream: StreamId) {
        let client = self
            .session
            .and_then(|s| host.endpoint.client(host.moment.now, s));
        let (Some(mut client), Some(reading)) = (client, self.streams.get_mut(&stream)) else {
            self.readable.remove(&stream);
            return;
        };
        // It was told once more of what had been read to the end.
        if reading.read.ended_at.is_some() || reading.read.error.is_some() {
            self.readable.remove(&stream);
            return;
        }
        loop {
            if let Some(code) = reading.wants_no_more() {
                let stopped = client.stop(stream, code).map_err(StreamError::from);
                reading.end(host.moment.time, stopped.map(|()| true));
                self.readable.remove(&stream);
                return;
            }
            let room = reading.room(host.moment.time);
            if room == 0 {
                return;
            }
            let state = client.read(stream, room, &mut |chunk| {
                reading
                    .read
                    .take(&self.spec, stream, &chunk, host.moment.time);
                ControlFlow::Continue(())
            });
            reading.rest(host.moment.time);
            match state {
                Ok(ReadState::More) => continue,
                Ok(ReadState::Blocked) => {}
                Ok(ReadState::Finished) => reading.end(host.moment.time, Ok(false)),
                Err(StreamError::Reset(code)) if reading.ask.ends.expects_reset(code) => {
                    reading.end(host.moment.time, Ok(true));
                }
                Err(error) => reading.end(host.moment.time, Err(error)),
            }
            self.readable.remove(&stream);
            return;
        }
    }

    /// Every stream tells how it ended, once the session has.
    fn read_all(&mut self, host: &mut Hosted<'_>) {
        let open = |(&stream, reading): (&StreamId, &Reading)| {
            let read = &reading.read;
            (read.ended_at.is_none() && read.error.is_none()).then_some(stream)
        };
        let streams: Vec<_> = self.streams.iter().filter_map(open).collect();
        for stream in streams {
            self.read(host, stream);
        }
    }

    fn fail(&mut self, stream: StreamId, error: StreamError) {
        if let Some(reading) = self.streams.get_mut(&stream) {
            reading.read.error.get_or_insert(error);
        }
    }

    fn on_stream(&mut self, host: &mut Hosted<'_>, event: StreamEvent) {
        match event {
            StreamEvent::Opened => self.accept_all(host),
            StreamEvent::Available => self.open_all(host),
            StreamEvent::Readable(stream) => {
                self.readable.insert(stream);
                self.read(host, stream);
            }
            StreamEvent::Writable(stream) => self.ask(host, stream),
            StreamEvent::Stopped { stream, code } => self.fail(stream, StreamError::Stopped(code)),
            StreamEvent::Finished(_) => {}
        }
    }
}

/// The length of the answer on a stream that carries none.
const NO_ANSWER: u64 = u64::MAX;

/// What is asked for on a stream whose answer comes elsewhere.
const fn no_answer() -> Ask {
    let request = Request {
        bytes: NO_ANSWER,
        answer_on: AnswerOn::OwnStream,
    };
    Ask::new(request)
}

impl App for Reader {
    fn start(&mut self, host: &mut Hosted<'_>) {
        let target = self.spec.server.clone();
        self.session = host.endpoint.connect(host.moment.now, target).ok();
    }

    fn on_event(&mut self, host: &mut Hosted<'_>, event: Event) {
        // Somebody else may begin sessions too.
        let is_own = self.session == Some(event.session);
        let EventKind::Client(event) = event.kind else {
            return;
        };
        if !is_own {
            return;
        }
        let time = host.moment.time;
        match event {
            ClientEvent::Connected => {
                self.connected_at = Some(time);
                self.open_all(host);
            }
            ClientEvent::Stream(event) => self.on_stream(host, event),
            ClientEvent::Path(event) => self.paths.push((time, event)),
            ClientEvent::Conflict { .. } => self.conflicts += 1,
            ClientEvent::Closed(reason) => {
                self.closed = Some((time, reason));
                self.read_all(host);
            }
        }
    }

    fn alarm(&self) -> Option<Duration> {
        let rests = |stream| self.streams.get(stream).map(|reading| reading.rests_until);
        self.readable.iter().filter_map(rests).min()
    }

    fn on_alarm(&mut self, host: &mut Hosted<'_>) {
        let due: Vec<_> = self.readable.iter().copied().collect();
        for stream in due {
            self.read(host, stream);
        }
    }

    fn tell_past(&self, session: SessionHandle, past: &mut Past) {
        if self.session != Some(session) {
            return;
        }
        let ended = |(&stream, reading): (&StreamId, &Reading)| {
            reading.read.ended_at.is_some().then_some(stream)
        };
        past.read.extend(self.streams.iter().filter_map(ended));
        // What the primary opened is left open.
        let asked =
            |stream: &&StreamId| !stream.is_server_opened() && !self.pending.contains_key(stream);
        past.sent.extend(self.streams.keys().filter(asked));
    }
}

#[cfg(test)]
mod tests;

//! A client that reads and checks.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Duration;

use bytes::Bytes;
use kwik_core::carrier::{DialTarget, ReadState};
use kwik_core::error::{CloseReason, StreamError};
use kwik_core::event::{ClientEvent, Event, EventKind, PathEvent, StreamEvent};
use kwik_core::ids::{ByteRange, SessionHandle, StreamId};
use kwik_core::ranges::RangeSet;
use serde::{Deserialize, Serialize};

use super::{AnswerOn, Asked, Ends, Marked, Marks, Past, Request};
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

/// One request, and how its answer is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// The request.
    pub request: Request,
    /// How fast the answer is read.
    #[serde(default, skip_serializing_if = "Pace::is_eager")]
    pub pace: Pace,
    /// How it ends.
    #[serde(default, skip_serializing_if = "Ends::is_whole")]
    pub ends: Ends,
}

impl Ask {
    /// Asks for something that is read as it comes, to its end.
    #[must_use]
    pub const fn new(request: Request) -> Self {
        Self {
            request,
            pace: Pace::Eager,
            ends: Ends::Whole,
        }
    }

    /// The request as it is sent.
    const fn asked(&self, client: u8) -> Asked {
        let give_up = self.ends.give_up();
        let request = match give_up {
            Some(_) => Request {
                answer_on: AnswerOn::SameStream,
                ..self.request
            },
            None => self.request,
        };
        Asked {
            client,
            request,
            give_up,
        }
    }
}

/// How fast an answer is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pace {
    /// As it comes.
    #[default]
    Eager,
    /// So much, so often.
    Slow {
        /// Bytes at a time.
        bytes: usize,
        /// How long until the next time.
        #[serde(with = "humantime_serde")]
        every: Duration,
    },
    /// As it comes, but for one rest.
    Rest {
        /// Bytes before the rest.
        after: u64,
        /// How long it is.
        #[serde(with = "humantime_serde")]
        length: Duration,
    },
}

impl Pace {
    fn is_eager(&self) -> bool {
        *self == Self::Eager
    }
}

/// What became of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamRead {
    /// Bytes read, all of them checked.
    pub bytes: u64,
    /// When the first byte was read.
    pub first_byte_at: Option<Duration>,
    /// When the end was read.
    pub ended_at: Option<Duration>,
    /// The offset of the first byte that nobody can have written there.
    pub wrong_at: Option<u64>,
    /// The places of bytes that a liar has written there.
    pub forged: RangeSet,
    /// Where the marks of the secondaries were seen, if they have any.
    pub marked: Marked,
    /// Somebody gave it up, as it was to be, with the code that was to be.
    pub gave_up: bool,
    /// It has ended otherwise than it was to.
    pub wrong_end: bool,
    /// How it failed, if it did.
    pub error: Option<StreamError>,
}

impl StreamRead {
    /// Bytes that a liar has written.
    #[must_use]
    pub fn forged_bytes(&self) -> u64 {
        self.forged.bytes()
    }

    /// Checks and counts the next bytes of the stream.
    fn take(&mut self, spec: &ReaderSpec, stream: StreamId, chunk: &[u8], time: Duration) {
        self.first_byte_at.get_or_insert(time);
        let begin = self.bytes;
        self.bytes += chunk.len() as u64;
        if let Some(marks) = &spec.marks {
            let wrong_at = marks.recognise(stream, begin, chunk, &mut self.marked);
            self.wrong_at = self.wrong_at.or(wrong_at);
            return;
        }
        let different = spec.content.first_difference(stream.0, begin, chunk);
        let (Some(at), None) = (different, self.wrong_at) else {
            return;
        };
        let Some(forged) = spec.forged else {
            self.wrong_at = Some(at);
            return;
        };
        let honest = spec.content.make(stream.0, begin, chunk.len());
        let forged = forged.make(stream.0, begin, chunk.len());
        let written = honest.iter().zip(&forged);
        for (offset, (byte, (honest, forged))) in (begin..).zip(chunk.iter().zip(written)) {
            if byte == honest {
                continue;
            }
            if byte != forged {
                self.wrong_at = Some(offset);
                return;
            }
            if let Some(byte) = ByteRange::with_len(offset, 1) {
                self.forged.insert(byte);
            }
        }
    }
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

/// A stream and its reader.
#[derive(Debug)]
struct Reading {
    ask: Ask,
    read: StreamRead,
    /// Nothing is read before.
    rests_until: Duration,
    has_rested: bool,
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

impl Reading {
    fn new(ask: Ask) -> Self {
        Self {
            ask,
            read: StreamRead::default(),
            rests_until: Duration::ZERO,
            has_rested: false,
        }
    }

    /// How many bytes may be read now.
    fn room(&self, time: Duration) -> usize {
        if time < self.rests_until {
            return 0;
        }
        self.share_left().min(match self.ask.pace {
            Pace::Slow { bytes, .. } => bytes,
            Pace::Rest { after, .. } if !self.has_rested => {
                // Without a read nothing would begin the rest.
                let left = after.saturating_sub(self.read.bytes).max(1);
                usize::try_from(left).unwrap_or(usize::MAX)
            }
            Pace::Eager | Pace::Rest { .. } => usize::MAX,
        })
    }

    /// How many bytes are wanted before it is given up.
    fn share_left(&self) -> usize {
        let stop = self.ask.ends.stop(self.ask.request.bytes);
        let left = stop.map(|(share, _)| share.saturating_sub(self.read.bytes));
        left.map_or(usize::MAX, |left| {
            usize::try_from(left).unwrap_or(usize::MAX)
        })
    }

    /// The code with which it is given up, once enough of it was read.
    fn wants_no_more(&self) -> Option<u64> {
        let (share, code) = self.ask.ends.stop(self.ask.request.bytes)?;
        (self.read.bytes >= share).then_some(code)
    }

    /// It has ended, because somebody gave up or not, or has failed.
    fn end(&mut self, time: Duration, end: Result<bool, StreamError>) {
        match end {
            Ok(gave_up) => {
                let wanted = self.ask.request.bytes;
                let is_right = self.ask.ends.is_right(gave_up, self.read.bytes, wanted);
                self.read.ended_at = Some(time);
                self.read.gave_up = gave_up;
                self.read.wrong_end = wanted != NO_ANSWER && !is_right;
            }
            Err(error) => self.read.error = Some(error),
        }
    }

    /// Rests after a read, if it is time to.
    fn rest(&mut self, time: Duration) {
        match self.ask.pace {
            Pace::Slow { every, .. } => self.rests_until = time + every,
            Pace::Rest { after, length } if !self.has_rested && self.read.bytes >= after => {
                self.has_rested = true;
                self.rests_until = time + length;
            }
            Pace::Eager | Pace::Rest { .. } => {}
        }
    }
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

//! The server as the primary of a session: it is asked for files and answers.
//!
//! Owns the requests and the transfers that came of them, each at its own pace. Who writes which
//! part of a transfer is decided in the core.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use kwik_core::carrier::ReadState;
use kwik_core::error::{CloseReason, StreamError, code};
use kwik_core::event::{PathEvent, PrimaryEvent, StreamEvent};
use kwik_core::ids::{ByteRange, SegmentId, StreamId};
use kwik_core::plan::PlanSpec;
use kwik_core::ranges::RangeSet;

use super::hash::Hashed;
use super::session::{Cx, SharedFile};
use super::writers::{Step, Target, Writers};
use crate::file::{Answer, Command, FilePath, REQUEST_BYTES_MAX, Refusal, Request, reset};

/// Transfers of one session at the same time.
const TRANSFERS_MAX: usize = 32;
/// Smaller files are not worth an order to somebody else, bytes.
const SPREAD_MIN_BYTES: u64 = 64 << 10;

/// The requests of one client, and what came of them.
pub(super) struct PrimaryDesk {
    client: Option<SocketAddr>,
    /// By the stream of the request.
    exchanges: BTreeMap<StreamId, Exchange>,
    /// By the stream of the content.
    transfers: BTreeMap<StreamId, Transfer>,
    /// Whether the client knows the secondaries.
    has_paths: bool,
}

/// A request and its answer, on one stream.
enum Exchange {
    /// The request is coming.
    Asking(BytesMut),
    /// The answer is going.
    Answering {
        /// Not yet taken by QUIC.
        pending: Bytes,
        /// Whether nothing follows.
        is_last: bool,
        /// Where the content goes.
        content: Option<StreamId>,
    },
}

/// A file on its way.
struct Transfer {
    request: StreamId,
    path: FilePath,
    file: SharedFile,
    begun: Instant,
}

impl PrimaryDesk {
    pub(super) fn new(client: Option<SocketAddr>) -> Self {
        Self {
            client,
            exchanges: BTreeMap::new(),
            transfers: BTreeMap::new(),
            has_paths: false,
        }
    }

    pub(super) fn on_event(&mut self, cx: &mut Cx<'_>, writers: &mut Writers, event: PrimaryEvent) {
        match event {
            PrimaryEvent::Stream(event) => self.on_stream_event(cx, writers, event),
            PrimaryEvent::OwnRange {
                stream,
                range,
                segment,
            } => self.on_own_range(cx, writers, stream, range, segment),
            PrimaryEvent::SegmentWritable(segment) => writers.on_segment_writable(segment),
            PrimaryEvent::Hole { stream, missing } => {
                self.on_hole(cx, writers, stream, &missing);
            }
            PrimaryEvent::Path(PathEvent::Dead(path)) => {
                tracing::info!(client = ?self.client, %path, "a secondary is of no use");
            }
            PrimaryEvent::Path(
                PathEvent::Added(_) | PathEvent::Active(_) | PathEvent::Retired(_),
            )
            | PrimaryEvent::Accepted
            | PrimaryEvent::GrantDone { .. }
            | PrimaryEvent::GrantLost { .. }
            | PrimaryEvent::Closed(_) => {}
        }
    }

    fn on_stream_event(&mut self, cx: &mut Cx<'_>, writers: &mut Writers, event: StreamEvent) {
        match event {
            StreamEvent::Opened => {
                while let Some(stream) = cx.primary().and_then(|mut p| p.accept_stream()) {
                    let asking = Exchange::Asking(BytesMut::new());
                    self.exchanges.insert(stream, asking);
                    self.on_readable(cx, writers, stream);
                }
            }
            StreamEvent::Readable(stream) => self.on_readable(cx, writers, stream),
            StreamEvent::Writable(stream) if self.exchanges.contains_key(&stream) => {
                self.flush(cx, stream);
            }
            StreamEvent::Writable(stream) => writers.on_stream_writable(stream),
            StreamEvent::Stopped { stream, code } if self.transfers.contains_key(&stream) => {
                tracing::debug!(%stream, code, "the client wants no more");
                self.abort(cx, writers, stream, reset::CANCELLED);
            }
            StreamEvent::Stopped { stream, .. } => {
                self.exchanges.remove(&stream);
                reset_stream(cx, stream, reset::CANCELLED);
            }
            StreamEvent::Finished(stream) => self.on_arrived(cx, stream),
            StreamEvent::Available => {}
        }
    }

    fn on_readable(&mut self, cx: &mut Cx<'_>, writers: &mut Writers, stream: StreamId) {
        let Some(Exchange::Asking(asked)) = self.exchanges.get_mut(&stream) else {
            return ignore_input(cx, stream);
        };
        match read_request(cx, stream, asked) {
            Ok(None) => {}
            Ok(Some(request)) => self.answer(cx, writers, stream, request),
            Err(error) => {
                tracing::debug!(%stream, %error, "a request was not completed");
                self.exchanges.remove(&stream);
                reset_stream(cx, stream, reset::CANCELLED);
            }
        }
    }

    fn answer(
        &mut self,
        cx: &mut Cx<'_>,
        writers: &mut Writers,
        stream: StreamId,
        request: Result<Request, Refusal>,
    ) {
        let found = request.and_then(|request| {
            let file = cx.site.root.open(&request.path).inspect_err(|refusal| {
                let path = request.path.as_str();
                tracing::info!(client = ?self.client, ?path, %refusal, "refused");
            })?;
            let content = self.open_content(cx)?;
            Ok((request.path, Arc::new(file), content))
        });
        let (path, file, content) = match found {
            Ok(found) => found,
            Err(refusal) => {
                return self.say(cx, stream, None, Answer::Refused(refusal).encode(), true);
            }
        };
        let size = file.size();
        let transfer = Transfer {
            request: stream,
            path,
            file: Arc::clone(&file),
            begun: cx.now.monotonic,
        };
        self.transfers.insert(content, transfer);
        let answer = Answer::Found { size, content }.encode();
        self.say(cx, stream, Some(content), answer, false);
        cx.hasher.ask(&file, (cx.session, stream));
        if let Err(error) = self.begin(cx, writers, content, &file) {
            tracing::warn!(client = ?self.client, %error, "a transfer could not be begun");
            self.abort(cx, writers, content, reset::FAILED);
        }
    }

    fn open_content(&self, cx: &mut Cx<'_>) -> Result<StreamId, Refusal> {
        if self.transfers.len() >= TRANSFERS_MAX {
            return Err(Refusal::Busy);
        }
        let opened = cx.primary().map(|mut primary| primary.open_stream());
        match opened {
            Some(Ok(Some(stream))) => Ok(stream),
            Some(Ok(None) | Err(_)) | None => Err(Refusal::Busy),
        }
    }

    /// Sets the content of a transfer on its way [FILE-4].
    fn begin(
        &mut self,
        cx: &mut Cx<'_>,
        writers: &mut Writers,
        content: StreamId,
        file: &SharedFile,
    ) -> Result<(), StreamError> {
        let size = file.size();
        let range = ByteRange::with_len(0, size).unwrap_or(ByteRange::from(0));
        if range.is_empty() {
            return finish(cx, content);
        }
        if cx.site.secondaries.is_empty() || size < SPREAD_MIN_BYTES {
            writers.begin(content, Target::Stream, range, Arc::clone(file));
            return Ok(());
        }
        self.add_paths(cx);
        let Some(transfer) = self.transfers.get(&content) else {
            return Ok(());
        };
        let command = Command {
            path: transfer.path.clone(),
            size,
        };
        let spec = PlanSpec {
            command: command.encode(),
            spread: cx.site.spread,
        };
        if let Some(mut primary) = cx.primary() {
            primary.plan(content, range, spec)?;
        }
        finish(cx, content)
    }

    /// Names the secondaries to a client that asks for its first file.
    fn add_paths(&mut self, cx: &mut Cx<'_>) {
        if std::mem::replace(&mut self.has_paths, true) {
            return;
        }
        let site = cx.site;
        for secondary in &site.secondaries {
            let added = cx.primary().map(|mut p| p.add_path(secondary.clone()));
            if let Some(Err(error)) = added {
                tracing::warn!(addrs = ?secondary.addrs, %error, "a secondary cannot be used");
            }
        }
    }

    /// Appends to the answer.
    fn say(
        &mut self,
        cx: &mut Cx<'_>,
        stream: StreamId,
        content: Option<StreamId>,
        words: Bytes,
        is_last: bool,
    ) {
        let before = self.exchanges.remove(&stream);
        let pending = match before {
            Some(Exchange::Answering { pending, .. }) if !pending.is_empty() => {
                [pending, words].concat().into()
            }
            Some(Exchange::Asking(_) | Exchange::Answering { .. }) | None => words,
        };
        let answering = Exchange::Answering {
            pending,
            is_last,
            content,
        };
        self.exchanges.insert(stream, answering);
        self.flush(cx, stream);
    }

    fn flush(&mut self, cx: &mut Cx<'_>, stream: StreamId) {
        let Some(Exchange::Answering {
            pending, is_last, ..
        }) = self.exchanges.get_mut(&stream)
        else {
            return;
        };
        let Some(mut primary) = cx.primary() else {
            return;
        };
        let mut result = Ok(0);
        if !pending.is_empty() {
            result = primary.write(stream, pending);
        }
        if result.is_ok() && *is_last && pending.is_empty() {
            result = primary.finish(stream).map(|()| 0);
        }
        if let Err(error) = result {
            tracing::debug!(%stream, %error, "an answer is not wanted");
            self.exchanges.remove(&stream);
            reset_stream(cx, stream, reset::CANCELLED);
        }
    }

    fn on_own_range(
        &self,
        cx: &mut Cx<'_>,
        writers: &mut Writers,
        stream: StreamId,
        range: ByteRange,
        segment: SegmentId,
    ) {
        match self.transfers.get(&stream) {
            Some(transfer) => {
                let file = Arc::clone(&transfer.file);
                writers.begin(stream, Target::Segment(segment), range, file);
            }
            None => finish_segment(cx, segment),
        }
    }

    /// Bytes that no server of the plan brings: the primary has the file, so it does.
    fn on_hole(
        &mut self,
        cx: &mut Cx<'_>,
        writers: &mut Writers,
        stream: StreamId,
        missing: &RangeSet,
    ) {
        let Some(transfer) = self.transfers.get(&stream) else {
            return;
        };
        let file = Arc::clone(&transfer.file);
        for range in missing.iter() {
            let opened = cx
                .primary()
                .map(|mut primary| primary.open_segment_at(stream, range.start()));
            match opened {
                Some(Ok(segment)) => {
                    writers.begin(stream, Target::Segment(segment), range, Arc::clone(&file));
                }
                Some(Err(error)) => {
                    tracing::warn!(%stream, %range, %error, "a hole cannot be filled");
                    return self.abort(cx, writers, stream, reset::FAILED);
                }
                None => return,
            }
        }
    }

    /// What came of a step of the writers.
    pub(super) fn on_step(&mut self, cx: &mut Cx<'_>, writers: &mut Writers, step: &Step) {
        match step {
            Step::More | Step::Idle | Step::Wait(_) => {}
            Step::Written(run) => match run.target {
                Target::Segment(segment) => finish_segment(cx, segment),
                Target::Stream if self.has_changed(run.stream) => {
                    self.abort(cx, writers, run.stream, reset::FILE_CHANGED);
                }
                Target::Stream => {
                    if let Err(error) = finish(cx, run.stream) {
                        tracing::debug!(stream = %run.stream, %error, "an end is not wanted");
                        self.abort(cx, writers, run.stream, reset::CANCELLED);
                    }
                }
            },
            Step::ReadFailed(run) => {
                let code = if self.has_changed(run.stream) {
                    reset::FILE_CHANGED
                } else {
                    reset::FAILED
                };
                if let Target::Segment(segment) = run.target {
                    finish_segment(cx, segment);
                }
                self.abort(cx, writers, run.stream, code);
            }
            Step::WriteFailed(run, error) => {
                tracing::debug!(stream = %run.stream, %error, "a range is not wanted");
                match run.target {
                    Target::Segment(segment) => finish_segment(cx, segment),
                    Target::Stream => self.abort(cx, writers, run.stream, reset::CANCELLED),
                }
            }
        }
    }

    /// The hash that the request on `stream` waits for is known [FILE-5], or will never be.
    pub(super) fn on_hashed(
        &mut self,
        cx: &mut Cx<'_>,
        writers: &mut Writers,
        stream: StreamId,
        hashed: Hashed,
    ) {
        let Some(Exchange::Answering { content, .. }) = self.exchanges.get(&stream) else {
            return;
        };
        let content = *content;
        match (hashed, content) {
            (Some(hash), content) => {
                self.say(cx, stream, content, Bytes::copy_from_slice(&hash), true);
            }
            (None, Some(content)) if self.transfers.contains_key(&content) => {
                self.abort(cx, writers, content, reset::FILE_CHANGED);
            }
            (None, _) => {
                self.exchanges.remove(&stream);
                reset_stream(cx, stream, reset::FILE_CHANGED);
            }
        }
    }

    fn has_changed(&self, content: StreamId) -> bool {
        let transfer = self.transfers.get(&content);
        transfer.is_some_and(|transfer| transfer.file.has_changed())
    }

    /// The client has all of a stream.
    fn on_arrived(&mut self, cx: &Cx<'_>, stream: StreamId) {
        self.exchanges.remove(&stream);
        if let Some(transfer) = self.transfers.remove(&stream) {
            self.log_served(cx.now.monotonic, &transfer);
        }
    }

    /// Gives up a transfer, and tells the client why [FILE-6].
    fn abort(&mut self, cx: &mut Cx<'_>, writers: &mut Writers, content: StreamId, code: u64) {
        for segment in writers.drop_stream(content) {
            finish_segment(cx, segment);
        }
        reset_stream(cx, content, code);
        let Some(transfer) = self.transfers.remove(&content) else {
            return;
        };
        if self.exchanges.remove(&transfer.request).is_some() {
            reset_stream(cx, transfer.request, code);
        }
        tracing::info!(
            client = ?self.client,
            path = ?transfer.path.as_str(),
            reason = reset::reason(code),
            "not served to the end"
        );
    }

    /// The client is gone. If it goes in good order it has all that it asked for, even if word of
    /// that has not come.
    pub(super) fn on_closed(&self, now: Instant, reason: &CloseReason) {
        let in_good_order = *reason == CloseReason::Peer(code::NO_ERROR);
        for transfer in self.transfers.values() {
            if in_good_order {
                self.log_served(now, transfer);
            } else {
                tracing::info!(
                    client = ?self.client,
                    path = ?transfer.path.as_str(),
                    %reason,
                    "not served to the end"
                );
            }
        }
    }

    fn log_served(&self, now: Instant, transfer: &Transfer) {
        tracing::info!(
            client = ?self.client,
            path = ?transfer.path.as_str(),
            bytes = transfer.file.size(),
            seconds = (now - transfer.begun).as_secs_f64(),
            "served"
        );
    }
}

/// Reads what is there of a request; `None` until all of it is.
fn read_request(
    cx: &mut Cx<'_>,
    stream: StreamId,
    asked: &mut BytesMut,
) -> Result<Option<Result<Request, Refusal>>, StreamError> {
    let Some(mut primary) = cx.primary() else {
        return Ok(None);
    };
    // One byte more than a request has tells that it is none.
    let room = (REQUEST_BYTES_MAX + 1).saturating_sub(asked.len());
    let state = primary.read(stream, room, &mut |chunk| {
        asked.extend_from_slice(&chunk);
        ControlFlow::Continue(())
    })?;
    let request = match state {
        ReadState::Blocked => return Ok(None),
        ReadState::Finished => Request::decode_all(asked).map_err(|error| {
            tracing::debug!(%stream, %error, "a request makes no sense");
            Refusal::BadRequest
        }),
        ReadState::More if asked.len() <= REQUEST_BYTES_MAX => {
            return read_request(cx, stream, asked);
        }
        ReadState::More => {
            // It is refused whether or not the client stops.
            let _ = primary.stop(stream, reset::CANCELLED);
            Err(Refusal::BadRequest)
        }
    };
    Ok(Some(request))
}

/// The client has nothing to say on a stream of content: only its end is taken.
fn ignore_input(cx: &mut Cx<'_>, stream: StreamId) {
    let Some(mut primary) = cx.primary() else {
        return;
    };
    let state = primary.read(stream, 1, &mut |_| ControlFlow::Continue(()));
    match state {
        Ok(ReadState::Blocked | ReadState::Finished) | Err(_) => {}
        Ok(ReadState::More) => {
            // If it ended meanwhile, all the better.
            let _ = primary.stop(stream, reset::CANCELLED);
        }
    }
}

fn finish(cx: &mut Cx<'_>, stream: StreamId) -> Result<(), StreamError> {
    cx.primary()
        .map_or(Ok(()), |mut primary| primary.finish(stream))
}

fn finish_segment(cx: &mut Cx<'_>, segment: SegmentId) {
    if let Some(Err(error)) = cx.primary().map(|mut p| p.finish_segment(segment)) {
        tracing::debug!(?segment, %error, "a segment had ended");
    }
}

fn reset_stream(cx: &mut Cx<'_>, stream: StreamId, code: u64) {
    if let Some(Err(error)) = cx.primary().map(|mut p| p.reset(stream, code)) {
        tracing::debug!(%stream, %error, "a stream had ended");
    }
}

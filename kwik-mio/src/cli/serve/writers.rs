//! Runs of a file's bytes on their way to a client.
//!
//! Owns, for one session, what is being written, whose turn it is, and the cap on its rate. One
//! step writes one chunk of one run and never waits [GRANT-20]. Never sees a request or a grant.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, Bytes};
use kwik_core::error::StreamError;
use kwik_core::ids::{ByteRange, SegmentId, StreamId};

use super::rate::TokenBucket;
use super::root::ServedFile;

/// Read from a file and given to QUIC at once, bytes.
const CHUNK_BYTES: usize = 256 << 10;

/// Where a run of bytes goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    /// To the cursor of a stream.
    Stream,
    /// Into an open segment.
    Segment(SegmentId),
}

/// Names a run of bytes: the stream that they belong to, where they begin, and where they go.
///
/// Ordered by what is needed first: within a stream, its reader waits for the lowest byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RunId {
    pub(super) stream: StreamId,
    pub(super) start: u64,
    pub(super) target: Target,
}

/// How a step went.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// There is more to do at once.
    More,
    /// Nothing can be done now.
    Idle,
    /// Nothing may be done before this moment.
    Wait(Instant),
    /// A run is written, or taken back, to its end.
    Written(RunId),
    /// The file could not be read.
    ReadFailed(RunId),
    /// The writing failed.
    WriteFailed(RunId, StreamError),
}

struct Run {
    file: Arc<ServedFile>,
    next: u64,
    end: u64,
    /// Read and not written yet; begins at `next`.
    chunk: Bytes,
}

/// All runs of one session.
pub(super) struct Writers {
    runs: BTreeMap<RunId, Run>,
    by_segment: BTreeMap<SegmentId, RunId>,
    /// Runs whose last write did not come up short.
    runnable: BTreeSet<RunId>,
    /// The stream whose turn it was last.
    last: StreamId,
    bucket: Option<TokenBucket>,
}

impl Writers {
    pub(super) fn new(bucket: Option<TokenBucket>) -> Self {
        Self {
            runs: BTreeMap::new(),
            by_segment: BTreeMap::new(),
            runnable: BTreeSet::new(),
            last: StreamId(0),
            bucket,
        }
    }

    /// Begins to write a range of a file.
    pub(super) fn begin(
        &mut self,
        stream: StreamId,
        target: Target,
        range: ByteRange,
        file: Arc<ServedFile>,
    ) {
        let id = RunId {
            stream,
            start: range.start(),
            target,
        };
        let run = Run {
            file,
            next: range.start(),
            end: range.end(),
            chunk: Bytes::new(),
        };
        self.runs.insert(id, run);
        self.runnable.insert(id);
        if let Target::Segment(segment) = target {
            self.by_segment.insert(segment, id);
        }
    }

    /// Whether nothing is being written.
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The cursor of a stream takes bytes again.
    pub(super) fn on_stream_writable(&mut self, stream: StreamId) {
        let blocked = self
            .of_stream(stream)
            .find(|id| id.target == Target::Stream);
        self.runnable.extend(blocked);
    }

    /// A segment takes bytes again.
    pub(super) fn on_segment_writable(&mut self, segment: SegmentId) {
        self.runnable.extend(self.by_segment.get(&segment));
    }

    /// Nothing is wanted of a segment from `end` on; what is left of it, if anything, goes on.
    pub(super) fn cut(&mut self, segment: SegmentId, end: u64) {
        let Some(&id) = self.by_segment.get(&segment) else {
            return;
        };
        if let Some(run) = self.runs.get_mut(&id) {
            run.end = run.end.min(end).max(run.next);
            let left = usize::try_from(run.end - run.next).unwrap_or(usize::MAX);
            run.chunk.truncate(left);
            // If nothing is left, the next step finds that out.
            self.runnable.insert(id);
        }
    }

    /// Gives up writing to a segment.
    pub(super) fn drop_segment(&mut self, segment: SegmentId) {
        if let Some(&id) = self.by_segment.get(&segment) {
            self.forget(id);
        }
    }

    /// Gives up writing to a stream; returns the segments that were being written.
    pub(super) fn drop_stream(&mut self, stream: StreamId) -> Vec<SegmentId> {
        let ids: Vec<RunId> = self.of_stream(stream).collect();
        for id in &ids {
            self.forget(*id);
        }
        let segment = |id: RunId| match id.target {
            Target::Segment(segment) => Some(segment),
            Target::Stream => None,
        };
        ids.into_iter().filter_map(segment).collect()
    }

    fn of_stream(&self, stream: StreamId) -> impl Iterator<Item = RunId> {
        let from = RunId {
            stream,
            start: 0,
            target: Target::Stream,
        };
        self.runs
            .range(from..)
            .map(|(&id, _)| id)
            .take_while(move |id| id.stream == stream)
    }

    fn forget(&mut self, id: RunId) {
        self.runs.remove(&id);
        self.runnable.remove(&id);
        if let Target::Segment(segment) = id.target {
            self.by_segment.remove(&segment);
        }
    }

    /// Whose turn it is: streams in rotation, within a stream what its reader needs first.
    fn next(&self) -> Option<RunId> {
        let after = RunId {
            stream: self.last,
            start: u64::MAX,
            target: Target::Segment(SegmentId(u64::MAX)),
        };
        let mut later = self.runnable.range((Excluded(after), Unbounded));
        later.next().or_else(|| self.runnable.first()).copied()
    }

    /// Writes one chunk, through `write`.
    pub(super) fn step(
        &mut self,
        now: Instant,
        write: impl FnOnce(RunId, &mut Bytes) -> Result<usize, StreamError>,
    ) -> Step {
        let Some(id) = self.next() else {
            return Step::Idle;
        };
        let allowance = match &mut self.bucket {
            None => CHUNK_BYTES,
            Some(bucket) => match bucket.available(now) {
                0 => return Step::Wait(bucket.ready_at()),
                bytes => bytes,
            },
        };
        let Some(run) = self.runs.get_mut(&id) else {
            self.runnable.remove(&id);
            return Step::More;
        };
        self.last = id.stream;
        if run.fill().is_err() {
            self.forget(id);
            return Step::ReadFailed(id);
        }
        let mut offered = run.chunk.slice(..run.chunk.len().min(allowance));
        let written = if offered.is_empty() {
            0
        } else {
            match write(id, &mut offered) {
                Ok(written) => written,
                Err(error) => {
                    self.forget(id);
                    return Step::WriteFailed(id, error);
                }
            }
        };
        run.chunk.advance(written);
        run.next += written as u64;
        if let Some(bucket) = &mut self.bucket {
            bucket.take(written);
        }
        if run.next == run.end {
            self.forget(id);
            return Step::Written(id);
        }
        if !offered.is_empty() {
            // The event that says that it may go on follows.
            self.runnable.remove(&id);
        }
        Step::More
    }
}

impl Run {
    /// Reads the next chunk if there is none.
    fn fill(&mut self) -> std::io::Result<()> {
        if self.chunk.is_empty() {
            let left = usize::try_from(self.end - self.next).unwrap_or(usize::MAX);
            self.chunk = self.file.read(self.next, left.min(CHUNK_BYTES))?;
        }
        Ok(())
    }
}

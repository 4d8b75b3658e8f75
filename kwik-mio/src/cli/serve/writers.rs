//! Runs of a file's bytes on their way to a client.
//!
//! Owns, for one session, what is being written, whose turn it is, and the cap on its rate. One
//! step writes one chunk of one run and never waits [HAZ-2]. Never sees a request or a grant.

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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::root::Root;
    use super::*;
    use crate::cli::args::Rate;
    use crate::file::FilePath;

    const FILE_BYTES: usize = 1 << 20;

    struct Site {
        dir: tempfile::TempDir,
        file: Arc<ServedFile>,
        content: Vec<u8>,
    }

    fn site() -> Site {
        let dir = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..=u8::MAX).cycle().step_by(7).take(FILE_BYTES).collect();
        std::fs::write(dir.path().join("a"), &content).unwrap();
        let root = Root::new(dir.path()).unwrap();
        let file = Arc::new(root.open(&FilePath::new("a").unwrap()).unwrap());
        Site { dir, file, content }
    }

    fn range(start: u64, end: u64) -> ByteRange {
        ByteRange::new(start, end).unwrap()
    }

    fn segment(id: u64) -> Target {
        Target::Segment(SegmentId(id))
    }

    /// Takes everything.
    fn greedy(data: &mut Bytes) -> Result<usize, StreamError> {
        let len = data.len();
        data.clear();
        Ok(len)
    }

    #[test]
    fn every_byte_of_a_run_is_written_once_and_in_order() {
        let site = site();
        let mut writers = Writers::new(None);
        writers.begin(StreamId(1), Target::Stream, range(5, 900_000), site.file);
        let mut got = Vec::new();
        let mut short = 1;
        loop {
            let step = writers.step(Instant::now(), |_, data| {
                // Sometimes it comes up short.
                short = (short * 7) % 300_007;
                let taken = data.split_to(data.len().min(short));
                got.extend_from_slice(&taken);
                Ok(taken.len())
            });
            if step == Step::Idle {
                writers.on_stream_writable(StreamId(1));
            } else if step != Step::More {
                assert!(matches!(step, Step::Written(_)), "{step:?}");
                break;
            }
        }
        assert!(got == site.content[5..900_000]);
        assert!(writers.is_empty());
    }

    #[test]
    fn a_run_that_is_blocked_holds_up_no_other() {
        let site = site();
        let mut writers = Writers::new(None);
        writers.begin(
            StreamId(1),
            segment(1),
            range(0, 10),
            Arc::clone(&site.file),
        );
        writers.begin(StreamId(1), segment(2), range(10, 20), site.file);
        let blocked = writers.step(Instant::now(), |id, _| {
            assert_eq!(id.start, 0, "the reader waits for the lowest byte");
            Ok(0)
        });
        assert_eq!(blocked, Step::More);
        let step = writers.step(Instant::now(), |_, data| greedy(data));
        assert!(matches!(step, Step::Written(id) if id.target == segment(2)));
        assert_eq!(
            writers.step(Instant::now(), |_, _| unreachable!()),
            Step::Idle
        );
        writers.on_segment_writable(SegmentId(1));
        let step = writers.step(Instant::now(), |_, data| greedy(data));
        assert!(matches!(step, Step::Written(id) if id.target == segment(1)));
    }

    #[test]
    fn streams_take_turns_and_share_one_cap() {
        let site = site();
        let mut now = Instant::now();
        let bucket = TokenBucket::new(Rate::from_mbit(80.0), now);
        let mut writers = Writers::new(Some(bucket));
        for stream in [1, 5, 9] {
            let end = FILE_BYTES as u64;
            writers.begin(
                StreamId(stream),
                Target::Stream,
                range(0, end),
                Arc::clone(&site.file),
            );
        }
        let begin = now;
        let mut sent = BTreeMap::new();
        while now < begin + Duration::from_millis(200) {
            let step = writers.step(now, |id, data| {
                let written = greedy(data)?;
                *sent.entry(id.stream).or_insert(0) += written;
                Ok(written)
            });
            if let Step::Wait(until) = step {
                now = until;
            } else {
                assert_eq!(step, Step::More);
            }
        }
        let total: usize = sent.values().sum();
        // 10 MB/s for 0.2 s, and the burst at the beginning.
        assert!((2_000_000..2_300_000).contains(&total), "{total}");
        for (stream, bytes) in sent {
            assert!(bytes * 4 > total, "{stream}: {bytes} of {total}");
        }
    }

    #[test]
    fn a_run_that_is_cut_ends_at_the_cut() {
        let site = site();
        let mut writers = Writers::new(None);
        writers.begin(StreamId(1), segment(1), range(0, 1000), site.file);
        let step = writers.step(Instant::now(), |_, data| {
            data.advance(300);
            Ok(300)
        });
        assert_eq!(step, Step::More);
        writers.cut(SegmentId(1), 500);
        let mut rest = 0;
        let step = writers.step(Instant::now(), |_, data| {
            rest = data.len();
            greedy(data)
        });
        assert_eq!(rest, 200);
        assert!(matches!(step, Step::Written(_)));
    }

    #[test]
    fn a_run_that_is_cut_below_what_was_written_ends_at_once() {
        let site = site();
        let mut writers = Writers::new(None);
        writers.begin(StreamId(1), segment(1), range(0, 1000), site.file);
        writers.step(Instant::now(), |_, data| {
            data.advance(300);
            Ok(300)
        });
        writers.cut(SegmentId(1), 100);
        let step = writers.step(Instant::now(), |_, _| unreachable!());
        assert!(matches!(step, Step::Written(_)), "{step:?}");
    }

    #[test]
    fn a_file_that_became_shorter_fails_its_run() {
        let site = site();
        let mut writers = Writers::new(None);
        let end = FILE_BYTES as u64;
        writers.begin(StreamId(1), Target::Stream, range(0, end), site.file);
        std::fs::write(site.dir.path().join("a"), "short").unwrap();
        let step = writers.step(Instant::now(), |_, _| unreachable!());
        assert!(matches!(step, Step::ReadFailed(_)));
        assert!(writers.is_empty());
    }

    #[test]
    fn a_stream_that_is_dropped_names_its_segments() {
        let site = site();
        let mut writers = Writers::new(None);
        writers.begin(
            StreamId(1),
            segment(7),
            range(0, 10),
            Arc::clone(&site.file),
        );
        writers.begin(
            StreamId(5),
            segment(8),
            range(0, 10),
            Arc::clone(&site.file),
        );
        writers.begin(StreamId(1), segment(9), range(10, 20), site.file);
        assert_eq!(
            writers.drop_stream(StreamId(1)),
            [SegmentId(7), SegmentId(9)]
        );
        assert!(!writers.is_empty());
        assert_eq!(writers.drop_stream(StreamId(5)), [SegmentId(8)]);
        assert!(writers.is_empty());
    }
}

//! Runs of bytes, written by nobody in particular.

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

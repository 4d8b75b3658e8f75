//! Hashes of whole files, found out beside the serving.
//!
//! Owns a thread that reads files, and what it found out before. Who waits for a hash is told when
//! [`Hasher::poll`] is asked; the waker says when to ask.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};

use mio::Waker;

use super::root::{ServedFile, Stamp};
use crate::file::Hash;

/// Hashes that are remembered.
const REMEMBERED_MAX: usize = 4096;
/// What is read at once, bytes.
const CHUNK_BYTES: usize = 1 << 20;

/// What became of the hashing of a file; `None` if it changed or could not be read.
pub(super) type Hashed = Option<Hash>;

/// Hashes files one after the other, each state of a file once. `W` says who wants to know.
pub(super) struct Hasher<W> {
    jobs: Sender<Arc<ServedFile>>,
    results: Receiver<(Stamp, Hashed)>,
    remembered: BTreeMap<Stamp, Hash>,
    /// The stamps of `remembered`, oldest first.
    order: VecDeque<Stamp>,
    waiting: BTreeMap<Stamp, Vec<W>>,
    /// Answers that nobody has taken yet.
    answers: VecDeque<(W, Hashed)>,
}

impl<W> Hasher<W> {
    /// Starts the thread; it ends with the hasher, after the file it is reading.
    pub(super) fn start(waker: Arc<Waker>) -> io::Result<Self> {
        let (jobs, todo) = channel();
        let (done, results) = channel();
        std::thread::Builder::new()
            .name("kwik-hash".into())
            .spawn(move || work(&todo, &done, &waker))?;
        Ok(Self {
            jobs,
            results,
            remembered: BTreeMap::new(),
            order: VecDeque::new(),
            waiting: BTreeMap::new(),
            answers: VecDeque::new(),
        })
    }

    /// `who` wants to know the hash of the file as it was when it was opened.
    pub(super) fn ask(&mut self, file: &Arc<ServedFile>, who: W) {
        let stamp = file.stamp();
        if let Some(hash) = self.remembered.get(&stamp) {
            self.answers.push_back((who, Some(*hash)));
            return;
        }
        let waiting = self.waiting.entry(stamp).or_default();
        waiting.push(who);
        if waiting.len() == 1 && self.jobs.send(Arc::clone(file)).is_err() {
            self.settle(stamp, None);
        }
    }

    /// The next one who gets an answer.
    pub(super) fn poll(&mut self) -> Option<(W, Hashed)> {
        loop {
            if let Some(answer) = self.answers.pop_front() {
                return Some(answer);
            }
            match self.results.try_recv() {
                Ok((stamp, hashed)) => self.settle(stamp, hashed),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return None,
            }
        }
    }

    fn settle(&mut self, stamp: Stamp, hashed: Hashed) {
        if let Some(hash) = hashed
            && self.remembered.insert(stamp, hash).is_none()
        {
            self.order.push_back(stamp);
        }
        if self.order.len() > REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.remembered.remove(&oldest);
        }
        let waiting = self.waiting.remove(&stamp).unwrap_or_default();
        self.answers
            .extend(waiting.into_iter().map(|who| (who, hashed)));
    }
}

fn work(todo: &Receiver<Arc<ServedFile>>, done: &Sender<(Stamp, Hashed)>, waker: &Waker) {
    let mut buffer = vec![0; CHUNK_BYTES];
    for file in todo {
        let hashed = hash(&file, &mut buffer);
        if done.send((file.stamp(), hashed)).is_err() {
            return;
        }
        if let Err(error) = waker.wake() {
            tracing::warn!(%error, "a hash is known, and the server could not be woken");
        }
    }
}

fn hash(file: &ServedFile, buffer: &mut [u8]) -> Hashed {
    let mut hasher = blake3::Hasher::new();
    let mut offset = 0;
    loop {
        match file.read_into(buffer, offset) {
            Ok(0) => break,
            Ok(len) => {
                hasher.update(buffer.get(..len)?);
                offset += len as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                tracing::warn!(%error, "a file could not be hashed");
                return None;
            }
        }
    }
    let same = offset == file.size() && !file.has_changed();
    same.then(|| hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use mio::{Poll, Token};

    use super::super::root::Root;
    use super::*;
    use crate::file::FilePath;

    fn answer(hasher: &mut Hasher<u32>) -> (u32, Hashed) {
        let begin = Instant::now();
        loop {
            if let Some(answer) = hasher.poll() {
                return answer;
            }
            assert!(begin.elapsed() < Duration::from_secs(20), "no answer");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn site() -> (tempfile::TempDir, Arc<ServedFile>, Hasher<u32>, Poll) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), "abc").unwrap();
        let file = Root::new(dir.path())
            .unwrap()
            .open(&FilePath::new("a").unwrap());
        let poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
        let hasher = Hasher::start(waker).unwrap();
        (dir, Arc::new(file.unwrap()), hasher, poll)
    }

    #[test]
    fn all_who_ask_get_the_hash_and_the_file_is_read_once() {
        let (_dir, file, mut hasher, _poll) = site();
        let hash = Some(blake3::hash(b"abc").into());
        hasher.ask(&file, 1);
        hasher.ask(&file, 2);
        assert_eq!(answer(&mut hasher), (1, hash));
        assert_eq!(answer(&mut hasher), (2, hash));
        hasher.ask(&file, 3);
        assert_eq!(hasher.poll(), Some((3, hash)), "it is remembered");
    }

    #[test]
    fn a_file_that_changed_has_no_hash() {
        let (dir, file, mut hasher, _poll) = site();
        std::fs::write(dir.path().join("a"), "abcd").unwrap();
        hasher.ask(&file, 1);
        assert_eq!(answer(&mut hasher), (1, None));
    }
}

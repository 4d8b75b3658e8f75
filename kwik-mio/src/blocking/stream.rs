//! The two halves of a stream.
//!
//! Owns the blocking reads and writes, and what happens when a half is dropped.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kwik_core::carrier::ReadState;
use kwik_core::error::StreamError;
use kwik_core::ids::StreamId;

use super::entry::{Role, SendState, WriteKey};
use super::session::{Call, SessionRef};
use super::shared::deadline_after;
use crate::error::Error;

/// The code with which dropped halves are reset and stopped.
pub(super) const DROPPED: u64 = 0;

/// Bytes of one `io::Write::write`: they are copied once, and QUIC likes large pieces.
const WRITE_COPY_BYTES: usize = 64 << 10;
/// Bytes taken off the endpoint under one lock.
const READ_AHEAD_BYTES: usize = 256 << 10;

/// The half of a stream that this end writes.
///
/// A write returns when QUIC has taken the bytes over, and blocks while it does not. One call's
/// bytes stay together: another thread's write to the same stream comes before or after. Through
/// [`io::Write`] the bytes are copied and QUIC gets them in pieces as they are written; put a
/// [`BufWriter`](io::BufWriter) around it for small writes. [`Self::write_bytes`] copies nothing.
///
/// **Dropping** the last clone resets the stream with code 0 unless it was [finished](Self::finish)
/// or [reset](Self::reset).
///
/// **At a primary**, once the stream is aggregated (after `delegate`, `plan`, `set_offset`,
/// `open_segment_at` or `send_raw` to it), a write that has no credit while an event of the session
/// waits in `next_event` returns [`Error::EventsPending`]: the credit may depend on bytes that the
/// event reports lost, and only this application can give them to another server.
#[derive(Clone)]
pub struct SendStream {
    inner: Arc<SendHalf>,
    timeout: Option<Duration>,
}

struct SendHalf {
    session: SessionRef,
    stream: StreamId,
}

/// The half of a stream that this end reads.
///
/// **Dropping** the last clone stops the stream with code 0 unless it was read to its end.
#[derive(Clone)]
pub struct RecvStream {
    inner: Arc<RecvHalf>,
    timeout: Option<Duration>,
}

struct RecvHalf {
    session: SessionRef,
    stream: StreamId,
    /// Never waited under; locked before the endpoint.
    ahead: Mutex<Ahead>,
}

/// What was taken off the endpoint and not read yet.
#[derive(Default)]
struct Ahead {
    chunks: VecDeque<Bytes>,
    /// What comes behind the chunks.
    end: Option<End>,
}

enum End {
    Finished,
    Failed(StreamError),
}

impl SendStream {
    pub(super) fn new(session: SessionRef, stream: StreamId, timeout: Option<Duration>) -> Self {
        Self {
            inner: Arc::new(SendHalf { session, stream }),
            timeout,
        }
    }

    /// The name of the stream.
    #[must_use]
    pub fn id(&self) -> StreamId {
        self.inner.stream
    }

    /// Lets each later call of this handle take so long at most; `None`: for ever. Other clones
    /// keep theirs.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }

    /// This handle with another timeout, for a single call.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            timeout: Some(timeout),
        }
    }

    /// Writes all of `data` without copying it. Large pieces (64 to 256 KiB) are best.
    ///
    /// # Errors
    ///
    /// What was not accepted is left in `data`. [`Error::TimedOut`] and [`Error::EventsPending`]
    /// are worth another try with it; [`Error::Stopped`] if the peer wants no more;
    /// [`Error::Misuse`]; [`Error::Closed`].
    pub fn write_bytes(&self, data: &mut Bytes) -> Result<(), Error> {
        let key = WriteKey::Stream(self.inner.stream);
        write_whole(&self.inner.session, key, data, deadline_after(self.timeout))
    }

    /// Ends the stream behind what was written. Does not wait; [`Self::stopped`] does.
    ///
    /// # Errors
    ///
    /// [`Error::Misuse`] if it has ended already, or if nobody was to write a part of it;
    /// [`Error::Stopped`] if the peer wants no more; [`Error::Closed`].
    pub fn finish(&self) -> Result<(), Error> {
        let stream = self.inner.stream;
        self.inner.session.call(|call| {
            match call.role()? {
                Role::Client => call.client()?.finish(stream)?,
                Role::Primary | Role::Secondary => call.primary()?.finish(stream)?,
            }
            call.entry()?.on_finish(stream);
            Ok(())
        })
    }

    /// Gives the stream up with an application error code, what is still unsent included.
    ///
    /// # Errors
    ///
    /// [`Error::Misuse`] if it has ended already; [`Error::Closed`].
    pub fn reset(&self, code: u64) -> Result<(), Error> {
        let stream = self.inner.stream;
        let outcome = self.inner.session.call(|call| reset(call, stream, code));
        // Writes that wait find out.
        self.inner.session.notify();
        outcome
    }

    /// Waits until the peer has received all of a finished stream (`None`), or wants no more of it
    /// (its application error code).
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`]; [`Error::Misuse`] after [`Self::reset`]; [`Error::Closed`].
    pub fn stopped(&self) -> Result<Option<u64>, Error> {
        let stream = self.inner.stream;
        self.inner
            .session
            .wait(deadline_after(self.timeout), |call| {
                match call.entry()?.sends.get(&stream) {
                    Some(SendState::Open | SendState::Finished) => Ok(None),
                    Some(SendState::Arrived) => Ok(Some(None)),
                    Some(SendState::Stopped(code)) => Ok(Some(Some(*code))),
                    Some(SendState::Reset) | None => {
                        Err(kwik_core::error::Misuse::Finished(stream).into())
                    }
                }
            })
    }
}

fn reset(call: &mut Call<'_>, stream: StreamId, code: u64) -> Result<(), Error> {
    match call.role()? {
        Role::Client => call.client()?.reset(stream, code)?,
        Role::Primary | Role::Secondary => call.primary()?.reset(stream, code)?,
    }
    let entry = call.entry()?;
    entry.sends.insert(stream, SendState::Reset);
    entry.in_flight.remove(&stream);
    Ok(())
}

/// Writes all of `data` to a stream or a segment.
pub(super) fn write_whole(
    session: &SessionRef,
    key: WriteKey,
    data: &mut Bytes,
    deadline: Option<Instant>,
) -> Result<(), Error> {
    if data.is_empty() {
        return Ok(());
    }
    // Whether the others have to wait until this write is through.
    let mut begun = false;
    let outcome = session.wait(deadline, |call| {
        if !begun && call.entry()?.writing.contains(&key) {
            return Ok(None);
        }
        write(call, key, data)?;
        let entry = call.entry()?;
        if data.is_empty() {
            return Ok(Some(()));
        }
        begun = true;
        entry.writing.insert(key);
        let needs_credit = match key {
            WriteKey::Stream(stream) => entry.aggregated.contains(&stream),
            WriteKey::Segment(_) => true,
        };
        if needs_credit && entry.has_unclaimed_event() {
            return Err(Error::EventsPending);
        }
        Ok(None)
    });
    if begun {
        let released = session.call(|call| {
            call.entry()?.writing.remove(&key);
            Ok(())
        });
        // Without the session nobody waits for the turn.
        drop(released);
        session.notify();
    }
    outcome
}

fn write(call: &mut Call<'_>, key: WriteKey, data: &mut Bytes) -> Result<usize, Error> {
    let written = match (call.role()?, key) {
        (Role::Client, WriteKey::Stream(stream)) => call.client()?.write(stream, data),
        (_, WriteKey::Stream(stream)) => call.primary()?.write(stream, data),
        (Role::Primary, WriteKey::Segment(segment)) => call.primary()?.write_segment(segment, data),
        (_, WriteKey::Segment(segment)) => call.secondary()?.write_segment(segment, data),
    };
    Ok(written?)
}

/// `io::Write::write` on top of [`write_whole`].
pub(super) fn write_copied(
    session: &SessionRef,
    key: WriteKey,
    buf: &[u8],
    timeout: Option<Duration>,
) -> io::Result<usize> {
    let mut data = Bytes::copy_from_slice(&buf[..buf.len().min(WRITE_COPY_BYTES)]);
    let offered = data.len();
    match write_whole(session, key, &mut data, deadline_after(timeout)) {
        Ok(()) => Ok(offered),
        // What was accepted is accepted; the next call meets the error again.
        Err(_) if data.len() < offered => Ok(offered - data.len()),
        Err(error) => Err(error.into()),
    }
}

impl io::Write for &SendStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let key = WriteKey::Stream(self.inner.stream);
        write_copied(&self.inner.session, key, buf, self.timeout)
    }

    /// Does nothing: what was written is on its way.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl io::Write for SendStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    /// Does nothing: what was written is on its way.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for SendHalf {
    fn drop(&mut self) {
        let stream = self.stream;
        let dropped = self.session.call(|call| {
            if call.entry()?.sends.get(&stream) == Some(&SendState::Open) {
                reset(call, stream, DROPPED)?;
            }
            let entry = call.entry()?;
            entry.sends.remove(&stream);
            entry.aggregated.remove(&stream);
            Ok(())
        });
        // A stream or session that has ended needs no reset.
        drop(dropped);
    }
}

impl RecvStream {
    pub(super) fn new(session: SessionRef, stream: StreamId, timeout: Option<Duration>) -> Self {
        Self {
            inner: Arc::new(RecvHalf {
                session,
                stream,
                ahead: Mutex::default(),
            }),
            timeout,
        }
    }

    /// The name of the stream.
    #[must_use]
    pub fn id(&self) -> StreamId {
        self.inner.stream
    }

    /// Lets each later call of this handle take so long at most; `None`: for ever. Other clones
    /// keep theirs.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }

    /// This handle with another timeout, for a single call.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            timeout: Some(timeout),
        }
    }

    /// The next bytes, at least one and at most `max`, without copying; `None` at the end of the
    /// stream, again and again. Waits only if nothing is there.
    ///
    /// A chunk keeps the memory of up to 16 KiB of received datagrams alive: copy what is to be
    /// kept for long.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`]; [`Error::Reset`]; [`Error::Hole`]; [`Error::Misuse`] after
    /// [`Self::stop`]; [`Error::Closed`].
    pub fn read_chunk(&self, max: usize) -> Result<Option<Bytes>, Error> {
        self.inner.read(deadline_after(self.timeout), |chunks| {
            let chunk = chunks.front_mut()?;
            if chunk.len() > max.max(1) {
                Some(chunk.split_to(max.max(1)))
            } else {
                chunks.pop_front()
            }
        })
    }

    /// Asks the peer to send no more, with an application error code; what has arrived is dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Misuse`] if the stream has ended already; [`Error::Closed`].
    pub fn stop(&self, code: u64) -> Result<(), Error> {
        let outcome = self.inner.stop(code);
        // Reads that wait find out.
        self.inner.session.notify();
        outcome
    }
}

impl RecvHalf {
    fn ahead(&self) -> MutexGuard<'_, Ahead> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets `take` have the chunks once there are some; `None` at the end of the stream.
    fn read<T>(
        &self,
        deadline: Option<Instant>,
        take: impl FnOnce(&mut VecDeque<Bytes>) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        loop {
            {
                let mut ahead = self.ahead();
                if ahead.chunks.is_empty() && ahead.end.is_none() {
                    self.fetch(&mut ahead)?;
                }
                if !ahead.chunks.is_empty() {
                    return Ok(take(&mut ahead.chunks));
                }
                match &ahead.end {
                    Some(End::Finished) => return Ok(None),
                    Some(End::Failed(error)) => {
                        let error = error.clone();
                        if !matches!(error, StreamError::Reset(_)) {
                            // May pass; the endpoint is asked again.
                            ahead.end = None;
                        }
                        return Err(error.into());
                    }
                    None => {}
                }
            }
            self.await_readable(deadline)?;
        }
    }

    /// Takes what is there off the endpoint.
    fn fetch(&self, ahead: &mut Ahead) -> Result<(), Error> {
        self.session.call(|call| self.fetch_in(call, ahead))
    }

    fn fetch_in(&self, call: &mut Call<'_>, ahead: &mut Ahead) -> Result<(), Error> {
        let chunks = &mut ahead.chunks;
        let mut sink = |chunk: Bytes| {
            if !chunk.is_empty() {
                chunks.push_back(chunk);
            }
            ControlFlow::Continue(())
        };
        let outcome = match call.role()? {
            Role::Client => call
                .client()?
                .read(self.stream, READ_AHEAD_BYTES, &mut sink),
            Role::Primary | Role::Secondary => {
                call.primary()?
                    .read(self.stream, READ_AHEAD_BYTES, &mut sink)
            }
        };
        call.set_behind(self.stream, matches!(outcome, Ok(ReadState::More)));
        match outcome {
            Ok(ReadState::More | ReadState::Blocked) => {}
            Ok(ReadState::Finished) => ahead.end = Some(End::Finished),
            Err(error) => ahead.end = Some(End::Failed(error)),
        }
        Ok(())
    }

    /// Waits until there is something to read, and leaves it in [`Self::ahead`].
    fn await_readable(&self, deadline: Option<Instant>) -> Result<(), Error> {
        self.session.wait(deadline, |call| {
            // The lock of the endpoint is held: only try, for the other order is the rule.
            let Ok(mut ahead) = self.ahead.try_lock() else {
                return Ok(Some(()));
            };
            if ahead.chunks.is_empty() && ahead.end.is_none() {
                self.fetch_in(call, &mut ahead)?;
            }
            let ready = !ahead.chunks.is_empty() || ahead.end.is_some();
            Ok(ready.then_some(()))
        })
    }

    fn stop(&self, code: u64) -> Result<(), Error> {
        let mut ahead = self.ahead();
        ahead.chunks.clear();
        let stream = self.stream;
        self.session.call(|call| {
            call.set_behind(stream, false);
            match call.role()? {
                Role::Client => call.client()?.stop(stream, code)?,
                Role::Primary | Role::Secondary => call.primary()?.stop(stream, code)?,
            }
            Ok(())
        })
    }
}

impl io::Read for &RecvStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let copied = self.inner.read(deadline_after(self.timeout), |chunks| {
            let mut filled = 0;
            while let Some(chunk) = chunks.front_mut() {
                let part = chunk.len().min(buf.len() - filled);
                if part == 0 {
                    break;
                }
                buf[filled..filled + part].copy_from_slice(&chunk.split_to(part));
                filled += part;
                if chunk.is_empty() {
                    chunks.pop_front();
                }
            }
            Some(filled)
        })?;
        Ok(copied.unwrap_or(0))
    }
}

impl io::Read for RecvStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }
}

impl Drop for RecvHalf {
    fn drop(&mut self) {
        let ended = matches!(
            self.ahead().end,
            Some(End::Finished | End::Failed(StreamError::Reset(_)))
        );
        if !ended {
            // A stream or session that has ended needs no stop.
            drop(self.stop(DROPPED));
        }
    }
}

impl fmt::Debug for SendStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SendStream")
            .field(&self.inner.stream)
            .finish()
    }
}

impl fmt::Debug for RecvStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RecvStream")
            .field(&self.inner.stream)
            .finish()
    }
}

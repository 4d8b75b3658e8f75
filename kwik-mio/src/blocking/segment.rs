//! A run of writes at an offset of a stream.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kwik_core::ids::SegmentId;

use super::entry::{Role, WriteKey};
use super::session::{Call, SessionRef};
use super::shared::deadline_after;
use super::stream::{write_copied, write_whole};
use crate::error::Error;

/// Writes a run of bytes of a stream, from the offset on at which it was opened: at a secondary
/// inside a grant, at a primary beside its cursor.
///
/// A write blocks while the reader gives no credit for the offset. If an event of the session waits
/// in `next_event` meanwhile, it returns [`Error::EventsPending`]: the credit may depend on a lower
/// range that this very event grants. So serve grants independently, lowest first, and never in one
/// loop of blocking writes.
///
/// **Dropping** the last clone finishes it: what was written stands, and the grant stays open for
/// another segment.
#[derive(Clone)]
pub struct Segment {
    inner: Arc<Inner>,
    timeout: Option<Duration>,
}

struct Inner {
    session: SessionRef,
    segment: SegmentId,
}

impl Segment {
    pub(super) fn new(session: SessionRef, segment: SegmentId, timeout: Option<Duration>) -> Self {
        Self {
            inner: Arc::new(Inner { session, segment }),
            timeout,
        }
    }

    /// Its name within this server.
    #[must_use]
    pub fn id(&self) -> SegmentId {
        self.inner.segment
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

    /// Writes all of `data` without copying it.
    ///
    /// # Errors
    ///
    /// What was not accepted is left in `data`. [`Error::TimedOut`] and [`Error::EventsPending`]
    /// are worth another try with it; [`Error::Stopped`] if the reader wants no more of the stream;
    /// [`Error::Misuse`] if the segment has ended (its grant was revoked, or is full);
    /// [`Error::Closed`].
    pub fn write_bytes(&self, data: &mut Bytes) -> Result<(), Error> {
        let key = WriteKey::Segment(self.inner.segment);
        write_whole(&self.inner.session, key, data, deadline_after(self.timeout))
    }

    /// Ends the segment behind what was written.
    ///
    /// # Errors
    ///
    /// [`Error::Misuse`] if it has ended already; [`Error::Closed`].
    pub fn finish(&self) -> Result<(), Error> {
        let segment = self.inner.segment;
        let outcome = self.inner.session.call(|call| finish(call, segment));
        // Writes that wait find out.
        self.inner.session.notify();
        outcome
    }
}

fn finish(call: &mut Call<'_>, segment: SegmentId) -> Result<(), Error> {
    match call.role()? {
        Role::Primary => call.primary()?.finish_segment(segment)?,
        Role::Secondary | Role::Client => call.secondary()?.finish_segment(segment)?,
    }
    Ok(())
}

impl io::Write for Segment {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let key = WriteKey::Segment(self.inner.segment);
        write_copied(&self.inner.session, key, buf, self.timeout)
    }

    /// Does nothing: what was written is on its way.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let segment = self.segment;
        // A segment or session that has ended needs no end.
        drop(self.session.call(|call| finish(call, segment)));
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Segment").field(&self.inner.segment).finish()
    }
}

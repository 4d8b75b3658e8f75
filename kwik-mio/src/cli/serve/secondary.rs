//! The server as a secondary: it writes the ranges of files that a primary grants it.
//!
//! Owns the grants that are being filled, each by a run of its own [GRANT-20]. A command may come
//! twice after a restart [SEAL-6]: a file is read once more, and nothing else happens.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kwik_core::error::CloseReason;
use kwik_core::event::SecondaryEvent;
use kwik_core::ids::{ByteRange, GrantId, SegmentId, StreamId};
use kwik_core::wire::Extent;

use super::session::{Cx, SharedFile};
use super::writers::{Step, Target, Writers};
use crate::file::{Command, GrantRefusal, Refusal};

/// The grants of one client, and the file that they are about.
#[derive(Default)]
pub(super) struct SecondaryDesk {
    segments: BTreeMap<GrantId, SegmentId>,
    grants: BTreeMap<SegmentId, GrantId>,
    /// The file of the last command: most grants of a session are about the same.
    open: Option<(Bytes, SharedFile)>,
    granted: u64,
    refused: u64,
}

impl SecondaryDesk {
    pub(super) fn on_event(
        &mut self,
        cx: &mut Cx<'_>,
        writers: &mut Writers,
        event: SecondaryEvent,
    ) {
        match event {
            SecondaryEvent::Grant {
                grant,
                remote_stream_id,
                extent,
                command,
            } => {
                self.granted += 1;
                let begun = self.begin(cx, writers, grant, (remote_stream_id, extent), command);
                if let Err(refusal) = begun {
                    self.refused += 1;
                    refuse(cx, grant, refusal);
                }
            }
            SecondaryEvent::Revoked { grant, end } => {
                if let Some(&segment) = self.segments.get(&grant) {
                    writers.cut(segment, end);
                }
            }
            SecondaryEvent::Stopped(grant) => {
                if let Some(&segment) = self.segments.get(&grant) {
                    writers.drop_segment(segment);
                    self.end(cx, segment);
                }
            }
            SecondaryEvent::SegmentWritable(segment) => writers.on_segment_writable(segment),
            SecondaryEvent::Raw(_) => tracing::debug!("a message that means nothing here"),
            SecondaryEvent::Joined | SecondaryEvent::Closed(_) => {}
        }
        if writers.is_empty() {
            self.open = None;
        }
    }

    fn begin(
        &mut self,
        cx: &mut Cx<'_>,
        writers: &mut Writers,
        grant: GrantId,
        (stream, extent): (StreamId, Extent),
        command: Bytes,
    ) -> Result<(), GrantRefusal> {
        let file = self.file(cx, command)?;
        let content = ByteRange::with_len(0, file.size()).ok_or(GrantRefusal::Other)?;
        let range = match extent {
            Extent::Fixed(range) if content.contains(range) => range,
            Extent::Fixed(_) | Extent::Open { .. } => return Err(GrantRefusal::Other),
        };
        let opened = cx.secondary().map(|mut s| s.open_segment(grant));
        let segment = match opened {
            Some(Ok(segment)) => segment,
            Some(Err(error)) => {
                tracing::debug!(%grant, %error, "a grant cannot be filled");
                return Err(GrantRefusal::Other);
            }
            None => return Ok(()),
        };
        self.segments.insert(grant, segment);
        self.grants.insert(segment, grant);
        writers.begin(stream, Target::Segment(segment), range, file);
        Ok(())
    }

    /// The file that a command is about, if it is the one that the primary has, as far as a size
    /// tells [FILE-7].
    fn file(&mut self, cx: &Cx<'_>, command: Bytes) -> Result<SharedFile, GrantRefusal> {
        if let Some((known, file)) = &self.open
            && *known == command
        {
            return Ok(Arc::clone(file));
        }
        let order = Command::decode_all(&command).map_err(|error| {
            tracing::warn!(%error, "a command makes no sense");
            GrantRefusal::Other
        })?;
        let path = order.path.as_str();
        let file = cx.site.root.open(&order.path).map_err(|refusal| {
            tracing::info!(?path, %refusal, "not what the primary has");
            match refusal {
                Refusal::NotFound => GrantRefusal::NotFound,
                Refusal::NotAFile
                | Refusal::OutsideRoot
                | Refusal::Unreadable
                | Refusal::BadRequest
                | Refusal::Busy => GrantRefusal::Other,
            }
        })?;
        if file.size() != order.size {
            tracing::info!(
                ?path,
                here = file.size(),
                there = order.size,
                "another size"
            );
            return Err(GrantRefusal::OtherSize);
        }
        let file = Arc::new(file);
        self.open = Some((command, Arc::clone(&file)));
        Ok(file)
    }

    /// What came of a step of the writers.
    pub(super) fn on_step(&mut self, cx: &mut Cx<'_>, step: &Step) {
        let (run, has_failed) = match step {
            Step::More | Step::Idle | Step::Wait(_) => return,
            Step::Written(run) => (run, false),
            Step::ReadFailed(run) => (run, true),
            Step::WriteFailed(run, error) => {
                tracing::debug!(stream = %run.stream, %error, "a range is not wanted");
                (run, true)
            }
        };
        let Target::Segment(segment) = run.target else {
            return;
        };
        let grant = self.end(cx, segment);
        if let (Some(grant), true) = (grant, has_failed) {
            refuse(cx, grant, GrantRefusal::Other);
        }
    }

    /// Nothing more is written to a segment.
    fn end(&mut self, cx: &mut Cx<'_>, segment: SegmentId) -> Option<GrantId> {
        let finished = cx.secondary().map(|mut s| s.finish_segment(segment));
        if let Some(Err(error)) = finished {
            tracing::debug!(?segment, %error, "a segment had ended");
        }
        let grant = self.grants.remove(&segment)?;
        self.segments.remove(&grant);
        Some(grant)
    }

    pub(super) fn on_closed(&self, reason: &CloseReason, bytes: u64) {
        let (granted, refused) = (self.granted, self.refused);
        if granted > 0 {
            tracing::info!(bytes, granted, refused, %reason, "served a part as a secondary");
        }
    }
}

fn refuse(cx: &mut Cx<'_>, grant: GrantId, refusal: GrantRefusal) {
    let refused = cx
        .secondary()
        .map(|mut s| s.refuse_grant(grant, refusal.code()));
    if let Some(Err(error)) = refused {
        tracing::debug!(%grant, %error, "a grant had ended");
    }
}

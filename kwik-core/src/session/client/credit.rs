//! When servers are told how far they may write, and what follows from bytes that arrived or were
//! read.

use std::collections::BTreeSet;
use std::time::Instant;

use super::ClientSession;
use super::recv::AggregatedRecv;
use super::window::StreamWindow;
use crate::aggregate::{Limits, Reassembly};
use crate::error::Violation;
use crate::ids::{PathId, StreamId};
use crate::ranges::RangeSet;
use crate::session::Cx;
use crate::wire::{Aggregate, ControlFrame, FinalSize, LostReason, MaxOffset, StreamDone};

impl ClientSession {
    /// AGGREGATE: the stream's new bytes travel in segments from now on.
    pub(super) fn on_aggregate(
        &mut self,
        cx: &mut Cx<'_>,
        frame: &Aggregate,
    ) -> Result<(), Violation> {
        let stream = frame.stream;
        if !self.streams.expect(stream)? {
            return Ok(());
        }
        if self.streams.aggregated(stream).is_some() {
            return Err(Violation::Unexpected("second AGGREGATE of a stream"));
        }
        let Some(read) = self.streams.plain_read(stream) else {
            // It had ended before the primary knew [AGG-3].
            return Ok(());
        };
        if read > frame.plain_end {
            return Err(Violation::Unexpected("plain bytes of an aggregated stream"));
        }
        tracing::debug!(%stream, plain_end = frame.plain_end, "stream is aggregated");
        let limits = Limits {
            overlap: self.config.client.overlap,
            ranges_max: self.config.client.reassembly_ranges_max,
        };
        let reassembly = Reassembly::new(frame.plain_end, limits);
        let recv =
            AggregatedRecv::new(frame.plain_end, read, reassembly, StreamWindow::new(stream));
        self.streams.aggregate(stream, recv);
        // The primary waits for its first credit [FLOW-5].
        self.move_window(cx, stream);
        if let Some(size) = frame.final_size {
            self.on_final_size(cx, &FinalSize { stream, size })?;
        }
        // Whoever reads the segments does not read the carrier: a reset would go unnoticed.
        self.on_stream_readable(cx, stream.into())
    }

    /// FINAL_SIZE: the primary says where a stream ends; grants beyond are clipped [END-6].
    pub(super) fn on_final_size(
        &mut self,
        cx: &mut Cx<'_>,
        frame: &FinalSize,
    ) -> Result<(), Violation> {
        let stream = frame.stream;
        if !self.streams.may_come(stream)? {
            return Ok(());
        }
        let Some(recv) = self.streams.aggregated_mut(stream) else {
            // A stream that the application has let go of is still known for a while.
            return if self.streams.is_let_go(stream) {
                Ok(())
            } else {
                Err(Violation::Unexpected("FINAL_SIZE of a plain stream"))
            };
        };
        recv.set_final_size(stream, frame.size)?;
        let beyond: Vec<_> = self
            .ledger
            .on_stream(stream)
            .filter(|(_, held)| held.range.end() > frame.size)
            .map(|(id, _)| id)
            .collect();
        for grant in beyond {
            self.shrink(cx, grant, frame.size, LostReason::Revoked);
        }
        self.on_stream_progress(cx, stream);
        Ok(())
    }

    /// The receiving side of an aggregated stream moved on: its end may be here, its reader may go
    /// on, its hole may be closed.
    pub(super) fn on_stream_progress(&mut self, cx: &mut Cx<'_>, stream: StreamId) {
        self.tell_done_if_complete(cx, stream);
        let Some(recv) = self.streams.aggregated_mut(stream) else {
            return;
        };
        let readable = recv.has_next();
        recv.watch_reader(cx.now.monotonic);
        if readable {
            self.tell_readable(stream);
        }
    }

    /// STREAM_DONE, once every byte is here. Under `Reject` a conflict could still reopen a range,
    /// so there it waits until the application has read all [OVL-6].
    pub(super) fn tell_done_if_complete(&mut self, cx: &mut Cx<'_>, stream: StreamId) {
        let rejects = self.config.client.overlap == crate::config::Overlap::Reject;
        let Some(recv) = self.streams.aggregated_mut(stream) else {
            return;
        };
        let complete = if rejects {
            recv.is_at_end()
        } else {
            recv.is_complete()
        };
        if complete && !recv.done_sent {
            recv.done_sent = true;
            self.send_primary(cx, &ControlFrame::StreamDone(StreamDone { stream }));
        }
    }

    /// Moves the window of a stream behind its reader, and tells the servers if it is worth it.
    pub(super) fn move_window(&mut self, cx: &mut Cx<'_>, stream: StreamId) {
        let config = &self.config.client;
        let Some(recv) = self.streams.aggregated_mut(stream) else {
            return;
        };
        let cursor = recv.cursor();
        let before = recv.window.max_offset();
        recv.window.follow(cursor, config, &mut self.window);
        if recv.window.max_offset() > before {
            self.tell_credit(cx, stream);
        }
        let buffered = self.streams.buffered_bytes(stream);
        self.stats.note_buffered(stream, buffered);
        self.feed_hungry(cx);
    }

    /// Gives credit that came back to streams that had too little.
    pub(super) fn feed_hungry(&mut self, cx: &mut Cx<'_>) {
        for stream in self.window.take_hungry() {
            let Some(recv) = self.streams.aggregated_mut(stream) else {
                continue;
            };
            let before = recv.window.max_offset();
            recv.window
                .follow(recv.cursor(), &self.config.client, &mut self.window);
            if recv.window.max_offset() > before {
                self.tell_credit(cx, stream);
            }
        }
    }

    /// Tells the primary, and each path whose grants reach past what it was told last, how far they
    /// may write [FLOW-6]: when a sixteenth of the window has opened, or a server has no credit
    /// left at all.
    fn tell_credit(&mut self, cx: &mut Cx<'_>, stream: StreamId) {
        let step = self.config.client.stream_window_bytes / 16;
        let mut paths = vec![(PathId::PRIMARY, u64::MAX)];
        for (_, held) in self.ledger.on_stream(stream) {
            if held.is_live() && held.is_forwarded() {
                paths.push((held.path, held.range.end()));
            }
        }
        let Some(recv) = self.streams.aggregated_mut(stream) else {
            return;
        };
        let (max, cursor) = (recv.window.max_offset(), recv.cursor());
        let reserve = self.config.client.stream_reserve_bytes / 2;
        paths.retain(|&(path, end)| {
            let last = recv.window.told(path);
            let worth = max - last >= step.min(max) || last <= cursor.saturating_add(reserve);
            end > last && max > last && worth
        });
        // A path is told once, however many grants it has.
        let paths: BTreeSet<PathId> = paths.into_iter().map(|(path, _)| path).collect();
        for path in paths {
            let stood = self.credited_grants(path).is_empty();
            let Some(recv) = self.streams.aggregated_mut(stream) else {
                return;
            };
            let offset = recv.window.tell(path);
            let frame = ControlFrame::MaxOffset(MaxOffset { stream, offset });
            if path == PathId::PRIMARY {
                self.send_primary(cx, &frame);
            } else {
                self.send_secondary(cx, path, &frame);
                self.arm_start(cx.now.monotonic, path, stood);
            }
        }
    }

    /// Bytes of lost grants: who waits for them, and what came of them, is watched from here on.
    pub(super) fn note_lost(&mut self, now: Instant, stream: StreamId, missing: &RangeSet) {
        let mut bare = missing.clone();
        for (_, held) in self.ledger.on_stream(stream) {
            if held.is_live() {
                bare.remove(held.range);
            }
        }
        if let Some(recv) = self.streams.aggregated_mut(stream) {
            recv.on_lost(&bare);
            recv.watch_reader(now);
        }
    }

    /// Wakes readers whose hole is older than allowed.
    pub(super) fn on_hole_timeouts(&mut self, now: Instant) {
        let (max, brought_at) = (self.config.client.hole_max, self.stats.primary_at);
        let late: Vec<StreamId> = self
            .streams
            .all_aggregated()
            .filter_map(|(stream, recv)| recv.expire_hole(max, brought_at, now).then_some(stream))
            .collect();
        for stream in late {
            self.tell_readable(stream);
        }
    }
}

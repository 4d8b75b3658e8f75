//! Credit of aggregated streams: how far servers may write [FLOW-1].
//!
//! Owns the advertised offsets and the budget that all streams of a session share. Never sees a
//! byte.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::ClientConfig;
use crate::ids::{OFFSET_LIMIT, PathId, StreamId};

/// The credit that all aggregated streams of a session share, beyond the reserve of each.
pub(super) struct SessionWindow {
    free_bytes: u64,
    /// Streams that got less than their window for lack of it.
    hungry: BTreeSet<StreamId>,
}

impl SessionWindow {
    pub(super) fn new(config: &ClientConfig) -> Self {
        Self {
            free_bytes: config.session_window_bytes,
            hungry: BTreeSet::new(),
        }
    }

    /// Streams that would take more, if there is more.
    pub(super) fn take_hungry(&mut self) -> BTreeSet<StreamId> {
        if self.free_bytes == 0 {
            BTreeSet::new()
        } else {
            std::mem::take(&mut self.hungry)
        }
    }
}

/// The credit of one stream.
pub(super) struct StreamWindow {
    stream: StreamId,
    /// One past the last byte that any server may write.
    max_offset: u64,
    /// How much of it comes from the session's credit.
    pooled_bytes: u64,
    /// The offset that each server was told last.
    told: BTreeMap<PathId, u64>,
}

impl StreamWindow {
    pub(super) fn new(stream: StreamId) -> Self {
        Self {
            stream,
            max_offset: 0,
            pooled_bytes: 0,
            told: BTreeMap::new(),
        }
    }

    pub(super) fn max_offset(&self) -> u64 {
        self.max_offset
    }

    /// Follows the read cursor: gives back what was read, takes what is to come. Never further than
    /// one window [FLOW-2], never nearer than the reserve, which no other stream can take [FLOW-7].
    pub(super) fn follow(&mut self, cursor: u64, config: &ClientConfig, pool: &mut SessionWindow) {
        let outstanding = self.max_offset.saturating_sub(cursor);
        let keeps = outstanding
            .saturating_sub(config.stream_reserve_bytes)
            .min(self.pooled_bytes);
        pool.free_bytes += self.pooled_bytes - keeps;
        self.pooled_bytes = keeps;

        let wanted = config
            .stream_window_bytes
            .saturating_sub(config.stream_reserve_bytes);
        let more = wanted
            .saturating_sub(self.pooled_bytes)
            .min(pool.free_bytes);
        let reserve = config.stream_reserve_bytes.min(config.stream_window_bytes);
        let target = cursor
            .saturating_add(reserve + self.pooled_bytes + more)
            .min(OFFSET_LIMIT);
        if target > self.max_offset {
            self.max_offset = target;
            self.pooled_bytes += more;
            pool.free_bytes -= more;
        }
        if self.pooled_bytes < wanted {
            pool.hungry.insert(self.stream);
        }
    }

    /// The stream takes no more: its share goes back.
    pub(super) fn release(&mut self, pool: &mut SessionWindow) {
        pool.free_bytes += std::mem::take(&mut self.pooled_bytes);
        pool.hungry.remove(&self.stream);
    }

    /// What a server was told last.
    pub(super) fn told(&self, path: PathId) -> u64 {
        self.told.get(&path).copied().unwrap_or(0)
    }

    /// Notes that a server is told the current offset, and returns it.
    pub(super) fn tell(&mut self, path: PathId) -> u64 {
        self.told.insert(path, self.max_offset);
        self.max_offset
    }

    /// The path has ended.
    pub(super) fn forget(&mut self, path: PathId) {
        self.told.remove(&path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(window: u64, session: u64) -> ClientConfig {
        ClientConfig {
            stream_window_bytes: window,
            session_window_bytes: session,
            stream_reserve_bytes: 10,
            ..ClientConfig::default()
        }
    }

    /// [FLOW-2]
    #[test]
    fn the_window_moves_with_the_cursor() {
        let config = config(100, 1000);
        let mut pool = SessionWindow::new(&config);
        let mut window = StreamWindow::new(StreamId(0));
        window.follow(0, &config, &mut pool);
        assert_eq!(window.max_offset(), 100);
        window.follow(30, &config, &mut pool);
        assert_eq!(window.max_offset(), 130);
        window.release(&mut pool);
        assert_eq!(pool.free_bytes, 1000);
    }

    /// [FLOW-7]
    #[test]
    fn unread_streams_leave_every_other_its_reserve() {
        let config = config(100, 90);
        let mut pool = SessionWindow::new(&config);
        let mut unread = StreamWindow::new(StreamId(0));
        unread.follow(0, &config, &mut pool);
        assert_eq!(pool.free_bytes, 0);
        let mut second = StreamWindow::new(StreamId(4));
        for cursor in [0, 5, 10, 1000] {
            second.follow(cursor, &config, &mut pool);
            assert_eq!(second.max_offset(), cursor + 10);
        }
        unread.follow(60, &config, &mut pool);
        assert_eq!(
            unread.max_offset(),
            160,
            "its own reading pays for its own credit"
        );
        unread.release(&mut pool);
        assert!(pool.take_hungry().contains(&StreamId(4)));
        second.follow(1000, &config, &mut pool);
        assert_eq!(second.max_offset(), 1100);
    }
}

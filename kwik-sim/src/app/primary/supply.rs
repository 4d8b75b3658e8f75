//! A primary to which its bytes come slowly.
//!
//! Owns when there are some again. What is written at cursors and into its own ranges shares them
//! equally.

use std::time::Duration;

use kwik_core::endpoint;
use kwik_core::error::StreamError;
use kwik_core::ids::{SegmentId, StreamId};

use super::session::Session;
use crate::app::Conduct;

/// So many bytes in all, so often.
pub(super) struct Supply {
    bytes: u64,
    every: Duration,
    /// When there are bytes again.
    at: Duration,
    /// Those that have come and that nobody could use: whatever is to be written next gets them at once, so
    /// that many small pieces take no longer than a large one.
    left: u64,
}

impl Supply {
    /// None if all bytes are there from the beginning.
    pub(super) fn new(conduct: Conduct) -> Option<Self> {
        let Conduct::Slow { bytes, every } = conduct else {
            return None;
        };
        Some(Self {
            bytes,
            every,
            at: Duration::ZERO,
            left: 0,
        })
    }
}

impl Session {
    /// Bytes that may be made for something as soon as somebody wants them.
    pub(super) const fn at_once(&self) -> u64 {
        match &self.supply {
            Some(supply) => supply.left,
            None => u64::MAX,
        }
    }

    /// Bytes were made.
    pub(super) fn spend(&mut self, bytes: u64) {
        if let Some(supply) = &mut self.supply {
            supply.left = supply.left.saturating_sub(bytes);
        }
    }

    /// When a slow one can write on; never while QUIC takes nothing.
    pub(super) fn supplied_at(&self) -> Option<Duration> {
        let supply = self.supply.as_ref()?;
        let plain = self.plain.values();
        let own = self.own.values().map(|(_, source)| source);
        let mut all = plain.chain(own);
        all.any(|source| !source.is_blocked()).then_some(supply.at)
    }

    /// Writes the bytes that have come since the last time.
    pub(super) fn write_supplied(
        &mut self,
        primary: &mut endpoint::Primary<'_>,
    ) -> Result<(), StreamError> {
        let Some(supply) = self.supply.as_mut().filter(|s| s.at <= self.time) else {
            return Ok(());
        };
        supply.at = self.time + supply.every;
        supply.left = supply.bytes;
        let plain = self.plain.iter().filter(|(_, source)| !source.is_blocked());
        let plain: Vec<StreamId> = plain.map(|(&stream, _)| stream).collect();
        let own = self.own.iter().filter(|(_, (_, s))| !s.is_blocked());
        let own: Vec<SegmentId> = own.map(|(&segment, _)| segment).collect();
        let share = (supply.bytes / (plain.len() + own.len()).max(1) as u64).max(1);
        for stream in plain {
            self.write_some(primary, stream, share)?;
        }
        for segment in own {
            self.write_own_some(primary, segment, share)?;
        }
        self.share(primary)
    }
}

//! How fast one writer brings its bytes.
//!
//! Owns the measurement. Is told of bytes as they are reported; never sees a range.

use std::time::{Duration, Instant};

/// A shorter sample says more about the reports than about the writer.
const SAMPLE_MIN: Duration = Duration::from_millis(100);
/// For how long a writer should have work at least.
const WORK_MIN: Duration = Duration::from_millis(150);

/// The measured pace of one writer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    bytes_per_second: Option<u64>,
    /// The shortest time from an order to its first bytes.
    turnaround: Option<Duration>,
    /// Since when the running sample counts, and what it has counted.
    sample: Option<(Instant, u64)>,
}

impl Pace {
    /// So many more bytes were brought.
    pub(crate) fn on_bytes(&mut self, now: Instant, bytes: u64) {
        // What the first report after idleness tells of came before the sample began.
        let Some((since, before)) = self.sample else {
            self.sample = Some((now, 0));
            return;
        };
        let counted = before.saturating_add(bytes);
        let took = now.saturating_duration_since(since);
        if took < SAMPLE_MIN {
            self.sample = Some((since, counted));
            return;
        }
        let nanos = u128::from(counted) * 1_000_000_000 / took.as_nanos().max(1);
        let measured = u64::try_from(nanos).unwrap_or(u64::MAX);
        // Up at once, down slowly: a writer that had too little to do looks slow, and would get even
        // less.
        let old = self.bytes_per_second.unwrap_or(measured);
        self.bytes_per_second = Some(old - old / 4 + measured / 4);
        self.sample = Some((now, 0));
    }

    /// An order brought its first bytes after so long.
    pub(crate) fn on_first_bytes(&mut self, after: Duration) {
        self.turnaround = Some(self.turnaround.map_or(after, |least| least.min(after)));
    }

    /// The writer has nothing to do: the time that follows is not its.
    pub(crate) fn on_idle(&mut self) {
        self.sample = None;
    }

    /// How many bytes the writer should have to do: what it brings in twice the time from an
    /// order to its first bytes. With less it runs out of work before the next order is there, looks
    /// slower than it is, and would get even less.
    pub(crate) fn work_bytes(&self) -> Option<u64> {
        let rate = u128::from(self.bytes_per_second?);
        let turnaround = self.turnaround.unwrap_or_default();
        let work = WORK_MIN.max(turnaround.saturating_mul(2));
        let bytes = rate * work.as_nanos() / 1_000_000_000;
        Some(u64::try_from(bytes).unwrap_or(u64::MAX))
    }
}

//! How fast one writer brings its bytes.
//!
//! Owns the measurement. Is told of bytes as they are reported; never sees a range.

use std::time::{Duration, Instant};

/// A shorter sample says more about the reports than about the writer.
const SAMPLE_MIN: Duration = Duration::from_millis(100);
/// For how long a writer should have work at least.
const WORK_MIN: Duration = Duration::from_millis(150);
/// The first work of a writer.
const FIRST_WORK_BYTES: u64 = 512 << 10;
/// The work of a writer that has brought something and is not measured yet.
const PROBE_MAX_BYTES: u64 = 2 << 20;

/// The measured pace of one writer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    bytes_per_second: Option<u64>,
    /// The shortest time from an order to its first bytes.
    turnaround: Option<Duration>,
    /// Since when the running sample counts, and what it has counted.
    sample: Option<(Instant, u64)>,
    /// Bytes that were brought before the pace was known.
    probed_bytes: u64,
}

impl Pace {
    #[cfg(test)]
    pub(super) fn steady(bytes_per_second: u64, turnaround: Duration) -> Self {
        Self {
            bytes_per_second: Some(bytes_per_second),
            turnaround: Some(turnaround),
            sample: None,
            probed_bytes: 0,
        }
    }

    /// So many more bytes were brought.
    pub(crate) fn on_bytes(&mut self, now: Instant, bytes: u64) {
        if self.bytes_per_second.is_none() {
            self.probed_bytes = self.probed_bytes.saturating_add(bytes);
        }
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
        let old = self.bytes_per_second.unwrap_or(measured);
        // Twice as fast is a writer that starts; anything else may be the noise of the reports.
        let is_starting = measured / 2 > old;
        let smoothed = old - old / 4 + measured / 4;
        self.bytes_per_second = Some(if is_starting { measured } else { smoothed });
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

    /// The measured pace.
    pub(crate) fn bytes_per_second(&self) -> Option<u64> {
        self.bytes_per_second
    }

    /// How many bytes the writer should have to do: what it brings in twice the time from an order
    /// to its first bytes. With less it runs out of work before the next order is there, looks
    /// slower than it is, and would get even less. Who is not measured yet, and may be very slow,
    /// begins with little and gets more as it brings it.
    pub(crate) fn work_bytes(&self) -> u64 {
        let Some(rate) = self.bytes_per_second else {
            return FIRST_WORK_BYTES
                .max(self.probed_bytes.saturating_mul(2))
                .min(PROBE_MAX_BYTES);
        };
        let turnaround = self.turnaround.unwrap_or_default();
        let work = WORK_MIN.max(turnaround.saturating_mul(2));
        let bytes = u128::from(rate) * work.as_nanos() / 1_000_000_000;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// How long the writer needs for `more` bytes behind the `queued` ones that it has.
    pub(crate) fn time_to_bring(&self, queued: u64, more: u64) -> Option<Duration> {
        let rate = self.bytes_per_second?.max(1);
        let time = |bytes: u64| {
            let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate);
            Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
        };
        let begins = time(queued).max(self.turnaround.unwrap_or_default());
        Some(begins.saturating_add(time(more)))
    }
}

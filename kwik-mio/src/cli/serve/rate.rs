//! A cap on throughput.
//!
//! Owns the arithmetic of a token bucket. The clock is an argument.

use std::time::{Duration, Instant};

use crate::cli::args::Rate;

/// So much time's worth of bytes may go at once.
const BURST: Duration = Duration::from_millis(20);
/// Who waits, waits for so much time's worth: waking up for less costs more than it brings.
const QUANTUM: Duration = Duration::from_millis(4);
/// The least that is worth waiting for, bytes: a packet.
const QUANTUM_MIN_BYTES: f64 = 1200.0;

/// Fills up with time, is emptied by bytes.
#[derive(Debug)]
pub(super) struct TokenBucket {
    bytes_per_second: f64,
    quantum: f64,
    capacity: f64,
    tokens: f64,
    filled_at: Instant,
}

impl TokenBucket {
    pub(super) fn new(rate: Rate, now: Instant) -> Self {
        let bytes_per_second = rate.bytes_per_second;
        let quantum = (bytes_per_second * QUANTUM.as_secs_f64()).max(QUANTUM_MIN_BYTES);
        let capacity = (bytes_per_second * BURST.as_secs_f64()).max(quantum);
        Self {
            bytes_per_second,
            quantum,
            capacity,
            tokens: capacity,
            filled_at: now,
        }
    }

    /// How many bytes may go now: 0 until there is enough to be worth it.
    pub(super) fn available(&mut self, now: Instant) -> usize {
        let passed = now.saturating_duration_since(self.filled_at);
        self.filled_at = now.max(self.filled_at);
        self.tokens += self.bytes_per_second * passed.as_secs_f64();
        self.tokens = self.tokens.min(self.capacity);
        if self.tokens < self.quantum {
            return 0;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and the capacity, and the fraction is to go"
        )]
        let whole = self.tokens as usize;
        whole
    }

    /// So many bytes went.
    pub(super) fn take(&mut self, bytes: usize) {
        #[expect(clippy::cast_precision_loss, reason = "at most one chunk")]
        let bytes = bytes as f64;
        self.tokens -= bytes;
    }

    /// When [`Self::available`] says more than 0 again.
    pub(super) fn ready_at(&self) -> Instant {
        let lacking = (self.quantum - self.tokens).max(0.0);
        // A nanosecond more: rounding must not make it a little too early.
        let wait = Duration::from_secs_f64(lacking / self.bytes_per_second);
        self.filled_at + wait + Duration::from_nanos(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rate: Rate, chunk: usize, duration: Duration) -> usize {
        let begin = Instant::now();
        let mut now = begin;
        let mut bucket = TokenBucket::new(rate, now);
        let mut sent = 0;
        while now < begin + duration {
            match bucket.available(now) {
                0 => {
                    let at = bucket.ready_at();
                    assert!(at > now, "waiting brings something");
                    now = at;
                }
                available => {
                    let bytes = available.min(chunk);
                    bucket.take(bytes);
                    sent += bytes;
                }
            }
        }
        sent
    }

    #[test]
    fn over_time_exactly_the_rate_passes() {
        for mbit in [0.1, 8.0, 1000.0] {
            for chunk in [700, 65536] {
                let rate = Rate::from_mbit(mbit);
                let sent = run(rate, chunk, Duration::from_secs(10)) as f64;
                let expected = rate.bytes_per_second * 10.0;
                let burst = (rate.bytes_per_second * 0.024).max(2400.0);
                assert!((sent - expected).abs() <= burst, "{mbit} {chunk}: {sent}");
            }
        }
    }

    #[test]
    fn what_is_saved_up_is_bounded() {
        let now = Instant::now();
        let mut bucket = TokenBucket::new(Rate::from_mbit(80.0), now);
        assert_eq!(bucket.available(now + Duration::from_secs(3600)), 200_000);
    }
}

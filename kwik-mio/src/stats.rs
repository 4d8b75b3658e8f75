//! What the sockets did: datagrams, system calls, and how long arrived bytes waited for us.
//!
//! Owns the counters of one socket. Never sees what is in a datagram.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

/// What the socket of one endpoint did since it was bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoStats {
    /// Datagrams received, counted after the kernel's batches were split.
    pub datagrams_received: u64,
    /// System calls that asked for datagrams, in vain or not.
    pub receive_calls: u64,
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// System calls that sent datagrams, in vain or not.
    pub send_calls: u64,
    /// For each datagram whose bytes became readable: the time from the return of the receive call
    /// until that was visible to the reader, decryption and the rest of the batch included. Bytes
    /// behind a hole count from the datagram that fills it.
    pub aggregation: LatencySummary,
}

/// A distribution of durations, to two significant digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LatencySummary {
    /// How many were measured.
    pub count: u64,
    /// Half of them were at most so long.
    pub p50: Duration,
    /// 99 of 100 were at most so long.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

/// The counters behind [`IoStats`], written by the thread that drives the socket.
pub(crate) struct Counters(Mutex<Values>);

struct Values {
    stats: IoStats,
    aggregation_nanoseconds: Histogram<u64>,
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Values {
            stats: IoStats::default(),
            aggregation_nanoseconds: Histogram::new_with_bounds(1, 60_000_000_000, 2)
                .expect("the bounds are constant and valid"),
        }))
    }

    pub(crate) fn snapshot(&self) -> IoStats {
        self.with(|values| {
            let histogram = &values.aggregation_nanoseconds;
            let at = |quantile| Duration::from_nanos(histogram.value_at_quantile(quantile));
            IoStats {
                aggregation: LatencySummary {
                    count: histogram.len(),
                    p50: at(0.5),
                    p99: at(0.99),
                    max: Duration::from_nanos(histogram.max()),
                },
                ..values.stats
            }
        })
    }

    pub(crate) fn on_receive_call(&self, datagrams: usize) {
        self.with(|values| {
            values.stats.receive_calls += 1;
            values.stats.datagrams_received += datagrams as u64;
        });
    }

    pub(crate) fn on_send_call(&self, datagrams: usize) {
        self.with(|values| {
            values.stats.send_calls += 1;
            values.stats.datagrams_sent += datagrams as u64;
        });
    }

    pub(crate) fn on_readable(&self, waited: Duration, datagrams: usize) {
        let nanoseconds = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
        self.with(|values| {
            values
                .aggregation_nanoseconds
                .saturating_record_n(nanoseconds, datagrams as u64);
        });
    }

    fn with<R>(&self, act: impl FnOnce(&mut Values) -> R) -> R {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_datagram_of_a_batch_counts() {
        let counters = Counters::new();
        counters.on_receive_call(64);
        counters.on_receive_call(0);
        counters.on_readable(Duration::from_micros(100), 60);
        counters.on_readable(Duration::from_micros(900), 4);
        let stats = counters.snapshot();
        assert_eq!((stats.datagrams_received, stats.receive_calls), (64, 2));
        assert_eq!(stats.aggregation.count, 64);
        assert_eq!(stats.aggregation.p50.as_micros(), 100);
        assert!(stats.aggregation.p99.as_micros() >= 890);
        assert!(stats.aggregation.max >= stats.aggregation.p99);
    }
}

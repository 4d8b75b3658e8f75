//! A way past a full congestion window, for the answer to a peer that asks.
//!
//! Owns the congestion controller of every connection, quinn's own behind a valve, and when the valve
//! opens. Packets of acknowledgements alone are not subject to congestion control (RFC 9002 §7), but
//! quinn-proto 0.11 sends none of them while data waits that its window does not let out. After an
//! outage the window is full of packets that are lost, and whoever asks whether this endpoint is alive
//! would hear nothing before its next probe timeout, which has doubled all along. So one packet is let
//! out, with data in it, because quinn makes no other; its acknowledgement tells at once what was lost.
//!
//! That is a deviation: only what a probe timeout sends may exceed the window (RFC 9002 §7.5). It stays
//! as small as that of probes: it takes a peer that asks, nothing must have been sent for a while, and
//! while nothing is acknowledged that while doubles. The last is for a second reason too: the packet is
//! as large as the path is thought to bear, each one puts the probe timeout off, and only a probe is
//! small enough for a path that bears less.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use quinn_proto::congestion::{Controller, ControllerFactory, ControllerMetrics};
use quinn_proto::{Connection, ConnectionStats, RttEstimator, Transmit};

/// An answer is due when nothing was sent for so long: far longer than acknowledgements are delayed, and
/// less than the 500 ms after which a path becomes suspect by default.
const GAP_MIN: Duration = Duration::from_millis(150);

/// The largest gap between answers: less than a third of the idle timeout.
const GAP_MAX: Duration = Duration::from_secs(8);

/// What one end owes the other.
pub(super) struct Answers {
    /// Something that wants an acknowledgement came, and none was sent since.
    asked: bool,
    /// When something was sent last.
    sent_at: Option<Instant>,
    /// For how long nothing must have been sent.
    gap: Duration,
    /// Frames of the peer when it was heard last: others than acknowledgements, and those.
    asks: u64,
    acks_received: u64,
    /// Acknowledgements that had been sent when it asked.
    acks_sent: u64,
}

impl Answers {
    pub(super) const fn new() -> Self {
        Self {
            asked: false,
            sent_at: None,
            gap: GAP_MIN,
            asks: 0,
            acks_received: 0,
            acks_sent: 0,
        }
    }

    /// The peer was heard: so many frames came in all until now.
    pub(super) fn on_heard(&mut self, frames: u64, stats: &ConnectionStats) {
        let acks = stats.frame_rx.acks;
        let asks = frames.wrapping_sub(acks);
        if asks != std::mem::replace(&mut self.asks, asks) && !self.asked {
            self.asked = true;
            self.acks_sent = stats.frame_tx.acks;
        }
        if acks != std::mem::replace(&mut self.acks_received, acks) {
            self.gap = GAP_MIN;
        }
    }

    /// Fills `buf` with the next datagrams of `connection`, at most so many; with one past the window if
    /// there are no others and an answer is due.
    pub(super) fn transmit(
        &mut self,
        connection: &mut Connection,
        now: Instant,
        datagrams_max: usize,
        buf: &mut Vec<u8>,
    ) -> Option<Transmit> {
        let mut transmit = connection.poll_transmit(now, datagrams_max, buf);
        if transmit.is_none() && self.is_due(now) {
            transmit = past_window(connection, |connection| {
                connection.poll_transmit(now, 1, buf)
            });
            self.gap = (self.gap * 2).min(GAP_MAX);
        }
        if transmit.is_some() {
            self.sent_at = Some(now);
        }
        if transmit.is_some() && self.asked {
            // Probes of the path and of its packet size acknowledge nothing.
            self.asked = connection.stats().frame_tx.acks == self.acks_sent;
        }
        transmit
    }

    fn is_due(&self, now: Instant) -> bool {
        let quiet = |at| now.saturating_duration_since(at) >= self.gap;
        self.asked && self.sent_at.is_some_and(quiet)
    }
}

/// Larger than all that a connection can have in flight.
const OPEN_WINDOW_BYTES: u64 = 1 << 40;

/// Makes controllers with a valve.
pub(super) struct ValvedFactory<F>(pub(super) Arc<F>);

impl<F: ControllerFactory + Send + Sync> ControllerFactory for ValvedFactory<F> {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Valved {
            inner: Arc::clone(&self.0).build(now, current_mtu),
            open: Arc::default(),
        })
    }
}

/// A controller with a valve.
struct Valved {
    inner: Box<dyn Controller>,
    open: Arc<AtomicBool>,
}

/// Lets `connection` do something as if its congestion window were large; nor is it paced then.
fn past_window<T>(
    connection: &mut Connection,
    act: impl FnOnce(&mut Connection) -> Option<T>,
) -> Option<T> {
    // quinn lends its controller for reading alone; a copy of it shares the valve.
    let copy = connection.congestion_state().clone_box().into_any();
    let valved = copy.downcast::<Valved>();
    debug_assert!(valved.is_ok(), "a controller without a valve");
    let open = valved.ok()?.open;
    open.store(true, Ordering::Relaxed);
    let done = act(connection);
    open.store(false, Ordering::Relaxed);
    done
}

impl Controller for Valved {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.inner.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        self.inner.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        self.inner
            .on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.inner
            .on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.inner.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        if self.open.load(Ordering::Relaxed) {
            OPEN_WINDOW_BYTES
        } else {
            self.inner.window()
        }
    }

    fn metrics(&self) -> ControllerMetrics {
        self.inner.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self {
            inner: self.inner.clone_box(),
            open: Arc::clone(&self.open),
        })
    }

    fn initial_window(&self) -> u64 {
        self.inner.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

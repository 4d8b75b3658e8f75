//! A way past a full congestion window, for the answer to a peer that was heard.
//!
//! Owns the congestion controller of every connection: quinn's own, behind a valve. Acknowledgements are
//! not subject to congestion control (RFC 9002 §7), but quinn-proto 0.11 sends none while data waits
//! that its window does not let out. After an outage the window is full of packets that are lost, and
//! whoever asks whether this endpoint is alive would hear nothing before its next probe timeout, which
//! has doubled all along. One packet that is let out answers, and its own acknowledgement tells at once
//! what was lost. It takes the place of a probe (RFC 9002 §6.2.4), which may exceed the window too.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use quinn_proto::congestion::{Controller, ControllerFactory, ControllerMetrics};
use quinn_proto::{Connection, RttEstimator};

/// An answer is due when nothing was sent for so long: far longer than acknowledgements are delayed, and
/// a third of the shortest silence that makes a path suspect.
pub(super) const ANSWER_DUE: Duration = Duration::from_millis(150);

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

/// Lets `connection` do something as if its congestion window were large.
pub(super) fn past_window<T>(
    connection: &mut Connection,
    act: impl FnOnce(&mut Connection) -> T,
) -> Option<T> {
    // quinn lends its controller for reading alone; a copy of it shares the valve.
    let copy = connection.congestion_state().clone_box().into_any();
    let valved = copy.downcast::<Valved>().ok()?;
    valved.open.store(true, Ordering::Relaxed);
    let done = act(connection);
    valved.open.store(false, Ordering::Relaxed);
    Some(done)
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

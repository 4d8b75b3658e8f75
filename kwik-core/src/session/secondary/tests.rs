//! A secondary whose client reads nothing.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::*;
use crate::carrier::{CarrierEnd, Order, PathStats, ReadState};
use crate::config::Config;
use crate::session::gauges::SecondaryGauges;
use crate::ticket::MasterKey;

/// A QUIC connection that takes nothing and brings nothing.
struct Deaf;

impl Carriers for Deaf {
    fn open_bidi(&mut self, _: PathId) -> Result<Option<CarrierId>, CarrierEnd> {
        Ok(None)
    }

    fn open_uni(&mut self, _: PathId) -> Result<Option<CarrierId>, CarrierEnd> {
        Ok(None)
    }

    fn write(&mut self, _: CarrierId, _: &mut Bytes) -> Result<usize, CarrierEnd> {
        Ok(0)
    }

    fn write_control(&mut self, _: CarrierId, _: &mut Bytes) -> Result<usize, CarrierEnd> {
        Ok(0)
    }

    fn finish(&mut self, _: CarrierId) -> Result<(), CarrierEnd> {
        Ok(())
    }

    fn reset(&mut self, _: CarrierId, _: u64) {}

    fn stop(&mut self, _: CarrierId, _: u64) {}

    fn set_priority(&mut self, _: CarrierId, _: i32) {}

    fn read(
        &mut self,
        _: CarrierId,
        _: Order,
        _: usize,
        _: &mut dyn FnMut(u64, Bytes) -> ControlFlow<()>,
    ) -> Result<ReadState, CarrierEnd> {
        Ok(ReadState::Blocked)
    }

    fn path_stats(&self, _: PathId) -> Option<PathStats> {
        None
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "an instant to count from can be had from the clock alone"
)]
fn epoch() -> Instant {
    Instant::now()
}

/// How the session ends of a client that does not even read JOINED, if so many bytes may wait.
fn end_of_a_deaf_client(unread_max: usize) -> (SecondaryGauges, Option<CloseReason>) {
    let mut config = Config::default();
    config.server.control_unread_bytes_max = unread_max;
    let (session, path) = (SessionId([3; 16]), PathId(1));
    let peer = MasterKey::from_bytes([9; 32]).peer_key(&[7; 32]);
    let context = Arc::new(ServerContext {
        config: Arc::new(config),
        master: None,
        peer: Some(peer.clone()),
        started_unix_seconds: 0,
    });
    let now = Now {
        monotonic: epoch(),
        unix_seconds: 0,
    };
    let control = ControlChannel::new(CarrierId {
        path: PathId::PRIMARY,
        stream: 0,
    });
    let carriers = &mut Deaf;
    let cx = &mut Cx { now, carriers };
    let mut secondary = SecondarySession::new(cx, context, &peer, (session, path), control);
    secondary.handle(now, Input::Timeout, &mut Deaf);
    (secondary.gauges(), secondary.closed)
}

/// [CTL-11]
#[test]
fn a_client_that_reads_no_control_loses_its_session_beyond_the_bound() {
    let (gauges, reason) = end_of_a_deaf_client(1 << 20);
    assert_eq!(reason, None);
    let waits = gauges.control_unsent_bytes;
    assert!(waits > 0);
    assert_eq!(end_of_a_deaf_client(waits).1, None);
    let (_, reason) = end_of_a_deaf_client(waits - 1);
    let excess = Violation::ExcessiveLoad("control bytes that are not read");
    assert_eq!(reason, Some(CloseReason::Violation(excess)));
}

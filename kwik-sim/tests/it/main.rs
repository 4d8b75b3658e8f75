//! Whole lives of simulated worlds: what the system promises, seen from the applications.

mod amplification;
mod api;
mod calls;
mod calls_by_hand;
mod clients;
mod damage;
mod determinism;
mod faults;
mod forgery;
mod given_up;
mod goodput;
mod handshake;
mod hostile;
mod hostile_client;
mod hostile_primary;
mod isolation;
mod liar;
mod masks;
mod network;
mod open_grants;
mod regressions;
mod revokes;
mod scenarios;
mod slow_writers;
mod weather;

use std::time::Duration;

use kwik_sim::link::LinkSpec;

/// A second.
const SECOND: Duration = Duration::from_secs(1);

/// A link that loses so many of a million datagrams.
fn lossy(loss_ppm: u32) -> LinkSpec {
    LinkSpec {
        loss_ppm,
        ..LinkSpec::default()
    }
}

//! How long getting over the faults of a scenario may take.
//!
//! Owns the bound and what it is made of: what servers can be counted on to bring, round trips, and the
//! clocks that somebody may have to wait for.

use std::time::Duration;

use super::{QUEUE_DEEP_BYTES, may_die, rebinds};
use crate::app::{Conduct, Pace};
use crate::link::{EcnPolicy, LinkSpec};
use crate::scenario::{FaultKind, Scenario, Server, Sharing};

/// A packet that every path bears (RFC 9000 §14), bytes.
const PACKET_BYTES: u64 = 1200;

/// How long a handshake may take over links that lose something: QUIC gives it up when 30 s have
/// passed since a datagram came, and each one that comes can be followed by another such silence.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(100);

/// How long it may take from the moment at which everything has healed, and the session stands, until
/// `remaining` bytes are read, if the longest outage lasted so long.
///
/// What was lost is sent again after twice as long each time, so that the silence after an outage can
/// last as long as it did; a path may have to be dialled anew; a congestion window that was lost
/// comes back over round trips.
#[must_use]
pub fn convergence_bound(
    scenario: &Scenario,
    remaining: u64,
    longest_outage: Duration,
) -> Duration {
    // The primary may have to bring everything: secondaries can die, and what it has begun to write itself
    // nobody takes from it.
    // Nor is what a slow secondary has begun taken from it.
    let slowest = scenario.servers().map(|(_, server)| goodput(server));
    // A window of bytes takes a round trip to open.
    let window = scenario.tuning.stream_window_bytes as f64
        / round_trip(&scenario.primary).as_secs_f64().max(0.001);
    let rate = slowest.fold(window, f64::min);
    let transfer = Duration::from_secs_f64(remaining as f64 / (0.25 * rate));
    let round_trip = scenario
        .servers()
        .map(|(_, server)| round_trip(server))
        .max();
    let readers = scenario.asks.iter().map(|ask| {
        ask.ends.delay()
            + match ask.pace {
                Pace::Eager => Duration::ZERO,
                Pace::Slow { bytes, every } => {
                    let turns = ask.request.bytes.div_ceil(bytes.max(1) as u64);
                    every.saturating_mul(u32::try_from(turns).unwrap_or(u32::MAX))
                }
                Pace::Rest { length, .. } => length,
            }
    });
    let is_mute = |conduct| !matches!(conduct, Conduct::Honest { .. } | Conduct::Slow { .. });
    let conducts = scenario.secondaries.iter().map(|server| server.conduct);
    let mute = conducts.filter(|&conduct| is_mute(conduct)).count();
    let config = scenario.tuning.config().client;
    // Whoever delegates to a path that comes to nothing waits for the whole of its dial.
    let waits = matches!(
        scenario.sharing,
        Sharing::Delegate { .. } | Sharing::Raw { .. }
    ) && (0..scenario.secondaries.len()).any(|index| may_die(scenario, index));
    let dial = config.dial.dial_deadline * if waits { 3 } else { 0 };
    // A path that falls silent is given up, and what it owed is brought by another.
    let deaths = (0..scenario.secondaries.len()).filter(|&index| may_die(scenario, index));
    let silence = config.path_silence_max * 2 * u32::try_from(deaths.count()).unwrap_or(u32::MAX);
    // What was lost is sent again after twice as long each time, so that the silence after an outage can
    // last as long as it did. Where large datagrams vanish besides, that happens a few times over: only what
    // is sent after a timeout is small, and a round trip that was measured over the outage is as long.
    let mut faults = scenario.faults.iter();
    let hole = faults.any(|fault| matches!(fault.what, FaultKind::BlackHole { .. }));
    let silences = if hole { 12 } else { 2 };
    let regrowth = match hole {
        true => regrowth_round_trips(remaining),
        false => 0,
    };
    silences * longest_outage
        + (20 + regrowth) * round_trip.unwrap_or_default()
        + transfer
        + slow_writers(scenario, remaining)
        + turns(scenario, round_trip.unwrap_or_default())
        // Who only receives says nothing, and a server does not know where it has gone, until the next
        // sign of life.
        + (scenario.tuning.config().quic.keep_alive + Duration::from_secs(2)) * rebinds(scenario)
        + readers.sum::<Duration>()
        // Each that is given work and does not do it is waited for three times before it is left out,
        // and once more for good measure.
        + config.grant_start_max * 4 * u32::try_from(mute).unwrap_or(u32::MAX)
        + dial
        + silence
        + Duration::from_secs(5)
}

/// Round trips in which a congestion window that has collapsed brings so much: it grows by a packet in each,
/// so that the sum grows with the square.
fn regrowth_round_trips(bytes: u64) -> u32 {
    let packets = bytes / PACKET_BYTES;
    u32::try_from((2 * packets).isqrt()).unwrap_or(u32::MAX)
}

/// How long it takes to give pieces each of which begins where the one before has ended. Most of them may
/// be given to somebody who writes next to nothing.
fn turns(scenario: &Scenario, round_trip: Duration) -> Duration {
    let Sharing::Raw { range_bytes } = scenario.sharing else {
        return Duration::ZERO;
    };
    let bytes = scenario.asks.iter().map(|ask| ask.request.bytes);
    let pieces = bytes.max().unwrap_or(0) / range_bytes.max(1) + 1;
    let turns = pieces * (scenario.secondaries.len() as u64 + 1);
    // To the client, to the secondary and back; and what is lost of a piece is sent again before it ends.
    (6 * round_trip + Duration::from_millis(25)) * u32::try_from(turns).unwrap_or(u32::MAX)
}

/// How long those may write to whom their bytes come slowly. Nobody need take their work from them:
/// the slowest may have to bring everything.
fn slow_writers(scenario: &Scenario, remaining: u64) -> Duration {
    let conducts = scenario.servers().map(|(_, server)| server.conduct);
    let slowest = conducts.filter_map(|c| c.rate()).reduce(f64::min);
    let seconds = slowest.map_or(0.0, |rate| remaining as f64 / rate.max(1.0));
    Duration::from_secs_f64(seconds)
}

/// Bytes a second that a server can be counted on to bring.
pub(super) fn goodput(server: &Server) -> f64 {
    let (up, down) = (&server.uplink, &server.downlink);
    let round_trip = round_trip(server).as_secs_f64().max(0.001);
    // An acknowledgement that is lost costs less than a packet, but after a few it costs a timeout.
    let loss = (down.lost_ppm() + up.lost_ppm()) as f64 / 1e6;
    let by_link = down
        .bandwidth_bits_per_second
        .map_or(f64::MAX, |rate| rate as f64 / 8.0);
    let by_uplink = up
        .bandwidth_bits_per_second
        .map_or(f64::MAX, |rate| rate as f64 / 8.0 * 10.0);
    // The window of a sender that sees such losses (Mathis et al.), never below two packets, less
    // where queues are short or datagrams overtake each other: those look like losses.
    let confused = down.reorder_ppm > 0
        || down.jitter > Duration::ZERO
        || down.queue_max_bytes < QUEUE_DEEP_BYTES;
    let loss = match down.ecn {
        EcnPolicy::Mark { ppm } => loss + f64::from(ppm) / 1e6,
        EcnPolicy::Keep | EcnPolicy::Bleach => loss,
    };
    let window = match (loss, confused) {
        (loss, false) if loss <= 0.001 => f64::MAX,
        (loss, false) => (1.2 / loss.sqrt()).max(2.0),
        (loss, true) => (1.2 / loss.sqrt()).clamp(2.0, 10.0),
    };
    by_link
        .min(by_uplink)
        .min(window * PACKET_BYTES as f64 / round_trip)
}

/// The longest that a packet and its acknowledgement take.
fn round_trip(server: &Server) -> Duration {
    let one_way = |link: &LinkSpec| {
        let queue = link.bandwidth_bits_per_second.map_or(0.0, |rate| {
            link.queue_max_bytes as f64 * 8.0 / rate.max(1) as f64
        });
        let held_back = if link.reorder_ppm > 0 {
            link.reorder_delay
        } else {
            Duration::ZERO
        };
        link.latency + link.jitter + held_back + Duration::from_secs_f64(queue)
    };
    one_way(&server.uplink) + one_way(&server.downlink)
}

//! What must come of a scenario, told from its faults before it is lived through.
//!
//! Owns the promises: whether everything has to arrive, which paths may be lost, how a session may
//! fail, and how long getting over the faults may take. Without them a failure would always find an
//! excuse. Never looks at a run.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::app::{Conduct, Pace};
use crate::link::{EcnPolicy, LinkSpec};
use crate::outcome::Ending;
use crate::scenario::{Fault, FaultKind, Scenario, Server, Sharing, Way, When, Who};

/// A silence of the primary that QUIC survives for certain: its idle timeout is 30 s, a client asks for a
/// sign of life every 10 s, and is answered.
const SILENCE_SAFE: Duration = Duration::from_secs(20);

/// The same where large datagrams vanish: an answer may be one of them. The timeouts after which small ones
/// are sent are twice as long each time, and the idle timeout does not wait for many of them.
const SILENCE_SAFE_IN_HOLE: Duration = Duration::from_secs(4);

/// How long a handshake may take over links that lose something: QUIC gives it up when 30 s have
/// passed since a datagram came, and each one that comes can be followed by another such silence.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(100);

/// A silence that cannot cost a secondary its path: its own limit is 1.5 s, counted from a probe.
const SECONDARY_SILENCE_SAFE: Duration = Duration::from_millis(1000);

/// An absence of the client that every dial outlasts: it has a deadline of 10 s, whatever the reason.
/// Of a path that stands, silence counts only while others are heard.
const ABSENCE_SAFE_IN_DIAL: Duration = Duration::from_secs(9);

/// Losses that QUIC survives for certain, of a million datagrams.
const LOSS_SAFE_PPM: u64 = 100_000;

/// Losses that cannot cost a secondary its path, of a million datagrams.
const SECONDARY_LOSS_SAFE_PPM: u64 = 20_000;

/// A wall clock that differs so much from another cannot make a ticket invalid.
const CLOCK_SAFE_SECONDS: u64 = 4;

/// Smallest datagram that QUIC cannot do without (RFC 9000 §14), bytes.
const PAYLOAD_MIN_BYTES: usize = 1200;

/// A queue that takes a burst of a few datagrams.
const QUEUE_DEEP_BYTES: u64 = 20_000;

/// What must come of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// Whether everything must be read. If not, the session may time out, and nothing else.
    pub completes: bool,
    /// Whether the session must come about. A handshake has nothing to go by but QUIC's first guess of
    /// a round trip: a few datagrams that are lost can cost it more time than a server gives a client.
    pub connects: bool,
    /// Whether the primary may be out of reach for so long that it can bring nothing any more.
    pub loses_primary: bool,
    /// Secondaries that may lose a path.
    pub may_die: BTreeSet<usize>,
    /// Whether every path to another secondary must come about.
    pub joins: bool,
}

/// The promise of a scenario.
#[must_use]
pub fn promise(scenario: &Scenario) -> Promise {
    let may_die: BTreeSet<usize> = (0..scenario.secondaries.len())
        .filter(|&index| may_die(scenario, index))
        .collect();
    let loses_primary = !is_kind(&scenario.primary)
        || scenario.faults.iter().any(may_end_session)
        || is_silent_too_long(scenario)
        || is_moved_badly(scenario)
        || !may_die.is_empty() && is_too_slow(scenario);
    Promise {
        completes: !loses_primary,
        connects: connects(scenario),
        loses_primary,
        may_die,
        joins: absence(scenario) <= ABSENCE_SAFE_IN_DIAL,
    }
}

/// Whether QUIC may give up the connection to the primary.
fn is_silent_too_long(scenario: &Scenario) -> bool {
    silence(scenario)
        > match has_hole(scenario) {
            true => SILENCE_SAFE_IN_HOLE,
            false => SILENCE_SAFE,
        }
}

/// Whether large datagrams vanish between the client and the primary from some moment on.
fn has_hole(scenario: &Scenario) -> bool {
    let mut faults = scenario.faults.iter();
    faults.any(|fault| is_hole_at_primary(&fault.what))
}

const fn is_hole_at_primary(fault: &FaultKind) -> bool {
    matches!(
        fault,
        FaultKind::BlackHole {
            server: Who::Primary,
            ..
        }
    )
}

/// Whether a client moves to another address while something else is wrong with its way to the primary.
/// QUIC makes sure of a new way with a few datagrams, and tries no more when those are lost.
fn is_moved_badly(scenario: &Scenario) -> bool {
    rebinds(scenario) > 0 && (!is_pristine(&scenario.primary) || has_hole(scenario))
}

/// How often the client moves to another address.
fn rebinds(scenario: &Scenario) -> u32 {
    let faults = scenario.faults.iter();
    let rebinds = faults.filter(|fault| matches!(fault.what, FaultKind::Rebind { .. }));
    u32::try_from(rebinds.count()).unwrap_or(u32::MAX)
}

/// Whether the reader may give up what an application is to have brought again, because the primary
/// takes so long for the rest of what it has to bring.
fn is_too_slow(scenario: &Scenario) -> bool {
    let supply = scenario.primary.conduct.rate().unwrap_or(f64::MAX);
    let seconds = scenario.wanted() as f64 / (0.25 * goodput(&scenario.primary)).min(supply);
    matches!(
        scenario.sharing,
        Sharing::Delegate { .. } | Sharing::Raw { .. }
    ) && seconds > scenario.tuning.config().client.hole_max.as_secs_f64() * 2.0
}

/// The same scenario without what a session may die of: in it everything must arrive, and in time.
/// The links to the primary lose nothing but in storms, what lasts there is short and comes after the
/// session has begun, and nobody dies whom the session cannot do without.
#[must_use]
pub fn healing(mut scenario: Scenario) -> Scenario {
    for link in [&mut scenario.primary.uplink, &mut scenario.primary.downlink] {
        link.loss_ppm = 0;
        link.corrupt_ppm = 0;
        link.burst = None;
        link.drop_first = 0;
        link.queue_max_bytes = link.queue_max_bytes.max(QUEUE_DEEP_BYTES);
        link.payload_max_bytes = link.payload_max_bytes.max(PAYLOAD_MIN_BYTES);
    }
    scenario.faults.retain(|fault| !may_end_session(fault));
    if scenario.wanted() == 0 {
        scenario.faults.clear();
    }
    for fault in &mut scenario.faults {
        if is_felt_by_primary(&fault.what) && !comes_later(fault.at) {
            fault.at = When::Percent(1);
        }
    }
    if rebinds(&scenario) > 0 {
        scenario
            .faults
            .retain(|fault| !is_hole_at_primary(&fault.what));
    }
    while is_silent_too_long(&scenario) {
        scenario.faults.pop();
    }
    if is_too_slow(&scenario) {
        scenario.sharing = Sharing::Pull;
    }
    scenario
}

/// Whether a fault comes when the session has begun, if the client asks for something.
const fn comes_later(at: When) -> bool {
    match at {
        When::Time(_) => false,
        When::Percent(percent) => percent > 0,
    }
}

/// Whether the links to a primary are such that QUIC gets through for certain.
#[must_use]
pub fn is_kind(primary: &Server) -> bool {
    [&primary.uplink, &primary.downlink]
        .into_iter()
        .all(is_link_kind)
}

fn is_link_kind(link: &LinkSpec) -> bool {
    link.lost_ppm() <= LOSS_SAFE_PPM
        && link.payload_max_bytes >= PAYLOAD_MIN_BYTES
        // A run is counted in datagrams. Those of a silence come twice as late each time, so that one
        // run of some fourteen outlasts the idle timeout.
        && link.burst.is_none()
}

/// Whether a session must come about.
fn connects(scenario: &Scenario) -> bool {
    let comes_early = |fault: &Fault| scenario.wanted() == 0 || !comes_later(fault.at);
    let mut faults = scenario.faults.iter();
    is_pristine(&scenario.primary)
        && !faults.any(|fault| comes_early(fault) && is_felt_by_primary(&fault.what))
}

/// Whether a fault can keep a handshake with the primary from ending at once: silence, or a move, because a
/// server takes no packets of a handshake from another address (RFC 9000 §9).
fn is_felt_by_primary(fault: &FaultKind) -> bool {
    silence_of(fault) > Duration::ZERO || matches!(fault, FaultKind::Rebind { .. })
}

/// Whether the links to a server lose nothing at all, not even of a burst of a few datagrams.
fn is_pristine(server: &Server) -> bool {
    [&server.uplink, &server.downlink].into_iter().all(|link| {
        is_link_kind(link) && link.lost_ppm() == 0 && link.drop_first == 0 && !is_shallow(link)
    })
}

/// Whether a burst of a few datagrams is too much for the queue of a link.
fn is_shallow(link: &LinkSpec) -> bool {
    link.bandwidth_bits_per_second.is_some() && link.queue_max_bytes < QUEUE_DEEP_BYTES
}

/// How long the client may hear nobody, if all that lasts comes one after the other.
fn absence(scenario: &Scenario) -> Duration {
    let lengths = scenario.faults.iter().map(|fault| {
        if let FaultKind::Outage { lasts }
        | FaultKind::Pause {
            who: Who::Client,
            lasts,
        } = fault.what
        {
            lasts
        } else {
            Duration::ZERO
        }
    });
    lengths.sum()
}

/// How long the primary may seem silent to the client, or the client to the primary, if all that
/// lasts comes one after the other.
fn silence(scenario: &Scenario) -> Duration {
    scenario.faults.iter().map(|f| silence_of(&f.what)).sum()
}

/// How long the primary may seem silent because of one fault.
fn silence_of(fault: &FaultKind) -> Duration {
    match fault {
        FaultKind::Pause {
            who: Who::Primary | Who::Client,
            lasts,
        }
        | FaultKind::Cut {
            server: Who::Primary,
            lasts,
            ..
        }
        | FaultKind::Outage { lasts } => *lasts,
        FaultKind::Storm {
            server: Who::Primary,
            link,
            lasts,
            ..
        } if link.lost_ppm() > 0 || link.drop_first > 0 => *lasts,
        FaultKind::Crash(_)
        | FaultKind::Restart { .. }
        | FaultKind::Pause { .. }
        | FaultKind::Cut { .. }
        | FaultKind::Storm { .. }
        | FaultKind::BlackHole { .. }
        | FaultKind::Rebind { .. }
        | FaultKind::ClockJump { .. }
        | FaultKind::Retire(_)
        | FaultKind::AddAgain(_)
        | FaultKind::Poke(_)
        | FaultKind::Meddle(_) => Duration::ZERO,
    }
}

/// Whether a fault may cost the session, however short it is.
fn may_end_session(fault: &Fault) -> bool {
    match &fault.what {
        FaultKind::Crash(who) | FaultKind::Restart { who, .. } => {
            matches!(who, Who::Primary | Who::Client)
        }
        FaultKind::BlackHole {
            server,
            payload_max_bytes,
        } => *server == Who::Primary && *payload_max_bytes < PAYLOAD_MIN_BYTES,
        FaultKind::Pause { .. }
        | FaultKind::Rebind { .. }
        | FaultKind::Cut { .. }
        | FaultKind::Outage { .. }
        | FaultKind::Storm { .. }
        | FaultKind::ClockJump { .. }
        | FaultKind::Retire(_)
        | FaultKind::AddAgain(_)
        | FaultKind::Poke(_)
        | FaultKind::Meddle(_) => false,
    }
}

/// Whether a secondary may lose a path.
fn may_die(scenario: &Scenario, index: usize) -> bool {
    let server = &scenario.secondaries[index];
    let honest = matches!(
        server.conduct,
        Conduct::Honest { .. }
            | Conduct::Slow { .. }
            | Conduct::Refuses(_)
            | Conduct::Mute
            | Conduct::Lies
    );
    let steady = |link: &LinkSpec| {
        link.lost_ppm() <= SECONDARY_LOSS_SAFE_PPM
            && link.payload_max_bytes >= PAYLOAD_MIN_BYTES
            && link.drop_first == 0
            && link.burst.is_none()
            && link.latency + link.jitter <= Duration::from_millis(200)
            && link
                .bandwidth_bits_per_second
                .is_none_or(|rate| rate >= 1_000_000)
    };
    !honest
        || !steady(&server.uplink)
        || !steady(&server.downlink)
        || server
            .clock_ahead_seconds
            .abs_diff(scenario.primary.clock_ahead_seconds)
            > CLOCK_SAFE_SECONDS
        || !is_kind(&scenario.primary)
        || absence(scenario) > SILENCE_SAFE
        || is_silent_alone(scenario, index)
        || scenario.faults.iter().any(|fault| may_kill(fault, index))
        // A server makes sure of a new way with a few datagrams, and tries no more when those are lost.
        || rebinds(scenario) > 0
            && (absence(scenario) > Duration::ZERO
                || is_cut(scenario, index)
                || !is_pristine(server))
}

/// Whether something passes for a while neither way, or not one way, between a secondary and the client.
fn is_cut(scenario: &Scenario, index: usize) -> bool {
    scenario.faults.iter().any(|fault| match &fault.what {
        FaultKind::Cut { server: who, .. }
        | FaultKind::Storm { server: who, .. }
        | FaultKind::BlackHole { server: who, .. }
        | FaultKind::Pause { who, .. } => *who == Who::Secondary(index),
        FaultKind::Crash(_)
        | FaultKind::Restart { .. }
        | FaultKind::Outage { .. }
        | FaultKind::Rebind { .. }
        | FaultKind::ClockJump { .. }
        | FaultKind::Retire(_)
        | FaultKind::AddAgain(_)
        | FaultKind::Poke(_)
        | FaultKind::Meddle(_) => false,
    })
}

/// Whether a fault may cost a secondary a path.
fn may_kill(fault: &Fault, index: usize) -> bool {
    let is_it = |who: &Who| *who == Who::Secondary(index);
    let is_near = |who: &Who| is_it(who) || *who == Who::Client;
    match &fault.what {
        FaultKind::Crash(who) | FaultKind::Restart { who, .. } => {
            is_near(who) || *who == Who::Primary
        }
        FaultKind::Storm { server, .. } | FaultKind::BlackHole { server, .. } => is_it(server),
        FaultKind::ClockJump { who, .. } => is_it(who) || *who == Who::Primary,
        FaultKind::Pause { .. }
        | FaultKind::Cut { .. }
        | FaultKind::Outage { .. }
        | FaultKind::Rebind { .. }
        | FaultKind::Retire(_)
        | FaultKind::AddAgain(_)
        | FaultKind::Poke(_)
        | FaultKind::Meddle(_) => false,
    }
}

/// Whether a secondary may be silent for too long while others are heard, if all that makes it silent comes
/// one after the other: the end of an outage is a silence of its own, if it is still cut off then.
fn is_silent_alone(scenario: &Scenario, index: usize) -> bool {
    let lengths = scenario.faults.iter().map(|fault| match fault.what {
        FaultKind::Pause { who, lasts }
        | FaultKind::Cut {
            server: who, lasts, ..
        } if who == Who::Secondary(index) => lasts,
        FaultKind::Crash(_)
        | FaultKind::Restart { .. }
        | FaultKind::Pause { .. }
        | FaultKind::Cut { .. }
        | FaultKind::Outage { .. }
        | FaultKind::Storm { .. }
        | FaultKind::BlackHole { .. }
        | FaultKind::Rebind { .. }
        | FaultKind::ClockJump { .. }
        | FaultKind::Retire(_)
        | FaultKind::AddAgain(_)
        | FaultKind::Poke(_)
        | FaultKind::Meddle(_) => Duration::ZERO,
    });
    let alone: Duration = lengths.sum();
    alone > Duration::ZERO && alone + absence(scenario) > SECONDARY_SILENCE_SAFE
}

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
    silences * longest_outage
        + 20 * round_trip.unwrap_or_default()
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
fn goodput(server: &Server) -> f64 {
    const PACKET_BYTES: f64 = 1200.0;
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
    let confused =
        down.reorder_ppm > 0 || down.jitter > Duration::ZERO || down.queue_max_bytes < 20_000;
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
        .min(window * PACKET_BYTES / round_trip)
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

/// How long a fault lasts; a death for ever, but that is nothing to wait for.
#[must_use]
pub fn duration(fault: &FaultKind) -> Duration {
    match fault {
        FaultKind::Pause { lasts, .. }
        | FaultKind::Cut { lasts, .. }
        | FaultKind::Outage { lasts }
        | FaultKind::Storm { lasts, .. } => *lasts,
        FaultKind::Restart { down, .. } => *down,
        FaultKind::Crash(_)
        | FaultKind::BlackHole { .. }
        | FaultKind::Rebind { .. }
        | FaultKind::ClockJump { .. }
        | FaultKind::Retire(_)
        | FaultKind::AddAgain(_)
        | FaultKind::Poke(_)
        | FaultKind::Meddle(_) => Duration::ZERO,
    }
}

/// Which endings each fault can lead to: a long run must meet every one of them.
#[must_use]
pub const fn expected_cells() -> &'static [(&'static str, Ending)] {
    use Ending::{Complete, Degraded, Failed};
    &[
        ("primary-crash", Failed),
        ("primary-restart", Failed),
        ("secondary-crash", Degraded),
        ("secondary-restart", Degraded),
        ("pause", Complete),
        ("pause", Degraded),
        ("pause", Failed),
        ("cut", Complete),
        ("cut", Degraded),
        ("cut", Failed),
        ("one-way-cut", Complete),
        ("one-way-cut", Degraded),
        ("one-way-cut", Failed),
        ("swizzle", Complete),
        ("swizzle", Degraded),
        ("swizzle", Failed),
        ("outage", Complete),
        ("outage", Degraded),
        ("outage", Failed),
        ("storm", Complete),
        ("storm", Degraded),
        ("black-hole", Complete),
        ("black-hole", Degraded),
        ("rebind-port", Complete),
        ("rebind-address", Complete),
        ("clock-jump", Complete),
        ("clock-jump", Degraded),
        ("retire", Complete),
        ("add-again", Complete),
        ("add-again", Degraded),
        ("poke", Complete),
        ("poke", Degraded),
        ("meddle", Complete),
        ("meddle", Degraded),
        ("loss", Complete),
        ("loss", Degraded),
        ("burst", Complete),
        ("burst", Degraded),
        ("corruption", Complete),
        ("corruption", Degraded),
        ("reordering", Complete),
        ("jitter", Complete),
        ("duplicates", Complete),
        ("first-lost", Complete),
        ("first-lost", Degraded),
        ("ecn-marks", Complete),
        ("ecn-bleached", Complete),
        ("slow-writer", Complete),
        ("slow-primary", Complete),
        ("slow-primary", Degraded),
        ("refuses", Complete),
        ("mute", Complete),
        ("lies", Complete),
        ("hostile", Complete),
        ("hostile", Degraded),
        ("slow-reader", Complete),
        ("clients", Complete),
        ("clients", Degraded),
        ("open-grants", Complete),
        ("open-grants", Degraded),
        ("revokes", Complete),
        ("revokes", Degraded),
        ("stopped", Complete),
        ("stopped", Degraded),
        ("reset", Complete),
        ("reset", Degraded),
        ("taken-back", Complete),
    ]
}

/// Whether a cut goes this way.
#[must_use]
pub const fn covers(way: Way, direction: Way) -> bool {
    matches!(
        (way, direction),
        (Way::Both, _) | (_, Way::Both) | (Way::Up, Way::Up) | (Way::Down, Way::Down)
    )
}

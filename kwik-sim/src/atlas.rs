//! What must come of a scenario, told from its faults before it is lived through.
//!
//! Owns the promises: whether everything has to arrive, which paths may be lost, and how a session may
//! fail. Without them a failure would always find an excuse. Never looks at a run.

mod bound;
mod cells;

use std::collections::BTreeSet;
use std::time::Duration;

use self::bound::goodput;
pub use self::bound::{HANDSHAKE_MAX, convergence_bound};
pub use self::cells::expected_cells;
use crate::app::Conduct;
use crate::link::LinkSpec;
use crate::scenario::{Fault, FaultKind, Scenario, Server, Sharing, Way, When, Who};

/// A silence of the primary that QUIC survives for certain: its idle timeout is 30 s, a client asks for a
/// sign of life every 10 s, and is answered.
const SILENCE_SAFE: Duration = Duration::from_secs(20);

/// The same where large datagrams vanish: an answer may be one of them. The timeouts after which small ones
/// are sent are twice as long each time, and the idle timeout does not wait for many of them.
const SILENCE_SAFE_IN_HOLE: Duration = Duration::from_secs(4);

/// A silence that cannot cost a secondary its path: its own limit is 1.5 s, counted from a probe.
const SECONDARY_SILENCE_SAFE: Duration = Duration::from_millis(1000);

/// An absence of the client that every dial outlasts. It has a deadline of 10 s, whatever the reason; the last
/// of its three connections begins after 6.7 s, and says its first words once more a second later. Of a path
/// that stands, silence counts only while others are heard.
const ABSENCE_SAFE_IN_DIAL: Duration = Duration::from_secs(7);

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
    let of_client = scenario.faults.iter().filter(|fault| {
        let pauses = matches!(
            fault.what,
            FaultKind::Pause {
                who: Who::Client,
                ..
            }
        );
        pauses || matches!(fault.what, FaultKind::Outage { .. })
    });
    of_client.filter_map(|fault| fault.what.lasts()).sum()
}

/// How long the primary may seem silent to the client, or the client to the primary, if all that
/// lasts comes one after the other.
fn silence(scenario: &Scenario) -> Duration {
    scenario.faults.iter().map(|f| silence_of(&f.what)).sum()
}

/// How long the primary may seem silent because of one fault.
fn silence_of(fault: &FaultKind) -> Duration {
    let is_silence = if let FaultKind::Storm { link, .. } = fault {
        link.lost_ppm() > 0 || link.drop_first > 0
    } else {
        matches!(
            fault,
            FaultKind::Pause { .. } | FaultKind::Cut { .. } | FaultKind::Outage { .. }
        )
    };
    let is_felt = matches!(fault.who(), None | Some(Who::Primary | Who::Client));
    fault
        .lasts()
        .filter(|_| is_silence && is_felt)
        .unwrap_or_default()
}

/// Whether a fault may cost the session, however short it is.
fn may_end_session(fault: &Fault) -> bool {
    let is_near = matches!(fault.what.who(), Some(Who::Primary | Who::Client));
    is_near && fault.what.is_death() || is_hole_at_primary(&fault.what) && is_narrow(&fault.what)
}

/// Whether a hole leaves too little for QUIC.
fn is_narrow(fault: &FaultKind) -> bool {
    matches!(fault, FaultKind::BlackHole { payload_max_bytes, .. } if *payload_max_bytes < PAYLOAD_MIN_BYTES)
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
    let mut faults = scenario.faults.iter();
    faults.any(|fault| {
        let is_on_the_way = matches!(
            fault.what,
            FaultKind::Cut { .. }
                | FaultKind::Storm { .. }
                | FaultKind::BlackHole { .. }
                | FaultKind::Pause { .. }
        );
        is_on_the_way && fault.what.who() == Some(Who::Secondary(index))
    })
}

/// Whether a fault may cost a secondary a path, however short it is.
fn may_kill(fault: &Fault, index: usize) -> bool {
    let who = fault.what.who();
    let is_it = who == Some(Who::Secondary(index));
    let is_central = matches!(who, Some(Who::Primary | Who::Client));
    let ails = matches!(
        fault.what,
        FaultKind::Storm { .. } | FaultKind::BlackHole { .. }
    );
    let jumps = matches!(fault.what, FaultKind::ClockJump { .. });
    is_it && (ails || jumps || fault.what.is_death())
        || is_central && fault.what.is_death()
        || who == Some(Who::Primary) && jumps
}

/// Whether a secondary may be silent for too long while others are heard, if all that makes it silent comes
/// one after the other: the end of an outage is a silence of its own, if it is still cut off then.
fn is_silent_alone(scenario: &Scenario, index: usize) -> bool {
    let of_it = scenario.faults.iter().filter(|fault| {
        let silences = matches!(fault.what, FaultKind::Pause { .. } | FaultKind::Cut { .. });
        silences && fault.what.who() == Some(Who::Secondary(index))
    });
    let alone: Duration = of_it.filter_map(|fault| fault.what.lasts()).sum();
    alone > Duration::ZERO && alone + absence(scenario) > SECONDARY_SILENCE_SAFE
}

/// Whether a cut goes this way.
#[must_use]
pub const fn covers(way: Way, direction: Way) -> bool {
    matches!(
        (way, direction),
        (Way::Both, _) | (_, Way::Both) | (Way::Up, Way::Up) | (Way::Down, Way::Down)
    )
}

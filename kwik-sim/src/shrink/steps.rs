//! What is tried to make a scenario smaller.
//!
//! Each step gives, for each index up to some end, a scenario that is smaller in one respect, or the
//! scenario itself if there is nothing to do at that place. It ends, and can be kept any number of
//! times: each change makes something less, and nothing makes it more again.

use std::time::Duration;

use crate::app::{AnswerOn, Conduct, Ends, Pace};
use crate::link::{EcnPolicy, LinkSpec};
use crate::scenario::{Fault, FaultKind, Scenario, Server, Sharing, Tuning, Way, When, Who};

/// Makes the simplification with this index; none after the last.
pub(super) type Step = fn(&Scenario, usize) -> Option<Scenario>;

/// All steps; those that take away most come first.
pub(super) const ALL: [Step; 14] = [
    faults_in_parts,
    without_a_secondary,
    without_an_ask,
    without_a_client,
    with_usual_tuning,
    with_usual_servers,
    with_usual_links,
    with_usual_properties,
    with_less_of_a_property,
    with_usual_asks,
    with_fewer_bytes,
    with_simpler_faults,
    with_shorter_faults,
    with_rounder_moments,
];

/// A duration below this is not made shorter.
const SHORT: Duration = Duration::from_millis(10);

/// All faults are taken away, then each half, and so on, at last each single one.
fn faults_in_parts(scenario: &Scenario, index: usize) -> Option<Scenario> {
    let count = scenario.faults.len();
    if count == 0 {
        return None;
    }
    let (mut parts, mut index) = (1, index);
    while index >= parts {
        index -= parts;
        parts *= 2;
        if parts >= 2 * count {
            return None;
        }
    }
    let (from, to) = (count * index / parts, count * (index + 1) / parts);
    let mut smaller = scenario.clone();
    smaller.faults.drain(from..to);
    Some(smaller)
}

/// A secondary is taken away, with all that befalls it; those behind it move up.
fn without_a_secondary(scenario: &Scenario, index: usize) -> Option<Scenario> {
    let mut smaller = scenario.clone();
    if index >= smaller.secondaries.len() {
        return None;
    }
    smaller.secondaries.remove(index);
    let is_its = |fault: &Fault| fault.what.who() == Some(Who::Secondary(index));
    smaller.faults.retain(|fault| !is_its(fault));
    for fault in &mut smaller.faults {
        if let Some(Who::Secondary(above)) = fault.what.who()
            && above > index
        {
            fault.what.set_secondary(above - 1);
        }
    }
    Some(smaller)
}

fn without_an_ask(scenario: &Scenario, index: usize) -> Option<Scenario> {
    let mut smaller = scenario.clone();
    if index >= smaller.asks.len() || smaller.asks.len() == 1 {
        return None;
    }
    smaller.asks.remove(index);
    Some(smaller)
}

/// A further client is taken away, or asks for nothing.
fn without_a_client(scenario: &Scenario, index: usize) -> Option<Scenario> {
    let mut smaller = scenario.clone();
    let others = &mut smaller.others;
    if index / 2 >= others.len() {
        return None;
    }
    match index % 2 {
        0 => drop(others.remove(index / 2)),
        _ => others[index / 2] = 0,
    }
    Some(smaller)
}

fn with_usual_tuning(scenario: &Scenario, index: usize) -> Option<Scenario> {
    let mut smaller = scenario.clone();
    let usual = Tuning::default();
    let tuning = &mut smaller.tuning;
    match index {
        0 => *tuning = usual,
        1 => tuning.stream_window_bytes = usual.stream_window_bytes,
        2 => tuning.session_window_bytes = usual.session_window_bytes,
        3 => tuning.overlap = usual.overlap,
        4 => smaller.sharing = Sharing::default(),
        5 => smaller.marks = false,
        6 => {
            if let Sharing::Delegate { revokes, .. } = &mut smaller.sharing {
                *revokes = None;
            }
        }
        _ => return None,
    }
    Some(smaller)
}

/// The server with this index, the primary first.
fn server_mut(scenario: &mut Scenario, index: usize) -> Option<&mut Server> {
    match index.checked_sub(1) {
        None => Some(&mut scenario.primary),
        Some(index) => scenario.secondaries.get_mut(index),
    }
}

fn with_usual_servers(scenario: &Scenario, index: usize) -> Option<Scenario> {
    let mut smaller = scenario.clone();
    let server = server_mut(&mut smaller, index / 4)?;
    match index % 4 {
        0 => *server = Server::default(),
        1 => server.conduct = Conduct::default(),
        // Not so slow.
        2 => {
            if let Conduct::Slow { every, .. } = &mut server.conduct {
                *every = shorter(*every);
            }
        }
        _ => server.clock_ahead_seconds = 0,
    }
    Some(smaller)
}

/// The link with this index: both directions of each server, then those of storms.
fn link_mut(scenario: &mut Scenario, index: usize) -> Option<&mut LinkSpec> {
    let Scenario {
        primary,
        secondaries,
        faults,
        ..
    } = scenario;
    let of_servers = std::iter::once(primary)
        .chain(secondaries)
        .flat_map(|server| [&mut server.uplink, &mut server.downlink]);
    let of_storms = faults.iter_mut().filter_map(|fault| match &mut fault.what {
        FaultKind::Storm { link, .. } => Some(link),
        FaultKind::Crash(_)
        | FaultKind::Restart { .. }
        | FaultKind::Pause { .. }
        | FaultKind::Cut { .. }
        | FaultKind::Outage { .. }
        | FaultKind::BlackHole { .. }
        | FaultKind::Rebind { .. }
        | FaultKind::ClockJump { .. }
        | FaultKind::Retire(_)
        | FaultKind::AddAgain(_)
        | FaultKind::Poke(_)
        | FaultKind::Meddle(_) => None,
    });
    of_servers.chain(of_storms).nth(index)
}

fn with_usual_links(scenario: &Scenario, index: usize) -> Option<Scenario> {
    let mut smaller = scenario.clone();
    *link_mut(&mut smaller, index)? = LinkSpec::default();
    Some(smaller)
}

/// Sets one property of a link to what it usually is.
type Reset = fn(&mut LinkSpec, &LinkSpec);

const PROPERTIES: [Reset; 13] = [
    |link, usual| link.latency = usual.latency,
    |link, usual| link.bandwidth_bits_per_second = usual.bandwidth_bits_per_second,
    |link, usual| link.queue_max_bytes = usual.queue_max_bytes,
    |link, usual| link.loss_ppm = usual.loss_ppm,
    |link, usual| link.reorder_ppm = usual.reorder_ppm,
    |link, usual| link.jitter = usual.jitter,
    |link, usual| link.burst = usual.burst,
    |link, usual| link.corrupt_ppm = usual.corrupt_ppm,
    |link, usual| link.ecn = usual.ecn,
    |link, usual| link.drop_first = usual.drop_first,
    |link, usual| link.reorder_delay = usual.reorder_delay,
    |link, usual| link.duplicate_ppm = usual.duplicate_ppm,
    |link, usual| link.payload_max_bytes = usual.payload_max_bytes,
];

fn with_usual_properties(scenario: &Scenario, index: usize) -> Option<Scenario> {
    let mut smaller = scenario.clone();
    let link = link_mut(&mut smaller, index / PROPERTIES.len())?;
    PROPERTIES[index % PROPERTIES.len()](link, &LinkSpec::default());
    Some(smaller)
}

/// Makes one property of a link less.
type Lessen = fn(&mut LinkSpec);

const LESS: [Lessen; 9] = [
    |link| link.latency = shorter(link.latency),
    |link| link.jitter = shorter(link.jitter),
    |link| link.reorder_delay = shorter(link.reorder_delay),
    |link| link.loss_ppm = rarer(link.loss_ppm),
    |link| link.corrupt_ppm = rarer(link.corrupt_ppm),
    |link| link.duplicate_ppm = rarer(link.duplicate_ppm),
    |link| link.reorder_ppm = rarer(link.reorder_ppm),
    // The last of those that are dropped.
    |link| {
        link.drop_first &= u64::MAX
            .checked_shr(link.drop_first.leading_zeros() + 1)
            .unwrap_or(0)
    },
    |link| {
        if let EcnPolicy::Mark { ppm } = &mut link.ecn {
            *ppm = rarer(*ppm);
        }
    },
];

fn with_less_of_a_property(scenario: &Scenario, index: usize) -> Option<Scenario> {
    let mut smaller = scenario.clone();
    let link = link_mut(&mut smaller, index / LESS.len())?;
    LESS[index % LESS.len()](link);
    Some(smaller)
}

/// Half of a duration, in whole milliseconds.
fn shorter(duration: Duration) -> Duration {
    if duration <= SHORT {
        return duration;
    }
    Duration::from_millis(u64::try_from(duration.as_millis() / 2).unwrap_or(u64::MAX))
}

/// Half of it, but not next to never.
fn rarer(ppm: u32) -> u32 {
    if ppm >= 2000 { ppm / 2 } else { ppm }
}

fn with_usual_asks(scenario: &Scenario, index: usize) -> Option<Scenario> {
    let mut smaller = scenario.clone();
    let ask = smaller.asks.get_mut(index / 4)?;
    match index % 4 {
        0 => ask.pace = Pace::Eager,
        1 => ask.ends = Ends::Whole,
        2 => match &mut ask.ends {
            Ends::Stopped { percent, .. } => *percent /= 2,
            Ends::Reset { after, .. } => *after = shorter(*after),
            Ends::Whole | Ends::TakenBack { .. } => {}
        },
        _ => ask.request.answer_on = AnswerOn::OwnStream,
    }
    Some(smaller)
}

fn with_fewer_bytes(scenario: &Scenario, index: usize) -> Option<Scenario> {
    let mut smaller = scenario.clone();
    let ask = smaller.asks.get_mut(index / 3)?;
    let bytes = &mut ask.request.bytes;
    match index % 3 {
        0 => *bytes = 0,
        // A power of two below: half of it, or round.
        1 => {
            *bytes = bytes
                .saturating_sub(1)
                .checked_ilog2()
                .map_or(*bytes, |log| 1 << log)
        }
        _ => match &mut ask.pace {
            Pace::Rest { after, length } => {
                *after /= 2;
                *length = shorter(*length);
            }
            Pace::Eager | Pace::Slow { .. } => {}
        },
    }
    Some(smaller)
}

/// The fault with this index, to be changed.
fn fault_mut(scenario: &mut Scenario, index: usize) -> Option<&mut Fault> {
    scenario.faults.get_mut(index)
}

/// Something that befalls less: one direction in place of both, a port in place of an address, a crash in
/// place of a restart.
fn with_simpler_faults(scenario: &Scenario, index: usize) -> Option<Scenario> {
    let mut smaller = scenario.clone();
    let fault = fault_mut(&mut smaller, index / 2)?;
    match (index % 2, &mut fault.what) {
        (0, FaultKind::Restart { who, .. }) => fault.what = FaultKind::Crash(*who),
        (0, FaultKind::Rebind { address }) => *address = false,
        (0, FaultKind::Cut { way, .. } | FaultKind::Storm { way, .. }) if *way == Way::Both => {
            *way = Way::Down;
        }
        (1, FaultKind::Cut { way, .. } | FaultKind::Storm { way, .. }) if *way == Way::Both => {
            *way = Way::Up;
        }
        (0, FaultKind::ClockJump { seconds, .. }) => *seconds /= 2,
        _ => {}
    }
    Some(smaller)
}

fn with_shorter_faults(scenario: &Scenario, index: usize) -> Option<Scenario> {
    let mut smaller = scenario.clone();
    match &mut fault_mut(&mut smaller, index)?.what {
        FaultKind::Restart { down: lasts, .. }
        | FaultKind::Pause { lasts, .. }
        | FaultKind::Cut { lasts, .. }
        | FaultKind::Outage { lasts }
        | FaultKind::Storm { lasts, .. } => *lasts = shorter(*lasts),
        FaultKind::Crash(_)
        | FaultKind::BlackHole { .. }
        | FaultKind::Rebind { .. }
        | FaultKind::ClockJump { .. }
        | FaultKind::Retire(_)
        | FaultKind::AddAgain(_)
        | FaultKind::Poke(_)
        | FaultKind::Meddle(_) => {}
    }
    Some(smaller)
}

/// Earlier, and easier to read.
fn with_rounder_moments(scenario: &Scenario, index: usize) -> Option<Scenario> {
    let mut smaller = scenario.clone();
    let fault = fault_mut(&mut smaller, index / 3)?;
    let at = &mut fault.at;
    *at = match (index % 3, *at) {
        (0, _) => When::Time(Duration::ZERO),
        (1, When::Percent(percent)) => When::Percent(percent / 10 * 10),
        (_, When::Percent(percent)) => When::Percent(if percent > 50 { 50 } else { percent }),
        (1, When::Time(time)) => When::Time(with_one_digit(time)),
        (_, When::Time(time)) => When::Time(shorter(time)),
    };
    Some(smaller)
}

/// The next duration below that has one digit other than zero, in milliseconds.
fn with_one_digit(time: Duration) -> Duration {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let unit = 10_u64.pow(millis.checked_ilog10().unwrap_or(0));
    Duration::from_millis(millis / unit * unit)
}

//! I12: a transfer does not stand still.
//!
//! Owns when something moved last, in worlds in which there is no excuse for stillness: nothing is
//! lost and nothing befalls anybody, writers are honest, and readers rest for so long and no longer.
//! Then a writer that is blocked waits for a reader that reads, or for credit that is on its way, and
//! either way something moves soon.

use std::time::Duration;

use kwik_core::endpoint::ClientStats;
use kwik_core::path::PathInfo;

use super::Breach;
use crate::app::{Ask, Conduct, Ends, Pace};
use crate::atlas;
use crate::link::LinkSpec;
use crate::scenario::{Scenario, Server};
use crate::stage::Stage;

/// A transfer stands still for no longer than this, besides round trips: readers and writers that are
/// slow do something twice a second at least, and no clock of the core that a transfer may have to
/// wait for, where all is well, is longer.
const STILL_MAX: Duration = Duration::from_secs(1);

/// Round trips, each to the farthest server, that may pass before the first byte and between any two:
/// a handshake, a join, a grant and its answer, a request, and a probe or two.
const ROUND_TRIPS: u32 = 8;

/// When something moved last.
#[derive(Debug)]
pub(super) struct Stillness {
    /// It must move after so long.
    most: Duration,
    moved_at: Duration,
    /// What there was then.
    last: Moved,
}

/// What only ever grows, and does while a transfer goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Moved {
    is_connected: bool,
    streams: usize,
    brought_bytes: u64,
    delivered_bytes: u64,
}

impl Stillness {
    /// For a world in which nothing may stand still; none for any other.
    pub(super) fn new(scenario: &Scenario) -> Option<Self> {
        // Who is to give an answer up does so when its time has come; other clients are not looked at.
        let is_lone =
            scenario.others.is_empty() && scenario.asks.iter().all(|ask| ask.ends == Ends::Whole);
        let is_calm = is_lone
            && scenario.faults.is_empty()
            && scenario.servers().all(|(_, server)| is_kind(server));
        let round_trips = scenario
            .servers()
            .map(|(_, server)| longest(&server.uplink) + longest(&server.downlink));
        let round_trip = round_trips.max().unwrap_or_default();
        // Each rest begins with a read.
        let rest = scenario.asks.iter().map(rest).max().unwrap_or_default();
        is_calm.then(|| Self {
            most: STILL_MAX + ROUND_TRIPS * round_trip + rest,
            moved_at: Duration::ZERO,
            last: Moved::default(),
        })
    }

    /// The client has had a turn.
    pub(super) fn note(&mut self, stage: &Stage, stats: &ClientStats, paths: &[PathInfo]) {
        let reader = stage.reader();
        let moved = Moved {
            is_connected: reader.connected_at().is_some(),
            streams: reader.accepted().len(),
            brought_bytes: paths.iter().map(|path| path.received_bytes).sum(),
            delivered_bytes: stats.delivered_bytes,
        };
        if moved != self.last {
            self.last = moved;
            self.moved_at = stage.world.time();
        }
    }

    /// If nothing is under way, the world sleeps until its next event.
    pub(super) fn check(&self, stage: &mut Stage) -> Result<(), Breach> {
        let world = &stage.world;
        let until = match world.is_anything_under_way() {
            true => world.time(),
            false => world.next_time().unwrap_or(Duration::MAX),
        };
        let still = until.saturating_sub(self.moved_at);
        if still <= self.most || has_ended(stage) {
            return Ok(());
        }
        Err(Breach::new("I12", self.describe(stage, until)))
    }

    fn describe(&self, stage: &mut Stage, until: Duration) -> String {
        let blocked: Vec<usize> = (0..stage.secondaries.len())
            .filter(|&index| stage.secondary_app(index).is_blocked())
            .collect();
        let reading: Vec<_> = stage
            .reader()
            .answers()
            .map(|(stream, wanted, read)| format!("{} of {wanted} of stream {stream}", read.bytes))
            .collect();
        format!(
            "nothing has moved since {:.3} s, nor will before {:.3} s: the reader has {}; secondaries \
             {blocked:?} are blocked; the primary {:?}; the client {:?} {:?}",
            self.moved_at.as_secs_f64(),
            until.as_secs_f64(),
            reading.join(", "),
            stage.primary_stats(),
            stage.stats(),
            stage.paths(),
        )
    }
}

/// How long the reader of an answer reads nothing, although there may be something.
fn rest(ask: &Ask) -> Duration {
    match ask.pace {
        Pace::Eager | Pace::Slow { .. } => Duration::ZERO,
        Pace::Rest { length, .. } => length,
    }
}

/// Whether the transfers are over, one way or the other.
fn has_ended(stage: &Stage) -> bool {
    let reader = stage.reader();
    reader.done_at().is_some() || reader.fault().is_some()
}

/// Whether a server is honest, and all that is sent to it and by it arrives.
fn is_kind(server: &Server) -> bool {
    let is_honest = match server.conduct {
        Conduct::Honest { .. } | Conduct::Slow { .. } => true,
        Conduct::Refuses(_) | Conduct::Mute | Conduct::Lies | Conduct::Hostile(_) => false,
    };
    let loses_nothing = |link: &LinkSpec| link.lost_ppm() == 0 && link.drop_first == 0;
    is_honest
        && atlas::is_kind(server)
        && loses_nothing(&server.uplink)
        && loses_nothing(&server.downlink)
}

/// The longest that a datagram may take on a link, with a queue that is full.
fn longest(link: &LinkSpec) -> Duration {
    let held_back = match link.reorder_ppm {
        0 => Duration::ZERO,
        _ => link.reorder_delay,
    };
    link.latency + link.jitter + held_back + queue(link)
}

/// How long a full queue takes to be sent.
fn queue(link: &LinkSpec) -> Duration {
    let Some(bits) = link.bandwidth_bits_per_second else {
        return Duration::ZERO;
    };
    Duration::from_millis((link.queue_max_bytes * 8 * 1000).div_ceil(bits.max(1)))
}

//! What is drawn of a life: the paths, the faults, and where they stand in time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use super::recorder::{Fact, Recording};
use super::story::{self, Line};
use super::streams::{StreamChart, stream_charts};
use crate::outcome::{Ending, Outcome};
use crate::scenario::{FaultKind, Scenario, Who};
use crate::words;
use crate::world::World;

/// Columns of the charts of goodput.
const GOODPUT_COLUMNS: u64 = 160;

/// Everything that a page shows. Times are in microseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Chart {
    /// What the scenario is.
    pub summary: String,
    /// How it ended, in a word.
    pub ending: &'static str,
    /// What was wrong, if anything.
    pub failure: Option<String>,
    /// The figures of the heading: a name and a value.
    pub figures: Vec<(&'static str, String)>,
    /// Where the time axis ends.
    pub end: u64,
    /// What happened, in words.
    pub story: Vec<Line>,
    /// The paths, the primary's first.
    pub paths: Vec<PathLane>,
    /// The streams that carried something.
    pub streams: Vec<StreamChart>,
    /// What befell the world.
    pub faults: Vec<FaultMark>,
    /// The width of a column of goodput.
    pub goodput_column: u64,
}

/// A path in time.
#[derive(Clone, Debug, Serialize)]
pub struct PathLane {
    /// Its id.
    pub id: u64,
    /// The server it leads to: 0 for the primary, then the secondaries.
    pub server: usize,
    /// The server in words.
    pub name: String,
    /// What state it was in, from when to when.
    pub phases: Vec<(&'static str, u64, u64)>,
    /// Bytes that it brought, by columns.
    pub goodput: Vec<u64>,
    /// Bytes that it brought.
    pub bytes: u64,
}

/// A fault.
#[derive(Clone, Debug, Serialize)]
pub struct FaultMark {
    /// When it came.
    pub at: u64,
    /// When it was over; none if it is over at once, or never.
    pub until: Option<u64>,
    /// In words.
    pub text: String,
    /// The server that it concerns most, as in [`PathLane::server`].
    pub server: Option<usize>,
}

impl Chart {
    /// What is drawn of a scenario that was lived through.
    #[must_use]
    pub fn new(scenario: &Scenario, outcome: &Outcome, recording: &Recording) -> Self {
        // Behind the end the world is only wound up.
        let facts = recording.facts.iter().cloned();
        let is_life = |at: Duration, fact: &Fact| {
            let winds_up = matches!(fact, Fact::SessionEnded(_)) && at == outcome.took;
            at <= outcome.took && !(winds_up && outcome.ending != Ending::Failed)
        };
        let facts: Vec<_> = facts.filter(|(at, fact)| is_life(*at, fact)).collect();
        let end = micros(outcome.took).max(1);
        let end = end + end / 50;
        let mut lanes = Lanes::new(scenario, end);
        for (at, fact) in &facts {
            lanes.add(micros(*at), fact);
        }
        let paths = lanes.finish();
        let streams = stream_charts(&facts, end);
        Self {
            summary: words::scenario(scenario),
            ending: outcome.ending.name(),
            failure: outcome.failure.as_ref().map(ToString::to_string),
            figures: figures(outcome, &paths),
            end,
            story: story::tell(&facts, &paths, &streams, outcome),
            faults: facts
                .iter()
                .filter_map(|(at, fact)| mark(*at, fact))
                .collect(),
            goodput_column: column_width(end),
            paths,
            streams,
        }
    }
}

/// A time as the page has it.
pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn column_width(end: u64) -> u64 {
    end.div_ceil(GOODPUT_COLUMNS)
}

fn figures(outcome: &Outcome, paths: &[PathLane]) -> Vec<(&'static str, String)> {
    let bytes: u64 = paths.iter().map(|path| path.bytes).sum();
    let bits = u128::from(bytes) * 8;
    let rate = bits / u128::from(micros(outcome.took).max(1));
    let mut figures = vec![
        ("arrived", words::bytes(bytes)),
        ("took", words::seconds(outcome.took)),
        ("goodput", format!("{rate} Mbit/s")),
        ("datagrams", outcome.datagrams.to_string()),
    ];
    if let Some(convergence) = outcome.convergence.filter(|_| !outcome.met.is_empty()) {
        let (took, bound) = (convergence.took, convergence.bound);
        let text = format!("{} of {}", words::seconds(took), words::seconds(bound));
        figures.push(("after the last fault", text));
    }
    figures
}

fn mark(at: Duration, fact: &Fact) -> Option<FaultMark> {
    let Fact::Fault(what) = fact else { return None };
    let at = micros(at);
    Some(FaultMark {
        at,
        until: what.lasts().map(|lasts| at.saturating_add(micros(lasts))),
        text: words::kind(what),
        server: server_of(what),
    })
}

/// The server that a fault concerns.
pub(super) const fn server_of(what: &FaultKind) -> Option<usize> {
    match words::subject(what) {
        Who::Client => None,
        Who::Primary => Some(0),
        Who::Secondary(index) => Some(index + 1),
    }
}

/// The lanes, as far as time has come.
struct Lanes {
    secondaries: usize,
    end: u64,
    paths: BTreeMap<u64, PathLane>,
}

impl Lanes {
    fn new(scenario: &Scenario, end: u64) -> Self {
        let mut lanes = Self {
            secondaries: scenario.secondaries.len(),
            end,
            paths: BTreeMap::new(),
        };
        lanes.enter(0, "dialing", 0);
        lanes
    }

    fn add(&mut self, at: u64, fact: &Fact) {
        if let Some((path, range)) = fact.arrived() {
            let column = usize::try_from(at / column_width(self.end)).unwrap_or(usize::MAX);
            let lane = self.lane(path);
            lane.bytes += range.len();
            if let Some(bytes) = lane.goodput.get_mut(column) {
                *bytes += range.len();
            }
        } else if let Fact::Dialing { path, addr } = fact {
            self.enter(*path, "dialing", at);
            let server = addr.and_then(|addr| self.server_at(addr));
            if let Some(server) = server {
                let lane = self.lane(*path);
                (lane.server, lane.name) = (server, server_name(server));
            }
        } else if let Some((path, phase)) = phase(fact) {
            self.enter(path, phase, at);
        } else if matches!(fact, Fact::SessionEnded(_)) {
            for path in self.paths.keys().copied().collect::<Vec<_>>() {
                self.enter(path, "dead", at);
            }
        }
    }

    /// A path is in another state from now on; what has ended stays so.
    fn enter(&mut self, path: u64, phase: &'static str, at: u64) {
        let lane = self.lane(path);
        if let Some((before, _, until)) = lane.phases.last_mut() {
            if matches!(*before, "dead" | "retired") {
                return;
            }
            *until = at;
        }
        lane.phases.push((phase, at, at));
    }

    fn lane(&mut self, path: u64) -> &mut PathLane {
        self.paths.entry(path).or_insert_with(|| {
            let server = usize::try_from(path).unwrap_or(usize::MAX);
            PathLane {
                id: path,
                server,
                name: server_name(server),
                phases: Vec::new(),
                goodput: vec![0; usize::try_from(GOODPUT_COLUMNS).unwrap_or(0)],
                bytes: 0,
            }
        })
    }

    fn server_at(&self, addr: SocketAddr) -> Option<usize> {
        (1..=self.secondaries).find(|&server| World::addr_of_ordinal(server + 1) == addr)
    }

    fn finish(self) -> Vec<PathLane> {
        let mut paths: Vec<_> = self.paths.into_values().collect();
        for path in &mut paths {
            if let Some((.., until)) = path.phases.last_mut() {
                *until = self.end;
            }
        }
        paths
    }
}

/// The state that a path enters.
const fn phase(fact: &Fact) -> Option<(u64, &'static str)> {
    if let Fact::Established = fact {
        Some((0, "active"))
    } else if let Fact::Joining(path) = fact {
        Some((*path, "joining"))
    } else if let Fact::Joined(path) = fact {
        Some((*path, "active"))
    } else if let Fact::Retiring(path) = fact {
        Some((*path, "retiring"))
    } else if let Fact::PathEnded { path, retired } = fact {
        Some((*path, if *retired { "retired" } else { "dead" }))
    } else {
        None
    }
}

fn server_name(server: usize) -> String {
    match server {
        0 => "primary".into(),
        _ => format!("secondary {}", server - 1),
    }
}

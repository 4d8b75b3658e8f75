//! What happened in a life, in words: who joined, what befell whom, who was given up, and who brought
//! again what had been lost.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::chart::{PathLane, micros, server_of};
use super::recorder::Fact;
use super::streams::{LossBox, StreamChart};
use crate::outcome::{Ending, Outcome};
use crate::words;

/// A wait of the reader is told if it is longer than this part of the whole.
const WAIT_PART: u64 = 10;
/// A story is not longer.
const LINES_MAX: usize = 40;

/// A sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// When, in microseconds.
    pub at: u64,
    /// Of what kind: `step`, `fault`, `death`, `again`, `wait` or `end`.
    pub kind: &'static str,
    /// The sentence.
    pub text: String,
    /// The server that it is about, as in [`PathLane::server`].
    pub server: Option<usize>,
}

/// Tells what happened.
pub(super) fn tell(
    facts: &[(Duration, Fact)],
    paths: &[PathLane],
    streams: &[StreamChart],
    outcome: &Outcome,
) -> Vec<Line> {
    let teller = Teller { paths, streams };
    let mut lines: Vec<Line> = Vec::new();
    lines.extend(
        facts
            .iter()
            .filter_map(|(at, fact)| teller.fact(micros(*at), fact)),
    );
    lines.extend(teller.losses());
    lines.extend(teller.longest_wait());
    lines.push(end(outcome));
    lines.sort_by_key(|line| line.at);
    lines.truncate(LINES_MAX);
    lines
}

fn end(outcome: &Outcome) -> Line {
    let text = match (&outcome.failure, outcome.ending) {
        (Some(failure), _) => format!("a rule is broken: {}", failure.rule),
        (None, Ending::Complete | Ending::Degraded) => "everything is read".into(),
        (None, Ending::Failed) => "the transfer fails, as it may".into(),
    };
    let is_well = outcome.failure.is_none() && outcome.ending != Ending::Failed;
    Line {
        at: micros(outcome.took),
        kind: if is_well { "end" } else { "death" },
        text,
        server: None,
    }
}

struct Teller<'a> {
    paths: &'a [PathLane],
    streams: &'a [StreamChart],
}

impl Teller<'_> {
    fn server(&self, path: u64) -> Option<usize> {
        self.lane(path).map(|lane| lane.server)
    }

    fn lane(&self, path: u64) -> Option<&PathLane> {
        self.paths.iter().find(|lane| lane.id == path)
    }

    fn name(&self, path: u64) -> String {
        let lane = self.lane(path);
        lane.map_or_else(|| format!("path {path}"), |lane| lane.name.clone())
    }

    fn fact(&self, at: u64, fact: &Fact) -> Option<Line> {
        let line = |kind, text: String, server| {
            Some(Line {
                at,
                kind,
                text,
                server,
            })
        };
        if let Fact::Established = fact {
            line("step", "the primary welcomes the client".into(), Some(0))
        } else if let Fact::Joined(path) = fact {
            let text = format!("{} joins as path {path}", self.name(*path));
            line("step", text, self.server(*path))
        } else if let Fact::PathEnded { path, retired } = fact {
            let (kind, how) = match retired {
                true => ("step", "is retired"),
                false => ("death", "is given up"),
            };
            let owed = owed_text(self.owed(*path, at));
            let text = format!("{} {how} (path {path}){owed}", self.name(*path));
            line(kind, text, self.server(*path))
        } else if let Fact::SessionEnded(reason) = fact {
            line("death", format!("the session ends: {reason}"), None)
        } else if let Fact::Fault(what) = fact {
            line("fault", words::kind(what), server_of(what))
        } else {
            None
        }
    }

    fn all_losses(&self) -> impl Iterator<Item = &LossBox> {
        self.streams.iter().flat_map(|stream| &stream.losses)
    }

    /// Bytes that a path lost at a moment.
    fn owed(&self, path: u64, at: u64) -> u64 {
        let losses = self.all_losses();
        let here = losses.filter(|loss| loss.path == path && loss.at == at);
        here.map(|loss| loss.end - loss.start).sum()
    }

    /// Who brought what a path had lost, and what was given back without the path ending.
    fn losses(&self) -> Vec<Line> {
        let mut groups: BTreeMap<(u64, &str), Vec<&LossBox>> = BTreeMap::new();
        for loss in self.all_losses() {
            let group = groups.entry((loss.path, loss.reason.as_str()));
            group.or_default().push(loss);
        }
        let told = |((path, reason), losses): ((u64, &str), Vec<&LossBox>)| {
            let given_back = (reason != "Path").then(|| self.given_back(path, reason, &losses));
            given_back
                .into_iter()
                .flatten()
                .chain(self.again(path, &losses))
        };
        groups.into_iter().flat_map(told).collect()
    }

    fn given_back(&self, path: u64, reason: &str, losses: &[&LossBox]) -> Option<Line> {
        let bytes: u64 = losses.iter().map(|loss| loss.end - loss.start).sum();
        let at = losses.iter().map(|loss| loss.at).min()?;
        let (bytes, name) = (words::bytes(bytes), self.name(path));
        Some(Line {
            at,
            kind: "death",
            text: format!("{bytes} granted to {name} come back, from now on ({reason})"),
            server: self.server(path),
        })
    }

    fn again(&self, path: u64, losses: &[&LossBox]) -> Option<Line> {
        let mut brought: BTreeMap<u64, u64> = BTreeMap::new();
        for (path, bytes) in losses.iter().flat_map(|loss| &loss.again) {
            *brought.entry(*path).or_default() += bytes;
        }
        let at = losses.iter().filter_map(|loss| loss.until).max()?;
        let (&most, _) = brought.iter().max_by_key(|(_, bytes)| **bytes)?;
        let parts: Vec<_> = brought
            .iter()
            .map(|(path, bytes)| format!("{} {}", self.name(*path), words::bytes(*bytes)))
            .collect();
        let name = self.name(path);
        Some(Line {
            at,
            kind: "again",
            text: format!("what {name} owed is there: {}", parts.join(", ")),
            server: self.server(most),
        })
    }

    /// The longest time in which the reader came no further.
    fn longest_wait(&self) -> Option<Line> {
        let gaps = self.streams.iter().flat_map(|stream| {
            let pairs = stream.cursor.windows(2);
            pairs.filter_map(move |pair| match pair {
                [(from, at_byte), (to, _)] => Some((to - from, *to, *at_byte)),
                _ => None,
            })
        });
        let (length, at, byte) = gaps.max()?;
        let end = self
            .streams
            .iter()
            .filter_map(|s| s.cursor.last())
            .map(|p| p.0)
            .max()?;
        (length > end / WAIT_PART).then(|| Line {
            at,
            kind: "wait",
            text: format!(
                "the reader goes on, after {} at byte {byte}",
                words::seconds(Duration::from_micros(length))
            ),
            server: None,
        })
    }
}

fn owed_text(bytes: u64) -> String {
    match bytes {
        0 => String::new(),
        _ => format!("; {} that it owed are missing", words::bytes(bytes)),
    }
}

//! What came of many scenarios together.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::outcome::{Convergence, Ending, Failure, FailureClass, Outcome};
use crate::rng::mix;

/// What a scenario without faults is counted under.
const NO_FAULT: &str = "none";

/// A column of the table of faults: how a scenario ended, or that a rule was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Column {
    /// It ended so, and well.
    Ended(Ending),
    /// A rule was broken.
    Broken,
}

impl Column {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Ended(Ending::Complete),
        Self::Ended(Ending::Degraded),
        Self::Ended(Ending::Failed),
        Self::Broken,
    ];

    /// Its heading.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ended(ending) => ending.name(),
            Self::Broken => "BROKEN",
        }
    }

    fn of(outcome: &Outcome) -> Self {
        match outcome.failure {
            Some(_) => Self::Broken,
            None => Self::Ended(outcome.ending),
        }
    }
}

/// A fault, by its name, and how scenarios that met it can end.
pub type Cell = (&'static str, Ending);

/// What came of many scenarios, added in the order of their seeds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    count: u64,
    digest: u64,
    datagrams: u64,
    lived: Duration,
    columns: BTreeMap<Column, u64>,
    cells: BTreeMap<(&'static str, Column), u64>,
    failures: Vec<(u64, Failure)>,
    worst: Option<(u64, Convergence)>,
}

impl Tally {
    /// Adds what came of a seed.
    pub fn add(&mut self, seed: u64, outcome: Outcome) {
        self.count += 1;
        self.digest = mix(self.digest ^ outcome.trace);
        self.datagrams += outcome.datagrams;
        self.lived += outcome.took;
        let column = Column::of(&outcome);
        *self.columns.entry(column).or_default() += 1;
        let none = outcome.met.is_empty().then_some(NO_FAULT);
        for fault in outcome.met.iter().copied().chain(none) {
            *self.cells.entry((fault, column)).or_default() += 1;
        }
        if let Some(convergence) = outcome.convergence
            && self
                .worst
                .is_none_or(|(_, worst)| is_worse(convergence, worst))
        {
            self.worst = Some((seed, convergence));
        }
        if let Some(failure) = outcome.failure {
            self.failures.push((seed, failure));
        }
    }

    /// How many were added.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// A hash over the traces in the order of the seeds: two swarms that lived the same have the same.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Datagrams that were sent in all worlds.
    #[must_use]
    pub fn datagrams(&self) -> u64 {
        self.datagrams
    }

    /// Virtual time that passed in all worlds.
    #[must_use]
    pub fn lived(&self) -> Duration {
        self.lived
    }

    /// How many ended so.
    #[must_use]
    pub fn ended(&self, column: Column) -> u64 {
        self.columns.get(&column).copied().unwrap_or_default()
    }

    /// Seeds that met a fault and ended so.
    #[must_use]
    pub fn hits(&self, fault: &'static str, column: Column) -> u64 {
        self.cells
            .get(&(fault, column))
            .copied()
            .unwrap_or_default()
    }

    /// The seeds that broke a rule, and which.
    #[must_use]
    pub fn failures(&self) -> &[(u64, Failure)] {
        &self.failures
    }

    /// The highest class of what was broken.
    #[must_use]
    pub fn worst_class(&self) -> Option<FailureClass> {
        self.failures.iter().map(|(_, failure)| failure.class).max()
    }

    /// The seed that came nearest to its bound, or went furthest beyond.
    #[must_use]
    pub fn worst_convergence(&self) -> Option<(u64, Convergence)> {
        self.worst
    }

    /// Cells that can happen and did not.
    #[must_use]
    pub fn empty_cells(&self, expected: &[Cell]) -> Vec<Cell> {
        let is_empty = |&(fault, ending): &Cell| self.hits(fault, Column::Ended(ending)) == 0;
        expected.iter().copied().filter(is_empty).collect()
    }

    /// The table of faults and outcomes.
    #[must_use]
    pub fn table<'a>(&'a self, expected: &'a [Cell]) -> Table<'a> {
        Table {
            tally: self,
            expected,
        }
    }
}

/// Whether one used more of what it was allowed than the other; without rounding, so that it does not
/// depend on who came first.
fn is_worse(one: Convergence, other: Convergence) -> bool {
    let nanos = |time: Duration| time.as_nanos();
    nanos(one.took).saturating_mul(nanos(other.bound))
        > nanos(other.took).saturating_mul(nanos(one.bound))
}

/// Faults and how scenarios ended that met them. A cell that can happen and did not is a question
/// mark; one that nobody expects and that was not hit is a dot.
pub struct Table<'a> {
    tally: &'a Tally,
    expected: &'a [Cell],
}

impl Table<'_> {
    fn cell(&self, fault: &'static str, column: Column) -> String {
        let is_expected = |ending| self.expected.contains(&(fault, ending));
        match (self.tally.hits(fault, column), column) {
            (0, Column::Ended(ending)) if is_expected(ending) => "?".into(),
            (0, Column::Ended(_) | Column::Broken) => "·".into(),
            (hits, _) => hits.to_string(),
        }
    }
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen = self.tally.cells.keys().map(|&(fault, _)| fault);
        let mut faults: Vec<_> = seen
            .chain(self.expected.iter().map(|cell| cell.0))
            .collect();
        faults.sort_unstable();
        faults.dedup();
        write!(f, "{:18}", "fault")?;
        for column in Column::ALL {
            write!(f, " {:>10}", column.name())?;
        }
        for fault in faults {
            write!(f, "\n{fault:18}")?;
            for column in Column::ALL {
                write!(f, " {:>10}", self.cell(fault, column))?;
            }
        }
        Ok(())
    }
}

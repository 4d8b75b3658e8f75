//! What is drawn of a stream: who was to bring which bytes, who brought them, what was lost, and how
//! far the reader came.

use std::collections::BTreeMap;
use std::time::Duration;

use kwik_core::ids::{ByteRange, OFFSET_LIMIT};
use kwik_core::ranges::RangeSet;
use serde::Serialize;

use super::chart::micros;
use super::recorder::Fact;

/// Cells of time and offset: of one path, at most so many are drawn.
const CELLS_MAX: usize = 2000;
/// Columns and rows to begin with.
const GRID: (u64, u64) = (480, 320);
/// Grants, and losses, of one stream that are drawn.
const BOXES_MAX: usize = 1500;
/// Points of the read cursor.
const CURSOR_MAX: usize = 800;

/// A stream. Times are in microseconds.
#[derive(Clone, Debug, Serialize)]
pub struct StreamChart {
    /// Its id.
    pub id: u64,
    /// The highest byte of it that anybody spoke of.
    pub size: u64,
    /// What was granted, and when.
    pub grants: Vec<GrantBox>,
    /// What was lost, and who brought it in the end.
    pub losses: Vec<LossBox>,
    /// Arrivals, a list for each path.
    pub cells: Vec<Cells>,
    /// Columns and rows of the cells.
    pub grid: (u64, u64),
    /// Times, and how far the reader was.
    pub cursor: Vec<(u64, u64)>,
    /// Boxes that are not drawn: there are too many.
    pub left_out: usize,
}

/// A range that a path was to bring.
#[derive(Clone, Debug, Serialize)]
pub struct GrantBox {
    /// The grant; none for what the primary writes itself.
    pub grant: Option<u64>,
    /// The path.
    pub path: u64,
    /// The first byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
    /// When it was given.
    pub from: u64,
    /// When it had its final status, or all of it was there.
    pub to: u64,
    /// Bytes of it had been lost before: it brings them again.
    pub again: bool,
}

/// Bytes that did not come from the path that was to bring them.
#[derive(Clone, Debug, Serialize)]
pub struct LossBox {
    /// The path.
    pub path: u64,
    /// The grant.
    pub grant: u64,
    /// The first byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
    /// When the path had last brought something.
    pub since: u64,
    /// When that was known.
    pub at: u64,
    /// Why.
    pub reason: String,
    /// Who brought them in the end: path and bytes.
    pub again: Vec<(u64, u64)>,
    /// When the last of them came.
    pub until: Option<u64>,
    #[serde(skip)]
    missing: RangeSet,
}

/// Where and when a path brought bytes: column, row, and bytes.
#[derive(Clone, Debug, Serialize)]
pub struct Cells {
    /// The path.
    pub path: u64,
    /// The cells.
    pub cells: Vec<(u64, u64, u64)>,
}

/// Charts of the streams that carried something.
pub(super) fn stream_charts(facts: &[(Duration, Fact)], end: u64) -> Vec<StreamChart> {
    let mut drafts: BTreeMap<u64, Draft> = BTreeMap::new();
    let mut paths: BTreeMap<u64, u64> = BTreeMap::new();
    for (at, fact) in facts {
        if let Fact::Granted {
            grant: Some(grant),
            path,
            ..
        } = fact
        {
            paths.insert(*grant, *path);
        }
        if let Fact::GrantEnded(grant) = fact {
            for draft in drafts.values_mut() {
                draft.on_ended(micros(*at), *grant);
            }
        }
        if let Some(stream) = fact.stream() {
            let draft = drafts.entry(stream).or_default();
            draft.add(micros(*at), fact, &paths);
        }
    }
    let drawn = drafts
        .into_iter()
        .filter(|(_, draft)| !draft.arrivals.is_empty());
    drawn.map(|(id, draft)| draft.finish(id, end)).collect()
}

/// A chart, as far as time has come.
#[derive(Default)]
struct Draft {
    size: u64,
    present: RangeSet,
    lost: RangeSet,
    grants: Vec<GrantBox>,
    /// Grants without an end.
    open: Vec<usize>,
    losses: Vec<LossBox>,
    /// Time, path, bytes.
    arrivals: Vec<(u64, u64, ByteRange)>,
    cursor: Vec<(u64, u64)>,
    /// When each path last brought something.
    heard: BTreeMap<u64, u64>,
}

impl Draft {
    fn add(&mut self, at: u64, fact: &Fact, paths: &BTreeMap<u64, u64>) {
        if let Some((path, range)) = fact.arrived() {
            self.on_arrived(at, path, range);
        }
        if let Fact::Granted {
            grant, path, range, ..
        } = fact
        {
            self.on_granted(at, *grant, *path, *range);
        } else if let Fact::Lost {
            grant,
            range,
            reason,
            ..
        } = fact
        {
            let path = paths.get(grant).copied().unwrap_or_default();
            self.on_lost(at, (path, *grant), *range, reason);
        } else if let Fact::Read { range, .. } | Fact::PlainRead { range, .. } = fact {
            self.cursor.push((at, range.end()));
        }
    }

    fn on_granted(&mut self, at: u64, grant: Option<u64>, path: u64, range: ByteRange) {
        if range.end() < OFFSET_LIMIT {
            self.size = self.size.max(range.end());
        }
        self.open.push(self.grants.len());
        self.grants.push(GrantBox {
            grant,
            path,
            start: range.start(),
            end: range.end(),
            from: at,
            to: u64::MAX,
            again: self.lost.overlaps(range),
        });
    }

    fn on_ended(&mut self, at: u64, grant: u64) {
        let grants = &mut self.grants;
        self.open.retain(|&index| {
            let ends = grants[index].grant == Some(grant);
            if ends {
                grants[index].to = at;
            }
            !ends
        });
    }

    fn on_lost(&mut self, at: u64, (path, grant): (u64, u64), range: ByteRange, reason: &str) {
        self.lost.insert(range);
        self.losses.push(LossBox {
            path,
            grant,
            start: range.start(),
            end: range.end(),
            since: self.heard.get(&path).copied().unwrap_or(at),
            at,
            reason: reason.to_owned(),
            again: Vec::new(),
            until: None,
            missing: RangeSet::from(range),
        });
    }

    fn on_arrived(&mut self, at: u64, path: u64, range: ByteRange) {
        self.size = self.size.max(range.end());
        self.arrivals.push((at, path, range));
        self.heard.insert(path, at);
        self.present.insert(range);
        if self.lost.remove(range) > 0 {
            for loss in &mut self.losses {
                loss.on_arrived(at, path, range);
            }
        }
        let (grants, present) = (&mut self.grants, &self.present);
        self.open.retain(|&index| {
            let own = &mut grants[index];
            let range = ByteRange::new(own.start, own.end);
            let ends = own.grant.is_none() && range.is_some_and(|range| present.contains(range));
            if ends {
                own.to = at;
            }
            !ends
        });
    }

    fn finish(mut self, id: u64, end: u64) -> StreamChart {
        let size = self.size;
        for grant in &mut self.grants {
            grant.to = grant.to.min(end);
            grant.end = grant.end.min(size);
        }
        let left_out = self.grants.len().saturating_sub(BOXES_MAX)
            + self.losses.len().saturating_sub(BOXES_MAX);
        self.grants.truncate(BOXES_MAX);
        self.losses.truncate(BOXES_MAX);
        let (grid, cells) = cells(&self.arrivals, end, size);
        StreamChart {
            id,
            size,
            grants: self.grants,
            losses: self.losses,
            cells,
            grid,
            cursor: thinned(&self.cursor),
            left_out,
        }
    }
}

impl LossBox {
    fn on_arrived(&mut self, at: u64, path: u64, range: ByteRange) {
        let bytes = self.missing.remove(range);
        if bytes == 0 {
            return;
        }
        match self.again.iter_mut().find(|(p, _)| *p == path) {
            Some((_, sum)) => *sum += bytes,
            None => self.again.push((path, bytes)),
        }
        if self.missing.is_empty() {
            self.until = Some(at);
        }
    }
}

/// The arrivals in a grid that is as fine as the number of cells allows.
fn cells(arrivals: &[(u64, u64, ByteRange)], end: u64, size: u64) -> ((u64, u64), Vec<Cells>) {
    let mut grid = GRID;
    loop {
        let cells = cells_of(arrivals, grid, end, size);
        let most = cells.iter().map(|cells| cells.cells.len()).max();
        if most.unwrap_or_default() <= CELLS_MAX || grid.0 <= 8 {
            return (grid, cells);
        }
        grid = (grid.0 * 3 / 4, grid.1 * 3 / 4);
    }
}

fn cells_of(
    arrivals: &[(u64, u64, ByteRange)],
    (columns, rows): (u64, u64),
    end: u64,
    size: u64,
) -> Vec<Cells> {
    let (width, height) = (end.div_ceil(columns).max(1), size.div_ceil(rows).max(1));
    let mut sums: BTreeMap<u64, BTreeMap<(u64, u64), u64>> = BTreeMap::new();
    for &(at, path, range) in arrivals {
        let sums = sums.entry(path).or_default();
        let (mut start, column) = (range.start(), at / width);
        while start < range.end() {
            let row = start / height;
            let next = ((row + 1) * height).min(range.end());
            *sums.entry((column, row)).or_default() += next - start;
            start = next;
        }
    }
    let list = |(path, sums): (u64, BTreeMap<(u64, u64), u64>)| Cells {
        path,
        cells: sums
            .into_iter()
            .map(|((c, r), bytes)| (c, r, bytes))
            .collect(),
    };
    sums.into_iter().map(list).collect()
}

/// Some of the points, the first and the last among them. Before each, the one that comes before it in
/// time is kept, so that a rest of the reader stays level.
fn thinned(points: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let step = points.len().div_ceil(CURSOR_MAX).max(1);
    let last = points.len().saturating_sub(1);
    let rests = |index: usize| {
        let gap = |a: usize, b: usize| Some(points.get(b)?.0 - points.get(a)?.0);
        let span = gap(0, last).unwrap_or_default();
        let after = gap(index, index + 1).unwrap_or_default();
        let before = index
            .checked_sub(1)
            .and_then(|previous| gap(previous, index));
        after.max(before.unwrap_or_default()) > span / 100
    };
    let keeps = |index: usize| index.is_multiple_of(step) || index == last || rests(index);
    let kept = points.iter().enumerate().filter(|(index, _)| keeps(*index));
    kept.map(|(_, point)| *point).collect()
}

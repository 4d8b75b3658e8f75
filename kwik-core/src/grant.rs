//! Who may write what, what of it is present, and what is lost: the client's ledger of grants.
//!
//! Owns every grant from the moment at which the primary gave it until both its final status is
//! told and its secondary has stopped writing. Never sees a frame, a carrier or a clock.

use std::collections::{BTreeMap, BTreeSet};

use smallvec::SmallVec;

use crate::ids::{ByteRange, GrantId, PathId, StreamId};
use crate::ranges::RangeSet;

/// Ranges in a whole list of what was written [CTL-9].
const RANGES_PER_LIST_MAX: usize = 16_384;

/// A handful of grants.
pub(crate) type GrantIds = SmallVec<[GrantId; 4]>;

/// All grants of one client session that have not ended.
#[derive(Default)]
pub(crate) struct Ledger {
    grants: BTreeMap<GrantId, Held>,
    by_stream: BTreeMap<StreamId, BTreeSet<GrantId>>,
    by_path: BTreeMap<PathId, PathGrants>,
    /// The highest id ever given.
    highest: Option<GrantId>,
}

/// The grants of one path.
#[derive(Default)]
struct PathGrants {
    ids: BTreeSet<GrantId>,
    /// How many of them have no final status.
    unanswered: usize,
    /// Bytes of its live grants that became present, whoever brought them, all of them ever counted.
    came: u64,
    /// The highest id that was given to the path: everything up to it has ended if it is not held.
    highest: Option<GrantId>,
}

/// One grant.
pub(crate) struct Held {
    pub(crate) path: PathId,
    pub(crate) stream: StreamId,
    /// The bytes that are wanted; shrinks when the grant is clipped.
    pub(crate) range: ByteRange,
    /// The bytes that the secondary was told it may write. Violations are judged by this [GRANT-9].
    forwarded: Option<ByteRange>,
    /// The end is the secondary's to say.
    open: bool,
    /// The bytes of `range` that are not present.
    missing: RangeSet,
    /// Bytes of `range` that came and were thrown away because copies differed: its secondary will
    /// not bring them again.
    discarded: RangeSet,
    /// Bytes of `range` that are present, as last reported.
    reported_present: u64,
    /// What the secondary said it has written; it writes no more.
    written: Option<RangeSet>,
    /// The list of `written` is whole.
    written_whole: bool,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The secondary may write.
    Live,
    /// Taken back, and the secondary has not said that it stopped. Late bytes still count.
    Draining,
    /// The final status is told; late bytes still fill holes until the secondary has stopped.
    Answered,
}

/// What the holder of a grant may do with the bytes it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Authority {
    /// They belong to this stream and must lie in this range.
    Granted(StreamId, ByteRange),
    /// As `Granted`, but the grant is reported lost: they count only where a live grant asks for
    /// them [GRANT-10].
    Late(StreamId, ByteRange),
    /// The grant has ended: its late bytes are dropped without blame.
    Ended,
    /// No such grant was ever given to this path.
    Never,
}

/// The end of a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Final {
    /// Every byte up to `end` is present.
    Done { end: u64 },
    /// The secondary wrote, or has been allowed, less than the grant.
    Short { end: u64, missing: RangeSet },
}

impl Ledger {
    /// Whether `grant` is higher than any before.
    pub(crate) fn is_new(&self, grant: GrantId) -> bool {
        self.highest.is_none_or(|highest| grant > highest)
    }

    /// Notes that an id was given, without holding the grant: it was answered at once.
    pub(crate) fn note(&mut self, grant: GrantId) {
        self.highest = self.highest.max(Some(grant));
    }

    /// Holds a new grant; `present` are the bytes of its range that the stream has already.
    pub(crate) fn give(&mut self, grant: GrantId, held: Held) {
        self.note(grant);
        let path = self.by_path.entry(held.path).or_default();
        path.ids.insert(grant);
        path.unanswered += 1;
        path.highest = path.highest.max(Some(grant));
        self.by_stream.entry(held.stream).or_default().insert(grant);
        self.grants.insert(grant, held);
    }

    pub(crate) fn get(&self, grant: GrantId) -> Option<&Held> {
        self.grants.get(&grant)
    }

    /// Grants of a path that have no final status.
    pub(crate) fn unanswered_on(&self, path: PathId) -> usize {
        self.by_path
            .get(&path)
            .map_or(0, |grants| grants.unanswered)
    }

    /// How many bytes of the path's grants ever became present while they were live.
    pub(crate) fn came_on(&self, path: PathId) -> u64 {
        self.by_path.get(&path).map_or(0, |grants| grants.came)
    }

    /// Grants of a path, answered or not.
    pub(crate) fn on_path(&self, path: PathId) -> impl Iterator<Item = (GrantId, &Held)> + '_ {
        let ids = self
            .by_path
            .get(&path)
            .into_iter()
            .flat_map(|grants| grants.ids.iter());
        ids.filter_map(|&id| self.grants.get(&id).map(|held| (id, held)))
    }

    /// Grants of a stream, answered or not.
    pub(crate) fn on_stream(
        &self,
        stream: StreamId,
    ) -> impl Iterator<Item = (GrantId, &Held)> + '_ {
        let ids = self.by_stream.get(&stream).into_iter().flatten();
        ids.filter_map(|&id| self.grants.get(&id).map(|held| (id, held)))
    }

    /// What `path` may do under the name of `grant`.
    pub(crate) fn authority(&self, path: PathId, grant: GrantId) -> Authority {
        let given = self.by_path.get(&path).and_then(|grants| grants.highest);
        match self.grants.get(&grant) {
            Some(held) if held.path == path => match held.forwarded {
                Some(range) if held.is_unanswered() => Authority::Granted(held.stream, range),
                Some(range) => Authority::Late(held.stream, range),
                None => Authority::Never,
            },
            // Ids rise over the session, so one at or below the path's highest that is not held has
            // ended, or was another path's: the secondary that uses that one gains nothing by it.
            None if given.is_some_and(|highest| grant <= highest) => Authority::Ended,
            Some(_) | None => Authority::Never,
        }
    }

    /// The grant was handed to the secondary, with this range.
    pub(crate) fn on_forwarded(&mut self, grant: GrantId, range: ByteRange) {
        if let Some(held) = self.grants.get_mut(&grant) {
            held.forwarded = Some(range);
        }
    }

    /// Bytes of a stream became present, whoever brought them. Returns the grants that this touched.
    pub(crate) fn on_present(&mut self, stream: StreamId, range: ByteRange) -> GrantIds {
        let mut touched = GrantIds::new();
        for id in self.by_stream.get(&stream).into_iter().flatten() {
            if let Some(held) = self.grants.get_mut(id)
                && held.range.overlaps(range)
            {
                let came = held.missing.remove(range);
                if came > 0 {
                    touched.push(*id);
                }
                if let Some(path) = self.by_path.get_mut(&held.path).filter(|_| held.is_live()) {
                    path.came = path.came.saturating_add(came);
                }
            }
        }
        touched
    }

    /// Bytes of a stream are missing again: copies of them differed. Returns the grants that this
    /// touched.
    pub(crate) fn on_reopened(&mut self, stream: StreamId, range: ByteRange) -> GrantIds {
        let mut touched = GrantIds::new();
        for id in self.by_stream.get(&stream).into_iter().flatten() {
            let Some(held) = self
                .grants
                .get_mut(id)
                .filter(|held| held.range.overlaps(range))
            else {
                continue;
            };
            let part = held.range.intersection(range);
            held.discarded.insert_all(&held.missing.missing_in(part));
            held.missing.insert(part);
            touched.push(*id);
        }
        touched
    }

    /// Whether a live grant asks for all of these bytes.
    pub(crate) fn asks_for(&self, stream: StreamId, range: ByteRange) -> bool {
        self.on_stream(stream)
            .any(|(_, held)| held.is_live() && held.range.contains(range))
    }

    /// How many gaps the bytes of a path have left in its own grants.
    pub(crate) fn gaps_on(&self, path: PathId) -> usize {
        self.on_path(path).map(|(_, held)| held.missing.len()).sum()
    }

    /// The secondary says what it has written. The list is whole unless `more` follows. False if
    /// the list is longer than any honest one [CTL-9].
    pub(crate) fn on_written(&mut self, grant: GrantId, ranges: &[ByteRange], more: bool) -> bool {
        let Some(held) = self.grants.get_mut(&grant) else {
            return true;
        };
        if held.written_whole {
            return true;
        }
        let written = held.written.get_or_insert_default();
        for range in ranges {
            written.insert(range.intersection(held.range));
        }
        held.written_whole = !more;
        if held.open && held.written_whole {
            held.open = false;
            let end = held
                .written
                .as_ref()
                .and_then(RangeSet::last)
                .map(ByteRange::end);
            held.clip(end.unwrap_or(held.range.start()));
        }
        held.written
            .as_ref()
            .is_none_or(|written| written.len() <= RANGES_PER_LIST_MAX)
    }

    /// Nothing is wanted at or above `end` any more. True if nothing at all is.
    pub(crate) fn clip(&mut self, grant: GrantId, end: u64) -> bool {
        self.grants.get_mut(&grant).is_some_and(|held| {
            held.clip(end);
            held.range.is_empty()
        })
    }

    /// The grant is taken back. True if it was live.
    pub(crate) fn drain(&mut self, grant: GrantId) -> bool {
        let Some(held) = self.grants.get_mut(&grant) else {
            return false;
        };
        let was_live = held.phase == Phase::Live;
        if was_live {
            held.phase = Phase::Draining;
        }
        was_live
    }

    /// The final status, if it is due and not told: all is present, or what was written is.
    pub(crate) fn due(&self, grant: GrantId) -> Option<Final> {
        let held = self.grants.get(&grant)?;
        if held.phase == Phase::Answered {
            return None;
        }
        if held.missing.is_empty() && !held.open {
            return Some(Final::Done {
                end: held.range.end(),
            });
        }
        held.has_stopped().then(|| held.short())
    }

    /// The final status as of now, whatever is still to come; `None` if it was told.
    pub(crate) fn cut_short(&self, grant: GrantId) -> Option<Final> {
        let held = self.grants.get(&grant)?;
        (held.phase != Phase::Answered).then(|| held.short())
    }

    /// The final status was told. The grant is held on while its secondary may still bring bytes that
    /// are missing.
    pub(crate) fn on_answered(&mut self, grant: GrantId) {
        let Some(held) = self.grants.get_mut(&grant) else {
            return;
        };
        if held.phase == Phase::Answered {
            return;
        }
        held.phase = Phase::Answered;
        let complete = held.missing.is_empty() && !held.open;
        let over = complete || held.forwarded.is_none() || held.has_stopped();
        if let Some(path) = self.by_path.get_mut(&held.path) {
            path.unanswered -= 1;
        }
        if over {
            self.forget(grant);
        }
    }

    /// The secondary writes no more under this name, or is no longer waited for.
    pub(crate) fn forget(&mut self, grant: GrantId) {
        let Some(held) = self.grants.remove(&grant) else {
            return;
        };
        if let Some(path) = self.by_path.get_mut(&held.path) {
            path.ids.remove(&grant);
            if held.phase != Phase::Answered {
                path.unanswered -= 1;
            }
        }
        if let Some(ids) = self.by_stream.get_mut(&held.stream) {
            ids.remove(&grant);
            if ids.is_empty() {
                self.by_stream.remove(&held.stream);
            }
        }
    }

    /// The path has ended: so have all its names.
    pub(crate) fn forget_path(&mut self, path: PathId) {
        self.by_path.remove(&path);
    }

    /// How many bytes are present, if that is news.
    pub(crate) fn progress(&mut self, grant: GrantId) -> Option<u64> {
        let held = self.grants.get_mut(&grant)?;
        if held.phase != Phase::Live || held.open {
            return None;
        }
        let present = held.range.len() - held.missing.bytes();
        let news = present > held.reported_present;
        held.reported_present = present;
        news.then_some(present)
    }
}

impl Held {
    /// A grant of `range`, of which `missing` is not present yet.
    pub(crate) fn new(
        path: PathId,
        stream: StreamId,
        range: ByteRange,
        open: bool,
        missing: RangeSet,
    ) -> Self {
        Self {
            path,
            stream,
            range,
            forwarded: None,
            open,
            missing,
            discarded: RangeSet::new(),
            reported_present: 0,
            written: None,
            written_whole: false,
            phase: Phase::Live,
        }
    }

    /// Whether the secondary may write and is to be heard about.
    pub(crate) fn is_unanswered(&self) -> bool {
        self.phase != Phase::Answered
    }

    pub(crate) fn is_live(&self) -> bool {
        self.phase == Phase::Live
    }

    pub(crate) fn is_forwarded(&self) -> bool {
        self.forwarded.is_some()
    }

    /// Whether this byte is wanted and not present.
    pub(crate) fn misses(&self, at: u64) -> bool {
        ByteRange::with_len(at, 1).is_some_and(|byte| self.missing.overlaps(byte))
    }

    /// The lowest byte that is wanted and not present.
    pub(crate) fn lowest_missing(&self) -> Option<u64> {
        self.missing.first().map(ByteRange::start)
    }

    /// How many bytes below `end` are wanted and not present, counted until there are `max`.
    pub(crate) fn missing_below(&self, end: u64, max: u64) -> u64 {
        let below = ByteRange::new(0, end).unwrap_or(self.range);
        let mut bytes = 0u64;
        for part in self.missing.iter() {
            if part.start() >= end || bytes >= max {
                break;
            }
            bytes = bytes.saturating_add(part.intersection(below).len());
        }
        bytes
    }

    /// Whether the secondary has said the last of what it has written.
    pub(crate) fn is_written_whole(&self) -> bool {
        self.written_whole
    }

    /// All that the secondary will ever bring has come.
    pub(crate) fn has_stopped(&self) -> bool {
        let awaited = |range: ByteRange| {
            let mut missing = self.missing.within(range);
            missing.remove_all(&self.discarded);
            !missing.is_empty()
        };
        self.written_whole
            && self
                .written
                .as_ref()
                .is_some_and(|written| !written.iter().any(awaited))
    }

    /// Whether bytes of it are missing because copies differed.
    pub(crate) fn is_disputed(&self) -> bool {
        self.missing
            .iter()
            .any(|range| self.discarded.overlaps(range))
    }

    /// The final status as of now, whatever is still to come.
    pub(crate) fn short(&self) -> Final {
        if !self.open {
            if self.missing.is_empty() {
                return Final::Done {
                    end: self.range.end(),
                };
            }
            return Final::Short {
                end: self.range.end(),
                missing: self.missing.clone(),
            };
        }
        // The highest byte present is where an open grant that failed has ended [GRANT-7].
        let tail = self
            .missing
            .last()
            .map_or(self.range.end(), ByteRange::start);
        let mut missing = self.missing.clone();
        missing.remove(ByteRange::from(tail));
        Final::Short { end: tail, missing }
    }

    fn clip(&mut self, end: u64) {
        let end = end.clamp(self.range.start(), self.range.end());
        self.missing.remove(ByteRange::from(end));
        self.range = self
            .range
            .intersection(ByteRange::new(0, end).unwrap_or(self.range));
    }
}

#[cfg(test)]
mod tests;

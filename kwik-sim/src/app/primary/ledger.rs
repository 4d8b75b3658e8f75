//! What becomes of the grants that the application gave: each has exactly one final status.
//!
//! Owns the record of one session, and the first thing in it that was wrong. Never gives a grant.

use std::collections::BTreeMap;

use kwik_core::ids::{ByteRange, GrantId, StreamId};
use kwik_core::ranges::RangeSet;

/// The grants of one session.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    grants: BTreeMap<GrantId, Entry>,
    /// What was wrong and was not taken note of.
    wrong: Option<String>,
}

/// A grant that was given.
#[derive(Debug)]
struct Entry {
    stream: StreamId,
    range: ByteRange,
    /// Whoever has it says where it ends, within the range.
    is_open: bool,
    is_over: bool,
}

impl Ledger {
    /// A grant of a range.
    pub(super) fn on_given(&mut self, grant: GrantId, stream: StreamId, range: ByteRange) {
        self.note_given(grant, stream, range, false);
    }

    /// An open grant, which is asked to end in this range.
    pub(super) fn on_given_open(&mut self, grant: GrantId, stream: StreamId, range: ByteRange) {
        self.note_given(grant, stream, range, true);
    }

    fn note_given(&mut self, grant: GrantId, stream: StreamId, range: ByteRange, is_open: bool) {
        let entry = Entry {
            stream,
            range,
            is_open,
            is_over: false,
        };
        if self.grants.insert(grant, entry).is_some() {
            self.note(format!(
                "grant {grant} of stream {stream} was given a second time"
            ));
        }
    }

    /// All of the grant is there. A fixed range ends where it does, also if it was taken back.
    pub(super) fn on_done(&mut self, grant: GrantId, end: u64) {
        self.on_final(grant, |entry| {
            let range = entry.range;
            let is_right = match entry.is_open {
                true => (range.start()..=range.end()).contains(&end),
                false => end == range.end(),
            };
            (!is_right).then(|| format!("of {range} is done at {end}"))
        });
    }

    /// Some of the grant is missing, and that is part of what was granted.
    pub(super) fn on_lost(&mut self, grant: GrantId, missing: &RangeSet) {
        self.on_final(grant, |entry| {
            let range = match entry.is_open {
                // It might have gone on for ever.
                true => ByteRange::from(entry.range.start()),
                false => entry.range,
            };
            let outside = missing.iter().find(|&part| !range.contains(part))?;
            Some(format!("of {range} misses {outside}"))
        });
    }

    fn on_final(&mut self, grant: GrantId, fault: impl FnOnce(&Entry) -> Option<String>) {
        let Some(entry) = self.grants.get_mut(&grant) else {
            return self.note(format!(
                "grant {grant} has a final status and was never given"
            ));
        };
        let stream = entry.stream;
        if std::mem::replace(&mut entry.is_over, true) {
            return self.note(format!(
                "grant {grant} of stream {stream} has a second final status"
            ));
        }
        if let Some(fault) = fault(entry) {
            self.note(format!("grant {grant} of stream {stream}: {fault}"));
        }
    }

    fn note(&mut self, wrong: String) {
        self.wrong.get_or_insert(wrong);
    }

    /// What was wrong, once.
    pub(super) fn take_wrong(&mut self) -> Option<String> {
        self.wrong.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRANT: GrantId = GrantId(7);

    fn range(start: u64, end: u64) -> ByteRange {
        ByteRange::new(start, end).expect("ordered")
    }

    /// What is wrong when a grant of 100 bytes behind the 50th has these statuses.
    fn wrong(statuses: impl FnOnce(&mut Ledger)) -> Option<String> {
        let mut ledger = Ledger::default();
        ledger.on_given(GRANT, StreamId(5), range(50, 150));
        statuses(&mut ledger);
        ledger.take_wrong()
    }

    #[test]
    fn one_final_status_in_the_range_is_right() {
        assert_eq!(wrong(|_| {}), None);
        assert_eq!(wrong(|ledger| ledger.on_done(GRANT, 150)), None);
        let some = [range(50, 60), range(149, 150)].into_iter().collect();
        assert_eq!(wrong(|ledger| ledger.on_lost(GRANT, &some)), None);
        assert_eq!(
            wrong(|ledger| ledger.on_lost(GRANT, &RangeSet::new())),
            None
        );
    }

    #[test]
    fn everything_else_is_wrong() {
        let is_wrong = |statuses: &dyn Fn(&mut Ledger)| {
            wrong(statuses).is_some_and(|wrong| wrong.contains("grant"))
        };
        assert!(is_wrong(&|ledger| ledger.on_done(GRANT, 149)));
        assert!(is_wrong(&|ledger| ledger.on_done(GRANT, 151)));
        assert!(is_wrong(&|ledger| ledger.on_done(GrantId(8), 150)));
        for outside in [range(49, 51), range(149, 151), range(0, 10)] {
            assert!(is_wrong(&|ledger| ledger.on_lost(GRANT, &outside.into())));
        }
        let none = RangeSet::new();
        assert!(is_wrong(&|ledger| ledger.on_lost(GrantId(6), &none)));
        assert!(is_wrong(&|ledger| {
            ledger.on_done(GRANT, 150);
            ledger.on_done(GRANT, 150);
        }));
        assert!(is_wrong(&|ledger| {
            ledger.on_lost(GRANT, &none);
            ledger.on_done(GRANT, 150);
        }));
        assert!(is_wrong(&|ledger| {
            ledger.on_given(GRANT, StreamId(5), range(50, 150));
        }));
    }
}

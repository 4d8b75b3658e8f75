//! Claims about grants at the client, one by one.

use super::*;

const STREAM: StreamId = StreamId(0);
const PATH: PathId = PathId(1);
const G: GrantId = GrantId(7);

fn range(start: u64, end: u64) -> ByteRange {
    ByteRange::new(start, end).expect("ordered")
}

fn set(ranges: &[(u64, u64)]) -> RangeSet {
    ranges
        .iter()
        .map(|&(start, end)| range(start, end))
        .collect()
}

fn ledger(extent: ByteRange, open: bool) -> Ledger {
    let mut ledger = Ledger::default();
    ledger.give(
        G,
        Held::new(PATH, STREAM, extent, open, RangeSet::from(extent)),
    );
    ledger.on_forwarded(G, extent);
    ledger
}

/// [GRANT-17]
#[test]
fn a_grant_is_done_when_its_bytes_are_present_from_whomever() {
    let mut ledger = ledger(range(10, 20), false);
    assert_eq!(ledger.on_present(STREAM, range(0, 15)).as_slice(), [G]);
    assert_eq!(ledger.due(G), None);
    ledger.on_present(STREAM, range(15, 30));
    assert_eq!(ledger.due(G), Some(Final::Done { end: 20 }));
    ledger.on_answered(G);
    assert_eq!(ledger.due(G), None, "a final status is told once");
    assert_eq!(ledger.unanswered_on(PATH), 0);
}

#[test]
fn grant_done_ends_nothing_before_its_bytes_are_present() {
    let mut ledger = ledger(range(10, 20), false);
    ledger.on_written(G, &[range(10, 14)], true);
    ledger.on_written(G, &[range(14, 18)], false);
    assert_eq!(ledger.due(G), None);
    ledger.on_present(STREAM, range(10, 18));
    let missing = set(&[(18, 20)]);
    assert_eq!(ledger.due(G), Some(Final::Short { end: 20, missing }));
}

/// [GRANT-2] [GRANT-7]
#[test]
fn an_open_grant_ends_where_its_secondary_says() {
    let mut ledger = ledger(ByteRange::from(100), true);
    ledger.on_present(STREAM, range(100, 150));
    assert_eq!(ledger.due(G), None);
    ledger.on_written(G, &[range(100, 160)], false);
    assert_eq!(ledger.due(G), None);
    ledger.on_present(STREAM, range(150, 160));
    assert_eq!(ledger.due(G), Some(Final::Done { end: 160 }));
}

#[test]
fn an_open_grant_that_wrote_nothing_ends_at_its_start() {
    let mut ledger = ledger(ByteRange::from(100), true);
    ledger.on_written(G, &[], false);
    assert_eq!(ledger.due(G), Some(Final::Done { end: 100 }));
}

/// [GRANT-19]
#[test]
fn a_lost_open_grant_reports_the_highest_byte_and_the_holes_below() {
    let mut ledger = ledger(ByteRange::from(100), true);
    ledger.on_present(STREAM, range(110, 120));
    let missing = set(&[(100, 110)]);
    assert_eq!(
        ledger.cut_short(G),
        Some(Final::Short { end: 120, missing })
    );
}

/// [GRANT-10]
#[test]
fn late_bytes_of_an_answered_grant_count_only_where_another_asks_for_them() {
    let mut ledger = ledger(range(10, 20), false);
    assert!(ledger.drain(G) && !ledger.drain(G));
    ledger.on_answered(G);
    assert_eq!(
        ledger.authority(PATH, G),
        Authority::Late(STREAM, range(10, 20))
    );
    assert!(!ledger.asks_for(STREAM, range(12, 14)));
    let other = Held::new(PathId(2), STREAM, range(12, 20), false, set(&[(12, 20)]));
    ledger.give(GrantId(8), other);
    assert!(ledger.asks_for(STREAM, range(12, 14)) && !ledger.asks_for(STREAM, range(11, 14)));
    ledger.on_written(G, &[], false);
    ledger.forget(G);
    assert_eq!(ledger.authority(PATH, G), Authority::Ended);
}

#[test]
fn a_name_that_was_never_given_has_no_authority() {
    let ledger = ledger(range(10, 20), false);
    assert_eq!(ledger.authority(PATH, GrantId(8)), Authority::Never);
    assert_eq!(ledger.authority(PathId(2), G), Authority::Never);
    assert_eq!(ledger.authority(PATH, GrantId(3)), Authority::Ended);
}

/// [GRANT-9]
#[test]
fn clipping_keeps_the_forwarded_range_for_judgement() {
    let mut ledger = ledger(range(10, 20), false);
    assert!(!ledger.clip(G, 15));
    assert_eq!(
        ledger.authority(PATH, G),
        Authority::Granted(STREAM, range(10, 20))
    );
    ledger.on_present(STREAM, range(10, 15));
    assert_eq!(ledger.due(G), Some(Final::Done { end: 15 }));
}

/// [GRANT-15]
#[test]
fn progress_is_told_only_when_it_is_news() {
    let mut ledger = ledger(range(10, 20), false);
    assert_eq!(ledger.progress(G), None);
    ledger.on_present(STREAM, range(10, 12));
    assert_eq!(ledger.progress(G), Some(2));
    assert_eq!(ledger.progress(G), None);
}

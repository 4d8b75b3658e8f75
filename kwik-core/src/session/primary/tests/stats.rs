//! What a session counts of its grants.

use bytes::Bytes;

use super::bench::{Bench, range};
use crate::path::RawTarget;
use crate::plan::{PlanSpec, Spread};
use crate::session::PrimaryStats;
use crate::wire::{GrantOutcome, LostReason};

/// [GRANT-3]
#[test]
fn every_grant_is_live_until_its_final_status_and_what_comes_behind_it_is_counted() {
    let mut bench = Bench::new();
    let (stream, path) = (bench.stream(), bench.path());
    assert_eq!(bench.session.stats(), PrimaryStats::default());
    let first = bench.delegate(stream, range(0, 100), path).expect("free");
    let second = bench.delegate(stream, range(100, 150), path).expect("free");
    let given = PrimaryStats {
        grants_given: 2,
        grants_live: 2,
        granted_bytes: 150,
        ..PrimaryStats::default()
    };
    assert_eq!(bench.session.stats(), given);
    bench.status(first, GrantOutcome::Progress { present: 10 });
    assert_eq!(bench.session.stats(), given);
    bench.done(first, 100);
    bench.lost(second, LostReason::Path, 150, &[range(110, 130)]);
    let ended = PrimaryStats {
        grants_live: 0,
        lost_bytes: 20,
        ..given
    };
    assert_eq!(bench.session.stats(), ended);
    bench.events();
    bench.done(first, 100);
    bench.lost(second, LostReason::Path, 150, &[range(110, 130)]);
    let late_statuses = 2;
    assert_eq!(
        bench.session.stats(),
        PrimaryStats {
            late_statuses,
            ..ended
        }
    );
    assert_eq!(bench.events(), [], "each final status is told once");
}

#[test]
fn an_open_grant_has_the_bytes_that_it_came_to() {
    let mut bench = Bench::new();
    let (stream, path) = (bench.stream(), bench.path());
    let (now, target) = (bench.now, RawTarget::Cursor(stream));
    let sent = bench
        .session
        .send_raw(now, path, target, Bytes::from_static(b"x"), &mut bench.quic);
    let grant = sent.expect("free").expect("a grant");
    let stats = bench.session.stats();
    assert_eq!((stats.grants_live, stats.granted_bytes), (1, 0));
    bench.done(grant, 70);
    let stats = bench.session.stats();
    assert_eq!((stats.grants_live, stats.granted_bytes), (0, 70));
}

#[test]
fn the_grants_of_a_plan_count_too() {
    let mut bench = Bench::new();
    let (stream, _) = (bench.stream(), bench.path());
    let spec = PlanSpec {
        command: Bytes::new(),
        spread: Spread::Pull,
    };
    let planned = bench
        .session
        .plan(bench.now, stream, range(0, 10 << 20), spec, &mut bench.quic);
    planned.expect("free");
    bench.max_offset(stream, 8 << 20);
    let given = bench.grants();
    let stats = bench.session.stats();
    assert!(!given.is_empty());
    assert_eq!(stats.grants_given, given.len() as u64);
    assert_eq!(stats.grants_live, given.len() as u64);
    let bytes = given.iter().map(|grant| grant.extent.range().len());
    assert_eq!(stats.granted_bytes, bytes.sum());
}

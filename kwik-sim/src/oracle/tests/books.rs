//! The books of grants and of bytes, and stillness.

use kwik_core::ids::{ByteRange, PathId};
use kwik_core::plan::Spread;

use super::*;
use crate::content::Content;

const RANGES: Delivery = Delivery::Delegate {
    range_bytes: 16 * KIB,
};

fn invariant(result: Result<(), Breach>) -> Result<(), &'static str> {
    result.map_err(|breach| breach.invariant)
}

/// Writes the answer of 64 KiB as the application would, and ends it.
fn answer(stage: &mut Stage, stream: StreamId) {
    let mut bytes = Content::new(1).make(stream.0, 0, 64 << 10);
    stage.on_primary(|primary| {
        let written = primary.write(stream, &mut bytes);
        assert_eq!(written, Ok(64 << 10));
        primary.finish(stream).expect("open");
    });
}

#[test]
fn the_status_of_a_grant_that_the_application_never_gave_is_seen() {
    let scenario = Scenario::new(1, 1, 64 * KIB);
    let found = found_in(&scenario, |stage, stream| {
        stage.on_primary(|primary| {
            let range = ByteRange::new(0, 1000).expect("ordered");
            let command = Bytes::from_static(b"behind its back");
            primary.delegate(stream, range, PathId(1), command)
        });
    });
    assert_eq!(found, Some("I3"));
}

#[test]
fn a_grant_without_a_final_status_is_seen_whoever_gave_it() {
    for delivery in [RANGES, Delivery::Plan(Spread::Pull)] {
        let mut scenario = Scenario::new(1, 1, 1024 * KIB);
        scenario.secondaries[0].conduct = Conduct::Mute;
        let mut stage = stage(&scenario, delivery);
        let oracle = Oracle::new(&scenario);
        stage.world.run_for(Duration::from_secs(1));
        assert!(stage.grants_owed() > 0);
        let owed = oracle.when_complete(&scenario, &mut stage);
        assert_eq!(invariant(owed), Err("I3"), "{delivery:?}");
    }
}

#[test]
fn bytes_that_no_application_gave_are_seen() {
    let scenario = Scenario::new(1, 0, 64 * KIB);
    let mut stage = stage(&scenario, Delivery::ByHand);
    let mut oracle = Oracle::new(&scenario);
    stage.world.run_for(Duration::from_millis(500));
    let (stream, _) = stage.primary_app().unanswered()[0];
    answer(&mut stage, stream);
    assert_eq!(watch(&mut oracle, &mut stage), None);
    assert!(stage.reader().done_at().is_some());
    let complete = oracle.when_complete(&scenario, &mut stage);
    assert_eq!(invariant(complete), Err("I3"));
}

#[test]
fn an_answer_that_does_not_come_is_seen_where_nothing_excuses_it() {
    let mut scenario = Scenario::new(1, 1, 64 * KIB);
    assert_eq!(found_in(&scenario, |_, _| {}), Some("I12"));
    scenario.secondaries[0].conduct = Conduct::Mute;
    assert_eq!(found_in(&scenario, |_, _| {}), None);
}

#[test]
fn a_slow_reader_and_a_slow_writer_do_not_stand_still() {
    let mut scenario = Scenario::new(1, 1, 256 * KIB);
    scenario.asks[0].pace = Pace::Slow {
        bytes: 10_000,
        every: Duration::from_millis(100),
    };
    scenario.secondaries[0].conduct = Conduct::Slow {
        bytes: 10_000,
        every: Duration::from_millis(500),
    };
    for delivery in [RANGES, Delivery::Plan(Spread::Pull)] {
        let (mut stage, mut oracle) = (stage(&scenario, delivery), Oracle::new(&scenario));
        assert!(oracle.stillness.is_some());
        assert_eq!(watch(&mut oracle, &mut stage), None);
        assert!(stage.reader().done_at().is_some());
        let complete = oracle.when_complete(&scenario, &mut stage);
        assert_eq!(complete, Ok(()));
    }
}

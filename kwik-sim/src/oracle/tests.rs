//! That a breach of each invariant is seen: in worlds in which somebody acts behind the backs of the
//! applications.

use std::ops::ControlFlow;
use std::time::Duration;

use bytes::Bytes;
use kwik_core::ids::StreamId;

use super::*;
use crate::app::{Conduct, Delivery, Pace};
use crate::stage::Setting;

const KIB: u64 = 1 << 10;

/// The world of a scenario, whose answers are shared out so.
fn stage(scenario: &Scenario, delivery: Delivery) -> Stage {
    let mut setting = Setting::new(scenario.seed, scenario.secondaries.len(), 0);
    setting.asks.clone_from(&scenario.asks);
    setting.delivery = delivery;
    let conducts = scenario.secondaries.iter().map(|server| server.conduct);
    setting.secondaries = conducts.collect();
    setting.marks = scenario.marks;
    setting.build()
}

/// Looks after every event until something is found, or half a minute has passed.
fn watch(oracle: &mut Oracle, stage: &mut Stage) -> Option<&'static str> {
    let limit = stage.world.time() + Duration::from_secs(30);
    while stage.world.step(limit).is_some() {
        let turned = stage.world.turned().to_vec();
        if let Err(breach) = oracle.after_step(stage, &turned) {
            return Some(breach.invariant);
        }
    }
    None
}

/// What is found when the primary answers by hand: `write` is given the stream of the answer.
fn found_when_answered(write: impl Fn(&mut Stage, StreamId)) -> Option<&'static str> {
    let scenario = Scenario::new(1, 0, 64 * KIB);
    found_in(&scenario, write)
}

fn found_in(scenario: &Scenario, write: impl Fn(&mut Stage, StreamId)) -> Option<&'static str> {
    let (mut stage, mut oracle) = (stage(scenario, Delivery::ByHand), Oracle::new(scenario));
    stage.world.run_for(Duration::from_secs(1));
    let (stream, _) = stage.primary_app().unanswered()[0];
    write(&mut stage, stream);
    watch(&mut oracle, &mut stage)
}

#[test]
fn an_honest_answer_breaks_nothing() {
    for delivery in [
        Delivery::Plain,
        Delivery::Delegate {
            range_bytes: 16 * KIB,
        },
    ] {
        let scenario = Scenario::new(1, 2, 256 * KIB);
        let (mut stage, mut oracle) = (stage(&scenario, delivery), Oracle::new(&scenario));
        assert_eq!(watch(&mut oracle, &mut stage), None);
        assert!(stage.reader().done_at().is_some());
        assert_eq!(oracle.when_complete(&scenario, &mut stage), Ok(()));
        assert_eq!(oracle.check_blame(&scenario, &stage), Ok(()));
    }
}

#[test]
fn wrong_bytes_are_seen() {
    let found = found_when_answered(|stage, stream| {
        stage.on_primary(|primary| primary.write(stream, &mut Bytes::from_static(b"wrong")));
    });
    assert_eq!(found, Some("I1"));
}

#[test]
fn an_answer_that_ends_too_soon_is_seen() {
    let found = found_when_answered(|stage, stream| {
        stage.on_primary(|primary| primary.finish(stream));
    });
    assert_eq!(found, Some("I4"));
}

#[test]
fn bytes_that_the_reader_was_not_given_are_seen() {
    let mut scenario = Scenario::new(1, 0, 256 * KIB);
    scenario.asks[0].pace = Pace::Rest {
        after: 10 * KIB,
        length: Duration::from_secs(5),
    };
    let (mut stage, mut oracle) = (stage(&scenario, Delivery::Plain), Oracle::new(&scenario));
    stage.run_until_bytes(10 * KIB, Duration::from_secs(10));
    stage.world.run_for(Duration::from_secs(1));
    let stream = stage.reader().accepted()[0];
    let read =
        stage.on_client(|client| client.read(stream, 100, &mut |_| ControlFlow::Continue(())));
    assert!(matches!(read, Some(Ok(_))), "{read:?}");
    assert_eq!(watch(&mut oracle, &mut stage), Some("I2"));
}

#[test]
fn a_stream_that_nobody_opened_is_seen() {
    let scenario = Scenario::new(1, 0, 64 * KIB);
    let (mut stage, mut oracle) = (stage(&scenario, Delivery::Plain), Oracle::new(&scenario));
    stage.run_until_bytes(KIB, Duration::from_secs(10));
    stage.on_primary(|primary| primary.open_stream());
    assert_eq!(watch(&mut oracle, &mut stage), Some("I5"));
}

#[test]
fn bytes_beyond_what_was_granted_are_seen() {
    let scenario = Scenario::new(1, 1, 256 * KIB);
    let delivery = Delivery::Delegate {
        range_bytes: 16 * KIB,
    };
    let (mut stage, mut oracle) = (stage(&scenario, delivery), Oracle::new(&scenario));
    // A secondary whose grants nobody took note of had none.
    stage.run_until_bytes(64 * KIB, Duration::from_secs(10));
    stage.world.crash(stage.secondaries[0]);
    assert_eq!(watch(&mut oracle, &mut stage), Some("I6"));
}

#[test]
fn more_than_the_window_is_seen() {
    let scenario = Scenario::new(1, 2, 1024 * KIB);
    let delivery = Delivery::Delegate {
        range_bytes: 16 * KIB,
    };
    let (mut stage, mut oracle) = (stage(&scenario, delivery), Oracle::new(&scenario));
    oracle.bounds.window_bytes = KIB;
    assert_eq!(watch(&mut oracle, &mut stage), Some("I7"));
}

#[test]
fn what_is_left_of_a_session_is_seen() {
    let mut scenario = Scenario::new(1, 1, 256 * KIB);
    scenario.secondaries[0].conduct = Conduct::Mute;
    let delivery = Delivery::Delegate {
        range_bytes: 16 * KIB,
    };
    let (mut stage, oracle) = (stage(&scenario, delivery), Oracle::new(&scenario));
    stage.world.run_for(Duration::from_secs(1));
    let owed = oracle
        .when_complete(&scenario, &mut stage)
        .map_err(|b| b.invariant);
    assert_eq!(owed, Err("I3"));
    let left = oracle
        .at_end(&scenario, &mut stage)
        .map_err(|b| b.invariant);
    assert_eq!(left, Err("I9"));
}

#[test]
fn a_secondary_that_is_blamed_for_nothing_is_seen() {
    let scenario = Scenario::new(1, 1, 256 * KIB);
    let delivery = Delivery::Delegate {
        range_bytes: 16 * KIB,
    };
    let (mut stage, oracle) = (stage(&scenario, delivery), Oracle::new(&scenario));
    stage.run_until_bytes(64 * KIB, Duration::from_secs(10));
    // The whole session is closed with a code that blames.
    stage.on_client(|client| client.close(code::GRANT));
    stage.world.run_for(Duration::from_secs(1));
    let blamed = oracle
        .check_blame(&scenario, &stage)
        .map_err(|b| b.invariant);
    assert_eq!(blamed, Err("I6"));
}

mod books;
mod marked;

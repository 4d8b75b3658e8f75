//! Worlds in which each server writes a content of its own.

use kwik_core::ids::GrantId;
use kwik_core::plan::Spread;
use kwik_core::wire::{SegmentHeader, SegmentOwner};

use super::*;
use crate::content::Content;

const DELIVERIES: [Delivery; 2] = [
    Delivery::Plan(Spread::Pull),
    Delivery::Delegate {
        range_bytes: 10_007,
    },
];

fn marked(secondaries: usize) -> Scenario {
    let mut scenario = Scenario::new(1, secondaries, 256 * KIB);
    scenario.marks = true;
    scenario
}

/// Bytes of a stream that bear the mark of a secondary.
fn bytes_of(stage: &Stage, index: usize) -> u64 {
    let of_stream = stage.reader().streams().map(|(_, read)| {
        let seen = read.marked.of(index);
        seen.map_or(0, RangeSet::bytes)
    });
    of_stream.sum()
}

#[test]
fn every_secondary_is_known_by_its_bytes() {
    for delivery in DELIVERIES {
        let scenario = marked(3);
        let (mut stage, mut oracle) = (stage(&scenario, delivery), Oracle::new(&scenario));
        assert_eq!(watch(&mut oracle, &mut stage), None);
        assert!(stage.reader().done_at().is_some());
        assert_eq!(oracle.check_blame(&scenario, &stage), Ok(()));
        let paths = stage.paths();
        assert!((0..3).any(|index| bytes_of(&stage, index) > 10_000));
        for index in 0..3 {
            let brought = paths[index + 1].received_bytes;
            let seen = bytes_of(&stage, index);
            // A byte in a hundred at the borders of datagrams is like another's.
            assert!(
                seen <= brought && seen * 100 >= brought * 98,
                "{seen} of {brought}"
            );
        }
    }
}

#[test]
fn bytes_outside_of_the_grants_of_their_writer_are_seen() {
    for delivery in DELIVERIES {
        let scenario = marked(2);
        let (mut stage, mut oracle) = (stage(&scenario, delivery), Oracle::new(&scenario));
        assert_eq!(watch(&mut oracle, &mut stage), None);
        assert_eq!(oracle.check_blame(&scenario, &stage), Ok(()));
        // Secondaries whose grants nobody took note of had none.
        let ignorant = Oracle::new(&scenario);
        let found = ignorant.check_blame(&scenario, &stage);
        assert_eq!(found.map_err(|b| b.invariant), Err("I6"));
    }
}

#[test]
fn a_header_in_the_stream_is_seen() {
    let found = found_in(&marked(2), |stage, stream| {
        let header = SegmentHeader {
            owner: SegmentOwner::Grant(GrantId(0)),
            offset: 0,
        };
        let mut bytes = Bytes::copy_from_slice(&header.encode());
        stage.on_primary(|primary| primary.write(stream, &mut bytes));
    });
    assert_eq!(found, Some("I1"));
}

#[test]
fn bytes_that_are_shifted_by_one_are_seen() {
    let content = Content::new(1);
    for writer in [content, content.marked(0), content.marked(1)] {
        let found = found_in(&marked(2), |stage, stream| {
            let mut bytes = writer.make(stream.0, 1, 100);
            stage.on_primary(|primary| primary.write(stream, &mut bytes));
        });
        assert_eq!(found, Some("I1"));
    }
}

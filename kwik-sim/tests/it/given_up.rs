//! Answers that somebody gives up before their end: by the client, by the primary, and before they were
//! asked for.

use std::time::Duration;

use kwik_core::plan::Spread;
use kwik_sim::app::{AnswerOn, Ask, Delivery, Ends, Request, StreamRead};
use kwik_sim::outcome::Ending;
use kwik_sim::scenario::Sharing;
use kwik_sim::{CryptoMode, Scenario, Setting, Stage, trial};

use crate::SECOND;

const KIB: u64 = 1 << 10;
const BYTES: u64 = 512 * KIB;
const CODE: u64 = 77;

const DELIVERIES: [Delivery; 4] = [
    Delivery::Plan(Spread::Pull),
    Delivery::Plain,
    Delivery::Plan(Spread::Rotate {
        range_bytes: 16 * KIB,
    }),
    Delivery::Delegate {
        range_bytes: 16 * KIB,
    },
];

fn ask(answer_on: AnswerOn, ends: Ends) -> Ask {
    Ask {
        ends,
        ..Ask::new(Request {
            bytes: BYTES,
            answer_on,
        })
    }
}

/// Two answers, of which the first ends so; returns what was read of the first.
fn lives(delivery: Delivery, answer_on: AnswerOn, ends: Ends) -> (Stage, StreamRead) {
    let mut setting = Setting::new(1, 2, 0).delivery(delivery);
    setting.asks = vec![ask(answer_on, ends), ask(AnswerOn::SameStream, Ends::Whole)];
    let mut stage = setting.build();
    stage.run_to_end(20 * SECOND);
    assert_eq!(stage.reader().fault(), None, "{delivery:?} {ends:?}");
    assert!(stage.reader().done_at().is_some(), "{delivery:?} {ends:?}");
    stage.world.run_for(2 * SECOND);
    assert_eq!(stage.primary_app().unexcused(), None);
    assert_eq!(stage.grants_owed(), 0);
    let streams: Vec<_> = stage.reader().streams().collect();
    let whole = streams.iter().filter(|(_, read)| !read.gave_up);
    assert_eq!(whole.map(|(_, read)| read.bytes).sum::<u64>(), BYTES);
    let mut given_up = streams.iter().filter(|(_, read)| read.gave_up);
    let read = given_up.next().expect("one was given up").1.clone();
    assert!(given_up.next().is_none());
    (stage, read)
}

#[test]
fn a_client_that_has_enough_stops_an_answer_and_the_primary_hears_its_code() {
    for delivery in DELIVERIES {
        for answer_on in [AnswerOn::OwnStream, AnswerOn::SameStream] {
            for percent in [0, 30, 99] {
                let code = CODE;
                let (stage, read) = lives(delivery, answer_on, Ends::Stopped { percent, code });
                assert_eq!(read.bytes, BYTES * u64::from(percent) / 100);
                let stopped = stage.primary_app().stopped();
                assert!(matches!(stopped, [(_, CODE)]), "{delivery:?}: {stopped:?}");
            }
        }
    }
}

#[test]
fn a_primary_that_gives_up_an_answer_ends_it_with_its_code() {
    for delivery in DELIVERIES {
        for millis in [0, 20, 45, 3000] {
            let after = Duration::from_millis(millis);
            let ends = Ends::Reset { after, code: CODE };
            let (stage, read) = lives(delivery, AnswerOn::OwnStream, ends);
            let gave_up = stage.primary_app().gave_up();
            assert!(matches!(gave_up, [(_, CODE)]), "{delivery:?}: {gave_up:?}");
            match millis {
                // No more than the first flight, which was under way.
                0 => assert!(read.bytes < 16 * KIB, "{}", read.bytes),
                // Not before it had to: nobody was told the end.
                3000 => assert!(read.ended_at >= Some(after)),
                _ => assert!(read.bytes < BYTES, "{delivery:?}"),
            }
        }
    }
}

#[test]
fn a_request_that_is_taken_back_is_answered_with_its_code_alone() {
    for answer_on in [AnswerOn::OwnStream, AnswerOn::SameStream] {
        let ends = Ends::TakenBack { code: CODE };
        let (_, read) = lives(Delivery::Plan(Spread::Pull), answer_on, ends);
        assert_eq!(read.bytes, 0);
    }
}

/// The whole trial: the other answers, the grants of the stream, and what is left when all is closed.
#[test]
fn nothing_is_left_of_an_answer_that_was_given_up() {
    let code = CODE;
    let (after, percent) = (Duration::from_millis(50), 40);
    let mut scenario = Scenario::new(3, 3, BYTES);
    scenario.asks = vec![
        ask(AnswerOn::OwnStream, Ends::Stopped { percent, code }),
        ask(AnswerOn::SameStream, Ends::Reset { after, code }),
        ask(AnswerOn::OwnStream, Ends::TakenBack { code }),
        ask(AnswerOn::OwnStream, Ends::Whole),
    ];
    let range_bytes = 16 * KIB;
    for sharing in [
        Sharing::Pull,
        Sharing::Alone,
        Sharing::Rotate { range_bytes },
        Sharing::Delegate {
            range_bytes,
            revokes: None,
        },
    ] {
        scenario.sharing = sharing;
        let text = scenario.to_text();
        assert_eq!(Scenario::from_text(&text).as_ref(), Ok(&scenario), "{text}");
        let outcome = trial::run(&scenario, CryptoMode::Null);
        assert_eq!(outcome.failure, None, "{sharing:?}");
        assert_eq!(outcome.ending, Ending::Complete);
        for name in ["stopped", "reset", "taken-back"] {
            assert!(outcome.met.contains(&name), "{:?}", outcome.met);
        }
    }
}

//! Plain streams, and the session itself.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::bench::{Bench, CONTROL, bidi, uni};
use crate::carrier::{CarrierEnd, Carriers, DownCause, Input, Output, ReadState};
use crate::error::{CloseReason, Misuse, StreamError, Violation, code};
use crate::event::{PrimaryEvent, StreamEvent};
use crate::ids::{PathId, StreamId};
use crate::wire::{
    ControlFrame, GrantOutcome, Hello, MaxOffset, PathStatus, PathStatusState, StreamDone,
};

impl Bench {
    fn read(&mut self, stream: StreamId) -> Result<(Vec<u8>, ReadState), StreamError> {
        let mut read = Vec::new();
        let sink = &mut |chunk: Bytes| {
            read.extend_from_slice(&chunk);
            ControlFlow::Continue(())
        };
        let state = self
            .session
            .read(self.now, stream, usize::MAX, sink, &mut self.quic)?;
        Ok((read, state))
    }
}

/// [STR-2]
#[test]
fn a_stream_of_ours_begins_with_one_preamble_byte_at_once() {
    let mut bench = Bench::new();
    let stream = bench.stream();
    assert_eq!(bench.carrier(stream).sent, [0]);
    assert_eq!(bench.write(stream, 3), 3);
    assert_eq!(bench.carrier(stream).sent, [0, 1, 1, 1]);
    bench.finish(stream).expect("finish");
    assert!(bench.carrier(stream).finished);
    assert!(bench.frames().is_empty(), "a plain stream costs no frame");
    bench.input(Input::Finished(bidi(stream)));
    assert_eq!(
        bench.events(),
        [PrimaryEvent::Stream(StreamEvent::Finished(stream))]
    );
}

#[test]
fn a_preamble_that_quic_did_not_take_goes_before_the_first_byte_and_before_the_end() {
    let mut bench = Bench::new();
    bench.quic.room = 0;
    let stream = bench.stream();
    assert_eq!(bench.write(stream, 2), 0);
    bench.quic.room = 100;
    bench.input(Input::Writable(bidi(stream)));
    assert_eq!(
        bench.events(),
        [PrimaryEvent::Stream(StreamEvent::Writable(stream))]
    );
    assert_eq!(bench.write(stream, 2), 2);
    assert_eq!(bench.carrier(stream).sent, [0, 1, 1]);

    bench.quic.room = 0;
    let empty = bench.stream();
    bench.finish(empty).expect("finish");
    assert!(!bench.carrier(empty).finished);
    bench.quic.room = 100;
    bench.input(Input::Writable(bidi(empty)));
    assert_eq!(bench.carrier(empty).sent, [0]);
    assert!(bench.carrier(empty).finished);
}

#[test]
fn a_short_write_is_told_of_once_it_can_go_on() {
    let mut bench = Bench::new();
    let stream = bench.stream();
    bench.quic.room = 5;
    assert_eq!(bench.write(stream, 8), 5);
    assert!(bench.events().is_empty());
    bench.quic.room = 100;
    bench.input(Input::Writable(bidi(stream)));
    bench.input(Input::Writable(bidi(stream)));
    assert_eq!(
        bench.events(),
        [PrimaryEvent::Stream(StreamEvent::Writable(stream))]
    );
}

#[test]
fn a_stream_of_the_client_is_accepted_read_and_answered() {
    let mut bench = Bench::new();
    let stream = bench.client_stream(4, b"request");
    assert_eq!(bench.events(), [PrimaryEvent::Stream(StreamEvent::Opened)]);
    assert_eq!(bench.session.accept_stream(), Some(stream));
    assert_eq!(bench.session.accept_stream(), None);
    let read = bench.read(stream).expect("read");
    assert_eq!(read, (b"request".to_vec(), ReadState::Finished));
    assert_eq!(bench.write(stream, 2), 2);
    assert_eq!(bench.carrier(stream).sent, [1, 1], "no preamble");
    bench.finish(stream).expect("finish");
    bench.input(Input::Finished(bidi(stream)));
    // Both halves are over: nothing is left of it.
    assert_eq!(
        bench.read(stream),
        Err(Misuse::UnknownStream(stream).into())
    );
}

#[test]
fn readiness_to_read_is_told_again_only_after_a_read_came_up_short() {
    let mut bench = Bench::new();
    let stream = bench.stream();
    bench.input(Input::Readable(bidi(stream)));
    bench.input(Input::Readable(bidi(stream)));
    assert_eq!(
        bench.events(),
        [PrimaryEvent::Stream(StreamEvent::Readable(stream))]
    );
    assert_eq!(bench.read(stream).expect("read").1, ReadState::Blocked);
    bench.input(Input::Readable(bidi(stream)));
    assert_eq!(
        bench.events(),
        [PrimaryEvent::Stream(StreamEvent::Readable(stream))]
    );
}

#[test]
fn a_refused_stream_is_told_of_once_there_is_credit() {
    let mut bench = Bench::new();
    bench.quic.bidi_credit = 0;
    assert_eq!(
        bench.session.open_stream(bench.now, &mut bench.quic),
        Ok(None)
    );
    bench.input(Input::BidiCredit(PathId::PRIMARY));
    bench.input(Input::BidiCredit(PathId::PRIMARY));
    assert_eq!(
        bench.events(),
        [PrimaryEvent::Stream(StreamEvent::Available)]
    );
}

/// [STR-4]
#[test]
fn a_stopped_stream_is_reset_and_says_so() {
    let mut bench = Bench::new();
    let stream = bench.stream();
    bench.stop(bidi(stream), 42);
    assert_eq!(bench.carrier(stream).reset, Some(42));
    let stopped = StreamEvent::Stopped { stream, code: 42 };
    assert_eq!(bench.events(), [PrimaryEvent::Stream(stopped)]);
    assert_eq!(bench.try_write(stream, 1), Err(StreamError::Stopped(42)));
    assert_eq!(bench.finish(stream), Err(StreamError::Stopped(42)));
}

/// [STR-4]
#[test]
fn finish_of_a_stream_that_was_stopped_unnoticed_resets_it() {
    let mut bench = Bench::new();
    let stream = bench.stream();
    bench.quic.stop_unnoticed(stream, 42);
    assert_eq!(bench.finish(stream), Err(StreamError::Stopped(42)));
    assert_eq!(bench.carrier(stream).reset, Some(42));
}

/// A stop that changes nothing is refused, as at the client.
#[test]
fn a_receiving_half_that_has_ended_cannot_be_stopped() {
    let mut bench = Bench::new();
    let stop = |bench: &mut Bench, stream, code| {
        let (now, quic) = (bench.now, &mut bench.quic);
        bench.session.stop(now, stream, code, quic)
    };
    let stream = bench.stream();
    assert_eq!(stop(&mut bench, stream, 1), Ok(()));
    let unknown = Err(Misuse::UnknownStream(stream));
    assert_eq!(stop(&mut bench, stream, 2), unknown);
    assert_eq!(bench.carrier(stream).stopped, Some(1));
    assert_eq!(bench.write(stream, 3), 3, "this end still sends");
}

#[test]
fn stop_and_reset_end_both_halves() {
    let mut bench = Bench::new();
    let stream = bench.stream();
    bench
        .session
        .stop(bench.now, stream, 1, &mut bench.quic)
        .expect("stop");
    bench
        .session
        .reset(bench.now, stream, 2, &mut bench.quic)
        .expect("reset");
    assert_eq!(bench.carrier(stream).stopped, Some(1));
    assert_eq!(bench.carrier(stream).reset, Some(2));
    assert_eq!(
        bench.session.reset(bench.now, stream, 2, &mut bench.quic),
        Err(Misuse::UnknownStream(stream))
    );
}

#[test]
fn a_client_that_breaks_the_protocol_loses_the_session() {
    let frames = [
        (
            ControlFrame::Hello(Hello {
                join_key_thumbprint: [0; 32],
            }),
            code::UNEXPECTED,
        ),
        (
            ControlFrame::MaxOffset(MaxOffset {
                stream: StreamId(5),
                offset: 1,
            }),
            code::STREAM,
        ),
        (
            ControlFrame::StreamDone(StreamDone {
                stream: StreamId(8),
            }),
            code::STREAM,
        ),
        (
            ControlFrame::PathStatus(PathStatus {
                path: PathId(1),
                state: PathStatusState::Active,
            }),
            code::UNEXPECTED,
        ),
        (
            ControlFrame::GrantStatus(crate::wire::GrantStatus {
                grant: crate::ids::GrantId(0),
                outcome: GrantOutcome::Progress { present: 1 },
            }),
            code::UNEXPECTED,
        ),
    ];
    for (frame, code) in frames {
        let mut bench = Bench::new();
        bench.client(&frame);
        assert_eq!(
            bench.outputs(),
            [Output::Close {
                path: PathId::PRIMARY,
                code
            }],
            "{frame:?}"
        );
        assert!(bench.session.is_closed());
        let events = bench.events();
        assert!(
            matches!(
                events[..],
                [PrimaryEvent::Closed(CloseReason::Violation(_))]
            ),
            "{events:?}"
        );
    }
}

#[test]
fn a_client_may_not_open_segments() {
    let mut bench = Bench::new();
    bench.input(Input::Opened(uni(2)));
    let violation = Violation::Unexpected("segment of a client");
    assert_eq!(
        bench.events(),
        [PrimaryEvent::Closed(CloseReason::Violation(violation))]
    );
}

#[test]
fn nothing_happens_after_the_end_of_the_session() {
    let mut bench = Bench::new();
    let stream = bench.stream();
    let cause = DownCause::TimedOut;
    bench.input(Input::PathDown {
        path: PathId::PRIMARY,
        cause,
    });
    assert_eq!(
        bench.events(),
        [PrimaryEvent::Closed(CloseReason::TimedOut)]
    );
    bench.input(Input::Readable(CONTROL));
    bench.input(Input::Writable(bidi(stream)));
    let lost = StreamError::SessionLost(CloseReason::TimedOut);
    assert_eq!(bench.try_write(stream, 1), Err(lost.clone()));
    assert_eq!(bench.read(stream), Err(lost));
    assert_eq!(
        bench.session.open_stream(bench.now, &mut bench.quic),
        Err(Misuse::Closed)
    );
    bench
        .session
        .close(bench.now, code::NO_ERROR, &mut bench.quic);
    assert!(bench.events().is_empty() && bench.outputs().is_empty());
}

#[test]
fn close_is_carried_out_once() {
    let mut bench = Bench::new();
    bench.session.close(bench.now, 7, &mut bench.quic);
    bench.session.close(bench.now, 8, &mut bench.quic);
    assert_eq!(
        bench.outputs(),
        [Output::Close {
            path: PathId::PRIMARY,
            code: 7
        }]
    );
    assert_eq!(bench.events(), [PrimaryEvent::Closed(CloseReason::Local)]);
}

#[test]
fn a_carrier_that_is_gone_is_no_panic() {
    let mut bench = Bench::new();
    let stream = bench.stream();
    bench.quic.carriers.remove(&stream.0);
    assert!(matches!(
        bench.try_write(stream, 1),
        Err(StreamError::SessionLost(_))
    ));
    assert_eq!(bench.quic.finish(bidi(stream)), Err(CarrierEnd::Gone));
}

//! What had arrived when a client's session was lost.

use super::stage::{CLIENT, PRIMARY, SESSION, Stage};
use super::*;
use crate::carrier::ReadState;
use crate::error::Misuse;

/// Reads what there is, and how it goes on.
fn read(stage: &mut Stage, stream: StreamId) -> (Vec<u8>, Result<ReadState, StreamError>) {
    let (now, mut bytes) = (stage.wire.now(), Vec::new());
    let client = stage.endpoint(CLIENT).client(now, SESSION);
    let state = client
        .expect("kept")
        .read(stream, usize::MAX, &mut |chunk| {
            bytes.extend_from_slice(&chunk);
            ControlFlow::Continue(())
        });
    (bytes, state)
}

/// The primary writes on two streams, ends one of them, and is gone before anything was read.
fn lost() -> (Stage, [StreamId; 2]) {
    let mut stage = Stage::new(&Config::default(), Duration::from_millis(5));
    let now = stage.wire.now();
    let endpoint = stage.endpoint(PRIMARY);
    let mut primary = endpoint.primary(now, SESSION).expect("open");
    let streams = [(); 2].map(|()| primary.open_stream().expect("open").expect("credit"));
    for stream in streams {
        let mut data = Bytes::from_static(b"what was said");
        primary.write(stream, &mut data).expect("written");
    }
    primary.finish(streams[0]).expect("open");
    stage.run(Duration::from_millis(100));
    let now = stage.wire.now();
    stage.endpoint(PRIMARY).close(now, SESSION, code::NO_ERROR);
    stage.run(Duration::from_secs(5));
    let closed = EventKind::Client(ClientEvent::Closed(CloseReason::Peer(code::NO_ERROR)));
    let events = &stage.driven(CLIENT).events;
    assert!(events.iter().any(|event| event.kind == closed));
    (stage, streams)
}

/// Whoever reads a little later than it arrived gets it all the same.
#[test]
fn what_had_arrived_is_read_before_the_loss_of_the_session_is_told() {
    let (mut stage, [ended, cut]) = lost();
    assert_eq!(stage.endpoint(CLIENT).sessions(), 1);
    let said = b"what was said".to_vec();
    assert_eq!(
        read(&mut stage, ended),
        (said.clone(), Ok(ReadState::Finished))
    );
    assert_eq!(read(&mut stage, cut), (said, Ok(ReadState::More)));
    let lost = StreamError::SessionLost(CloseReason::Peer(code::NO_ERROR));
    assert_eq!(read(&mut stage, cut), (Vec::new(), Err(lost)));
    stage.run(Duration::from_millis(1));
    assert_eq!(stage.endpoint(CLIENT).sessions(), 0, "nothing is left");
    assert!(stage.endpoint(CLIENT).poll_timeout().is_none());
}

/// What nobody reads is kept for a while, or as long as somebody may want it.
#[test]
fn what_had_arrived_is_not_kept_for_ever() {
    let (mut stage, _) = lost();
    stage.run(Config::default().client.leftover_max);
    assert_eq!(stage.endpoint(CLIENT).sessions(), 0);

    let (mut stage, streams) = lost();
    let now = stage.wire.now();
    for stream in streams {
        let mut client = stage.endpoint(CLIENT).client(now, SESSION).expect("kept");
        client.stop(stream, 0).expect("open");
    }
    stage.run(Duration::from_millis(1));
    assert_eq!(stage.endpoint(CLIENT).sessions(), 0);

    let (mut stage, _) = lost();
    let now = stage.wire.now();
    stage.endpoint(CLIENT).close(now, SESSION, code::NO_ERROR);
    stage.run(Duration::from_millis(1));
    assert_eq!(stage.endpoint(CLIENT).sessions(), 0);
}

/// What a session has ended with cannot be changed any more; what is left of it is for readers alone.
#[test]
fn a_session_that_is_lost_takes_no_reset_and_no_stop_but_of_what_is_left() {
    let (mut stage, [ended, _]) = lost();
    let now = stage.wire.now();
    let mut client = stage.endpoint(CLIENT).client(now, SESSION).expect("kept");
    assert_eq!(client.reset(ended, 1), Err(Misuse::Closed));
    assert_eq!(client.stop(ended, 1), Ok(()), "it was left");
    assert_eq!(client.stop(ended, 1), Err(Misuse::Closed));
    assert_eq!(client.stop(StreamId(77), 1), Err(Misuse::Closed));
    let (bytes, state) = read(&mut stage, ended);
    assert!(bytes.is_empty());
    assert!(matches!(state, Err(StreamError::SessionLost(_))));
}

//! The forms that an embedder turns by hand.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kwik_core::carrier::{DialTarget, Now, ReadState};
use kwik_core::endpoint::Endpoint;
use kwik_core::event::{ClientEvent, Event, EventKind, PrimaryEvent, StreamEvent};
use kwik_core::ids::{SessionHandle, StreamId};
use kwik_mio::mio::{Events, Poll, Token};
use kwik_mio::{Driver, Port, kwik_core};

use crate::fixtures::*;

const BYTES: usize = 1 << 20;

/// Echoes whatever clients send, without ever waiting.
#[derive(Default)]
struct Echo {
    unsent: BTreeMap<(SessionHandle, StreamId), Bytes>,
}

impl Echo {
    fn on_event(&mut self, endpoint: &mut Endpoint, now: Now, event: &Event) {
        let EventKind::Primary(PrimaryEvent::Stream(kind)) = event.kind else {
            return;
        };
        let session = event.session;
        match kind {
            StreamEvent::Opened => loop {
                let mut primary = endpoint.primary(now, session).expect("open");
                let Some(stream) = primary.accept_stream() else {
                    break;
                };
                self.pump(endpoint, now, session, stream);
            },
            StreamEvent::Readable(stream) | StreamEvent::Writable(stream) => {
                self.pump(endpoint, now, session, stream);
            }
            StreamEvent::Available | StreamEvent::Stopped { .. } | StreamEvent::Finished(_) => {}
        }
    }

    fn pump(
        &mut self,
        endpoint: &mut Endpoint,
        now: Now,
        session: SessionHandle,
        stream: StreamId,
    ) {
        let mut primary = endpoint.primary(now, session).expect("open");
        let unsent = self.unsent.entry((session, stream)).or_default();
        loop {
            if !unsent.is_empty() {
                primary.write(stream, unsent).expect("taken");
                if !unsent.is_empty() {
                    return;
                }
            }
            let mut sink = |chunk| {
                *unsent = chunk;
                ControlFlow::Break(())
            };
            match primary.read(stream, usize::MAX, &mut sink) {
                Ok(ReadState::More) => {}
                Ok(ReadState::Blocked) if unsent.is_empty() => return,
                Ok(ReadState::Blocked) => {}
                Ok(ReadState::Finished) => {
                    assert!(unsent.is_empty() || primary.write(stream, unsent).is_ok());
                    primary.finish(stream).expect("the stream ends");
                    return;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Sends [`BYTES`] and reads them back, without ever waiting.
struct Asker {
    session: SessionHandle,
    stream: Option<StreamId>,
    unsent: Bytes,
    read: usize,
    done: bool,
}

impl Asker {
    fn begin(endpoint: &mut Endpoint, now: Now, target: DialTarget) -> Self {
        Self {
            session: endpoint.connect(now, target).expect("a target"),
            stream: None,
            unsent: pattern(0, BYTES),
            read: 0,
            done: false,
        }
    }

    fn on_event(&mut self, endpoint: &mut Endpoint, now: Now, event: &Event) {
        match event.kind {
            EventKind::Client(ClientEvent::Connected) => {
                let mut client = endpoint.client(now, self.session).expect("open");
                self.stream = client.open_stream().expect("open");
                self.write(endpoint, now);
            }
            EventKind::Client(ClientEvent::Stream(StreamEvent::Writable(_))) => {
                self.write(endpoint, now);
            }
            EventKind::Client(ClientEvent::Stream(StreamEvent::Readable(_))) => {
                self.read(endpoint, now);
            }
            _ => {}
        }
    }

    fn write(&mut self, endpoint: &mut Endpoint, now: Now) {
        let stream = self.stream.expect("opened");
        let mut client = endpoint.client(now, self.session).expect("open");
        client.write(stream, &mut self.unsent).expect("taken");
        if self.unsent.is_empty() {
            client.finish(stream).expect("the stream ends");
        }
        self.read(endpoint, now);
    }

    fn read(&mut self, endpoint: &mut Endpoint, now: Now) {
        let stream = self.stream.expect("opened");
        let mut client = endpoint.client(now, self.session).expect("open");
        let read = &mut self.read;
        let state = client.read(stream, usize::MAX, &mut |chunk| {
            assert_eq!(chunk, pattern(*read as u64, chunk.len()));
            *read += chunk.len();
            ControlFlow::Continue(())
        });
        self.done |= state.expect("bytes") == ReadState::Finished;
    }
}

#[test]
fn a_driver_is_turned_by_hand() {
    let (server, target) = server();
    let echo = spawn(move || {
        let session = accept_primary(&server);
        let (mut send, mut recv) = session.accept_stream().expect("a stream");
        std::io::copy(&mut recv, &mut send).expect("echoed");
        send.finish().expect("the stream ends");
        session.closed().expect("the client leaves");
    });
    let mut driver = Driver::bind(LOOPBACK, Arc::default(), None).expect("a free port");
    let now = driver.now();
    let mut asker = Asker::begin(driver.endpoint(), now, target);
    let until = Instant::now() + PATIENCE;
    while !asker.done {
        driver.turn(Some(Duration::from_secs(1))).expect("it turns");
        while let Some(event) = driver.poll_event() {
            let now = driver.now();
            asker.on_event(driver.endpoint(), now, &event);
        }
        assert!(Instant::now() < until, "it takes too long");
    }
    assert_eq!(asker.read, BYTES);
    let now = driver.now();
    driver.endpoint().close(now, asker.session, 0);
    driver.turn(Some(Duration::ZERO)).expect("it turns");
    echo.join().expect("content");
}

#[test]
fn a_turn_ends_with_its_timeout_and_with_the_waker() {
    let mut driver = Driver::bind(LOOPBACK, Arc::default(), None).expect("a free port");
    let begun = Instant::now();
    driver
        .turn(Some(Duration::from_millis(100)))
        .expect("it turns");
    assert!(begun.elapsed() >= Duration::from_millis(100));
    let waker = driver.waker();
    let other = spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        waker.wake().expect("it wakes");
    });
    driver.turn(Some(PATIENCE)).expect("it turns");
    assert!(begun.elapsed() < PATIENCE);
    other.join().expect("content");
}

#[test]
fn two_ports_share_the_poll_of_an_embedder() {
    let (identity, pin) = identity(None, |_| None);
    let mut serving = Port::bind(LOOPBACK, Arc::default(), Some(identity)).expect("a free port");
    let mut asking = Port::bind(LOOPBACK, Arc::default(), None).expect("a free port");
    let mut poll = Poll::new().expect("a poll");
    for (at, port) in [&mut serving, &mut asking].into_iter().enumerate() {
        port.register(poll.registry(), Token(at))
            .expect("registered");
    }
    let mut echo = Echo::default();
    let now = asking.now();
    let target = target(serving.local_addr(), pin);
    let mut asker = Asker::begin(asking.endpoint(), now, target);
    let mut ready = Events::with_capacity(8);
    let until = Instant::now() + PATIENCE;
    while !asker.done {
        assert!(Instant::now() < until, "it takes too long");
        let timeouts = [serving.next_timeout(), asking.next_timeout()];
        let wait = timeouts.into_iter().flatten().min();
        poll.poll(&mut ready, wait).expect("it polls");
        for event in &ready {
            let port = if event.token() == Token(0) {
                &mut serving
            } else {
                &mut asking
            };
            if event.is_readable() {
                port.on_readable();
            }
            if event.is_writable() {
                port.on_writable().expect("it sends");
            }
        }
        for port in [&mut serving, &mut asking] {
            port.run().expect("it runs");
        }
        while let Some(event) = serving.poll_event() {
            let now = serving.now();
            echo.on_event(serving.endpoint(), now, &event);
        }
        while let Some(event) = asking.poll_event() {
            let now = asking.now();
            asker.on_event(asking.endpoint(), now, &event);
        }
    }
    assert_eq!(asker.read, BYTES);
    for port in [&mut serving, &mut asking] {
        port.deregister().expect("deregistered");
    }
}

//! An endpoint against clients that are scripted frame by frame, and endpoints against each other.

mod dials;
mod leftovers;
mod names;
mod stage;

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::carrier::{Carriers, DownCause, Input, Order};
use crate::error::{CloseReason, code};
use crate::event::{ClientEvent, EventKind, SecondaryEvent};
use crate::ids::{ByteRange, CarrierId, GrantId, StreamId};
use crate::quic::tests::net::{Host, Identity};
use crate::quic::tests::wire::{Node, Wire};
use crate::ticket::{JoinKey, PeerKey, Sealer, Ticket};
use crate::wire::{ControlFrame, Decoder, Extent, Grant, Join, Refused};

const SERVER: usize = 0;
/// The session that the scripted clients join, and the path as which they do.
const JOINED: (SessionId, PathId) = (SessionId([9; 16]), PathId(4));
const PEER_KEY: [u8; 32] = [3; 32];

enum Somebody {
    Endpoint(Box<Driven>),
    Script(Box<Host>),
}

struct Driven {
    endpoint: Endpoint,
    addr: SocketAddr,
    events: Vec<Event>,
}

impl Node for Somebody {
    fn addr(&self) -> SocketAddr {
        match self {
            Self::Endpoint(driven) => driven.addr,
            Self::Script(host) => host.addr(),
        }
    }

    fn take_in(&mut self, now: Now, datagram: Datagram) {
        match self {
            Self::Endpoint(driven) => driven.endpoint.handle_datagram(now, datagram),
            Self::Script(host) => host.take_in(now, datagram),
        }
    }

    fn next_deadline(&mut self) -> Option<Instant> {
        match self {
            Self::Endpoint(driven) => driven.endpoint.poll_timeout().map(|deadline| {
                let is_told = deadline.cause != DeadlineCause::EventsQueued;
                assert!(is_told, "all events were taken");
                deadline.at
            }),
            Self::Script(host) => host.next_deadline(),
        }
    }

    fn handle_timeout(&mut self, now: Now) {
        match self {
            Self::Endpoint(driven) => driven.endpoint.handle_timeout(now),
            Self::Script(host) => host.handle_timeout(now),
        }
    }

    fn turn(&mut self, now: Now) {
        match self {
            Self::Endpoint(driven) => {
                while let Some(event) = driven.endpoint.poll_event() {
                    driven.events.push(event);
                }
            }
            Self::Script(host) => host.turn(now),
        }
    }

    fn poll_transmit(&mut self, now: Now, buf: &mut Vec<u8>) -> Option<Transmit> {
        match self {
            Self::Endpoint(driven) => {
                let transmit = driven.endpoint.poll_transmit(now, 10, buf);
                assert!(transmit.is_some() || !driven.endpoint.wants_transmit());
                transmit
            }
            Self::Script(host) => host.poll_transmit(now, buf),
        }
    }
}

/// The endpoint in question, and scripted others.
struct Lab {
    nodes: Vec<Somebody>,
    wire: Wire,
    identity: Identity,
}

impl Lab {
    fn new() -> Self {
        let (wire, identity) = (Wire::new(), Identity::new());
        let server = ServerIdentity {
            certificate_der: identity.certificate.clone(),
            key_pkcs8_der: identity.key.clone(),
            master: None,
            peer: Some(PeerKey::from_bytes(PEER_KEY)),
        };
        let config = Arc::new(Config::default());
        let endpoint = Endpoint::new(config, Some(server), [1; 32], wire.now()).expect("identity");
        let addr = SocketAddr::from(([127, 0, 0, 1], 3000));
        let driven = Driven {
            endpoint,
            addr,
            events: Vec::new(),
        };
        Self {
            nodes: vec![Somebody::Endpoint(Box::new(driven))],
            wire,
            identity,
        }
    }

    /// A scripted host; the number of its node.
    fn add_script(&mut self, greeting: impl Fn(&[u8; 32]) -> Bytes + 'static) -> usize {
        let port = 4000 + u16::try_from(self.nodes.len()).expect("few");
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let mut host = Host::new(addr, &Config::default().quic, None);
        host.greet_with(greeting);
        self.nodes.push(Somebody::Script(Box::new(host)));
        self.nodes.len() - 1
    }

    /// A scripted client that has connected to the endpoint and said this at once.
    fn visit(&mut self, greeting: impl Fn(&[u8; 32]) -> Bytes + 'static) -> usize {
        let (client, target) = (self.add_script(greeting), self.target(SERVER));
        let now = self.wire.now();
        let dialled = self
            .script(client)
            .dial(now, SessionHandle(0), PathId::PRIMARY, &target);
        dialled.expect("dialled");
        self.run(Duration::from_millis(200));
        client
    }

    fn target(&self, node: usize) -> DialTarget {
        DialTarget {
            addr: self.nodes[node].addr(),
            server_name: "kwik".to_owned(),
            pin: self.identity.pin(),
        }
    }

    fn run(&mut self, duration: Duration) {
        self.wire.run(&mut self.nodes, duration);
    }

    fn driven(&mut self) -> &mut Driven {
        match &mut self.nodes[SERVER] {
            Somebody::Endpoint(driven) => driven,
            Somebody::Script(_) => panic!("the first node is the endpoint"),
        }
    }

    fn script(&mut self, node: usize) -> &mut Host {
        match &mut self.nodes[node] {
            Somebody::Script(host) => host,
            Somebody::Endpoint(_) => panic!("not a scripted node"),
        }
    }

    fn endpoint(&mut self) -> &mut Endpoint {
        &mut self.driven().endpoint
    }

    /// What happened at the endpoint, by session.
    fn events(&mut self) -> Vec<(u64, EventKind)> {
        let events = std::mem::take(&mut self.driven().events);
        events
            .into_iter()
            .map(|event| (event.session.0, event.kind))
            .collect()
    }

    /// Writes a frame on a scripted client's control carrier.
    fn say(&mut self, client: usize, frame: &ControlFrame) {
        let mut carriers = self.script(client).quic.carriers(SessionHandle(0));
        let mut bytes = frame.encode();
        carriers.write_control(control(), &mut bytes).expect("open");
    }

    /// The next frame that a scripted client was sent.
    fn hear(&mut self, client: usize) -> Option<ControlFrame> {
        let mut decoder = Decoder::new();
        let mut carriers = self.script(client).quic.carriers(SessionHandle(0));
        let _ = carriers.read(control(), Order::Ordered, usize::MAX, &mut |_, bytes| {
            decoder.push(bytes);
            ControlFlow::Continue(())
        });
        decoder.poll_frame().expect("a frame")
    }

    fn down_cause(&mut self, client: usize) -> Option<DownCause> {
        self.script(client).told.iter().find_map(|input| {
            let Input::PathDown { cause, .. } = input else {
                return None;
            };
            Some(cause.clone())
        })
    }
}

fn control() -> CarrierId {
    CarrierId {
        path: PathId::PRIMARY,
        stream: 0,
    }
}

/// The JOIN of a client that the holder of `peer_key` sent.
fn join(peer_key: [u8; 32], exporter: &[u8; 32]) -> Bytes {
    let key = JoinKey::from_seed(&[5; 32]);
    let (session, path) = JOINED;
    let ticket = PeerKey::from_bytes(peer_key).issue(&Ticket {
        session,
        path,
        issued_unix_seconds: 1_800_000_000,
        expires_unix_seconds: 1_800_000_060,
        join_key_thumbprint: key.thumbprint(),
    });
    let proof = key.prove(exporter, &ticket);
    let join = Join {
        session,
        path,
        ticket,
        join_key: key.public_key(),
        proof,
    };
    ControlFrame::Join(join).encode()
}

fn good_join(exporter: &[u8; 32]) -> Bytes {
    join(PEER_KEY, exporter)
}

fn joined(session: u64) -> (u64, EventKind) {
    (session, EventKind::Secondary(SecondaryEvent::Joined))
}

#[test]
fn a_proven_join_makes_a_session_of_a_secondary_and_of_nothing_else() {
    let mut lab = Lab::new();
    let client = lab.visit(good_join);
    assert_eq!(lab.events(), [joined(0)]);
    assert!(matches!(lab.hear(client), Some(ControlFrame::Joined(_))));
    let now = lab.wire.now();
    let session = SessionHandle(0);
    let endpoint = lab.endpoint();
    assert!(endpoint.client(now, session).is_none());
    assert!(endpoint.primary(now, session).is_none());
    let secondary = endpoint.secondary(now, session).expect("a secondary");
    assert_eq!(secondary.session_id(), JOINED.0);
    assert!(endpoint.secondary(now, SessionHandle(1)).is_none());
}

/// [JOIN-8]
#[test]
fn a_forged_ticket_is_answered_and_never_told_to_the_application() {
    let mut lab = Lab::new();
    let client = lab.visit(|exporter| join([4; 32], exporter));
    assert_eq!(
        lab.hear(client),
        Some(ControlFrame::Refused(Refused { code: code::JOIN }))
    );
    lab.run(Duration::from_secs(30));
    assert!(lab.events().is_empty());
    assert_eq!(lab.endpoint().sessions(), 0);
}

#[test]
fn a_copied_join_is_worth_nothing_on_another_connection() {
    let mut lab = Lab::new();
    let client = lab.visit(|_| good_join(&[0; 32]));
    assert_eq!(
        lab.hear(client),
        Some(ControlFrame::Refused(Refused { code: code::JOIN }))
    );
    assert!(lab.events().is_empty());
}

/// [JOIN-6]
#[test]
fn a_newer_join_takes_the_place_of_an_older_one() {
    let mut lab = Lab::new();
    let (first, second) = (lab.visit(good_join), lab.visit(good_join));
    let closed = SecondaryEvent::Closed(CloseReason::Local);
    let superseded = (0, EventKind::Secondary(closed));
    let events = lab.events();
    assert!(events.contains(&joined(0)) && events.contains(&joined(1)));
    assert!(events.contains(&superseded));
    assert_eq!(
        lab.down_cause(first),
        Some(DownCause::ClosedByPeer(code::PATH_ENDED))
    );
    assert!(matches!(lab.hear(second), Some(ControlFrame::Joined(_))));
    lab.run(Duration::from_secs(5));
    assert_eq!(lab.endpoint().sessions(), 1);
}

/// [JOIN-6]: JOIN of a connection that was replaced comes late. It does not undo what replaced it.
#[test]
fn a_late_join_of_an_older_connection_changes_nothing() {
    let mut lab = Lab::new();
    let seen = std::rc::Rc::new(std::cell::Cell::new([0; 32]));
    let exporter = std::rc::Rc::clone(&seen);
    let first = lab.visit(move |own| {
        exporter.set(*own);
        Bytes::from_static(&[0x30])
    });
    let second = lab.visit(good_join);
    let mut late = good_join(&seen.get());
    assert_eq!(late.split_to(1), &[0x30][..], "the type of JOIN was sent");
    let mut carriers = lab.script(first).quic.carriers(SessionHandle(0));
    carriers.write_control(control(), &mut late).expect("open");
    lab.run(Duration::from_millis(200));
    assert_eq!(
        lab.hear(first),
        Some(ControlFrame::Refused(Refused { code: code::JOIN }))
    );
    assert!(matches!(lab.hear(second), Some(ControlFrame::Joined(_))));
    assert_eq!(lab.events(), [joined(1)]);
    assert_eq!(lab.down_cause(second), None);
}

/// [JOIN-6]
#[test]
fn a_second_join_is_refused_once_a_command_was_accepted() {
    let mut lab = Lab::new();
    let first = lab.visit(good_join);
    let (session, path) = JOINED;
    let range = ByteRange::new(0, 100).expect("range");
    let mut sealer = Sealer::new(&PeerKey::from_bytes(PEER_KEY), session, path);
    let (grant, stream, extent) = (GrantId(1), StreamId(1), Extent::Fixed(range));
    let sealed = sealer.seal_grant(grant, stream, extent, b"that file");
    let frame = Grant {
        grant,
        path,
        stream,
        extent,
        max_offset: 100,
        sealed,
    };
    lab.say(first, &ControlFrame::Grant(frame));
    lab.run(Duration::from_millis(100));
    let second = lab.visit(good_join);
    assert_eq!(
        lab.hear(second),
        Some(ControlFrame::Refused(Refused { code: code::JOIN }))
    );
    assert_eq!(lab.down_cause(first), None);
    let commands = lab.events().into_iter().filter(|(session, kind)| {
        let granted = |event: &SecondaryEvent| matches!(event, SecondaryEvent::Grant { .. });
        *session == 0 && matches!(kind, EventKind::Secondary(event) if granted(event))
    });
    assert_eq!(commands.count(), 1);
}

#[test]
fn a_client_that_says_nothing_is_shown_the_door() {
    let mut lab = Lab::new();
    let client = lab.visit(|_| Bytes::from_static(&[0x01]));
    lab.run(Duration::from_secs(9));
    assert_eq!(lab.endpoint().sessions(), 1);
    lab.run(Duration::from_secs(5));
    assert_eq!(
        lab.down_cause(client),
        Some(DownCause::ClosedByPeer(code::UNEXPECTED))
    );
    assert_eq!(lab.endpoint().sessions(), 0);
    assert!(lab.events().is_empty());
}

#[test]
fn a_closed_session_is_forgotten_when_it_is_drained_and_all_was_told() {
    let mut lab = Lab::new();
    lab.visit(good_join);
    let (now, session) = (lab.wire.now(), SessionHandle(0));
    lab.endpoint().close(now, session, code::NO_ERROR);
    assert_eq!(
        lab.endpoint().poll_timeout().expect("due").cause,
        DeadlineCause::EventsQueued
    );
    assert!(lab.endpoint().secondary(now, session).is_some());
    lab.run(Duration::from_millis(1));
    assert_eq!(lab.endpoint().sessions(), 1, "its connection is draining");
    assert!(!lab.endpoint().is_drained());
    lab.run(Duration::from_secs(5));
    assert_eq!(lab.endpoint().sessions(), 0);
    assert!(lab.endpoint().is_drained() && lab.endpoint().joins.is_empty());
    assert!(lab.endpoint().secondary(now, session).is_none());
    assert!(
        lab.endpoint().poll_timeout().is_none(),
        "nothing is left to wait for"
    );
}

#[test]
fn a_lost_client_ends_its_session() {
    let mut lab = Lab::new();
    lab.visit(good_join);
    lab.wire.cut = true;
    lab.run(Duration::from_secs(45));
    let closed = SecondaryEvent::Closed(CloseReason::TimedOut);
    assert_eq!(lab.events(), [joined(0), (0, EventKind::Secondary(closed))]);
    assert_eq!(lab.endpoint().sessions(), 0);
}

#[test]
fn a_primary_with_another_key_is_not_believed() {
    let mut lab = Lab::new();
    let (now, mut target) = (lab.wire.now(), lab.target(SERVER));
    target.pin = [0; 32];
    // The endpoint calls itself: any server will do.
    lab.endpoint().connect(now, target).expect("dialled");
    lab.run(Duration::from_secs(5));
    let closed = ClientEvent::Closed(CloseReason::PinMismatch);
    assert_eq!(lab.events(), [(0, EventKind::Client(closed))]);
    assert_eq!(lab.endpoint().sessions(), 0);
}

#[test]
fn a_primary_that_does_not_answer_ends_the_session() {
    let mut lab = Lab::new();
    let nobody = lab.add_script(|_| Bytes::new());
    let (now, target) = (lab.wire.now(), lab.target(nobody));
    lab.endpoint().connect(now, target).expect("dialled");
    lab.run(Duration::from_secs(60));
    let closed = ClientEvent::Closed(CloseReason::TimedOut);
    assert_eq!(lab.events(), [(0, EventKind::Client(closed))]);
}

#[test]
fn what_cannot_be_dialled_leaves_no_session_behind() {
    let mut lab = Lab::new();
    let (now, mut target) = (lab.wire.now(), lab.target(SERVER));
    target.server_name = "two words".to_owned();
    let error = lab.endpoint().connect(now, target.clone());
    assert_eq!(error, Err(ConnectError::ServerName(target.server_name)));
    assert_eq!(lab.endpoint().sessions(), 0);
    assert!(lab.endpoint().is_drained() && !lab.endpoint().wants_transmit());
}

#[test]
fn a_certificate_that_is_none_is_no_identity() {
    let identity = Identity::new();
    let server = ServerIdentity {
        certificate_der: b"no certificate".to_vec(),
        key_pkcs8_der: identity.key,
        master: None,
        peer: None,
    };
    assert!(
        !format!("{server:?}").contains("certificate"),
        "nothing of the key is printed"
    );
    let now = Wire::new().now();
    let endpoint = Endpoint::new(Arc::new(Config::default()), Some(server), [0; 32], now);
    let error = EndpointError::Identity(IdentityError::Certificate);
    assert_eq!(endpoint.err(), Some(error));
}

/// Whoever embeds the core hears what is wrong before anything begins.
#[test]
fn a_configuration_that_would_break_the_protocol_makes_no_endpoint() {
    let mut config = Config::default();
    config.server.ticket_life = Duration::from_secs(59);
    let endpoint = Endpoint::new(Arc::new(config), None, [0; 32], Wire::new().now());
    let error = endpoint.err().expect("no endpoint");
    assert_eq!(
        error.to_string(),
        "the setting server.ticket_life must be from 60 s to 1 h"
    );
}

#[test]
fn time_that_runs_backwards_is_held() {
    let mut lab = Lab::new();
    lab.visit(good_join);
    let past = lab.wire.now();
    lab.run(Duration::from_secs(20));
    let now = lab.wire.now();
    lab.endpoint().handle_timeout(now);
    lab.endpoint().handle_timeout(past);
    lab.endpoint().close(past, SessionHandle(0), code::NO_ERROR);
    let due = lab.endpoint().poll_timeout().expect("events wait");
    assert_eq!(due.at, now.monotonic);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// [ERR-1] [ERR-6]
    #[test]
    fn no_datagram_of_a_stranger_does_harm(
        datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..1300), 1..8),
        initial in any::<bool>(),
    ) {
        let mut lab = Lab::new();
        let (now, remote) = (lab.wire.now(), SocketAddr::from(([192, 0, 2, 1], 1)));
        for mut bytes in datagrams {
            if let (true, Some(start)) = (initial, bytes.get_mut(..6)) {
                // An Initial packet of version 1 with an 8-byte destination id (RFC 9000 §17.2.2).
                start.copy_from_slice(&[0xc3, 0, 0, 0, 1, 8]);
                bytes.resize(1200, 0);
            }
            let data = BytesMut::from(&bytes[..]);
            let datagram = Datagram { remote, local_ip: None, ecn: None, data };
            lab.endpoint().handle_datagram(now, datagram);
        }
        let mut buf = Vec::new();
        while lab.endpoint().poll_transmit(now, 10, &mut buf).is_some() {}
        lab.run(Duration::from_secs(60));
        prop_assert_eq!(lab.endpoint().sessions(), 0);
        prop_assert!(lab.endpoint().is_drained());
    }
}

/// Nothing can be written to a stream that there is not, not even nothing.
#[test]
fn an_empty_slice_is_refused_like_any_other() {
    let unknown = StreamError::Misuse(crate::error::Misuse::UnknownStream(StreamId(4)));
    assert_eq!(copied(b"", |_| Err(unknown.clone())), Err(unknown));
}

/// Whoever waits for a blocked socket is not called in the meantime, or it would spin: output that is
/// pending is no deadline.
#[test]
fn a_socket_that_takes_nothing_makes_nobody_spin() {
    let mut lab = Lab::new();
    let nobody = lab.add_script(|_| Bytes::new());
    let (now, target) = (lab.wire.now(), lab.target(nobody));
    let endpoint = lab.endpoint();
    endpoint.connect(now, target).expect("dialled");
    assert_eq!(endpoint.poll_event(), None);
    assert!(endpoint.wants_transmit());
    let deadline = endpoint.poll_timeout();
    assert!(
        deadline.is_none_or(|deadline| deadline.at > now.monotonic),
        "{deadline:?}"
    );
}

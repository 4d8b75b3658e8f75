//! A hostile client at an honest secondary: it wants a file that no primary asked for.

use std::time::Duration;

use bytes::Bytes;
use smallvec::smallvec;

use crate::carrier::{DownCause, Output};
use crate::error::{CloseReason, code};
use crate::event::SecondaryEvent;
use crate::ids::{GrantId, PathId, SessionId, StreamId};
use crate::session::tests::hand::{self, SESSION};
use crate::session::tests::world::{Setup, World, fill_command, span};
use crate::ticket::{JoinKey, PeerKey, Sealer, Ticket};
use crate::wire::{
    ControlFrame, Extent, Grant, GrantDone, Hello, Join, Raw, Refused, Revoke, Sealed,
};

const PATH: PathId = PathId(1);
const STREAM: StreamId = StreamId(4);
const EXTENT: Extent = Extent::Open { start: 0 };

/// A hand-played client that is connected to the secondary at site 1.
fn connected() -> World {
    let setup = Setup {
        scripted_client: true,
        ..Setup::default()
    };
    let mut world = setup.build();
    world.settle();
    dial(&mut world, PATH);
    world
}

fn dial(world: &mut World, path: PathId) {
    let target = world.sites[1].target();
    world.scripted_client(|c, _| c.push(Output::Dial { path, target }));
    world.settle();
}

fn send(world: &mut World, frame: &ControlFrame) {
    world.scripted_client(|c, cx| c.send(PATH, frame, cx.carriers));
    world.settle();
}

fn exporter(world: &mut World, path: PathId) -> [u8; 32] {
    world.scripted_client(|c, _| c.exporter(path))
}

fn peer(world: &World) -> PeerKey {
    hand::master().peer_key(&world.sites[1].pin)
}

/// A join that is good but for what a test does to it.
fn join(world: &mut World, change_ticket: impl FnOnce(&mut Ticket)) -> Join {
    let mut ticket = hand::ticket(world, PATH);
    change_ticket(&mut ticket);
    let ticket = peer(world).issue(&ticket);
    let exporter = exporter(world, PATH);
    hand::join(ticket, PATH, &exporter)
}

/// A client that has joined, and the sealer of the primary that it does not have.
fn joined() -> (World, Sealer) {
    let mut world = connected();
    let join = join(&mut world, |_| {});
    send(&mut world, &ControlFrame::Join(join));
    assert!(world.is_joined(1));
    let sealer = Sealer::new(&peer(&world), SESSION, PATH);
    (world, sealer)
}

fn grant(sealer: &mut Sealer, id: u64, path: PathId) -> Grant {
    let grant = GrantId(id);
    let sealed = sealer.seal_grant(grant, STREAM, EXTENT, &fill_command(1000));
    Grant {
        grant,
        path,
        stream: STREAM,
        extent: EXTENT,
        max_offset: 1 << 20,
        sealed,
    }
}

/// The join is turned down, and no session ever exists.
#[track_caller]
fn assert_join_refused(mut world: World, join: Join) {
    send(&mut world, &ControlFrame::Join(join));
    assert!(!world.is_joined(1));
    let frames = world.scripted_client(|c, _| c.frames(PATH));
    assert_eq!(
        frames,
        [ControlFrame::Refused(Refused { code: code::JOIN })]
    );
    // Even if the client stays, the connection does not.
    world.advance(Duration::from_secs(11));
    let down = world.scripted_client(|c, _| c.down(PATH).cloned());
    assert!(matches!(down, Some(DownCause::ClosedByPeer(_))), "{down:?}");
}

/// The frame costs the client its session; the application has heard of nothing but `heard`.
#[track_caller]
fn assert_costs_session(mut world: World, frame: &ControlFrame, code: u64, heard: usize) {
    send(&mut world, frame);
    let down = world.scripted_client(|c, _| c.down(PATH).cloned());
    assert_eq!(down, Some(DownCause::ClosedByPeer(code)));
    world.secondary(1, |s, _| {
        assert_eq!(s.events.len(), heard + 1, "{:?}", s.events);
        let last = s.events.last();
        assert!(
            matches!(
                last,
                Some(SecondaryEvent::Closed(CloseReason::Violation(_)))
            ),
            "{last:?}"
        );
    });
}

/// [JOIN-2]
#[test]
fn an_honest_join_and_grant_are_accepted() {
    let (mut world, mut sealer) = joined();
    let frame = grant(&mut sealer, 0, PATH);
    send(&mut world, &ControlFrame::Grant(frame));
    world.secondary(1, |s, _| assert_eq!(s.events.len(), 2));
}

/// [JOIN-4]
#[test]
fn a_ticket_of_another_secondary_is_refused() {
    let mut world = connected();
    let ticket = hand::ticket(&world, PATH);
    // Who steals the key of secondary 2 can issue tickets for secondary 2 alone.
    let stolen = hand::master().peer_key(&world.sites[2].pin).issue(&ticket);
    let exporter = exporter(&mut world, PATH);
    assert_join_refused(world, hand::join(stolen, PATH, &exporter));
}

/// [JOIN-4]
#[test]
fn a_ticket_of_another_path_or_session_is_refused() {
    let mut world = connected();
    let other = join(&mut world, |ticket| ticket.path = PathId(2));
    assert_join_refused(world, other);
    let mut world = connected();
    let other = join(&mut world, |ticket| ticket.session = SessionId([8; 16]));
    assert_join_refused(world, other);
}

/// [JOIN-5]
#[test]
fn an_expired_and_an_early_ticket_are_refused() {
    let mut world = connected();
    let expired = join(&mut world, |ticket| {
        ticket.issued_unix_seconds -= 4;
        ticket.expires_unix_seconds = ticket.issued_unix_seconds;
    });
    // Not yet: the clocks may differ by five seconds.
    world.advance(Duration::from_secs(2));
    assert_join_refused(world, expired);
    let mut world = connected();
    let early = join(&mut world, |ticket| {
        ticket.issued_unix_seconds += 6;
        ticket.expires_unix_seconds += 6;
    });
    assert_join_refused(world, early);
}

/// [JOIN-5]
#[test]
fn a_ticket_that_lives_too_long_is_refused() {
    let mut world = connected();
    let eternal = join(&mut world, |ticket| ticket.expires_unix_seconds += 1 << 40);
    assert_join_refused(world, eternal);
    let mut world = connected();
    let backwards = join(&mut world, |ticket| ticket.expires_unix_seconds -= 61);
    assert_join_refused(world, backwards);
}

/// [JOIN-5]
#[test]
fn a_ticket_from_before_the_restart_is_refused() {
    let mut world = connected();
    let ticket = hand::ticket(&world, PATH);
    world.advance(Duration::from_secs(6));
    world.crash(1);
    world.restart(1);
    dial(&mut world, PATH);
    let ticket = peer(&world).issue(&ticket);
    let exporter = exporter(&mut world, PATH);
    assert_join_refused(world, hand::join(ticket, PATH, &exporter));
}

/// [JOIN-3]
#[test]
fn a_join_that_was_copied_from_another_connection_is_refused() {
    let mut world = connected();
    let copied = join(&mut world, |_| {});
    // A second connection: the same frame, another exporter.
    dial(&mut world, PATH);
    assert_join_refused(world, copied);
}

/// [JOIN-4]
#[test]
fn a_proof_by_another_key_is_refused() {
    let mut world = connected();
    let mut stolen = join(&mut world, |_| {});
    let thief = JoinKey::from_seed(&[66; 32]);
    let exporter = exporter(&mut world, PATH);
    stolen.join_key = thief.public_key();
    stolen.proof = thief.prove(&exporter, &stolen.ticket);
    assert_join_refused(world, stolen);
    let mut world = connected();
    let mut forged = join(&mut world, |_| {});
    forged.proof[17] ^= 1;
    assert_join_refused(world, forged);
}

/// [JOIN-4]
#[test]
fn an_altered_or_empty_ticket_is_refused() {
    let mut world = connected();
    let mut altered = join(&mut world, |_| {});
    let mut bytes = altered.ticket.to_vec();
    bytes[40] ^= 1;
    altered.ticket = Bytes::from(bytes);
    assert_join_refused(world, altered);
    let mut world = connected();
    let mut empty = join(&mut world, |_| {});
    empty.ticket = Bytes::new();
    assert_join_refused(world, empty);
}

#[test]
fn a_secondary_is_nobodys_primary_without_a_master_key() {
    // HELLO to a secondary begins a session of its own; paths cannot be added to it.
    let mut world = connected();
    send(
        &mut world,
        &ControlFrame::Hello(Hello {
            join_key_thumbprint: [1; 32],
        }),
    );
    assert!(!world.is_joined(1));
}

/// [SESS-1]
#[test]
fn a_first_frame_that_is_neither_hello_nor_join_closes() {
    let mut world = connected();
    send(&mut world, &hand::max_offset(STREAM, 1 << 40));
    let down = world.scripted_client(|c, _| c.down(PATH).cloned());
    assert_eq!(down, Some(DownCause::ClosedByPeer(code::UNEXPECTED)));
}

/// [SESS-1]
#[test]
fn a_connection_that_never_says_what_it_is_for_closes() {
    let mut world = connected();
    world.scripted_client(|c, cx| c.write_control(PATH, Bytes::from_static(&[0]), cx.carriers));
    world.advance(Duration::from_secs(11));
    let down = world.scripted_client(|c, _| c.down(PATH).cloned());
    assert_eq!(down, Some(DownCause::ClosedByPeer(code::UNEXPECTED)));
}

/// [SEAL-3]
#[test]
fn a_forged_grant_is_refused() {
    let (world, _) = joined();
    let sealed = Sealed {
        seq: 0,
        bytes: Bytes::from_static(b"twenty bytes of nothing"),
    };
    let grant = Grant {
        grant: GrantId(0),
        path: PATH,
        stream: STREAM,
        extent: EXTENT,
        max_offset: 9,
        sealed,
    };
    assert_costs_session(world, &ControlFrame::Grant(grant), code::JOIN, 1);
}

/// [SEAL-3]
#[test]
fn a_grant_whose_range_stream_or_id_was_altered_is_refused() {
    let alterations: [fn(&mut Grant); 4] = [
        |grant| grant.extent = Extent::Fixed(span(0, 1 << 40)),
        |grant| grant.extent = Extent::Open { start: 1 },
        |grant| grant.stream = StreamId(8),
        |grant| grant.grant = GrantId(3),
    ];
    for alter in alterations {
        let (world, mut sealer) = joined();
        let mut altered = grant(&mut sealer, 0, PATH);
        alter(&mut altered);
        assert_costs_session(world, &ControlFrame::Grant(altered), code::JOIN, 1);
    }
}

/// [SEAL-3]
#[test]
fn a_grant_for_another_path_or_session_is_refused() {
    let (world, _) = joined();
    let mut sealer = Sealer::new(&peer(&world), SESSION, PathId(2));
    let other = grant(&mut sealer, 0, PathId(2));
    assert_costs_session(
        world,
        &ControlFrame::Grant(other.clone()),
        code::UNEXPECTED,
        1,
    );
    let (world, _) = joined();
    let renamed = Grant {
        path: PATH,
        ..other
    };
    assert_costs_session(world, &ControlFrame::Grant(renamed), code::JOIN, 1);
    let (world, _) = joined();
    let mut sealer = Sealer::new(&peer(&world), SessionId([8; 16]), PATH);
    let other = grant(&mut sealer, 0, PATH);
    assert_costs_session(world, &ControlFrame::Grant(other), code::JOIN, 1);
}

/// [SEAL-4]
#[test]
fn a_replayed_seal_is_refused() {
    let (mut world, mut sealer) = joined();
    let first = ControlFrame::Grant(grant(&mut sealer, 0, PATH));
    send(&mut world, &first);
    assert_costs_session(world, &first, code::UNEXPECTED, 2);

    let (mut world, mut sealer) = joined();
    let raw = ControlFrame::Raw(Raw {
        path: PATH,
        sealed: sealer.seal_raw(b"once"),
    });
    send(&mut world, &raw);
    assert_costs_session(world, &raw, code::JOIN, 2);
}

#[test]
fn a_grant_cannot_be_turned_into_a_message_nor_back() {
    let (world, mut sealer) = joined();
    let sealed = grant(&mut sealer, 0, PATH).sealed;
    assert_costs_session(
        world,
        &ControlFrame::Raw(Raw { path: PATH, sealed }),
        code::JOIN,
        1,
    );
    let (world, mut sealer) = joined();
    let mut turned = grant(&mut sealer, 0, PATH);
    turned.sealed = sealer.seal_raw(b"send it");
    assert_costs_session(world, &ControlFrame::Grant(turned), code::JOIN, 1);
}

#[test]
fn taking_back_a_grant_that_was_never_given_is_a_violation() {
    let (world, _) = joined();
    let revoke = ControlFrame::Revoke(Revoke {
        grant: GrantId(5),
        end: 0,
    });
    assert_costs_session(world, &revoke, code::UNEXPECTED, 1);
}

/// [CTL-10] [SESS-1]
#[test]
fn frames_of_other_roles_are_violations() {
    let (mut world, _) = joined();
    let again = join(&mut world, |_| {});
    assert_costs_session(world, &ControlFrame::Join(again), code::UNEXPECTED, 1);
    for frame in super::frames_but(&["GRANT", "REVOKE", "MAX_OFFSET", "RAW"]) {
        let (world, _) = joined();
        assert_costs_session(world, &frame, code::UNEXPECTED, 1);
    }
}

#[test]
fn bytes_that_are_no_frame_cost_the_session() {
    let (mut world, _) = joined();
    // An announced length far beyond what any frame may have.
    let bomb = Bytes::from_static(&[0x20, 0xbf, 0xff, 0xff, 0xff]);
    world.scripted_client(|c, cx| c.write_control(PATH, bomb, cx.carriers));
    world.settle();
    let down = world.scripted_client(|c, _| c.down(PATH).cloned());
    assert_eq!(down, Some(DownCause::ClosedByPeer(code::ENCODING)));
}

#[test]
fn a_client_opens_no_stream_at_a_secondary() {
    let (mut world, _) = joined();
    world.scripted_client(|c, cx| {
        let carrier = cx
            .carriers
            .open_bidi(PATH)
            .expect("up")
            .expect("a server gives credit");
        c.write(carrier, Bytes::from_static(b"let me in"), cx.carriers);
    });
    world.settle();
    let down = world.scripted_client(|c, _| c.down(PATH).cloned());
    assert_eq!(down, Some(DownCause::ClosedByPeer(code::UNEXPECTED)));
    world.secondary(1, |s, _| assert_eq!(s.events.len(), 2, "{:?}", s.events));
}

#[test]
fn a_withheld_grant_does_not_spoil_the_later_ones() {
    let (mut world, mut sealer) = joined();
    let withheld = grant(&mut sealer, 0, PATH);
    let raw = Raw {
        path: PATH,
        sealed: sealer.seal_raw(b"later"),
    };
    send(&mut world, &ControlFrame::Raw(raw));
    send(&mut world, &ControlFrame::Grant(withheld));
    world.secondary(1, |s, _| {
        let kinds = (&s.events[1], &s.events[2]);
        assert!(
            matches!(
                kinds,
                (SecondaryEvent::Raw(_), SecondaryEvent::Grant { .. })
            ),
            "{kinds:?}"
        );
    });
}

/// [GRANT-8]
#[test]
fn a_client_can_shrink_a_grant_but_not_grow_it() {
    let (mut world, mut sealer) = joined();
    let mut frame = grant(&mut sealer, 0, PATH);
    frame.max_offset = 0;
    send(&mut world, &ControlFrame::Grant(frame));
    send(
        &mut world,
        &ControlFrame::Revoke(Revoke {
            grant: GrantId(0),
            end: 500,
        }),
    );
    send(
        &mut world,
        &ControlFrame::Revoke(Revoke {
            grant: GrantId(0),
            end: 1 << 40,
        }),
    );
    send(&mut world, &hand::max_offset(STREAM, 1 << 20));
    let frames = world.scripted_client(|c, _| c.frames(PATH));
    // The open grant's command asks for more than it may bring now.
    let written = smallvec![span(0, 500)];
    let done = ControlFrame::GrantDone(GrantDone {
        grant: GrantId(0),
        written,
        more: false,
    });
    assert!(frames.contains(&done), "{frames:?}");
}

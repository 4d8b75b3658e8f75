//! What a client gets out of a secondary: what its primary signed and sealed, and nothing that it forges.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use kwik_core::error::code;
use kwik_core::ids::{ByteRange, GrantId, PathId, SessionId, StreamId};
use kwik_core::ticket::{JoinKey, PeerKey, Sealer, Ticket};
use kwik_core::wire::{ControlFrame, Extent, Grant, Join, Raw};
use kwik_sim::identity::master_key;
use kwik_sim::{Setting, Stage};

use crate::SECOND;
use kwik_sim::raw::{Cue, Line, RawPeer, always};

const SESSION: SessionId = SessionId([5; 16]);
const PATH: PathId = PathId(1);
const STREAM: StreamId = StreamId(4);

/// A world in which a client of ours, and nobody else, talks to the only secondary.
fn talk(script: impl Fn(&mut Line<'_>, &Cue) + 'static) -> Stage {
    let setting = Setting::new(1, 1, 0);
    let mut stage = setting.build();
    let secondary = stage.world.addr(stage.secondaries[0]);
    let client = RawPeer::client(setting.crypto, secondary, always(script));
    stage.world.install(stage.client, client);
    stage.world.keep_ledger();
    // The secondary has run for a while: tickets from before it started would be refused.
    stage.world.run_for(5 * SECOND);
    stage
}

/// The key with which the primary orders the secondary.
fn peer_key() -> PeerKey {
    let setting = Setting::new(1, 1, 0);
    master_key(1).peer_key(&setting.identity(2).pin)
}

fn join_key() -> JoinKey {
    JoinKey::from_seed(&[1; 32])
}

/// The ticket that the primary would have given.
fn ticket(line: &Line<'_>) -> Ticket {
    let now = line.moment.now.unix_seconds;
    Ticket {
        session: SESSION,
        path: PATH,
        issued_unix_seconds: now,
        expires_unix_seconds: now + 60,
        join_key_thumbprint: join_key().thumbprint(),
    }
}

/// The JOIN of an honest client that was given this ticket.
fn join(line: &Line<'_>, ticket: Bytes) -> Join {
    Join {
        session: SESSION,
        path: PATH,
        proof: join_key().prove(&line.exporter(), &ticket),
        ticket,
        join_key: join_key().public_key(),
    }
}

/// A JOIN that holds.
fn honest_join(line: &Line<'_>) -> Join {
    join(line, peer_key().issue(&ticket(line)))
}

/// Sends a JOIN as `forge` makes it; it must be refused.
fn is_refused(forge: impl Fn(&Line<'_>) -> Join + 'static) {
    let stage = talk(move |line, cue| {
        if matches!(cue, Cue::Up) {
            let join = forge(line);
            line.send(&ControlFrame::Join(join));
        }
    });
    let peer: &RawPeer = stage.world.node(stage.client);
    assert!(
        matches!(peer.log().frames[..], [ControlFrame::Refused(_)]),
        "{:?}",
        peer.log().frames
    );
    assert_eq!(stage.secondary_app(0).sessions(), []);
}

#[test]
fn a_join_that_holds_is_accepted() {
    let stage = talk(|line, cue| {
        if matches!(cue, Cue::Up) {
            let join = honest_join(line);
            line.send(&ControlFrame::Join(join));
        }
    });
    let peer: &RawPeer = stage.world.node(stage.client);
    assert!(
        matches!(peer.log().frames[..], [ControlFrame::Joined(_)]),
        "{:?}",
        peer.log().frames
    );
    assert_eq!(stage.secondary_app(0).sessions().len(), 1);
}

#[test]
fn a_ticket_that_another_key_made_is_refused() {
    is_refused(|line| {
        let other = master_key(2).peer_key(&Setting::new(1, 1, 0).identity(2).pin);
        join(line, other.issue(&ticket(line)))
    });
    // One secondary's key makes no tickets for another.
    is_refused(|line| {
        let other = master_key(1).peer_key(&[7; 32]);
        join(line, other.issue(&ticket(line)))
    });
}

#[test]
fn a_ticket_for_another_session_or_path_is_refused() {
    is_refused(|line| Join {
        session: SessionId([6; 16]),
        ..honest_join(line)
    });
    is_refused(|line| Join {
        path: PathId(2),
        ..honest_join(line)
    });
}

#[test]
fn a_stolen_ticket_is_refused_without_its_key() {
    is_refused(|line| {
        let thief = JoinKey::from_seed(&[2; 32]);
        let ticket = peer_key().issue(&ticket(line));
        Join {
            proof: thief.prove(&line.exporter(), &ticket),
            join_key: thief.public_key(),
            ..join(line, ticket)
        }
    });
    // A proof that was made for another connection.
    is_refused(|line| {
        let ticket = peer_key().issue(&ticket(line));
        Join {
            proof: join_key().prove(&[0; 32], &ticket),
            ..join(line, ticket)
        }
    });
}

#[test]
fn a_ticket_out_of_its_time_is_refused() {
    let lives: [(i64, i64); 4] = [(-100, -40), (60, 120), (-3600, 60), (0, 7200)];
    for (from, to) in lives {
        is_refused(move |line| {
            let now = line.moment.now.unix_seconds;
            let ticket = Ticket {
                issued_unix_seconds: now.saturating_add_signed(from),
                expires_unix_seconds: now.saturating_add_signed(to),
                ..ticket(line)
            };
            join(line, peer_key().issue(&ticket))
        });
    }
}

/// Joins honestly, then sends what `orders` makes.
fn orders(orders: impl Fn(&mut Sealer) -> Vec<ControlFrame> + 'static) -> Stage {
    let sealer = RefCell::new(Sealer::new(&peer_key(), SESSION, PATH));
    talk(move |line, cue| match cue {
        Cue::Up => {
            let join = honest_join(line);
            line.send(&ControlFrame::Join(join));
        }
        Cue::Frame(ControlFrame::Joined(_)) => {
            for frame in orders(&mut sealer.borrow_mut()) {
                line.send(&frame);
            }
        }
        Cue::Frame(_) | Cue::Room | Cue::Alarm => {}
    })
}

/// A grant as the primary seals it.
fn grant(sealer: &mut Sealer, id: u64, range: ByteRange) -> Grant {
    let (grant, extent) = (GrantId(id), Extent::Fixed(range));
    Grant {
        grant,
        path: PATH,
        stream: STREAM,
        extent,
        max_offset: 1 << 20,
        sealed: sealer.seal_grant(grant, STREAM, extent, b"content"),
    }
}

fn range(start: u64, end: u64) -> ByteRange {
    ByteRange::new(start, end).expect("ordered")
}

/// The secondary's application must hear of no grant, and the client is closed upon.
fn costs_the_path(forge: impl Fn(&mut Sealer) -> Vec<ControlFrame> + 'static) {
    let stage = orders(forge);
    assert_eq!(stage.secondary_app(0).grants(), 0);
    let peer: &RawPeer = stage.world.node(stage.client);
    assert_eq!(peer.log().closed_with, [code::JOIN]);
}

#[test]
fn a_sealed_order_is_carried_out() {
    let stage = orders(|sealer| vec![ControlFrame::Grant(grant(sealer, 1, range(0, 5000)))]);
    assert_eq!(stage.secondary_app(0).grants(), 1);
    assert_eq!(stage.secondary_app(0).commands(), [b"content".to_vec()]);
    let peer: &RawPeer = stage.world.node(stage.client);
    assert!(peer.log().closed_with.is_empty());
}

#[test]
fn an_order_that_was_changed_is_not_carried_out() {
    // Another range, another stream, another id, another command.
    costs_the_path(|sealer| {
        let changed = Grant {
            extent: Extent::Fixed(range(0, 6000)),
            ..grant(sealer, 1, range(0, 5000))
        };
        vec![ControlFrame::Grant(changed)]
    });
    costs_the_path(|sealer| {
        let changed = Grant {
            stream: StreamId(8),
            ..grant(sealer, 1, range(0, 5000))
        };
        vec![ControlFrame::Grant(changed)]
    });
    costs_the_path(|sealer| {
        let changed = Grant {
            grant: GrantId(2),
            ..grant(sealer, 1, range(0, 5000))
        };
        vec![ControlFrame::Grant(changed)]
    });
    costs_the_path(|sealer| {
        let mut changed = grant(sealer, 1, range(0, 5000));
        let mut bytes = changed.sealed.bytes.to_vec();
        bytes[0] ^= 1;
        changed.sealed.bytes = bytes.into();
        vec![ControlFrame::Grant(changed)]
    });
}

#[test]
fn an_order_for_another_path_is_not_carried_out() {
    costs_the_path(|_| {
        let mut other = Sealer::new(&peer_key(), SESSION, PathId(2));
        vec![ControlFrame::Grant(grant(&mut other, 1, range(0, 5000)))]
    });
    costs_the_path(|_| {
        let mut other = Sealer::new(&peer_key(), SessionId([6; 16]), PATH);
        vec![ControlFrame::Grant(grant(&mut other, 1, range(0, 5000)))]
    });
}

#[test]
fn a_message_that_is_replayed_is_heard_once() {
    let stage = orders(|sealer| {
        let raw = ControlFrame::Raw(Raw {
            path: PATH,
            sealed: sealer.seal_raw(b"once"),
        });
        vec![raw.clone(), raw]
    });
    assert_eq!(stage.secondary_app(0).raw(), [b"once".to_vec()]);
}

/// Bytes that the secondary sent to a client that gave so much credit for an order of 5000.
fn sent_on_credit(max_offset: u64) -> u64 {
    let stage = orders(move |sealer| {
        let grant = Grant {
            max_offset,
            ..grant(sealer, 1, range(0, 5000))
        };
        vec![ControlFrame::Grant(grant)]
    });
    assert_eq!(stage.secondary_app(0).grants(), 1);
    assert_eq!(stage.secondary_app(0).errors(), []);
    let client = stage.world.addr(stage.client);
    let mut exchanged = stage.world.exchanged(stage.secondaries[0]);
    let with_client = exchanged.find(|(with, _)| *with == client);
    with_client.expect("they have talked").1.sent
}

/// [FLOW-1]
#[test]
fn an_order_is_obeyed_only_as_far_as_the_client_gives_credit() {
    let withheld = sent_on_credit(1 << 20) - sent_on_credit(1000);
    // The bytes, and the packets around them.
    assert!((4000..4500).contains(&withheld), "{withheld} bytes");
}

/// [SESS-1]: it keeps quiet after the handshake.
#[test]
fn a_client_that_says_nothing_is_closed_upon() {
    let asked = Rc::new(Cell::new(false));
    let note = Rc::clone(&asked);
    let mut stage = talk(move |_, _| note.set(true));
    assert!(asked.get(), "the connection stood");
    stage.world.run_for(Duration::from_secs(30));
    assert_eq!(stage.secondary_app(0).sessions(), []);
    let peer: &RawPeer = stage.world.node(stage.client);
    assert_eq!(peer.log().closed_with, [code::UNEXPECTED]);
}

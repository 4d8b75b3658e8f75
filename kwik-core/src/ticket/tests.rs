//! Claims about keys, tickets, proofs and seals, one by one.

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::ids::{ByteRange, GrantId, PathId, SessionId, StreamId};
use crate::wire::{Extent, Grant, Join, Raw, Sealed};

const SESSION: SessionId = SessionId([7; 16]);
const PATH: PathId = PathId(3);
const EXPORTER: [u8; 32] = [9; 32];
const NOW: u64 = 1_800_000_000;
const SKEW: Duration = Duration::from_secs(5);

// Keys.

/// [KEY-1]
#[test]
fn peer_keys_differ_by_pin_and_by_master() {
    let master = MasterKey::from_bytes([1; 32]);
    let key = master.peer_key(&[2; 32]);
    assert_eq!(key.as_bytes(), master.peer_key(&[2; 32]).as_bytes());
    assert_ne!(key.as_bytes(), master.peer_key(&[3; 32]).as_bytes());
    assert_ne!(
        key.as_bytes(),
        MasterKey::from_bytes([4; 32]).peer_key(&[2; 32]).as_bytes()
    );
    assert_ne!(key.as_bytes(), master.as_bytes());
}

/// Computed by an independent implementation (Python's `hmac` and `cryptography`): what the module's
/// text promises to a reader who has nothing else [KEY-1] [KEY-2] [SEAL-2] [JOIN-3].
#[test]
fn derivations_are_those_of_the_documentation() {
    let key = peer_key();
    assert_eq!(
        hex(key.as_bytes()),
        "748234741c386ce1b1e62c851c7c7bf0aff2540eeecdf0cc23169dabdff0e590"
    );
    let ticket = key.issue(&ticket());
    assert_eq!(
        hex(&ticket),
        "01070707070707070707070707070707070000000000000003000000006b49d200000000006b49d2\
         3c7599776c3085e3f9da0d13071eb0b4ab50fd2bf64c06dd92c2365af3a328eca37219be7f1b400b\
         2d2b4032f04902416abc32a13c12eac0b9d406b5d747b35896"
    );
    let proof = join_key().prove(&EXPORTER, &ticket);
    assert_eq!(
        hex(&proof),
        "fd50e2b02e32723883fb803484899536c2e72800088c5ec47340867eec5c174b8172a855e1c6de95\
         6f09cf5432b5378033a38795e02bd8af360954e5becbf409"
    );

    let mut sealer = ends().0;
    let fixed = grant(&mut sealer).sealed;
    assert_eq!(
        hex(&fixed.bytes),
        "8fd1a62523b38490ea44bd2f6412e136f621cbc31fcb779a562aa6d470399129ca"
    );
    let open = Extent::Open { start: 200 };
    let open = sealer.seal_grant(GrantId(12), StreamId(4), open, b"open");
    assert_eq!(hex(&open.bytes), "4b6890066ceed4c159e41b3ba3ee2e5d2e26c0ec");
    assert_eq!(
        hex(&sealer.seal_raw(b"raw").bytes),
        "b4df51f417a0f7712a7f5ddd826fecba730553"
    );
}

#[test]
fn debug_output_shows_no_key() {
    let master = MasterKey::from_bytes([0xab; 32]);
    let peer = PeerKey::from_bytes([0xab; 32]);
    let all = [
        format!("{master:?}"),
        format!("{peer:?}"),
        format!("{:?}", JoinKey::from_seed(&[0xab; 32])),
        format!("{:?}", Sealer::new(&peer, SESSION, PATH)),
        format!("{:?}", Opener::new(&peer, SESSION, PATH)),
    ];
    for text in all {
        assert!(!text.contains("ab") && !text.contains("171"), "{text}");
        assert!(!text.contains("[1") && text.len() < 120, "{text}");
    }
}

// Tickets.

#[test]
fn a_ticket_comes_back_as_it_was_issued() {
    let bytes = peer_key().issue(&ticket());
    assert_eq!(bytes.len(), TICKET_BYTES);
    assert_eq!(peer_key().verify(&bytes), Ok(ticket()));
}

/// [KEY-2]
#[test]
fn every_flipped_bit_of_a_ticket_is_refused() {
    let good = peer_key().issue(&ticket());
    for bad in flips(&good) {
        assert_eq!(peer_key().verify(&bad), Err(JoinError::Forged));
    }
}

#[test]
fn a_ticket_of_another_length_is_malformed() {
    let good = peer_key().issue(&ticket());
    for len in 0..good.len() {
        assert_eq!(peer_key().verify(&good[..len]), Err(JoinError::Malformed));
    }
    let longer = [&good[..], &[0]].concat();
    assert_eq!(peer_key().verify(&longer), Err(JoinError::Malformed));
}

#[test]
fn a_ticket_for_another_pin_is_refused() {
    let other = MasterKey::from_bytes([1; 32]).peer_key(&[3; 32]);
    let bytes = other.issue(&ticket());
    assert_eq!(peer_key().verify(&bytes), Err(JoinError::Forged));
}

#[test]
fn a_ticket_holds_from_its_issue_to_its_expiry_give_or_take_the_skew() {
    let at = |now| ticket().check_time(now, NOW, SKEW);
    assert_eq!(at(NOW - 6), Err(JoinError::IssuedInFuture));
    assert_eq!(at(NOW - 5), Ok(()));
    assert_eq!(at(NOW + 65), Ok(()));
    assert_eq!(at(NOW + 66), Err(JoinError::Expired));
}

#[test]
fn a_ticket_issued_before_the_server_started_is_refused() {
    let started = |at| ticket().check_time(NOW + 1, at, SKEW);
    assert_eq!(started(NOW + 5), Ok(()));
    assert_eq!(started(NOW + 6), Err(JoinError::IssuedBeforeStart));
}

#[test]
fn a_ticket_that_lives_backwards_or_too_long_is_refused() {
    let life = |expires| {
        let ticket = Ticket {
            expires_unix_seconds: expires,
            ..ticket()
        };
        ticket.check_time(NOW, NOW, SKEW)
    };
    assert_eq!(life(NOW), Ok(()));
    assert_eq!(life(NOW - 1), Err(JoinError::LifeOutOfBounds));
    assert_eq!(life(NOW + 3600), Ok(()));
    assert_eq!(life(NOW + 3601), Err(JoinError::LifeOutOfBounds));
    assert_eq!(life(u64::MAX), Err(JoinError::LifeOutOfBounds));
}

#[test]
fn times_at_the_ends_of_the_clock_do_not_overflow() {
    let ticket = |at| Ticket {
        issued_unix_seconds: at,
        expires_unix_seconds: at,
        ..ticket()
    };
    assert_eq!(ticket(0).check_time(0, 0, SKEW), Ok(()));
    assert_eq!(
        ticket(u64::MAX).check_time(u64::MAX, u64::MAX, Duration::MAX),
        Ok(())
    );
}

// Proofs.

#[test]
fn a_join_is_accepted_on_its_own_connection_only() {
    let join = join();
    assert_eq!(peer_key().verify_join(&join, &EXPORTER), Ok(ticket()));
    assert_eq!(
        peer_key().verify_join(&join, &[8; 32]),
        Err(JoinError::BadProof)
    );
}

#[test]
fn every_flipped_bit_of_a_proof_is_refused() {
    let join = join();
    for bad in flips(&join.proof) {
        let proof = bad[..].try_into().unwrap();
        assert_eq!(
            verify_proof(&join.join_key, &proof, &EXPORTER, &join.ticket),
            Err(JoinError::BadProof)
        );
    }
}

#[test]
fn a_proof_over_another_ticket_is_refused() {
    let other = peer_key().issue(&Ticket {
        issued_unix_seconds: NOW + 1,
        ..ticket()
    });
    let join = Join {
        ticket: other,
        ..join()
    };
    assert_eq!(
        peer_key().verify_join(&join, &EXPORTER),
        Err(JoinError::BadProof)
    );
}

#[test]
fn a_join_of_another_session_path_or_key_is_refused() {
    let check = |join| peer_key().verify_join(&join, &EXPORTER);
    assert_eq!(
        check(Join {
            session: SessionId([8; 16]),
            ..join()
        }),
        Err(JoinError::OtherPath)
    );
    assert_eq!(
        check(Join {
            path: PathId(4),
            ..join()
        }),
        Err(JoinError::OtherPath)
    );
    let thief = JoinKey::from_seed(&[6; 32]);
    assert_eq!(
        check(Join {
            join_key: thief.public_key(),
            proof: thief.prove(&EXPORTER, &join().ticket),
            ..join()
        }),
        Err(JoinError::OtherKey)
    );
}

// Seals.

/// [SEAL-5]
#[test]
fn sealed_commands_and_messages_come_back() {
    let (mut sealer, mut opener) = ends();
    let grant = grant(&mut sealer);
    assert_eq!(opener.open_grant(&grant), Ok(Bytes::from_static(COMMAND)));
    let raw = raw(&mut sealer, b"");
    assert_eq!(raw.sealed.bytes.len(), SEAL_OVERHEAD_BYTES);
    assert_eq!((grant.sealed.seq, raw.sealed.seq), (0, 1));
    assert_eq!(opener.open_raw(&raw), Ok(Bytes::new()));
}

/// [SEAL-4]
#[test]
fn every_flipped_bit_of_a_seal_is_refused_and_consumes_nothing() {
    let (mut sealer, mut opener) = ends();
    let good = grant(&mut sealer);
    for bad in flips(&good.sealed.bytes) {
        let mut grant = good.clone();
        grant.sealed.bytes = Bytes::from(bad);
        assert_eq!(opener.open_grant(&grant), Err(SealError::Forged));
    }
    for bit in 0..64 {
        let mut grant = good.clone();
        grant.sealed.seq ^= 1 << bit;
        assert_eq!(opener.open_grant(&grant), Err(SealError::Forged));
    }
    for len in 0..good.sealed.bytes.len() {
        let mut grant = good.clone();
        grant.sealed.bytes.truncate(len);
        assert_eq!(opener.open_grant(&grant), Err(SealError::Forged));
    }
    assert!(opener.open_grant(&good).is_ok());
}

/// [SEAL-2]
#[test]
fn a_seal_is_bound_to_its_path_grant_stream_and_range() {
    let (mut sealer, mut opener) = ends();
    let good = grant(&mut sealer);
    let fixed = |start, end| Extent::Fixed(ByteRange::new(start, end).unwrap());
    let forged = [
        Grant {
            path: PathId(4),
            ..good.clone()
        },
        Grant {
            grant: GrantId(12),
            ..good.clone()
        },
        Grant {
            stream: StreamId(5),
            ..good.clone()
        },
        Grant {
            extent: fixed(99, 200),
            ..good.clone()
        },
        Grant {
            extent: fixed(100, 201),
            ..good.clone()
        },
        Grant {
            extent: Extent::Open { start: 100 },
            ..good.clone()
        },
    ];
    for grant in forged {
        assert_eq!(opener.open_grant(&grant), Err(SealError::Forged));
    }
    // What the client fills in is not covered.
    let filled = Grant {
        max_offset: 8 << 20,
        ..good
    };
    assert!(opener.open_grant(&filled).is_ok());
}

#[test]
fn a_seal_is_bound_to_its_session_path_and_peer() {
    let (mut sealer, _) = ends();
    let good = grant(&mut sealer);
    let other_pin = MasterKey::from_bytes([1; 32]).peer_key(&[3; 32]);
    for mut opener in [
        Opener::new(&peer_key(), SessionId([8; 16]), PATH),
        Opener::new(&peer_key(), SESSION, PathId(4)),
        Opener::new(&other_pin, SESSION, PATH),
    ] {
        assert_eq!(opener.open_grant(&good), Err(SealError::Forged));
        // Not even if the client rewrites the path in the frame.
        let renamed = Grant {
            path: PathId(4),
            ..good.clone()
        };
        assert_eq!(opener.open_grant(&renamed), Err(SealError::Forged));
    }
}

#[test]
fn a_grant_is_not_a_raw_message_nor_the_reverse() {
    let (mut sealer, mut opener) = ends();
    let grant = grant(&mut sealer);
    let as_raw = Raw {
        path: PATH,
        sealed: grant.sealed.clone(),
    };
    assert_eq!(opener.open_raw(&as_raw), Err(SealError::Forged));
    let raw = raw(&mut sealer, b"hello");
    let as_grant = Grant {
        sealed: raw.sealed,
        ..grant
    };
    assert_eq!(opener.open_grant(&as_grant), Err(SealError::Forged));
}

#[test]
fn a_withheld_grant_opens_after_later_messages_but_only_once() {
    let (mut sealer, mut opener) = ends();
    let withheld = grant(&mut sealer);
    for _ in 1..SEQ_WINDOW {
        let raw = raw(&mut sealer, b"x");
        assert!(opener.open_raw(&raw).is_ok());
        assert_eq!(opener.open_raw(&raw), Err(SealError::Replayed));
    }
    assert!(opener.open_grant(&withheld).is_ok());
    assert_eq!(opener.open_grant(&withheld), Err(SealError::Replayed));
}

/// [SEAL-4]
#[test]
fn a_seal_that_fell_out_of_the_window_is_too_old() {
    let (mut sealer, mut opener) = ends();
    let all: Vec<_> = (0..=SEQ_WINDOW).map(|_| raw(&mut sealer, b"x")).collect();
    assert!(opener.open_raw(all.last().unwrap()).is_ok());
    assert_eq!(opener.open_raw(&all[0]), Err(SealError::TooOld));
    // All others still open, once, in any order.
    for raw in all[1..all.len() - 1].iter().rev() {
        assert!(opener.open_raw(raw).is_ok());
        assert_eq!(opener.open_raw(raw), Err(SealError::Replayed));
    }
}

#[test]
fn the_window_forgets_exactly_what_falls_out_when_it_jumps() {
    let (mut sealer, mut opener) = ends();
    let count = usize::try_from(3 * SEQ_WINDOW).unwrap();
    let all: Vec<_> = (0..count).map(|_| raw(&mut sealer, b"x")).collect();
    let mut seen = vec![false; count];
    let mut next = 0;
    // A walk with jumps shorter and longer than the window, and steps back.
    for at in (0..count).map(|step| step * 977 % count.min(step / 2 + 900)) {
        let want = if at < next && next - at > 1024 {
            Err(SealError::TooOld)
        } else if seen[at] {
            Err(SealError::Replayed)
        } else {
            seen[at] = true;
            next = next.max(at + 1);
            Ok(Bytes::from_static(b"x"))
        };
        assert_eq!(opener.open_raw(&all[at]), want, "sequence number {at}");
    }
    let last = &all[count - 1];
    assert!(opener.open_raw(last).is_ok());
    assert_eq!(opener.open_raw(&all[0]), Err(SealError::TooOld));
}

// Helpers.

const COMMAND: &[u8] = b"file a, all of it";

fn peer_key() -> PeerKey {
    MasterKey::from_bytes([1; 32]).peer_key(&[2; 32])
}

fn join_key() -> JoinKey {
    JoinKey::from_seed(&[5; 32])
}

fn ticket() -> Ticket {
    Ticket {
        session: SESSION,
        path: PATH,
        issued_unix_seconds: NOW,
        expires_unix_seconds: NOW + 60,
        join_key_thumbprint: join_key().thumbprint(),
    }
}

fn join() -> Join {
    let ticket = peer_key().issue(&ticket());
    Join {
        session: SESSION,
        path: PATH,
        join_key: join_key().public_key(),
        proof: join_key().prove(&EXPORTER, &ticket),
        ticket,
    }
}

fn ends() -> (Sealer, Opener) {
    (
        Sealer::new(&peer_key(), SESSION, PATH),
        Opener::new(&peer_key(), SESSION, PATH),
    )
}

fn grant(sealer: &mut Sealer) -> Grant {
    let (grant, stream) = (GrantId(11), StreamId(4));
    let extent = Extent::Fixed(ByteRange::new(100, 200).unwrap());
    Grant {
        grant,
        path: PATH,
        stream,
        extent,
        max_offset: 0,
        sealed: sealer.seal_grant(grant, stream, extent, COMMAND),
    }
}

fn raw(sealer: &mut Sealer, message: &[u8]) -> Raw {
    let sealed: Sealed = sealer.seal_raw(message);
    Raw { path: PATH, sealed }
}

/// `bytes` with each single bit flipped.
fn flips(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    (0..bytes.len() * 8).map(|bit| {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        flipped
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

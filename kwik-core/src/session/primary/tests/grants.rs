//! Paths, grants and raw messages.

use std::time::Duration;

use bytes::Bytes;

use super::bench::{Bench, MASTER, PIN, SESSION, range};
use crate::carrier::{Input, Output};
use crate::config::Config;
use crate::error::{Misuse, StreamError};
use crate::event::{PathEvent, PrimaryEvent};
use crate::ids::{ByteRange, GrantId, PathId, StreamId};
use crate::path::{PathPhase, RawTarget};
use crate::ranges::RangeSet;
use crate::ticket::{MasterKey, Opener, PeerKey};
use crate::wire::{
    Aggregate, ControlFrame, Extent, GrantOutcome, LostReason, PathStatusState, RetirePath, Revoke,
};

const MIB: u64 = 1 << 20;

impl Bench {
    fn send_raw(
        &mut self,
        path: PathId,
        target: RawTarget,
    ) -> Result<Option<GrantId>, StreamError> {
        let bytes = Bytes::from_static(b"raw");
        self.session
            .send_raw(self.now, path, target, bytes, &mut self.quic)
    }

    fn revoke(&mut self, grant: GrantId) -> Result<(), Misuse> {
        self.session.revoke(self.now, grant, &mut self.quic)
    }

    fn phase(&self, path: PathId) -> Option<PathPhase> {
        self.session
            .paths()
            .iter()
            .find(|info| info.path == path)
            .map(|info| info.phase)
    }
}

fn peer_key() -> PeerKey {
    MasterKey::from_bytes(MASTER).peer_key(&PIN)
}

fn set(ranges: &[ByteRange]) -> RangeSet {
    ranges.iter().copied().collect()
}

fn taken(range: ByteRange) -> StreamError {
    Misuse::RangeTaken(range).into()
}

/// [JOIN-1] [PATH-3]
#[test]
fn add_path_names_the_secondary_with_a_ticket_for_this_client() {
    let mut bench = Bench::new();
    let path = bench.added_path();
    assert_eq!(path, PathId(1));
    let frames = bench.frames();
    let [ControlFrame::AddPath(frame)] = &frames[..] else {
        panic!("{frames:?}")
    };
    assert_eq!((frame.path, frame.pin), (path, PIN));
    let ticket = peer_key().verify(&frame.ticket).expect("genuine");
    assert_eq!((ticket.session, ticket.path), (SESSION, path));
    assert_eq!(ticket.join_key_thumbprint, [5; 32]);
    assert_eq!(ticket.expires_unix_seconds, bench.now.unix_seconds + 60);
    assert_eq!(bench.phase(path), Some(PathPhase::Dialing));
    bench.path_status(path, PathStatusState::Active);
    assert_eq!(
        bench.events(),
        [PrimaryEvent::Path(PathEvent::Active(path))]
    );
    assert_eq!(bench.phase(path), Some(PathPhase::Active));
    bench.path_status(path, PathStatusState::Dead);
    bench.path_status(path, PathStatusState::Dead);
    assert_eq!(bench.events(), [PrimaryEvent::Path(PathEvent::Dead(path))]);
    bench.path_status(path, PathStatusState::Active);
    assert_eq!(
        bench.phase(path),
        Some(PathPhase::Dead),
        "a dead path never comes back"
    );
}

#[test]
fn the_history_of_paths_is_bounded() {
    let mut config = Config::default();
    config.server.path_history_max = 2;
    let mut bench = Bench::with_config(config);
    let paths: Vec<PathId> = (0..4).map(|_| bench.path()).collect();
    for &path in &paths[..3] {
        bench.path_status(path, PathStatusState::Dead);
    }
    let listed: Vec<PathId> = bench.session.paths().iter().map(|info| info.path).collect();
    assert_eq!(listed, paths[1..]);
    bench.path_status(paths[0], PathStatusState::Retired);
    assert!(!bench.session.is_closed(), "late, not wrong");
}

/// [PATH-8]
#[test]
fn a_retired_path_gets_nothing_more_and_keeps_what_it_has() {
    let mut bench = Bench::new();
    let path = bench.path();
    let stream = bench.aggregated(MIB);
    let grant = bench
        .delegate(stream, range(0, 10), path)
        .expect("delegated");
    bench.frames();
    bench
        .session
        .retire_path(bench.now, path, &mut bench.quic)
        .expect("retired");
    assert_eq!(
        bench.frames(),
        [ControlFrame::RetirePath(RetirePath { path })]
    );
    let unknown = StreamError::Misuse(Misuse::UnknownPath(path));
    assert_eq!(
        bench.delegate(stream, range(10, 20), path),
        Err(unknown.clone())
    );
    assert_eq!(bench.send_raw(path, RawTarget::Message), Err(unknown));
    assert_eq!(
        bench.session.retire_path(bench.now, path, &mut bench.quic),
        Err(Misuse::UnknownPath(path))
    );
    bench.done(grant, 10);
    bench.path_status(path, PathStatusState::Retired);
    let done = PrimaryEvent::GrantDone { grant, end: 10 };
    assert_eq!(
        bench.events(),
        [done, PrimaryEvent::Path(PathEvent::Retired(path))]
    );
}

/// [PATH-8]
#[test]
fn what_a_retired_path_does_not_bring_in_time_is_taken_back() {
    let mut bench = Bench::new();
    let (path, other) = (bench.path(), bench.path());
    let stream = bench.aggregated(MIB);
    let grant = bench
        .delegate(stream, range(0, 10), path)
        .expect("delegated");
    bench
        .delegate(stream, range(10, 20), other)
        .expect("delegated");
    assert_eq!(bench.session.poll_timeout(), None);
    bench
        .session
        .retire_path(bench.now, path, &mut bench.quic)
        .expect("retired");
    bench.frames();
    let retire_max = Config::default().server.retire_max;
    let deadline = bench.now.monotonic + retire_max;
    assert_eq!(bench.session.poll_timeout(), Some(deadline));
    bench.pass(retire_max - Duration::from_millis(1));
    bench.input(Input::Timeout);
    assert_eq!(bench.frames(), []);
    bench.pass(Duration::from_millis(1));
    bench.input(Input::Timeout);
    let revoke = ControlFrame::Revoke(Revoke { grant, end: 0 });
    assert_eq!(bench.frames(), [revoke], "of this path alone");
    assert_eq!(bench.session.poll_timeout(), None);
}

/// [PATH-8]
#[test]
fn a_retired_path_that_ends_in_time_is_waited_for_no_longer() {
    let mut bench = Bench::new();
    let path = bench.path();
    bench
        .session
        .retire_path(bench.now, path, &mut bench.quic)
        .expect("retired");
    bench.path_status(path, PathStatusState::Retired);
    assert_eq!(bench.session.poll_timeout(), None);
}

/// [AGG-1]
#[test]
fn aggregate_precedes_the_first_grant_and_the_order_is_sealed() {
    let mut bench = Bench::new();
    let path = bench.path();
    let stream = bench.stream();
    bench.write(stream, 10);
    let grant = bench
        .delegate(stream, range(10, 100), path)
        .expect("delegated");
    let frames = bench.frames();
    let [
        ControlFrame::Aggregate(aggregate),
        ControlFrame::Grant(frame),
    ] = &frames[..]
    else {
        panic!("{frames:?}")
    };
    assert_eq!(
        *aggregate,
        Aggregate {
            stream,
            plain_end: 10,
            final_size: None
        }
    );
    assert_eq!(
        (frame.grant, frame.path, frame.stream),
        (grant, path, stream)
    );
    assert_eq!(frame.extent, Extent::Fixed(range(10, 100)));
    assert_eq!(frame.max_offset, 0);
    let mut opener = Opener::new(&peer_key(), SESSION, path);
    assert_eq!(
        opener.open_grant(frame).expect("ours"),
        Bytes::from_static(b"command")
    );
}

/// [GRANT-1]
#[test]
fn grant_ids_rise_over_the_session() {
    let mut bench = Bench::new();
    let (one, two) = (bench.path(), bench.path());
    let (left, right) = (bench.aggregated(MIB), bench.aggregated(MIB));
    let ids = [
        bench.delegate(left, range(0, 10), one).expect("given"),
        bench.delegate(right, range(0, 10), two).expect("given"),
        bench.delegate(left, range(10, 20), two).expect("given"),
    ];
    assert!(ids[0] < ids[1] && ids[1] < ids[2]);
}

#[test]
fn delegate_refuses_what_cannot_be_granted() {
    let mut bench = Bench::new();
    let path = bench.path();
    let stream = bench.stream();
    bench.write(stream, 10);
    let bad = |range| StreamError::Misuse(Misuse::BadRange(range));
    assert_eq!(
        bench.delegate(stream, range(20, 20), path),
        Err(bad(range(20, 20)))
    );
    assert_eq!(
        bench.delegate(stream, range(9, 20), path),
        Err(bad(range(9, 20)))
    );
    let unknown = StreamError::Misuse(Misuse::UnknownPath(PathId::PRIMARY));
    assert_eq!(
        bench.delegate(stream, range(10, 20), PathId::PRIMARY),
        Err(unknown)
    );
    let nowhere = StreamId(400);
    let unknown = StreamError::Misuse(Misuse::UnknownStream(nowhere));
    assert_eq!(bench.delegate(nowhere, range(10, 20), path), Err(unknown));
    assert!(bench.frames().is_empty(), "misuse changes nothing");
    bench
        .delegate(stream, range(10, 20), path)
        .expect("delegated");
    assert_eq!(
        bench.delegate(stream, range(19, 30), path),
        Err(taken(range(19, 30)))
    );
    let mut command = vec![0; (16 << 10) + 1];
    command[0] = 1;
    let result = bench.session.delegate(
        bench.now,
        stream,
        range(20, 30),
        path,
        Bytes::from(command),
        &mut bench.quic,
    );
    assert_eq!(result, Err(Misuse::Limit("bytes of a command").into()));
    bench.finish(stream).expect("finish");
    // What has ended is not aggregated any more [AGG-3].
    let ended = bench.stream();
    bench.finish(ended).expect("finish");
    assert_eq!(
        bench.delegate(ended, range(0, 10), path),
        Err(Misuse::Finished(ended).into())
    );
}

/// [GRANT-14]
#[test]
fn the_grants_of_a_path_without_a_final_status_are_limited() {
    let mut config = Config::default();
    config.server.grants_per_path_max = 2;
    let mut bench = Bench::with_config(config);
    let (path, other) = (bench.path(), bench.path());
    let stream = bench.aggregated(MIB);
    let first = bench.delegate(stream, range(0, 10), path).expect("one");
    bench.delegate(stream, range(10, 20), path).expect("two");
    let limit = StreamError::Misuse(Misuse::Limit("grants of a path"));
    assert_eq!(
        bench.delegate(stream, range(20, 30), path),
        Err(limit.clone())
    );
    bench
        .delegate(stream, range(20, 30), other)
        .expect("elsewhere");
    bench.revoke(first).expect("revoked");
    assert_eq!(
        bench.delegate(stream, range(30, 40), path),
        Err(limit),
        "still owed"
    );
    bench.lost(first, LostReason::Revoked, 10, &[range(0, 10)]);
    bench
        .delegate(stream, range(30, 40), path)
        .expect("room again");
}

/// [GRANT-3]
#[test]
fn a_grant_has_exactly_one_final_status() {
    let mut bench = Bench::new();
    let path = bench.path();
    let stream = bench.aggregated(MIB);
    let grant = bench
        .delegate(stream, range(0, 100), path)
        .expect("delegated");
    bench.status(grant, GrantOutcome::Progress { present: 40 });
    assert!(bench.events().is_empty());
    assert_eq!(bench.session.paths()[0].received_bytes, 40);
    bench.done(grant, 100);
    bench.done(grant, 100);
    bench.lost(grant, LostReason::Path, 100, &[range(0, 100)]);
    assert_eq!(
        bench.events(),
        [PrimaryEvent::GrantDone { grant, end: 100 }]
    );
    assert_eq!(bench.session.paths()[0].received_bytes, 100);
    assert_eq!(bench.revoke(grant), Err(Misuse::UnknownGrant(grant)));
}

/// [CTL-11]
#[test]
fn control_is_read_although_none_can_be_sent() {
    let mut bench = Bench::new();
    let path = bench.path();
    let stream = bench.aggregated(MIB);
    let grant = bench.delegate(stream, range(0, 10), path).expect("given");
    bench.frames();
    bench.quic.control_room = 0;
    bench.revoke(grant).expect("live");
    bench.done(grant, 10);
    assert_eq!(bench.events(), [PrimaryEvent::GrantDone { grant, end: 10 }]);
    assert!(bench.frames().is_empty(), "nothing could be sent");
}

#[test]
fn a_list_of_missing_ranges_may_span_frames() {
    let mut bench = Bench::new();
    let path = bench.path();
    let stream = bench.aggregated(MIB);
    let grant = bench
        .delegate(stream, range(0, 100), path)
        .expect("delegated");
    for (part, more) in [
        (range(0, 10), true),
        (range(20, 30), true),
        (range(40, 100), false),
    ] {
        assert!(bench.events().is_empty());
        let missing = [part].into_iter().collect();
        let reason = LostReason::Short;
        bench.status(
            grant,
            GrantOutcome::Lost {
                reason,
                end: 100,
                missing,
                more,
            },
        );
    }
    let missing = set(&[range(0, 10), range(20, 30), range(40, 100)]);
    let reason = LostReason::Short;
    assert_eq!(
        bench.events(),
        [PrimaryEvent::GrantLost {
            grant,
            reason,
            missing
        }]
    );
    assert_eq!(bench.session.paths()[0].received_bytes, 20);
}

#[test]
fn a_status_that_contradicts_its_grant_is_a_violation() {
    let lost = |end, missing| GrantOutcome::Lost {
        reason: LostReason::Short,
        end,
        missing: [missing].into_iter().collect(),
        more: false,
    };
    let outcomes = [
        GrantOutcome::Done { end: 99 },
        GrantOutcome::Done { end: 101 },
        lost(100, range(90, 101)),
        lost(50, range(0, 10)),
    ];
    for outcome in outcomes {
        let mut bench = Bench::new();
        let path = bench.path();
        let stream = bench.aggregated(MIB);
        let grant = bench
            .delegate(stream, range(0, 100), path)
            .expect("delegated");
        bench.status(grant, outcome.clone());
        assert!(
            matches!(bench.outputs()[..], [Output::Close { .. }]),
            "{outcome:?}"
        );
    }
}

/// [GRANT-13]
#[test]
fn what_was_granted_again_before_the_loss_was_told_is_not_missing() {
    let mut bench = Bench::new();
    let (slow, fast) = (bench.path(), bench.path());
    let stream = bench.aggregated(MIB);
    let first = bench
        .delegate(stream, range(0, 100), slow)
        .expect("delegated");
    bench.frames();
    bench.revoke(first).expect("revoked");
    bench.revoke(first).expect("once is enough");
    assert_eq!(
        bench.frames(),
        [ControlFrame::Revoke(Revoke {
            grant: first,
            end: 0
        })]
    );
    let second = bench
        .delegate(stream, range(60, 100), fast)
        .expect("the tail is free");
    bench.lost(first, LostReason::Revoked, 100, &[range(50, 100)]);
    let missing = set(&[range(50, 60)]);
    let reason = LostReason::Revoked;
    assert_eq!(
        bench.events(),
        [PrimaryEvent::GrantLost {
            grant: first,
            reason,
            missing
        }]
    );
    assert_eq!(
        bench.delegate(stream, range(60, 61), slow),
        Err(taken(range(60, 61)))
    );
    bench.done(second, 100);
    assert_eq!(
        bench.events(),
        [PrimaryEvent::GrantDone {
            grant: second,
            end: 100
        }]
    );
}

#[test]
fn raw_messages_are_sealed_and_grant_nothing() {
    let mut bench = Bench::new();
    let path = bench.path();
    assert_eq!(bench.send_raw(path, RawTarget::Message), Ok(None));
    let frames = bench.frames();
    let [ControlFrame::Raw(raw)] = &frames[..] else {
        panic!("{frames:?}")
    };
    let mut opener = Opener::new(&peer_key(), SESSION, path);
    assert_eq!(
        opener.open_raw(raw).expect("ours"),
        Bytes::from_static(b"raw")
    );
}

/// [GRANT-7]
#[test]
fn nothing_is_granted_or_written_above_an_open_grant_until_its_final_status() {
    let mut bench = Bench::new();
    let path = bench.path();
    let stream = bench.aggregated(MIB);
    bench.write(stream, 100);
    let grant = bench
        .send_raw(path, RawTarget::Cursor(stream))
        .expect("sent")
        .expect("a grant");
    assert!(matches!(
        bench.grants()[..],
        [crate::wire::Grant {
            extent: Extent::Open { start: 100 },
            ..
        }]
    ));
    assert_eq!(bench.try_write(stream, 10), Err(taken(range(100, 110))));
    assert_eq!(
        bench.delegate(stream, range(500, 600), path),
        Err(taken(range(500, 600)))
    );
    let open = |start| taken(ByteRange::from(start));
    assert_eq!(
        bench.send_raw(path, RawTarget::Cursor(stream)),
        Err(open(100))
    );
    assert_eq!(
        bench.send_raw(path, RawTarget::At(stream, 700)),
        Err(open(700))
    );
    bench.finish(stream).expect("finish waits");
    assert!(bench.frames().is_empty());
    bench.done(grant, 250);
    assert_eq!(
        bench.events(),
        [PrimaryEvent::GrantDone { grant, end: 250 }]
    );
    let frames = bench.frames();
    let [ControlFrame::FinalSize(frame)] = &frames[..] else {
        panic!("{frames:?}")
    };
    assert_eq!(frame.size, 250);
}

#[test]
fn an_open_grant_moves_the_cursor_to_where_it_ended() {
    let mut bench = Bench::new();
    let path = bench.path();
    let stream = bench.aggregated(MIB);
    let grant = bench
        .send_raw(path, RawTarget::Cursor(stream))
        .expect("sent")
        .expect("a grant");
    bench.done(grant, 250);
    bench.write(stream, 10);
    assert_eq!(bench.segments().last().map(|s| s.1), Some(range(250, 260)));
    // A lost one too, to the highest byte that came; revoking does not free its range.
    let grant = bench
        .send_raw(path, RawTarget::Cursor(stream))
        .expect("sent")
        .expect("a grant");
    bench.revoke(grant).expect("revoked");
    assert_eq!(bench.try_write(stream, 10), Err(taken(range(260, 270))));
    bench.events();
    bench.lost(grant, LostReason::Revoked, 300, &[range(270, 280)]);
    let missing = set(&[range(270, 280)]);
    let reason = LostReason::Revoked;
    assert_eq!(
        bench.events(),
        [PrimaryEvent::GrantLost {
            grant,
            reason,
            missing
        }]
    );
    bench.write(stream, 10);
    assert_eq!(bench.segments().last().map(|s| s.1), Some(range(300, 310)));
}

#[test]
fn an_open_grant_elsewhere_leaves_the_cursor() {
    let mut bench = Bench::new();
    let path = bench.path();
    let stream = bench.aggregated(MIB);
    let target = RawTarget::At(stream, 50);
    let grant = bench
        .send_raw(path, target)
        .expect("sent")
        .expect("a grant");
    assert_eq!(bench.write(stream, 60), 50);
    bench.done(grant, 70);
    bench.set_offset(stream, 70).expect("set");
    bench.finish(stream).expect("covered");
}

#[test]
fn no_message_goes_to_a_dead_path() {
    let mut bench = Bench::new();
    let path = bench.added_path();
    bench.path_status(path, PathStatusState::Dead);
    assert_eq!(
        bench.send_raw(path, RawTarget::Message),
        Err(Misuse::UnknownPath(path).into())
    );
    bench.input(Input::Timeout);
}

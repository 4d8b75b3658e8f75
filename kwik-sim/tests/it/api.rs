//! What an application can ask for, each kind of call once, through the whole system.

use bytes::Bytes;
use kwik_core::endpoint::Primary;
use kwik_core::error::{CloseReason, Misuse, StreamError};
use kwik_core::event::PathEvent;
use kwik_core::ids::{ByteRange, GrantId, PathId, StreamId};
use kwik_core::path::{PathPhase, RawTarget};
use kwik_core::plan::Spread;
use kwik_sim::app::{AnswerOn, Ask, Delivery, Request};
use kwik_sim::content::Content;
use kwik_sim::host::KwikNode;
use kwik_sim::link::LinkSpec;
use kwik_sim::{Setting, Stage, World};

use crate::SECOND;

const SEED: u64 = 1;
const KIB: u64 = 1 << 10;

fn ask(bytes: u64, answer_on: AnswerOn) -> Ask {
    Ask::new(Request { bytes, answer_on })
}

fn ends_well(stage: &mut Stage) {
    stage.run_to_end(stage.world.time() + 20 * SECOND);
    let report = stage.report("api");
    eprintln!("{report}");
    assert!(report.is_success(), "{report}");
    assert_eq!(stage.primary_app().errors(), []);
}

#[test]
fn answers_of_any_length_come_on_either_kind_of_stream() {
    let deliveries = [
        Delivery::Plain,
        Delivery::Plan(Spread::Pull),
        Delivery::Plan(Spread::Rotate { range_bytes: 4096 }),
        Delivery::Delegate { range_bytes: 8192 },
    ];
    for delivery in deliveries {
        for answer_on in [AnswerOn::SameStream, AnswerOn::OwnStream] {
            for bytes in [0, 1, 65_537, 300_000] {
                let mut setting = Setting::new(SEED, 2, 0).delivery(delivery);
                setting.asks = vec![ask(bytes, answer_on)];
                ends_well(&mut setting.build());
            }
        }
    }
}

#[test]
fn many_answers_come_at_the_same_time() {
    let mut setting = Setting::new(SEED, 2, 0);
    setting.asks = (0..20)
        .map(|i| ask(20_000 + i, AnswerOn::SameStream))
        .collect();
    ends_well(&mut setting.build());
}

/// A world whose primary was asked for so many bytes on the client's stream and has not answered;
/// its secondaries are there. Returns the stream.
fn by_hand(bytes: u64) -> (Stage, StreamId) {
    let mut setting = Setting::new(SEED, 2, 0).delivery(Delivery::ByHand);
    setting.asks = vec![ask(bytes, AnswerOn::SameStream)];
    let mut stage = setting.build();
    stage.world.run_for(SECOND);
    let unanswered = stage.primary_app().unanswered();
    let [(stream, _)] = unanswered else {
        panic!("one request: {unanswered:?}");
    };
    let stream = *stream;
    (stage, stream)
}

fn content(stream: StreamId, range: ByteRange) -> Bytes {
    let len = usize::try_from(range.len()).expect("small");
    Content::new(SEED).make(stream.0, range.start(), len)
}

fn range(start: u64, end: u64) -> ByteRange {
    ByteRange::new(start, end).expect("ordered")
}

/// Writes a range at the cursor, which must be at its start.
fn write(primary: &mut Primary<'_>, stream: StreamId, range: ByteRange) {
    let mut bytes = content(stream, range);
    primary.write(stream, &mut bytes).expect("allowed");
    assert!(bytes.is_empty(), "within the first credit");
}

/// Writes a range through a segment.
fn write_at(primary: &mut Primary<'_>, stream: StreamId, range: ByteRange) {
    let segment = primary
        .open_segment_at(stream, range.start())
        .expect("allowed");
    let mut bytes = content(stream, range);
    primary.write_segment(segment, &mut bytes).expect("allowed");
    assert!(bytes.is_empty(), "within the first credit");
    primary.finish_segment(segment).expect("open");
}

fn acts<T>(stage: &mut Stage, act: impl FnOnce(&mut Primary<'_>) -> T) -> T {
    stage.on_primary(act).expect("a session")
}

/// Lets the client's first credit for an aggregated stream come.
fn aggregate(stage: &mut Stage, stream: StreamId, offset: u64) {
    acts(stage, |primary| primary.set_offset(stream, offset)).expect("allowed");
    stage.world.run_for(SECOND);
}

#[test]
fn the_cursor_can_be_moved_and_the_gap_be_filled_later() {
    let (mut stage, stream) = by_hand(200 * KIB);
    let middle = 100 * KIB;
    aggregate(&mut stage, stream, middle);
    acts(&mut stage, |primary| {
        write(primary, stream, range(middle, 200 * KIB));
        let uncovered = Misuse::RangeUncovered(range(0, middle));
        assert_eq!(primary.finish(stream), Err(uncovered.into()));
    });
    stage.world.run_for(SECOND);
    assert_eq!(
        stage.reader().bytes(),
        0,
        "nothing before the gap is filled"
    );
    acts(&mut stage, |primary| {
        write_at(primary, stream, range(0, middle));
        primary.finish(stream).expect("all is written");
    });
    ends_well(&mut stage);
}

#[test]
fn a_stream_that_began_plain_goes_on_aggregated() {
    let (mut stage, stream) = by_hand(200 * KIB);
    acts(&mut stage, |primary| {
        write(primary, stream, range(0, 50 * KIB));
        let piece = range(50 * KIB, 150 * KIB);
        primary
            .delegate(stream, piece, PathId(1), Bytes::new())
            .expect("allowed");
    });
    stage.world.run_for(SECOND);
    assert_eq!(stage.reader().bytes(), 150 * KIB);
    acts(&mut stage, |primary| {
        // Delegating from the cursor has moved it.
        write(primary, stream, range(150 * KIB, 200 * KIB));
        primary.finish(stream).expect("all is written");
    });
    ends_well(&mut stage);
    assert_eq!(stage.report("").percent_of(PathId(1)), 50);
}

#[test]
fn a_live_grant_cannot_be_written_into_but_through_a_segment() {
    let (mut stage, stream) = by_hand(100 * KIB);
    aggregate(&mut stage, stream, 0);
    stage.world.crash(stage.secondaries[0]);
    let granted = range(0, 100 * KIB);
    acts(&mut stage, |primary| {
        primary
            .delegate(stream, granted, PathId(1), Bytes::new())
            .expect("allowed");
        let into = primary.set_offset(stream, 50 * KIB);
        let is_taken = |error| matches!(error, StreamError::Misuse(Misuse::RangeTaken(_)));
        assert!(into.is_err_and(is_taken), "the cursor cannot be there");
        // Taking the whole range over is allowed.
        write_at(primary, stream, granted);
        primary.set_offset(stream, 100 * KIB).expect("allowed");
        primary.finish(stream).expect("all is written");
    });
    ends_well(&mut stage);
    assert_eq!(stage.reader().conflicts(), 0);
}

#[test]
fn bytes_that_two_servers_write_are_read_once() {
    let (mut stage, stream) = by_hand(100 * KIB);
    aggregate(&mut stage, stream, 0);
    acts(&mut stage, |primary| {
        let tail = range(50 * KIB, 100 * KIB);
        primary
            .delegate(stream, tail, PathId(1), Bytes::new())
            .expect("allowed");
        write_at(primary, stream, tail);
    });
    stage.world.run_for(SECOND);
    let stats = stage.stats().expect("a session");
    // Once they are all there the client wants no more of them; what comes then is not counted.
    assert!((1..=50 * KIB).contains(&stats.duplicate_bytes), "{stats:?}");
    assert_eq!(stats.conflict_bytes, 0);
    acts(&mut stage, |primary| {
        write_at(primary, stream, range(0, 50 * KIB));
        primary.finish(stream).expect("all is written");
    });
    ends_well(&mut stage);
}

#[test]
fn a_raw_message_reaches_the_secondary_and_no_stream() {
    let (mut stage, _) = by_hand(1);
    let grant = acts(&mut stage, |primary| {
        let message = Bytes::from_static(b"are you well?");
        primary.send_raw(PathId(2), RawTarget::Message, message)
    });
    assert_eq!(grant, Ok(None));
    stage.world.run_for(SECOND);
    assert_eq!(stage.secondary_app(1).raw(), [b"are you well?".to_vec()]);
    assert_eq!(stage.secondary_app(0).raw(), [] as [Vec<u8>; 0]);
    assert_eq!(stage.reader().bytes(), 0);
}

/// Sends a raw message into a stream; the grant and where it ended.
fn raw_into(stage: &mut Stage, target: RawTarget) -> (GrantId, u64) {
    let command = Bytes::from_static(b"as much as you like");
    let grant = acts(stage, |primary| {
        primary.send_raw(PathId(1), target, command)
    });
    let grant = grant.expect("allowed").expect("it grants");
    stage.world.run_for(SECOND);
    let done = stage.primary_app().done();
    *done
        .iter()
        .find(|(id, _)| *id == grant)
        .expect("it is done")
}

/// An honest secondary writes 64 KiB into an open grant.
const OPEN_BYTES: u64 = 64 * KIB;

#[test]
fn a_raw_message_at_the_cursor_lets_the_secondary_say_where_it_ends() {
    let (mut stage, stream) = by_hand(2 * OPEN_BYTES);
    let (_, end) = raw_into(&mut stage, RawTarget::Cursor(stream));
    assert_eq!(end, OPEN_BYTES);
    acts(&mut stage, |primary| {
        write(primary, stream, range(OPEN_BYTES, 2 * OPEN_BYTES));
        primary.finish(stream).expect("all is written");
    });
    ends_well(&mut stage);
}

#[test]
fn a_raw_message_at_an_offset_lets_the_secondary_say_where_it_ends() {
    let (mut stage, stream) = by_hand(2 * OPEN_BYTES);
    aggregate(&mut stage, stream, 0);
    let (_, end) = raw_into(&mut stage, RawTarget::At(stream, OPEN_BYTES));
    assert_eq!(end, 2 * OPEN_BYTES);
    acts(&mut stage, |primary| {
        write_at(primary, stream, range(0, OPEN_BYTES));
        primary.set_offset(stream, 2 * OPEN_BYTES).expect("allowed");
        primary.finish(stream).expect("all is written");
    });
    ends_well(&mut stage);
}

#[test]
fn a_revoked_grant_comes_back_with_what_is_missing() {
    let delivery = Delivery::Delegate {
        range_bytes: 1 << 20,
    };
    // Slow enough for a good part of a grant to be unsent.
    let link = LinkSpec {
        bandwidth_bits_per_second: Some(10_000_000),
        ..LinkSpec::default()
    };
    let setting = Setting::new(SEED, 2, 8 << 20).delivery(delivery);
    let mut stage = setting.link(link).build();
    assert!(stage.run_until_percent(20, 5 * SECOND));
    // Whichever of the first hundred are live.
    let revoked = acts(&mut stage, |primary| {
        let ids = (0..100).map(GrantId);
        ids.filter(|&id| primary.revoke(id).is_ok()).count()
    });
    assert!(revoked > 0);
    ends_well(&mut stage);
    let losses = stage.primary_app().losses();
    assert!(!losses.is_empty() && losses.len() <= revoked, "{losses:?}");
}

#[test]
fn a_retired_path_finishes_its_grants_and_closes() {
    let mut stage = Setting::new(SEED, 2, 8 << 20).build();
    assert!(stage.run_until_percent(30, 5 * SECOND));
    acts(&mut stage, |primary| primary.retire_path(PathId(1))).expect("a live path");
    ends_well(&mut stage);
    let events = stage.reader().path_events().iter().map(|(_, event)| *event);
    let last = events.rev().find(|event| path_of(*event) == PathId(1));
    assert_eq!(last, Some(PathEvent::Retired(PathId(1))));
    let stats = stage.stats().expect("a session");
    assert_eq!((stats.regranted_bytes, stats.duplicate_bytes), (0, 0));
    let phases = acts(&mut stage, |primary| primary.paths());
    let phase = phases
        .iter()
        .find(|info| info.path == PathId(1))
        .map(|info| info.phase);
    assert_eq!(phase, Some(PathPhase::Retired));
}

fn path_of(event: PathEvent) -> PathId {
    match event {
        PathEvent::Added(path)
        | PathEvent::Active(path)
        | PathEvent::Dead(path)
        | PathEvent::Retired(path) => path,
    }
}

#[test]
fn a_path_that_is_added_during_a_transfer_joins_in() {
    let setting = Setting::new(SEED, 1, 16 << 20);
    let mut stage = setting.build();
    let identity = setting.identity(3).secondary(SEED);
    let config = std::sync::Arc::new(setting.config.clone());
    let spec = kwik_sim::app::SecondarySpec {
        content: Content::new(SEED),
        conduct: kwik_sim::app::Conduct::HONEST,
    };
    let program = KwikNode::program(config, Some(identity), setting.crypto, move || {
        kwik_sim::app::Secondary::new(spec)
    });
    stage.world.add_host(program);
    assert!(stage.run_until_percent(20, 5 * SECOND));
    let path = acts(&mut stage, |primary| primary.add_path(setting.path_spec(1)));
    assert_eq!(path, Ok(PathId(2)));
    ends_well(&mut stage);
    assert!(stage.report("").percent_of(PathId(2)) > 0);
}

#[test]
fn a_stream_that_the_client_stops_is_over_everywhere_and_the_session_goes_on() {
    let mut stage = Setting::new(SEED, 2, 32 << 20).build();
    assert!(stage.run_until_percent(10, 5 * SECOND));
    let stream = StreamId(1);
    stage
        .on_client(|client| client.stop(stream, 77))
        .expect("a session")
        .expect("a stream");
    stage.world.run_for(5 * SECOND);
    let before = stage.world.datagrams_sent();
    stage.world.run_for(5 * SECOND);
    let after = stage.world.datagrams_sent();
    assert!(
        after - before < 100,
        "nobody goes on writing: {}",
        after - before
    );
    assert_eq!(stage.reader().closed(), None);
    let stats = stage.stats().expect("a session");
    assert_eq!(stats.buffered_bytes, 0);
}

/// After the end nothing is left: no connection, no session, no timer that fires.
#[test]
fn a_session_that_the_client_closes_leaves_nothing_behind() {
    let mut stage = Setting::new(SEED, 2, 32 << 20).build();
    assert!(stage.run_until_percent(10, 5 * SECOND));
    stage
        .on_client(|client| client.close(99))
        .expect("a session");
    stage.world.run_for(20 * SECOND);
    assert_eq!(
        stage.reader().closed().map(|(_, reason)| reason),
        Some(&CloseReason::Local)
    );
    assert_eq!(stage.primary_app().closed(), [CloseReason::Peer(99)]);
    for index in [0, 1] {
        assert_eq!(stage.secondary_app(index).closed().len(), 1);
    }
    let hosts = [
        stage.client,
        stage.primary,
        stage.secondaries[0],
        stage.secondaries[1],
    ];
    for host in hosts {
        let node: &KwikNode = stage.world.node(host);
        assert!(node.endpoint().is_drained(), "{host:?}");
        assert_eq!(node.endpoint().sessions(), 0, "{host:?}");
    }
    let sent = stage.world.datagrams_sent();
    stage.world.run_for(60 * SECOND);
    assert_eq!(stage.world.datagrams_sent(), sent);
}

/// quinn keeps both copies of what came twice before it was read. When a carrier whose header was
/// read in order is then read in any order, it gives the header once more: no byte of the stream.
#[test]
fn a_segment_that_was_sent_again_before_it_was_read_is_no_violation() {
    let (mut stage, stream) = by_hand(5000);
    aggregate(&mut stage, stream, 0);
    let (client, primary) = (stage.client, stage.primary);
    let millisecond = SECOND / 1000;
    let write_next = |stage: &mut Stage, start: u64| {
        acts(stage, |primary| {
            write_at(primary, stream, range(start, start + 1000))
        });
        stage.world.run_for(millisecond);
    };
    // The first segment is held back and overtaken by others: it is taken for lost.
    let link = stage.world.link(primary, client).spec_mut();
    (link.reorder_ppm, link.reorder_delay) = (1_000_000, SECOND / 2);
    write_next(&mut stage, 0);
    stage.world.link(primary, client).spec_mut().reorder_ppm = 0;
    for start in [1000, 2000, 3000, 4000] {
        write_next(&mut stage, start);
    }
    let sent = stage.world.link(primary, client).stats().datagrams;
    let limit = stage.world.time() + SECOND / 4;
    let is_sent_again = |world: &mut World| world.link(primary, client).stats().datagrams > sent;
    while !is_sent_again(&mut stage.world) {
        assert!(stage.world.time() < limit, "it is sent again");
        stage.world.run_for(millisecond);
    }
    // The client finds both copies.
    stage.world.set_paused(client, true);
    stage.world.run_for(SECOND);
    stage.world.set_paused(client, false);
    stage.world.run_for(SECOND);
    acts(&mut stage, |primary| {
        primary.set_offset(stream, 5000).expect("allowed");
        primary.finish(stream).expect("all is written");
    });
    ends_well(&mut stage);
}

//! Every call in every state: what an application does wrong is refused as it is documented, changes
//! nothing, and the transfer goes on.

use std::time::Duration;

use kwik_core::error::{CloseReason, Misuse};
use kwik_core::event::PathEvent;
use kwik_core::ids::{PathId, SessionHandle, StreamId};
use kwik_core::plan::Spread;
use kwik_sim::app::{Delivery, Primary, Reader, Secondary};
use kwik_sim::clock::Moment;
use kwik_sim::host::{App, Hosted, KwikNode};
use kwik_sim::link::LinkSpec;
use kwik_sim::world::HostId;
use kwik_sim::{Setting, Stage};

use crate::SECOND;

const SEED: u64 = 1;
const MILLISECOND: Duration = Duration::from_millis(1);
const DELIVERIES: [Delivery; 4] = [
    Delivery::Plain,
    Delivery::Plan(Spread::Pull),
    Delivery::Plan(Spread::Rotate { range_bytes: 4096 }),
    Delivery::Delegate { range_bytes: 8192 },
];

fn hosts(stage: &Stage) -> Vec<HostId> {
    let servers = std::iter::once(stage.primary).chain(stage.secondaries.clone());
    std::iter::once(stage.client).chain(servers).collect()
}

/// Does something to the program of every host that is up.
fn everywhere(stage: &mut Stage, mut call: impl FnMut(&mut KwikNode, Moment)) {
    for host in hosts(stage) {
        if stage.world.is_up(host) {
            stage.world.act(host, &mut call);
        }
    }
}

/// Makes every call that must be refused, on every host, every so often for so long.
fn poke_for(stage: &mut Stage, time: Duration, every: Duration) {
    let end = stage.world.time() + time;
    let mut ordinal = 0;
    while stage.world.time() < end {
        ordinal += 1;
        everywhere(stage, |node, moment| node.poke(moment, ordinal));
        stage.world.run_for(every);
        assert!(stage.world.fault().is_none(), "{:?}", stage.world.fault());
    }
}

fn ends_well(stage: &mut Stage) {
    stage.run_to_end(stage.world.time() + 20 * SECOND);
    let report = stage.report("calls");
    assert!(report.is_success(), "{report}");
    assert_eq!(stage.primary_app().errors(), []);
}

fn closes(stage: &mut Stage) {
    stage
        .on_client(|client| client.close(99))
        .expect("a session");
}

fn is_forgotten(stage: &Stage) -> bool {
    hosts(stage).into_iter().all(|host| {
        let endpoint = stage.world.node::<KwikNode>(host).endpoint();
        endpoint.sessions() == 0 && endpoint.is_drained()
    })
}

/// Slow enough for a transfer to have a middle.
fn slow() -> LinkSpec {
    LinkSpec {
        bandwidth_bits_per_second: Some(20_000_000),
        ..LinkSpec::default()
    }
}

/// Before the connection, in the handshake, while paths join, in the middle, at the end, while the
/// connections drain, and when nothing is left.
#[test]
fn improper_calls_at_every_moment_of_a_life_change_nothing() {
    for delivery in DELIVERIES {
        let setting = Setting::new(SEED, 2, 1 << 20)
            .link(slow())
            .delivery(delivery);
        let mut stage = setting.build();
        poke_for(&mut stage, 300 * MILLISECOND, MILLISECOND);
        poke_for(&mut stage, 2 * SECOND, 7 * MILLISECOND);
        ends_well(&mut stage);
        // The streams are over everywhere, and the session goes on.
        poke_for(&mut stage, SECOND, 50 * MILLISECOND);
        assert_eq!(stage.reader().closed(), None);
        closes(&mut stage);
        poke_for(&mut stage, 50 * MILLISECOND, MILLISECOND);
        poke_for(&mut stage, 20 * SECOND, 100 * MILLISECOND);
        assert!(is_forgotten(&stage), "{delivery:?}");
        let sent = stage.world.datagrams_sent();
        poke_stale(&mut stage);
        stage.world.run_for(60 * SECOND);
        assert_eq!(stage.world.datagrams_sent(), sent);
    }
}

/// Handles of sessions that are forgotten open no view, whatever the role.
fn poke_stale(stage: &mut Stage) {
    let session = stage.reader().session().expect("there was one");
    everywhere(stage, |node, moment| {
        let forgotten = |host: Hosted<'_>, session: SessionHandle| {
            let now = moment.now;
            assert!(host.endpoint.client(now, session).is_none());
            assert!(host.endpoint.primary(now, session).is_none());
            assert!(host.endpoint.secondary(now, session).is_none());
            host.endpoint.close(now, session, 1);
            host.endpoint.close(now, session, 2);
        };
        forgotten(node.hosted(moment), session);
    });
}

#[test]
fn improper_calls_around_the_death_of_a_path_change_nothing() {
    // Of the first delivery no secondary has any part, and nobody misses one.
    for &delivery in &DELIVERIES[1..] {
        let setting = Setting::new(SEED, 2, 4 << 20)
            .link(slow())
            .delivery(delivery);
        let mut stage = setting.build();
        assert!(stage.run_until_percent(20, 5 * SECOND));
        stage.world.crash(stage.secondaries[0]);
        poke_for(&mut stage, 3 * SECOND, 10 * MILLISECOND);
        let dead = PathEvent::Dead(PathId(1));
        let mut events = stage.primary_app().path_events().iter();
        assert!(events.any(|(_, event)| *event == dead), "{delivery:?}");
        let phase = stage.on_primary(|primary| {
            assert_eq!(
                primary.retire_path(PathId(1)),
                Err(Misuse::UnknownPath(PathId(1)))
            );
            primary.paths()[0].phase
        });
        assert!(phase.is_some_and(|phase| phase.has_ended()));
        ends_well(&mut stage);
    }
}

/// Grants are taken back and given up, streams and sessions begun for nothing: all that was asked for
/// arrives all the same.
#[test]
fn a_transfer_gets_over_calls_that_nobody_expects() {
    for delivery in DELIVERIES {
        let setting = Setting::new(SEED, 2, 2 << 20)
            .link(slow())
            .delivery(delivery);
        let mut stage = setting.build();
        for ordinal in 0..8 {
            everywhere(&mut stage, |node, moment| node.meddle(moment, ordinal));
            stage.world.run_for(97 * MILLISECOND);
            everywhere(&mut stage, |node, moment| node.poke(moment, ordinal));
        }
        ends_well(&mut stage);
        closes(&mut stage);
        stage.world.run_for(60 * SECOND);
        assert!(is_forgotten(&stage), "{delivery:?}");
    }
}

/// A session that fails, or is closed before it stands, is nothing to the one beside it.
#[test]
fn sessions_with_nobody_fail_beside_one_that_goes_on() {
    let setting = Setting::new(SEED, 2, 2 << 20).link(slow());
    let mut stage = setting.build();
    stage.world.run_for(200 * MILLISECOND);
    let good = setting.dial_target();
    let own = stage.world.addr(stage.client);
    let mut wrong = good.clone();
    wrong.pin = [1; 32];
    let mut itself = good.clone();
    itself.addr = own;
    let mut nobody = good;
    nobody.addr = ([192, 0, 2, 1], 443).into();
    let client = stage.client;
    let strays = [wrong, itself, nobody].map(|target| {
        stage.world.act(client, |node: &mut KwikNode, moment| {
            let host = node.hosted(moment);
            host.endpoint.connect(moment.now, target)
        })
    });
    let strays = strays.map(|stray| stray.expect("a name and an address"));
    poke_for(&mut stage, 200 * MILLISECOND, MILLISECOND);
    stage.world.act(client, |node: &mut KwikNode, moment| {
        let host = node.hosted(moment);
        for stray in strays {
            // The first has ended by itself: it is closed, or forgotten.
            if let Some(mut view) = host.endpoint.client(moment.now, stray) {
                view.close(1);
                assert_eq!(view.open_stream(), Err(Misuse::Closed));
            }
            host.endpoint.close(moment.now, stray, 2);
        }
    });
    ends_well(&mut stage);
    poke_for(&mut stage, 10 * SECOND, 100 * MILLISECOND);
    let node: &KwikNode = stage.world.node(client);
    assert_eq!(node.endpoint().sessions(), 1, "that of the reader");
    assert_eq!(stage.reader().closed(), None);
}

/// While nobody is let in, who is in goes on.
#[test]
fn a_primary_that_accepts_nobody_serves_those_that_it_has() {
    let setting = Setting::new(SEED, 1, 2 << 20).link(slow());
    let mut stage = setting.build();
    let (client, primary) = (stage.client, stage.primary);
    assert!(stage.run_until_percent(10, 5 * SECOND));
    let accept = |stage: &mut Stage, accepting| {
        stage.world.act(primary, |node: &mut KwikNode, moment| {
            node.hosted(moment).endpoint.set_accepting(accepting);
        });
    };
    accept(&mut stage, false);
    let second = stage.world.act(client, |node: &mut KwikNode, moment| {
        let host = node.hosted(moment);
        host.endpoint.connect(moment.now, setting.dial_target())
    });
    let second = second.expect("a name and an address");
    ends_well(&mut stage);
    stage.world.run_for(SECOND);
    assert_eq!(stage.primary_app().sessions().len(), 1);
    stage.world.act(client, |node: &mut KwikNode, moment| {
        let host = node.hosted(moment);
        host.endpoint.close(moment.now, second, 1);
        host.endpoint.close(moment.now, second, 1);
    });
    assert_eq!(stage.reader().closed(), None);
    closes(&mut stage);
    stage.world.run_for(20 * SECOND);
    assert_eq!(
        stage.reader().closed().map(|(_, reason)| reason),
        Some(&CloseReason::Local)
    );
    assert!(is_forgotten(&stage));
}

/// A view is of one role.
#[test]
fn a_session_shows_itself_in_its_own_role_alone() {
    let mut stage = Setting::new(SEED, 1, 1 << 20).build();
    assert!(stage.run_until_percent(100, 5 * SECOND));
    fn roles<A: App>(
        stage: &mut Stage,
        host: HostId,
        session: impl FnOnce(&A) -> SessionHandle,
    ) -> [bool; 3] {
        stage.world.act(host, |node: &mut KwikNode, moment| {
            let now = moment.now;
            let (app, host) = node.app_mut::<A>(moment);
            let session = session(app);
            [
                host.endpoint.client(now, session).is_some(),
                host.endpoint.primary(now, session).is_some(),
                host.endpoint.secondary(now, session).is_some(),
            ]
        })
    }
    let (client, primary, secondary) = (stage.client, stage.primary, stage.secondaries[0]);
    let of_client = roles::<Reader>(&mut stage, client, |app| app.session().expect("one"));
    let of_primary = roles::<Primary>(&mut stage, primary, |app| app.sessions()[0]);
    let of_secondary = roles::<Secondary>(&mut stage, secondary, |app| app.sessions()[0]);
    assert_eq!(of_client, [true, false, false]);
    assert_eq!(of_primary, [false, true, false]);
    assert_eq!(of_secondary, [false, false, true]);
}

/// Streams are asked for beyond the limit, and too early.
#[test]
fn streams_beyond_the_limit_are_refused_until_there_is_room() {
    let mut stage = Setting::new(SEED, 1, 100_000).build();
    stage.world.run_for(MILLISECOND);
    assert_eq!(
        stage.on_client(|client| client.open_stream()),
        Some(Ok(None))
    );
    ends_well(&mut stage);
    let opened = stage.on_client(|client| {
        assert_eq!(client.accept_stream(), None);
        let open = || client.open_stream().expect("not closed");
        std::iter::from_fn(open).collect::<Vec<StreamId>>()
    });
    let opened = opened.expect("a session");
    assert!(opened.len() > 10, "{opened:?}");
    stage.on_client(|client| {
        assert_eq!(client.open_stream(), Ok(None));
        for &stream in &opened {
            client.reset(stream, 5).expect("open");
            assert_eq!(client.reset(stream, 5), Err(Misuse::Finished(stream)));
        }
        // The primary has not given anything back.
        assert_eq!(client.open_stream(), Ok(None));
    });
    stage.world.run_for(SECOND);
    let again = stage.on_client(|client| client.open_stream());
    assert!(matches!(again, Some(Ok(Some(_)))), "{again:?}");
    stage.on_primary(|primary| assert_eq!(primary.accept_stream(), None));
}

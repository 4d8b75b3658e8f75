//! Endpoints that do not come to rest.

use kwik_core::carrier::DialTarget;
use kwik_core::ids::SessionHandle;

use super::*;
use crate::stage::Setting;
use crate::world::World;

const MS: Duration = Duration::from_millis(1);

/// Connects to somebody who never answers; tries again as soon as it has failed if it is keen.
struct Dialler {
    is_keen: bool,
    session: Option<SessionHandle>,
}

impl Dialler {
    fn dial(&mut self, host: &mut Hosted<'_>) {
        let target = DialTarget {
            addr: World::addr_of_ordinal(7),
            server_name: "nobody".to_owned(),
            pin: [0; 32],
        };
        self.session = host.endpoint.connect(host.moment.now, target).ok();
        assert!(self.session.is_some());
    }
}

impl App for Dialler {
    fn start(&mut self, host: &mut Hosted<'_>) {
        self.dial(host);
        if let Some(session) = self.session.filter(|_| self.is_keen) {
            host.endpoint.close(host.moment.now, session, 0);
        }
    }

    fn on_event(&mut self, host: &mut Hosted<'_>, _: Event) {
        self.start(host);
    }
}

fn dialler(is_keen: bool) -> Program {
    let session = None;
    KwikNode::program(Arc::default(), None, CryptoMode::Null, move || Dialler {
        is_keen,
        session,
    })
}

#[test]
fn a_deadline_that_stays_due_is_told() {
    let mut world = World::new(1);
    let host = world.add_host(dialler(false));
    world.run_for(2500 * MS);
    assert_eq!(world.fault(), None, "probes are sent in time");
    let unrest = world.act(host, |node: &mut KwikNode, moment| {
        let wake_at = node.endpoint.poll_timeout().expect("a probe timer").at;
        let late = Moment {
            time: moment.time + 60_000 * MS,
            now: kwik_core::carrier::Now {
                monotonic: moment.now.monotonic + 60_000 * MS,
                ..moment.now
            },
        };
        // As if the endpoint had been told the time and had ignored it.
        for _ in 0..LOSS_TIMERS_MAX {
            node.rest.on_expiry(late.time);
        }
        assert_eq!(node.unrest(late), None);
        node.rest.on_expiry(late.time);
        let since = late.now.monotonic - wake_at;
        assert_eq!(node.unrest(moment), None, "nothing is due yet");
        (node.unrest(late), Some(Unrest::TimerDue { since }))
    });
    assert_eq!(unrest.0, unrest.1);
    // In truth it is told, and has nothing left to do.
    world.run_for(60_000 * MS);
    assert_eq!(world.fault(), None);
}

#[test]
fn events_without_end_are_told() {
    let mut world = World::new(1);
    let host = world.add_host(dialler(true));
    world.run_for(MS);
    let fault = world
        .fault()
        .expect("each session that ends begins another");
    assert_eq!((fault.host, fault.what.rule()), (host, "I13"));
}

/// How often in a row the primary's deadlines were handled at one instant at the most, if of the
/// first datagrams that it sends those are lost that this mask names.
fn most_expiries(lost: u64) -> u32 {
    let mut stage = Setting::new(1, 0, 100_000).build();
    let (primary, client) = (stage.primary, stage.client);
    stage.world.link(primary, client).spec_mut().drop_first = lost;
    let (mut most, limit) = (0, 10_000 * MS);
    while stage.world.step(limit).is_some() {
        let node = stage.world.node::<KwikNode>(primary);
        most = most.max(node.rest.expiries());
    }
    assert_eq!(stage.world.fault(), None, "lost: {lost:b}");
    most
}

/// A server that was not allowed to send finds the probes of two packet number spaces overdue when it is,
/// and its timer is for one at a time: who says that it may never come again is wrong.
#[test]
fn a_timer_of_quic_is_due_again_behind_a_blockade() {
    let most = (0..64).map(most_expiries).max();
    assert!(
        (Some(2)..=Some(1 + LOSS_TIMERS_MAX)).contains(&most),
        "{most:?}"
    );
}

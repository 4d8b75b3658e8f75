//! What the network damages is lost, and nothing worse; and a server that is thronged with strangers
//! lets them prove their addresses first. Under TLS as under the null crypto.

use std::sync::Arc;
use std::time::Duration;

use kwik_core::carrier::DialTarget;
use kwik_core::endpoint::{Datagram, Transmit};
use kwik_core::event::{ClientEvent, Event, EventKind};
use kwik_sim::app::{Conduct, Primary, PrimarySpec, Secondary, SecondarySpec};
use kwik_sim::clock::{Clock, Moment};
use kwik_sim::content::Content;
use kwik_sim::host::{App, Hosted, KwikNode, Node, Program};
use kwik_sim::rng::{Chance, Purpose};
use kwik_sim::{CryptoMode, Setting, Stage};

use crate::SECOND;

const MODES: [CryptoMode; 2] = [CryptoMode::Null, CryptoMode::Rustls];

/// A program behind a bad network card.
struct BehindCard {
    node: Box<dyn Node>,
    chance: Chance,
    damage_ppm: u32,
    datagrams: u64,
    damaged: u64,
    /// Retry packets that were sent.
    retries: Vec<Vec<u8>>,
}

impl BehindCard {
    fn program(program: Program, chance: Chance, damage_ppm: u32) -> Program {
        Box::new(move |birth| {
            Box::new(Self {
                node: program(birth),
                chance,
                damage_ppm,
                datagrams: 0,
                damaged: 0,
                retries: Vec::new(),
            })
        })
    }

    /// Damages a datagram, or not; returns how many bytes are left of it.
    fn pass(&mut self, bytes: &mut [u8]) -> usize {
        let at = self.datagrams * 4;
        self.datagrams += 1;
        if !self.chance.hits(at, self.damage_ppm) {
            return bytes.len();
        }
        self.damaged += 1;
        let last = bytes.len() as u64 - 1;
        let place = usize::try_from(self.chance.between(at + 1, 0, last)).expect("a place in it");
        match self.chance.draw(at + 2) % 3 {
            0 => return place.max(1),
            1 => bytes[place] ^= 1 << (self.chance.draw(at + 3) % 8),
            _ => bytes[place..].fill(0),
        }
        bytes.len()
    }
}

impl Node for BehindCard {
    fn receive(&mut self, moment: Moment, mut datagram: Datagram) {
        let left = self.pass(&mut datagram.data);
        datagram.data.truncate(left);
        self.node.receive(moment, datagram);
    }

    fn expire(&mut self, moment: Moment) {
        self.node.expire(moment);
    }

    fn run(&mut self, moment: Moment) {
        self.node.run(moment);
    }

    fn transmit(&mut self, moment: Moment, buf: &mut Vec<u8>) -> Option<Transmit> {
        let transmit = self.node.transmit(moment, buf)?;
        // Form, fixed bit and the type of a Retry (RFC 9000 §17.2.5).
        if buf[0] & 0xf0 == 0xf0 {
            self.retries.push(buf[..transmit.size].to_vec());
        }
        let segment = transmit.segment_size.unwrap_or(transmit.size);
        for datagram in buf[..transmit.size].chunks_mut(segment) {
            // Segments of one burst have one length: what is cut off is garbled here.
            let left = self.pass(datagram);
            datagram[left..].fill(0);
        }
        Some(transmit)
    }

    fn wake_at(&mut self, clock: &Clock) -> Option<Duration> {
        self.node.wake_at(clock)
    }
}

/// A stage whose servers are all behind bad cards.
fn stage(setting: &Setting, damage_ppm: u32) -> Stage {
    let mut stage = setting.build();
    let config = Arc::new(setting.config.clone());
    let content = Content::new(setting.seed);
    let chance = |ordinal| Chance::new(setting.seed, Purpose::Schedule, ordinal);
    let spec = PrimarySpec {
        secondaries: vec![setting.path_spec(0)],
        content,
        delivery: setting.delivery,
        revokes: None,
        conduct: setting.primary,
    };
    let identity = Some(setting.identity(1).primary(setting.seed));
    let app = move || Primary::new(spec.clone());
    let primary = KwikNode::program(Arc::clone(&config), identity, setting.crypto, app);
    let primary = BehindCard::program(primary, chance(1), damage_ppm);
    stage.world.install(stage.primary, primary);
    let spec = SecondarySpec {
        content,
        conduct: Conduct::HONEST,
    };
    let identity = Some(setting.identity(2).secondary(setting.seed));
    let app = move || Secondary::new(spec);
    let secondary = KwikNode::program(config, identity, setting.crypto, app);
    let secondary = BehindCard::program(secondary, chance(2), damage_ppm);
    stage.world.install(stage.secondaries[0], secondary);
    stage
}

#[test]
fn damaged_datagrams_are_losses_and_nothing_worse() {
    for crypto in MODES {
        for seed in 0..6 {
            let mut setting = Setting::new(seed, 1, 2 << 20);
            setting.crypto = crypto;
            let mut stage = stage(&setting, 30_000);
            stage.run_to_end(60 * SECOND);
            let report = stage.report("damage");
            assert!(report.is_success(), "{crypto:?} {report}");
            assert_eq!(report.shares.len(), 2, "both servers brought something");
            for server in [stage.primary, stage.secondaries[0]] {
                let card: &BehindCard = stage.world.node(server);
                assert!(card.damaged > 10, "{} of {}", card.damaged, card.datagrams);
            }
        }
    }
}

/// Dials one server again and again, all at once.
struct Crowd {
    target: DialTarget,
    connected: usize,
    closed: usize,
}

const CROWD: usize = 100;

impl App for Crowd {
    fn start(&mut self, host: &mut Hosted<'_>) {
        for _ in 0..CROWD {
            let session = host.endpoint.connect(host.moment.now, self.target.clone());
            session.expect("the target is valid");
        }
    }

    fn on_event(&mut self, _: &mut Hosted<'_>, event: Event) {
        if let EventKind::Client(event) = event.kind {
            self.connected += usize::from(matches!(event, ClientEvent::Connected));
            self.closed += usize::from(matches!(event, ClientEvent::Closed(_)));
        }
    }
}

/// What became of a crowd at a server whose wall clock is ahead: the Retry packets that it was sent,
/// and the trace.
fn throng(crypto: CryptoMode, ahead_seconds: i64) -> (Vec<Vec<u8>>, u64) {
    let mut setting = Setting::new(1, 1, 0);
    setting.crypto = crypto;
    let mut stage = stage(&setting, 0);
    let primary = stage.primary;
    stage.world.set_wall_clock_ahead(primary, ahead_seconds);
    let (config, target) = (Arc::new(setting.config.clone()), setting.dial_target());
    let crowd = move || Crowd {
        target: target.clone(),
        connected: 0,
        closed: 0,
    };
    let program = KwikNode::program(config, None, crypto, crowd);
    stage.world.install(stage.client, program);
    stage.world.run_for(5 * SECOND);
    let crowd: &Crowd = stage.world.app(stage.client);
    assert_eq!((crowd.connected, crowd.closed), (CROWD, 0), "{crypto:?}");
    let card: &BehindCard = stage.world.node(primary);
    (card.retries.clone(), stage.world.trace_hash())
}

#[test]
fn a_crowd_proves_its_addresses_and_comes_in_the_same_way_each_time() {
    for crypto in MODES {
        let (retries, trace) = throng(crypto, 0);
        assert!(retries.len() > 10, "{crypto:?}: {}", retries.len());
        assert_eq!(throng(crypto, 0).1, trace, "{crypto:?}");
    }
}

#[test]
fn the_time_in_a_retry_is_that_of_the_world() {
    let [now, later] = [0, 100].map(|ahead| throng(CryptoMode::Null, ahead).0);
    assert_eq!(now, throng(CryptoMode::Null, 0).0);
    assert_eq!(now.len(), later.len());
    assert!(now.iter().zip(&later).all(|(now, later)| now != later));
}

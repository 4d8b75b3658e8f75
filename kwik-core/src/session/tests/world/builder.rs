//! How a world begins.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{DialFate, EPOCH_UNIX_SECONDS, Limits, Role, Site, World};
use crate::carrier::{DialTarget, Output};
use crate::config::Config;
use crate::ids::PathId;
use crate::session::ServerContext;
use crate::session::client::ClientSession;
use crate::session::tests::apps::{ClientApp, Service};
use crate::session::tests::net::{ConnId, EndLimits, Net, Side};
use crate::session::tests::rng::SplitMix;
use crate::session::tests::script::Script;
use crate::ticket::MasterKey;

/// What a world is to be like.
pub(in super::super) struct Setup {
    /// Small windows, so that a few kibibytes are a long transfer.
    pub(in super::super) config: Config,
    /// The order in which things happen; the natural one if there is none.
    pub(in super::super) seed: Option<u64>,
    pub(in super::super) secondaries: usize,
    /// A client that a test plays by hand.
    pub(in super::super) scripted_client: bool,
    /// A primary that a test plays by hand.
    pub(in super::super) scripted_primary: bool,
    /// What becomes of the first dial.
    pub(in super::super) primary_dials: DialFate,
    /// Bytes that one end of a connection buffers.
    pub(in super::super) send_buffer_bytes: u64,
    pub(in super::super) span_bytes: u64,
    /// Bytes of one carrier that a server takes ahead of its reads, if not what is configured.
    pub(in super::super) server_window_bytes: Option<u64>,
    /// Where the servers listen: the primary, then the secondaries.
    pub(in super::super) addr: fn(usize) -> SocketAddr,
}

impl Default for Setup {
    fn default() -> Self {
        let mut config = Config::default();
        config.client.stream_window_bytes = 256 << 10;
        config.client.session_window_bytes = 2 << 20;
        config.client.stream_reserve_bytes = 16 << 10;
        config.server.segment_max_bytes = 64 << 10;
        Self {
            config,
            seed: None,
            secondaries: 2,
            scripted_client: false,
            scripted_primary: false,
            primary_dials: DialFate::Accept,
            send_buffer_bytes: 128 << 10,
            span_bytes: 8 << 10,
            server_window_bytes: None,
            addr: public_addr,
        }
    }
}

/// Servers on the open network.
fn public_addr(site: usize) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, site.to_le_bytes()[0] + 1], 4433))
}

impl Setup {
    /// The world, in which the client has begun to connect.
    pub(in super::super) fn build(self) -> World {
        let config = Arc::new(self.config);
        let mut limits = limits(&config, self.send_buffer_bytes, self.span_bytes);
        let server_window = self.server_window_bytes;
        limits.server.stream_window_bytes =
            server_window.unwrap_or(limits.server.stream_window_bytes);
        let master = MasterKey::from_bytes([7; 32]);
        let sites: Vec<Site> = (0..=self.secondaries)
            .map(|index| Site::new((self.addr)(index), index, &config, &master))
            .collect();
        let mut world = World {
            net: Net::new(),
            config: Arc::clone(&config),
            origin: any_instant(),
            elapsed: Duration::ZERO,
            actors: Vec::new(),
            sites,
            owners: BTreeMap::new(),
            holds: Vec::new(),
            later: BTreeMap::new(),
            sequence: 0,
            heard: BTreeMap::new(),
            chance: self.seed.map(SplitMix::new),
            calls: 0,
            blamed: Vec::new(),
            turn: (ConnId(0), Side::Client),
            limits,
        };
        world.net.mischief = self.seed.map(|seed| SplitMix::new(!seed));
        world.net.reads_after_down = self.seed.is_some_and(|seed| seed % 2 == 0);
        world.sites[0].scripted = self.scripted_primary;
        world.sites[0].dials = self.primary_dials;
        let target = world.sites[0].target();
        let role = if self.scripted_client {
            let mut script = Box::<Script>::default();
            script.push(Output::Dial {
                path: PathId::PRIMARY,
                target,
            });
            Role::Script(script)
        } else {
            let session = ClientSession::new(config, &[3; 32], target, world.now().monotonic);
            Role::Client(Box::new(ClientApp::new(session)))
        };
        let client = world.add_actor(role, Side::Client, None, BTreeMap::new());
        world.drain(client);
        world
    }

    /// The world, in which the client has connected and every secondary has joined.
    pub(in super::super) fn joined(self) -> World {
        let mut world = self.build();
        world.settle();
        for secondary in 1..world.sites.len() {
            world.add_path(secondary);
        }
        world.settle();
        world
    }
}

impl Site {
    fn new(addr: SocketAddr, index: usize, config: &Arc<Config>, master: &MasterKey) -> Self {
        let pin = [index.to_le_bytes()[0] + 100; 32];
        let is_primary = index == 0;
        let context = ServerContext {
            config: Arc::clone(config),
            master: is_primary.then(|| master.clone()),
            peer: (!is_primary).then(|| master.peer_key(&pin)),
            started_unix_seconds: EPOCH_UNIX_SECONDS,
        };
        Self {
            addr,
            pin,
            context: Arc::new(context),
            dials: DialFate::Accept,
            scripted: false,
            service: Service::Fill,
            ahead_seconds: 0,
            sessions: 0,
        }
    }

    /// Its address, name and pin.
    pub(in super::super) fn target(&self) -> DialTarget {
        DialTarget {
            addr: self.addr,
            server_name: "kwik.test".to_owned(),
            pin: self.pin,
        }
    }
}

fn limits(config: &Config, send_buffer_bytes: u64, span_bytes: u64) -> Limits {
    let quic = &config.quic;
    let window = u64::from(quic.stream_receive_window_bytes);
    let streams = u64::from(quic.bidi_streams_max);
    let end = |streams, window_bytes| EndLimits {
        send_buffer_bytes,
        streams,
        stream_window_bytes: window,
        window_bytes,
    };
    let segments = u64::from(quic.segments_max);
    Limits {
        client_to_primary: end([streams, segments], 1 << 60),
        client_to_secondary: end(
            [0, segments],
            u64::from(quic.secondary_receive_window_bytes),
        ),
        server: end([streams, 0], streams * window),
        span_bytes,
    }
}

/// A fixed point to count from: the core reads no clock, its tests neither.
#[expect(
    clippy::disallowed_methods,
    reason = "any instant will do as an origin"
)]
fn any_instant() -> Instant {
    Instant::now()
}

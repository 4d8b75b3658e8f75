//! Worlds with a client and its servers, and a report of them.
//!
//! Owns how a world with one client, one primary and its secondaries is set up ([`Setting`],
//! [`Stage`]), and what can be asked of it. What befalls it is up to a test or a
//! [`trial`](crate::trial).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kwik_core::carrier::DialTarget;
use kwik_core::config::Config;
use kwik_core::endpoint::{self, ClientStats, PrimaryStats};
use kwik_core::ids::PathId;
use kwik_core::path::{PathInfo, PathSpec};
use kwik_core::plan::Spread;

use crate::app::{
    AnswerOn, Ask, Conduct, Delivery, Marks, Pace, Primary, PrimarySpec, Reader, ReaderSpec,
    Request, Revokes, Secondary, SecondarySpec,
};
use crate::content::Content;
use crate::crypto::CryptoMode;
use crate::host::{KwikNode, Program};
use crate::identity::{Identity, SERVER_NAME};
use crate::link::LinkSpec;
use crate::raw::{Log, RawPeer};
use crate::world::{HostId, World};

/// Everything that a world is built from.
#[derive(Clone, Debug)]
pub struct Setting {
    /// What is left to chance follows from it.
    pub seed: u64,
    /// The links, all alike.
    pub link: LinkSpec,
    /// How every endpoint is configured.
    pub config: Config,
    /// How the connections are protected.
    pub crypto: CryptoMode,
    /// How the primary behaves: honest, if slow.
    pub primary: Conduct,
    /// The secondaries, each with its conduct.
    pub secondaries: Vec<Conduct>,
    /// How the primary shares the work.
    pub delivery: Delivery,
    /// Which of its grants it takes back, if it delegates.
    pub revokes: Option<Revokes>,
    /// What the client asks for.
    pub asks: Vec<Ask>,
    /// What further clients ask for, each in a session of its own.
    pub others: Vec<Ask>,
    /// The pin that the client is told, if it is not the primary's.
    pub primary_pin: Option<[u8; 32]>,
    /// The pins that the primary is told, as far as they are not the secondaries'.
    pub secondary_pins: BTreeMap<usize, [u8; 32]>,
    /// How far the wall clocks of the servers run ahead of the client's: the primary's first; those
    /// that are not told, not at all.
    pub clocks_ahead_seconds: Vec<i64>,
    /// Whether each server writes a content of its own, so that every byte tells who wrote it.
    pub marks: bool,
}

impl Setting {
    /// A client that asks for so many bytes, on a stream that the primary opens, and servers that
    /// bring them together.
    #[must_use]
    pub fn new(seed: u64, secondaries: usize, bytes: u64) -> Self {
        Self {
            seed,
            link: LinkSpec::default(),
            config: Config::default(),
            crypto: CryptoMode::Null,
            primary: Conduct::HONEST,
            secondaries: vec![Conduct::HONEST; secondaries],
            delivery: Delivery::Plan(Spread::Pull),
            revokes: None,
            asks: vec![Ask::new(Request {
                bytes,
                answer_on: AnswerOn::OwnStream,
            })],
            others: Vec::new(),
            primary_pin: None,
            secondary_pins: BTreeMap::new(),
            clocks_ahead_seconds: Vec::new(),
            marks: false,
        }
    }

    /// The same with other links.
    #[must_use]
    pub fn link(self, link: LinkSpec) -> Self {
        Self { link, ..self }
    }

    /// The same with another way to share the work.
    #[must_use]
    pub fn delivery(self, delivery: Delivery) -> Self {
        Self { delivery, ..self }
    }

    /// The same with an answer that is read at another pace.
    #[must_use]
    pub fn pace(mut self, pace: Pace) -> Self {
        for ask in &mut self.asks {
            ask.pace = pace;
        }
        self
    }

    /// Builds the world. The client has the ordinal 0, the primary 1, the secondaries follow, and then the
    /// other clients.
    #[must_use]
    pub fn build(&self) -> Stage {
        let mut world = World::new(self.seed);
        world.set_link_default(self.link.clone());
        world.set_trace_mode(self.crypto.trace_mode());
        let client = world.add_host(self.client_program(0, self.asks.clone()));
        let ahead = |index: usize| self.clocks_ahead_seconds.get(index).copied().unwrap_or(0);
        let primary = world.add_host_ahead(self.primary_program(), ahead(0));
        let secondaries = (0..self.secondaries.len())
            .map(|index| world.add_host_ahead(self.secondary_program(index), ahead(index + 1)))
            .collect::<Vec<_>>();
        let others = (1..).zip(&self.others);
        let others =
            others.map(|(number, &ask)| world.add_host(self.client_program(number, vec![ask])));
        let others = others.collect();
        Stage {
            seed: self.seed,
            others,
            conducts: self.secondaries.clone(),
            wanted: self.asks.iter().map(|ask| ask.request.bytes).sum(),
            world,
            client,
            primary,
            secondaries,
        }
    }

    /// How a client names the primary.
    #[must_use]
    pub fn dial_target(&self) -> DialTarget {
        DialTarget {
            addr: World::addr_of_ordinal(PRIMARY_ORDINAL),
            server_name: SERVER_NAME.to_owned(),
            pin: self
                .primary_pin
                .unwrap_or_else(|| self.identity(PRIMARY_ORDINAL).pin),
        }
    }

    /// How the primary names a secondary.
    #[must_use]
    pub fn path_spec(&self, index: usize) -> PathSpec {
        let ordinal = PRIMARY_ORDINAL + 1 + index;
        let told = self.secondary_pins.get(&index).copied();
        PathSpec {
            addrs: [World::addr_of_ordinal(ordinal)].into_iter().collect(),
            server_name: SERVER_NAME.to_owned(),
            pin: told.unwrap_or_else(|| self.identity(ordinal).pin),
        }
    }

    /// The identity of the host with this ordinal.
    #[must_use]
    pub fn identity(&self, ordinal: usize) -> Identity {
        Identity::under(self.crypto, self.seed, ordinal as u64)
    }

    fn client_program(&self, number: u8, asks: Vec<Ask>) -> Program {
        let content = Content::new(self.seed).of_client(number);
        let has_a_liar = self.secondaries.contains(&Conduct::Lies);
        let spec = ReaderSpec {
            server: self.dial_target(),
            asks,
            content,
            number,
            forged: has_a_liar.then(|| content.forged()),
            marks: self
                .marks
                .then(|| Marks::new(content, self.secondaries.len())),
        };
        let config = Arc::new(self.config.clone());
        KwikNode::program(config, None, self.crypto, move || Reader::new(spec.clone()))
    }

    fn primary_program(&self) -> Program {
        let identity = self.identity(PRIMARY_ORDINAL).primary(self.seed);
        let spec = PrimarySpec {
            secondaries: (0..self.secondaries.len())
                .map(|index| self.path_spec(index))
                .collect(),
            content: Content::new(self.seed),
            delivery: self.delivery,
            revokes: self.revokes,
            conduct: self.primary,
        };
        let config = Arc::new(self.config.clone());
        KwikNode::program(config, Some(identity), self.crypto, move || {
            Primary::new(spec.clone())
        })
    }

    fn secondary_program(&self, index: usize) -> Program {
        let ordinal = PRIMARY_ORDINAL + 1 + index;
        let (identity, mut content) = (self.identity(ordinal), Content::new(self.seed));
        if self.marks {
            content = content.marked(index);
        }
        let conduct = self.secondaries[index];
        if let Conduct::Hostile(hostility) = conduct {
            return hostility.program(self.crypto, identity, content, (self.seed, ordinal as u64));
        }
        let identity = identity.secondary(self.seed);
        let spec = SecondarySpec { content, conduct };
        let config = Arc::new(self.config.clone());
        KwikNode::program(config, Some(identity), self.crypto, move || {
            Secondary::new(spec)
        })
    }
}

/// The ordinal of the primary's host.
const PRIMARY_ORDINAL: usize = 1;

/// A world that was built from a [`Setting`].
#[derive(Debug)]
pub struct Stage {
    seed: u64,
    conducts: Vec<Conduct>,
    /// Bytes that the client asks for.
    wanted: u64,
    /// The world.
    pub world: World,
    /// The client's host.
    pub client: HostId,
    /// The primary's.
    pub primary: HostId,
    /// The secondaries'.
    pub secondaries: Vec<HostId>,
    /// Those of the other clients.
    pub others: Vec<HostId>,
}

impl Stage {
    /// The client's application.
    #[must_use]
    pub fn reader(&self) -> &Reader {
        self.world.app(self.client)
    }

    /// The application of another client.
    #[must_use]
    pub fn other_reader(&self, index: usize) -> &Reader {
        self.world.app(self.others[index])
    }

    /// Another client closes its session.
    pub fn close_other(&mut self, index: usize) {
        self.world
            .act(self.others[index], |node: &mut KwikNode, moment| {
                let (reader, host) = node.app_mut::<Reader>(moment);
                let session = reader.session();
                if let Some(mut client) = session.and_then(|s| host.endpoint.client(moment.now, s))
                {
                    client.close(0);
                }
            });
    }

    /// The primary's application.
    #[must_use]
    pub fn primary_app(&self) -> &Primary {
        self.world.app(self.primary)
    }

    /// Whether a secondary runs the program of a [`Hostility`](crate::app::Hostility).
    #[must_use]
    pub fn is_hostile(&self, index: usize) -> bool {
        matches!(self.conducts[index], Conduct::Hostile(_))
    }

    /// What a hostile secondary saw.
    ///
    /// # Panics
    ///
    /// If it is not hostile.
    #[must_use]
    pub fn hostile_log(&self, index: usize) -> &Log {
        self.world.node::<RawPeer>(self.secondaries[index]).log()
    }

    /// The application of a secondary.
    ///
    /// # Panics
    ///
    /// If it is hostile: then there is none.
    #[must_use]
    pub fn secondary_app(&self, index: usize) -> &Secondary {
        self.world.app(self.secondaries[index])
    }

    /// Runs until the client has read so many bytes, or `limit` has come; returns whether it has.
    pub fn run_until_bytes(&mut self, bytes: u64, limit: Duration) -> bool {
        let client = self.client;
        self.world
            .run_until(limit, |world| world.app::<Reader>(client).bytes() >= bytes)
    }

    /// Runs until the client has a share of all that it asks for.
    pub fn run_until_percent(&mut self, percent: u64, limit: Duration) -> bool {
        self.run_until_bytes(self.wanted * percent / 100, limit)
    }

    /// Runs until the client has everything, or something failed, or `limit` has come.
    pub fn run_to_end(&mut self, limit: Duration) {
        let client = self.client;
        self.world.run_until(limit, |world| {
            let reader = world.app::<Reader>(client);
            reader.done_at().is_some() || reader.fault().is_some() || world.fault().is_some()
        });
    }

    /// What the client's session has counted; `None` without a session.
    pub fn stats(&mut self) -> Option<ClientStats> {
        self.look_at_client(|client| client.stats())
    }

    /// The client's paths.
    pub fn paths(&mut self) -> Vec<PathInfo> {
        self.look_at_client(|client| client.paths())
            .unwrap_or_default()
    }

    /// Bytes that have arrived at the client, whether its application has read them or not.
    pub fn arrived_bytes(&mut self) -> u64 {
        self.paths().iter().map(|path| path.received_bytes).sum()
    }

    /// Bytes that a secondary was granted and that have not arrived from it.
    pub fn owed_by(&mut self, index: usize) -> u64 {
        let granted = self.secondary_app(index).granted_bytes();
        let path = PathId(index as u64 + 1);
        let paths = self.paths();
        let arrived = paths.iter().find(|info| info.path == path);
        granted.saturating_sub(arrived.map_or(0, |info| info.received_bytes))
    }

    /// The secondary that a path leads to, by the address that the client dialled.
    pub fn secondary_of(&mut self, path: PathId) -> Option<usize> {
        let paths = self.paths();
        let addr = paths.iter().find(|info| info.path == path)?.addr?;
        let mut hosts = self.secondaries.iter();
        hosts.position(|&host| self.world.addr(host) == addr)
    }

    /// Grants of the primary, those of plans too, that have no final status.
    pub fn grants_owed(&mut self) -> u64 {
        let stats = self.primary_stats();
        stats.iter().map(|stats| stats.grants_live).sum()
    }

    /// What each session of the primary has counted.
    pub fn primary_stats(&mut self) -> Vec<PrimaryStats> {
        if !self.world.is_up(self.primary) {
            return Vec::new();
        }
        self.world
            .look(self.primary, |node: &mut KwikNode, moment| {
                let (app, host) = node.app_mut::<Primary>(moment);
                let sessions = app.sessions().into_iter();
                let stats = sessions.filter_map(|session| {
                    let primary = host.endpoint.primary(moment.now, session)?;
                    Some(primary.stats())
                });
                stats.collect()
            })
    }

    /// Looks at the client's session; `None` without one.
    pub fn look_at_client<T>(
        &mut self,
        look: impl FnOnce(&endpoint::Client<'_>) -> T,
    ) -> Option<T> {
        if !self.world.is_up(self.client) {
            return None;
        }
        self.world.look(self.client, |node: &mut KwikNode, moment| {
            let (reader, host) = node.app_mut::<Reader>(moment);
            let session = reader.session()?;
            let client = host.endpoint.client(moment.now, session)?;
            Some(look(&client))
        })
    }

    /// Acts as the client's application; `None` without a session.
    pub fn on_client<T>(&mut self, act: impl FnOnce(&mut endpoint::Client<'_>) -> T) -> Option<T> {
        if !self.world.is_up(self.client) {
            return None;
        }
        self.world.act(self.client, |node: &mut KwikNode, moment| {
            let (reader, host) = node.app_mut::<Reader>(moment);
            let session = reader.session()?;
            let mut client = host.endpoint.client(moment.now, session)?;
            Some(act(&mut client))
        })
    }

    /// Acts as the primary's application in its first session; `None` without one.
    pub fn on_primary<T>(
        &mut self,
        act: impl FnOnce(&mut endpoint::Primary<'_>) -> T,
    ) -> Option<T> {
        if !self.world.is_up(self.primary) {
            return None;
        }
        self.world.act(self.primary, |node: &mut KwikNode, moment| {
            let (app, host) = node.app_mut::<Primary>(moment);
            let session = app.sessions().first().copied()?;
            let mut primary = host.endpoint.primary(moment.now, session)?;
            Some(act(&mut primary))
        })
    }

    /// What has come of it so far.
    pub fn report(&mut self, scenario: &'static str) -> Report {
        let paths = self.paths();
        Report {
            scenario,
            seed: self.seed,
            shares: paths.iter().map(|p| (p.path, p.received_bytes)).collect(),
            stats: self.stats(),
            bytes: self.reader().bytes(),
            wanted: self.wanted,
            done_at: self.reader().done_at(),
            fault: self
                .reader()
                .fault()
                .or_else(|| self.world.fault().map(ToString::to_string)),
            datagrams: self.world.datagrams_sent(),
            trace: self.world.trace_hash(),
        }
    }
}

/// What came of a story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its name.
    pub scenario: &'static str,
    /// Its seed.
    pub seed: u64,
    /// Bytes that the client asked for.
    pub wanted: u64,
    /// Bytes that it read, all checked.
    pub bytes: u64,
    /// When it had all of them.
    pub done_at: Option<Duration>,
    /// What went wrong.
    pub fault: Option<String>,
    /// Bytes that each path brought first.
    pub shares: Vec<(PathId, u64)>,
    /// What the client's session counted.
    pub stats: Option<ClientStats>,
    /// Datagrams that were sent.
    pub datagrams: u64,
    /// The hash over when and where they were sent, how long they were, and, if the seed determines
    /// them, their bytes.
    pub trace: u64,
}

impl Report {
    /// Whether the client has everything and nothing went wrong.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.done_at.is_some() && self.fault.is_none() && self.bytes == self.wanted
    }

    /// The part of the bytes that a path brought, in percent.
    #[must_use]
    pub fn percent_of(&self, path: PathId) -> u64 {
        let total: u64 = self.shares.iter().map(|(_, bytes)| bytes).sum();
        let shares = self.shares.iter().filter(|(p, _)| *p == path);
        let part: u64 = shares.map(|(_, bytes)| bytes).sum();
        part * 100 / total.max(1)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} seed {}: ", self.scenario, self.seed)?;
        match (&self.fault, self.done_at) {
            (Some(fault), _) => {
                write!(f, "FAULT {fault}, {} of {} bytes", self.bytes, self.wanted)?
            }
            (None, None) => write!(f, "UNFINISHED, {} of {} bytes", self.bytes, self.wanted)?,
            (None, Some(at)) => write!(f, "{} bytes in {:.3} s", self.bytes, at.as_secs_f64())?,
        }
        for (path, _) in &self.shares {
            write!(f, ", path {path} {} %", self.percent_of(*path))?;
        }
        write!(
            f,
            ", {} datagrams, trace {:016x}",
            self.datagrams, self.trace
        )
    }
}

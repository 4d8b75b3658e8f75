//! A client, a primary and secondaries, and the connections between them, in virtual time.
//!
//! Owns the hosts, the clock and the order in which things happen: one at a time, the natural one
//! unless a seed says otherwise. Plays the part of the endpoint towards the sessions: it dials,
//! accepts, closes, probes and times out.

mod builder;
mod reach;
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::apps::{ClientApp, PrimaryApp, SecondaryApp, Service};
use super::net::{ConnId, EndLimits, Item, Net, Parcel, Phase, Port, RTT, Side};
use super::rng::SplitMix;
use super::script::Script;
use crate::carrier::{DialTarget, DownCause, Input, Now, Output};
use crate::config::Config;
use crate::error::code;
use crate::ids::{ByteRange, PathId, SessionId};
use crate::session::Cx;
use crate::session::ServerContext;
use crate::session::greeting::{Greeted, Greeting, PendingJoin};

pub(super) use builder::Setup;
pub(super) use reach::{CLIENT, fill_command, span};

/// Seconds since 1970 at the beginning of every world.
const EPOCH_UNIX_SECONDS: u64 = 1_700_000_000;

/// One thing may not go on at one moment for longer than this many steps.
const STEPS_MAX: u64 = 2_000_000;

/// Everything there is.
pub(super) struct World {
    pub(super) net: Net,
    config: Arc<Config>,
    origin: Instant,
    elapsed: Duration,
    actors: Vec<Actor>,
    pub(super) sites: Vec<Site>,
    /// Who is at which end of which connection.
    owners: BTreeMap<(ConnId, Side), ActorId>,
    /// What is not delivered for now.
    holds: Vec<Option<Hold>>,
    /// What happens later, and to whom.
    later: BTreeMap<(Duration, u64), Later>,
    sequence: u64,
    /// When each end last heard something.
    heard: BTreeMap<(ConnId, Side), Duration>,
    chance: Option<SplitMix>,
    /// How often a session was told something.
    calls: u64,
    /// Codes of violations with which connections were closed.
    blamed: Vec<u64>,
    /// The direction that was served last, for fairness without chance.
    turn: (ConnId, Side),
    limits: Limits,
}

/// What the connections allow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) client_to_primary: EndLimits,
    pub(super) client_to_secondary: EndLimits,
    pub(super) server: EndLimits,
    /// Bytes that arrive together.
    pub(super) span_bytes: u64,
}

/// Names one session, or what plays one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ActorId(usize);

/// One session.
struct Actor {
    role: Role,
    side: Side,
    /// Where it runs; `None` for a client.
    site: Option<usize>,
    paths: BTreeMap<PathId, ConnId>,
    /// Connections that are being made, by the number of the dial.
    dialing: BTreeMap<PathId, u64>,
    /// Its host has crashed, or is paused: nothing happens.
    crashed: bool,
}

/// What an actor is.
enum Role {
    Client(Box<ClientApp>),
    Greeting(Box<Greeting>),
    Primary(Box<PrimaryApp>),
    Secondary(Box<SecondaryApp>),
    Script(Box<Script>),
}

/// A server that listens.
pub(super) struct Site {
    pub(super) addr: SocketAddr,
    pub(super) pin: [u8; 32],
    pub(super) context: Arc<ServerContext>,
    /// What becomes of dials.
    pub(super) dials: DialFate,
    /// Whether a test plays it by hand.
    pub(super) scripted: bool,
    /// How its secondary sessions answer grants.
    pub(super) service: Service,
    /// How far its wall clock is ahead.
    pub(super) ahead_seconds: i64,
    sessions: u64,
}

/// What becomes of a dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DialFate {
    Accept,
    AcceptAfter(Duration),
    /// There is nobody, and the host says so.
    Refuse,
    /// No answer ever.
    Silence,
}

/// What is not delivered for now. What is not said applies to all.
#[derive(Clone, Debug, Default)]
pub(super) struct Hold {
    pub(super) conn: Option<ConnId>,
    pub(super) toward: Option<Side>,
    pub(super) what: What,
}

/// A kind of parcel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum What {
    #[default]
    All,
    Control,
    /// Unidirectional carriers.
    Segments,
    /// Bidirectional carriers but control.
    Streams,
    Feedback,
}

/// Names a hold, to lift it.
#[derive(Clone, Copy, Debug)]
pub(super) struct HoldId(usize);

/// Something that happens at its time.
enum Later {
    /// A handshake is done.
    Connected {
        actor: ActorId,
        path: PathId,
        site: usize,
        dial: u64,
    },
    /// A dial fails.
    DialFailed {
        actor: ActorId,
        path: PathId,
        dial: u64,
        cause: DownCause,
    },
    /// Both ends hear of each other: a probe and its answer.
    Heard(ConnId),
}

impl What {
    fn matches(self, item: Item) -> bool {
        let is_uni = |stream: u64| stream & 2 != 0;
        match self {
            Self::All => true,
            Self::Control => item.stream() == Some(super::net::CONTROL),
            Self::Segments => item.stream().is_some_and(is_uni),
            Self::Streams => item
                .stream()
                .is_some_and(|id| !is_uni(id) && id != super::net::CONTROL),
            Self::Feedback => item == Item::Feedback,
        }
    }
}

impl Hold {
    fn matches(&self, parcel: &Parcel) -> bool {
        self.conn.is_none_or(|conn| conn == parcel.conn)
            && self.toward.is_none_or(|toward| toward == parcel.toward)
            && self.what.matches(parcel.item)
    }
}

// Time.
impl World {
    pub(super) fn now(&self) -> Now {
        self.now_at(0)
    }

    fn now_at(&self, ahead_seconds: i64) -> Now {
        let unix_seconds = EPOCH_UNIX_SECONDS + self.elapsed.as_secs();
        Now {
            monotonic: self.origin + self.elapsed,
            unix_seconds: unix_seconds.saturating_add_signed(ahead_seconds),
        }
    }

    fn now_of(&self, actor: ActorId) -> Now {
        let ahead = self.actors[actor.0]
            .site
            .map_or(0, |site| self.sites[site].ahead_seconds);
        self.now_at(ahead)
    }

    /// Time since the beginning.
    pub(super) fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// Lets everything happen that happens now.
    pub(super) fn settle(&mut self) {
        let mut steps = 0;
        while self.step() {
            steps += 1;
            assert!(steps < STEPS_MAX, "the world never comes to rest");
        }
    }

    /// Lets everything happen that happens now, but stops in the middle of it as soon as `done`;
    /// whether it came about.
    pub(super) fn settle_until(&mut self, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        while !done(self) {
            if !self.step() {
                return false;
            }
        }
        true
    }

    /// Lets `time` pass, and everything happen in it.
    pub(super) fn advance(&mut self, time: Duration) {
        let until = self.elapsed + time;
        self.settle();
        while let Some(next) = self.next_moment().filter(|&next| next <= until) {
            self.elapsed = self.elapsed.max(next);
            self.settle();
        }
        self.elapsed = self.elapsed.max(until);
    }

    /// Lets time pass until `done`, at most `limit`; whether it came about.
    pub(super) fn advance_until(
        &mut self,
        limit: Duration,
        mut done: impl FnMut(&mut Self) -> bool,
    ) -> bool {
        let until = self.elapsed + limit;
        loop {
            self.settle();
            if done(self) {
                return true;
            }
            match self.next_moment().filter(|&next| next <= until) {
                Some(next) => self.elapsed = self.elapsed.max(next),
                None => return false,
            }
        }
    }

    /// When something is due next, if nothing is now.
    fn next_moment(&self) -> Option<Duration> {
        let timers = self.living().filter_map(|(_, actor)| actor.poll_timeout());
        let timers = timers.map(|at| at.saturating_duration_since(self.origin));
        let later = self.later.keys().next().map(|&(at, _)| at);
        timers.chain(later).chain(self.quiet_deadline()).min()
    }

    fn living(&self) -> impl Iterator<Item = (ActorId, &Actor)> {
        let actors = self
            .actors
            .iter()
            .enumerate()
            .map(|(id, actor)| (ActorId(id), actor));
        actors.filter(|(_, actor)| !actor.crashed)
    }

    /// When a quiet connection sends a PING, or is given up.
    fn quiet_deadline(&self) -> Option<Duration> {
        let quic = &self.config.quic;
        let ends = self.heard.iter().filter(|((conn, side), _)| {
            matches!(
                self.net.phase(*conn, *side),
                Phase::AwaitingControl | Phase::Up
            )
        });
        ends.map(|((conn, _), heard)| {
            let passes = self.passes(*conn);
            *heard
                + if passes {
                    quic.keep_alive
                } else {
                    quic.idle_timeout
                }
        })
        .min()
    }

    /// Whether both ends of a connection could hear each other.
    fn passes(&self, conn: ConnId) -> bool {
        let alive = |side: Side| {
            self.owners
                .get(&(conn, side))
                .is_some_and(|&actor| !self.actors[actor.0].crashed)
                && matches!(
                    self.net.phase(conn, side),
                    Phase::AwaitingControl | Phase::Up
                )
        };
        let held = |toward: Side| {
            self.holds.iter().flatten().any(|hold| {
                hold.matches(&Parcel {
                    conn,
                    toward,
                    item: Item::Feedback,
                }) && hold.what == What::All
            })
        };
        Side::BOTH
            .into_iter()
            .all(|side| alive(side) && !held(side))
            && !self.net.is_cut(conn)
    }
}

// What happens, one thing at a time.
impl World {
    /// Lets one thing happen; false if nothing is to happen now. Sockets are drained before timers
    /// are believed.
    fn step(&mut self) -> bool {
        let mut kinds: [fn(&mut Self) -> bool; 5] = [
            Self::step_input,
            Self::step_later,
            Self::step_app,
            Self::step_parcel,
            Self::step_timer,
        ];
        if let Some(rng) = &mut self.chance {
            // Now and then some time passes, so that nothing happens at the very same moment.
            if rng.once_in(8) {
                self.elapsed += Duration::from_micros(rng.below(500));
            }
            let turn = rng.index(kinds.len());
            kinds.rotate_left(turn);
        }
        kinds.into_iter().any(|kind| kind(self))
    }

    /// A session is told something.
    fn step_input(&mut self) -> bool {
        let mut ends: Vec<_> = self
            .owners
            .iter()
            .map(|(&end, &actor)| (end, actor))
            .collect();
        if let Some(rng) = &mut self.chance {
            let turn = rng.index(ends.len().max(1));
            ends.rotate_left(turn);
        }
        for ((conn, side), actor) in ends {
            if self.actors[actor.0].crashed {
                continue;
            }
            if let Some(input) = self.net.poll_input(conn, side) {
                if matches!(input, Input::Heard(_)) {
                    self.heard.insert((conn, side), self.elapsed);
                }
                self.tell(actor, input);
                return true;
            }
        }
        false
    }

    fn step_later(&mut self) -> bool {
        let Some(entry) = self.later.first_entry() else {
            return self.step_quiet();
        };
        if entry.key().0 > self.elapsed {
            return self.step_quiet();
        }
        match entry.remove() {
            Later::Connected {
                actor,
                path,
                site,
                dial,
            } => self.connect(actor, path, site, dial),
            Later::DialFailed {
                actor,
                path,
                dial,
                cause,
            } => {
                if self.answers(actor, path, dial) {
                    self.tell(actor, Input::PathDown { path, cause });
                }
            }
            Later::Heard(conn) => {
                if self.passes(conn) {
                    self.hear_both(conn);
                }
            }
        }
        true
    }

    /// PINGs on quiet connections, and ends of dead ones.
    fn step_quiet(&mut self) -> bool {
        let quic = &self.config.quic;
        let (keep_alive, idle) = (quic.keep_alive, quic.idle_timeout);
        let due: Vec<_> = self
            .heard
            .iter()
            .map(|(&end, &heard)| (end, heard))
            .collect();
        for ((conn, side), heard) in due {
            if !matches!(
                self.net.phase(conn, side),
                Phase::AwaitingControl | Phase::Up
            ) {
                continue;
            }
            if self.passes(conn) && heard + keep_alive <= self.elapsed {
                self.hear_both(conn);
                return true;
            }
            if !self.passes(conn) && heard + idle <= self.elapsed {
                self.net.fail(conn, side, DownCause::TimedOut);
                return true;
            }
        }
        false
    }

    fn hear_both(&mut self, conn: ConnId) {
        for side in Side::BOTH {
            self.net.hear(conn, side);
            self.heard.insert((conn, side), self.elapsed);
        }
    }

    fn step_timer(&mut self) -> bool {
        let now = self.origin + self.elapsed;
        let due = self
            .living()
            .find(|(_, actor)| actor.poll_timeout().is_some_and(|at| at <= now));
        let Some(actor) = due.map(|(id, _)| id) else {
            return false;
        };
        self.tell(actor, Input::Timeout);
        true
    }

    fn step_app(&mut self) -> bool {
        let mut actors: Vec<ActorId> = self.living().map(|(id, _)| id).collect();
        if let Some(rng) = &mut self.chance {
            let turn = rng.index(actors.len().max(1));
            actors.rotate_left(turn);
        }
        actors.into_iter().any(|actor| self.act(actor))
    }

    fn act(&mut self, id: ActorId) -> bool {
        let (now, chance) = (self.now_of(id), &mut self.chance);
        let Actor {
            role, side, paths, ..
        } = &mut self.actors[id.0];
        let port = &mut Port::new(&mut self.net, paths, *side);
        let cx = &mut Cx {
            now,
            carriers: port,
        };
        let acted = match role {
            Role::Client(app) => app.act(cx, chance),
            Role::Primary(app) => app.act(cx, chance),
            Role::Secondary(app) => app.act(cx, chance),
            Role::Greeting(_) | Role::Script(_) => false,
        };
        if acted {
            self.drain(id);
        }
        acted
    }

    fn step_parcel(&mut self) -> bool {
        let mut parcels = self.net.parcels();
        parcels.retain(|parcel| {
            let receiver = self.owners.get(&(parcel.conn, parcel.toward));
            let alive = receiver.is_none_or(|actor| !self.actors[actor.0].crashed);
            alive && !self.holds.iter().flatten().any(|hold| hold.matches(parcel))
        });
        let span = self.limits.span_bytes;
        let chosen = match &mut self.chance {
            Some(rng) if !parcels.is_empty() => {
                let parcel = parcels[rng.index(parcels.len())];
                cut(parcel, |range| part(range, span, rng))
            }
            Some(_) | None => {
                let next = parcels
                    .iter()
                    .find(|parcel| (parcel.conn, parcel.toward) > self.turn);
                let Some(&parcel) = next.or(parcels.first()) else {
                    return false;
                };
                self.turn = (parcel.conn, parcel.toward);
                cut(parcel, |range| head(range, span))
            }
        };
        self.net.deliver(chosen);
        true
    }
}

// The part of the endpoint.
impl World {
    fn tell(&mut self, id: ActorId, input: Input) {
        self.calls += 1;
        let now = self.now_of(id);
        let Actor {
            role, side, paths, ..
        } = &mut self.actors[id.0];
        let port = &mut Port::new(&mut self.net, paths, *side);
        let greeted = match role {
            Role::Client(app) => {
                app.session.handle(now, input, port);
                None
            }
            Role::Primary(app) => {
                app.session.handle(now, input, port);
                None
            }
            Role::Secondary(app) => {
                app.session.handle(now, input, port);
                None
            }
            Role::Script(script) => {
                script.handle(now, input, port);
                None
            }
            Role::Greeting(greeting) => greeting.handle(now, input, port),
        };
        if let Some(greeted) = greeted {
            self.on_greeted(id, greeted);
        }
        self.drain(id);
    }

    fn on_greeted(&mut self, id: ActorId, greeted: Greeted) {
        match greeted {
            Greeted::Primary(session) => {
                self.actors[id.0].role = Role::Primary(Box::new(PrimaryApp::new(session)));
            }
            Greeted::Join(pending) => self.on_join(id, pending),
        }
    }

    /// A proven join supersedes an older one of the same client until a command was accepted.
    fn on_join(&mut self, id: ActorId, pending: PendingJoin) {
        let site = self.actors[id.0].site.expect("servers accept joins");
        let key = pending.key();
        let older = self.living().find_map(|(other, actor)| match &actor.role {
            Role::Secondary(app)
                if actor.site == Some(site) && app.key == key && !app.session.is_closed() =>
            {
                Some((other, app.session.has_accepted_command()))
            }
            Role::Client(_)
            | Role::Greeting(_)
            | Role::Primary(_)
            | Role::Secondary(_)
            | Role::Script(_) => None,
        });
        if let Some((other, false)) = older {
            if let Role::Secondary(app) = &mut self.actors[other.0].role {
                app.session.close(code::PATH_ENDED);
            }
            self.drain(other);
        }
        let now = self.now_of(id);
        let service = self.sites[site].service;
        let Actor {
            role, side, paths, ..
        } = &mut self.actors[id.0];
        let port = &mut Port::new(&mut self.net, paths, *side);
        *role = if matches!(older, Some((_, true))) {
            Role::Greeting(Box::new(pending.refuse(port)))
        } else {
            let session = pending.accept(now, port);
            Role::Secondary(Box::new(SecondaryApp::new(session, key, service)))
        };
    }

    /// Carries out what a session asks for, and hands its events to the application.
    fn drain(&mut self, id: ActorId) {
        loop {
            let output = match &mut self.actors[id.0].role {
                Role::Client(app) => {
                    app.take_events();
                    app.session.poll_output()
                }
                Role::Primary(app) => {
                    app.take_events();
                    app.session.poll_output()
                }
                Role::Secondary(app) => {
                    app.take_events();
                    app.session.poll_output()
                }
                Role::Greeting(greeting) => greeting.poll_output(),
                Role::Script(script) => script.poll_output(),
            };
            match output {
                None => return,
                Some(Output::Dial { path, target }) => self.dial(id, path, &target),
                Some(Output::Close { path, code }) => self.close(id, path, code),
                Some(Output::Probe(path)) => self.probe(id, path),
            }
        }
    }

    fn dial(&mut self, actor: ActorId, path: PathId, target: &DialTarget) {
        // A redial closes the older connection first.
        self.close(actor, path, code::PATH_ENDED);
        self.sequence += 1;
        let dial = self.sequence;
        self.actors[actor.0].dialing.insert(path, dial);
        let site = self.sites.iter().position(|site| site.addr == target.addr);
        let fate = site.map_or(DialFate::Silence, |site| self.sites[site].dials);
        let fails = |cause| Later::DialFailed {
            actor,
            path,
            dial,
            cause,
        };
        let (after, event) = match (site, fate) {
            (Some(site), _) if self.sites[site].pin != target.pin && fate != DialFate::Silence => {
                (RTT, fails(DownCause::PinMismatch))
            }
            (Some(site), DialFate::Accept) => (
                Duration::ZERO,
                Later::Connected {
                    actor,
                    path,
                    site,
                    dial,
                },
            ),
            (Some(site), DialFate::AcceptAfter(after)) => (
                after,
                Later::Connected {
                    actor,
                    path,
                    site,
                    dial,
                },
            ),
            (_, DialFate::Refuse) => (RTT, fails(DownCause::Failed("refused".to_owned()))),
            (_, DialFate::Silence | DialFate::Accept | DialFate::AcceptAfter(_)) => {
                (self.config.quic.idle_timeout, fails(DownCause::TimedOut))
            }
        };
        self.schedule(after, event);
    }

    fn schedule(&mut self, after: Duration, event: Later) {
        self.sequence += 1;
        self.later
            .insert((self.elapsed + after, self.sequence), event);
    }

    /// Whether a dial is still wanted; it is not afterwards.
    fn answers(&mut self, actor: ActorId, path: PathId, dial: u64) -> bool {
        let dialing = &mut self.actors[actor.0].dialing;
        let wanted = dialing.get(&path) == Some(&dial);
        if wanted {
            dialing.remove(&path);
        }
        wanted
    }

    fn connect(&mut self, actor: ActorId, path: PathId, site: usize, dial: u64) {
        if !self.answers(actor, path, dial) {
            return;
        }
        let limits = self.limits;
        let client = if site == 0 {
            limits.client_to_primary
        } else {
            limits.client_to_secondary
        };
        let conn = self.net.connect(path, client, limits.server);
        self.actors[actor.0].paths.insert(path, conn);
        self.owners.insert((conn, Side::Client), actor);
        let server = self.accept(site, conn);
        self.owners.insert((conn, Side::Server), server);
        for side in Side::BOTH {
            self.heard.insert((conn, side), self.elapsed);
        }
    }

    fn accept(&mut self, site: usize, conn: ConnId) -> ActorId {
        let now = self.now_at(self.sites[site].ahead_seconds);
        let host = &mut self.sites[site];
        host.sessions += 1;
        let mut name = [site.to_le_bytes()[0]; 16];
        name[8..].copy_from_slice(&host.sessions.to_le_bytes());
        let role = if host.scripted {
            Role::Script(Box::default())
        } else {
            let greeting = Greeting::new(now, Arc::clone(&host.context), SessionId(name));
            Role::Greeting(Box::new(greeting))
        };
        let paths = BTreeMap::from([(PathId::PRIMARY, conn)]);
        self.add_actor(role, Side::Server, Some(site), paths)
    }

    fn add_actor(
        &mut self,
        role: Role,
        side: Side,
        site: Option<usize>,
        paths: BTreeMap<PathId, ConnId>,
    ) -> ActorId {
        let dialing = BTreeMap::new();
        self.actors.push(Actor {
            role,
            side,
            site,
            paths,
            dialing,
            crashed: false,
        });
        ActorId(self.actors.len() - 1)
    }

    fn close(&mut self, id: ActorId, path: PathId, code: u64) {
        if !matches!(code, code::NO_ERROR | code::ENDED | code::PATH_ENDED) {
            self.blamed.push(code);
        }
        let actor = &mut self.actors[id.0];
        actor.dialing.remove(&path);
        if let Some(conn) = actor.paths.remove(&path) {
            self.net.close(conn, actor.side, code);
        }
    }

    fn probe(&mut self, id: ActorId, path: PathId) {
        if let Some(&conn) = self.actors[id.0].paths.get(&path) {
            self.schedule(RTT, Later::Heard(conn));
        }
    }
}

impl Actor {
    fn poll_timeout(&self) -> Option<Instant> {
        match &self.role {
            Role::Client(app) => app.session.poll_timeout(),
            Role::Primary(app) => app.session.poll_timeout(),
            // A secondary has no deadlines of its own.
            Role::Secondary(_) | Role::Script(_) => None,
            Role::Greeting(greeting) => greeting.poll_timeout(),
        }
    }
}

/// The parcel with less data in it.
fn cut(parcel: Parcel, less: impl FnOnce(ByteRange) -> ByteRange) -> Parcel {
    match parcel.item {
        Item::Data { stream, range } => Parcel {
            item: Item::Data {
                stream,
                range: less(range),
            },
            ..parcel
        },
        Item::Feedback
        | Item::Stop { .. }
        | Item::Reset { .. }
        | Item::Fin { .. }
        | Item::Close => parcel,
    }
}

fn head(range: ByteRange, bytes: u64) -> ByteRange {
    ByteRange::with_len(range.start(), range.len().min(bytes)).expect("within the range")
}

/// A part of a range, of at most `bytes`: its head half of the time, any other.
fn part(range: ByteRange, bytes: u64, rng: &mut SplitMix) -> ByteRange {
    let len = 1 + rng.below(bytes.min(range.len()));
    let ahead = if rng.once_in(2) {
        0
    } else {
        rng.below(range.len() - len + 1)
    };
    ByteRange::with_len(range.start() + ahead, len).expect("within the range")
}

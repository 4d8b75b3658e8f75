//! A client, a primary and secondaries, and the connections between them, in virtual time.
//!
//! Owns the hosts, the clock and the order in which things happen: one at a time, the natural one
//! unless a seed says otherwise.

mod builder;
mod endpoint;
mod reach;
mod step;
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::apps::{ClientApp, PrimaryApp, SecondaryApp, Service};
use super::net::{ConnId, EndLimits, Item, Net, Parcel, Phase, RTT, Side};
use super::rng::SplitMix;
use super::script::Script;
use crate::carrier::{DownCause, Now};
use crate::config::Config;
use crate::ids::PathId;
use crate::session::ServerContext;
use crate::session::greeting::Greeting;

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
    /// There is somebody else.
    Impostor,
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

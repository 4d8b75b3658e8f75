//! A scenario as data: everything that makes one world differ from another.
//!
//! Owns the description of a world and of what befalls it. The same scenario lives the same life, so
//! one that failed can be kept: its text form ([`Scenario::to_text`], RON) goes into a regression
//! test as it is. Never runs anything: [`trial`](crate::trial) does.

mod brief;
mod draw;
mod faults;
pub mod presets;

use std::fmt;
use std::time::Duration;

use kwik_core::config::Overlap;
use kwik_core::plan::Spread;
use serde::{Deserialize, Serialize};

use crate::app::{AnswerOn, Ask, Conduct, Delivery, Request, Revokes};
use crate::link::LinkSpec;

/// A world, and what befalls it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What is left to chance follows from it: keys, content, which datagrams a lossy link loses.
    pub seed: u64,
    /// The primary, and the links to it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub primary: Server,
    /// The secondaries, and the links to them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub secondaries: Vec<Server>,
    /// What the client asks for.
    pub asks: Vec<Ask>,
    /// How many bytes each further client asks for, over links of no note: nothing befalls it but what
    /// befalls the servers. None of the secondaries may be hostile.
    #[serde(default, skip_serializing_if = "is_default")]
    pub others: Vec<u64>,
    /// How the primary shares the work.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sharing: Sharing,
    /// How the endpoints are configured.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tuning: Tuning,
    /// What befalls the world, in the order in which it is looked at.
    #[serde(default, skip_serializing_if = "is_default")]
    pub faults: Vec<Fault>,
    /// Whether each server writes a content of its own, so that every byte tells who wrote it. Copies
    /// differ then; see [`Scenario::may_have_marks`].
    #[serde(default, skip_serializing_if = "is_default")]
    pub marks: bool,
}

/// A server, and the two directions of its link to the client.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// How it behaves (a primary is honest, if slow).
    #[serde(skip_serializing_if = "is_default")]
    pub conduct: Conduct,
    /// From the client to it.
    #[serde(skip_serializing_if = "is_default", with = "brief")]
    pub uplink: LinkSpec,
    /// From it to the client.
    #[serde(skip_serializing_if = "is_default", with = "brief")]
    pub downlink: LinkSpec,
    /// How far its wall clock runs ahead of the client's.
    #[serde(skip_serializing_if = "is_default")]
    pub clock_ahead_seconds: i64,
}

/// How a primary shares the work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sharing {
    /// It writes everything itself, as with plain QUIC.
    Alone,
    /// The core's planner: whoever has little left to do gets the next range.
    #[default]
    Pull,
    /// The core's planner: everybody in turn.
    Rotate {
        /// Bytes of a piece.
        range_bytes: u64,
    },
    /// The application delegates ranges and takes care of lost ones.
    Delegate {
        /// Bytes of a range.
        range_bytes: u64,
        /// Which of them it takes back from whoever has them.
        #[serde(default, skip_serializing_if = "is_default")]
        revokes: Option<Revokes>,
    },
    /// The application gives out open grants: each secondary decides itself how much of its piece it
    /// writes, and the next piece begins there. None of them may be hostile: an application that lets
    /// somebody decide where an answer ends has to trust him.
    Raw {
        /// Bytes of a piece at most.
        range_bytes: u64,
    },
}

/// Settings that scenarios vary; [`Tuning::default`] is what everybody gets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tuning {
    /// Window of an ordered stream, bytes.
    pub stream_window_bytes: u64,
    /// Window of all streams together, bytes.
    pub session_window_bytes: u64,
    /// What happens to copies that differ.
    #[serde(with = "OverlapForm")]
    pub overlap: Overlap,
}

/// [`Overlap`] in the text form.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Overlap")]
enum OverlapForm {
    FirstWins,
    PrimaryWins,
    Reject,
}

/// Something that befalls the world.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// When.
    pub at: When,
    /// What.
    pub what: FaultKind,
}

/// When a fault comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum When {
    /// So long after the world began.
    Time(#[serde(with = "humantime_serde")] Duration),
    /// When the client has read so many percent of what it asks for (or the transfer has ended).
    Percent(u8),
}

/// Names a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Who {
    /// The client.
    Client,
    /// The primary.
    Primary,
    /// The secondary with this index, from 0.
    Secondary(usize),
}

/// A direction of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// From the client to a server.
    Up,
    /// From a server to the client.
    Down,
    /// Both.
    Both,
}

/// What befalls the world. Everything that lasts heals by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FaultKind {
    /// A server ends at once; nobody is told, and its state is gone.
    Crash(Who),
    /// A server ends, and starts again after a while without its state.
    Restart {
        /// Who.
        who: Who,
        /// How long it is down.
        #[serde(with = "humantime_serde")]
        down: Duration,
    },
    /// A host's process stands still; its socket keeps receiving.
    Pause {
        /// Who.
        who: Who,
        /// How long.
        #[serde(with = "humantime_serde")]
        lasts: Duration,
    },
    /// Nothing passes between the client and a server.
    Cut {
        /// The server.
        server: Who,
        /// Which direction.
        way: Way,
        /// How long.
        #[serde(with = "humantime_serde")]
        lasts: Duration,
    },
    /// Nothing passes to or from the client.
    Outage {
        /// How long.
        #[serde(with = "humantime_serde")]
        lasts: Duration,
    },
    /// The links of a server have other properties for a while.
    Storm {
        /// The server.
        server: Who,
        /// Which direction.
        way: Way,
        /// The properties.
        #[serde(with = "brief")]
        link: LinkSpec,
        /// How long.
        #[serde(with = "humantime_serde")]
        lasts: Duration,
    },
    /// Datagrams above a size vanish between the client and a server, from now on.
    BlackHole {
        /// The server.
        server: Who,
        /// Largest UDP payload that passes, bytes.
        payload_max_bytes: usize,
    },
    /// The client's NAT gives it another port or address; the old one is gone.
    Rebind {
        /// Whether the address changes too, or the port alone.
        address: bool,
    },
    /// A wall clock jumps.
    ClockJump {
        /// Whose.
        who: Who,
        /// Seconds forward, or back.
        seconds: i64,
    },
    /// The primary retires a secondary.
    Retire(usize),
    /// The primary names a secondary once more, under a new path id.
    AddAgain(usize),
    /// An application makes calls that it has no business to make, in whatever state things are.
    Poke(Who),
    /// An application makes calls that are allowed and that nobody expects: it gives up grants, opens
    /// streams and sessions for nothing, and the like.
    Meddle(Who),
}

impl Scenario {
    /// A client that asks for so many bytes, on a stream that the primary opens, and servers that
    /// bring them together over clean links.
    #[must_use]
    pub fn new(seed: u64, secondaries: usize, bytes: u64) -> Self {
        Self {
            seed,
            primary: Server::default(),
            secondaries: vec![Server::default(); secondaries],
            asks: vec![Ask::new(Request {
                bytes,
                answer_on: AnswerOn::OwnStream,
            })],
            others: Vec::new(),
            sharing: Sharing::default(),
            tuning: Tuning::default(),
            faults: Vec::new(),
            marks: false,
        }
    }

    /// Whether servers may write different contents: only where copies that differ cost nobody
    /// anything, and where there is nobody whose lies would have to be told from them.
    #[must_use]
    pub fn may_have_marks(&self) -> bool {
        let lies = |server: &Server| server.conduct == Conduct::Lies;
        self.tuning.overlap == Overlap::FirstWins
            && self.others.is_empty()
            && !self.secondaries.iter().any(lies)
    }

    /// Bytes that the client asks for.
    #[must_use]
    pub fn wanted(&self) -> u64 {
        self.asks.iter().map(|ask| ask.request.bytes).sum()
    }

    /// Bytes that all clients ask for together.
    #[must_use]
    pub fn wanted_by_all(&self) -> u64 {
        self.wanted() + self.others.iter().sum::<u64>()
    }

    /// The servers with their names, the primary first.
    pub fn servers(&self) -> impl Iterator<Item = (Who, &Server)> {
        let secondaries = self.secondaries.iter().enumerate();
        std::iter::once((Who::Primary, &self.primary))
            .chain(secondaries.map(|(index, server)| (Who::Secondary(index), server)))
    }

    /// The text form.
    ///
    /// # Panics
    ///
    /// Never: every scenario has one.
    #[must_use]
    pub fn to_text(&self) -> String {
        let form = ron::ser::PrettyConfig::new()
            .depth_limit(3)
            .extensions(ron::extensions::Extensions::IMPLICIT_SOME);
        ron::ser::to_string_pretty(self, form).expect("plain data can be written")
    }

    /// From the text form.
    ///
    /// # Errors
    ///
    /// Where and why it is none, in words.
    pub fn from_text(text: &str) -> Result<Self, ron::error::SpannedError> {
        ron::from_str(text)
    }
}

impl Sharing {
    /// As the primary's application has it.
    #[must_use]
    pub const fn delivery(self) -> Delivery {
        match self {
            Self::Alone => Delivery::Plain,
            Self::Pull => Delivery::Plan(Spread::Pull),
            Self::Rotate { range_bytes } => Delivery::Plan(Spread::Rotate { range_bytes }),
            Self::Delegate { range_bytes, .. } => Delivery::Delegate { range_bytes },
            Self::Raw { range_bytes } => Delivery::Raw { range_bytes },
        }
    }

    /// Which grants the primary's application takes back.
    #[must_use]
    pub const fn revokes(self) -> Option<Revokes> {
        match self {
            Self::Delegate { revokes, .. } => revokes,
            Self::Alone | Self::Pull | Self::Rotate { .. } | Self::Raw { .. } => None,
        }
    }
}

impl Default for Tuning {
    fn default() -> Self {
        let config = kwik_core::Config::default();
        Self {
            stream_window_bytes: config.client.stream_window_bytes,
            session_window_bytes: config.client.session_window_bytes,
            overlap: config.client.overlap,
        }
    }
}

impl Tuning {
    /// The configuration of the endpoints.
    #[must_use]
    pub fn config(&self) -> kwik_core::Config {
        let mut config = kwik_core::Config::default();
        config.client.stream_window_bytes = self.stream_window_bytes;
        config.client.session_window_bytes = self.session_window_bytes;
        config.client.overlap = self.overlap;
        config
    }
}

impl FaultKind {
    /// Its name, as the counts of a swarm have it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Crash(Who::Primary) => "primary-crash",
            Self::Crash(_) => "secondary-crash",
            Self::Restart {
                who: Who::Primary, ..
            } => "primary-restart",
            Self::Restart { .. } => "secondary-restart",
            Self::Pause { .. } => "pause",
            Self::Cut { way: Way::Both, .. } => "cut",
            Self::Cut { .. } => "one-way-cut",
            Self::Outage { .. } => "outage",
            Self::Storm { .. } => "storm",
            Self::BlackHole { .. } => "black-hole",
            Self::Rebind { address: false } => "rebind-port",
            Self::Rebind { address: true } => "rebind-address",
            Self::ClockJump { .. } => "clock-jump",
            Self::Retire(_) => "retire",
            Self::AddAgain(_) => "add-again",
            Self::Poke(_) => "poke",
            Self::Meddle(_) => "meddle",
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client => f.write_str("client"),
            Self::Primary => f.write_str("primary"),
            Self::Secondary(index) => write!(f, "secondary {index}"),
        }
    }
}

/// What is as always need not be said in the text form.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_survives_its_text_form() {
        let mut scenario = Scenario::new(7, 2, 1000);
        scenario.secondaries[1].conduct = Conduct::Refuses(3);
        scenario.secondaries[0].downlink.loss_ppm = 10_000;
        scenario.sharing = Sharing::Rotate {
            range_bytes: 65_536,
        };
        scenario.tuning.overlap = Overlap::Reject;
        scenario.faults = vec![
            Fault {
                at: When::Percent(20),
                what: FaultKind::Crash(Who::Secondary(1)),
            },
            Fault {
                at: When::Time(Duration::from_millis(1500)),
                what: FaultKind::Cut {
                    server: Who::Primary,
                    way: Way::Up,
                    lasts: Duration::from_secs(2),
                },
            },
        ];
        let text = scenario.to_text();
        assert_eq!(Scenario::from_text(&text), Ok(scenario), "{text}");
    }

    #[test]
    fn what_is_as_always_is_not_said() {
        let text = Scenario::new(7, 1, 1000).to_text();
        assert!(
            !text.contains("tuning") && !text.contains("uplink"),
            "{text}"
        );
        assert!(Scenario::from_text("(seed: 7, asks: [], nonsense: 1)").is_err());
    }
}

//! What the client of a world goes through, gathered from the `tracing` events of kwik-core.
//!
//! Owns the translation of events into [`Fact`]s, each with its virtual time. A recording hears its
//! own thread alone, and does not change what happens.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kwik_core::ids::ByteRange;
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata};

use crate::capture;
use crate::clock;
use crate::scenario::FaultKind;

/// Everything that was heard, in its order.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// Facts, and when they happened.
    pub facts: Vec<(Duration, Fact)>,
}

/// Something that happened at the client, or to the world.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// The session stands, and with it the path to the primary.
    Established,
    /// A secondary is dialled.
    Dialing {
        /// The path.
        path: u64,
        /// Where to.
        addr: Option<SocketAddr>,
    },
    /// The connection stands, and the client asks to join.
    Joining(u64),
    /// A path is in use.
    Joined(u64),
    /// The primary wants no more of a path.
    Retiring(u64),
    /// A path has ended.
    PathEnded {
        /// The path.
        path: u64,
        /// It ended as the primary wished.
        retired: bool,
    },
    /// The session has ended.
    SessionEnded(String),
    /// A path is to bring a range.
    Granted {
        /// The grant; none for what the primary writes itself.
        grant: Option<u64>,
        /// The path.
        path: u64,
        /// The stream.
        stream: u64,
        /// The range.
        range: ByteRange,
    },
    /// A grant has its final status.
    GrantEnded(u64),
    /// Bytes of a grant will not come from its path.
    Lost {
        /// The grant.
        grant: u64,
        /// The stream.
        stream: u64,
        /// What is missing.
        range: ByteRange,
        /// Why.
        reason: String,
    },
    /// Bytes arrived and found their place.
    Placed {
        /// The path that brought them.
        path: u64,
        /// The stream.
        stream: u64,
        /// The bytes.
        range: ByteRange,
    },
    /// The application has read on.
    Read {
        /// The stream.
        stream: u64,
        /// The bytes.
        range: ByteRange,
    },
    /// The application has read on in what the primary brings as in plain QUIC. When the bytes
    /// arrived is QUIC's secret.
    PlainRead {
        /// The stream.
        stream: u64,
        /// The bytes.
        range: ByteRange,
    },
    /// Something befell the world.
    Fault(FaultKind),
}

impl Fact {
    /// The stream that it is about.
    #[must_use]
    pub const fn stream(&self) -> Option<u64> {
        if let Self::Granted { stream, .. }
        | Self::Lost { stream, .. }
        | Self::Placed { stream, .. }
        | Self::Read { stream, .. }
        | Self::PlainRead { stream, .. } = self
        {
            Some(*stream)
        } else {
            None
        }
    }

    /// The bytes that arrived, and from which path.
    #[must_use]
    pub const fn arrived(&self) -> Option<(u64, ByteRange)> {
        if let Self::Placed { path, range, .. } = self {
            Some((*path, *range))
        } else if let Self::PlainRead { range, .. } = self {
            Some((0, *range))
        } else {
            None
        }
    }
}

thread_local! {
    /// There is one while this thread is recorded.
    static RUNNING: RefCell<Option<Recording>> = const { RefCell::new(None) };
}

/// How many threads are recorded.
static RECORDED: AtomicUsize = AtomicUsize::new(0);

/// Runs `f` and records what happens in it.
///
/// # Panics
///
/// If `f` does, or this thread is being recorded.
pub fn record<T>(f: impl FnOnce() -> T) -> (T, Recording) {
    capture::install();
    let guard = Guard::new();
    let value = f();
    let recording = RUNNING.take().unwrap_or_default();
    drop(guard);
    (value, recording)
}

/// Notes that a fault comes now; whoever executes faults calls it. Does nothing without a recording.
pub fn note_fault(what: &FaultKind) {
    note(|| Some(Fact::Fault(what.clone())));
}

/// Ends the recording even if what is recorded panics.
struct Guard;

impl Guard {
    fn new() -> Self {
        let before = RUNNING.replace(Some(Recording::default()));
        assert!(before.is_none(), "a thread is recorded once at a time");
        RECORDED.fetch_add(1, Ordering::SeqCst);
        // Places in the source that nobody had listened to are asked again.
        tracing::callsite::rebuild_interest_cache();
        Self
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        RUNNING.set(None);
        RECORDED.fetch_sub(1, Ordering::SeqCst);
        tracing::callsite::rebuild_interest_cache();
    }
}

/// Whether any thread is recorded.
pub(crate) fn is_any_running() -> bool {
    RECORDED.load(Ordering::Relaxed) > 0
}

/// Whether events from this place may be facts.
pub(crate) fn wants(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    target.starts_with("kwik_core::session::client")
        || target.starts_with("kwik_core::session::primary::plans")
}

/// Takes in an event, if this thread is recorded.
pub(crate) fn on_event(event: &Event<'_>) {
    note(|| {
        let mut fields = Fields::default();
        event.record(&mut fields);
        fields.fact()
    });
}

fn note(fact: impl FnOnce() -> Option<Fact>) {
    RUNNING.with_borrow_mut(|running| {
        if let Some(recording) = running
            && let Some(fact) = fact()
        {
            recording.facts.push((clock::time_here(), fact));
        }
    });
}

/// The fields of an event.
#[derive(Default)]
struct Fields {
    message: String,
    numbers: BTreeMap<&'static str, u64>,
    texts: BTreeMap<&'static str, String>,
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.numbers.insert(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.message = text;
        } else {
            self.texts.insert(field.name(), text);
        }
    }
}

impl Fields {
    /// What an event says; `None` for those that say nothing of interest here.
    fn fact(mut self) -> Option<Fact> {
        Some(match self.message.as_str() {
            "session established" => Fact::Established,
            "dialling a secondary" => Fact::Dialing {
                path: self.number("path")?,
                addr: self.text("addr").parse().ok(),
            },
            "asking a secondary to let us join" => Fact::Joining(self.number("path")?),
            "secondary joined" => Fact::Joined(self.number("path")?),
            "path retiring" => Fact::Retiring(self.number("path")?),
            "path ended" => Fact::PathEnded {
                path: self.number("path")?,
                retired: self.text("phase") == "Retired",
            },
            "session ended" => Fact::SessionEnded(self.text("reason")),
            "grant held" => Fact::Granted {
                grant: Some(self.number("grant")?),
                path: self.number("path")?,
                stream: self.number("stream")?,
                range: self.range()?,
            },
            "own range" => Fact::Granted {
                grant: None,
                path: 0,
                stream: self.number("stream")?,
                range: self.range()?,
            },
            "grant ended" => Fact::GrantEnded(self.number("grant")?),
            "bytes lost" => Fact::Lost {
                grant: self.number("grant")?,
                stream: self.number("stream")?,
                range: self.range()?,
                reason: self.text("reason"),
            },
            "bytes placed" => Fact::Placed {
                path: self.number("path")?,
                stream: self.number("stream")?,
                range: self.range()?,
            },
            "bytes read" => Fact::Read {
                stream: self.number("stream")?,
                range: self.range()?,
            },
            "plain bytes read" => Fact::PlainRead {
                stream: self.number("stream")?,
                range: self.range().filter(|range| !range.is_empty())?,
            },
            _ => return None,
        })
    }

    /// A number, however it was written.
    fn number(&self, name: &str) -> Option<u64> {
        let number = self.numbers.get(name).copied();
        number.or_else(|| self.texts.get(name)?.parse().ok())
    }

    fn text(&mut self, name: &str) -> String {
        self.texts.remove(name).unwrap_or_default()
    }

    fn range(&self) -> Option<ByteRange> {
        ByteRange::new(self.number("start")?, self.number("end")?)
    }
}

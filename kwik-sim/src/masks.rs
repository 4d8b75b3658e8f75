//! Every way to lose the beginning of a dial.
//!
//! Owns an exhaustive trial: each pattern of losses among the first datagrams between a client and a
//! secondary, in both directions. Whatever the pattern, the path becomes active in time, and a dial
//! to which nothing was answered is tried afresh at once when that is due.

use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

use kwik_core::Config;
use kwik_core::event::PathEvent;

use crate::app::Reader;
use crate::crypto::CryptoMode;
use crate::stage::{Setting, Stage};

/// The first datagrams each way, among which every pattern of losses is tried.
const DATAGRAMS: u32 = 6;

/// Patterns of one direction.
const PATTERNS: u64 = 1 << DATAGRAMS;

/// A path is to be active within so many deadlines of a dial.
const DEADLINES_MAX: u32 = 3;

/// What is due at once may take so long: the world's clock is not finer than a fifth of a millisecond.
const AT_ONCE: Duration = Duration::from_millis(5);

/// When a dial has begun at the latest, over clean links to the primary.
const DIALLED_MAX: Duration = Duration::from_secs(1);

const STEP: Duration = Duration::from_millis(1);

/// What came of all patterns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MaskReport {
    /// Patterns that were tried.
    pub runs: u64,
    /// The longest time from a dial to its active path.
    pub worst: Duration,
    /// Patterns that broke a promise, in order.
    pub failures: Vec<MaskFailure>,
}

/// A pattern that broke a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MaskFailure {
    /// Lost from the client to the secondary: the lowest bit is the first datagram.
    pub up: u64,
    /// Lost from the secondary to the client.
    pub down: u64,
    /// The promise.
    pub what: MaskFault,
}

/// A promise that a pattern broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MaskFault {
    /// The secondary was never dialled.
    NotDialled,
    /// Nothing was answered for a third of the deadline, and no fresh connection was tried at once.
    NotRedialled,
    /// The path was given up.
    Dead {
        /// How long after the dial.
        after: Duration,
    },
    /// The path was neither active nor dead in time.
    Late,
}

impl MaskReport {
    /// Whether every promise was kept.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.failures.is_empty()
    }

    fn add(mut self, other: Self) -> Self {
        self.runs += other.runs;
        self.worst = self.worst.max(other.worst);
        self.failures.extend(other.failures);
        self.failures.sort_unstable();
        self
    }
}

impl fmt::Display for MaskReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} patterns of losses, {} failed, the slowest path was active after {:.3} s",
            self.runs,
            self.failures.len(),
            self.worst.as_secs_f64()
        )?;
        for failure in &self.failures {
            write!(f, "\n{failure}")?;
        }
        Ok(())
    }
}

impl fmt::Display for MaskFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (up, down, what) = (self.up, self.down, self.what);
        write!(f, "up {up:06b}, down {down:06b}: {what}")
    }
}

impl fmt::Display for MaskFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotDialled => f.write_str("never dialled"),
            Self::NotRedialled => f.write_str("no answer, and not dialled again when it was due"),
            Self::Dead { after } => write!(f, "given up after {:.3} s", after.as_secs_f64()),
            Self::Late => f.write_str("not active in time"),
        }
    }
}

/// Tries all patterns.
#[must_use]
pub fn run(crypto: CryptoMode, threads: NonZeroUsize) -> MaskReport {
    run_some(crypto, threads, |_, _| true)
}

/// Tries the patterns that are chosen, each given as what is lost upwards and downwards.
///
/// # Panics
///
/// If one of the trials does.
#[must_use]
pub fn run_some(
    crypto: CryptoMode,
    threads: NonZeroUsize,
    is_chosen: impl Fn(u64, u64) -> bool + Sync,
) -> MaskReport {
    let all = || (0..PATTERNS).flat_map(|up| (0..PATTERNS).map(move |down| (up, down)));
    let chosen = &|&(up, down): &(u64, u64)| is_chosen(up, down);
    let reports: Vec<_> = std::thread::scope(|scope| {
        let share = |first| {
            let mine = all().filter(chosen).skip(first).step_by(threads.get());
            mine.map(|(up, down)| try_one(crypto, up, down))
                .fold(MaskReport::default(), MaskReport::add)
        };
        let begin = |first| scope.spawn(move || share(first));
        let threads: Vec<_> = (0..threads.get()).map(begin).collect();
        let end = |thread: std::thread::ScopedJoinHandle<'_, _>| thread.join();
        threads.into_iter().map(end).collect()
    });
    let report = |result: std::thread::Result<MaskReport>| match result {
        Ok(report) => report,
        Err(panic) => std::panic::resume_unwind(panic),
    };
    reports
        .into_iter()
        .map(report)
        .fold(MaskReport::default(), MaskReport::add)
}

/// What came of one pattern.
fn try_one(crypto: CryptoMode, up: u64, down: u64) -> MaskReport {
    let mut report = MaskReport {
        runs: 1,
        ..MaskReport::default()
    };
    match Dial::begin(crypto, up, down).and_then(|mut dial| dial.end()) {
        Ok(after) => report.worst = after,
        Err(what) => report.failures.push(MaskFailure { up, down, what }),
    }
    report
}

/// The dial of a secondary.
struct Dial {
    stage: Stage,
    began: Duration,
    deadline: Duration,
    /// Lost on the way to the client.
    down: u64,
}

impl Dial {
    /// A world with a client that has nothing to do but to dial.
    fn begin(crypto: CryptoMode, up: u64, down: u64) -> Result<Self, MaskFault> {
        let stage = world(crypto);
        let mut dial = Self {
            stage,
            began: Duration::ZERO,
            deadline: Config::default().client.dial.dial_deadline,
            down,
        };
        let (client, secondary) = (dial.stage.client, dial.stage.secondaries[0]);
        let world = &mut dial.stage.world;
        world.link(client, secondary).spec_mut().drop_first = up;
        world.link(secondary, client).spec_mut().drop_first = down;
        while dial.sent() == 0 {
            if dial.stage.world.time() >= DIALLED_MAX {
                return Err(MaskFault::NotDialled);
            }
            dial.stage.world.run_for(STEP);
        }
        dial.began = dial.stage.world.time();
        Ok(dial)
    }

    /// Watches it to its end; returns how long it took.
    fn end(&mut self) -> Result<Duration, MaskFault> {
        let silent = self.began + self.deadline / 3;
        if !self.run_until(silent - 2 * STEP)? {
            let (before, answers) = (self.sent(), self.answers());
            let is_over = self.run_until(silent + AT_ONCE)?;
            if !is_over && answers == 0 && self.answers() == 0 && self.sent() == before {
                return Err(MaskFault::NotRedialled);
            }
        }
        if !self.run_until(self.began + DEADLINES_MAX * self.deadline)? {
            return Err(MaskFault::Late);
        }
        Ok(self.stage.world.time() - self.began)
    }

    /// Goes on until the path is active, or so long; returns whether it is.
    fn run_until(&mut self, limit: Duration) -> Result<bool, MaskFault> {
        let client = self.stage.client;
        self.stage.world.run_until(limit, |world| {
            let events = world.app::<Reader>(client).path_events();
            events.iter().any(|(_, event)| ends(*event))
        });
        let mut events = self.stage.reader().path_events().iter();
        match events.find(|(_, event)| ends(*event)) {
            None => Ok(false),
            Some((_, PathEvent::Active(_))) => Ok(true),
            Some((at, _)) => Err(MaskFault::Dead {
                after: *at - self.began,
            }),
        }
    }

    /// Datagrams that the client has sent to the secondary.
    fn sent(&mut self) -> u64 {
        let (client, secondary) = (self.stage.client, self.stage.secondaries[0]);
        self.stage.world.link(client, secondary).stats().datagrams
    }

    /// Datagrams of the secondary that were not lost.
    fn answers(&mut self) -> u64 {
        let (client, secondary) = (self.stage.client, self.stage.secondaries[0]);
        let given = self.stage.world.link(secondary, client).stats().datagrams;
        let first = (1_u64 << given.min(u64::from(DATAGRAMS))) - 1;
        given - u64::from((self.down & first).count_ones())
    }
}

/// Whether it is the end of a dial.
const fn ends(event: PathEvent) -> bool {
    match event {
        PathEvent::Added(_) => false,
        PathEvent::Active(_) | PathEvent::Dead(_) | PathEvent::Retired(_) => true,
    }
}

/// A world in which hardly anything is transferred.
fn world(_crypto: CryptoMode) -> Stage {
    Setting::new(1, 1, 1).build()
}

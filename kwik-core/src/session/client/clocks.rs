//! The clocks of those who bring less than they could [GRANT-12].
//!
//! Owns when each clock began, what came since, and the judgement when it has run out. What a path was
//! asked for, and what becomes of a grant that is lost, is `grants`' business.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::ClientSession;
use crate::config::ClientConfig;
use crate::grant::{GrantIds, Held};
use crate::ids::{ByteRange, GrantId, PathId, StreamId};
use crate::session::Cx;
use crate::wire::LostReason;

/// Bytes with which a clock starts anew: what the slowest tolerable server brings while it runs.
pub(super) fn enough_bytes(config: &ClientConfig) -> u64 {
    let nanos = config.grant_start_max.as_nanos();
    let bytes = nanos.saturating_mul(config.grant_rate_min_bytes_per_second.into()) / 1_000_000_000;
    u64::try_from(bytes).unwrap_or(u64::MAX).max(1)
}

/// The clock of a path that has something to write and may.
#[derive(Clone, Copy, Debug)]
pub(super) struct StartClock {
    pub(super) deadline: Instant,
    /// How much must have come of the path's grants, all that ever came counted, until it starts anew.
    wanted: u64,
}

impl StartClock {
    /// `came` is all that ever came, `wanted` what has to come besides.
    pub(super) fn new(deadline: Instant, came: u64, wanted: u64) -> Self {
        let wanted = came.saturating_add(wanted);
        Self { deadline, wanted }
    }

    pub(super) fn has_enough(&self, came: u64) -> bool {
        came >= self.wanted
    }

    /// It stood for so long until now; at most `max` are left to it.
    pub(super) fn resume(&mut self, stood: Duration, max: Duration, now: Instant) {
        self.deadline = (self.deadline + stood).min(now + max);
    }

    /// There is only so much left to bring.
    pub(super) fn limit(&mut self, came: u64, left: u64) {
        self.wanted = self.wanted.min(came.saturating_add(left));
    }
}

/// The clock of a reader: how long it has waited in all while too little came of the grants for which
/// it waits. A byte now and then lets it go on for a moment and starts nothing anew.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReaderClock {
    /// Where the reader waited when the clock began.
    from: u64,
    /// Where it waits, or waited last.
    at: u64,
    /// Since when it waits, unless it can go on.
    since: Option<Instant>,
    /// How long it had waited before.
    waited: Duration,
    /// Bytes that came of the grants that were to bring the byte at which it waited.
    came: u64,
}

impl ReaderClock {
    /// The reader waits from now on.
    pub(super) fn new(at: u64, now: Instant) -> Self {
        Self {
            from: at,
            at,
            since: Some(now),
            waited: Duration::ZERO,
            came: 0,
        }
    }

    /// The reader waits at this byte.
    pub(super) fn wait(&mut self, at: u64, now: Instant) {
        self.at = at;
        self.since.get_or_insert(now);
    }

    /// The reader can go on.
    pub(super) fn pause(&mut self, now: Instant) {
        if let Some(since) = self.since.take() {
            self.waited += now.saturating_duration_since(since);
        }
    }

    /// So much came of a grant that was to bring the byte at which the reader waits.
    pub(super) fn on_bytes(&mut self, bytes: u64, enough: u64, now: Instant) {
        self.came = self.came.saturating_add(bytes);
        if self.came >= enough {
            self.restart(now);
        }
    }

    /// It stood for so long until now.
    pub(super) fn resume(&mut self, stood: Duration, now: Instant) {
        if let Some(since) = &mut self.since {
            *since = (*since + stood).min(now);
        }
    }

    pub(super) fn restart(&mut self, now: Instant) {
        let since = self.since.map(|_| now);
        *self = Self {
            since,
            ..Self::new(self.at, now)
        };
    }

    /// Where the reader waits, or waited last.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// When it will have waited for `max`.
    pub(super) fn deadline(&self, max: Duration) -> Option<Instant> {
        Some(self.since? + max.saturating_sub(self.waited))
    }

    /// Where it waited when the clock began and where it waits now, if that was for `max` in all;
    /// the clock begins anew.
    pub(super) fn expire(&mut self, max: Duration, now: Instant) -> Option<(u64, u64)> {
        self.deadline(max).filter(|&at| at <= now)?;
        let places = (self.from, self.at);
        self.restart(now);
        Some(places)
    }
}

impl ClientSession {
    /// The path's clock runs from now on, if it has something to write and may. If it `stood`,
    /// because nothing had credit, it begins anew.
    pub(super) fn arm_start(&mut self, now: Instant, id: PathId, stood: bool) {
        let runs = self.paths.live.get(&id).is_some_and(|p| p.start.is_some());
        if stood || !runs {
            self.begin_start(now, id);
        }
    }

    /// The path's clock begins anew, if it has something to write and may.
    fn begin_start(&mut self, now: Instant, id: PathId) {
        let deadline = now + self.config.client.grant_start_max;
        let left = self.credited_bytes(id);
        let wanted = left.min(enough_bytes(&self.config.client));
        let came = self.ledger.came_on(id);
        if let Some(path) = self.paths.get_mut(id) {
            path.start = (left > 0).then(|| StartClock::new(deadline, came, wanted));
        }
    }

    /// Bytes of these grants came, whoever brought them: the clocks of their paths begin anew if that
    /// was enough.
    pub(super) fn feed_start(&mut self, now: Instant, grants: &[GrantId]) {
        for grant in grants {
            let Some(id) = self.ledger.get(*grant).map(|held| held.path) else {
                continue;
            };
            let came = self.ledger.came_on(id);
            let running = self.paths.live.get(&id).and_then(|path| path.start);
            if running.is_some_and(|clock| clock.has_enough(came)) {
                self.begin_start(now, id);
            }
        }
    }

    /// A grant of the path has ended: nobody owes what nobody asks for.
    pub(super) fn limit_start(&mut self, id: PathId) {
        let (came, left) = (self.ledger.came_on(id), self.credited_bytes(id));
        if let Some(clock) = self.paths.get_mut(id).and_then(|path| path.start.as_mut()) {
            clock.limit(came, left);
        }
    }

    /// Live grants of a path whose lowest missing byte has credit.
    pub(super) fn credited_grants(&self, path: PathId) -> GrantIds {
        let is_credited = |held: &Held| {
            let told = self.told(held);
            held.is_live()
                && held.is_forwarded()
                && held.lowest_missing().is_some_and(|at| at < told)
        };
        self.ledger
            .on_path(path)
            .filter(|(_, held)| is_credited(held))
            .map(|(id, _)| id)
            .collect()
    }

    /// What these grants miss below the credit, as far as it is counted: no more than is enough.
    fn credited_bytes(&self, path: PathId) -> u64 {
        let enough = enough_bytes(&self.config.client);
        let grants = self.credited_grants(path);
        let held = grants.iter().filter_map(|&grant| self.ledger.get(grant));
        let mut bytes = 0u64;
        for held in held {
            bytes = bytes.saturating_add(held.missing_below(self.told(held), enough));
            if bytes >= enough {
                break;
            }
        }
        bytes
    }

    /// The credit that the path of a grant was told for its stream.
    fn told(&self, held: &Held) -> u64 {
        let recv = self.streams.aggregated(held.stream);
        recv.map_or(0, |recv| recv.window.told(held.path))
    }

    /// A path is heard that was suspected of silence for so long. Perhaps that was an outage of
    /// everything, which is nobody's fault, so the clocks of its grants stood. They do not begin anew:
    /// who brings nothing but answers to probes is suspected again and again.
    pub(super) fn on_suspicion_over(&mut self, now: Instant, id: PathId, suspected: Duration) {
        let max = self.config.client.grant_start_max;
        if let Some(clock) = self.paths.get_mut(id).and_then(|path| path.start.as_mut()) {
            clock.resume(suspected, max, now);
        }
        let held = self.ledger.on_path(id).map(|(_, held)| held);
        let ranges = held.filter(|held| held.is_live() && held.is_forwarded());
        let ranges: Vec<(StreamId, ByteRange)> =
            ranges.map(|held| (held.stream, held.range)).collect();
        // A stream's clock stands once, however many grants of the path it has.
        let mut resumed = BTreeSet::new();
        for (stream, range) in ranges {
            if resumed.contains(&stream) {
                continue;
            }
            let recv = self.streams.aggregated_mut(stream);
            if recv.is_some_and(|recv| recv.resume_wait(range, suspected, now)) {
                resumed.insert(stream);
            }
        }
    }

    /// Too little came of a path for too long: all that it could have written is lost.
    pub(super) fn on_start_deadline(&mut self, cx: &mut Cx<'_>, id: PathId, now: Instant) {
        let Some(path) = self.paths.get_mut(id) else {
            return;
        };
        if path.start_deadline().is_none_or(|at| now < at) {
            return;
        }
        path.start = None;
        for grant in self.credited_grants(id) {
            self.drain(cx, grant);
            self.lose(cx, grant, LostReason::NotStarted);
        }
    }

    /// The reader's clock: a grant that is to bring the bytes at which the reader waits, and of which
    /// too little came for too long, is lost, whatever else its secondary brings [GRANT-12].
    pub(super) fn on_reader_deadlines(&mut self, cx: &mut Cx<'_>) {
        let (now, max) = (cx.now.monotonic, self.config.client.grant_start_max);
        let late: Vec<(StreamId, (u64, u64))> = self
            .streams
            .all_aggregated()
            .filter_map(|(stream, recv)| Some((stream, recv.expire_wait(max, now)?)))
            .collect();
        for (stream, places) in late {
            for grant in self.holding_up(stream, places) {
                self.drain(cx, grant);
                self.lose(cx, grant, LostReason::NotStarted);
            }
        }
    }

    /// Live grants that are to bring the byte `at`, may, and whose path is not suspected of silence.
    /// Who is not concerned with the byte `from`, where the wait began, has all of it still to run.
    fn holding_up(&self, stream: StreamId, (from, at): (u64, u64)) -> GrantIds {
        let holds = |held: &Held| {
            let suspect = self
                .paths
                .live
                .get(&held.path)
                .is_none_or(|path| path.liveness.is_suspect());
            let concerned = held.range.start() <= from && held.misses(at);
            held.is_live() && held.is_forwarded() && concerned && at < self.told(held) && !suspect
        };
        self.ledger
            .on_stream(stream)
            .filter(|(_, held)| holds(held))
            .map(|(id, _)| id)
            .collect()
    }
}

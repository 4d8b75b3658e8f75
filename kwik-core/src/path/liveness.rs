//! Whether a secondary with work to do is still there [PATH-6].
//!
//! Owns the suspicion against one path. Silence alone proves nothing: the client itself may have
//! been paused or cut off. So a quiet path is first probed together with the primary and one other
//! path, and its silence counts only from the moment at which somebody else was heard after that
//! probe.

use std::time::{Duration, Instant};

/// What is known about one path's silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Liveness {
    suspicion: Suspicion,
}

/// The silence behind an outage may be so many times the usual limit, and no more: a server may have died
/// in the outage.
const OUTAGE_FACTOR_MAX: u32 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suspicion {
    /// Nothing is owed: no grant is outstanding.
    None,
    /// Heard, or given its first grant, at this time.
    Heard(Instant),
    /// Suspected since the first time; probed last at the second, and nobody else was heard since.
    Probed(Instant, Instant),
    /// Suspected since the first time; silent since the second, although somebody else was heard.
    Silent(Instant, Instant),
}

/// What a timeout brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing yet.
    Wait,
    /// Probe the path, and beside it the primary and one other.
    Probe,
    /// The path is dead.
    Dead,
}

impl Liveness {
    pub(crate) const fn new() -> Self {
        Self {
            suspicion: Suspicion::None,
        }
    }

    /// The path has work from now on (or has none any more).
    pub(crate) fn set_working(&mut self, working: bool, now: Instant) {
        match (working, self.suspicion) {
            (true, Suspicion::None) => self.suspicion = Suspicion::Heard(now),
            (false, _) => self.suspicion = Suspicion::None,
            (true, Suspicion::Heard(_) | Suspicion::Probed(..) | Suspicion::Silent(..)) => {}
        }
    }

    /// A datagram of this path arrived. Returns how long it had been suspected until then.
    pub(crate) fn on_heard(&mut self, now: Instant) -> Duration {
        let suspected = match self.suspicion {
            Suspicion::None => return Duration::ZERO,
            Suspicion::Heard(_) => Duration::ZERO,
            Suspicion::Probed(from, _) | Suspicion::Silent(from, _) => {
                now.saturating_duration_since(from)
            }
        };
        self.suspicion = Suspicion::Heard(now);
        suspected
    }

    /// A datagram of another path arrived. True if this path is to be probed once more: its silence
    /// begins to count [PATH-7].
    pub(crate) fn on_other_heard(&mut self, now: Instant) -> bool {
        let Suspicion::Probed(from, _) = self.suspicion else {
            return false;
        };
        self.suspicion = Suspicion::Silent(from, now);
        true
    }

    /// Whether the path was probed and has not answered.
    pub(crate) fn is_suspect(&self) -> bool {
        matches!(
            self.suspicion,
            Suspicion::Probed(..) | Suspicion::Silent(..)
        )
    }

    /// When [`Self::on_timeout`] may have something to say.
    pub(crate) fn deadline(&self, silence_max: Duration) -> Option<Instant> {
        match self.suspicion {
            Suspicion::None => None,
            Suspicion::Heard(at) | Suspicion::Probed(_, at) => Some(at + silence_max / 3),
            // What was lost in an outage is sent again after twice as long each time, so that the silence
            // behind it can last as long as it did.
            Suspicion::Silent(from, since) => {
                let outage = since.saturating_duration_since(from);
                Some(since + outage.clamp(silence_max, silence_max * OUTAGE_FACTOR_MAX))
            }
        }
    }

    /// Judges the silence up to `now`.
    pub(crate) fn on_timeout(&mut self, now: Instant, silence_max: Duration) -> Verdict {
        if self.deadline(silence_max).is_none_or(|at| now < at) {
            return Verdict::Wait;
        }
        match self.suspicion {
            Suspicion::None => Verdict::Wait,
            Suspicion::Heard(_) => {
                self.suspicion = Suspicion::Probed(now, now);
                Verdict::Probe
            }
            // An outage of everything: keep asking, blame nobody.
            Suspicion::Probed(from, _) => {
                self.suspicion = Suspicion::Probed(from, now);
                Verdict::Probe
            }
            Suspicion::Silent(..) => Verdict::Dead,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::tests::any_instant;

    const MAX: Duration = Duration::from_millis(1500);

    #[test]
    fn a_path_without_work_is_never_suspected() {
        let live = Liveness::new();
        assert_eq!(live.deadline(MAX), None);
    }

    /// [PATH-7]
    #[test]
    fn silence_counts_only_while_somebody_else_is_heard() {
        let start = any_instant();
        let mut live = Liveness::new();
        live.set_working(true, start);
        // An outage of all: probes for a minute, and no verdict.
        let mut now = start;
        for _ in 0..120 {
            now += Duration::from_millis(500);
            assert_eq!(live.on_timeout(now, MAX), Verdict::Probe);
        }
        assert!(live.on_other_heard(now), "the primary answers first");
        let dead_at = now + MAX * 4;
        assert_eq!(
            live.on_timeout(dead_at - Duration::from_millis(1), MAX),
            Verdict::Wait
        );
        assert_eq!(live.on_timeout(dead_at, MAX), Verdict::Dead);
    }

    /// [PATH-7]
    #[test]
    fn a_silence_may_last_as_long_as_the_outage_before_it() {
        for (outage, silence) in [(0, 1500), (1000, 1500), (3000, 3000), (60_000, 6000)] {
            let start = any_instant();
            let mut live = Liveness::new();
            live.set_working(true, start);
            let probed = start + MAX / 3;
            assert_eq!(live.on_timeout(probed, MAX), Verdict::Probe);
            let heard = probed + Duration::from_millis(outage);
            assert!(live.on_other_heard(heard));
            let dead_at = heard + Duration::from_millis(silence);
            assert_eq!(live.deadline(MAX), Some(dead_at), "after {outage} ms");
        }
    }

    #[test]
    fn an_answer_ends_the_suspicion() {
        let start = any_instant();
        let mut live = Liveness::new();
        live.set_working(true, start);
        assert_eq!(live.on_timeout(start + MAX, MAX), Verdict::Probe);
        assert_eq!(live.on_timeout(start + MAX * 2, MAX), Verdict::Probe);
        live.on_other_heard(start + MAX * 2);
        let heard = start + MAX * 5 / 2;
        let suspected = live.on_heard(heard);
        assert_eq!(suspected, MAX * 3 / 2, "since the first probe");
        assert_eq!(live.on_timeout(heard, MAX), Verdict::Wait);
        assert_eq!(live.on_heard(heard + MAX / 3), Duration::ZERO);
    }
}

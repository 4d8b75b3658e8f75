//! Virtual time.
//!
//! Owns the translation between the time of a world, counted from its beginning, and the clocks that
//! an endpoint wants to be shown. Time passes only when the world says so.

use std::cell::Cell;
use std::time::{Duration, Instant};

use kwik_core::carrier::Now;

/// Wall-clock seconds at the beginning of every world.
const WALL_CLOCK_AT_START: u64 = 1_800_000_000;

thread_local! {
    /// For those who are told of events without a time.
    static TIME_HERE: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// The time of the world whose clock moved last on this thread.
#[must_use]
pub fn time_here() -> Duration {
    TIME_HERE.get()
}

/// The clock of a world.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    base: Instant,
    time: Duration,
}

impl Clock {
    /// A clock that stands at zero.
    #[must_use]
    pub(crate) fn new() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "std makes an Instant in no other way; only differences to it are ever used"
        )]
        let base = Instant::now();
        TIME_HERE.set(Duration::ZERO);
        Self {
            base,
            time: Duration::ZERO,
        }
    }

    /// Time since the world began.
    #[must_use]
    pub fn time(&self) -> Duration {
        self.time
    }

    /// Lets time pass; it never runs backwards.
    pub(crate) fn advance_to(&mut self, time: Duration) {
        assert!(time >= self.time, "virtual time runs backwards");
        self.time = time;
        TIME_HERE.set(time);
    }

    /// This moment, for a host whose wall clock runs ahead by so many seconds.
    #[must_use]
    pub(crate) fn moment(&self, wall_clock_ahead_seconds: i64) -> Moment {
        let wall = WALL_CLOCK_AT_START + self.time.as_secs();
        Moment {
            time: self.time,
            now: Now {
                monotonic: self.base + self.time,
                unix_seconds: wall.saturating_add_signed(wall_clock_ahead_seconds),
            },
        }
    }

    /// When an instant is, in the time of the world; an instant before its beginning is zero.
    #[must_use]
    pub fn time_of(&self, instant: Instant) -> Duration {
        instant.saturating_duration_since(self.base)
    }
}

/// A moment as a host sees it.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Since the world began.
    pub time: Duration,
    /// What the host's clocks show.
    pub now: Now,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_shown_to_a_host_translates_back() {
        let mut clock = Clock::new();
        clock.advance_to(Duration::from_millis(1500));
        let moment = clock.moment(-3);
        assert_eq!(clock.time_of(moment.now.monotonic), moment.time);
        assert_eq!(moment.now.unix_seconds, WALL_CLOCK_AT_START + 1 - 3);
    }

    #[test]
    #[should_panic(expected = "backwards")]
    fn time_does_not_run_backwards() {
        let mut clock = Clock::new();
        clock.advance_to(Duration::from_millis(2));
        clock.advance_to(Duration::from_millis(1));
    }
}

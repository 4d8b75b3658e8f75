//! Whether a program comes to rest: how often its deadlines may be handled with nothing else to do.
//!
//! Owns the count. Never sees a timer: the program tells whether one is due.

use std::time::Duration;

use super::Unrest;

/// Events that one round of a host may handle: more means that the program talks to itself.
pub(crate) const EVENTS_PER_ROUND_MAX: usize = 5_000;

/// How often in a row a QUIC connection may find its timer due again, at one instant and with nothing
/// new to do.
///
/// It is the one timer for loss detection of quinn-proto. An expiry serves one packet number space:
/// it declares what that space has lost, or asks for one probe there. Then the timer is that of the
/// next thing, and after a sleep, or after a time in which a server was not allowed to send, this may be
/// overdue as well: the losses of another space, or the probe
/// timeout of what else is in flight. A probe is always sent, which puts the probe timeout of its space
/// off; so is what was lost. There are never more than two spaces with packets in flight that a timer
/// looks after: each has one loss and one probe, and the first of these four was due by right.
pub(crate) const LOSS_TIMERS_MAX: u32 = 3;

/// How often deadlines were handled since the time went on, a datagram arrived or the program did
/// something. (What an application does may well be due at once.)
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rest {
    expiries: u32,
    at: Duration,
}

impl Rest {
    /// Something else happened than that a deadline came.
    pub(crate) fn disturb(&mut self) {
        self.expiries = 0;
    }

    /// A deadline is handled.
    pub(crate) fn on_expiry(&mut self, time: Duration) {
        if self.at != time {
            self.at = time;
            self.expiries = 0;
        }
        self.expiries += 1;
    }

    /// How often deadlines were handled since something else happened.
    #[cfg(test)]
    pub(crate) fn expiries(self) -> u32 {
        self.expiries
    }

    /// What is wrong if a deadline is due for `since`, which may come again so often.
    pub(crate) fn judge(self, since: Duration, again_max: u32) -> Option<Unrest> {
        (self.expiries > again_max).then_some(Unrest::TimerDue { since })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_deadline_may_come_again_so_often_and_no_more() {
        let unrest = Some(Unrest::TimerDue { since: MS });
        let mut rest = Rest::default();
        assert_eq!(rest.judge(MS, 0), None, "none was handled");
        rest.on_expiry(MS);
        assert_eq!(rest.judge(MS, 0), unrest);
        for _ in 0..LOSS_TIMERS_MAX {
            assert_eq!(rest.judge(MS, LOSS_TIMERS_MAX), None);
            rest.on_expiry(MS);
        }
        assert_eq!(rest.judge(MS, LOSS_TIMERS_MAX), unrest);
        // The time goes on, or something happens.
        let mut later = rest;
        later.on_expiry(2 * MS);
        assert_eq!(later.judge(MS, 1), None);
        rest.disturb();
        assert_eq!(rest.judge(MS, 0), None);
    }
}

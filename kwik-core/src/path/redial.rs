//! One dial: the connections that are tried for a path, one after the other [PATH-5].
//!
//! Owns when a connection that says nothing is given up for a fresh one, and when the whole dial has
//! failed. A few lost packets can make QUIC wait half a minute before it asks again; a connection
//! that begins has no such past. Never sees a connection.

use std::time::{Duration, Instant};

/// Connections in a row that may bring nothing; and the parts of the deadline, one for each.
const SILENT_MAX: u32 = 3;
/// Deadlines after which a dial has failed whatever was heard in it.
const DEADLINES_MAX: u32 = 3;

/// A dial that has not led to JOINED yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dial {
    began: Instant,
    /// When one of its connections stood for the first time.
    stood: Option<Instant>,
    /// When something of any of its connections was last heard, or it began.
    heard: Instant,
    /// When the connection of now began.
    connection_began: Instant,
    /// When it was last heard, or began.
    connection_heard: Instant,
    /// Connections that failed before they stood.
    failed: u32,
}

/// What a timeout brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DialVerdict {
    /// Nothing yet.
    Wait,
    /// A fresh connection is to take the place of the one that is silent, or gets nowhere.
    Redial,
    /// The server is not to be had.
    Failed,
}

impl Dial {
    /// The first connection begins.
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            began: now,
            stood: None,
            heard: now,
            connection_began: now,
            connection_heard: now,
            failed: 0,
        }
    }

    /// The connection of now failed before it stood, or somebody says so. It is only silent from now
    /// on: its time is waited for, so that nobody is dialled faster for refusing. True if that ends
    /// the dial.
    pub(crate) fn on_failed(&mut self) -> bool {
        self.failed = self.failed.saturating_add(1);
        self.failed >= SILENT_MAX
    }

    /// A datagram of the connection of now arrived.
    pub(crate) fn on_heard(&mut self, now: Instant) {
        self.heard = now;
        self.connection_heard = now;
    }

    /// The connection of now stands: the server is there.
    pub(crate) fn on_connected(&mut self, now: Instant) {
        self.stood.get_or_insert(now);
    }

    /// A fresh connection has taken the place of the last.
    pub(crate) fn on_redial(&mut self, now: Instant) {
        self.connection_began = now;
        self.connection_heard = now;
    }

    /// When [`Self::on_timeout`] has something to say, if nothing is heard before.
    pub(crate) fn deadline(&self, dial_deadline: Duration) -> Instant {
        // A connection on which now and then something is heard has twice as long. Servers give it not
        // much more, and would close it [SESS-1].
        self.fails_at(dial_deadline)
            .min(self.connection_heard + silent_part(dial_deadline))
            .min(self.connection_began + silent_part(dial_deadline) * 2)
    }

    /// Judges the silence up to `now`.
    pub(crate) fn on_timeout(&self, now: Instant, dial_deadline: Duration) -> DialVerdict {
        if self.fails_at(dial_deadline) <= now {
            DialVerdict::Failed
        } else if self.deadline(dial_deadline) <= now {
            DialVerdict::Redial
        } else {
            DialVerdict::Wait
        }
    }

    /// A deadline without a sign of life ends the dial. Signs of life, such as the answers to a
    /// handshake of which half is lost, earn it more time, but not for ever; and a server that is there
    /// has one deadline to let the client join.
    pub(crate) fn fails_at(&self, dial_deadline: Duration) -> Instant {
        let silent = self.heard + silent_part(dial_deadline) * SILENT_MAX;
        let endless = self.began + dial_deadline * DEADLINES_MAX;
        let mute = self.stood.map_or(endless, |stood| stood + dial_deadline);
        silent.min(endless).min(mute)
    }
}

fn silent_part(dial_deadline: Duration) -> Duration {
    dial_deadline / SILENT_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::tests::any_instant;

    const DEADLINE: Duration = Duration::from_secs(9);

    /// When a dial acts if only `heard` is heard, in seconds, and what it does.
    fn course(heard: &[u64]) -> Vec<(u64, DialVerdict)> {
        let start = any_instant();
        let mut dial = Dial::new(start);
        let mut course = Vec::new();
        for second in 1..60 {
            let now = start + Duration::from_secs(second);
            if heard.contains(&second) {
                dial.on_heard(now);
            }
            let verdict = dial.on_timeout(now, DEADLINE);
            assert_eq!(
                verdict != DialVerdict::Wait,
                dial.deadline(DEADLINE) <= now,
                "it is woken when it has something to say"
            );
            match verdict {
                DialVerdict::Wait => continue,
                DialVerdict::Redial => dial.on_redial(now),
                DialVerdict::Failed => {
                    course.push((second, verdict));
                    break;
                }
            }
            course.push((second, verdict));
        }
        course
    }

    /// [PATH-5]
    #[test]
    fn a_silent_connection_is_replaced_as_soon_as_a_third_of_the_deadline_has_passed() {
        use DialVerdict::{Failed, Redial};
        assert_eq!(course(&[]), [(3, Redial), (6, Redial), (9, Failed)]);
        assert_eq!(
            course(&[2]),
            [(5, Redial), (8, Redial), (11, Failed)],
            "the third counts from what was heard last"
        );
    }

    /// [PATH-5]
    #[test]
    fn a_dial_that_is_heard_now_and_then_has_three_deadlines_and_no_more() {
        use DialVerdict::{Failed, Redial};
        let signs: Vec<u64> = (1..60).step_by(2).collect();
        let course = course(&signs);
        let redials = [(6, Redial), (12, Redial), (18, Redial), (24, Redial)];
        assert_eq!(course.split_last(), Some((&(27, Failed), &redials[..])));
    }
    /// [PATH-5]
    #[test]
    fn a_server_that_is_there_has_one_deadline_to_accept_a_join() {
        let start = any_instant();
        let at = |second| start + Duration::from_secs(second);
        let mut dial = Dial::new(start);
        for second in 1..12 {
            dial.on_heard(at(second));
            assert_ne!(dial.on_timeout(at(second), DEADLINE), DialVerdict::Failed);
            if second == 3 || second == 8 {
                dial.on_connected(at(second));
            }
        }
        dial.on_heard(at(12));
        assert_eq!(dial.on_timeout(at(12), DEADLINE), DialVerdict::Failed);
    }
}

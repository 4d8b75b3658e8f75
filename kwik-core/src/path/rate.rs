//! How often a client dials [PATH-4]: a primary that names path after path must not turn its clients
//! into a flood.
//!
//! Owns the connections that were begun within the last minute. Never sees a path.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::config::DialPolicy;

const MINUTE: Duration = Duration::from_secs(60);

/// The connections of a session to secondaries that were begun lately, oldest first.
#[derive(Debug, Default)]
pub(crate) struct DialRate {
    begun: VecDeque<(Instant, SocketAddr)>,
}

impl DialRate {
    /// Whether the policy lets one more connection begin now; it counts then.
    pub(crate) fn admit(&mut self, now: Instant, target: SocketAddr, policy: &DialPolicy) -> bool {
        while self
            .begun
            .front()
            .is_some_and(|&(at, _)| at + MINUTE <= now)
        {
            self.begun.pop_front();
        }
        let ip = target.ip().to_canonical();
        let same = |other: &SocketAddr| other.ip() == ip && other.port() == target.port();
        let to_target = self.begun.iter().filter(|(_, to)| same(to)).count();
        let admitted = self.begun.len() < policy.dials_per_minute_max
            && to_target < policy.dials_per_minute_and_target_max;
        if admitted {
            self.begun
                .push_back((now, SocketAddr::new(ip, target.port())));
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::tests::any_instant;

    fn target(number: u8) -> SocketAddr {
        SocketAddr::from(([203, 0, 113, number], 4433))
    }

    fn policy(session: usize, target: usize) -> DialPolicy {
        DialPolicy {
            dials_per_minute_max: session,
            dials_per_minute_and_target_max: target,
            ..DialPolicy::default()
        }
    }

    /// [PATH-4]
    #[test]
    fn dials_of_a_minute_are_counted_for_the_session_and_for_each_target() {
        let (now, policy) = (any_instant(), policy(5, 2));
        let mut rate = DialRate::default();
        let mut admit = |number| rate.admit(now, target(number), &policy);
        assert!(admit(1) && admit(1));
        assert!(!admit(1), "two to one target");
        assert!(admit(2) && admit(2) && admit(3));
        assert!(!admit(4), "five in all: what was refused does not count");
    }

    /// [PATH-4]
    #[test]
    fn the_minute_moves_on() {
        let (start, policy) = (any_instant(), policy(2, 2));
        let mut rate = DialRate::default();
        let mut admit =
            |second| rate.admit(start + Duration::from_secs(second), target(1), &policy);
        assert!(admit(0) && admit(30));
        assert!(!admit(59));
        assert!(admit(60));
        assert!(!admit(89));
        assert!(admit(90));
    }

    /// [PATH-4]
    #[test]
    fn one_host_under_two_spellings_is_one_target() {
        let (now, policy) = (any_instant(), policy(9, 1));
        let mut rate = DialRate::default();
        assert!(rate.admit(now, target(1), &policy));
        let mapped = "[::ffff:203.0.113.1]:4433".parse().expect("an address");
        assert!(!rate.admit(now, mapped, &policy));
    }
}

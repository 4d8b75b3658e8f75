//! Links that are cut one after the other and come back in another order.
//!
//! Owns how one such peril becomes cuts, which shrink one by one like all others. It finds what a
//! single cut does not: that somebody comes back while the one on whom he relied is gone by now.

use std::time::Duration;

use super::Draw;
use super::perils::readable;
use crate::scenario::{Fault, FaultKind, Scenario, Way, When, Who};

impl Draw<'_> {
    /// The cuts of some servers' links, two at least; none if there is only one server.
    pub(super) fn swizzle(&mut self, scenario: &Scenario, expected: Duration) -> Vec<Fault> {
        let mut servers: Vec<Who> = scenario.servers().map(|(who, _)| who).collect();
        if servers.len() < 2 {
            return Vec::new();
        }
        // The secondaries first: without bytes the primary is spared.
        servers.rotate_left(1);
        let count = match servers.len() {
            2 => 2,
            all => 2 + self.index(all - 1),
        };
        self.shuffle(&mut servers);
        servers.truncate(count);
        // As they were cut, unless it is drawn otherwise: the first that is cut comes back last.
        let mut back: Vec<usize> = (0..count).rev().collect();
        self.shuffle(&mut back);
        let begin = readable(expected * self.percent() / 100);
        let apart = self.millis(&[100, 5, 20, 50, 300, 1000]);
        let hold = self.millis(&[100, 0, 20, 500, 2000, 8000]);
        let cuts = servers.into_iter().zip(0_u32..).zip(back);
        cuts.map(|((server, before), place)| {
            let healed = u32::try_from(count + place).unwrap_or(u32::MAX) - before;
            Fault {
                at: When::Time(begin + apart * before),
                what: FaultKind::Cut {
                    server,
                    way: Way::Both,
                    lasts: hold + apart * healed,
                },
            }
        })
        .collect()
    }

    /// Puts them in another order; without bytes they stay as they are.
    fn shuffle<T>(&mut self, these: &mut [T]) {
        for from in 0..these.len() {
            let other = from + self.index(these.len() - from);
            these.swap(from, other);
        }
    }
}

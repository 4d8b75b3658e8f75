//! What must hold at every moment of every life.
//!
//! Owns the invariants that are checked after each event, at what has changed. They are named I1 to
//! I15 in the words of a failure:
//!
//! | name | what holds | where it is checked |
//! |---|---|---|
//! | I1 | a reader reads the content of its stream, byte for byte, and of its session; copies of honest servers that were not read are the same | the reader, at each read; `ledger` |
//! | I2 | each offset is read once: what the core has delivered is what was read | here |
//! | I3 | every grant has exactly one final status, within its range, plans' too; what endpoints took for a stream that was read whole is all of it and no more, and each byte of it was brought once | `ledger`: at each event, and when all was read |
//! | I4 | a stream ends where its answer does, or with the code with which somebody gave it up | here |
//! | I5 | the client sees the streams that it or the primary opened, and no others | here |
//! | I6 | an honest secondary brings no more than it was granted, and is blamed for nothing; a liar's bytes stay in its grants; where servers write contents of their own, so do everybody's; a hostile one is closed with the code for its deed | here, `marks` |
//! | I7 | everything that is held and has a bound is within it, at every end: bytes that wait, the memory under them, gaps, queues, grants, paths | `bounds`; the heap itself: `tests/heap` |
//! | I8 | after the faults are over, the transfers end in time | [`trial`](crate::trial) |
//! | I9 | when all is closed, nothing is left: no timer, no datagram, no session | at the end; the heap itself: `tests/heap` |
//! | I10 | the same seed gives the same bytes in another process | `kwik-sim determinism` |
//! | I11 | nothing panics, overflows or logs an error | [`trial`](crate::trial) |
//! | I12 | credit does not deadlock: where nothing is lost and nobody rests, a transfer does not stand still | `stillness`: at each event |
//! | I13 | at one instant there is an end to what happens, at every host: rounds, bursts, events | [`world`](crate::world) |
//! | I14 | a deadline that was served is over: a session's at once, that of QUIC's loss detection after one expiry for each thing that it looks after | [`host`](crate::host), for raw peers [`raw`](crate::raw) |
//! | I15 | every call in every state returns, and changes nothing if it must not | [`poke`](crate::app::poke), [`stale`](crate::app::stale), [`doorstep`](crate::app::doorstep) |

mod bounds;
mod ledger;
mod marks;
mod stillness;

use kwik_core::error::{CloseReason, code};
use kwik_core::ranges::RangeSet;

use self::bounds::Bounds;
use self::marks::Grants;
use self::stillness::Stillness;
use crate::app::{Conduct, Consequence};
use crate::host::KwikNode;
use crate::scenario::{FaultKind, Scenario, Who};
use crate::stage::Stage;
use crate::world::HostId;

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// Its name.
    pub invariant: &'static str,
    /// What was seen.
    pub detail: String,
}

impl Breach {
    fn new(invariant: &'static str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { invariant, detail }
    }
}

/// What was seen of a life so far, as far as later moments are judged by it.
#[derive(Debug)]
pub struct Oracle {
    bounds: Bounds,
    /// Streams that the client was shown so far.
    streams_seen: usize,
    /// The primary starts anew some time: what it opened before is forgotten.
    primary_was_lost: bool,
    /// Bytes that each secondary was granted in earlier lives and in this one.
    granted: Vec<Granted>,
    /// What they were granted where, if every byte tells who wrote it.
    grants: Option<Grants>,
    stillness: Option<Stillness>,
}

/// What one secondary was granted.
#[derive(Clone, Copy, Debug, Default)]
struct Granted {
    /// By programs that have ended.
    before: u64,
    /// By the one that runs, when it was looked at last.
    now: u64,
}

impl Oracle {
    /// For a scenario that has not begun.
    #[must_use]
    pub fn new(scenario: &Scenario) -> Self {
        Self {
            bounds: Bounds::of(scenario),
            streams_seen: 0,
            primary_was_lost: scenario.faults.iter().any(|fault| {
                matches!(
                    fault.what,
                    FaultKind::Restart {
                        who: Who::Primary,
                        ..
                    }
                )
            }),
            granted: vec![Granted::default(); scenario.secondaries.len()],
            grants: scenario
                .marks
                .then(|| Grants::new(scenario.secondaries.len())),
            stillness: Stillness::new(scenario),
        }
    }

    /// Looks at what the hosts that have just had a turn have done.
    ///
    /// # Errors
    ///
    /// What does not hold.
    pub fn after_step(&mut self, stage: &mut Stage, turned: &[HostId]) -> Result<(), Breach> {
        for &host in turned {
            self.check_bounds(stage, host)?;
            if host == stage.client {
                self.check_reads(stage)?;
                self.check_books(stage)?;
            } else if let Some(index) = stage.secondaries.iter().position(|&s| s == host) {
                self.note_granted(stage, index);
                if let Some(grants) = &mut self.grants {
                    grants.note(stage, index);
                }
            } else {
                ledger::check_statuses(stage)?;
            }
        }
        match &self.stillness {
            Some(stillness) => stillness.check(stage),
            None => Ok(()),
        }
    }

    /// I7: nothing is fuller than it may be, at any end that runs kwik-core.
    fn check_bounds(&self, stage: &Stage, host: HostId) -> Result<(), Breach> {
        let mut secondaries = stage.secondaries.iter();
        let is_raw = secondaries
            .position(|&secondary| secondary == host)
            .is_some_and(|index| stage.is_hostile(index));
        if is_raw || !stage.world.is_up(host) {
            return Ok(());
        }
        let breach = self.bounds.check(stage.world.node::<KwikNode>(host)).err();
        breach.map_or(Ok(()), |mut breach| {
            breach.detail = format!("host {}: {}", host.ordinal(), breach.detail);
            Err(breach)
        })
    }

    /// I1, I4, I5: what the reader has seen.
    fn check_reads(&mut self, stage: &Stage) -> Result<(), Breach> {
        if !stage.world.is_up(stage.client) {
            return Ok(());
        }
        let reader = stage.reader();
        for (stream, wanted, read) in reader.answers() {
            if let Some(offset) = read.wrong_at {
                return Err(Breach::new("I1", format!("stream {stream} at {offset}")));
            }
            if read.wrong_end {
                let detail = format!("stream {stream} ends at {} of {wanted}", read.bytes);
                return Err(Breach::new("I4", detail));
            }
        }
        self.check_streams(stage)
    }

    /// I5: streams that the client was shown were opened by the primary's application.
    fn check_streams(&mut self, stage: &Stage) -> Result<(), Breach> {
        let accepted = &stage.reader().accepted()[self.streams_seen..];
        // A primary that has started anew has forgotten what it opened.
        if accepted.is_empty() || !stage.world.is_up(stage.primary) {
            return Ok(());
        }
        let opened = stage.primary_app().opened();
        match accepted.iter().find(|stream| !opened.contains(stream)) {
            Some(stream) if !self.primary_was_lost => {
                let detail = format!("stream {stream} was opened by nobody");
                Err(Breach::new("I5", detail))
            }
            Some(_) | None => {
                self.streams_seen += accepted.len();
                Ok(())
            }
        }
    }

    /// I2, I6: what the client's session counts.
    fn check_books(&mut self, stage: &mut Stage) -> Result<(), Breach> {
        if !stage.world.is_up(stage.client) {
            return Ok(());
        }
        let read = stage.reader().bytes();
        let Some((stats, paths)) = stage.look_at_client(|client| (client.stats(), client.paths()))
        else {
            return Ok(());
        };
        if let Some(stillness) = &mut self.stillness {
            stillness.note(stage, &stats, &paths);
        }
        if stats.delivered_bytes != read {
            let detail = format!("{} delivered, {read} read", stats.delivered_bytes);
            return Err(Breach::new("I2", detail));
        }
        for index in 0..self.granted.len() {
            let addr = stage.world.addr(stage.secondaries[index]);
            let of_it = paths.iter().filter(|path| path.addr == Some(addr));
            let brought: u64 = of_it.map(|path| path.received_bytes).sum();
            self.note_granted(stage, index);
            let granted = self.granted[index].before + self.granted[index].now;
            if brought > granted && !stage.is_hostile(index) {
                let detail = format!("{brought} bytes of {granted} from secondary {index}");
                return Err(Breach::new("I6", detail));
            }
        }
        Ok(())
    }

    /// Keeps what a secondary was granted, before its program can end.
    fn note_granted(&mut self, stage: &Stage, index: usize) {
        if !stage.world.is_up(stage.secondaries[index]) || stage.is_hostile(index) {
            return;
        }
        let now = stage.secondary_app(index).granted_bytes();
        let granted = &mut self.granted[index];
        if now < granted.now {
            granted.before += granted.now;
        }
        granted.now = now;
    }

    /// I6: nobody was blamed who had done nothing, or for something else than what he did; lies stayed
    /// within what the liars were granted.
    ///
    /// # Errors
    ///
    /// What does not hold.
    pub fn check_blame(&self, scenario: &Scenario, stage: &Stage) -> Result<(), Breach> {
        for (index, server) in scenario.secondaries.iter().enumerate() {
            if !stage.world.is_up(stage.secondaries[index]) {
                continue;
            }
            let codes: Vec<u64> = match server.conduct {
                Conduct::Hostile(_) => stage.hostile_log(index).closed_with.clone(),
                Conduct::Honest { .. }
                | Conduct::Slow { .. }
                | Conduct::Refuses(_)
                | Conduct::Mute
                | Conduct::Lies => {
                    let closed = stage.secondary_app(index).closed().iter();
                    closed.filter_map(peer_code).collect()
                }
            };
            let may = |code: u64| match server.conduct {
                Conduct::Hostile(hostility) => match hostility.consequence() {
                    // Behind its deed it goes on as if it had all the credit in the world.
                    Consequence::PathDies(due) | Consequence::PathMayDie(due) => {
                        code == due || code == code::FLOW_CONTROL
                    }
                    Consequence::PathLeaves | Consequence::Harmless => false,
                },
                Conduct::Lies => code == code::CONFLICT,
                Conduct::Honest { .. }
                | Conduct::Slow { .. }
                | Conduct::Refuses(_)
                | Conduct::Mute => false,
            };
            let blamed = codes.iter().find(|&&code| !is_no_blame(code) && !may(code));
            if let Some(code) = blamed {
                let detail = format!("secondary {index} was closed with code {code:#x}");
                return Err(Breach::new("I6", detail));
            }
        }
        self.check_lies(scenario, stage)?;
        match &self.grants {
            Some(grants) => grants.check(stage),
            None => Ok(()),
        }
    }

    /// I6: forged bytes lie inside the grants of those who lie. Where one of them has started anew, it
    /// has forgotten what it was granted.
    fn check_lies(&self, scenario: &Scenario, stage: &Stage) -> Result<(), Breach> {
        let liars = || {
            let all = scenario.secondaries.iter().enumerate();
            all.filter(|(_, server)| server.conduct == Conduct::Lies)
                .map(|(index, _)| index)
        };
        let forgetful = liars().any(|index| {
            !stage.world.is_up(stage.secondaries[index]) || self.granted[index].before > 0
        });
        if forgetful || scenario.faults.iter().any(|fault| is_restart(&fault.what)) {
            return Ok(());
        }
        for (stream, read) in stage.reader().streams() {
            let mut allowed = RangeSet::default();
            for index in liars() {
                let granted = stage.secondary_app(index).granted(stream);
                for range in granted.iter() {
                    allowed.insert(range);
                }
            }
            let outside = read.forged.iter().find(|&range| !allowed.contains(range));
            if let Some(range) = outside {
                let detail = format!("forged bytes of stream {stream} at {range}");
                return Err(Breach::new("I6", detail));
            }
        }
        Ok(())
    }

    /// I3, I9: all has ended, well or not; nothing is left of it.
    ///
    /// # Errors
    ///
    /// What does not hold.
    pub fn at_end(&self, scenario: &Scenario, stage: &mut Stage) -> Result<(), Breach> {
        let names = std::iter::once(Who::Client).chain(scenario.servers().map(|(who, _)| who));
        let names = names.chain(stage.others.iter().map(|_| Who::Client));
        let hosts = std::iter::once(stage.client)
            .chain([stage.primary])
            .chain(stage.secondaries.clone())
            .chain(stage.others.clone());
        for (who, host) in names.zip(hosts) {
            if !stage.world.is_up(host)
                || matches!(who, Who::Secondary(index) if stage.is_hostile(index))
            {
                continue;
            }
            let endpoint = stage.world.node::<KwikNode>(host).endpoint();
            let (sessions, drained) = (endpoint.sessions(), endpoint.is_drained());
            let sends = endpoint.wants_transmit();
            let timer = stage
                .world
                .look(host, |node: &mut KwikNode, _| node.poll_timeout().is_some());
            if sessions > 0 || !drained || sends || timer {
                let detail = format!(
                    "{who}: {sessions} sessions, drained: {drained}, sends: {sends}, timer: {timer}"
                );
                return Err(Breach::new("I9", detail));
            }
        }
        Ok(())
    }

    /// I3: all was read, and the books of grants and of bytes are closed.
    ///
    /// # Errors
    ///
    /// What does not hold.
    pub fn when_complete(&self, scenario: &Scenario, stage: &mut Stage) -> Result<(), Breach> {
        ledger::check_complete(scenario, stage)
    }
}

/// The code with which a client closed the connection of a session.
fn peer_code(reason: &CloseReason) -> Option<u64> {
    if let CloseReason::Peer(code) = reason {
        Some(*code)
    } else {
        None
    }
}

/// Codes that blame nobody: the end of a session, by the application or not, and that of a path.
const fn is_no_blame(code: u64) -> bool {
    matches!(code, 0 | code::NO_ERROR | code::PATH_ENDED)
}

const fn is_restart(what: &FaultKind) -> bool {
    matches!(what, FaultKind::Restart { .. } | FaultKind::Crash(_))
}

#[cfg(test)]
mod tests;

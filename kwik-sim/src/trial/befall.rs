//! The faults of a scenario, as they come and go.
//!
//! Owns what ails the world at the moment. Effects that overlap are laid on top of each other: what
//! a link or a host is like follows from all that lasts, so that the end of one fault does not heal
//! another.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use kwik_core::ids::PathId;

use crate::app::{Ask, Conduct, Pace, Primary};
use crate::atlas::covers;
use crate::clock::Moment;
use crate::host::KwikNode;
use crate::link::{EcnPolicy, LinkSpec};
use crate::scenario::{FaultKind, Scenario, Sharing, Way, When, Who};
use crate::stage::Stage;
use crate::timeline::recorder;
use crate::world::HostId;

/// The faults of one world.
pub(super) struct Weather {
    /// What lasts, with its end.
    active: Vec<(Duration, FaultKind)>,
    /// Those that come at a time, earliest first.
    by_time: VecDeque<(Duration, FaultKind)>,
    /// Those that come with progress, earliest first.
    by_percent: VecDeque<(u8, FaultKind)>,
    /// The links as they are without faults.
    base: BTreeMap<(Who, bool), LinkSpec>,
    /// Largest datagrams that still pass, where that has changed for good.
    holes: BTreeMap<Who, usize>,
    /// Hosts that never come back.
    dead: BTreeSet<Who>,
    clocks: BTreeMap<Who, i64>,
    /// When the last fault came or was over.
    pub(super) healed_at: Duration,
    /// The longest that something lasted.
    pub(super) longest: Duration,
    /// Names of the faults that came, and of what ails the world from the beginning.
    pub(super) met: BTreeSet<&'static str>,
    pokes: u64,
}

impl Weather {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let mut by_time: Vec<_> = Vec::new();
        let mut by_percent: Vec<_> = Vec::new();
        for fault in &scenario.faults {
            match fault.at {
                When::Time(at) => by_time.push((at, fault.what.clone())),
                When::Percent(percent) => by_percent.push((percent, fault.what.clone())),
            }
        }
        by_time.sort_by_key(|(at, _)| *at);
        by_percent.sort_by_key(|(percent, _)| *percent);
        let base = scenario.servers().flat_map(|(who, server)| {
            [
                ((who, true), server.uplink.clone()),
                ((who, false), server.downlink.clone()),
            ]
        });
        let mut clocks: BTreeMap<Who, i64> = scenario
            .servers()
            .map(|(who, server)| (who, server.clock_ahead_seconds))
            .collect();
        clocks.insert(Who::Client, 0);
        Self {
            active: Vec::new(),
            by_time: by_time.into(),
            by_percent: by_percent.into(),
            base: base.collect(),
            holes: BTreeMap::new(),
            dead: BTreeSet::new(),
            clocks,
            healed_at: Duration::ZERO,
            longest: Duration::ZERO,
            met: ills(scenario),
            pokes: 0,
        }
    }

    /// When something is due at a time.
    pub(super) fn next_at(&self) -> Option<Duration> {
        let ends = self.active.iter().map(|(end, _)| *end);
        ends.chain(self.by_time.front().map(|(at, _)| *at)).min()
    }

    /// Whether everything that lasts is over, and nothing is to come at a time.
    pub(super) fn is_calm(&self) -> bool {
        self.active.is_empty() && self.by_time.is_empty()
    }

    /// Lets come and go what is due.
    pub(super) fn pass(&mut self, stage: &mut Stage, percent: u64) {
        let now = stage.world.time();
        let over: Vec<_> = self.active.extract_if(.., |(end, _)| *end <= now).collect();
        for (_, what) in over {
            self.healed_at = now;
            if let FaultKind::Restart { who, .. } = what
                && !self.dead.contains(&who)
                && let Some(host) = host(stage, who)
            {
                stage.world.restart(host);
            }
            self.refresh(stage);
        }
        while self.by_time.front().is_some_and(|(at, _)| *at <= now) {
            self.by_time
                .pop_front()
                .into_iter()
                .for_each(|(_, what)| self.befall(stage, what));
        }
        while self
            .by_percent
            .front()
            .is_some_and(|(at, _)| u64::from(*at) <= percent)
        {
            self.by_percent
                .pop_front()
                .into_iter()
                .for_each(|(_, what)| self.befall(stage, what));
        }
    }

    /// Ends all that lasts; nothing more comes. Hosts that are down stay down.
    pub(super) fn calm(&mut self, stage: &mut Stage) {
        self.active.clear();
        self.by_time.clear();
        self.by_percent.clear();
        self.refresh(stage);
    }

    fn befall(&mut self, stage: &mut Stage, what: FaultKind) {
        let now = stage.world.time();
        let lasts = what.lasts().unwrap_or_default();
        self.met.insert(what.name());
        recorder::note_fault(&what);
        self.healed_at = self.healed_at.max(now);
        self.longest = self.longest.max(lasts);
        match &what {
            FaultKind::Crash(who) => {
                self.dead.insert(*who);
                crash(stage, *who);
            }
            FaultKind::Restart { who, .. } => crash(stage, *who),
            FaultKind::BlackHole {
                server,
                payload_max_bytes,
            } => {
                self.holes.insert(*server, *payload_max_bytes);
            }
            FaultKind::Rebind { address } => stage.world.rebind(stage.client, *address),
            FaultKind::ClockJump { who, seconds } => {
                let clock = self.clocks.entry(*who).or_default();
                *clock = clock.saturating_add(*seconds);
            }
            FaultKind::Retire(index) => retire(stage, *index),
            FaultKind::AddAgain(index) => add_again(stage, *index),
            FaultKind::Poke(who) => {
                self.pokes += 1;
                let ordinal = self.pokes;
                call_at(stage, *who, |node, moment| node.poke(moment, ordinal));
            }
            FaultKind::Meddle(who) => {
                self.pokes += 1;
                let ordinal = self.pokes;
                call_at(stage, *who, |node, moment| node.meddle(moment, ordinal));
            }
            FaultKind::Pause { .. }
            | FaultKind::Cut { .. }
            | FaultKind::Outage { .. }
            | FaultKind::Storm { .. } => {}
        }
        if lasts > Duration::ZERO {
            if self.is_swizzled(&what, now + lasts) {
                self.met.insert("swizzle");
            }
            self.active.push((now + lasts, what));
        }
        self.refresh(stage);
    }

    /// Whether a link is cut that is healed before another is that was cut already.
    fn is_swizzled(&self, what: &FaultKind, end: Duration) -> bool {
        let FaultKind::Cut { server, .. } = what else {
            return false;
        };
        let is_other =
            |active: &FaultKind| matches!(active, FaultKind::Cut { server: s, .. } if s != server);
        let mut lasting = self.active.iter();
        lasting.any(|(later, active)| *later > end && is_other(active))
    }

    /// Makes links and hosts what they are under all that lasts.
    pub(super) fn refresh(&self, stage: &mut Stage) {
        for (&(who, up), base) in &self.base {
            let Some(server) = host(stage, who) else {
                continue;
            };
            let way = if up { Way::Up } else { Way::Down };
            let lasting = || self.active.iter().map(|(_, what)| what);
            let latest = lasting().rev().find_map(|what| storm(what, who, way));
            let mut spec = latest.unwrap_or(base).clone();
            if let Some(&max) = self.holes.get(&who) {
                spec.payload_max_bytes = spec.payload_max_bytes.min(max);
            }
            let cut = lasting().any(|what| cuts(what, who, way));
            let (from, to) = match up {
                true => (stage.client, server),
                false => (server, stage.client),
            };
            let link = stage.world.link(from, to);
            *link.spec_mut() = spec;
            link.set_cut(cut);
        }
        for (&who, &seconds) in &self.clocks {
            let Some(host) = host(stage, who) else {
                continue;
            };
            stage.world.set_wall_clock_ahead(host, seconds);
            let is_pause =
                |what: &FaultKind| matches!(what, FaultKind::Pause { who: w, .. } if *w == who);
            let paused = self.active.iter().any(|(_, what)| is_pause(what));
            stage.world.set_paused(host, paused);
        }
    }
}

/// What ails a world from its beginning: what its links do to datagrams, and how its secondaries behave.
fn ills(scenario: &Scenario) -> BTreeSet<&'static str> {
    let mut ills = BTreeSet::new();
    for (who, server) in scenario.servers() {
        for link in [&server.uplink, &server.downlink] {
            let is_marked = matches!(link.ecn, EcnPolicy::Mark { .. });
            let names = [
                ("loss", link.loss_ppm > 0),
                ("burst", link.burst.is_some()),
                ("corruption", link.corrupt_ppm > 0),
                ("reordering", link.reorder_ppm > 0),
                ("jitter", link.jitter > Duration::ZERO),
                ("duplicates", link.duplicate_ppm > 0),
                ("first-lost", link.drop_first > 0),
                ("ecn-marks", is_marked),
                ("ecn-bleached", link.ecn == EcnPolicy::Bleach),
            ];
            let present = names.into_iter().filter(|&(_, is_present)| is_present);
            ills.extend(present.map(|(name, _)| name));
        }
        ills.extend(match server.conduct {
            Conduct::Honest { .. } => None,
            Conduct::Slow { .. } if who == Who::Primary => Some("slow-primary"),
            Conduct::Slow { .. } => Some("slow-writer"),
            Conduct::Refuses(_) => Some("refuses"),
            Conduct::Mute => Some("mute"),
            Conduct::Lies => Some("lies"),
            Conduct::Hostile(_) => Some("hostile"),
        });
    }
    ills.extend(scenario.asks.iter().filter_map(|ask| ask.ends.name()));
    ills.extend(scenario.sharing.revokes().map(|_| "revokes"));
    ills.extend((!scenario.others.is_empty()).then_some("clients"));
    let is_raw = matches!(scenario.sharing, Sharing::Raw { .. });
    ills.extend(is_raw.then_some("open-grants"));
    let is_slow = |ask: &Ask| ask.pace != Pace::Eager;
    ills.extend(scenario.asks.iter().any(is_slow).then_some("slow-reader"));
    ills
}

/// What a storm makes of a direction of a server's link.
fn storm(what: &FaultKind, who: Who, direction: Way) -> Option<&LinkSpec> {
    let FaultKind::Storm {
        server, way, link, ..
    } = what
    else {
        return None;
    };
    (*server == who && covers(*way, direction)).then_some(link)
}

/// Whether nothing passes in a direction of a server's link.
fn cuts(what: &FaultKind, who: Who, direction: Way) -> bool {
    if let FaultKind::Cut { server, way, .. } = what {
        *server == who && covers(*way, direction)
    } else {
        matches!(what, FaultKind::Outage { .. })
    }
}

/// The host of a name, if there is one.
pub(super) fn host(stage: &Stage, who: Who) -> Option<HostId> {
    match who {
        Who::Client => Some(stage.client),
        Who::Primary => Some(stage.primary),
        Who::Secondary(index) => stage.secondaries.get(index).copied(),
    }
}

fn crash(stage: &mut Stage, who: Who) {
    if let Some(host) = host(stage, who) {
        stage.world.crash(host);
    }
}

/// The primary retires the newest path of a secondary; it may have ended before.
fn retire(stage: &mut Stage, index: usize) {
    let Some(path) = newest_path(stage, index) else {
        return;
    };
    let _ = stage.on_primary(|primary| primary.retire_path(path));
}

fn newest_path(stage: &Stage, index: usize) -> Option<PathId> {
    stage
        .world
        .is_up(stage.primary)
        .then(|| stage.primary_app().newest_path(index))
        .flatten()
}

fn add_again(stage: &mut Stage, index: usize) {
    if !stage.world.is_up(stage.primary) {
        return;
    }
    stage
        .world
        .act(stage.primary, |node: &mut KwikNode, moment| {
            let (app, mut host) = node.app_mut::<Primary>(moment);
            app.add_again(&mut host, index);
        });
}

fn call_at(stage: &mut Stage, who: Who, call: impl FnOnce(&mut KwikNode, Moment)) {
    let Some(host) = host(stage, who).filter(|&host| stage.world.is_up(host)) else {
        return;
    };
    // It runs no endpoint.
    if matches!(who, Who::Secondary(index) if stage.is_hostile(index)) {
        return;
    }
    stage.world.act(host, call);
}

//! Honest applications that do anything at any moment, over a network that does the same. Whatever
//! comes of it, no end blames another, every stream comes to its end byte for byte, every grant has
//! one final status, and nothing is left behind.

mod acts;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::apps::Service;
use super::rng::SplitMix;
use super::world::{HoldId, Setup, World};
use crate::config::Overlap;
use crate::event::PrimaryEvent;
use crate::ids::{ByteRange, GrantId, PathId, StreamId};
use crate::path::PathPhase;
use crate::ranges::RangeSet;

const SITES: usize = 4;
const SEEDS: u64 = 150;

struct Chaos {
    world: World,
    rng: SplitMix,
    streams: BTreeMap<StreamId, Stream>,
    /// Grants of the application, and whether their final status came.
    grants: BTreeMap<GrantId, (StreamId, bool)>,
    seen: usize,
    crashed: BTreeSet<usize>,
    holds: Vec<HoldId>,
    /// What the application has still to cover.
    owed: Vec<(StreamId, ByteRange)>,
}

/// A stream as the primary's application knows it.
#[derive(Debug, Default)]
struct Stream {
    /// Everything below is written, granted or planned.
    top: u64,
    finished: bool,
    /// An open grant keeps the end to itself.
    open: Option<GrantId>,
    /// It was reset or stopped: its end is an error, if anybody waits for it.
    given_up: bool,
}

impl Chaos {
    fn new(seed: u64) -> Self {
        let mut rng = SplitMix::new(seed ^ 0x00c0_ffee);
        let mut setup = Setup {
            seed: Some(seed),
            secondaries: SITES,
            ..Setup::default()
        };
        let client = &mut setup.config.client;
        client.stream_window_bytes = (32 << 10) << rng.below(4);
        client.session_window_bytes = client.stream_window_bytes * (1 + rng.below(3));
        client.stream_reserve_bytes = 16 << 10;
        client.grants_per_path_max = 1 << (1 + rng.below(5));
        client.overlap = [Overlap::FirstWins, Overlap::PrimaryWins, Overlap::Reject][rng.index(3)];
        setup.config.server.segment_max_bytes = (4 << 10) << rng.below(5);
        setup.config.quic.segments_max = [1, 2, 4, 128][rng.index(4)];
        setup.send_buffer_bytes = (2 << 10) << rng.below(6);
        let mut world = setup.build();
        world.settle();
        Self {
            world,
            rng,
            streams: BTreeMap::new(),
            grants: BTreeMap::new(),
            seen: 0,
            crashed: BTreeSet::new(),
            holds: Vec::new(),
            owed: Vec::new(),
        }
    }

    /// Lets a few things happen.
    fn run(&mut self) {
        let mut steps = self.rng.below(60);
        self.world.settle_until(|_| {
            steps = steps.saturating_sub(1);
            steps == 0
        });
        self.answer_events();
    }

    fn path(&mut self) -> Option<PathId> {
        let infos = self.world.primary(|p, _| p.session.paths());
        let usable: Vec<PathId> = infos
            .into_iter()
            .filter(|info| {
                matches!(
                    info.phase,
                    PathPhase::Dialing | PathPhase::Joining | PathPhase::Active
                )
            })
            .map(|info| info.path)
            .collect();
        (!usable.is_empty()).then(|| usable[self.rng.index(usable.len())])
    }

    /// What an application owes: it covers what is lost, once.
    fn answer_events(&mut self) {
        for (stream, range) in std::mem::take(&mut self.owed) {
            self.cover(stream, &RangeSet::from(range));
        }
        let events = self.world.primary(|p, _| p.events.clone());
        for event in events.iter().skip(self.seen) {
            self.seen += 1;
            match event {
                PrimaryEvent::GrantDone { grant, end } => self.on_final(*grant, Some(*end)),
                PrimaryEvent::GrantLost { grant, missing, .. } => {
                    let stream = self.grants[grant].0;
                    self.on_final(*grant, None);
                    self.cover(stream, missing);
                }
                PrimaryEvent::Hole { stream, missing } => self.cover(*stream, missing),
                PrimaryEvent::Closed(reason) => panic!("nobody closed the session: {reason}"),
                PrimaryEvent::Accepted
                | PrimaryEvent::Stream(_)
                | PrimaryEvent::Path(_)
                | PrimaryEvent::OwnRange { .. }
                | PrimaryEvent::SegmentWritable(_) => {}
            }
        }
    }

    fn on_final(&mut self, grant: GrantId, end: Option<u64>) {
        let (stream, ended) = self
            .grants
            .get_mut(&grant)
            .expect("a grant of the application");
        assert!(!std::mem::replace(ended, true), "grant {grant} ends twice");
        let found = self.streams.get_mut(stream).expect("of a stream");
        if found.open == Some(grant) {
            found.open = None;
            match end {
                Some(end) => found.top = end,
                // Only the session knows where it ended: enough of this stream.
                None if !found.given_up => {
                    found.given_up = true;
                    let stream = *stream;
                    let _ = self
                        .world
                        .primary(|p, cx| p.session.reset(cx.now, stream, 7, cx.carriers));
                }
                None => {}
            }
        }
    }

    fn cover(&mut self, stream: StreamId, missing: &RangeSet) {
        for range in missing.iter() {
            if self.streams[&stream].given_up {
                return;
            }
            let path = self.path().filter(|_| self.rng.once_in(2));
            match path {
                Some(path) => self.delegate(stream, range, path),
                None => self.write_at(stream, range),
            }
        }
    }

    /// The weather clears up, everybody does as they should, and time passes.
    fn calm_down(&mut self) {
        for hold in std::mem::take(&mut self.holds) {
            self.world.lift(hold);
        }
        self.world.heal();
        for site in 1..=SITES {
            self.world.sites[site].service = Service::Fill;
            if self.world.is_joined(site) {
                self.world.secondary(site, |s, _| s.service = Service::Fill);
            }
        }
        let ids: Vec<StreamId> = self.streams.keys().copied().collect();
        for &stream in &ids {
            self.world.limit_reader(stream, u64::MAX);
        }
        for _ in 0..120 {
            self.world.advance(Duration::from_secs(1));
            self.answer_events();
            for &stream in &ids {
                let found = &self.streams[&stream];
                if !found.finished && !found.given_up && found.open.is_none() {
                    self.try_finish(stream);
                }
            }
            if ids.iter().all(|&stream| self.has_ended(stream)) {
                break;
            }
        }
        self.world.advance(Duration::from_secs(15));
        self.answer_events();
    }
}

#[test]
fn honest_ends_never_hang_and_never_blame_each_other() {
    for seed in 0..SEEDS {
        let run = std::panic::AssertUnwindSafe(|| {
            let mut chaos = Chaos::new(seed);
            for _ in 0..120 {
                chaos.act();
                chaos.run();
            }
            chaos.calm_down();
            chaos.check();
        });
        if let Err(panic) = std::panic::catch_unwind(run) {
            eprintln!("seed {seed} failed");
            std::panic::resume_unwind(panic);
        }
    }
}

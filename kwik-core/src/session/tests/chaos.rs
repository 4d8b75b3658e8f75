//! Honest applications that do anything at any moment, over a network that does the same. Whatever
//! comes of it, no end blames another, every stream comes to its end byte for byte, every grant has
//! one final status, and nothing is left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::apps::Service;
use super::net::{ConnId, Side};
use super::rng::SplitMix;
use super::world::{DialFate, HoldId, Setup, What, World, fill_command, span};
use crate::config::Overlap;
use crate::error::{Misuse, StreamError};
use crate::event::PrimaryEvent;
use crate::ids::{ByteRange, GrantId, PathId, StreamId};
use crate::path::{PathPhase, RawTarget};
use crate::plan::{PlanSpec, Spread};
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

    fn len(&mut self) -> u64 {
        1 + self.rng.below(30_000)
    }

    /// A stream that may still grow.
    fn growing(&mut self) -> Option<StreamId> {
        let growing =
            |stream: &Stream| !stream.finished && !stream.given_up && stream.open.is_none();
        let ids: Vec<StreamId> = self
            .streams
            .iter()
            .filter(|(_, stream)| growing(stream))
            .map(|(&id, _)| id)
            .collect();
        (!ids.is_empty()).then(|| ids[self.rng.index(ids.len())])
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

    fn act(&mut self) {
        match self.rng.below(20) {
            0 | 1 => self.open_stream(),
            2..=5 => self.delegate_next(),
            6 | 7 => self.write_next(),
            8 | 9 => self.plan_next(),
            10 => self.send_raw_next(),
            11 => self.revoke(),
            12 => self.finish(),
            13 => self.limit_reader(),
            14 => self.change_paths(),
            15 => self.give_up(),
            16 => self.disturb(),
            17 => self.change_service(),
            _ => {
                let millis = self.rng.below(400);
                self.world.advance(Duration::from_millis(millis));
            }
        }
    }

    fn open_stream(&mut self) {
        if self.streams.len() < 5 {
            let stream = self.world.open_stream();
            self.streams.insert(stream, Stream::default());
        }
    }

    /// The next range of a stream, which is somebody's from now on.
    fn take_next(&mut self) -> Option<(StreamId, ByteRange)> {
        // Segments that wait far ahead must leave some for what is lost.
        if self.world.primary(|p, _| p.open_segments()) > 12 {
            return None;
        }
        let stream = self.growing()?;
        let len = self.len();
        let found = self.streams.get_mut(&stream)?;
        let range = span(found.top, found.top + len);
        found.top = range.end();
        Some((stream, range))
    }

    fn delegate_next(&mut self) {
        let Some(path) = self.path() else { return };
        if let Some((stream, range)) = self.take_next() {
            self.delegate(stream, range, path);
        }
    }

    /// Grants a range, or writes it if that cannot be.
    fn delegate(&mut self, stream: StreamId, range: ByteRange, path: PathId) {
        let command = Bytes::from_static(b"it");
        let granted = self.world.primary(|p, cx| {
            p.session
                .delegate(cx.now, stream, range, path, command, cx.carriers)
        });
        match granted {
            Ok(grant) => {
                self.grants.insert(grant, (stream, false));
            }
            Err(_) => self.write_at(stream, range),
        }
    }

    fn write_at(&mut self, stream: StreamId, range: ByteRange) {
        let opened = self.world.primary(|p, cx| {
            let opened = p
                .session
                .open_segment_at(cx.now, stream, range.start(), cx.carriers);
            opened.map(|segment| p.write_segment(stream, segment, range))
        });
        match opened {
            Ok(()) => {}
            // Too many at once: later.
            Err(StreamError::Misuse(Misuse::Limit(_))) => self.owed.push((stream, range)),
            Err(_) => self.note_given_up(stream),
        }
    }

    fn write_next(&mut self) {
        if let Some((stream, range)) = self.take_next() {
            self.write_at(stream, range);
        }
    }

    fn plan_next(&mut self) {
        let Some((stream, range)) = self.take_next() else {
            return;
        };
        let spread = if self.rng.once_in(2) {
            Spread::Pull
        } else {
            Spread::Rotate {
                range_bytes: (4 << 10) << self.rng.below(4),
            }
        };
        let spec = PlanSpec {
            command: Bytes::from_static(b"it"),
            spread,
        };
        let planned = self
            .world
            .primary(|p, cx| p.session.plan(cx.now, stream, range, spec, cx.carriers));
        if planned.is_err() {
            self.write_at(stream, range);
        }
    }

    fn send_raw_next(&mut self) {
        let (Some(stream), Some(path)) = (self.growing(), self.path()) else {
            return;
        };
        let len = self.len();
        let top = self.streams[&stream].top;
        let sent = self.world.primary(|p, cx| {
            p.session.set_offset(cx.now, stream, top, cx.carriers)?;
            let target = RawTarget::Cursor(stream);
            p.session
                .send_raw(cx.now, path, target, fill_command(len), cx.carriers)
        });
        if let (Ok(Some(grant)), Some(found)) = (sent, self.streams.get_mut(&stream)) {
            found.open = Some(grant);
            self.grants.insert(grant, (stream, false));
        }
    }

    fn revoke(&mut self) {
        let live: Vec<GrantId> = self
            .grants
            .iter()
            .filter(|(_, (_, ended))| !ended)
            .map(|(&id, _)| id)
            .collect();
        if !live.is_empty() {
            let grant = live[self.rng.index(live.len())];
            // Its final status may be on its way.
            let _ = self
                .world
                .primary(|p, cx| p.session.revoke(cx.now, grant, cx.carriers));
        }
    }

    fn finish(&mut self) {
        let Some(stream) = self.growing().filter(|_| self.rng.once_in(3)) else {
            return;
        };
        self.try_finish(stream);
    }

    fn try_finish(&mut self, stream: StreamId) {
        let top = self.streams[&stream].top;
        let finished = self.world.primary(|p, cx| {
            // The end is where the application thinks that it is.
            let moved = p.session.set_offset(cx.now, stream, top, cx.carriers);
            moved.and_then(|()| p.session.finish(cx.now, stream, cx.carriers))
        });
        match finished {
            Ok(()) => {
                self.streams.entry(stream).or_default().finished = true;
            }
            // Something of it is still to be accepted.
            Err(StreamError::Misuse(
                Misuse::RangeUncovered(_) | Misuse::RangeTaken(_) | Misuse::WriteUnfinished(_),
            )) => {}
            Err(StreamError::Stopped(_)) => self.note_given_up(stream),
            Err(error) => panic!("a stream can be finished: {error}"),
        }
    }

    fn limit_reader(&mut self) {
        let ids: Vec<StreamId> = self.streams.keys().copied().collect();
        if !ids.is_empty() {
            let stream = ids[self.rng.index(ids.len())];
            let limit = if self.rng.once_in(2) {
                u64::MAX
            } else {
                self.rng.below(60_000)
            };
            self.world.limit_reader(stream, limit);
        }
    }

    fn change_paths(&mut self) {
        if self.rng.once_in(3) {
            if let Some(path) = self.path() {
                let retired = self
                    .world
                    .primary(|p, cx| p.session.retire_path(cx.now, path, cx.carriers));
                retired.expect("a usable path can be retired");
            }
            return;
        }
        let site = 1 + self.rng.index(SITES);
        let spec = self.world.spec(site);
        self.world.sites[site].dials = match self.rng.below(6) {
            _ if self.crashed.contains(&site) => DialFate::Silence,
            0 => DialFate::Refuse,
            1 => DialFate::AcceptAfter(Duration::from_millis(self.rng.below(3000))),
            _ => DialFate::Accept,
        };
        self.world
            .primary(|p, cx| p.session.add_path(cx.now, spec, cx.carriers))
            .expect("a path can be added");
    }

    fn give_up(&mut self) {
        if !self.rng.once_in(3) {
            return;
        }
        let Some(stream) = self.growing() else { return };
        if self.rng.once_in(2) {
            let reset = self
                .world
                .primary(|p, cx| p.session.reset(cx.now, stream, 5, cx.carriers));
            reset.expect("it is open");
        } else {
            let stopped = self.world.client(|c, cx| {
                c.readers.remove(&stream);
                c.session.stop(cx, stream, 6)
            });
            if stopped.is_err() {
                // The client has not seen it yet, or its end.
                return;
            }
        }
        self.note_given_up(stream);
    }

    fn note_given_up(&mut self, stream: StreamId) {
        self.streams.entry(stream).or_default().given_up = true;
    }

    fn disturb(&mut self) {
        let conns: Vec<(PathId, ConnId)> = self.world.conns();
        let (path, conn) = conns[self.rng.index(conns.len())];
        match self.rng.below(6) {
            0 => {
                let what = [
                    What::Segments,
                    What::Control,
                    What::Streams,
                    What::Feedback,
                    What::All,
                ];
                let toward = Side::BOTH[self.rng.index(2)];
                self.holds
                    .push(self.world.hold_conn(conn, toward, what[self.rng.index(5)]));
            }
            1 | 2 => {
                for hold in std::mem::take(&mut self.holds) {
                    self.world.lift(hold);
                }
                self.world.heal();
            }
            3 if path != PathId::PRIMARY => self.world.cut(path),
            4 if self.crashed.len() < 2 => {
                let site = 1 + self.rng.index(SITES);
                self.crashed.insert(site);
                self.world.crash(site);
            }
            5 => {
                if let Some(site) = self.crashed.pop_first() {
                    self.world.restart(site);
                }
            }
            _ => {}
        }
    }

    fn change_service(&mut self) {
        let site = 1 + self.rng.index(SITES);
        let service = match self.rng.below(6) {
            0 => Service::Refuse(3),
            1 => Service::Short(self.rng.below(5000)),
            2 => Service::Ignore,
            _ => Service::Fill,
        };
        self.world.sites[site].service = service;
        if self.world.is_joined(site) {
            self.world.secondary(site, |s, _| s.service = service);
        }
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

    /// What there is to know about a stream that did not come to its end.
    fn report(&mut self, stream: StreamId) -> String {
        let found = format!("{:?}", self.streams[&stream]);
        let elapsed = self.world.elapsed();
        let client = self.world.client(|c, cx| {
            let paths = c.session.paths(cx.carriers);
            format!(
                "{:#?}\n{:?}\n{paths:?}",
                c.readers.get(&stream),
                c.session.stats()
            )
        });
        let events = self.world.primary(|p, _| {
            let from = p.events.len().saturating_sub(40);
            format!("{}\n{:?}", p.describe(), &p.events[from..])
        });
        let nets: Vec<String> = self
            .world
            .conns()
            .into_iter()
            .map(|(path, conn)| format!("{path}: {:?}", self.world.net.describe(conn)))
            .collect();
        format!("{elapsed:?} {found}\n{client}\n{events}\n{nets:#?}")
    }

    fn has_ended(&mut self, stream: StreamId) -> bool {
        let given_up = self.streams[&stream].given_up;
        given_up
            || self
                .world
                .client(|c, _| c.readers.get(&stream).is_some_and(|r| r.end.is_some()))
    }

    fn check(&mut self) {
        let ids: Vec<StreamId> = self.streams.keys().copied().collect();
        for stream in ids {
            let found = &self.streams[&stream];
            let (given_up, top) = (found.given_up, found.top);
            let reader = self.world.client(|c, _| {
                c.readers
                    .get(&stream)
                    .map(|reader| (reader.end.clone(), reader.offset))
            });
            match reader {
                Some((Some(Err(error)), _)) => {
                    assert!(
                        given_up,
                        "stream {stream}: {error}, {found:?}",
                        found = self.streams[&stream]
                    );
                }
                Some((end, offset)) if !given_up => {
                    let report = if end.is_none() {
                        self.report(stream)
                    } else {
                        String::new()
                    };
                    assert_eq!(
                        end,
                        Some(Ok(())),
                        "stream {stream} at {offset} of {top}: {report}"
                    );
                    assert_eq!(offset, top, "stream {stream}");
                }
                Some(_) => {}
                None => assert!(given_up, "stream {stream} was never seen"),
            }
        }
        for (grant, (_, ended)) in &self.grants {
            assert!(ended, "grant {grant} has no final status");
        }
        for (path, conn) in self.world.living_conns() {
            let open = self.world.net.segments_in_use(conn);
            assert!(
                open.is_empty(),
                "path {path} leaks {open:?}: {:#?}",
                self.world.net.describe(conn)
            );
        }
        let honest = self.world.violations();
        assert_eq!(honest, [""; 0], "nobody broke the protocol");
        self.world.client(|c, _| {
            let stats = c.session.stats();
            assert_eq!(stats.conflict_bytes, 0, "a byte is a function of its place");
        });
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

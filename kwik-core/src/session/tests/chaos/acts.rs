//! What is done at random: by the application of the primary, by that of the client, by the network and
//! by those who look after the servers.

use std::time::Duration;

use bytes::Bytes;

use super::{Chaos, SITES, Stream};
use crate::error::{Misuse, StreamError};
use crate::ids::{ByteRange, GrantId, PathId, StreamId};
use crate::path::RawTarget;
use crate::plan::{PlanSpec, Spread};
use crate::session::tests::apps::Service;
use crate::session::tests::net::{ConnId, Side};
use crate::session::tests::world::{DialFate, What, fill_command, span};

impl Chaos {
    pub(super) fn act(&mut self) {
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
    pub(super) fn delegate(&mut self, stream: StreamId, range: ByteRange, path: PathId) {
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

    pub(super) fn write_at(&mut self, stream: StreamId, range: ByteRange) {
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

    pub(super) fn try_finish(&mut self, stream: StreamId) {
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
}

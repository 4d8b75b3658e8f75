//! A secondary that writes what it is granted.

use std::collections::BTreeMap;
use std::time::Duration;

use kwik_core::error::{CloseReason, StreamError};
use kwik_core::event::{Event, EventKind, SecondaryEvent};
use kwik_core::ids::{ByteRange, GrantId, SegmentId, SessionHandle, StreamId};
use kwik_core::ranges::RangeSet;
use kwik_core::wire::Extent;
use serde::{Deserialize, Serialize};

use super::source::{Pumped, Source};
use super::{Accepted, Hostility, Past, command as words};
use crate::content::Content;
use crate::host::{App, Hosted};

/// Bytes that one writes into an open grant which nobody told how many.
const OPEN_BYTES: u64 = 64 << 10;

/// What a secondary does.
#[derive(Clone, Copy, Debug)]
pub struct SecondarySpec {
    /// What it writes.
    pub content: Content,
    /// How honest it is.
    pub conduct: Conduct,
}

/// How a secondary behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Conduct {
    /// It writes what it is granted; so many bytes if it is left to choose.
    Honest {
        /// Bytes written into an open grant.
        open_bytes: u64,
    },
    /// It writes what it is granted, but its bytes come to it slowly: so many in all, so often. Its
    /// open grants share them equally.
    Slow {
        /// Bytes at a time.
        bytes: u64,
        /// How long until the next time.
        #[serde(with = "humantime_serde")]
        every: Duration,
    },
    /// It refuses every grant with this code.
    Refuses(u64),
    /// It takes grants and writes nothing.
    Mute,
    /// It writes other bytes than the content has.
    Lies,
    /// It breaks the protocol, which no endpoint lets anybody do: another program runs in its place
    /// ([`Hostility::program`]).
    Hostile(Hostility),
}

impl Conduct {
    /// Honest, and brief if it is left to choose.
    pub const HONEST: Self = Self::Honest {
        open_bytes: OPEN_BYTES,
    };

    /// Bytes a second at which it writes, if it is slow.
    #[must_use]
    pub fn rate(&self) -> Option<f64> {
        match self {
            Self::Slow { bytes, every } => Some(*bytes as f64 / every.as_secs_f64().max(1e-9)),
            Self::Honest { .. } | Self::Refuses(_) | Self::Mute | Self::Lies | Self::Hostile(_) => {
                None
            }
        }
    }
}

impl Default for Conduct {
    fn default() -> Self {
        Self::HONEST
    }
}

/// The secondary.
pub struct Secondary {
    spec: SecondarySpec,
    sessions: BTreeMap<SessionHandle, BTreeMap<GrantId, Work>>,
    /// What it has finished in each of them.
    pasts: BTreeMap<SessionHandle, Past>,
    grants: u64,
    granted_bytes: u64,
    granted: BTreeMap<StreamId, RangeSet>,
    /// The same, in the order in which they came.
    granted_ranges: Vec<(StreamId, ByteRange)>,
    accepted: Accepted,
    commands: Vec<Vec<u8>>,
    raw: Vec<Vec<u8>>,
    closed: Vec<CloseReason>,
    errors: Vec<StreamError>,
    /// When a slow one has bytes again.
    supplied_at: Duration,
    wake_ups: u64,
}

/// A grant that is being filled.
struct Work {
    segment: SegmentId,
    source: Source,
    /// The end of the grant is this application's to tell.
    is_open: bool,
    /// QUIC took less than it was offered and has not asked for more.
    is_blocked: bool,
}

impl Secondary {
    /// A secondary that has done nothing.
    #[must_use]
    pub fn new(spec: SecondarySpec) -> Self {
        Self {
            spec,
            sessions: BTreeMap::new(),
            pasts: BTreeMap::new(),
            grants: 0,
            granted_bytes: 0,
            granted: BTreeMap::new(),
            granted_ranges: Vec::new(),
            accepted: Accepted::default(),
            commands: Vec::new(),
            raw: Vec::new(),
            closed: Vec::new(),
            errors: Vec::new(),
            supplied_at: Duration::ZERO,
            wake_ups: 0,
        }
    }

    /// Sessions that are joined.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionHandle> {
        self.sessions.keys().copied().collect()
    }

    /// Bytes that it was granted so far, without open grants of which nobody told how many.
    #[must_use]
    pub fn granted_bytes(&self) -> u64 {
        self.granted_bytes
    }

    /// The ranges of a stream that it was granted so far, in whatever session.
    #[must_use]
    pub fn granted(&self, stream: StreamId) -> RangeSet {
        self.granted.get(&stream).cloned().unwrap_or_default()
    }

    /// The ranges of all grants that it was given so far, in that order.
    #[must_use]
    pub fn granted_ranges(&self) -> &[(StreamId, ByteRange)] {
        &self.granted_ranges
    }

    /// What its endpoint took of it.
    #[must_use]
    pub fn accepted(&self) -> &Accepted {
        &self.accepted
    }

    /// Grants that it was given so far.
    #[must_use]
    pub fn grants(&self) -> u64 {
        self.grants
    }

    /// The commands of these grants.
    #[must_use]
    pub fn commands(&self) -> &[Vec<u8>] {
        &self.commands
    }

    /// The raw messages that came.
    #[must_use]
    pub fn raw(&self) -> &[Vec<u8>] {
        &self.raw
    }

    /// Why its sessions ended.
    #[must_use]
    pub fn closed(&self) -> &[CloseReason] {
        &self.closed
    }

    /// Writes that failed.
    #[must_use]
    pub fn errors(&self) -> &[StreamError] {
        &self.errors
    }

    /// How often it was told of something, or its alarm rang.
    #[must_use]
    pub fn wake_ups(&self) -> u64 {
        self.wake_ups
    }

    /// Whether it has something to write, and QUIC takes none of it for now.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        let mut works = self.sessions.values().flatten().peekable();
        works.peek().is_some() && works.all(|(_, work)| work.is_blocked)
    }

    fn on_grant(
        &mut self,
        host: &mut Hosted<'_>,
        session: SessionHandle,
        (grant, stream, extent): (GrantId, StreamId, Extent),
        command: &[u8],
    ) {
        let limit = words::limit(command);
        let honest = self.spec.content.of_client(words::client(command));
        let Some(mut secondary) = host.endpoint.secondary(host.moment.now, session) else {
            return;
        };
        let (content, open_bytes) = match self.spec.conduct {
            Conduct::Honest { open_bytes } => (honest, open_bytes),
            Conduct::Slow { .. } => (honest, OPEN_BYTES),
            Conduct::Lies => (honest.forged(), limit.unwrap_or(0)),
            Conduct::Mute | Conduct::Hostile(_) => return,
            Conduct::Refuses(code) => {
                // It may have been revoked meanwhile.
                let _ = secondary.refuse_grant(grant, code);
                return;
            }
        };
        let start = extent.range().start();
        let end = match extent {
            Extent::Fixed(range) => range.end(),
            Extent::Open { start } => {
                start + limit.map_or(open_bytes, |limit| limit.min(open_bytes))
            }
        };
        match secondary.open_segment(grant) {
            Ok(segment) => {
                let source = Source::new(content, stream.0, start, end);
                let works = self.sessions.entry(session).or_default();
                let work = Work {
                    segment,
                    source,
                    is_open: extent.is_open(),
                    is_blocked: false,
                };
                works.insert(grant, work);
                self.pump(host, session, grant, self.at_once());
            }
            Err(error) => self.errors.push(error),
        }
    }

    /// Bytes that may be made for a grant as soon as somebody wants them.
    const fn at_once(&self) -> u64 {
        match self.spec.conduct {
            Conduct::Slow { .. } => 0,
            Conduct::Honest { .. }
            | Conduct::Refuses(_)
            | Conduct::Mute
            | Conduct::Lies
            | Conduct::Hostile(_) => u64::MAX,
        }
    }

    /// Writes what was made and not yet taken, and up to `most` bytes more.
    fn pump(&mut self, host: &mut Hosted<'_>, session: SessionHandle, grant: GrantId, most: u64) {
        let Some(works) = self.sessions.get_mut(&session) else {
            return;
        };
        let secondary = host.endpoint.secondary(host.moment.now, session);
        let (Some(mut secondary), Some(work)) = (secondary, works.get_mut(&grant)) else {
            return;
        };
        let (segment, from) = (work.segment, work.source.next());
        let pumped = work
            .source
            .pump_some(most, |bytes| secondary.write_segment(segment, bytes));
        let stream = StreamId(work.source.stream());
        self.accepted.note(stream, from, work.source.next());
        work.is_blocked = pumped == Ok(Pumped::Blocked);
        if matches!(pumped, Ok(Pumped::Blocked | Pumped::Spent)) {
            return;
        }
        let is_open = work.is_open;
        works.remove(&grant);
        let ended = pumped.and_then(|_| secondary.finish_segment(segment));
        let ended = ended.and_then(|()| match is_open {
            true => Ok(secondary.finish_grant(grant)?),
            false => Ok(()),
        });
        match ended {
            Ok(()) => {
                let past = self.pasts.entry(session).or_default();
                past.segments.insert(segment);
                past.grants.insert(grant);
            }
            Err(error) => self.errors.push(error),
        }
    }

    fn on_writable(&mut self, host: &mut Hosted<'_>, session: SessionHandle, segment: SegmentId) {
        let works = self.sessions.get(&session).into_iter().flatten();
        let grant = works
            .filter(|(_, work)| work.segment == segment)
            .map(|(&grant, _)| grant)
            .next();
        if let Some(grant) = grant {
            self.pump(host, session, grant, self.at_once());
        }
    }

    /// The grants that can take bytes now.
    fn ready(&self) -> impl Iterator<Item = (SessionHandle, GrantId)> {
        self.sessions.iter().flat_map(|(&session, works)| {
            let ready = works.iter().filter(|(_, work)| !work.is_blocked);
            ready.map(move |(&grant, _)| (session, grant))
        })
    }

    fn work(&mut self, session: SessionHandle, grant: GrantId) -> Option<&mut Work> {
        self.sessions.get_mut(&session)?.get_mut(&grant)
    }
}

impl App for Secondary {
    fn start(&mut self, _: &mut Hosted<'_>) {}

    /// Only a slow one has an alarm, and none while QUIC takes nothing.
    fn alarm(&self) -> Option<Duration> {
        self.spec.conduct.rate()?;
        self.ready().next().map(|_| self.supplied_at)
    }

    fn on_alarm(&mut self, host: &mut Hosted<'_>) {
        self.wake_ups += 1;
        let Conduct::Slow { bytes, every } = self.spec.conduct else {
            return;
        };
        let ready: Vec<_> = self.ready().collect();
        let share = bytes / ready.len().max(1) as u64;
        for (session, grant) in ready {
            self.pump(host, session, grant, share.max(1));
        }
        self.supplied_at = host.moment.time + every;
    }

    fn on_event(&mut self, host: &mut Hosted<'_>, event: Event) {
        self.wake_ups += 1;
        let session = event.session;
        let EventKind::Secondary(event) = event.kind else {
            return;
        };
        match event {
            SecondaryEvent::Joined => {
                self.sessions.entry(session).or_default();
            }
            SecondaryEvent::Grant {
                grant,
                remote_stream_id,
                extent,
                command,
            } => {
                self.grants += 1;
                let limit = words::limit(&command);
                let range = match extent {
                    Extent::Fixed(range) => range,
                    Extent::Open { start } => limit
                        .and_then(|limit| ByteRange::with_len(start, limit))
                        .unwrap_or(extent.range()),
                };
                if limit.is_some() || !extent.is_open() {
                    self.granted_bytes += range.len();
                }
                let granted = self.granted.entry(remote_stream_id).or_default();
                granted.insert(range);
                self.granted_ranges.push((remote_stream_id, range));
                self.commands.push(command.to_vec());
                self.on_grant(host, session, (grant, remote_stream_id, extent), &command);
            }
            SecondaryEvent::Raw(message) => self.raw.push(message.to_vec()),
            SecondaryEvent::Revoked { grant, end } => {
                if let Some(work) = self.work(session, grant) {
                    work.source.truncate(end);
                }
                self.pump(host, session, grant, self.at_once());
            }
            SecondaryEvent::SegmentWritable(segment) => self.on_writable(host, session, segment),
            SecondaryEvent::Stopped(grant) => {
                let works = self.sessions.get_mut(&session);
                works.and_then(|works| works.remove(&grant));
            }
            SecondaryEvent::Closed(reason) => {
                self.sessions.remove(&session);
                self.closed.push(reason);
            }
        }
    }

    fn tell_past(&self, session: SessionHandle, past: &mut Past) {
        if let Some(own) = self.pasts.get(&session) {
            past.segments.extend(&own.segments);
            past.grants.extend(&own.grants);
        }
    }
}

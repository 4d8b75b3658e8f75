//! The application of a client: readers that check every byte.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::{READ_BYTES, pick};
use crate::carrier::ReadState;
use crate::error::StreamError;
use crate::event::{ClientEvent, PathEvent, StreamEvent};
use crate::ids::StreamId;
use crate::session::Cx;
use crate::session::client::ClientSession;
use crate::session::tests::content::check;
use crate::session::tests::rng::SplitMix;

/// A client and what runs on it.
pub(in super::super) struct ClientApp {
    pub(in super::super) session: ClientSession,
    pub(in super::super) events: Vec<ClientEvent>,
    pub(in super::super) readers: BTreeMap<StreamId, Reader>,
    /// Limits of readers whose streams have not come.
    limits: BTreeMap<StreamId, u64>,
    /// Whether streams of the primary are accepted and read as they come.
    pub(in super::super) accepts: bool,
    incoming: bool,
}

/// One who reads a stream from its beginning, and checks every byte.
#[derive(Debug)]
pub(in super::super) struct Reader {
    /// One past the last byte that was read.
    pub(in super::super) offset: u64,
    pub(in super::super) end: Option<Result<(), StreamError>>,
    /// Reads nothing at or above this offset.
    pub(in super::super) limit: u64,
    ready: bool,
}

impl ClientApp {
    pub(in super::super) fn new(session: ClientSession) -> Self {
        Self {
            session,
            events: Vec::new(),
            readers: BTreeMap::new(),
            limits: BTreeMap::new(),
            accepts: true,
            incoming: false,
        }
    }

    pub(in super::super) fn take_events(&mut self) {
        while let Some(event) = self.session.poll_event() {
            self.check_grammar(&event);
            match &event {
                ClientEvent::Stream(StreamEvent::Opened) => self.incoming = true,
                ClientEvent::Stream(StreamEvent::Readable(stream)) => {
                    if let Some(reader) = self.readers.get_mut(stream) {
                        reader.ready = true;
                    }
                }
                ClientEvent::Closed(_) => self.readers.values_mut().for_each(|r| r.ready = true),
                ClientEvent::Connected
                | ClientEvent::Stream(_)
                | ClientEvent::Path(_)
                | ClientEvent::Conflict { .. } => {}
            }
            self.events.push(event);
        }
    }

    /// Fails the test if `event` may not come after those before it.
    fn check_grammar(&self, event: &ClientEvent) {
        let closed = matches!(self.events.last(), Some(ClientEvent::Closed(_)));
        assert!(!closed, "{event:?} after Closed");
        let begins = matches!(event, ClientEvent::Connected | ClientEvent::Closed(_));
        assert!(
            begins || !self.events.is_empty(),
            "{event:?} before Connected"
        );
        assert!(
            *event != ClientEvent::Connected || self.events.is_empty(),
            "a second Connected"
        );
        if let ClientEvent::Path(event) = event {
            let of = |event: &PathEvent| match *event {
                PathEvent::Added(path)
                | PathEvent::Active(path)
                | PathEvent::Dead(path)
                | PathEvent::Retired(path) => path,
            };
            let before: Vec<_> = self
                .events
                .iter()
                .filter_map(|earlier| match earlier {
                    ClientEvent::Path(earlier) if of(earlier) == of(event) => Some(*earlier),
                    ClientEvent::Path(_)
                    | ClientEvent::Connected
                    | ClientEvent::Stream(_)
                    | ClientEvent::Conflict { .. }
                    | ClientEvent::Closed(_) => None,
                })
                .collect();
            let path = of(event);
            let follows = match event {
                PathEvent::Added(_) => before.is_empty(),
                PathEvent::Active(_) => before == [PathEvent::Added(path)],
                PathEvent::Dead(_) | PathEvent::Retired(_) => {
                    before == [PathEvent::Added(path)]
                        || before == [PathEvent::Added(path), PathEvent::Active(path)]
                }
            };
            assert!(follows, "{event:?} after {before:?}");
        }
    }

    /// Reads a stream from now on.
    pub(in super::super) fn read(&mut self, stream: StreamId, limit: u64) {
        let reader = self.readers.entry(stream);
        let reader = reader.or_insert(Reader {
            offset: 0,
            end: None,
            limit,
            ready: true,
        });
        reader.limit = limit;
        reader.ready = true;
    }

    /// From now on a stream is read up to `limit` and no further, once it is there.
    pub(in super::super) fn limit(&mut self, stream: StreamId, limit: u64) {
        if self.readers.contains_key(&stream) {
            self.read(stream, limit);
        } else {
            self.limits.insert(stream, limit);
        }
    }

    /// Does one thing; false if there is nothing to do.
    pub(in super::super) fn act(&mut self, cx: &mut Cx<'_>, chance: &mut Option<SplitMix>) -> bool {
        if self.accepts && std::mem::take(&mut self.incoming) {
            while let Some(stream) = self.session.accept_stream() {
                let limit = self.limits.remove(&stream).unwrap_or(u64::MAX);
                self.read(stream, limit);
                // It has nothing to say on it; the session may have closed meanwhile.
                let _ = self.session.finish(stream, cx.carriers);
            }
            return true;
        }
        let ready =
            |reader: &Reader| reader.ready && reader.end.is_none() && reader.offset < reader.limit;
        let candidates: Vec<StreamId> = self
            .readers
            .iter()
            .filter(|(_, reader)| ready(reader))
            .map(|(&id, _)| id)
            .collect();
        let Some(stream) = pick(&candidates, chance) else {
            return false;
        };
        self.read_some(stream, cx, chance);
        true
    }

    fn read_some(&mut self, stream: StreamId, cx: &mut Cx<'_>, chance: &mut Option<SplitMix>) {
        let Some(reader) = self.readers.get_mut(&stream) else {
            return;
        };
        let mut max = READ_BYTES.min(reader.limit - reader.offset);
        if let Some(rng) = chance {
            max = 1 + rng.below(max);
        }
        let breaks = chance.as_mut().is_some_and(|rng| rng.once_in(4));
        let max = usize::try_from(max).expect("small");
        let mut taken = 0;
        let state = self.session.read(cx, stream, max, &mut |chunk| {
            assert!(!chunk.is_empty(), "an empty chunk says nothing");
            check(stream, reader.offset, &chunk);
            reader.offset += chunk.len() as u64;
            taken += chunk.len();
            if breaks {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        assert!(taken <= max, "no more than asked for");
        match state {
            Ok(ReadState::More) => {}
            Ok(ReadState::Blocked) => reader.ready = false,
            Ok(ReadState::Finished) => reader.end = Some(Ok(())),
            Err(error) => reader.end = Some(Err(error)),
        }
    }
}

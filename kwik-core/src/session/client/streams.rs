//! The application streams of a client.
//!
//! Owns the stream table: which streams there are, and what has become of their halves. Writing and
//! reading them is `sending`'s and `reading`'s; an aggregated receiving half is `recv`'s.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use super::ClientSession;
use super::recv::AggregatedRecv;
use crate::carrier::Carriers;
use crate::config::ClientConfig;
use crate::error::{Misuse, Violation};
use crate::event::{ClientEvent, StreamEvent};
use crate::ids::{ByteRange, CarrierId, PathId, StreamId};

/// All streams that have not ended on both sides.
#[derive(Default)]
pub(super) struct Streams {
    table: BTreeMap<StreamId, ClientStream>,
    /// Streams that this end has opened.
    opened: u64,
    /// Streams of the primary that QUIC has shown.
    shown: u64,
    /// Streams of the primary that the application has not accepted.
    incoming: VecDeque<StreamId>,
    /// The application was refused a stream.
    wants_open: bool,
    /// How many streams of the primary may be open.
    remote_max: u64,
}

/// One stream.
pub(super) struct ClientStream {
    pub(super) send: SendHalf,
    pub(super) recv: RecvHalf,
    /// The primary's preamble byte has not been read [STR-2].
    pub(super) preamble: bool,
    /// A read came up short: readability is news.
    pub(super) wants_read: bool,
    /// A write came up short.
    pub(super) wants_write: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum SendHalf {
    /// The application may write.
    Open,
    /// It has finished; not all has arrived.
    Finished,
    /// Nothing more happens.
    Ended,
}

pub(super) enum RecvHalf {
    /// QUIC's own; so many bytes were read.
    Plain { read: u64 },
    /// Written by several servers.
    Aggregated(Box<AggregatedRecv>),
    /// The application has seen the end of an aggregated stream, or does not want it any more; QUIC
    /// has not ended it.
    Closing,
    /// Nothing more happens.
    Ended,
}

impl Streams {
    pub(super) fn new(remote_max: u64) -> Self {
        Self {
            remote_max,
            ..Self::default()
        }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// The receiving halves of the aggregated streams.
    pub(super) fn aggregated_halves(&self) -> impl Iterator<Item = &AggregatedRecv> {
        self.table.values().filter_map(|stream| match &stream.recv {
            RecvHalf::Aggregated(recv) => Some(&**recv),
            RecvHalf::Plain { .. } | RecvHalf::Closing | RecvHalf::Ended => None,
        })
    }

    pub(super) fn get_mut(&mut self, stream: StreamId) -> Option<&mut ClientStream> {
        self.table.get_mut(&stream)
    }

    /// The stream, as the application names it. One of the primary that QUIC has not shown may be
    /// here already, for its grants; the application cannot know of it [STR-5].
    pub(super) fn named(&mut self, stream: StreamId) -> Result<&mut ClientStream, Misuse> {
        let is_shown = !stream.is_server_opened() || stream.index() < self.shown;
        self.table
            .get_mut(&stream)
            .filter(|_| is_shown)
            .ok_or(Misuse::UnknownStream(stream))
    }

    pub(super) fn aggregated(&self, stream: StreamId) -> Option<&AggregatedRecv> {
        match &self.table.get(&stream)?.recv {
            RecvHalf::Aggregated(recv) => Some(recv),
            RecvHalf::Plain { .. } | RecvHalf::Closing | RecvHalf::Ended => None,
        }
    }

    pub(super) fn aggregated_mut(&mut self, stream: StreamId) -> Option<&mut AggregatedRecv> {
        match &mut self.table.get_mut(&stream)?.recv {
            RecvHalf::Aggregated(recv) => Some(recv),
            RecvHalf::Plain { .. } | RecvHalf::Closing | RecvHalf::Ended => None,
        }
    }

    /// The aggregated streams.
    pub(super) fn all_aggregated(
        &mut self,
    ) -> impl Iterator<Item = (StreamId, &mut AggregatedRecv)> {
        self.table
            .iter_mut()
            .filter_map(|(&id, stream)| match &mut stream.recv {
                RecvHalf::Aggregated(recv) => Some((id, &mut **recv)),
                RecvHalf::Plain { .. } | RecvHalf::Closing | RecvHalf::Ended => None,
            })
    }

    /// Streams that have not ended for their reader.
    pub(super) fn unread(&self) -> Vec<StreamId> {
        let open = |stream: &ClientStream| match stream.recv {
            RecvHalf::Plain { .. } | RecvHalf::Aggregated(_) => true,
            RecvHalf::Closing | RecvHalf::Ended => false,
        };
        let streams = self.table.iter().filter(|(_, stream)| open(stream));
        streams.map(|(&id, _)| id).collect()
    }

    /// How many bytes of the stream's own carrier were read, if it is plain.
    pub(super) fn plain_read(&self, stream: StreamId) -> Option<u64> {
        match self.table.get(&stream)?.recv {
            RecvHalf::Plain { read } => Some(read),
            RecvHalf::Aggregated(_) | RecvHalf::Closing | RecvHalf::Ended => None,
        }
    }

    /// Whether the receiving half is known, and nobody will read it any more.
    pub(super) fn is_let_go(&self, stream: StreamId) -> bool {
        self.table
            .get(&stream)
            .is_some_and(|entry| matches!(entry.recv, RecvHalf::Closing | RecvHalf::Ended))
    }

    pub(super) fn aggregate(&mut self, stream: StreamId, recv: AggregatedRecv) {
        if let Some(entry) = self.table.get_mut(&stream) {
            entry.recv = RecvHalf::Aggregated(Box::new(recv));
        }
    }

    /// Bytes that the reassembly of a stream holds.
    pub(super) fn buffered_bytes(&self, stream: StreamId) -> u64 {
        self.aggregated(stream)
            .map_or(0, |recv| recv.reassembly.buffered_bytes())
    }

    /// Whether something about this stream may still come: false if it is gone [STR-6].
    ///
    /// # Errors
    ///
    /// The stream cannot exist.
    pub(super) fn may_come(&self, stream: StreamId) -> Result<bool, Violation> {
        let known = if stream.is_server_opened() {
            stream.index() < self.shown
        } else {
            stream.index() < self.opened
        };
        let possible = known
            || (stream.is_server_opened()
                && stream.index() < self.shown.saturating_add(self.remote_max));
        if !stream.is_bidirectional() || !possible {
            return Err(Violation::Stream(stream));
        }
        Ok(!known || self.table.contains_key(&stream))
    }

    /// The entry of a stream, made for one of the primary that QUIC has not shown yet [STR-5].
    fn entry(&mut self, stream: StreamId) -> &mut ClientStream {
        self.table
            .entry(stream)
            .or_insert_with(|| ClientStream::new(stream.is_server_opened()))
    }

    /// Makes an entry for a stream that may come; false if it is gone.
    pub(super) fn expect(&mut self, stream: StreamId) -> Result<bool, Violation> {
        let comes = self.may_come(stream)?;
        if comes {
            self.entry(stream);
        }
        Ok(comes)
    }

    /// When the first clock of a waiting reader runs out, if the primary brought something last at
    /// `brought_at`.
    pub(super) fn reader_deadline(
        &self,
        config: &ClientConfig,
        brought_at: Option<Instant>,
    ) -> Option<Instant> {
        let deadline = |stream: &ClientStream| match &stream.recv {
            RecvHalf::Aggregated(recv) => {
                let hole = recv.hole_deadline(config.hole_max, brought_at);
                let wait = recv.wait_deadline(config.grant_start_max);
                [hole, wait].into_iter().flatten().min()
            }
            RecvHalf::Plain { .. } | RecvHalf::Closing | RecvHalf::Ended => None,
        };
        self.table.values().filter_map(deadline).min()
    }

    pub(super) fn forget_path(&mut self, path: PathId) {
        self.all_aggregated()
            .for_each(|(_, recv)| recv.window.forget(path));
    }
}

impl ClientStream {
    fn new(preamble: bool) -> Self {
        Self {
            send: SendHalf::Open,
            recv: RecvHalf::Plain { read: 0 },
            preamble,
            wants_read: true,
            wants_write: false,
        }
    }

    fn has_ended(&self) -> bool {
        self.send == SendHalf::Ended && matches!(self.recv, RecvHalf::Ended)
    }
}

impl ClientSession {
    /// Opens a stream; `None` if the primary gives no credit for one now, or has not welcomed the
    /// session: the first stream of its connection is the control carrier [CTL-1].
    pub(crate) fn open_stream(
        &mut self,
        carriers: &mut dyn Carriers,
    ) -> Result<Option<StreamId>, Misuse> {
        self.check_open()?;
        if self.session_id().is_none() {
            self.streams.wants_open = true;
            return Ok(None);
        }
        match carriers.open_bidi(PathId::PRIMARY) {
            Err(_) => Err(Misuse::Closed),
            Ok(None) => {
                self.streams.wants_open = true;
                Ok(None)
            }
            Ok(Some(carrier)) => {
                let stream = StreamId(carrier.stream);
                self.streams.opened = self.streams.opened.max(stream.index() + 1);
                self.streams.entry(stream);
                Ok(Some(stream))
            }
        }
    }

    /// The next stream that the primary opened.
    pub(crate) fn accept_stream(&mut self) -> Option<StreamId> {
        self.streams.incoming.pop_front()
    }

    pub(super) fn on_stream_credit(&mut self) {
        if std::mem::take(&mut self.streams.wants_open) {
            self.events
                .push_back(ClientEvent::Stream(StreamEvent::Available));
        }
    }

    pub(super) fn forget_if_ended(&mut self, stream: StreamId) {
        if self
            .streams
            .table
            .get(&stream)
            .is_some_and(ClientStream::has_ended)
        {
            self.streams.table.remove(&stream);
        }
    }

    /// QUIC shows a stream of the primary.
    pub(super) fn on_stream_opened(&mut self, carrier: CarrierId) {
        let stream = StreamId(carrier.stream);
        let streams = &mut self.streams;
        streams.shown = streams.shown.max(stream.index() + 1);
        streams.entry(stream);
        streams.incoming.push_back(stream);
        self.events
            .push_back(ClientEvent::Stream(StreamEvent::Opened));
    }

    /// The stream for a grant of `range`; `None` if it is gone.
    pub(super) fn aggregated_for_grant(
        &mut self,
        stream: StreamId,
        range: ByteRange,
    ) -> Result<Option<&mut AggregatedRecv>, Violation> {
        if !self.streams.may_come(stream)? {
            return Ok(None);
        }
        match self
            .streams
            .table
            .get_mut(&stream)
            .map(|entry| &mut entry.recv)
        {
            Some(RecvHalf::Aggregated(recv)) if recv.reset.is_some() => Ok(None),
            Some(RecvHalf::Aggregated(recv)) if range.start() >= recv.plain_end => Ok(Some(recv)),
            Some(RecvHalf::Closing | RecvHalf::Ended) => Ok(None),
            Some(RecvHalf::Plain { .. } | RecvHalf::Aggregated(_)) | None => Err(
                Violation::Unexpected("GRANT before the segments of its stream"),
            ),
        }
    }
}

//! Segments as they arrive at a client: whose bytes they are, and whether they may be.
//!
//! Owns the inbound carriers. Every byte is checked against a grant of its path, the length of a
//! segment [SEG-10] and the credit before it reaches a stream [SEG-5].

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Instant;

use super::ClientSession;
use super::clocks::enough_bytes;
use crate::aggregate::{Inserted, Source};
use crate::carrier::{CarrierEnd, Carriers, Order, ReadState};
use crate::config::Overlap;
use crate::error::{Violation, code};
use crate::event::ClientEvent;
use crate::grant::{Authority, GrantIds, Held};
use crate::ids::{ByteRange, CarrierId, GrantId, OFFSET_LIMIT, PathId, StreamId};
use crate::ranges::RangeSet;
use crate::session::Cx;
use crate::wire::{SegmentHeader, SegmentOwner};

/// A segment carrier.
pub(super) enum Inbound {
    /// Its header has not arrived whole.
    Header {
        bytes: [u8; SegmentHeader::LEN],
        filled: usize,
    },
    /// Its header is known.
    Body(SegmentHeader),
}

/// Where the bytes of a segment may go.
enum Place {
    /// Into this stream, if they lie in this range.
    Stream(StreamId, ByteRange),
    /// The same, as far as a live grant asks for them.
    Holes(StreamId, ByteRange),
    /// Nowhere: what they belong to has ended.
    Nowhere,
}

/// What may become of the bytes of one read, and what did.
struct Landed {
    /// Where they must lie.
    range: ByteRange,
    /// Their grant is reported lost.
    late: bool,
    /// Runs of bytes that are present now, coalesced.
    runs: Vec<ByteRange>,
    /// Bytes of them that were not present before.
    new_bytes: u64,
    conflicts: Vec<ByteRange>,
    reopened: RangeSet,
    /// A secondary's bytes differ from the primary's own.
    primary_differs: bool,
    /// Secondaries whose bytes were here before the primary's, and differ.
    refuted: BTreeSet<PathId>,
    violation: Option<Violation>,
}

impl ClientSession {
    /// A server opened a unidirectional carrier.
    pub(super) fn on_segment_opened(
        &mut self,
        cx: &mut Cx<'_>,
        carrier: CarrierId,
    ) -> Result<(), Violation> {
        self.inbound.insert(
            carrier,
            Inbound::Header {
                bytes: [0; SegmentHeader::LEN],
                filled: 0,
            },
        );
        self.on_segment_readable(cx, carrier)
    }

    /// Takes what has arrived on a segment carrier.
    pub(super) fn on_segment_readable(
        &mut self,
        cx: &mut Cx<'_>,
        carrier: CarrierId,
    ) -> Result<(), Violation> {
        let Some(header) = self.segment_header(cx, carrier)? else {
            return Ok(());
        };
        match self.place(carrier.path, header)? {
            Place::Nowhere => {
                let read = cx
                    .carriers
                    .read(carrier, Order::Any, usize::MAX, &mut |_, _| {
                        ControlFlow::Continue(())
                    });
                self.on_segment_read(cx.now.monotonic, carrier, header, read);
                Ok(())
            }
            Place::Stream(stream, range) => self.take(cx, carrier, header, (stream, range, false)),
            Place::Holes(stream, range) => self.take(cx, carrier, header, (stream, range, true)),
        }
    }

    /// Takes the bytes of a segment into its stream.
    fn take(
        &mut self,
        cx: &mut Cx<'_>,
        carrier: CarrierId,
        header: SegmentHeader,
        (stream, range, late): (StreamId, ByteRange, bool),
    ) -> Result<(), Violation> {
        let now = cx.now.monotonic;
        let mut landed = Landed::new(range, late);
        let read = self.land(cx.carriers, carrier, header, stream, &mut landed);
        self.on_segment_read(now, carrier, header, read);
        let working = self.ledger.unanswered_on(carrier.path).max(1) as u64;
        let enough = enough_bytes(&self.config.client).div_ceil(working);
        if let (SegmentOwner::Grant(_), Some(recv)) =
            (header.owner, self.streams.aggregated_mut(stream))
        {
            recv.on_grant_bytes(range, landed.new_bytes, enough, now);
        }
        self.on_landed(cx, carrier.path, header, stream, landed)
    }

    /// The header, once it is whole.
    fn segment_header(
        &mut self,
        cx: &mut Cx<'_>,
        carrier: CarrierId,
    ) -> Result<Option<SegmentHeader>, Violation> {
        let (bytes, filled) = match self.inbound.get_mut(&carrier) {
            None => return Ok(None),
            Some(Inbound::Body(header)) => return Ok(Some(*header)),
            Some(Inbound::Header { bytes, filled }) => (bytes, filled),
        };
        let room = SegmentHeader::LEN - *filled;
        let read = cx
            .carriers
            .read(carrier, Order::Ordered, room, &mut |_, chunk| {
                if let Some(to) = bytes.get_mut(*filled..*filled + chunk.len()) {
                    to.copy_from_slice(&chunk);
                    *filled += chunk.len();
                }
                ControlFlow::Continue(())
            });
        if *filled < SegmentHeader::LEN {
            // A carrier that ends without a header says nothing [SEG-8].
            if !matches!(read, Ok(ReadState::Blocked | ReadState::More)) {
                self.inbound.remove(&carrier);
            }
            return Ok(None);
        }
        let header = SegmentHeader::decode(bytes)?;
        self.stats.segment_header_bytes += SegmentHeader::LEN as u64;
        if matches!(read, Ok(ReadState::Finished)) {
            self.inbound.remove(&carrier);
            return Ok(None);
        }
        self.inbound.insert(carrier, Inbound::Body(header));
        Ok(Some(header))
    }

    /// Where a segment of `path` belongs [SEG-3].
    fn place(&self, path: PathId, header: SegmentHeader) -> Result<Place, Violation> {
        match (path == PathId::PRIMARY, header.owner) {
            (true, SegmentOwner::Primary(stream)) => self.place_of_primary(stream),
            (false, SegmentOwner::Grant(grant)) => match self.ledger.authority(path, grant) {
                Authority::Never => Err(Violation::OutsideGrant(grant)),
                Authority::Ended => Ok(Place::Nowhere),
                Authority::Granted(stream, range) if self.streams.aggregated(stream).is_some() => {
                    Ok(Place::Stream(stream, range))
                }
                Authority::Late(stream, range) if self.streams.aggregated(stream).is_some() => {
                    Ok(Place::Holes(stream, range))
                }
                Authority::Granted(..) | Authority::Late(..) => Ok(Place::Nowhere),
            },
            (true, SegmentOwner::Grant(_)) | (false, SegmentOwner::Primary(_)) => {
                Err(Violation::Unexpected("owner of a segment"))
            }
        }
    }

    /// No segment of the primary comes before AGGREGATE, whose answer is its first credit. Segments
    /// that waited for it unread could fill the memory [AGG-4].
    fn place_of_primary(&self, stream: StreamId) -> Result<Place, Violation> {
        if self.streams.aggregated(stream).is_some() {
            return Ok(Place::Stream(stream, ByteRange::from(0)));
        }
        if self.streams.may_come(stream)? && !self.streams.is_let_go(stream) {
            return Err(Violation::Unexpected("segment before AGGREGATE"));
        }
        Ok(Place::Nowhere)
    }

    /// Moves bytes from QUIC into the stream's reassembly, in whatever order, whether or not
    /// anybody reads the stream [SEG-11].
    fn land(
        &mut self,
        carriers: &mut dyn Carriers,
        carrier: CarrierId,
        header: SegmentHeader,
        stream: StreamId,
        landed: &mut Landed,
    ) -> Result<ReadState, CarrierEnd> {
        let Some(recv) = self.streams.aggregated_mut(stream) else {
            return Err(CarrierEnd::Gone);
        };
        let source = if carrier.path == PathId::PRIMARY {
            Source::Primary
        } else {
            Source::Secondary(carrier.path)
        };
        // Late bytes of what was taken back are no evidence against anybody [OVL-5].
        let is_live = matches!(header.owner, SegmentOwner::Grant(grant)
            if self.ledger.get(grant).is_some_and(Held::is_live));
        let credit = recv.window.max_offset();
        let wanted = recv.final_size().unwrap_or(OFFSET_LIMIT);
        let (stats, ledger) = (&mut self.stats, &self.ledger);
        carriers.read(carrier, Order::Any, usize::MAX, &mut |at, mut chunk| {
            let placed = stream_range(header, at, chunk.len());
            let Some(placed) = placed.filter(|placed| {
                landed.range.contains(*placed) && placed.start() >= recv.plain_end
            }) else {
                landed.violation = Some(outside(header, stream));
                return ControlFlow::Break(());
            };
            if placed.end() - header.offset > SegmentHeader::BODY_MAX {
                landed.violation = Some(Violation::ExcessiveLoad("bytes of a segment"));
                return ControlFlow::Break(());
            }
            // Judged by what was given, told or not [FLOW-8].
            if placed.end() > credit {
                landed.violation = Some(Violation::FlowControl(stream));
                return ControlFlow::Break(());
            }
            if landed.late && !ledger.asks_for(stream, placed) {
                return ControlFlow::Continue(());
            }
            // What a final size cut off is dropped in silence [GRANT-9].
            let placed = clipped(placed, wanted);
            chunk.truncate(usize::try_from(placed.len()).unwrap_or(usize::MAX));
            match recv.reassembly.insert(placed.start(), chunk, source) {
                Ok(inserted) => {
                    stats.duplicate_bytes += inserted.duplicate_bytes;
                    stats.conflict_bytes += inserted.conflict_bytes;
                    if !is_live && let Source::Secondary(path) = source {
                        recv.reassembly.acquit(path, placed);
                    }
                    landed.add(placed, inserted);
                    ControlFlow::Continue(())
                }
                Err(_) => {
                    landed.violation = Some(Violation::ExcessiveLoad("ranges of a stream"));
                    ControlFlow::Break(())
                }
            }
        })
    }

    /// A carrier was read: forget it at its end, which means nothing else [SEG-12].
    fn on_segment_read(
        &mut self,
        now: Instant,
        carrier: CarrierId,
        header: SegmentHeader,
        read: Result<ReadState, CarrierEnd>,
    ) {
        match read {
            Ok(ReadState::Blocked | ReadState::More) => {}
            Ok(ReadState::Finished) | Err(_) => {
                self.inbound.remove(&carrier);
            }
        }
        if let SegmentOwner::Grant(grant) = header.owner {
            self.on_path_bytes(now, carrier.path, grant);
        }
    }

    /// Bytes of a stream are here: grants end, the reader goes on, conflicts are told.
    fn on_landed(
        &mut self,
        cx: &mut Cx<'_>,
        path: PathId,
        header: SegmentHeader,
        stream: StreamId,
        landed: Landed,
    ) -> Result<(), Violation> {
        // The last bytes of a path that is retired end it.
        self.count_received(path, landed.new_bytes, cx.now.monotonic);
        // What these bytes say of their writer hangs on the grant as it was when they came.
        let was_live = matches!(header.owner, SegmentOwner::Grant(grant)
            if self.ledger.get(grant).is_some_and(Held::is_live));
        let mut touched = GrantIds::new();
        for &run in &landed.runs {
            tracing::trace!(
                path = path.0,
                stream = stream.0,
                start = run.start(),
                end = run.end(),
                "bytes placed"
            );
            if let Some(recv) = self.streams.aggregated_mut(stream) {
                self.stats.regranted_bytes += recv.on_present(run);
            }
            touched.extend(self.ledger.on_present(stream, run));
        }
        for range in landed.reopened.iter() {
            touched.extend(self.ledger.on_reopened(stream, range));
        }
        self.feed_start(cx.now.monotonic, &touched);
        self.settle(cx, &touched);
        let buffered = self.streams.buffered_bytes(stream);
        self.stats.note_buffered(stream, buffered);
        // Told, and under two of three policies nothing more [OVL-3].
        for &range in &landed.conflicts {
            self.events.push_back(ClientEvent::Conflict {
                stream,
                range,
                path,
            });
        }
        if !landed.reopened.is_empty() {
            self.tell_hole(cx, stream, &landed.reopened);
        }
        if !landed.runs.is_empty() {
            self.on_stream_progress(cx, stream);
        }
        for liar in landed.refuted {
            self.on_secondary_violation(cx, liar, &Violation::Conflict(stream));
        }
        if let Some(violation) = landed.violation {
            return Err(violation);
        }
        // A path pays for its own gaps alone [ERR-5].
        if self.ledger.gaps_on(path) > self.config.client.gaps_per_path_max {
            return Err(Violation::ExcessiveLoad("gaps in the grants of a path"));
        }
        self.judge_conflict(path, was_live, stream, landed.primary_differs)
    }

    /// Under `Reject`, a secondary whose bytes differ from the primary's own loses its path, also if
    /// the primary's come later: then `Landed::refuted` names it. A
    /// conflict of two secondaries blames neither [OVL-4], nor do the late bytes of a grant that was
    /// taken back [OVL-5].
    fn judge_conflict(
        &self,
        path: PathId,
        was_live: bool,
        stream: StreamId,
        primary_differs: bool,
    ) -> Result<(), Violation> {
        let rejects = self.config.client.overlap == Overlap::Reject && path != PathId::PRIMARY;
        if rejects && was_live && primary_differs {
            return Err(Violation::Conflict(stream));
        }
        Ok(())
    }

    /// The carrier on which bytes of a grant arrive, if one is open.
    pub(super) fn inbound_of(&self, grant: GrantId) -> Option<CarrierId> {
        let path = self.ledger.get(grant)?.path;
        let from = CarrierId { path, stream: 0 };
        let to = CarrierId {
            path,
            stream: u64::MAX,
        };
        self.inbound
            .range(from..=to)
            .find_map(|(&carrier, inbound)| match inbound {
                Inbound::Body(header) if header.owner == SegmentOwner::Grant(grant) => {
                    Some(carrier)
                }
                Inbound::Body(_) | Inbound::Header { .. } => None,
            })
    }

    /// The path has ended, and its carriers with it.
    pub(super) fn drop_segments_of(&mut self, path: PathId) {
        self.inbound.retain(|carrier, _| carrier.path != path);
    }

    /// Segment carriers of a path of which something may still come.
    #[cfg(test)]
    pub(crate) fn segments_open(&self, path: PathId) -> usize {
        let of_path = |carrier: &&CarrierId| carrier.path == path;
        self.inbound.keys().filter(of_path).count()
    }

    /// Nothing of a stream is wanted any more: its servers need not send it.
    pub(super) fn stop_segments_of_stream(&mut self, cx: &mut Cx<'_>, stream: StreamId) {
        let ledger = &self.ledger;
        self.inbound.retain(|&carrier, inbound| {
            let belongs = match inbound {
                Inbound::Header { .. } => false,
                Inbound::Body(header) => match header.owner {
                    SegmentOwner::Primary(of) => of == stream,
                    SegmentOwner::Grant(grant) => {
                        ledger.get(grant).is_some_and(|held| held.stream == stream)
                    }
                },
            };
            if belongs {
                cx.carriers.stop(carrier, code::ENDED);
            }
            !belongs
        });
    }
}

impl Landed {
    fn new(range: ByteRange, late: bool) -> Self {
        Self {
            range,
            late,
            runs: Vec::new(),
            new_bytes: 0,
            conflicts: Vec::new(),
            reopened: RangeSet::new(),
            primary_differs: false,
            refuted: BTreeSet::new(),
            violation: None,
        }
    }

    fn add(&mut self, placed: ByteRange, inserted: Inserted) {
        self.new_bytes += inserted.new_bytes;
        if inserted.new_bytes > 0 {
            match self.runs.last_mut() {
                Some(last) if last.end() == placed.start() => {
                    *last = ByteRange::new(last.start(), placed.end()).unwrap_or(*last);
                }
                Some(_) | None => self.runs.push(placed),
            }
        }
        self.conflicts.extend(inserted.conflict);
        self.reopened.insert_all(&inserted.reopened);
        self.primary_differs |= inserted.primary_differs;
        self.refuted.extend(inserted.refuted);
    }
}

/// Where in the stream the bytes at a carrier offset belong [SEG-1]; `None` past the largest
/// offset.
fn stream_range(header: SegmentHeader, carrier_offset: u64, len: usize) -> Option<ByteRange> {
    let within = carrier_offset.checked_sub(SegmentHeader::LEN as u64)?;
    ByteRange::with_len(header.offset.checked_add(within)?, len as u64)
}

fn outside(header: SegmentHeader, stream: StreamId) -> Violation {
    match header.owner {
        SegmentOwner::Grant(grant) => Violation::OutsideGrant(grant),
        SegmentOwner::Primary(_) => Violation::Stream(stream),
    }
}

/// The part of a range below `end`.
fn clipped(range: ByteRange, end: u64) -> ByteRange {
    ByteRange::new(range.start(), range.end().min(end.max(range.start()))).unwrap_or(range)
}

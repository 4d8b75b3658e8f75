//! QUIC connections in memory: what the session layer is driven by instead of QUIC.
//!
//! Owns connections, their carriers, buffers, windows and stream credit, and hands out what is on
//! its way as [`Parcel`]s that the caller delivers in any order. Semantics are those of
//! [`Carriers`](crate::carrier::Carriers), read as strictly as its words allow: a wakeup that is not
//! promised is not given. Never sees a session or a clock.

mod flow;
mod port;
mod tests;

use std::collections::{BTreeMap, VecDeque};

use crate::carrier::{DownCause, Input};
use crate::ids::{ByteRange, CarrierId, PathId};

use super::rng::SplitMix;
use flow::{Flow, Receiving, Sending};

pub(super) use port::{Port, RTT};

/// The control carrier of every connection.
pub(super) const CONTROL: u64 = 0;

/// One of the two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    Client,
    Server,
}

impl Side {
    pub(super) const BOTH: [Self; 2] = [Self::Client, Self::Server];

    pub(super) const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }

    const fn index(self) -> usize {
        self as usize
    }
}

/// Names a connection; never reused, unlike the path that it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ConnId(pub(super) usize);

/// What one end of a connection buffers, and what it allows the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct EndLimits {
    /// Bytes written by this end that are not known to have arrived; control bytes may exceed it.
    pub(super) send_buffer_bytes: u64,
    /// Bidirectional and unidirectional streams that the peer may have open.
    pub(super) streams: [u64; 2],
    /// Bytes of one carrier that the peer may send ahead of our reads.
    pub(super) stream_window_bytes: u64,
    /// Bytes of all carriers that the peer may send ahead of our reads.
    pub(super) window_bytes: u64,
}

/// Something that is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Parcel {
    pub(super) conn: ConnId,
    pub(super) toward: Side,
    pub(super) item: Item,
}

/// What is on its way. `Ord` is the order of delivery within one direction when nobody interferes,
/// priorities aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Item {
    /// Acknowledgements, windows and stream credit.
    Feedback,
    Stop {
        stream: u64,
    },
    Reset {
        stream: u64,
    },
    Data {
        stream: u64,
        range: ByteRange,
    },
    Fin {
        stream: u64,
    },
    Close,
}

impl Item {
    /// The QUIC stream that it belongs to.
    pub(super) const fn stream(self) -> Option<u64> {
        match self {
            Self::Stop { stream }
            | Self::Reset { stream }
            | Self::Data { stream, .. }
            | Self::Fin { stream } => Some(stream),
            Self::Feedback | Self::Close => None,
        }
    }
}

/// All connections.
pub(super) struct Net {
    conns: Vec<Conn>,
    /// Cuts writes short at random.
    pub(super) mischief: Option<SplitMix>,
    /// Whether what arrived can still be read after the connection is lost. Nobody may count on it.
    pub(super) reads_after_down: bool,
}

/// One connection.
struct Conn {
    ends: [End; 2],
    carriers: BTreeMap<u64, Carrier>,
    exporter: [u8; 32],
    /// Nothing passes.
    cut: bool,
}

/// What one end of a connection knows.
struct End {
    /// What its session calls the connection.
    path: PathId,
    limits: EndLimits,
    phase: Phase,
    inputs: VecDeque<Input>,
    /// Carriers whose last write came up short, in the order in which they blocked.
    blocked: Vec<Blocked>,
    /// Bytes written that are not known to have arrived.
    unacked: u64,
    /// Bytes written on all carriers, and how many the peer's window allows.
    written: u64,
    credit: u64,
    /// Bytes whose window goes back to the peer.
    consumed: u64,
    /// Streams that this end opened, may open as it knows, and was refused; by direction.
    opened: [u64; 2],
    allowed: [u64; 2],
    refused: [bool; 2],
    /// Streams of the peer that were reported, and that the peer may open.
    seen: [u64; 2],
    granted: [u64; 2],
    /// Something for the next [`Item::Feedback`] toward the peer.
    owes_feedback: bool,
    /// The close that has not reached the peer.
    closing: Option<u64>,
}

/// Where an end is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// A server whose client has not opened the control carrier.
    AwaitingControl,
    Up,
    /// Lost: nothing more comes.
    Down,
    /// Closed by its session, which wants to hear nothing more.
    Forgotten,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Blocked {
    stream: u64,
    /// The short write was one of control.
    control: bool,
}

/// A QUIC stream.
struct Carrier {
    /// By the side toward which the bytes go.
    flows: [Option<Flow>; 2],
    /// Its place in the stream limit was given back.
    freed: bool,
}

/// The side that opened a QUIC stream (RFC 9000 §2.1).
const fn opener(stream: u64) -> Side {
    if stream & 1 == 0 {
        Side::Client
    } else {
        Side::Server
    }
}

/// 0 for bidirectional, 1 for unidirectional.
const fn direction(stream: u64) -> usize {
    (stream >> 1 & 1) as usize
}

impl Net {
    pub(super) fn new() -> Self {
        Self {
            conns: Vec::new(),
            mischief: None,
            reads_after_down: false,
        }
    }

    /// A connection whose handshake is done. The client hears of it at once, the server once the
    /// control carrier was used.
    pub(super) fn connect(&mut self, path: PathId, client: EndLimits, server: EndLimits) -> ConnId {
        let id = ConnId(self.conns.len());
        let mut seed = SplitMix::new(0x6b77_696b ^ id.0 as u64);
        let mut exporter = [0; 32];
        exporter
            .chunks_exact_mut(8)
            .for_each(|part| part.copy_from_slice(&seed.next().to_le_bytes()));
        let mut conn = Conn {
            ends: [
                End::new(path, client, server, Phase::Up),
                End::new(PathId::PRIMARY, server, client, Phase::AwaitingControl),
            ],
            carriers: BTreeMap::new(),
            exporter,
            cut: false,
        };
        let control = conn
            .open(Side::Client, 0)
            .expect("a server takes the control carrier");
        assert_eq!(
            control, CONTROL,
            "the control carrier is the client's first"
        );
        let control = CarrierId {
            path,
            stream: CONTROL,
        };
        conn.end(Side::Client).inputs.push_back(Input::PathUp {
            path,
            control,
            exporter,
        });
        self.conns.push(conn);
        id
    }

    /// What the session at `side` is to be told next.
    pub(super) fn poll_input(&mut self, id: ConnId, side: Side) -> Option<Input> {
        let conn = &mut self.conns[id.0];
        if let Some(input) = conn.end(side).inputs.pop_front() {
            return Some(input);
        }
        conn.poll_writable(side)
    }

    /// Everything that could be delivered now, each direction in its natural order. Data comes as
    /// the missing ranges of each carrier.
    pub(super) fn parcels(&self) -> Vec<Parcel> {
        let mut parcels = Vec::new();
        for (index, conn) in self.conns.iter().enumerate().filter(|(_, conn)| !conn.cut) {
            for toward in Side::BOTH {
                let mut items = conn.items(toward);
                items.sort_by_key(|&(priority, item)| (std::cmp::Reverse(priority), item));
                let conn = ConnId(index);
                parcels.extend(
                    items
                        .into_iter()
                        .map(|(_, item)| Parcel { conn, toward, item }),
                );
            }
        }
        parcels
    }

    /// Delivers one of [`Self::parcels`], or a part of its data.
    pub(super) fn deliver(&mut self, parcel: Parcel) {
        let conn = &mut self.conns[parcel.conn.0];
        let toward = parcel.toward;
        conn.end(toward).heard();
        match parcel.item {
            Item::Feedback => conn.deliver_feedback(toward),
            Item::Stop { stream } => conn.deliver_stop(toward, stream),
            Item::Reset { stream } => {
                conn.deliver_end(toward, stream, |flow| match flow.out.state {
                    Sending::Reset(code) => flow.arrive_reset(code),
                    Sending::Open | Sending::Finished | Sending::Done => 0,
                });
            }
            Item::Data { stream, range } => {
                conn.deliver_end(toward, stream, |flow| flow.arrive(range));
            }
            Item::Fin { stream } => conn.deliver_end(toward, stream, Flow::arrive_fin),
            Item::Close => conn.deliver_close(toward),
        }
    }

    /// The session at `side` closes the connection and forgets it.
    pub(super) fn close(&mut self, id: ConnId, side: Side, code: u64) {
        let conn = &mut self.conns[id.0];
        let end = conn.end(side);
        if end.phase == Phase::Forgotten {
            return;
        }
        let was_open = end.is_open();
        end.phase = Phase::Forgotten;
        end.inputs.clear();
        end.blocked.clear();
        end.closing = was_open.then_some(code);
    }

    /// The connection is lost to `side`.
    pub(super) fn fail(&mut self, id: ConnId, side: Side, cause: DownCause) {
        self.conns[id.0].end(side).go_down(cause);
    }

    /// Something that is no carrier's arrives at `side`: the answer to a probe, or a keep-alive.
    pub(super) fn hear(&mut self, id: ConnId, side: Side) {
        self.conns[id.0].end(side).heard();
    }

    /// Whether nothing passes any more, in either direction.
    pub(super) fn set_cut(&mut self, id: ConnId, cut: bool) {
        self.conns[id.0].cut = cut;
    }

    pub(super) fn is_cut(&self, id: ConnId) -> bool {
        self.conns[id.0].cut
    }

    pub(super) fn phase(&self, id: ConnId, side: Side) -> Phase {
        self.conns[id.0].ends[side.index()].phase
    }

    pub(super) fn exporter(&self, id: ConnId) -> [u8; 32] {
        self.conns[id.0].exporter
    }

    /// The priority that the writer toward `toward` gave a carrier.
    pub(super) fn priority(&self, id: ConnId, toward: Side, stream: u64) -> Option<i32> {
        let carrier = self.conns[id.0].carriers.get(&stream)?;
        Some(carrier.flows[toward.index()].as_ref()?.out.priority)
    }

    /// Carriers, other than control, that have not ended for both sides.
    pub(super) fn open_carriers(&self, id: ConnId) -> Vec<u64> {
        let carriers = self.conns[id.0].carriers.iter();
        let open = carriers.filter(|(stream, carrier)| **stream != CONTROL && !carrier.is_over());
        open.map(|(&stream, _)| stream).collect()
    }

    /// Unidirectional carriers that their writer has not ended.
    pub(super) fn segments_of(&self, id: ConnId) -> Vec<u64> {
        let carriers = self.conns[id.0].carriers.iter();
        let open = carriers.filter(|(stream, carrier)| {
            let mut flows = carrier.flows.iter().flatten();
            direction(**stream) == 1 && flows.any(|flow| flow.out.state == Sending::Open)
        });
        open.map(|(&stream, _)| stream).collect()
    }

    /// Unidirectional carriers that have not ended for both sides.
    pub(super) fn segments_in_use(&self, id: ConnId) -> Vec<u64> {
        let mut open = self.open_carriers(id);
        open.retain(|&stream| direction(stream) == 1);
        open
    }

    /// Whether the writer of a carrier toward `toward` has given it up.
    pub(super) fn was_reset(&self, id: ConnId, toward: Side, stream: u64) -> bool {
        let flow = self.conns[id.0].carriers.get(&stream);
        let flow = flow.and_then(|carrier| carrier.flows[toward.index()].as_ref());
        flow.is_some_and(|flow| matches!(flow.out.state, Sending::Reset(_)))
    }

    /// The stream offset in the header of a segment that has not arrived.
    pub(super) fn segment_offset(&self, id: ConnId, stream: u64) -> u64 {
        let carrier = &self.conns[id.0].carriers[&stream];
        let flow = carrier.flows[Side::Client.index()]
            .as_ref()
            .expect("a segment of a server");
        let header = flow.out.head();
        u64::from_be_bytes(header[8..16].try_into().expect("8 bytes"))
    }

    /// Written bytes that have not arrived, per carrier.
    pub(super) fn in_flight(&self, id: ConnId, toward: Side) -> Vec<(u64, u64)> {
        let carriers = self.conns[id.0].carriers.iter();
        let flows = carriers.filter_map(|(&stream, carrier)| {
            let flow = carrier.flows[toward.index()].as_ref()?;
            Some((stream, flow.missing().bytes()))
        });
        flows.filter(|&(_, bytes)| bytes > 0).collect()
    }

    /// Whether bytes of segments are on their way to the client.
    pub(super) fn brings_segments(&self, id: ConnId) -> bool {
        self.in_flight(id, Side::Client)
            .iter()
            .any(|(stream, _)| direction(*stream) == 1)
    }

    /// What is open of a connection, for the message of a failed test.
    pub(super) fn describe(&self, id: ConnId) -> Vec<String> {
        let open = self.open_carriers(id).into_iter().map(|stream| {
            let flows = self.conns[id.0].carriers[&stream].flows.iter().flatten();
            let flows = flows.map(|flow| {
                let (out, inc) = (&flow.out, &flow.inc);
                format!(
                    "{:?} wrote {}, {:?} got {} of {:?}",
                    out.state,
                    out.written,
                    inc.state,
                    inc.arrived.bytes(),
                    inc.size
                )
            });
            format!("{stream}: {}", flows.collect::<Vec<_>>().join("; "))
        });
        open.collect()
    }

    /// What one end buffers from now on.
    pub(super) fn limit_send_buffer(&mut self, id: ConnId, side: Side, bytes: u64) {
        self.conns[id.0].end(side).limits.send_buffer_bytes = bytes;
    }

    /// Lets the peer of `toward` open so many streams more, whatever `toward` allowed it.
    pub(super) fn force_stream_credit(&mut self, id: ConnId, toward: Side, bidi: u64) {
        self.conns[id.0].end(toward.other()).allowed[0] += bidi;
    }

    /// Lets the peer of `toward` open one segment more, whatever `toward` allowed it.
    pub(super) fn force_uni_credit(&mut self, id: ConnId, toward: Side) {
        self.conns[id.0].end(toward.other()).allowed[1] += 1;
    }
}

impl Conn {
    fn end(&mut self, side: Side) -> &mut End {
        &mut self.ends[side.index()]
    }

    fn open(&mut self, side: Side, direction: usize) -> Option<u64> {
        let end = self.end(side);
        let index = end.opened[direction];
        if index >= end.allowed[direction] {
            end.refused[direction] = true;
            return None;
        }
        end.opened[direction] += 1;
        let stream = index << 2 | (direction as u64) << 1 | side.index() as u64;
        let windows = Side::BOTH.map(|side| self.ends[side.index()].limits.stream_window_bytes);
        // Toward its opener a carrier is known from the start, so the first arrival is told;
        // elsewhere `Opened` stands for what came with it.
        let flows = Side::BOTH.map(|toward| {
            let wanted = direction == 0 || toward != side;
            wanted.then(|| Flow::new(windows[toward.index()], toward == side))
        });
        self.carriers.insert(
            stream,
            Carrier {
                flows,
                freed: false,
            },
        );
        Some(stream)
    }

    fn items(&self, toward: Side) -> Vec<(i32, Item)> {
        let mut items = Vec::new();
        let (from, to) = (
            &self.ends[toward.other().index()],
            &self.ends[toward.index()],
        );
        if to.phase == Phase::Forgotten || to.phase == Phase::Down {
            return items;
        }
        if from.closing.is_some() {
            return vec![(i32::MIN, Item::Close)];
        }
        if !from.is_open() {
            return items;
        }
        if from.owes_feedback {
            items.push((i32::MAX, Item::Feedback));
        }
        for (&stream, carrier) in &self.carriers {
            let stop = carrier.flows[toward.other().index()].as_ref();
            if stop.is_some_and(|flow| flow.inc.stop.is_some()) {
                items.push((i32::MAX, Item::Stop { stream }));
            }
            let Some(flow) = &carrier.flows[toward.index()] else {
                continue;
            };
            let priority = if stream == CONTROL {
                i32::MAX
            } else {
                flow.out.priority
            };
            if flow.reset_is_due() {
                items.push((priority, Item::Reset { stream }));
            }
            let missing = flow.missing();
            items.extend(
                missing
                    .iter()
                    .map(|range| (priority, Item::Data { stream, range })),
            );
            if flow.fin_is_due() {
                items.push((priority, Item::Fin { stream }));
            }
        }
        items
    }

    /// Something arrives on a flow; the change may give window back.
    fn deliver_end(&mut self, toward: Side, stream: u64, change: impl FnOnce(&mut Flow) -> u64) {
        self.show(toward, stream);
        let Some(carrier) = self.carriers.get_mut(&stream) else {
            return;
        };
        let Some(flow) = carrier.flows[toward.index()].as_mut() else {
            return;
        };
        let given_back = change(flow);
        let tell = flow.inc.state == Receiving::Open && std::mem::take(&mut flow.inc.armed);
        let end = &mut self.ends[toward.index()];
        end.consumed += given_back;
        end.owes_feedback = true;
        if tell {
            let carrier = CarrierId {
                path: end.path,
                stream,
            };
            end.inputs.push_back(Input::Readable(carrier));
        }
        self.free(stream);
    }

    /// A carrier of the peer becomes visible, and all that the peer opened before it (RFC 9000 §2.1).
    fn show(&mut self, toward: Side, stream: u64) {
        if opener(stream) == toward {
            return;
        }
        let (direction, exporter) = (direction(stream), self.exporter);
        let end = self.end(toward);
        while end.seen[direction] <= stream >> 2 {
            let shown = end.seen[direction] << 2 | (stream & 3);
            end.seen[direction] += 1;
            let carrier = CarrierId {
                path: end.path,
                stream: shown,
            };
            if shown == CONTROL {
                let path = end.path;
                end.phase = Phase::Up;
                end.inputs.push_back(Input::PathUp {
                    path,
                    control: carrier,
                    exporter,
                });
                end.inputs.push_back(Input::Readable(carrier));
            } else {
                end.inputs.push_back(Input::Opened(carrier));
            }
        }
    }

    fn deliver_stop(&mut self, toward: Side, stream: u64) {
        let Some(carrier) = self.carriers.get_mut(&stream) else {
            return;
        };
        let Some(flow) = carrier.flows[toward.other().index()].as_mut() else {
            return;
        };
        let Some(code) = flow.inc.stop.take() else {
            return;
        };
        if !matches!(flow.out.state, Sending::Open | Sending::Finished) {
            return;
        }
        flow.out.stopped = Some(code);
        let end = self.end(toward);
        let carrier = CarrierId {
            path: end.path,
            stream,
        };
        end.inputs.push_back(Input::Stopped { carrier, code });
    }

    /// The writer at `toward` hears what has arrived and what it may do.
    fn deliver_feedback(&mut self, toward: Side) {
        let [client, server] = &mut self.ends;
        let (end, peer) = match toward {
            Side::Client => (client, server),
            Side::Server => (server, client),
        };
        peer.owes_feedback = false;
        end.credit = peer.limits.window_bytes.saturating_add(peer.consumed);
        for (direction, input) in [Input::BidiCredit(end.path), Input::UniCredit(end.path)]
            .into_iter()
            .enumerate()
        {
            let more = peer.granted[direction] > end.allowed[direction];
            end.allowed[direction] = end.allowed[direction].max(peer.granted[direction]);
            if more && std::mem::take(&mut end.refused[direction]) {
                end.inputs.push_back(input);
            }
        }
        let mut finished = Vec::new();
        for (&stream, carrier) in &mut self.carriers {
            let Some(flow) = carrier.flows[toward.other().index()].as_mut() else {
                continue;
            };
            end.unacked -= flow.acknowledge();
            flow.out.credit = peer
                .limits
                .stream_window_bytes
                .saturating_add(flow.inc.consumed);
            if flow.settle_finished() {
                let carrier = CarrierId {
                    path: end.path,
                    stream,
                };
                end.inputs.push_back(Input::Finished(carrier));
                finished.push(stream);
            }
        }
        finished.into_iter().for_each(|stream| self.free(stream));
        self.carriers
            .retain(|&stream, carrier| stream == CONTROL || !carrier.is_over());
    }

    fn deliver_close(&mut self, toward: Side) {
        let Some(code) = self.end(toward.other()).closing.take() else {
            return;
        };
        self.end(toward).go_down(DownCause::ClosedByPeer(code));
    }

    /// Gives the place of a carrier back to its opener once it is over for the other side.
    fn free(&mut self, stream: u64) {
        let taker = opener(stream).other();
        let Some(carrier) = self.carriers.get_mut(&stream) else {
            return;
        };
        let [toward_taker, toward_opener] =
            [taker, taker.other()].map(|side| carrier.flows[side.index()].as_ref());
        let received = toward_taker.is_none_or(|flow| flow.inc.state == Receiving::Done);
        let sent = toward_opener.is_none_or(|flow| match flow.out.state {
            Sending::Open | Sending::Finished => false,
            Sending::Reset(_) => flow.inc.reset.is_some(),
            Sending::Done => true,
        });
        if received && sent && !carrier.freed {
            carrier.freed = true;
            let end = self.end(taker);
            end.granted[direction(stream)] += 1;
            end.owes_feedback = true;
        }
    }

    /// A carrier as the session at `side` may know it.
    fn carrier(&mut self, side: Side, stream: u64) -> Option<&mut Carrier> {
        let end = &self.ends[side.index()];
        let known = if opener(stream) == side {
            &end.opened
        } else {
            &end.seen
        };
        if known[direction(stream)] <= stream >> 2 {
            return None;
        }
        self.carriers.get_mut(&stream)
    }

    fn poll_writable(&mut self, side: Side) -> Option<Input> {
        if self.ends[side.index()].phase != Phase::Up {
            return None;
        }
        let mut candidates = std::mem::take(&mut self.end(side).blocked);
        // The one that blocked last comes first: so does quinn, and nobody may count on fairness.
        let woken = (0..candidates.len()).rev().find(|&at| {
            let blocked = candidates[at];
            // One that takes nothing any more is woken too, to find that out.
            self.room(side, blocked.stream, blocked.control) != Some(0)
        });
        let stream = woken.map(|at| candidates.remove(at).stream);
        let end = self.end(side);
        end.blocked = candidates;
        stream.map(|stream| {
            Input::Writable(CarrierId {
                path: end.path,
                stream,
            })
        })
    }

    /// Bytes that a carrier takes now; `None` if it takes nothing any more.
    fn room(&self, side: Side, stream: u64, control: bool) -> Option<u64> {
        let out = &self.carriers.get(&stream)?.flows[side.other().index()]
            .as_ref()?
            .out;
        out.check().ok()?;
        let end = &self.ends[side.index()];
        let window = (end.credit - end.written).min(out.credit - out.written);
        if control {
            return Some(window);
        }
        Some(window.min(end.limits.send_buffer_bytes.saturating_sub(end.unacked)))
    }
}

impl End {
    fn new(path: PathId, limits: EndLimits, peer: EndLimits, phase: Phase) -> Self {
        Self {
            path,
            limits,
            phase,
            inputs: VecDeque::new(),
            blocked: Vec::new(),
            unacked: 0,
            written: 0,
            credit: peer.window_bytes,
            consumed: 0,
            opened: [0; 2],
            allowed: peer.streams,
            refused: [false; 2],
            seen: [0; 2],
            granted: limits.streams,
            owes_feedback: false,
            closing: None,
        }
    }

    fn is_open(&self) -> bool {
        matches!(self.phase, Phase::AwaitingControl | Phase::Up)
    }

    fn heard(&mut self) {
        let heard = Input::Heard(self.path);
        if self.phase == Phase::Up && self.inputs.back() != Some(&heard) {
            self.inputs.push_back(heard);
        }
    }

    fn go_down(&mut self, cause: DownCause) {
        if self.is_open() {
            // A server session that was never told of the connection is told of its end all the
            // same: it exists from the handshake on.
            self.phase = Phase::Down;
            self.blocked.clear();
            self.inputs.push_back(Input::PathDown {
                path: self.path,
                cause,
            });
        }
    }
}

impl Carrier {
    fn is_over(&self) -> bool {
        self.flows.iter().flatten().all(Flow::is_over)
    }
}

//! QUIC connections in memory: what the session layer is driven by instead of QUIC.
//!
//! Owns connections, their carriers, buffers, windows and stream credit, and hands out what is on
//! its way as [`Parcel`]s that the caller delivers in any order. Semantics are those of
//! [`Carriers`](crate::carrier::Carriers), read as strictly as its words allow: a wakeup that is not
//! promised is not given. Never sees a session or a clock.

mod conn;
mod flow;
mod port;
mod tests;

use std::collections::BTreeMap;

use crate::carrier::{DownCause, Input};
use crate::ids::{ByteRange, CarrierId, PathId};

use super::rng::SplitMix;
use conn::{Blocked, Conn, End, direction};
use flow::{Flow, Sending};

pub(super) use conn::Phase;
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

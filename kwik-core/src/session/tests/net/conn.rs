//! One connection: its two ends, and what passes between them.
//!
//! Owns buffers, windows, stream credit and the inputs that follow from each arrival. Never decides
//! what arrives next.

use std::collections::{BTreeMap, VecDeque};

use super::flow::{Flow, Receiving, Sending};
use super::{CONTROL, EndLimits, Item, Side};
use crate::carrier::{DownCause, Input};
use crate::ids::{CarrierId, PathId};

/// One connection.
pub(super) struct Conn {
    pub(super) ends: [End; 2],
    pub(super) carriers: BTreeMap<u64, Carrier>,
    pub(super) exporter: [u8; 32],
    /// Nothing passes.
    pub(super) cut: bool,
}

/// What one end of a connection knows.
pub(super) struct End {
    /// What its session calls the connection.
    pub(super) path: PathId,
    pub(super) limits: EndLimits,
    pub(super) phase: Phase,
    pub(super) inputs: VecDeque<Input>,
    /// Carriers whose last write came up short, in the order in which they blocked.
    pub(super) blocked: Vec<Blocked>,
    /// Bytes written that are not known to have arrived.
    pub(super) unacked: u64,
    /// Bytes written on all carriers, and how many the peer's window allows.
    pub(super) written: u64,
    pub(super) credit: u64,
    /// Bytes whose window goes back to the peer.
    pub(super) consumed: u64,
    /// Streams that this end opened, may open as it knows, and was refused; by direction.
    pub(super) opened: [u64; 2],
    pub(super) allowed: [u64; 2],
    pub(super) refused: [bool; 2],
    /// Streams of the peer that were reported, and that the peer may open.
    pub(super) seen: [u64; 2],
    pub(super) granted: [u64; 2],
    /// Something for the next [`Item::Feedback`] toward the peer.
    pub(super) owes_feedback: bool,
    /// The close that has not reached the peer.
    pub(super) closing: Option<u64>,
}

/// Where an end is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Phase {
    /// A server whose client has not opened the control carrier.
    AwaitingControl,
    Up,
    /// Lost: nothing more comes.
    Down,
    /// Closed by its session, which wants to hear nothing more.
    Forgotten,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Blocked {
    pub(super) stream: u64,
    /// The short write was one of control.
    pub(super) control: bool,
}

/// A QUIC stream.
pub(super) struct Carrier {
    /// By the side toward which the bytes go.
    pub(super) flows: [Option<Flow>; 2],
    /// Its place in the stream limit was given back.
    pub(super) freed: bool,
}

/// The side that opened a QUIC stream (RFC 9000 §2.1).
pub(super) const fn opener(stream: u64) -> Side {
    if stream & 1 == 0 {
        Side::Client
    } else {
        Side::Server
    }
}

/// 0 for bidirectional, 1 for unidirectional.
pub(super) const fn direction(stream: u64) -> usize {
    (stream >> 1 & 1) as usize
}

impl Conn {
    pub(super) fn end(&mut self, side: Side) -> &mut End {
        &mut self.ends[side.index()]
    }

    pub(super) fn open(&mut self, side: Side, direction: usize) -> Option<u64> {
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

    pub(super) fn items(&self, toward: Side) -> Vec<(i32, Item)> {
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
    pub(super) fn deliver_end(
        &mut self,
        toward: Side,
        stream: u64,
        change: impl FnOnce(&mut Flow) -> u64,
    ) {
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
    pub(super) fn show(&mut self, toward: Side, stream: u64) {
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

    pub(super) fn deliver_stop(&mut self, toward: Side, stream: u64) {
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
    pub(super) fn deliver_feedback(&mut self, toward: Side) {
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

    pub(super) fn deliver_close(&mut self, toward: Side) {
        let Some(code) = self.end(toward.other()).closing.take() else {
            return;
        };
        self.end(toward).go_down(DownCause::ClosedByPeer(code));
    }

    /// Gives the place of a carrier back to its opener once it is over for the other side.
    pub(super) fn free(&mut self, stream: u64) {
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
    pub(super) fn carrier(&mut self, side: Side, stream: u64) -> Option<&mut Carrier> {
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

    pub(super) fn poll_writable(&mut self, side: Side) -> Option<Input> {
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
    pub(super) fn room(&self, side: Side, stream: u64, control: bool) -> Option<u64> {
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
    pub(super) fn new(path: PathId, limits: EndLimits, peer: EndLimits, phase: Phase) -> Self {
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

    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::AwaitingControl | Phase::Up)
    }

    pub(super) fn heard(&mut self) {
        let heard = Input::Heard(self.path);
        if self.phase == Phase::Up && self.inputs.back() != Some(&heard) {
            self.inputs.push_back(heard);
        }
    }

    pub(super) fn go_down(&mut self, cause: DownCause) {
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
    pub(super) fn is_over(&self) -> bool {
        self.flows.iter().flatten().all(Flow::is_over)
    }
}

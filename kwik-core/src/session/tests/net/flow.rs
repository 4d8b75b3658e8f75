//! One direction of a carrier: what its writer knows, what has arrived, what its reader took.
//!
//! Owns the two halves of a QUIC stream in one direction and the RFC 9000 §3 states of both. Never
//! sees a connection: buffers, windows and events that several carriers share are `super`'s.

use std::collections::BTreeMap;

use bytes::{Buf as _, Bytes};

use crate::carrier::{CarrierEnd, Order, ReadState};
use crate::ids::ByteRange;
use crate::ranges::RangeSet;

/// One direction of a carrier.
pub(super) struct Flow {
    pub(super) out: Outgoing,
    pub(super) inc: Incoming,
}

/// What the writer of a flow knows.
pub(super) struct Outgoing {
    pub(super) state: Sending,
    /// Written bytes that have not all arrived, by offset.
    chunks: BTreeMap<u64, Bytes>,
    pub(super) written: u64,
    /// Bytes that the writer knows have arrived.
    pub(super) acked: u64,
    /// One past the last offset that the reader's window allows.
    pub(super) credit: u64,
    /// The reader asked for no more.
    pub(super) stopped: Option<u64>,
    pub(super) priority: i32,
}

/// The sending half of RFC 9000 §3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sending {
    Open,
    Finished,
    Reset(u64),
    /// All of it arrived, and the writer knows.
    Done,
}

/// What has arrived of a flow, and what its reader knows.
pub(super) struct Incoming {
    pub(super) state: Receiving,
    pub(super) arrived: RangeSet,
    /// The final size, once the FIN arrived.
    pub(super) size: Option<u64>,
    /// The reset that arrived.
    pub(super) reset: Option<u64>,
    unread: BTreeMap<u64, Bytes>,
    /// The next offset of an ordered read.
    next: u64,
    order: Order,
    /// The last read came up short: the reader is told of the next arrival.
    pub(super) armed: bool,
    /// Bytes whose window went back to the writer: read, dropped, or never to come.
    pub(super) consumed: u64,
    /// A stop that has not reached the writer.
    pub(super) stop: Option<u64>,
}

/// The receiving half of RFC 9000 §3.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receiving {
    Open,
    /// The reader wants no more; the end has not arrived.
    Stopped,
    Done,
}

impl Flow {
    pub(super) fn new(credit: u64, armed: bool) -> Self {
        Self {
            out: Outgoing {
                state: Sending::Open,
                chunks: BTreeMap::new(),
                written: 0,
                acked: 0,
                credit,
                stopped: None,
                priority: 0,
            },
            inc: Incoming {
                state: Receiving::Open,
                arrived: RangeSet::new(),
                size: None,
                reset: None,
                unread: BTreeMap::new(),
                next: 0,
                order: Order::Ordered,
                armed,
                consumed: 0,
                stop: None,
            },
        }
    }

    /// What was written and has not arrived.
    pub(super) fn missing(&self) -> RangeSet {
        match self.out.state {
            Sending::Open | Sending::Finished if self.inc.arrived.bytes() < self.out.written => {
                let all = ByteRange::new(0, self.out.written).expect("below the limit");
                self.inc.arrived.missing_in(all)
            }
            Sending::Open | Sending::Finished | Sending::Reset(_) | Sending::Done => {
                RangeSet::new()
            }
        }
    }

    pub(super) fn fin_is_due(&self) -> bool {
        self.out.state == Sending::Finished && self.inc.size.is_none()
    }

    pub(super) fn reset_is_due(&self) -> bool {
        matches!(self.out.state, Sending::Reset(_)) && self.inc.reset.is_none()
    }

    /// Nothing more happens in this direction.
    pub(super) fn is_over(&self) -> bool {
        let sent = match self.out.state {
            Sending::Open | Sending::Finished => false,
            Sending::Reset(_) => self.inc.reset.is_some(),
            Sending::Done => true,
        };
        sent && self.inc.state == Receiving::Done
    }

    /// `range` arrives; says how much window it gives back at once.
    pub(super) fn arrive(&mut self, range: ByteRange) -> u64 {
        let pieces = self.out.slice(range);
        let new = self.inc.arrived.insert(range);
        assert_eq!(new, range.len(), "QUIC hands over each byte once");
        let arrived = &self.inc.arrived;
        self.out.chunks.retain(|&start, chunk| {
            !arrived.contains(ByteRange::with_len(start, chunk.len() as u64).expect("in bounds"))
        });
        match self.inc.state {
            Receiving::Open => {
                self.inc.unread.extend(pieces);
                0
            }
            Receiving::Stopped => self.inc.give_back(new),
            // All of it was given back with the end.
            Receiving::Done => 0,
        }
    }

    /// The FIN arrives; says how much window it gives back.
    pub(super) fn arrive_fin(&mut self) -> u64 {
        self.inc.size = Some(self.out.written);
        if self.inc.state != Receiving::Stopped {
            return 0;
        }
        self.inc.state = Receiving::Done;
        self.inc.give_back(self.out.written - self.inc.consumed)
    }

    /// The reset arrives; says how much window it gives back.
    pub(super) fn arrive_reset(&mut self, code: u64) -> u64 {
        self.inc.reset = Some(code);
        if self.inc.state == Receiving::Done || self.inc.is_complete() {
            return 0;
        }
        self.inc.unread.clear();
        if self.inc.state == Receiving::Stopped {
            self.inc.state = Receiving::Done;
        }
        self.inc.give_back(self.out.written - self.inc.consumed)
    }

    /// The writer hears what has arrived; the bytes that are newly known to.
    pub(super) fn acknowledge(&mut self) -> u64 {
        match self.out.state {
            Sending::Open | Sending::Finished => {
                let new = self.inc.arrived.bytes() - self.out.acked;
                self.out.acked += new;
                new
            }
            Sending::Reset(_) | Sending::Done => 0,
        }
    }

    /// Whether the writer has just learnt that everything arrived.
    pub(super) fn settle_finished(&mut self) -> bool {
        let all = self.out.state == Sending::Finished
            && self.inc.size.is_some()
            && self.out.acked == self.out.written;
        if all {
            self.out.state = Sending::Done;
        }
        all
    }
}

impl Outgoing {
    /// Whether writing is possible at all.
    pub(super) fn check(&self) -> Result<(), CarrierEnd> {
        match (self.state, self.stopped) {
            (Sending::Open, None) => Ok(()),
            (Sending::Open | Sending::Finished, Some(code)) => Err(CarrierEnd::Stopped(code)),
            (Sending::Finished, None) | (Sending::Reset(_) | Sending::Done, _) => {
                Err(CarrierEnd::Gone)
            }
        }
    }

    pub(super) fn push(&mut self, chunk: Bytes) {
        let at = self.written;
        self.written += chunk.len() as u64;
        if !chunk.is_empty() {
            self.chunks.insert(at, chunk);
        }
    }

    /// Drops what was written; the bytes that no longer wait for an acknowledgement.
    pub(super) fn reset(&mut self, code: u64) -> u64 {
        self.state = Sending::Reset(code);
        self.chunks.clear();
        self.written - self.acked
    }

    /// What was written first, in one piece.
    pub(super) fn head(&self) -> Bytes {
        self.chunks.values().next().cloned().unwrap_or_default()
    }

    fn slice(&self, range: ByteRange) -> Vec<(u64, Bytes)> {
        let mut found = Vec::new();
        for (&start, chunk) in self.chunks.range(..range.end()).rev() {
            let whole = ByteRange::with_len(start, chunk.len() as u64).expect("in bounds");
            let part = whole.intersection(range);
            if part.is_empty() {
                break;
            }
            let (from, to) = (part.start() - start, part.end() - start);
            found.push((part.start(), chunk.slice(index(from)..index(to))));
        }
        let bytes: u64 = found.iter().map(|(_, part)| part.len() as u64).sum();
        assert_eq!(bytes, range.len(), "only written bytes arrive");
        found
    }
}

impl Incoming {
    /// Everything up to the FIN has arrived.
    pub(super) fn is_complete(&self) -> bool {
        self.size.is_some_and(|size| self.arrived.bytes() == size)
    }

    /// Hands over what has arrived. The end is told exactly once.
    pub(super) fn read(
        &mut self,
        order: Order,
        max: usize,
        sink: &mut dyn FnMut(u64, Bytes) -> std::ops::ControlFlow<()>,
    ) -> (Result<ReadState, CarrierEnd>, u64) {
        if self.state != Receiving::Open {
            return (Err(CarrierEnd::Gone), 0);
        }
        assert!(
            order == Order::Any || self.order == Order::Ordered,
            "a carrier that was read in any order can never be read in order again"
        );
        self.order = order;
        if let (Some(code), false) = (self.reset, self.is_complete()) {
            self.state = Receiving::Done;
            return (Err(CarrierEnd::Reset(code)), 0);
        }
        let (mut left, mut read) = (max, 0);
        let state = loop {
            if left == 0 {
                break ReadState::More;
            }
            let Some((at, chunk)) = self.take(left) else {
                break self.exhausted();
            };
            left -= chunk.len();
            read += chunk.len() as u64;
            if sink(at, chunk).is_break() {
                break ReadState::More;
            }
        };
        (Ok(state), self.give_back(read))
    }

    /// The next chunk of at most `max` bytes.
    fn take(&mut self, max: usize) -> Option<(u64, Bytes)> {
        let entry = self.unread.first_entry()?;
        let at = *entry.key();
        if self.order == Order::Ordered && at != self.next {
            return None;
        }
        let chunk = if entry.get().len() > max {
            let head = entry.get().slice(..max);
            let mut tail = entry.remove();
            tail.advance(max);
            self.unread.insert(at + max as u64, tail);
            head
        } else {
            entry.remove()
        };
        self.next = at + chunk.len() as u64;
        Some((at, chunk))
    }

    fn exhausted(&mut self) -> ReadState {
        if self.is_complete() && self.unread.is_empty() {
            self.state = Receiving::Done;
            return ReadState::Finished;
        }
        self.armed = true;
        ReadState::Blocked
    }

    /// The reader wants no more. Says how much window that gives back.
    pub(super) fn stop(&mut self, code: u64) -> u64 {
        if self.state != Receiving::Open {
            return 0;
        }
        self.unread.clear();
        let complete = self.is_complete();
        // Once the end is known, nothing that still arrives matters.
        if let Some(end) = self.size.or(self.reset.map(|_| self.consumed)) {
            self.state = Receiving::Done;
            let rest = end - self.consumed;
            self.stop = (!complete && self.reset.is_none()).then_some(code);
            return self.give_back(rest);
        }
        let unread = self.arrived.bytes() - self.consumed;
        self.state = Receiving::Stopped;
        self.stop = Some(code);
        self.give_back(unread)
    }

    fn give_back(&mut self, bytes: u64) -> u64 {
        self.consumed += bytes;
        bytes
    }
}

pub(super) fn index(value: u64) -> usize {
    usize::try_from(value).expect("fits into memory")
}

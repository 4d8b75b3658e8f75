//! What one session may do to its connections: the in-memory [`Carriers`].

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use bytes::Bytes;

use super::flow::{Receiving, Sending};
use super::{Blocked, Conn, ConnId, Net, Phase, Side};
use crate::carrier::{CarrierEnd, Carriers, Order, PathStats, ReadState};
use crate::ids::{CarrierId, PathId};

/// The round-trip time that sessions are told.
pub(in super::super) const RTT: Duration = Duration::from_millis(20);

/// The connections of one session.
pub(in super::super) struct Port<'a> {
    net: &'a mut Net,
    paths: &'a BTreeMap<PathId, ConnId>,
    side: Side,
}

impl<'a> Port<'a> {
    pub(in super::super) fn new(
        net: &'a mut Net,
        paths: &'a BTreeMap<PathId, ConnId>,
        side: Side,
    ) -> Self {
        Self { net, paths, side }
    }

    fn conn(&mut self, path: PathId) -> Result<&mut Conn, CarrierEnd> {
        let id = self.paths.get(&path).ok_or(CarrierEnd::Gone)?;
        let conn = &mut self.net.conns[id.0];
        match conn.end(self.side).phase {
            Phase::Up => Ok(conn),
            Phase::AwaitingControl | Phase::Down | Phase::Forgotten => Err(CarrierEnd::Gone),
        }
    }

    fn open(&mut self, path: PathId, direction: usize) -> Result<Option<CarrierId>, CarrierEnd> {
        let side = self.side;
        let stream = self.conn(path)?.open(side, direction);
        Ok(stream.map(|stream| CarrierId { path, stream }))
    }

    fn write_as(
        &mut self,
        carrier: CarrierId,
        data: &mut Bytes,
        control: bool,
    ) -> Result<usize, CarrierEnd> {
        let (side, stream) = (self.side, carrier.stream);
        let mut mischief = self.net.mischief.take();
        let result = self.conn(carrier.path).and_then(|conn| {
            let flow = conn
                .carrier(side, stream)
                .and_then(|carrier| carrier.flows[side.other().index()].as_mut());
            flow.ok_or(CarrierEnd::Gone)?.out.check()?;
            let room = conn.room(side, stream, control).ok_or(CarrierEnd::Gone)?;
            let mut take = usize::try_from(room).unwrap_or(usize::MAX).min(data.len());
            if let Some(rng) = &mut mischief {
                take = rng.shorten(take);
            }
            conn.write(side, stream, data.split_to(take));
            let blocked = Blocked { stream, control };
            let end = conn.end(side);
            if !data.is_empty() && !end.blocked.contains(&blocked) {
                end.blocked.push(blocked);
            }
            Ok(take)
        });
        self.net.mischief = mischief;
        result
    }
}

impl Conn {
    fn write(&mut self, side: Side, stream: u64, chunk: Bytes) {
        let end = self.end(side);
        end.written += chunk.len() as u64;
        end.unacked += chunk.len() as u64;
        let flow = self
            .carriers
            .get_mut(&stream)
            .and_then(|carrier| carrier.flows[side.other().index()].as_mut());
        if let Some(flow) = flow {
            flow.out.push(chunk);
        }
    }
}

impl Carriers for Port<'_> {
    fn open_bidi(&mut self, path: PathId) -> Result<Option<CarrierId>, CarrierEnd> {
        self.open(path, 0)
    }

    fn open_uni(&mut self, path: PathId) -> Result<Option<CarrierId>, CarrierEnd> {
        self.open(path, 1)
    }

    fn write(&mut self, carrier: CarrierId, data: &mut Bytes) -> Result<usize, CarrierEnd> {
        self.write_as(carrier, data, false)
    }

    fn write_control(&mut self, carrier: CarrierId, data: &mut Bytes) -> Result<usize, CarrierEnd> {
        self.write_as(carrier, data, true)
    }

    fn finish(&mut self, carrier: CarrierId) -> Result<(), CarrierEnd> {
        let side = self.side;
        let conn = self.conn(carrier.path)?;
        let known = conn.carrier(side, carrier.stream).ok_or(CarrierEnd::Gone)?;
        let flow = known.flows[side.other().index()]
            .as_mut()
            .ok_or(CarrierEnd::Gone)?;
        flow.out.check()?;
        flow.out.state = Sending::Finished;
        Ok(())
    }

    fn reset(&mut self, carrier: CarrierId, code: u64) {
        let side = self.side;
        let Ok(conn) = self.conn(carrier.path) else {
            return;
        };
        let Some(known) = conn.carrier(side, carrier.stream) else {
            return;
        };
        let Some(flow) = known.flows[side.other().index()].as_mut() else {
            return;
        };
        if matches!(flow.out.state, Sending::Open | Sending::Finished) {
            let dropped = flow.out.reset(code);
            let end = conn.end(side);
            end.unacked -= dropped;
            end.blocked
                .retain(|blocked| blocked.stream != carrier.stream);
        }
    }

    fn stop(&mut self, carrier: CarrierId, code: u64) {
        let side = self.side;
        let Ok(conn) = self.conn(carrier.path) else {
            return;
        };
        let Some(known) = conn.carrier(side, carrier.stream) else {
            return;
        };
        let Some(flow) = known.flows[side.index()].as_mut() else {
            return;
        };
        let given_back = flow.inc.stop(code);
        let end = conn.end(side);
        end.consumed += given_back;
        end.owes_feedback |= given_back > 0;
        conn.free(carrier.stream);
    }

    fn set_priority(&mut self, carrier: CarrierId, priority: i32) {
        let side = self.side;
        let Ok(conn) = self.conn(carrier.path) else {
            return;
        };
        let Some(known) = conn.carrier(side, carrier.stream) else {
            return;
        };
        if let Some(flow) = known.flows[side.other().index()].as_mut() {
            flow.out.priority = priority;
        }
    }

    fn read(
        &mut self,
        carrier: CarrierId,
        order: Order,
        max: usize,
        sink: &mut dyn FnMut(u64, Bytes) -> ControlFlow<()>,
    ) -> Result<ReadState, CarrierEnd> {
        let (side, lenient) = (self.side, self.net.reads_after_down);
        let id = self.paths.get(&carrier.path).ok_or(CarrierEnd::Gone)?;
        let conn = &mut self.net.conns[id.0];
        match conn.end(side).phase {
            Phase::Up => {}
            Phase::Down if lenient => {}
            Phase::AwaitingControl | Phase::Down | Phase::Forgotten => {
                return Err(CarrierEnd::Gone);
            }
        }
        let known = conn.carrier(side, carrier.stream).ok_or(CarrierEnd::Gone)?;
        let flow = known.flows[side.index()].as_mut().ok_or(CarrierEnd::Gone)?;
        let (state, given_back) = flow.inc.read(order, max, sink);
        let done = flow.inc.state == Receiving::Done;
        let end = conn.end(side);
        end.consumed += given_back;
        end.owes_feedback |= given_back > 0;
        if done {
            conn.free(carrier.stream);
        }
        state
    }

    fn path_stats(&self, path: PathId) -> Option<PathStats> {
        let conn = &self.net.conns[self.paths.get(&path)?.0];
        let end = &conn.ends[self.side.index()];
        (end.phase == Phase::Up).then_some(PathStats {
            rtt: RTT,
            pto: RTT * 3,
            lost_packets: 0,
            sent_bytes: end.written,
            received_bytes: conn.ends[self.side.other().index()].written,
        })
    }
}

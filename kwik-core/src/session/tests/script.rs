//! An end of a connection that is played by a test: it speaks QUIC honestly and KWIK as it likes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;

use bytes::Bytes;

use crate::carrier::{CarrierEnd, Carriers, DownCause, Input, Now, Order, Output, ReadState};
use crate::ids::{CarrierId, PathId};
use crate::wire::{ControlFrame, Decoder, SegmentHeader};

/// A hand-played end. It reads everything at once and remembers it.
#[derive(Default)]
pub(super) struct Script {
    links: BTreeMap<PathId, Link>,
    received: BTreeMap<CarrierId, Received>,
    /// What QUIC has not taken yet.
    unsent: BTreeMap<CarrierId, VecDeque<Bytes>>,
    /// Carriers that end behind what is unsent.
    ending: BTreeSet<CarrierId>,
    outputs: VecDeque<Output>,
    /// Carriers that the peer stopped, and that this end reset therefore.
    pub(super) stopped: Vec<(CarrierId, u64)>,
    /// Whether stopped carriers are reset, as they should be.
    pub(super) keeps_stopped: bool,
}

/// One connection of a hand-played end.
#[derive(Default)]
struct Link {
    exporter: [u8; 32],
    decoder: Decoder,
    frames: VecDeque<ControlFrame>,
    down: Option<DownCause>,
}

/// What came on a carrier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Received {
    /// By carrier offset.
    pub(super) chunks: BTreeMap<u64, Bytes>,
    pub(super) end: Option<Result<(), CarrierEnd>>,
}

impl Script {
    pub(super) fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(super) fn handle(&mut self, _: Now, input: Input, carriers: &mut dyn Carriers) {
        match input {
            Input::PathUp { path, exporter, .. } => {
                self.links.insert(
                    path,
                    Link {
                        exporter,
                        ..Link::default()
                    },
                );
            }
            Input::PathDown { path, cause } => {
                self.links.entry(path).or_default().down = Some(cause);
            }
            Input::Opened(carrier) | Input::Readable(carrier) => self.read(carrier, carriers),
            Input::Writable(carrier) => self.flush(carrier, carriers),
            Input::Stopped { carrier, code } => {
                self.stopped.push((carrier, code));
                if !self.keeps_stopped {
                    carriers.reset(carrier, code);
                }
            }
            Input::BidiCredit(_)
            | Input::UniCredit(_)
            | Input::Finished(_)
            | Input::Heard(_)
            | Input::Timeout => {}
        }
    }

    fn read(&mut self, carrier: CarrierId, carriers: &mut dyn Carriers) {
        let received = self.received.entry(carrier).or_default();
        let control = carrier.stream == super::net::CONTROL;
        let link = self.links.entry(carrier.path).or_default();
        let order = if control { Order::Ordered } else { Order::Any };
        let state = carriers.read(carrier, order, usize::MAX, &mut |at, chunk| {
            if control {
                link.decoder.push(chunk);
            } else {
                received.chunks.insert(at, chunk);
            }
            ControlFlow::Continue(())
        });
        match state {
            Ok(ReadState::Finished) => received.end = Some(Ok(())),
            Ok(ReadState::More | ReadState::Blocked) => {}
            Err(end) => received.end = received.end.or(Some(Err(end))),
        }
        while let Some(frame) = link
            .decoder
            .poll_frame()
            .expect("honest sessions send whole frames")
        {
            link.frames.push_back(frame);
        }
    }

    fn flush(&mut self, carrier: CarrierId, carriers: &mut dyn Carriers) {
        let Some(unsent) = self.unsent.get_mut(&carrier) else {
            return;
        };
        while let Some(front) = unsent.front_mut() {
            let control = carrier.stream == super::net::CONTROL;
            let written = if control {
                carriers.write_control(carrier, front)
            } else {
                carriers.write(carrier, front)
            };
            match written {
                Ok(_) if front.is_empty() => unsent.pop_front(),
                Ok(_) => return,
                Err(_) => return unsent.clear(),
            };
        }
        if self.ending.remove(&carrier) {
            // A carrier that was stopped meanwhile has ended already.
            let _ = carriers.finish(carrier);
        }
    }

    /// Writes bytes on a carrier, now or as soon as QUIC takes them.
    pub(super) fn write(&mut self, carrier: CarrierId, bytes: Bytes, carriers: &mut dyn Carriers) {
        self.unsent.entry(carrier).or_default().push_back(bytes);
        self.flush(carrier, carriers);
    }

    /// Writes bytes on the control carrier of a connection.
    pub(super) fn write_control(
        &mut self,
        path: PathId,
        bytes: Bytes,
        carriers: &mut dyn Carriers,
    ) {
        let control = CarrierId {
            path,
            stream: super::net::CONTROL,
        };
        self.write(control, bytes, carriers);
    }

    /// Sends a frame on the control carrier of a connection.
    pub(super) fn send(&mut self, path: PathId, frame: &ControlFrame, carriers: &mut dyn Carriers) {
        self.write(
            CarrierId {
                path,
                stream: super::net::CONTROL,
            },
            frame.encode(),
            carriers,
        );
    }

    /// Opens a segment and writes it whole; finished if `fin`.
    pub(super) fn segment(
        &mut self,
        path: PathId,
        header: SegmentHeader,
        body: &Bytes,
        fin: bool,
        carriers: &mut dyn Carriers,
    ) -> CarrierId {
        let carrier = carriers
            .open_uni(path)
            .expect("up")
            .expect("carrier credit");
        self.write(carrier, Bytes::copy_from_slice(&header.encode()), carriers);
        self.write(carrier, body.clone(), carriers);
        if fin {
            self.finish(carrier, carriers);
        }
        carrier
    }

    /// Ends a carrier behind what was written.
    pub(super) fn finish(&mut self, carrier: CarrierId, carriers: &mut dyn Carriers) {
        self.ending.insert(carrier);
        self.unsent.entry(carrier).or_default();
        self.flush(carrier, carriers);
    }

    /// The next frame that came on a connection.
    pub(super) fn next_frame(&mut self, path: PathId) -> Option<ControlFrame> {
        self.links.get_mut(&path)?.frames.pop_front()
    }

    /// All frames that came on a connection since they were last taken.
    pub(super) fn frames(&mut self, path: PathId) -> Vec<ControlFrame> {
        std::iter::from_fn(|| self.next_frame(path)).collect()
    }

    pub(super) fn exporter(&self, path: PathId) -> [u8; 32] {
        self.links
            .get(&path)
            .expect("the connection was made")
            .exporter
    }

    /// Why a connection ended, if it has.
    pub(super) fn down(&self, path: PathId) -> Option<&DownCause> {
        self.links.get(&path)?.down.as_ref()
    }

    /// Every carrier on which something came, but control.
    pub(super) fn carriers(&self) -> Vec<CarrierId> {
        let carriers = self.received.keys().copied();
        carriers
            .filter(|carrier| carrier.stream != super::net::CONTROL)
            .collect()
    }
}

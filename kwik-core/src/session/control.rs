//! The control carrier of one connection: frames in, frames out.
//!
//! Owns the incremental decoder and the frames that QUIC has not taken yet. Never interprets a
//! frame.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use bytes::Bytes;

use crate::carrier::{CarrierEnd, Carriers, Order, ReadState};
use crate::error::Violation;
use crate::ids::CarrierId;
use crate::wire::{ControlFrame, Decoder};

/// Bytes taken off the control carrier at a time: a peer cannot make us buffer more than this and
/// one frame [ERR-6].
const READ_STEP_BYTES: usize = 16 << 10;

/// One control carrier.
pub(crate) struct ControlChannel {
    carrier: CarrierId,
    decoder: Decoder,
    outbox: VecDeque<Bytes>,
    outbox_bytes: usize,
    /// Nothing more comes: the peer ended its half, which no role does in good order [CTL-3].
    ended: bool,
    /// Bytes of frames queued and received.
    bytes: u64,
}

impl ControlChannel {
    pub(crate) fn new(carrier: CarrierId) -> Self {
        Self {
            carrier,
            decoder: Decoder::new(),
            outbox: VecDeque::new(),
            outbox_bytes: 0,
            ended: false,
            bytes: 0,
        }
    }

    pub(crate) fn carrier(&self) -> CarrierId {
        self.carrier
    }

    /// Bytes of all control frames so far, both ways.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes that QUIC has not taken yet.
    pub(crate) fn outbox_bytes(&self) -> usize {
        self.outbox_bytes
    }

    /// Bytes of a frame that has not arrived whole.
    pub(crate) fn partial_bytes(&self) -> usize {
        self.decoder.buffered_bytes()
    }

    /// Sends a frame as soon as QUIC takes it, behind those queued before.
    pub(crate) fn send(&mut self, frame: &ControlFrame, carriers: &mut dyn Carriers) {
        tracing::trace!(carrier = ?self.carrier, frame = frame.name(), "control frame out");
        let bytes = frame.encode();
        self.bytes += bytes.len() as u64;
        self.outbox_bytes += bytes.len();
        self.outbox.push_back(bytes);
        self.flush(carriers);
    }

    /// Hands QUIC what it takes. An end of the carrier is the business of the input that tells it.
    pub(crate) fn flush(&mut self, carriers: &mut dyn Carriers) {
        while let Some(front) = self.outbox.front_mut() {
            let Ok(written) = carriers.write_control(self.carrier, front) else {
                self.outbox.clear();
                self.outbox_bytes = 0;
                return;
            };
            self.outbox_bytes -= written;
            if !front.is_empty() {
                return;
            }
            self.outbox.pop_front();
        }
    }

    /// The next frame that has arrived whole. Whether our own frames find room is never asked: two
    /// ends that wait for each other would wait for ever [CTL-11].
    ///
    /// # Errors
    ///
    /// A frame that cannot be decoded, or the end of the carrier.
    pub(crate) fn poll_frame(
        &mut self,
        carriers: &mut dyn Carriers,
    ) -> Result<Option<ControlFrame>, Violation> {
        loop {
            if let Some(frame) = self.decoder.poll_frame()? {
                tracing::trace!(carrier = ?self.carrier, frame = frame.name(), "control frame in");
                return Ok(Some(frame));
            }
            if self.ended {
                return Err(Violation::Unexpected("end of the control carrier"));
            }
            if !self.fill(carriers) {
                return Ok(None);
            }
        }
    }

    /// Takes some bytes off the carrier; false if there are none.
    fn fill(&mut self, carriers: &mut dyn Carriers) -> bool {
        let (decoder, mut filled) = (&mut self.decoder, 0);
        let state = carriers.read(
            self.carrier,
            Order::Ordered,
            READ_STEP_BYTES,
            &mut |_, chunk| {
                filled += chunk.len();
                decoder.push(chunk);
                ControlFlow::Continue(())
            },
        );
        self.bytes += filled as u64;
        match state {
            Ok(ReadState::More | ReadState::Blocked) | Err(CarrierEnd::Gone) => {}
            Ok(ReadState::Finished) | Err(CarrierEnd::Reset(_) | CarrierEnd::Stopped(_)) => {
                self.ended = true;
            }
        }
        filled > 0 || self.ended
    }
}

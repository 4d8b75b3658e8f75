//! What a client's application sends: the plain halves of its streams, which are QUIC's own.

use bytes::Bytes;

use super::ClientSession;
use super::streams::SendHalf;
use crate::carrier::{CarrierEnd, Carriers};
use crate::error::{Misuse, StreamError};
use crate::event::{ClientEvent, StreamEvent};
use crate::ids::{CarrierId, StreamId};

impl ClientSession {
    /// Takes bytes off the front of `data`. What a client sends is always plain [STR-3].
    pub(crate) fn write(
        &mut self,
        stream: StreamId,
        data: &mut Bytes,
        carriers: &mut dyn Carriers,
    ) -> Result<usize, StreamError> {
        self.check_stream_open()?;
        let entry = self.streams.named(stream)?;
        if entry.send != SendHalf::Open {
            return Err(Misuse::Finished(stream).into());
        }
        match carriers.write(stream.into(), data) {
            Ok(written) => {
                entry.wants_write = !data.is_empty();
                Ok(written)
            }
            Err(end) => Err(self.on_send_ended(stream, end, carriers)),
        }
    }

    /// Ends the sending half behind what was written.
    pub(crate) fn finish(
        &mut self,
        stream: StreamId,
        carriers: &mut dyn Carriers,
    ) -> Result<(), StreamError> {
        self.check_stream_open()?;
        let entry = self.streams.named(stream)?;
        if entry.send != SendHalf::Open {
            return Err(Misuse::Finished(stream).into());
        }
        match carriers.finish(stream.into()) {
            Ok(()) => {
                entry.send = SendHalf::Finished;
                Ok(())
            }
            Err(end) => Err(self.on_send_ended(stream, end, carriers)),
        }
    }

    /// Gives up the sending half.
    pub(crate) fn reset(
        &mut self,
        stream: StreamId,
        code: u64,
        carriers: &mut dyn Carriers,
    ) -> Result<(), Misuse> {
        self.check_open()?;
        let entry = self.streams.named(stream)?;
        if entry.send == SendHalf::Ended {
            return Err(Misuse::Finished(stream));
        }
        entry.send = SendHalf::Ended;
        carriers.reset(stream.into(), code);
        self.forget_if_ended(stream);
        Ok(())
    }

    /// The primary stopped the sending half, which owes a reset then [STR-4], or it is gone.
    fn on_send_ended(
        &mut self,
        stream: StreamId,
        end: CarrierEnd,
        carriers: &mut dyn Carriers,
    ) -> StreamError {
        if let Some(entry) = self.streams.get_mut(stream) {
            entry.send = SendHalf::Ended;
        }
        self.forget_if_ended(stream);
        match end {
            CarrierEnd::Stopped(code) => {
                carriers.reset(stream.into(), code);
                StreamError::Stopped(code)
            }
            CarrierEnd::Reset(_) | CarrierEnd::Gone => Misuse::UnknownStream(stream).into(),
        }
    }

    pub(super) fn on_stream_writable(&mut self, carrier: CarrierId) {
        let stream = StreamId(carrier.stream);
        if let Some(entry) = self.streams.get_mut(stream)
            && std::mem::take(&mut entry.wants_write)
        {
            self.events
                .push_back(ClientEvent::Stream(StreamEvent::Writable(stream)));
        }
    }

    /// The primary wants no more of what we send: a reset is owed [STR-4].
    pub(super) fn on_stream_stopped(
        &mut self,
        carrier: CarrierId,
        code: u64,
        carriers: &mut dyn Carriers,
    ) {
        let stream = StreamId(carrier.stream);
        let Some(entry) = self.streams.get_mut(stream) else {
            return;
        };
        if entry.send != SendHalf::Ended {
            entry.send = SendHalf::Ended;
            carriers.reset(carrier, code);
            self.events
                .push_back(ClientEvent::Stream(StreamEvent::Stopped { stream, code }));
            self.forget_if_ended(stream);
        }
    }

    /// All that we sent has arrived.
    pub(super) fn on_stream_finished(&mut self, carrier: CarrierId) {
        let stream = StreamId(carrier.stream);
        let Some(entry) = self.streams.get_mut(stream) else {
            return;
        };
        if entry.send == SendHalf::Finished {
            entry.send = SendHalf::Ended;
            self.events
                .push_back(ClientEvent::Stream(StreamEvent::Finished(stream)));
            self.forget_if_ended(stream);
        }
    }
}

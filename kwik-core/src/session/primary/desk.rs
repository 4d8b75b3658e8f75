//! What a session says: frames to the client, events to the application, outputs to the endpoint.
//!
//! Owns the control channel, both queues and how the session ended. Never decides anything.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::carrier::{Carriers, Output};
use crate::config::ServerConfig;
use crate::error::{CloseReason, Misuse, StreamError, Violation};
use crate::event::{PathEvent, PrimaryEvent, StreamEvent};
use crate::ids::{PathId, SessionId};
use crate::session::ServerContext;
use crate::session::control::ControlChannel;
use crate::wire::ControlFrame;

pub(super) struct Desk {
    pub(super) context: Arc<ServerContext>,
    pub(super) session: SessionId,
    pub(super) control: ControlChannel,
    events: VecDeque<PrimaryEvent>,
    outputs: VecDeque<Output>,
    closed: Option<CloseReason>,
}

impl Desk {
    pub(super) fn new(
        context: Arc<ServerContext>,
        session: SessionId,
        control: ControlChannel,
    ) -> Self {
        Self {
            context,
            session,
            control,
            events: VecDeque::new(),
            outputs: VecDeque::new(),
            closed: None,
        }
    }

    pub(super) fn config(&self) -> &ServerConfig {
        &self.context.config.server
    }

    pub(super) fn send(&mut self, frame: &ControlFrame, carriers: &mut dyn Carriers) {
        self.control.send(frame, carriers);
    }

    pub(super) fn tell(&mut self, event: PrimaryEvent) {
        self.events.push_back(event);
    }

    pub(super) fn tell_stream(&mut self, event: StreamEvent) {
        self.tell(PrimaryEvent::Stream(event));
    }

    pub(super) fn tell_path(&mut self, event: PathEvent) {
        self.tell(PrimaryEvent::Path(event));
    }

    pub(super) fn poll_event(&mut self) -> Option<PrimaryEvent> {
        self.events.pop_front()
    }

    /// Events that the endpoint has not taken.
    pub(super) fn events_queued(&self) -> usize {
        self.events.len()
    }

    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    /// The connection is to be closed; nothing happens afterwards.
    pub(super) fn close(&mut self, code: u64, reason: CloseReason) {
        if !self.is_closed() {
            self.outputs.push_back(Output::Close {
                path: PathId::PRIMARY,
                code,
            });
            self.on_lost(reason);
        }
    }

    /// The connection is gone.
    pub(super) fn on_lost(&mut self, reason: CloseReason) {
        if !self.is_closed() {
            tracing::debug!(session = %self.session, %reason, "session closed");
            self.tell(PrimaryEvent::Closed(reason.clone()));
            self.closed = Some(reason);
        }
    }

    /// For calls on streams.
    pub(super) fn check_usable(&self) -> Result<(), StreamError> {
        self.closed.as_ref().map_or(Ok(()), |reason| {
            Err(StreamError::SessionLost(reason.clone()))
        })
    }

    /// For calls that are none on a stream.
    pub(super) fn check_open(&self) -> Result<(), Misuse> {
        if self.is_closed() {
            Err(Misuse::Closed)
        } else {
            Ok(())
        }
    }

    /// A client that makes us talk and does not listen could fill the memory [CTL-11].
    pub(super) fn check_unread(&self) -> Result<(), Violation> {
        if self.control.outbox_bytes() > self.config().control_unread_bytes_max {
            return Err(Violation::ExcessiveLoad("control bytes that are not read"));
        }
        Ok(())
    }

    /// Orders wait here for QUIC; the application is not to pile them up.
    pub(super) fn check_order(&self, command_bytes: usize) -> Result<(), Misuse> {
        if command_bytes > self.config().command_max_bytes {
            return Err(Misuse::Limit("bytes of a command"));
        }
        if self.control.outbox_bytes() > self.config().outbox_bytes_max {
            return Err(Misuse::Limit("bytes of unsent orders"));
        }
        Ok(())
    }
}

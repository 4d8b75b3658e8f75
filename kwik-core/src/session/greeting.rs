//! A server connection whose first frame has not come: HELLO makes it a primary's session, JOIN a
//! secondary's [SESS-1].
//!
//! Owns the checks of a join. Holds no more than a bounded list of inputs for the session to come.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::control::ControlChannel;
use super::primary::PrimarySession;
use super::secondary::SecondarySession;
use super::{Cx, ServerContext};
use crate::carrier::{Carriers, Input, Now, Output};
use crate::error::{Violation, code};
use crate::ids::{PathId, SessionId};
use crate::ticket::{JoinError, PeerKey};
use crate::wire::{ControlFrame, Hello, Join, Refused};

/// Inputs kept for the session to come.
const INPUTS_MAX: usize = 1024;

/// A connection that has not said what it is for.
pub(crate) struct Greeting {
    context: Arc<ServerContext>,
    /// Names the session, should it become a primary's.
    session: SessionId,
    control: Option<ControlChannel>,
    exporter: [u8; 32],
    deadline: Instant,
    /// What came before the first frame.
    inputs: Vec<Input>,
    refused: bool,
    closed: bool,
    outputs: VecDeque<Output>,
}

/// What a connection turned out to be.
pub(crate) enum Greeted {
    /// A new session, of which this end is the primary.
    Primary(Box<PrimarySession>),
    /// A client that holds a valid ticket.
    Join(Box<PendingJoin>),
}

/// A join that is proven and not yet accepted.
pub(crate) struct PendingJoin {
    greeting: Greeting,
    control: ControlChannel,
    peer: PeerKey,
    session: SessionId,
    path: PathId,
}

impl Greeting {
    /// `session` is 16 random bytes.
    pub(crate) fn new(now: Now, context: Arc<ServerContext>, session: SessionId) -> Self {
        let deadline = now.monotonic + context.config.server.greeting_max;
        Self {
            context,
            session,
            control: None,
            exporter: [0; 32],
            deadline,
            inputs: Vec::new(),
            refused: false,
            closed: false,
            outputs: VecDeque::new(),
        }
    }

    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        (!self.closed).then_some(self.deadline)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(crate) fn close(&mut self, code: u64) {
        if !std::mem::replace(&mut self.closed, true) {
            self.outputs.push_back(Output::Close {
                path: PathId::PRIMARY,
                code,
            });
        }
    }

    /// Takes in what happened; the connection's purpose, once it is known.
    pub(crate) fn handle(
        &mut self,
        now: Now,
        input: Input,
        carriers: &mut dyn Carriers,
    ) -> Option<Greeted> {
        if self.closed {
            return None;
        }
        match input {
            Input::PathUp {
                control, exporter, ..
            } => {
                self.control = Some(ControlChannel::new(control));
                self.exporter = exporter;
                self.read(now, carriers)
            }
            Input::PathDown { .. } => {
                self.closed = true;
                None
            }
            Input::Readable(carrier) if self.is_control(carrier) => self.read(now, carriers),
            Input::Writable(carrier) if self.is_control(carrier) => {
                self.control
                    .iter_mut()
                    .for_each(|control| control.flush(carriers));
                None
            }
            Input::Timeout => {
                if now.monotonic >= self.deadline {
                    self.close(code::UNEXPECTED);
                }
                None
            }
            Input::Heard(_) | Input::Readable(_) => None,
            Input::Opened(_)
            | Input::Writable(_)
            | Input::BidiCredit(_)
            | Input::UniCredit(_)
            | Input::Stopped { .. }
            | Input::Finished(_) => {
                self.keep(input);
                None
            }
        }
    }

    fn is_control(&self, carrier: crate::ids::CarrierId) -> bool {
        self.control
            .as_ref()
            .is_some_and(|control| control.carrier() == carrier)
    }

    fn keep(&mut self, input: Input) {
        if self.inputs.len() < INPUTS_MAX {
            self.inputs.push(input);
        } else {
            self.close(code::EXCESSIVE_LOAD);
        }
    }

    fn read(&mut self, now: Now, carriers: &mut dyn Carriers) -> Option<Greeted> {
        if self.refused {
            return None;
        }
        match self.control.as_mut()?.poll_frame(carriers) {
            Ok(None) => None,
            Ok(Some(ControlFrame::Hello(hello))) => self.on_hello(now, hello, carriers),
            Ok(Some(ControlFrame::Join(join))) => self.on_join(now, &join, carriers),
            Ok(Some(frame)) => {
                tracing::debug!(
                    frame = frame.name(),
                    "first frame is neither HELLO nor JOIN"
                );
                self.close(code::UNEXPECTED);
                None
            }
            Err(violation) => {
                self.close(violation.code());
                None
            }
        }
    }

    fn on_hello(&mut self, now: Now, hello: Hello, carriers: &mut dyn Carriers) -> Option<Greeted> {
        let control = self.control.take()?;
        let carrier = control.carrier();
        let context = Arc::clone(&self.context);
        let mut session = PrimarySession::new(now, context, self.session, hello, control, carriers);
        for input in std::mem::take(&mut self.inputs) {
            session.handle(now, input, carriers);
        }
        session.handle(now, Input::Readable(carrier), carriers);
        Some(Greeted::Primary(Box::new(session)))
    }

    fn on_join(&mut self, now: Now, join: &Join, carriers: &mut dyn Carriers) -> Option<Greeted> {
        match self.check_join(now, join) {
            Ok(peer) => {
                let control = self.control.take()?;
                Some(Greeted::Join(Box::new(PendingJoin {
                    greeting: self.take(),
                    control,
                    peer,
                    session: join.session,
                    path: join.path,
                })))
            }
            Err(error) => {
                tracing::info!(session = %join.session, path = %join.path, %error, "join refused");
                self.refuse(carriers);
                None
            }
        }
    }

    /// The ticket is this server's, for this client, and of this time [JOIN-4].
    fn check_join(&self, now: Now, join: &Join) -> Result<PeerKey, JoinError> {
        let peer = self.context.peer.clone().ok_or(JoinError::Forged)?;
        let ticket = peer.verify_join(join, &self.exporter)?;
        let skew = self.context.config.server.clock_skew_max;
        ticket.check_time(now.unix_seconds, self.context.started_unix_seconds, skew)?;
        Ok(peer)
    }

    /// REFUSED, with one code for all reasons; the client closes, or the deadline does [JOIN-8].
    fn refuse(&mut self, carriers: &mut dyn Carriers) {
        self.refused = true;
        self.inputs.clear();
        if let Some(control) = &mut self.control {
            control.send(
                &ControlFrame::Refused(Refused {
                    code: Violation::Join.code(),
                }),
                carriers,
            );
        }
    }

    fn take(&mut self) -> Self {
        Self {
            context: Arc::clone(&self.context),
            session: self.session,
            control: None,
            exporter: self.exporter,
            deadline: self.deadline,
            inputs: std::mem::take(&mut self.inputs),
            refused: false,
            closed: false,
            outputs: VecDeque::new(),
        }
    }
}

impl PendingJoin {
    /// What a second join of the same client would name.
    pub(crate) fn key(&self) -> (SessionId, PathId) {
        (self.session, self.path)
    }

    /// JOINED: the session begins.
    pub(crate) fn accept(self, now: Now, carriers: &mut dyn Carriers) -> SecondarySession {
        let carrier = self.control.carrier();
        let cx = &mut Cx { now, carriers };
        let mut session = SecondarySession::new(
            cx,
            Arc::clone(&self.greeting.context),
            &self.peer,
            self.key(),
            self.control,
        );
        for input in self.greeting.inputs {
            session.handle(now, input, cx.carriers);
        }
        session.handle(now, Input::Readable(carrier), cx.carriers);
        session
    }

    /// Another connection of the same client is in use already.
    pub(crate) fn refuse(self, carriers: &mut dyn Carriers) -> Greeting {
        let mut greeting = self.greeting;
        greeting.control = Some(self.control);
        greeting.refuse(carriers);
        greeting
    }
}

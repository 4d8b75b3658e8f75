//! What runs on a host.
//!
//! Owns the joint between a machine of the world and the program on it: [`Node`], anything that takes
//! and gives datagrams, and [`KwikNode`], a real endpoint with an application. Never sees a link or
//! another host.

pub(crate) mod rest;

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kwik_core::config::Config;
use kwik_core::endpoint::{Datagram, Endpoint, ServerIdentity, Transmit};
use kwik_core::event::{Deadline, DeadlineCause, Event};
use kwik_core::ids::SessionHandle;

use self::rest::{EVENTS_PER_ROUND_MAX, LOSS_TIMERS_MAX, Rest};
use crate::app::{Past, doorstep, meddle, poke, stale};
use crate::clock::{Clock, Moment};
use crate::crypto::CryptoMode;

/// Datagrams that one call of `transmit` may give at most, as with segmentation offload.
const DATAGRAMS_PER_TRANSMIT: usize = 10;

/// A program that lives on datagrams and deadlines.
pub trait Node: Any {
    /// A datagram arrived.
    fn receive(&mut self, moment: Moment, datagram: Datagram);
    /// The time given by [`Self::wake_at`] has come, and all datagrams before it were received.
    fn expire(&mut self, moment: Moment);
    /// Lets the application act on what happened.
    fn run(&mut self, moment: Moment);
    /// Something to send, in `buf[..transmit.size]`.
    fn transmit(&mut self, moment: Moment, buf: &mut Vec<u8>) -> Option<Transmit>;
    /// When [`Self::expire`] is to be called, if nothing arrives before.
    fn wake_at(&mut self, clock: &Clock) -> Option<Duration>;
    /// Why the program is not at rest although it has to be: asked after each round, when all that it
    /// had to send was sent. A program that promises nothing has nothing to say.
    fn unrest(&mut self, moment: Moment) -> Option<Unrest> {
        let _ = moment;
        None
    }
}

/// Why a program is not at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unrest {
    /// It was told the time, its application did nothing, all was sent: and a deadline is still due.
    TimerDue {
        /// For so long.
        since: Duration,
    },
    /// Its events do not end.
    EventsWithoutEnd,
}

/// What a program learns when its host starts.
#[derive(Clone, Copy, Debug)]
pub struct Birth {
    /// When.
    pub moment: Moment,
    /// Entropy, another at each start.
    pub entropy: [u8; 32],
    /// The address of the host, as it knows it.
    pub addr: SocketAddr,
}

/// What a host starts, at first and after each crash.
pub type Program = Box<dyn Fn(&Birth) -> Box<dyn Node>>;

/// An application on an endpoint.
pub trait App: Any {
    /// The host has started.
    fn start(&mut self, host: &mut Hosted<'_>);
    /// Something happened to a session.
    fn on_event(&mut self, host: &mut Hosted<'_>, event: Event);
    /// When [`Self::on_alarm`] is to be called.
    fn alarm(&self) -> Option<Duration> {
        None
    }
    /// The time of the alarm has come.
    fn on_alarm(&mut self, host: &mut Hosted<'_>) {
        let _ = host;
    }
    /// Adds to the record of a session what the application itself has ended.
    fn tell_past(&self, session: SessionHandle, past: &mut Past) {
        let _ = (session, past);
    }
}

/// What an application acts on.
pub struct Hosted<'a> {
    /// When it acts.
    pub moment: Moment,
    /// The endpoint of its host.
    pub endpoint: &'a mut Endpoint,
}

/// A real endpoint and its application.
pub struct KwikNode {
    endpoint: Endpoint,
    app: Box<dyn App>,
    is_started: bool,
    rest: Rest,
    has_endless_events: bool,
    /// Every session that there ever was, and what is over in it as far as events tell.
    sessions: BTreeMap<SessionHandle, Past>,
    /// The address of the host, as it knows it.
    addr: SocketAddr,
}

impl fmt::Debug for KwikNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KwikNode").finish_non_exhaustive()
    }
}

impl KwikNode {
    /// A program that starts an endpoint and a fresh application on it.
    ///
    /// # Panics
    ///
    /// The program panics at its start if the identity is not one.
    pub fn program<A: App>(
        config: Arc<Config>,
        identity: Option<ServerIdentity>,
        crypto: CryptoMode,
        app: impl Fn() -> A + 'static,
    ) -> Program {
        Box::new(move |birth| {
            let (config, identity) = (Arc::clone(&config), identity.clone());
            let endpoint = crypto
                .endpoint(config, identity, birth)
                .expect("the identities of a world are valid");
            Box::new(Self {
                endpoint,
                app: Box::new(app()),
                is_started: false,
                rest: Rest::default(),
                has_endless_events: false,
                sessions: BTreeMap::new(),
                addr: birth.addr,
            })
        })
    }

    /// The application.
    ///
    /// # Panics
    ///
    /// If it is another one.
    #[must_use]
    pub fn app<A: App>(&self) -> &A {
        let app: &dyn Any = &*self.app;
        app.downcast_ref().expect("the application has this type")
    }

    /// The application and the endpoint, to act as the application.
    ///
    /// # Panics
    ///
    /// If it is another application.
    pub fn app_mut<A: App>(&mut self, moment: Moment) -> (&mut A, Hosted<'_>) {
        let app: &mut dyn Any = &mut *self.app;
        let app = app.downcast_mut().expect("the application has this type");
        let endpoint = &mut self.endpoint;
        (app, Hosted { moment, endpoint })
    }

    /// The endpoint, to act as if there were another application.
    pub fn hosted(&mut self, moment: Moment) -> Hosted<'_> {
        let endpoint = &mut self.endpoint;
        Hosted { moment, endpoint }
    }

    /// Makes calls that an application has no business to make: on every session that there ever was,
    /// with names that nothing has and with those of what is over, and on the endpoint.
    pub fn poke(&mut self, moment: Moment, ordinal: u64) {
        for (session, past) in self.pasts() {
            poke::everything(&mut self.endpoint, moment, session, ordinal);
            stale::everything(&mut self.endpoint, moment, session, &past);
        }
        doorstep::everything(&mut self.endpoint, moment, ordinal);
    }

    /// Makes calls that are allowed and that nobody expects.
    pub fn meddle(&mut self, moment: Moment, ordinal: u64) {
        for (session, past) in self.pasts() {
            meddle::everything(&mut self.endpoint, moment, session, (&past, ordinal));
        }
        meddle::connect_and_close(&mut self.endpoint, moment, self.addr, ordinal);
    }

    /// What is over in every session that there ever was.
    fn pasts(&self) -> Vec<(SessionHandle, Past)> {
        let mut pasts: Vec<_> = self.sessions.clone().into_iter().collect();
        for (session, past) in &mut pasts {
            self.app.tell_past(*session, past);
        }
        pasts
    }

    /// When the endpoint wants to be called again.
    pub fn poll_timeout(&mut self) -> Option<Deadline> {
        self.endpoint.poll_timeout()
    }

    /// The sessions of which its application was told anything.
    pub fn sessions(&self) -> impl Iterator<Item = SessionHandle> {
        self.sessions.keys().copied()
    }

    /// The endpoint.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl Node for KwikNode {
    fn receive(&mut self, moment: Moment, datagram: Datagram) {
        self.rest.disturb();
        self.endpoint.handle_datagram(moment.now, datagram);
    }

    fn expire(&mut self, moment: Moment) {
        self.rest.on_expiry(moment.time);
        self.endpoint.handle_timeout(moment.now);
    }

    fn run(&mut self, moment: Moment) {
        let mut host = Hosted {
            moment,
            endpoint: &mut self.endpoint,
        };
        if !self.is_started {
            self.is_started = true;
            self.rest.disturb();
            self.app.start(&mut host);
        }
        if self.app.alarm().is_some_and(|at| at <= moment.time) {
            self.rest.disturb();
            self.app.on_alarm(&mut host);
        }
        for _ in 0..EVENTS_PER_ROUND_MAX {
            let Some(event) = host.endpoint.poll_event() else {
                return;
            };
            self.rest.disturb();
            let past = self.sessions.entry(event.session).or_default();
            past.note(&event.kind);
            self.app.on_event(&mut host, event);
        }
        self.has_endless_events = true;
    }

    fn transmit(&mut self, moment: Moment, buf: &mut Vec<u8>) -> Option<Transmit> {
        self.endpoint
            .poll_transmit(moment.now, DATAGRAMS_PER_TRANSMIT, buf)
    }

    fn wake_at(&mut self, clock: &Clock) -> Option<Duration> {
        let alarm = self.app.alarm();
        if !self.is_started {
            return Some(clock.time());
        }
        let timer = self.endpoint.poll_timeout().map(|d| clock.time_of(d.at));
        timer.into_iter().chain(alarm).min()
    }

    fn unrest(&mut self, moment: Moment) -> Option<Unrest> {
        if self.has_endless_events {
            return Some(Unrest::EventsWithoutEnd);
        }
        let deadline = self.endpoint.poll_timeout()?;
        let since = moment.now.monotonic.checked_duration_since(deadline.at)?;
        match deadline.cause {
            // Sending may bring events; the next round hands them to the application.
            DeadlineCause::EventsQueued => None,
            DeadlineCause::Timer => self.rest.judge(since, 0),
            DeadlineCause::Quic => self.rest.judge(since, LOSS_TIMERS_MAX),
        }
    }
}

#[cfg(test)]
mod tests;

//! The part of the endpoint towards the sessions of the world.
//!
//! Owns what a session cannot do for itself: it dials, accepts, closes, probes, and decides between
//! two joins of one client.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Actor, ActorId, DialFate, Later, Role, World};
use crate::carrier::{DialTarget, DownCause, Input, Output};
use crate::error::code;
use crate::ids::{PathId, SessionId};
use crate::session::greeting::{Greeted, Greeting, PendingJoin};
use crate::session::tests::apps::{PrimaryApp, SecondaryApp};
use crate::session::tests::net::{ConnId, Port, RTT, Side};

impl World {
    pub(super) fn tell(&mut self, id: ActorId, input: Input) {
        self.calls += 1;
        let now = self.now_of(id);
        let Actor {
            role, side, paths, ..
        } = &mut self.actors[id.0];
        let port = &mut Port::new(&mut self.net, paths, *side);
        let greeted = match role {
            Role::Client(app) => {
                app.session.handle(now, input, port);
                None
            }
            Role::Primary(app) => {
                app.session.handle(now, input, port);
                None
            }
            Role::Secondary(app) => {
                app.session.handle(now, input, port);
                None
            }
            Role::Script(script) => {
                script.handle(now, input, port);
                None
            }
            Role::Greeting(greeting) => greeting.handle(now, input, port),
        };
        if let Some(greeted) = greeted {
            self.on_greeted(id, greeted);
        }
        self.drain(id);
    }

    pub(super) fn on_greeted(&mut self, id: ActorId, greeted: Greeted) {
        match greeted {
            Greeted::Primary(session) => {
                self.actors[id.0].role = Role::Primary(Box::new(PrimaryApp::new(*session)));
            }
            Greeted::Join(pending) => self.on_join(id, *pending),
        }
    }

    /// A proven join supersedes an older one of the same client until a command was accepted.
    pub(super) fn on_join(&mut self, id: ActorId, pending: PendingJoin) {
        let site = self.actors[id.0].site.expect("servers accept joins");
        let key = pending.key();
        let older = self.living().find_map(|(other, actor)| match &actor.role {
            Role::Secondary(app)
                if actor.site == Some(site) && app.key == key && !app.session.is_closed() =>
            {
                let stays = other > id || app.session.has_accepted_command();
                Some((other, stays))
            }
            Role::Client(_)
            | Role::Greeting(_)
            | Role::Primary(_)
            | Role::Secondary(_)
            | Role::Script(_) => None,
        });
        if let Some((other, false)) = older {
            if let Role::Secondary(app) = &mut self.actors[other.0].role {
                app.session.close(code::PATH_ENDED);
            }
            self.drain(other);
        }
        let now = self.now_of(id);
        let service = self.sites[site].service;
        let Actor {
            role, side, paths, ..
        } = &mut self.actors[id.0];
        let port = &mut Port::new(&mut self.net, paths, *side);
        *role = if matches!(older, Some((_, true))) {
            Role::Greeting(Box::new(pending.refuse(port)))
        } else {
            let session = pending.accept(now, port);
            Role::Secondary(Box::new(SecondaryApp::new(session, key, service)))
        };
    }

    /// Carries out what a session asks for, and hands its events to the application.
    pub(super) fn drain(&mut self, id: ActorId) {
        loop {
            let output = match &mut self.actors[id.0].role {
                Role::Client(app) => {
                    app.take_events();
                    app.session.poll_output()
                }
                Role::Primary(app) => {
                    app.take_events();
                    app.session.poll_output()
                }
                Role::Secondary(app) => {
                    app.take_events();
                    app.session.poll_output()
                }
                Role::Greeting(greeting) => greeting.poll_output(),
                Role::Script(script) => script.poll_output(),
            };
            match output {
                None => return,
                Some(Output::Dial { path, target }) => self.dial(id, path, &target),
                Some(Output::Close { path, code }) => self.close(id, path, code),
                Some(Output::Probe(path)) => self.probe(id, path),
            }
        }
    }

    pub(super) fn dial(&mut self, actor: ActorId, path: PathId, target: &DialTarget) {
        // A redial closes the older connection first.
        self.close(actor, path, code::PATH_ENDED);
        self.sequence += 1;
        let dial = self.sequence;
        self.actors[actor.0].dialing.insert(path, dial);
        let site = self.sites.iter().position(|site| site.addr == target.addr);
        let fate = site.map_or(DialFate::Silence, |site| self.sites[site].dials);
        let fails = |cause| Later::DialFailed {
            actor,
            path,
            dial,
            cause,
        };
        let (after, event) = match (site, fate) {
            (Some(site), _) if self.sites[site].pin != target.pin && fate != DialFate::Silence => {
                (RTT, fails(DownCause::PinMismatch))
            }
            (Some(site), DialFate::Accept) => (
                Duration::ZERO,
                Later::Connected {
                    actor,
                    path,
                    site,
                    dial,
                },
            ),
            (Some(site), DialFate::AcceptAfter(after)) => (
                after,
                Later::Connected {
                    actor,
                    path,
                    site,
                    dial,
                },
            ),
            (_, DialFate::Impostor) => (RTT, fails(DownCause::PinMismatch)),
            (_, DialFate::Refuse) => (RTT, fails(DownCause::Failed("refused".to_owned()))),
            (_, DialFate::Silence | DialFate::Accept | DialFate::AcceptAfter(_)) => {
                (self.config.quic.idle_timeout, fails(DownCause::TimedOut))
            }
        };
        self.schedule(after, event);
    }

    pub(super) fn schedule(&mut self, after: Duration, event: Later) {
        self.sequence += 1;
        self.later
            .insert((self.elapsed + after, self.sequence), event);
    }

    /// Whether a dial is still wanted; it is not afterwards.
    pub(super) fn answers(&mut self, actor: ActorId, path: PathId, dial: u64) -> bool {
        let dialing = &mut self.actors[actor.0].dialing;
        let wanted = dialing.get(&path) == Some(&dial);
        if wanted {
            dialing.remove(&path);
        }
        wanted
    }

    pub(super) fn connect(&mut self, actor: ActorId, path: PathId, site: usize, dial: u64) {
        if !self.answers(actor, path, dial) {
            return;
        }
        let limits = self.limits;
        let client = if site == 0 {
            limits.client_to_primary
        } else {
            limits.client_to_secondary
        };
        let conn = self.net.connect(path, client, limits.server);
        self.actors[actor.0].paths.insert(path, conn);
        self.owners.insert((conn, Side::Client), actor);
        let server = self.accept(site, conn);
        self.owners.insert((conn, Side::Server), server);
        for side in Side::BOTH {
            self.heard.insert((conn, side), self.elapsed);
        }
    }

    pub(super) fn accept(&mut self, site: usize, conn: ConnId) -> ActorId {
        let now = self.now_at(self.sites[site].ahead_seconds);
        let host = &mut self.sites[site];
        host.sessions += 1;
        let mut name = [site.to_le_bytes()[0]; 16];
        name[8..].copy_from_slice(&host.sessions.to_le_bytes());
        let role = if host.scripted {
            Role::Script(Box::default())
        } else {
            let greeting = Greeting::new(now, Arc::clone(&host.context), SessionId(name));
            Role::Greeting(Box::new(greeting))
        };
        let paths = BTreeMap::from([(PathId::PRIMARY, conn)]);
        self.add_actor(role, Side::Server, Some(site), paths)
    }

    pub(super) fn add_actor(
        &mut self,
        role: Role,
        side: Side,
        site: Option<usize>,
        paths: BTreeMap<PathId, ConnId>,
    ) -> ActorId {
        let dialing = BTreeMap::new();
        self.actors.push(Actor {
            role,
            side,
            site,
            paths,
            dialing,
            crashed: false,
        });
        ActorId(self.actors.len() - 1)
    }

    pub(super) fn close(&mut self, id: ActorId, path: PathId, code: u64) {
        let actor = &mut self.actors[id.0];
        // Whoever hears no first frame shows the door and blames nobody: the frame may be lost.
        let in_vain = code == code::UNEXPECTED && matches!(actor.role, Role::Greeting(_));
        if !in_vain && !matches!(code, code::NO_ERROR | code::ENDED | code::PATH_ENDED) {
            self.blamed.push(code);
        }
        actor.dialing.remove(&path);
        if let Some(conn) = actor.paths.remove(&path) {
            self.net.close(conn, actor.side, code);
        }
    }

    pub(super) fn probe(&mut self, id: ActorId, path: PathId) {
        if let Some(&conn) = self.actors[id.0].paths.get(&path) {
            self.schedule(RTT, Later::Heard(conn));
        }
    }
}

impl Actor {
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match &self.role {
            Role::Client(app) => app.session.poll_timeout(),
            Role::Primary(app) => app.session.poll_timeout(),
            // A secondary has no deadlines of its own.
            Role::Secondary(_) | Role::Script(_) => None,
            Role::Greeting(greeting) => greeting.poll_timeout(),
        }
    }
}

//! How a test reaches into the world: the sessions, and what happens between them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use smallvec::smallvec;

use super::{
    Actor, ActorId, DialFate, EPOCH_UNIX_SECONDS, Hold, HoldId, Later, RTT, Role, What, World,
};
use crate::carrier::DownCause;
use crate::error::CloseReason;
use crate::event::{ClientEvent, PrimaryEvent, SecondaryEvent};
use crate::ids::{ByteRange, CarrierId, GrantId, PathId, StreamId};
use crate::path::PathSpec;
use crate::session::tests::apps::{ClientApp, PrimaryApp, SecondaryApp};
use crate::session::tests::net::{CONTROL, ConnId, Item, Parcel, Port, Side};
use crate::session::tests::script::Script;
use crate::session::{Cx, ServerContext};
use crate::wire::ControlFrame;

/// The client is always the first.
pub(in super::super) const CLIENT: ActorId = ActorId(0);

macro_rules! reach {
    ($name:ident, $role:ident, $app:ty, $what:literal) => {
        #[doc = concat!("Lets a test act as ", $what, ".")]
        pub(in super::super) fn $name<R>(
            &mut self,
            id: ActorId,
            act: impl FnOnce(&mut $app, &mut Cx<'_>) -> R,
        ) -> R {
            let now = self.now_of(id);
            let Actor {
                role, side, paths, ..
            } = &mut self.actors[id.0];
            let Role::$role(app) = role else {
                panic!(concat!("not ", $what))
            };
            let port = &mut Port::new(&mut self.net, paths, *side);
            let result = act(
                app,
                &mut Cx {
                    now,
                    carriers: port,
                },
            );
            self.drain(id);
            result
        }
    };
}

// The sessions.
impl World {
    reach!(as_client, Client, ClientApp, "a client");
    reach!(as_primary, Primary, PrimaryApp, "a primary");
    reach!(as_secondary, Secondary, SecondaryApp, "a secondary");
    reach!(as_script, Script, Script, "a hand-played end");

    pub(in super::super) fn client<R>(
        &mut self,
        act: impl FnOnce(&mut ClientApp, &mut Cx<'_>) -> R,
    ) -> R {
        self.as_client(CLIENT, act)
    }

    pub(in super::super) fn primary<R>(
        &mut self,
        act: impl FnOnce(&mut PrimaryApp, &mut Cx<'_>) -> R,
    ) -> R {
        let id = self.newest(0).expect("the client has connected");
        self.as_primary(id, act)
    }

    /// The latest session of a secondary; they count from 1.
    pub(in super::super) fn secondary<R>(
        &mut self,
        site: usize,
        act: impl FnOnce(&mut SecondaryApp, &mut Cx<'_>) -> R,
    ) -> R {
        let id = self.newest(site).expect("the client has connected");
        self.as_secondary(id, act)
    }

    /// The latest session of a site that a test plays by hand, or else the hand-played client.
    pub(in super::super) fn script<R>(
        &mut self,
        site: usize,
        act: impl FnOnce(&mut Script, &mut Cx<'_>) -> R,
    ) -> R {
        let id = self.newest(site).expect("the client has connected");
        self.as_script(id, act)
    }

    pub(in super::super) fn scripted_client<R>(
        &mut self,
        act: impl FnOnce(&mut Script, &mut Cx<'_>) -> R,
    ) -> R {
        self.as_script(CLIENT, act)
    }

    /// The latest session at a site.
    pub(in super::super) fn newest(&self, site: usize) -> Option<ActorId> {
        let at_site = |actor: &Actor| actor.site == Some(site);
        self.actors.iter().rposition(at_site).map(ActorId)
    }

    /// Whether the latest session of a site has joined and is open.
    pub(in super::super) fn is_joined(&self, site: usize) -> bool {
        let role = self.newest(site).map(|id| &self.actors[id.0].role);
        matches!(role, Some(Role::Secondary(app)) if !app.session.is_closed())
    }

    /// How often a session was told something.
    pub(in super::super) fn calls(&self) -> u64 {
        self.calls
    }

    /// How many connections the client is making.
    pub(in super::super) fn dialing(&self) -> usize {
        self.actors[CLIENT.0].dialing.len()
    }

    /// Every connection of the client.
    pub(in super::super) fn conns(&self) -> Vec<(PathId, ConnId)> {
        self.actors[CLIENT.0]
            .paths
            .iter()
            .map(|(&path, &conn)| (path, conn))
            .collect()
    }

    /// Those of which both ends are alive and reach each other.
    pub(in super::super) fn living_conns(&self) -> Vec<(PathId, ConnId)> {
        let mut conns = self.conns();
        conns.retain(|&(_, conn)| self.passes(conn));
        conns
    }

    /// What sessions were blamed for, at either end.
    pub(in super::super) fn violations(&self) -> Vec<String> {
        let blame = |actor: &Actor| match &actor.role {
            Role::Client(app) => app.events.last().and_then(|event| match event {
                ClientEvent::Closed(CloseReason::Violation(violation)) => Some(violation.clone()),
                ClientEvent::Closed(_)
                | ClientEvent::Connected
                | ClientEvent::Stream(_)
                | ClientEvent::Path(_)
                | ClientEvent::Conflict { .. } => None,
            }),
            Role::Primary(app) => match app.events.last() {
                Some(PrimaryEvent::Closed(CloseReason::Violation(violation))) => {
                    Some(violation.clone())
                }
                Some(_) | None => None,
            },
            Role::Secondary(app) => match app.events.last() {
                Some(SecondaryEvent::Closed(CloseReason::Violation(violation))) => {
                    Some(violation.clone())
                }
                Some(_) | None => None,
            },
            Role::Greeting(_) | Role::Script(_) => None,
        };
        let mut found: Vec<String> = self
            .actors
            .iter()
            .filter_map(blame)
            .map(|violation| violation.to_string())
            .collect();
        // A secondary that was blamed by its client hears of it by a code.
        found.extend(
            self.blamed
                .iter()
                .map(|code| format!("path closed with code {code:#x}")),
        );
        found
    }

    /// The connection that the client has under the name of `path`.
    pub(in super::super) fn conn(&self, path: PathId) -> ConnId {
        self.find_conn(path)
            .expect("the client has this connection")
    }

    pub(in super::super) fn find_conn(&self, path: PathId) -> Option<ConnId> {
        self.actors[CLIENT.0].paths.get(&path).copied()
    }
}

// What tests do over and over.
impl World {
    /// The primary names a secondary to the client.
    pub(in super::super) fn add_path(&mut self, site: usize) -> PathId {
        let spec = self.spec(site);
        self.primary(|p, cx| p.session.add_path(cx.now, spec, cx.carriers))
            .expect("room for a path")
    }

    pub(in super::super) fn spec(&self, site: usize) -> PathSpec {
        let site = &self.sites[site];
        PathSpec {
            addrs: smallvec![site.addr],
            server_name: "kwik.test".to_owned(),
            pin: site.pin,
        }
    }

    /// The primary opens a stream.
    pub(in super::super) fn open_stream(&mut self) -> StreamId {
        self.primary(|p, cx| {
            let opened = p.session.open_stream(cx.now, cx.carriers);
            let stream = opened.expect("the session is open").expect("stream credit");
            p.read(stream);
            stream
        })
    }

    pub(in super::super) fn delegate(
        &mut self,
        stream: StreamId,
        range: (u64, u64),
        path: PathId,
    ) -> GrantId {
        let command = Bytes::from_static(b"write it");
        let range = span(range.0, range.1);
        self.primary(|p, cx| {
            p.session
                .delegate(cx.now, stream, range, path, command, cx.carriers)
        })
        .expect("the range can be granted")
    }

    /// The primary writes a range at its cursor, in the background.
    pub(in super::super) fn write(&mut self, stream: StreamId, range: (u64, u64), fin: bool) {
        self.primary(|p, _| p.write(stream, span(range.0, range.1), fin));
    }

    /// The primary writes a range into a segment, in the background.
    pub(in super::super) fn write_at(&mut self, stream: StreamId, range: (u64, u64)) {
        self.primary(|p, cx| {
            let opened = p
                .session
                .open_segment_at(cx.now, stream, range.0, cx.carriers);
            p.write_segment(
                stream,
                opened.expect("a segment can be opened"),
                span(range.0, range.1),
            );
        });
    }

    pub(in super::super) fn finish(&mut self, stream: StreamId) {
        self.primary(|p, cx| p.session.finish(cx.now, stream, cx.carriers))
            .expect("it can be finished");
    }

    pub(in super::super) fn set_offset(&mut self, stream: StreamId, offset: u64) {
        self.primary(|p, cx| p.session.set_offset(cx.now, stream, offset, cx.carriers))
            .expect("the cursor can be moved");
    }

    /// How far the client has read a stream.
    pub(in super::super) fn read_to(&mut self, stream: StreamId) -> u64 {
        self.client(|c, _| c.readers.get(&stream).map_or(0, |reader| reader.offset))
    }

    /// Whether the client has read a stream to its end.
    pub(in super::super) fn is_whole(&mut self, stream: StreamId, size: u64) -> bool {
        self.client(|c, _| {
            c.readers
                .get(&stream)
                .is_some_and(|r| r.end == Some(Ok(())) && r.offset == size)
        })
    }

    /// Lets the client read a stream up to `limit` and no further.
    pub(in super::super) fn limit_reader(&mut self, stream: StreamId, limit: u64) {
        self.client(|c, _| c.limit(stream, limit));
    }
}

// The network.
impl World {
    /// Delivers nothing of this kind until it is lifted.
    pub(in super::super) fn hold(&mut self, path: PathId, toward: Side, what: What) -> HoldId {
        let conn = self.conn(path);
        self.hold_conn(conn, toward, what)
    }

    pub(in super::super) fn hold_conn(&mut self, conn: ConnId, toward: Side, what: What) -> HoldId {
        self.holds.push(Some(Hold {
            conn: Some(conn),
            toward: Some(toward),
            what,
        }));
        HoldId(self.holds.len() - 1)
    }

    pub(in super::super) fn lift(&mut self, hold: HoldId) {
        self.holds[hold.0] = None;
    }

    /// The lowest segment carrier with bytes on their way to the client.
    pub(in super::super) fn segment_in_flight(&self, path: PathId) -> u64 {
        let in_flight = self.net.in_flight(self.conn(path), Side::Client);
        let mut segments = in_flight.into_iter().filter(|(stream, _)| stream & 2 != 0);
        segments.next().expect("a segment is on its way").0
    }

    /// Delivers some bytes of a carrier now, whatever is held.
    pub(in super::super) fn deliver(
        &mut self,
        path: PathId,
        toward: Side,
        stream: u64,
        range: (u64, u64),
    ) {
        let item = Item::Data {
            stream,
            range: span(range.0, range.1),
        };
        self.net.deliver(Parcel {
            conn: self.conn(path),
            toward,
            item,
        });
    }

    /// Nothing passes on one connection.
    pub(in super::super) fn cut(&mut self, path: PathId) {
        self.net.set_cut(self.conn(path), true);
    }

    /// The client is cut off from everybody.
    pub(in super::super) fn cut_all(&mut self) {
        let conns: Vec<ConnId> = self.actors[CLIENT.0].paths.values().copied().collect();
        conns
            .into_iter()
            .for_each(|conn| self.net.set_cut(conn, true));
    }

    /// Everything passes again; what was lost is sent again.
    pub(in super::super) fn heal(&mut self) {
        let conns: Vec<ConnId> = self.owners.keys().map(|&(conn, _)| conn).collect();
        for conn in conns {
            self.net.set_cut(conn, false);
            self.schedule(RTT, Later::Heard(conn));
        }
    }

    /// The process of the client sleeps: time passes, nothing reaches it, and its timers are late.
    pub(in super::super) fn pause_client(&mut self, time: Duration) {
        self.actors[CLIENT.0].crashed = true;
        self.advance(time);
        self.actors[CLIENT.0].crashed = false;
        self.heal();
    }

    /// The host of a server dies without a word.
    pub(in super::super) fn crash(&mut self, site: usize) {
        self.actors
            .iter_mut()
            .filter(|a| a.site == Some(site))
            .for_each(|a| a.crashed = true);
        self.sites[site].dials = DialFate::Silence;
    }

    /// A crashed server comes back and knows nothing.
    pub(in super::super) fn restart(&mut self, site: usize) {
        let started_unix_seconds = EPOCH_UNIX_SECONDS + self.elapsed.as_secs();
        let host = &mut self.sites[site];
        host.dials = DialFate::Accept;
        let old = &host.context;
        host.context = Arc::new(ServerContext {
            config: Arc::clone(&old.config),
            master: old.master.clone(),
            peer: old.peer.clone(),
            started_unix_seconds,
        });
    }

    /// The client's end sends a frame that its session never wrote.
    pub(in super::super) fn forge_control(&mut self, path: PathId, frame: &ControlFrame) {
        let control = CarrierId {
            path,
            stream: CONTROL,
        };
        let mut bytes = frame.encode();
        self.client(|_, cx| cx.carriers.write_control(control, &mut bytes))
            .expect("up");
        assert!(bytes.is_empty(), "control is not held up");
    }

    /// The client's QUIC gives up a connection.
    pub(in super::super) fn fail(&mut self, path: PathId, cause: DownCause) {
        self.net.fail(self.conn(path), Side::Client, cause);
    }

    /// Fails the test if a carrier of a connection is still open anywhere.
    pub(in super::super) fn assert_no_carrier_leaks(&self, path: PathId) {
        assert_eq!(
            self.net.open_carriers(self.conn(path)),
            [0_u64; 0],
            "carriers leak on path {path}"
        );
    }
}

/// A range of the tests.
pub(in super::super) fn span(start: u64, end: u64) -> ByteRange {
    ByteRange::new(start, end).expect("ordered")
}

/// What an open grant is asked for: so many bytes.
pub(in super::super) fn fill_command(bytes: u64) -> Bytes {
    Bytes::copy_from_slice(&bytes.to_le_bytes())
}

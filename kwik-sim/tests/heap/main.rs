//! What endpoints keep on the heap: idle, while nobody reads, and when all is over.
//!
//! One test in a process of its own, because it counts every byte that is allocated there. The weight of
//! a program is what becomes free when it is dropped; what the network and the other hosts hold is no
//! part of it.

mod pieces;

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use kwik_core::carrier::{DialTarget, ReadState};
use kwik_core::endpoint::{ClientGauges, Datagram, Endpoint, SessionGauges, Transmit};
use kwik_core::event::{ClientEvent, Event, EventKind};
use kwik_core::ids::{SessionHandle, StreamId};
use kwik_core::plan::Spread;
use kwik_sim::app::Delivery;
use kwik_sim::clock::{Clock, Moment};
use kwik_sim::host::{Node, Program};
use kwik_sim::world::{HostId, World};
use kwik_sim::{CryptoMode, Setting, Stage};

#[global_allocator]
static HEAP: dhat::Alloc = dhat::Alloc;

const SECOND: Duration = Duration::from_secs(1);
const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const WINDOW_BYTES: usize = MIB;
const SECONDARIES: usize = 2;

/// What an idle session with three servers may cost the client, and any session its servers, with all
/// that TLS and QUIC keep for a connection: a quarter more than it was when these were written.
const CLIENT_MAX_BYTES: usize = 141_000;
const PRIMARY_MAX_BYTES: usize = 51_000;
const SECONDARY_MAX_BYTES: usize = 38_000;

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    /// It waits for nobody.
    Nothing,
    /// It connects and asks for nothing.
    Connects,
    /// It asks for so many bytes and reads them.
    Reads(u64),
    /// It asks for so many bytes and reads nothing.
    Ignores(u64),
}

/// A client that keeps nothing of what it reads, nor of what it is told.
struct Client {
    endpoint: Endpoint,
    target: DialTarget,
    does: Does,
    is_started: bool,
    session: Option<SessionHandle>,
    stream: Option<StreamId>,
    read: u64,
    has_ended: bool,
}

impl Client {
    fn program(setting: &Setting, does: Does) -> Program {
        let (config, crypto) = (Arc::new(setting.config.clone()), setting.crypto);
        let target = setting.dial_target();
        Box::new(move |birth| {
            let endpoint = crypto.endpoint(Arc::clone(&config), None, birth);
            Box::new(Self {
                endpoint: endpoint.expect("the configuration is valid"),
                target: target.clone(),
                does,
                is_started: false,
                session: None,
                stream: None,
                read: 0,
                has_ended: false,
            })
        })
    }

    fn on_event(&mut self, moment: Moment, event: &Event) {
        match event.kind {
            EventKind::Client(ClientEvent::Connected) => self.ask(moment),
            EventKind::Client(ClientEvent::Closed(_)) => self.session = None,
            EventKind::Client(_) | EventKind::Primary(_) | EventKind::Secondary(_) => {}
        }
    }

    fn ask(&mut self, moment: Moment) {
        let bytes = match self.does {
            Does::Nothing | Does::Connects => return,
            Does::Reads(bytes) | Does::Ignores(bytes) => bytes,
        };
        let session = self.session.expect("it is connected");
        let mut client = self.endpoint.client(moment.now, session).expect("alive");
        let stream = client.open_stream().expect("alive").expect("a stream");
        // The form of a request for an answer on the same stream, of the client with number 0.
        let mut request = [0; 10];
        request[2..].copy_from_slice(&bytes.to_be_bytes());
        let taken = client.write_slice(stream, &request);
        assert_eq!(taken, Ok(request.len()));
        client.finish(stream).expect("open");
        self.stream = Some(stream);
    }

    fn read(&mut self, moment: Moment) {
        let (Does::Reads(_), Some(session), Some(stream)) = (self.does, self.session, self.stream)
        else {
            return;
        };
        let read = &mut self.read;
        let mut client = self.endpoint.client(moment.now, session).expect("alive");
        let state = client.read(stream, usize::MAX, &mut |chunk| {
            *read += chunk.len() as u64;
            ControlFlow::Continue(())
        });
        if state.expect("nothing fails") == ReadState::Finished {
            self.has_ended = true;
            self.stream = None;
        }
    }

    /// The next turn begins another session.
    fn start_anew(&mut self) {
        self.is_started = false;
        self.has_ended = false;
        self.read = 0;
    }

    fn close(&mut self, moment: Moment) {
        let session = self.session.expect("it is connected");
        self.endpoint.close(moment.now, session, 0);
    }
}

impl Node for Client {
    fn receive(&mut self, moment: Moment, datagram: Datagram) {
        self.endpoint.handle_datagram(moment.now, datagram);
    }

    fn expire(&mut self, moment: Moment) {
        self.endpoint.handle_timeout(moment.now);
    }

    fn run(&mut self, moment: Moment) {
        if !self.is_started && self.does != Does::Nothing {
            let session = self.endpoint.connect(moment.now, self.target.clone());
            self.session = Some(session.expect("a target"));
        }
        self.is_started = true;
        while let Some(event) = self.endpoint.poll_event() {
            self.on_event(moment, &event);
        }
        self.read(moment);
    }

    fn transmit(&mut self, moment: Moment, buf: &mut Vec<u8>) -> Option<Transmit> {
        self.endpoint.poll_transmit(moment.now, 10, buf)
    }

    fn wake_at(&mut self, clock: &Clock) -> Option<Duration> {
        if !self.is_started {
            return Some(clock.time());
        }
        self.endpoint.poll_timeout().map(|d| clock.time_of(d.at))
    }
}

/// A world with TLS in which all three servers bring their part.
fn setting() -> Setting {
    let range_bytes = 64 << 10;
    let delivery = Delivery::Plan(Spread::Rotate { range_bytes });
    let mut setting = Setting::new(1, SECONDARIES, 0).delivery(delivery);
    setting.crypto = CryptoMode::Rustls;
    setting.config.client.stream_window_bytes = WINDOW_BYTES as u64;
    setting
}

fn stage(does: Does) -> Stage {
    let setting = setting();
    let mut stage = setting.build();
    stage
        .world
        .install(stage.client, Client::program(&setting, does));
    stage
}

fn heap() -> usize {
    dhat::HeapStats::get().curr_bytes
}

/// What becomes free when the program of a host is dropped.
fn weight(stage: &mut Stage, host: HostId) -> usize {
    let before = heap();
    stage.world.crash(host);
    before - heap()
}

/// The weight of a client that did this for so long.
fn client_weight(does: Does, seconds: u32) -> usize {
    let mut stage = stage(does);
    stage.world.run_for(seconds * SECOND);
    assert_eq!(stage.world.fault(), None);
    let client = stage.client;
    weight(&mut stage, client)
}

/// The weights of the primary and of a secondary while a client does this.
fn server_weights(does: Does) -> [usize; 2] {
    let mut stage = stage(does);
    stage.world.run_for(5 * SECOND);
    let (primary, secondary) = (stage.primary, stage.secondaries[0]);
    [weight(&mut stage, primary), weight(&mut stage, secondary)]
}

fn addrs(stage: &Stage) -> Vec<SocketAddr> {
    let servers = std::iter::once(stage.primary).chain(stage.secondaries.clone());
    servers.map(|server| stage.world.addr(server)).collect()
}

/// Bytes that each server brought.
fn shares(stage: &mut Stage) -> Vec<u64> {
    let addrs = addrs(stage);
    let client = stage.client;
    stage.world.look(client, |client: &mut Client, moment| {
        let session = client.session.expect("it is connected");
        let view = client.endpoint.client(moment.now, session).expect("alive");
        let paths = view.paths();
        let bytes = addrs.iter().map(|&addr| {
            let of_it = paths.iter().filter(|path| path.addr == Some(addr));
            of_it.map(|path| path.received_bytes).sum()
        });
        bytes.collect()
    })
}

/// The weight of a client when so many sessions, one after the other, have come and gone.
fn weight_after(sessions: u32) -> usize {
    const BYTES: u64 = 4 << 20;
    let mut stage = stage(Does::Reads(BYTES));
    let client = stage.client;
    for _ in 0..sessions {
        let limit = stage.world.time() + 30 * SECOND;
        let has_ended = |world: &World| world.node::<Client>(client).has_ended;
        assert!(stage.world.run_until(limit, has_ended), "it takes too long");
        assert_eq!(stage.world.node::<Client>(client).read, BYTES);
        let shares = shares(&mut stage);
        assert!(shares.iter().all(|&bytes| bytes > 0), "{shares:?}");
        stage
            .world
            .act(client, |client: &mut Client, moment| client.close(moment));
        stage.world.run_for(60 * SECOND);
        let endpoint = &stage.world.node::<Client>(client).endpoint;
        assert!(endpoint.is_drained() && endpoint.sessions() == 0);
        stage
            .world
            .act(client, |client: &mut Client, _| client.start_anew());
    }
    weight(&mut stage, client)
}

/// A session that has come and gone leaves nothing but room in the tables of quinn's endpoint, which the
/// next one uses.
fn nothing_is_left_of_a_session(fresh: usize) {
    let (once, thrice) = (weight_after(1), weight_after(3));
    eprintln!(
        "a client endpoint: {fresh} B at first, {once} B after a session, {thrice} B after three"
    );
    let known = fresh + QUINN_TABLES_BYTES;
    assert!(once <= known + LEFT_MAX_BYTES, "{fresh} B, then {once} B");
    assert!(thrice <= once + LEFT_MAX_BYTES, "{once} B, then {thrice} B");
}

/// The tables of quinn's endpoint keep the room that they ever had, and there is no call to free it. For
/// three connections: four places of connections, the table of their ids, and that of the tokens that
/// reset them.
const QUINN_TABLES_BYTES: usize = 672 + 1072 + 340;

/// What may be left of a session besides.
const LEFT_MAX_BYTES: usize = 512;

/// What a client holds that reads nothing.
fn gauges(stage: &Stage) -> ClientGauges {
    let client: &Client = stage.world.node(stage.client);
    let session = client.session.expect("it is connected");
    match client.endpoint.session_gauges(session) {
        Some(SessionGauges::Client(gauges)) => gauges,
        other => panic!("{other:?}"),
    }
}

/// Nobody reads, three servers write ahead: the window is full to the last byte, and what is held is
/// bounded by it.
fn what_is_not_read_is_bounded(idle: usize) {
    let mut stage = stage(Does::Ignores(16 << 20));
    stage.world.run_for(10 * SECOND);
    let shares = shares(&mut stage);
    assert!(shares.iter().all(|&bytes| bytes > 0), "{shares:?}");
    let gauges = gauges(&stage);
    assert_eq!(gauges.buffered_bytes, WINDOW_BYTES as u64, "{gauges:?}");
    is_bounded("does not read", &mut stage, idle, gauges);
}

/// Nobody reads, and a secondary far ahead leaves as many gaps as it may, between single bytes and between
/// longer pieces.
fn what_comes_in_pieces_is_bounded(idle: usize) {
    let range_bytes = 32 << 10;
    let mut setting = setting().delivery(Delivery::Delegate { range_bytes });
    setting.secondaries.truncate(1);
    let mut stage = setting.build();
    let client = Client::program(&setting, Does::Ignores(16 << 20));
    stage.world.install(stage.client, client);
    let secondary = stage.secondaries[0];
    stage.world.install(secondary, pieces::perforator(&setting));
    stage.world.run_for(4 * SECOND);
    let gauges = gauges(&stage);
    let gaps = pieces::GRANTS * pieces::GAPS_PER_GRANT;
    assert!(gauges.stream_gaps_max as u64 >= gaps - 4, "{gauges:?}");
    assert!(gauges.path_gaps_max as u64 >= gaps, "{gauges:?}");
    // All of the window but the gaps, and what divides into no piece.
    assert!(
        gauges.buffered_bytes >= WINDOW_BYTES as u64 - 2 * gaps,
        "{gauges:?}"
    );
    is_bounded("gets pieces", &mut stage, idle, gauges);
}

/// The heap of the client is within twice its window.
fn is_bounded(who: &str, stage: &mut Stage, idle: usize, gauges: ClientGauges) {
    let client = stage.client;
    let weight = weight(stage, client);
    let (held, pinned) = (gauges.buffered_bytes, gauges.pinned_bytes);
    eprintln!(
        "a client that {who}: {idle} B idle, {weight} B with {held} B held, {pinned} B pinned"
    );
    assert!(weight >= idle + WINDOW_BYTES * 3 / 4, "{weight} B");
    assert!(weight <= idle + 2 * WINDOW_BYTES + 64 * KIB, "{weight} B");
}

#[test]
fn what_endpoints_keep_is_bounded() {
    let _profiler = dhat::Profiler::builder().testing().build();
    // What is made once for a process is made.
    let _ = client_weight(Does::Connects, 5);

    let fresh = client_weight(Does::Nothing, 5);
    let idle = client_weight(Does::Connects, 5);
    let per_session = idle - fresh;
    let without = server_weights(Does::Nothing);
    let with = server_weights(Does::Connects);
    let primary = with[0] - without[0];
    let secondary = with[1] - without[1];
    eprintln!("an idle session with three servers: {per_session} B at the client");
    eprintln!("an idle session: {primary} B at the primary, {secondary} B at a secondary");
    assert!(per_session <= CLIENT_MAX_BYTES, "{per_session} B");
    assert!(primary <= PRIMARY_MAX_BYTES, "{primary} B");
    assert!(secondary <= SECONDARY_MAX_BYTES, "{secondary} B");

    nothing_is_left_of_a_session(fresh);
    what_is_not_read_is_bounded(idle);
    what_comes_in_pieces_is_bounded(idle);
}

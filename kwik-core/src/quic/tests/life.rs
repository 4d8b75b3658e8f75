//! How connections begin and end, and what is left of them.

use std::time::Duration;

use bytes::Bytes;

use super::net::{Identity, Net};
use super::wire::Losses;
use super::{
    CLIENT, PATH, SERVER, SESSION, control, distant_pair, open_uni, pair, pair_with, quic_config,
    read, write,
};
use crate::carrier::{CarrierEnd, Carriers, DownCause, Input, Order};
use crate::error::code;
use crate::ids::{CarrierId, PathId, SessionHandle};
use crate::quic::Entropy;

/// [CTL-1]
#[test]
fn both_ends_come_up_with_one_control_carrier_and_one_exporter() {
    let net = pair();
    let up = |host: usize| {
        net.told(host).iter().find_map(|input| {
            let Input::PathUp {
                path,
                control,
                exporter,
            } = input
            else {
                return None;
            };
            Some((*path, *control, *exporter))
        })
    };
    let (client, server) = (up(CLIENT).expect("up"), up(SERVER).expect("up"));
    assert_eq!(client, server);
    assert_eq!(client.1, control());
    assert_ne!(client.2, [0; 32]);
    assert!(!net.told(SERVER).contains(&Input::Opened(control())));
}

#[test]
fn bytes_that_opened_the_control_carrier_are_readable_behind_path_up() {
    let identity = Identity::new();
    let mut net = Net::new();
    net.add_host(&quic_config(), None);
    net.add_host(&quic_config(), Some(&identity));
    net.greet_with(CLIENT, Bytes::from_static(b"hello"));
    net.dial(CLIENT, SESSION, PATH, SERVER, identity.pin())
        .expect("dialled");
    net.run(Duration::from_millis(500));
    let told = net.told(SERVER);
    let up = told
        .iter()
        .position(|input| matches!(input, Input::PathUp { .. }));
    let readable = told
        .iter()
        .position(|input| *input == Input::Readable(control()));
    assert!(up.expect("up") < readable.expect("readable"));
    assert_eq!(read(&mut net, SERVER, control(), Order::Ordered).len(), 5);
}

#[test]
fn nothing_is_told_of_a_connection_that_was_closed_on_the_last_thing_told() {
    let mut net = pair();
    let segments = [(); 3].map(|()| open_uni(&mut net, SERVER));
    for segment in segments {
        write(&mut net, SERVER, segment, &mut Bytes::from_static(b"x"));
    }
    net.hang_up_on(CLIENT, Input::Opened(segments[0]));
    net.run(Duration::from_millis(100));
    assert_eq!(net.told(CLIENT).last(), Some(&Input::Opened(segments[0])));
}

#[test]
fn silence_ends_a_connection_after_the_idle_timeout() {
    let mut net = pair();
    net.wire.cut = true;
    net.run(Duration::from_secs(45));
    for host in [CLIENT, SERVER] {
        let down = Input::PathDown {
            path: PATH,
            cause: DownCause::TimedOut,
        };
        assert_eq!(net.told(host).last(), Some(&down));
    }
}

/// [CONN-9]
#[test]
fn an_idle_connection_is_kept_alive() {
    let mut net = pair();
    net.run(Duration::from_secs(300));
    assert!(net.is_up(CLIENT) && net.is_up(SERVER));
}

/// A server that is about to send more than its congestion window lets out: ten small datagrams.
fn pair_with_full_window() -> (Net, CarrierId) {
    let mut net = distant_pair();
    net.run(Duration::from_millis(500));
    let segment = open_uni(&mut net, SERVER);
    let mut data = Bytes::from(vec![7; 100_000]);
    assert_eq!(write(&mut net, SERVER, segment, &mut data), 100_000);
    (net, segment)
}

/// After an outage the server's congestion window is full of packets that are lost, and its next probe
/// timeout is seconds away. quinn-proto keeps even acknowledgements back then.
#[test]
fn whoever_asks_after_an_outage_is_answered_past_a_full_congestion_window() {
    for outage in [2, 5, 12, 20].map(Duration::from_secs) {
        let (mut net, segment) = pair_with_full_window();
        net.wire.cut = true;
        net.run(outage);
        net.wire.cut = false;
        net.take_told(CLIENT);
        net.probe(CLIENT, SESSION, PATH);
        net.run(Duration::from_millis(20));
        let heard = net.told(CLIENT).contains(&Input::Heard(PATH));
        assert!(heard, "after {outage:?}");
        net.run(Duration::from_secs(1));
        let read = read(&mut net, CLIENT, segment, Order::Any).len();
        assert_eq!(read, 100_000, "after {outage:?}");
    }
}

/// One answer in a while, however often the peer is heard: the window is not for nothing.
#[test]
fn answers_past_the_window_are_few() {
    let (mut net, _) = pair_with_full_window();
    // What the server sends is lost from now on; what it hears is not.
    net.wire.cut_from = Some(SERVER);
    net.run(Duration::from_secs(2));
    let sent = |net: &Net| net.wire.trace.iter().filter(|t| t.1 == SERVER).count();
    let before = sent(&net);
    for _ in 0..300 {
        net.probe(CLIENT, SESSION, PATH);
        net.run(Duration::from_millis(10));
    }
    let answers = sent(&net) - before;
    assert!((10..=23).contains(&answers), "{answers} in three seconds");
}

#[test]
fn a_close_arrives_with_its_code_and_everything_is_forgotten() {
    let mut net = pair();
    net.close(SERVER, SESSION, PATH, code::PATH_ENDED);
    net.run(Duration::from_secs(5));
    let cause = DownCause::ClosedByPeer(code::PATH_ENDED);
    assert_eq!(
        net.told(CLIENT).last(),
        Some(&Input::PathDown { path: PATH, cause })
    );
    net.close(CLIENT, SESSION, PATH, code::NO_ERROR);
    for host in [CLIENT, SERVER] {
        net.assert_empty(host);
    }
    assert!(
        !net.told(SERVER)
            .iter()
            .any(|input| matches!(input, Input::PathDown { .. })),
        "who closes is told nothing"
    );
}

#[test]
fn what_arrived_before_the_close_can_be_read_behind_it() {
    let mut net = pair();
    let segment = open_uni(&mut net, SERVER);
    write(
        &mut net,
        SERVER,
        segment,
        &mut Bytes::from_static(b"last words"),
    );
    net.run(Duration::from_millis(100));
    net.close(SERVER, SESSION, PATH, code::NO_ERROR);
    net.run(Duration::from_secs(5));
    assert!(matches!(
        net.told(CLIENT).last(),
        Some(Input::PathDown { .. })
    ));
    assert_eq!(read(&mut net, CLIENT, segment, Order::Any).len(), 10);
    let mut data = Bytes::from_static(b"x");
    assert_eq!(
        net.carriers(CLIENT).write(control(), &mut data),
        Err(CarrierEnd::Gone)
    );
    assert_eq!(net.carriers(CLIENT).open_bidi(PATH), Err(CarrierEnd::Gone));
    net.close(CLIENT, SESSION, PATH, code::NO_ERROR);
    net.assert_empty(CLIENT);
}

#[test]
fn garbage_is_not_heard() {
    let mut net = pair();
    net.take_told(CLIENT);
    net.wire.forge(CLIENT);
    net.run(Duration::from_millis(100));
    assert!(!net.told(CLIENT).contains(&Input::Heard(PATH)));
    net.probe(CLIENT, SESSION, PATH);
    net.run(Duration::from_millis(100));
    assert!(net.told(CLIENT).contains(&Input::Heard(PATH)));
}

/// [JOIN-7]
#[test]
fn a_redial_closes_the_older_connection_and_hushes_it() {
    let identity = Identity::new();
    let mut net = Net::new();
    net.add_host(&quic_config(), None);
    net.add_host(&quic_config(), Some(&identity));
    net.dial(CLIENT, SESSION, PATH, SERVER, identity.pin())
        .expect("dialled");
    net.run(Duration::from_millis(3));
    net.dial(CLIENT, SESSION, PATH, SERVER, identity.pin())
        .expect("dialled");
    net.run(Duration::from_secs(10));
    let ups = net
        .told(CLIENT)
        .iter()
        .filter(|input| matches!(input, Input::PathUp { .. }));
    assert_eq!(ups.count(), 1);
    assert!(
        !net.told(CLIENT)
            .iter()
            .any(|input| matches!(input, Input::PathDown { .. }))
    );
    assert_eq!(net.connections(CLIENT), 1);
    assert_eq!(
        net.connections(SERVER),
        2,
        "the server's other session still has its own to close"
    );
    assert!(net.is_up(CLIENT));
}

#[test]
fn many_connections_one_after_another_leave_nothing_behind() {
    let identity = Identity::new();
    let mut net = Net::new();
    net.add_host(&quic_config(), None);
    net.add_host(&quic_config(), Some(&identity));
    for round in 0..20 {
        let (at_client, at_server) = (SessionHandle(round), SessionHandle(round));
        net.dial(CLIENT, at_client, PATH, SERVER, identity.pin())
            .expect("dialled");
        net.run(Duration::from_millis(100));
        assert!(net.is_up(CLIENT));
        net.close(CLIENT, at_client, PATH, code::NO_ERROR);
        net.run(Duration::from_millis(if round % 2 == 0 {
            10
        } else {
            3000
        }));
        net.close(SERVER, at_server, PATH, code::NO_ERROR);
        net.take_told(CLIENT);
    }
    net.run(Duration::from_secs(10));
    net.assert_empty(CLIENT);
    net.assert_empty(SERVER);
}

#[test]
fn loopback_datagrams_are_large_from_the_start_and_others_grow() {
    let mut net = pair();
    let segment = open_uni(&mut net, SERVER);
    write(
        &mut net,
        SERVER,
        segment,
        &mut Bytes::from(vec![1; 100 << 10]),
    );
    net.run(Duration::from_millis(100));
    assert_eq!(net.largest_datagram(), 9_000);

    let mut net = distant_pair();
    net.run(Duration::from_millis(9));
    assert_eq!(net.largest_datagram(), 1200);
    net.run(Duration::from_secs(2));
    assert_eq!(net.largest_datagram(), 1452);
}

#[test]
fn the_same_seeds_give_the_same_trace() {
    let trace = || {
        let identity = Identity::fixed();
        let mut net = Net::new();
        net.add_host(&quic_config(), None);
        net.add_host(&quic_config(), Some(&identity));
        net.wire.loss_percent = 2;
        net.dial(CLIENT, SESSION, PATH, SERVER, identity.pin())
            .expect("dialled");
        net.run(Duration::from_secs(3));
        let segment = open_uni(&mut net, SERVER);
        let mut data = Bytes::from(vec![1; 8 << 20]);
        for _ in 0..100 {
            write(&mut net, SERVER, segment, &mut data);
            net.run(Duration::from_millis(20));
            read(&mut net, CLIENT, segment, Order::Any);
        }
        net.wire.trace
    };
    assert_eq!(trace(), trace());
}

#[test]
fn a_probe_timeout_is_estimated_above_three_round_trips_at_first() {
    let net = &mut pair();
    let stats = net.carriers(CLIENT).path_stats(PATH).expect("stats");
    assert!(stats.pto >= stats.rtt * 2 && stats.rtt > Duration::ZERO);
    assert!(net.carriers(CLIENT).path_stats(PathId(9)).is_none());
}

#[test]
fn entropy_is_not_shared_between_endpoints_of_different_seeds() {
    let (mut a, mut b) = (Entropy::new([1; 32]), Entropy::new([2; 32]));
    assert_ne!(a.key(), b.key());
}

#[test]
fn a_secondary_that_is_down_is_forgotten_without_being_closed() {
    let mut net = pair_with(&quic_config(), PathId(3));
    net.close(SERVER, SESSION, PATH, code::NO_ERROR);
    net.run(Duration::from_secs(5));
    assert!(matches!(
        net.told(CLIENT).last(),
        Some(Input::PathDown {
            path: PathId(3),
            ..
        })
    ));
    net.assert_empty(CLIENT);
}

/// A handshake of which much gets lost shows signs of life long before it is done: whoever dials needs
/// to tell it from silence [PATH-5].
#[test]
fn a_handshake_is_heard_before_it_is_done() {
    let mut net = distant_pair();
    net.wire.delay = Duration::from_millis(100);
    net.wire.losses = Some(Losses::new((CLIENT, SERVER), [0x20, 0x07]));
    while net.told(CLIENT).is_empty() && net.elapsed() < Duration::from_secs(20) {
        net.run(Duration::from_millis(50));
    }
    assert_eq!(net.told(CLIENT), [Input::Heard(PATH)]);
    net.run(Duration::from_secs(20));
    let is_up = |input: &Input| matches!(input, Input::PathUp { .. });
    assert!(net.told(CLIENT).iter().any(is_up));
}

//! Many bytes.

use kwik_mio::IoStats;

use crate::fixtures::*;

const BYTES: usize = 64 << 20;

#[test]
fn bulk_is_moved_with_few_system_calls_and_is_seen_soon() {
    let (client, session, server) = pair();
    let primary = spawn(move || {
        let (send, _recv) = session.open_stream().expect("a stream");
        let mut data = pattern(0, BYTES);
        while !data.is_empty() {
            let mut piece = data.split_to(data.len().min(256 << 10));
            send.write_bytes(&mut piece).expect("taken");
        }
        send.finish().expect("the stream ends");
        send.stopped().expect("it arrives")
    });
    let (_send, recv) = client.accept_stream().expect("a stream");
    let begun = std::time::Instant::now();
    assert_eq!(read_pattern(&recv), BYTES as u64);
    let seconds = begun.elapsed().as_secs_f64();
    primary.join().expect("content");

    let (received, sent) = (client.io_stats(), server.io_stats());
    println!("{seconds:.2} s, client {received:?}, server {sent:?}");
    let IoStats {
        datagrams_received,
        receive_calls,
        aggregation,
        ..
    } = received;
    let per_receive = datagrams_received as f64 / receive_calls as f64;
    let per_send = sent.datagrams_sent as f64 / sent.send_calls as f64;
    assert!(per_receive > 2.0, "{per_receive} datagrams a receive call");
    assert!(per_send > 2.0, "{per_send} datagrams a send call");
    assert!(aggregation.count > 0);
    assert!(aggregation.p50 <= aggregation.p99 && aggregation.p99 <= aggregation.max);
}

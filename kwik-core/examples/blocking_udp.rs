//! Fetches a file from `kwik serve` over std's UDP socket and prints its size:
//! `cargo run -p kwik-core --example blocking_udp -- ADDR:PORT PIN PATH`.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a driver has a clock"
)]

use std::time::{Duration, Instant, SystemTime};
use std::{net::UdpSocket, ops::ControlFlow::Continue, sync::Arc};

use kwik_core::endpoint::Datagram;
use kwik_core::event::{ClientEvent, StreamEvent};
use kwik_core::{DialTarget, Endpoint, EventKind, Now, carrier::ReadState};

#[rustfmt::skip] // So that it can be read on one screen.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [addr, pin, path] = <[String; 3]>::try_from(args).map_err(|_| "ADDR:PORT PIN PATH")?;
    let hex = |i| u8::from_str_radix(pin.get(i..i + 2).unwrap_or_default(), 16);
    let pin: Vec<u8> = (0..64).step_by(2).map(hex).collect::<Result<_, _>>()?;
    let (addr, pin, server_name) = (addr.parse()?, pin[..].try_into()?, "kwik".to_owned());
    let request = [&[1], &u16::try_from(path.len())?.to_be_bytes()[..], path.as_bytes()].concat();

    let seed = ring::rand::generate(&ring::rand::SystemRandom::new()).map_err(|_| "no entropy")?;
    let mut endpoint = Endpoint::new(Arc::default(), None, seed.expose(), now())?;
    let session = endpoint.connect(now(), DialTarget { addr, server_name, pin })?;
    let socket = UdpSocket::bind(if addr.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    let (mut datagram, mut buf) = ([0; 65_535], Vec::new());
    let (mut answer, mut content_bytes, mut done) = (Vec::new(), 0, false);
    while !done {
        while let Some(EventKind::Client(event)) = endpoint.poll_event().map(|event| event.kind) {
            if let ClientEvent::Closed(reason) = event {
                return Err(reason.into());
            }
            let mut client = endpoint.client(now(), session).ok_or("no session")?;
            match event {
                ClientEvent::Connected => {
                    let stream = client.open_stream()?.ok_or("no credit for a stream")?;
                    client.write_slice(stream, &request)?;
                    client.finish(stream)?;
                }
                // The answer comes on our stream, the content on the one that the server opens.
                ClientEvent::Stream(StreamEvent::Readable(stream)) => {
                    let is_content = stream.is_server_opened();
                    let state = client.read(stream, usize::MAX, &mut |chunk| {
                        content_bytes += if is_content { chunk.len() } else { 0 };
                        answer.extend_from_slice(if is_content { &[] } else { &chunk });
                        Continue(())
                    })?;
                    done |= is_content && state == ReadState::Finished;
                }
                ClientEvent::Stream(_) | ClientEvent::Path(_) | ClientEvent::Conflict { .. }
                | ClientEvent::Closed(_) => {}
            }
        }
        if let Some(code @ 1..) = answer.get(1) {
            return Err(format!("the server refuses: {code}").into());
        }
        if done {
            println!("{content_bytes} bytes");
            endpoint.close(now(), session, 0);
        }
        while let Some(transmit) = endpoint.poll_transmit(now(), 1, &mut buf) {
            socket.send_to(&buf[..transmit.size], transmit.destination)?;
        }
        let wait = endpoint.poll_timeout().map(|due| due.at.saturating_duration_since(Instant::now()));
        socket.set_read_timeout(wait.map(|wait| wait.max(Duration::from_millis(1))))?;
        // An error is a timeout, or a deadline will tell.
        if !done && let Ok((len, remote)) = socket.recv_from(&mut datagram) {
            let (local_ip, ecn, data) = (None, None, datagram[..len].into());
            endpoint.handle_datagram(now(), Datagram { remote, local_ip, ecn, data });
        }
        endpoint.handle_timeout(now());
    }
    Ok(())
}

#[rustfmt::skip]
fn now() -> Now {
    let unix_seconds = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |unix| unix.as_secs());
    Now { monotonic: Instant::now(), unix_seconds }
}

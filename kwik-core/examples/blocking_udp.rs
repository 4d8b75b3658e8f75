//! Fetches a file from `kwik serve` over std's UDP socket and prints its size:
//! `cargo run -p kwik-core --example blocking_udp -- ADDR:PORT PIN PATH`.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a driver has clocks, a command prints, and an example looks at what it needs"
)]

use std::time::{Duration, Instant, SystemTime};
use std::{net::UdpSocket, ops::ControlFlow::Continue, sync::Arc};

use kwik_core::carrier::{DialTarget, Now, ReadState};
use kwik_core::endpoint::{Datagram, Endpoint};
use kwik_core::event::{ClientEvent, EventKind, StreamEvent};
use ring::rand::{SecureRandom, SystemRandom};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [addr, pin, path] = &args[..] else {
        return Err("usage: blocking_udp ADDR:PORT PIN PATH".into());
    };
    let hex = |i| u8::from_str_radix(pin.get(i..i + 2).unwrap_or_default(), 16);
    let pin: Vec<u8> = (0..64).step_by(2).map(hex).collect::<Result<_, _>>()?;
    let (addr, pin) = (addr.parse()?, pin[..].try_into()?);
    let server_name = "kwik".to_owned();
    let len = u16::try_from(path.len())?.to_be_bytes();
    let request = [&[1], &len[..], path.as_bytes()].concat();

    let mut seed = [0; 32];
    SystemRandom::new()
        .fill(&mut seed)
        .map_err(|_| "no entropy")?;
    let mut endpoint = Endpoint::new(Arc::default(), None, seed, now())?;
    let target = DialTarget {
        addr,
        server_name,
        pin,
    };
    let session = endpoint.connect(now(), target)?;
    let socket = UdpSocket::bind(if addr.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    })?;
    let (mut datagram, mut buf) = ([0; 65_535], Vec::new());
    let (mut answer, mut content_bytes, mut ended) = (Vec::new(), 0, 0);
    loop {
        while ended < 2
            && let Some(event) = endpoint.poll_event()
        {
            let mut client = endpoint.client(now(), session).ok_or("no session")?;
            match event.kind {
                EventKind::Client(ClientEvent::Connected) => {
                    let stream = client.open_stream()?.ok_or("no credit for a stream")?;
                    client.write(stream, &mut request.clone().into())?;
                    client.finish(stream)?;
                }
                EventKind::Client(ClientEvent::Stream(StreamEvent::Opened)) => {
                    client.accept_stream().ok_or("no stream")?;
                }
                // The answer comes on our stream, the content on the one that the server opens.
                EventKind::Client(ClientEvent::Stream(StreamEvent::Readable(stream))) => {
                    let is_content = stream.is_server_opened();
                    let state = client.read(stream, usize::MAX, &mut |chunk| {
                        content_bytes += if is_content { chunk.len() } else { 0 };
                        answer.extend_from_slice(if is_content { &[] } else { &chunk });
                        Continue(())
                    })?;
                    ended += u32::from(state == ReadState::Finished);
                }
                EventKind::Client(ClientEvent::Closed(reason)) => return Err(reason.into()),
                _ => {}
            }
        }
        if let Some(code @ 1..) = answer.get(1) {
            return Err(format!("the server refuses: {code}").into());
        }
        if ended == 2 {
            println!("{content_bytes} bytes");
            endpoint.close(now(), session, 0);
        }
        while let Some(transmit) = endpoint.poll_transmit(now(), 1, &mut buf) {
            socket.send_to(&buf[..transmit.size], transmit.destination)?;
        }
        let Some(deadline) = endpoint.poll_timeout().filter(|_| ended < 2) else {
            return Ok(());
        };
        let wait = deadline.at.saturating_duration_since(now().monotonic);
        socket.set_read_timeout(Some(wait.max(Duration::from_millis(1))))?;
        // An error is a timeout, or a deadline will tell.
        if let Ok((len, remote)) = socket.recv_from(&mut datagram) {
            let (data, local_ip, ecn) = (datagram[..len].into(), None, None);
            let datagram = Datagram {
                remote,
                local_ip,
                ecn,
                data,
            };
            endpoint.handle_datagram(now(), datagram);
        }
        endpoint.handle_timeout(now());
    }
}

fn now() -> Now {
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let unix_seconds = unix.unwrap_or_default().as_secs();
    Now {
        monotonic: Instant::now(),
        unix_seconds,
    }
}

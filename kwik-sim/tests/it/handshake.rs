//! Handshakes without a network: what holds for TLS must hold for the null crypto that stands in for
//! it, so most claims are put to both.

use std::sync::Arc;

use bytes::BytesMut;
use kwik_sim::CryptoMode;
use kwik_sim::crypto::null::{NullCrypto, Trust};
use kwik_sim::identity::{Identity, SERVER_NAME};
use kwik_sim::rng::{Chance, Purpose};
use quinn_proto::crypto::rustls::HandshakeData;
use quinn_proto::crypto::{KeyPair, Keys, PacketKey, Session};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectionId, Side, TransportError, TransportErrorCode};

use kwik_sim::raw::quic::{client_crypto, server_crypto};

const MODES: [CryptoMode; 2] = [CryptoMode::Null, CryptoMode::Rustls];
const LABEL: &[u8] = b"EXPORTER-kwik/1-join";

/// One call of `write_handshake`: whether it gave bytes, and keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Turn {
    by: Side,
    says: bool,
    keys: bool,
}

/// Both ends of a handshake, and what came of it so far.
struct Ends {
    client: Box<dyn Session>,
    server: Box<dyn Session>,
    turns: Vec<Turn>,
    /// The keys of the Handshake and the 1-RTT packets of the client and of the server.
    keys: [Vec<Keys>; 2],
}

/// No parameters at all, which is allowed.
fn params() -> TransportParameters {
    TransportParameters::read(Side::Server, &mut &b""[..]).expect("empty")
}

fn identity(crypto: CryptoMode) -> Identity {
    Identity::under(crypto, 1, 1)
}

impl Ends {
    /// A client and a server whose chance follows from these seeds.
    fn new(crypto: CryptoMode, client: u8, server: u8) -> Self {
        let server = server_crypto(crypto, &identity(crypto), [server; 32]);
        let client = client_crypto(crypto, [client; 32]);
        let client = client.start_session(1, SERVER_NAME, &params());
        Self::of(client.expect("a name"), server.start_session(1, &params()))
    }

    fn of(client: Box<dyn Session>, server: Box<dyn Session>) -> Self {
        let (turns, keys) = (Vec::new(), [Vec::new(), Vec::new()]);
        Self {
            client,
            server,
            turns,
            keys,
        }
    }

    /// Lets both speak until they have no more to say. What one of them says passes through `mangle`
    /// with the ordinal of the flight.
    fn shake(&mut self, mut mangle: impl FnMut(usize, &mut Vec<u8>)) -> Result<(), TransportError> {
        let mut flights = 0;
        loop {
            let before = self.turns.len();
            for by in [Side::Client, Side::Server] {
                let (from, to) = match by {
                    Side::Client => (&mut self.client, &mut self.server),
                    Side::Server => (&mut self.server, &mut self.client),
                };
                loop {
                    let mut flight = Vec::new();
                    let keys = from.write_handshake(&mut flight);
                    let (says, has_keys) = (!flight.is_empty(), keys.is_some());
                    if !says && !has_keys {
                        break;
                    }
                    self.turns.push(Turn {
                        by,
                        says,
                        keys: has_keys,
                    });
                    self.keys[by as usize].extend(keys);
                    if says {
                        mangle(flights, &mut flight);
                        flights += 1;
                        to.read_handshake(&flight)?;
                        // With the keys of what was heard the other end hears what comes next.
                        break;
                    }
                }
            }
            if self.turns.len() == before {
                return Ok(());
            }
        }
    }

    fn is_up(&self) -> bool {
        !self.client.is_handshaking() && !self.server.is_handshaking()
    }

    fn exported(&self, label: &[u8], context: &[u8]) -> [[u8; 32]; 2] {
        [&self.client, &self.server].map(|end| {
            let mut bytes = [0; 32];
            let exported = end.export_keying_material(&mut bytes, label, context);
            assert_eq!(exported, Ok(()), "the handshake is done");
            bytes
        })
    }
}

/// Ends that are up.
fn shaken(crypto: CryptoMode, client: u8, server: u8) -> Ends {
    let mut ends = Ends::new(crypto, client, server);
    let shaken = ends.shake(|_, _| {});
    assert_eq!((shaken, ends.is_up()), (Ok(()), true), "{crypto:?}");
    ends
}

#[test]
fn the_flights_and_their_packet_spaces_are_those_of_tls() {
    let [null, rustls] = MODES.map(|crypto| shaken(crypto, 1, 2).turns);
    assert_eq!(null, rustls);
    assert_eq!(null.iter().filter(|turn| turn.says).count(), 4, "{null:?}");
}

#[test]
fn both_ends_tell_the_protocol_and_the_server_its_name() {
    for crypto in MODES {
        let ends = shaken(crypto, 1, 2);
        let [client, server] = [&ends.client, &ends.server].map(|end| {
            assert_eq!(end.transport_parameters().expect("heard"), Some(params()));
            let data = end.handshake_data().expect("heard");
            *data.downcast::<HandshakeData>().expect("of this type")
        });
        for data in [&client, &server] {
            assert_eq!(data.protocol.as_deref(), Some(&b"kwik/1"[..]), "{crypto:?}");
        }
        assert_eq!(server.server_name.as_deref(), Some(SERVER_NAME));
    }
}

#[test]
fn the_same_seeds_say_the_same_and_others_do_not() {
    let said = |client, server| {
        let mut said = Vec::new();
        let mut ends = Ends::new(CryptoMode::Null, client, server);
        let shaken = ends.shake(|_, flight| said.push(flight.clone()));
        assert_eq!(shaken, Ok(()));
        said
    };
    let one = said(1, 2);
    assert_eq!(one, said(1, 2));
    let others = [said(3, 2), said(1, 3)];
    assert_ne!(one[0], others[0][0], "the client's hello");
    assert_eq!(one[0], others[1][0]);
    assert_ne!(one[1], others[1][1], "the server's hello");
}

#[test]
fn a_second_handshake_of_the_same_endpoints_has_secrets_of_its_own() {
    let crypto = |seed| NullCrypto::new([seed; 32]);
    let client = crypto(1).client_config(Trust::Anybody);
    let server = crypto(2).server_config(&identity(CryptoMode::Null).certificate_der);
    let [one, other] = [(); 2].map(|()| {
        let client = Arc::clone(&client).start_session(1, SERVER_NAME, &params());
        let server = Arc::clone(&server).start_session(1, &params());
        let mut ends = Ends::of(client.expect("a name"), server);
        assert_eq!(ends.shake(|_, _| {}), Ok(()));
        ends.exported(LABEL, b"")
    });
    assert_eq!(one[0], one[1]);
    assert_ne!(one, other);
}

/// [JOIN-3]
#[test]
fn exported_keying_material_is_that_of_one_connection_alone() {
    for crypto in MODES {
        let ends = shaken(crypto, 1, 2);
        let [client, server] = ends.exported(LABEL, b"");
        assert_eq!(client, server, "{crypto:?}");
        let others = [
            ends.exported(b"EXPORTER-other", b"")[0],
            ends.exported(LABEL, b"context")[0],
            // Another server's random, and another client's.
            shaken(crypto, 1, 3).exported(LABEL, b"")[0],
            shaken(crypto, 3, 2).exported(LABEL, b"")[0],
        ];
        assert!(!others.contains(&client), "{crypto:?}");
        let mut longer = [0; 64];
        let exported = ends.client.export_keying_material(&mut longer, LABEL, b"");
        assert_eq!(exported, Ok(()));
        assert_ne!(longer[..32], client, "another length, other bytes");
        assert_ne!(longer[32..], longer[..32]);
        let mut endless = vec![0; 1 << 16];
        let exported = ends.client.export_keying_material(&mut endless, LABEL, b"");
        assert!(exported.is_err());
    }
}

#[test]
fn nothing_is_exported_before_the_handshake_is_done() {
    for crypto in MODES {
        let ends = Ends::new(crypto, 1, 2);
        for end in [&ends.client, &ends.server] {
            let mut bytes = [0; 32];
            let exported = end.export_keying_material(&mut bytes, LABEL, b"");
            assert!(exported.is_err(), "{crypto:?}");
        }
    }
}

/// [CONN-1]
#[test]
fn a_server_of_another_protocol_is_not_spoken_to() {
    let [client, server] = [1, 2].map(|seed| NullCrypto::new([seed; 32]));
    let server = server.speaking(b"h3");
    let client = client.client_config(Trust::Anybody);
    let server = server.server_config(&identity(CryptoMode::Null).certificate_der);
    let client = client.start_session(1, SERVER_NAME, &params());
    let mut ends = Ends::of(client.expect("a name"), server.start_session(1, &params()));
    let error = ends.shake(|_, _| {}).expect_err("refused");
    assert_eq!(error.code, TransportErrorCode::crypto(120));
    assert_eq!(ends.turns.len(), 1, "the server has not answered");

    // Nor one that answers for another protocol than it was asked for.
    let mut ends = Ends::new(CryptoMode::Null, 1, 2);
    let other = |flight, bytes: &mut Vec<u8>| {
        if flight == 2 {
            assert_eq!(&bytes[6..12], b"kwik/1");
            bytes[6..12].copy_from_slice(b"kwik/2");
        }
    };
    let error = ends.shake(other).expect_err("refused");
    assert_eq!(error.code, TransportErrorCode::crypto(120));
}

#[test]
fn a_handshake_of_which_any_bit_was_changed_fails() {
    let mut lengths = Vec::new();
    let mut whole = Ends::new(CryptoMode::Null, 1, 2);
    let shaken = whole.shake(|_, bytes| lengths.push(bytes.len()));
    assert_eq!(shaken, Ok(()));
    for (flight, length) in lengths.into_iter().enumerate() {
        for bit in 0..length * 8 {
            let mut ends = Ends::new(CryptoMode::Null, 1, 2);
            let shaken = ends.shake(|at, bytes| {
                if at == flight {
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
            });
            let ended = shaken.is_err() || !ends.is_up();
            assert!(ended, "bit {bit} of flight {flight} does not count");
        }
    }
}

#[test]
fn what_is_no_handshake_is_an_error_and_no_panic() {
    let chance = Chance::new(1, Purpose::Content, 0);
    for round in 0..20_000 {
        let mut ends = Ends::new(CryptoMode::Null, 1, 2);
        let bytes_of_round = chance.bytes(round);
        let [flight, kind, length] = [0, 1, 2].map(|at| usize::from(bytes_of_round[at]));
        let shaken = ends.shake(|at, bytes| {
            if at != flight % 4 {
                return;
            }
            match kind % 4 {
                0 => *bytes = bytes_of_round.to_vec(),
                // A proper head before the nonsense.
                1 => {
                    let nonsense = bytes_of_round.iter().cycle();
                    bytes[4..]
                        .iter_mut()
                        .zip(nonsense)
                        .for_each(|(b, n)| *b = *n);
                }
                2 => bytes.truncate(length % bytes.len()),
                _ => bytes.extend_from_slice(&bytes_of_round[..1 + length % 31]),
            }
        });
        assert!(shaken.is_err() || !ends.is_up(), "round {round}");
    }
}

#[test]
fn a_message_without_end_is_not_waited_for() {
    for crypto in MODES {
        let mut ends = Ends::new(crypto, 1, 2);
        // The kind of a ClientHello, and the greatest length.
        let refused = ends.server.read_handshake(&[1, 0xff, 0xff, 0xff]);
        assert!(refused.is_err(), "{crypto:?}");
    }
}

#[test]
fn a_message_that_is_longer_than_its_fields_is_refused() {
    let mut ends = Ends::new(CryptoMode::Null, 1, 2);
    let mut hello = Vec::new();
    ends.client.write_handshake(&mut hello);
    hello.push(0);
    hello[3] += 1;
    assert!(ends.server.read_handshake(&hello).is_err());
}

#[test]
fn after_the_handshake_nothing_more_is_heard() {
    let mut ends = shaken(CryptoMode::Null, 1, 2);
    for end in [&mut ends.client, &mut ends.server] {
        assert!(end.read_handshake(&[0]).is_err());
    }
}

/// Carries all that one end has to say to the other, byte by byte; tells how often the other had news
/// of what was agreed.
fn drip(from: &mut dyn Session, to: &mut dyn Session) -> usize {
    let mut news = 0;
    loop {
        let mut flight = Vec::new();
        let keys = from.write_handshake(&mut flight);
        if flight.is_empty() && keys.is_none() {
            return news;
        }
        for byte in flight {
            let has_news = to.read_handshake(&[byte]).expect("a byte of a message");
            news += usize::from(has_news);
        }
    }
}

#[test]
fn a_message_may_come_in_any_pieces() {
    for crypto in MODES {
        let mut ends = Ends::new(crypto, 1, 2);
        let mut news = [0; 2];
        for _ in 0..3 {
            news[0] += drip(&mut *ends.client, &mut *ends.server);
            news[1] += drip(&mut *ends.server, &mut *ends.client);
        }
        assert!(ends.is_up(), "{crypto:?}");
        assert_eq!(news, [1, 1], "{crypto:?}");
    }
}

#[test]
fn what_belongs_into_another_packet_space_is_refused() {
    for crypto in MODES {
        let mut ends = Ends::new(crypto, 1, 2);
        let mut hello = Vec::new();
        ends.client.write_handshake(&mut hello);
        ends.server.read_handshake(&hello).expect("understood");
        let mut flights = Vec::new();
        while ends.server.write_handshake(&mut flights).is_some() {}
        assert!(ends.client.read_handshake(&flights).is_err(), "{crypto:?}");
    }
}

/// A packet of these sizes, its number in the header, sealed.
fn sealed(key: &dyn PacketKey, number: u64, payload: usize) -> Vec<u8> {
    let mut packet = vec![0x40; HEADER_BYTES];
    packet.extend((0..=u8::MAX).cycle().take(payload));
    packet.resize(packet.len() + key.tag_len(), 0);
    key.encrypt(number, &mut packet, HEADER_BYTES);
    packet
}

const HEADER_BYTES: usize = 13;

/// The payload of a packet that the key holds for whole.
fn open(key: &dyn PacketKey, number: u64, packet: &[u8]) -> Option<Vec<u8>> {
    let (header, payload) = packet.split_at(HEADER_BYTES);
    let mut payload = BytesMut::from(payload);
    key.decrypt(number, header, &mut payload).ok()?;
    Some(payload.to_vec())
}

/// Asserts that what one end seals the other opens, in both directions, and nobody else does.
fn assert_match(client: &KeyPair<Box<dyn PacketKey>>, server: &KeyPair<Box<dyn PacketKey>>) {
    for (from, to) in [(client, server), (server, client)] {
        let packet = sealed(&*from.local, 7, 100);
        let payload: Vec<u8> = (0..100).collect();
        assert_eq!(open(&*to.remote, 7, &packet), Some(payload));
        assert_eq!(open(&*to.remote, 8, &packet), None, "another number");
        assert_eq!(open(&*from.remote, 7, &packet), None, "the other direction");
    }
}

#[test]
fn both_ends_have_the_same_keys_in_every_space_and_after_every_update() {
    for crypto in MODES {
        let mut ends = shaken(crypto, 1, 2);
        let [mut client, mut server] = std::mem::take(&mut ends.keys).map(|keys| {
            let packet_keys = keys.into_iter().map(|keys| keys.packet);
            packet_keys.collect::<Vec<_>>()
        });
        for _ in 0..3 {
            client.extend(ends.client.next_1rtt_keys());
            server.extend(ends.server.next_1rtt_keys());
        }
        assert_eq!((client.len(), server.len()), (5, 5));
        for (at, client) in client.iter().enumerate() {
            for (other, server) in server.iter().enumerate() {
                if at == other {
                    assert_match(client, server);
                } else {
                    let packet = sealed(&*client.local, 7, 100);
                    assert_eq!(open(&*server.remote, 7, &packet), None, "{at} {other}");
                }
            }
        }
    }
}

#[test]
fn a_packet_of_another_connection_is_not_opened() {
    for crypto in MODES {
        let one = shaken(crypto, 1, 2).keys;
        for other in [shaken(crypto, 1, 3).keys, shaken(crypto, 3, 2).keys] {
            for (client, server) in one[0].iter().zip(&other[1]) {
                let packet = sealed(&*client.packet.local, 7, 100);
                assert_eq!(open(&*server.packet.remote, 7, &packet), None, "{crypto:?}");
            }
        }
    }
}

#[test]
fn every_bit_of_a_packet_counts_and_so_does_its_length() {
    let keys = shaken(CryptoMode::Null, 1, 2).keys;
    let (from, to) = (&*keys[0][1].packet.local, &*keys[1][1].packet.remote);
    for payload in [0, 1, 4, 9, 100, 200, 300, 1200] {
        let packet = sealed(from, 7, payload);
        assert!(open(to, 7, &packet).is_some());
        for bit in 0..packet.len() * 8 {
            let mut damaged = packet.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(to, 7, &damaged), None, "bit {bit} of {payload}");
        }
        for length in HEADER_BYTES..packet.len() {
            assert_eq!(open(to, 7, &packet[..length]), None, "{length} bytes");
        }
        assert_eq!(open(to, 7, &[&packet[..], &[0]].concat()), None);
    }
}

#[test]
fn initial_packets_hang_on_the_first_destination_id() {
    for crypto in MODES {
        let ends = Ends::new(crypto, 1, 2);
        let server = server_crypto(crypto, &identity(crypto), [2; 32]);
        let ids = [&[1; 16], &[2; 16]].map(|id| ConnectionId::new(id));
        let client = ends.client.initial_keys(&ids[0], Side::Client).packet;
        let keys = |id| server.initial_keys(1, id).expect("version 1").packet;
        assert_match(&client, &keys(&ids[0]));
        let packet = sealed(&*client.local, 7, 100);
        assert_eq!(open(&*keys(&ids[1]).remote, 7, &packet), None);
        assert!(server.initial_keys(0xbad, &ids[0]).is_err());
    }
}

#[test]
fn a_retry_is_believed_only_by_whom_it_answers_and_undamaged() {
    for crypto in MODES {
        let client = Ends::new(crypto, 1, 2).client;
        let server = server_crypto(crypto, &identity(crypto), [2; 32]);
        let ids = [&[1; 16], &[2; 16]].map(|id| ConnectionId::new(id));
        let mut retry = b"header and token".to_vec();
        retry.extend(server.retry_tag(1, &ids[0], &retry));
        let is_valid = |id, retry: &[u8]| client.is_valid_retry(id, &retry[..6], &retry[6..]);
        assert!(is_valid(&ids[0], &retry), "{crypto:?}");
        assert!(!is_valid(&ids[1], &retry));
        assert!(!is_valid(&ids[0], &retry[..20]), "too short for a tag");
        for byte in 0..retry.len() {
            let mut damaged = retry.clone();
            damaged[byte] ^= 1;
            assert!(!is_valid(&ids[0], &damaged), "byte {byte}");
        }
    }
}

//! No server is a weapon: to an address that never answered it, it sends no more than three times what
//! came from there (RFC 9000 §8.1 and §9.3), whatever the address has heard.
//!
//! In a handshake that holds to the byte. After a migration quinn-proto 0.11 is more generous: as long as
//! anything of the three times is left it sends a whole datagram, which may go beyond; a probe for a larger
//! MTU is not held against the account; and if the address cannot be validated for three probe timeouts,
//! the address before is returned to and the account forgotten, so that the next datagram from there opens
//! another. The bounds here are those of that rule: a hostile client that forges its address gets a few
//! datagrams sent to a victim for each of its own.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use kwik_sim::link::LinkSpec;
use kwik_sim::world::{Exchanged, HostId};
use kwik_sim::{CryptoMode, Setting, Stage};

use crate::SECOND;

const MIB: u64 = 1 << 20;

/// The largest datagram that quinn sends.
const DATAGRAM_BYTES: u64 = 1452;

/// Those that an account may be exceeded by: the one with the rest of it, and a probe.
const DATAGRAMS_BEYOND: u64 = 2;

/// How often an address that goes on sending is given up and taken up again in the time that a connection
/// has to live.
const ACCOUNTS_MAX: u64 = 5;

const CRYPTOS: [CryptoMode; 2] = [CryptoMode::Null, CryptoMode::Rustls];

fn servers(stage: &Stage) -> Vec<HostId> {
    let mut servers = stage.secondaries.clone();
    servers.push(stage.primary);
    servers
}

/// Cuts or heals what goes from the client to the servers, or from them to it.
fn set_cut(stage: &mut Stage, is_uplink: bool, cut: bool) {
    for server in servers(stage) {
        let (from, to) = match is_uplink {
            true => (stage.client, server),
            false => (server, stage.client),
        };
        stage.world.link(from, to).set_cut(cut);
    }
}

fn with(stage: &Stage, server: HostId, addr: SocketAddr) -> Exchanged {
    let mut exchanged = stage.world.exchanged(server);
    exchanged
        .find(|(with, _)| *with == addr)
        .map(|(_, exchanged)| exchanged)
        .unwrap_or_default()
}

/// A transfer in full swing, with the address at which the client is seen.
fn transferring(seed: u64, crypto: CryptoMode) -> (Stage, SocketAddr) {
    let link = LinkSpec {
        bandwidth_bits_per_second: Some(10_000_000),
        queue_max_bytes: 64 << 10,
        ..LinkSpec::default()
    };
    let mut setting = Setting::new(seed, 2, 8 * MIB).link(link);
    setting.crypto = crypto;
    let mut stage = setting.build();
    stage.world.keep_ledger();
    assert!(stage.run_until_percent(30, 20 * SECOND));
    let addr = stage.world.addr(stage.client);
    for server in servers(&stage) {
        // The account can tell: what is validated gets more.
        assert!(with(&stage, server, addr).beyond_triple > 10_000);
    }
    (stage, addr)
}

#[test]
fn an_address_from_which_a_client_is_heard_but_once_gets_two_datagrams_beyond_three_times_that() {
    for (seed, crypto) in (0..4).zip(CRYPTOS.into_iter().cycle()) {
        for address in [false, true] {
            let (mut stage, old) = transferring(seed, crypto);
            stage.world.rebind(stage.client, address);
            let new = stage.world.addr(stage.client);
            assert_ne!(old, new);
            let servers = servers(&stage);
            // It is heard from its new address, by one after the other, and never again.
            let mut silent: BTreeSet<HostId> = servers.iter().copied().collect();
            while !silent.is_empty() && stage.world.step(20 * SECOND).is_some() {
                for server in silent.clone() {
                    if with(&stage, server, new).received > 0 {
                        stage.world.link(stage.client, server).set_cut(true);
                        silent.remove(&server);
                    }
                }
            }
            assert!(silent.is_empty(), "somebody never heard of the client");
            stage.world.run_for(40 * SECOND);
            assert_eq!(stage.world.fault(), None);
            for server in servers {
                let exchanged = with(&stage, server, new);
                assert!(exchanged.sent > 0, "{exchanged:?}");
                assert!(
                    exchanged.beyond_triple < DATAGRAMS_BEYOND * DATAGRAM_BYTES,
                    "{exchanged:?}"
                );
            }
        }
    }
}

#[test]
fn an_address_from_which_nothing_came_gets_nothing() {
    let (mut stage, _) = transferring(1, CryptoMode::Null);
    set_cut(&mut stage, true, true);
    stage.world.rebind(stage.client, true);
    let new = stage.world.addr(stage.client);
    stage.world.run_for(40 * SECOND);
    for server in servers(&stage) {
        assert_eq!(with(&stage, server, new), Exchanged::default());
    }
}

#[test]
fn an_address_that_hears_nothing_gets_them_beyond_for_each_attempt_to_validate_it() {
    let (mut stage, _) = transferring(1, CryptoMode::Null);
    set_cut(&mut stage, false, true);
    stage.world.rebind(stage.client, true);
    let new = stage.world.addr(stage.client);
    stage.world.run_for(40 * SECOND);
    let mut heard = 0;
    for server in servers(&stage) {
        let exchanged = with(&stage, server, new);
        heard += exchanged.received;
        let beyond_max = ACCOUNTS_MAX * DATAGRAMS_BEYOND * DATAGRAM_BYTES;
        assert!(exchanged.beyond_triple < beyond_max, "{exchanged:?}");
    }
    assert!(heard > 0);
}

#[test]
fn addresses_that_only_say_hello_get_no_more_than_three_times_that() {
    // How many of a client's datagrams come through, from an address at which nobody hears the answer.
    for (crypto, heard) in [(CRYPTOS[0], 1), (CRYPTOS[1], 1), (CRYPTOS[1], 64)] {
        let mut setting = Setting::new(1, 0, MIB);
        setting.crypto = crypto;
        let mut stage = setting.build();
        stage.world.keep_ledger();
        set_cut(&mut stage, false, true);
        let mut spoofed = Vec::new();
        for _ in 0..20 {
            stage.world.rebind(stage.client, true);
            stage.world.restart(stage.client);
            let addr = stage.world.addr(stage.client);
            spoofed.push(addr);
            stage.world.link(stage.client, stage.primary).set_cut(false);
            let limit = stage.world.time() + SECOND;
            let (client, primary) = (stage.client, stage.primary);
            let before = stage.world.link(client, primary).stats().datagrams;
            while stage.world.step(limit).is_some() {
                let sent = stage.world.link(client, primary).stats().datagrams;
                if with(&stage, primary, addr).received > 0 && sent - before >= heard {
                    stage.world.set_cut(client, primary, true);
                }
            }
        }
        stage.world.crash(stage.client);
        stage.world.run_for(Duration::from_secs(120));
        let mut answered = 0;
        for addr in spoofed {
            let exchanged = with(&stage, stage.primary, addr);
            assert!(exchanged.received >= 1200, "{exchanged:?}");
            assert_eq!(exchanged.beyond_triple, 0, "{exchanged:?}");
            answered += u32::from(exchanged.sent > 0);
        }
        assert_eq!(answered, 20, "{crypto:?}");
    }
}

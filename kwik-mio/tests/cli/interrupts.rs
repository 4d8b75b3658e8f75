//! Signals.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::house::{House, PATIENCE, eventually, finish, get, signal, wait};

#[test]
fn an_interrupted_transfer_leaves_nothing() {
    let house = House::new();
    let server = house.server("a", &["--rate", "4"]);
    house.file("root/file", 4 << 20);
    for name in ["INT", "TERM"] {
        let child = get(&server.url("file"), house.path("out/file"), &server.pin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        house.await_content();
        signal(&child, name);
        let begun = Instant::now();
        finish(child, PATIENCE).assert_fails(130, "interrupted");
        assert!(begun.elapsed() < Duration::from_secs(3));
        assert!(house.fetched().is_empty(), "{:?}", house.fetched());
    }
}

#[test]
fn a_transfer_can_be_interrupted_before_the_server_answers() {
    let house = House::new();
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let url = format!("kwik://{}/file", silent.local_addr().unwrap());
    let child = get(&url, house.path("out/file"), &"00".repeat(32))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("the transfer has begun", || house.fetched().len() == 1);
    signal(&child, "INT");
    let got = finish(child, Duration::from_secs(5));
    assert_eq!(got.code, Some(130), "{got:?}");
    assert!(house.fetched().is_empty());
}

#[test]
fn a_server_ends_cleanly_and_its_clients_know() {
    for name in ["TERM", "INT"] {
        let house = House::new();
        let mut server = house.server("a", &["--rate", "4"]);
        house.file("root/file", 4 << 20);
        let child = get(&server.url("file"), house.path("out/file"), &server.pin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        house.await_content();
        signal(&server.child, name);
        let status = wait(&mut server.child, Duration::from_secs(6));
        assert_eq!(status.code(), Some(0));
        finish(child, Duration::from_secs(5)).assert_fails(1, "closed the session");
        assert!(house.fetched().is_empty());
    }
}

#[test]
fn a_server_whose_starter_is_gone_ends() {
    let house = House::new();
    let mut server = house.server("a", &[]);
    drop(server.child.stdin.take());
    let status = wait(&mut server.child, Duration::from_secs(6));
    assert_eq!(status.code(), Some(0));
}

/// [OVL-1] [FILE-6]
#[test]
fn a_file_that_changes_while_it_is_served_does_not_arrive() {
    let house = House::new();
    let server = house.server("a", &["--rate", "16"]);
    let file = house.file("root/file", 3 << 20);
    let child = get(&server.url("file"), house.path("out/file"), &server.pin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    house.await_content();
    std::fs::write(file, "something else").unwrap();
    finish(child, PATIENCE).assert_fails(1, "changed");
    assert!(house.fetched().is_empty());
}

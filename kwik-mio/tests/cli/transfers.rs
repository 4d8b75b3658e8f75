//! What arrives.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

use crate::house::{House, PATIENCE, get, run};

#[test]
fn files_of_any_size_arrive_byte_for_byte() {
    let house = House::new();
    let server = house.server("a", &[]);
    for (name, size) in [("empty", 0), ("one", 1), ("several", 3 << 20)] {
        house.file(format!("root/{name}"), size);
        let got = house.get(&server, name, &["--json"]);
        got.assert_succeeds();
        house.assert_fetched(name);
        let json = got.json();
        assert_eq!(json["bytes"], size);
        assert_eq!(json["paths"][0]["bytes"], size);
        assert_eq!(json["paths"][0]["share"], 1.0);
        assert_eq!(json["paths"][0]["role"], "primary");
        assert_eq!(json["paths"][0]["state"], "active");
        assert!(json.get("error").is_none());
        let hash = blake3::hash(&std::fs::read(house.path("out/file")).unwrap());
        assert_eq!(json["blake3"], hash.to_hex().as_str());
    }
}

#[test]
#[ignore = "takes a minute: the file is larger than 4 GiB"]
fn a_file_of_more_than_4_gib_arrives() {
    const SIZE: u64 = (4 << 30) + 4097;
    let house = House::new();
    let server = house.server("a", &[]);
    let large = std::fs::File::create(house.path("root/large")).unwrap();
    large.set_len(SIZE).unwrap();
    let output = house.path("out/file");
    let mut command = get(&server.url("large"), &output, &server.pin);
    run(&mut command, Duration::from_secs(300)).assert_succeeds();
    assert_eq!(output.metadata().unwrap().len(), SIZE);
}

#[test]
fn content_on_stdout_is_the_file_and_nothing_else() {
    let house = House::new();
    let server = house.server("a", &[]);
    let file = house.file("root/file", 3 << 20);
    let got = run(&mut get(&server.url("file"), "-", &server.pin), PATIENCE);
    got.assert_succeeds();
    assert!(got.stdout == std::fs::read(file).unwrap());
    assert!(house.fetched().is_empty());
}

#[test]
fn a_file_comes_over_ipv6() {
    if UdpSocket::bind("[::1]:0").is_err() {
        eprintln!("this machine has no IPv6");
        return;
    }
    let house = House::new();
    let server = house.server_of("root", "a", "[::1]:0", &[]);
    assert!(server.addr.starts_with("[::1]:"), "{}", server.addr);
    house.file("root/file", 100_000);
    house.get(&server, "file", &[]).assert_succeeds();
    house.assert_fetched("file");
}

#[test]
fn a_server_of_all_addresses_is_found_by_name() {
    let house = House::new();
    let server = house.server_of("root", "a", "0.0.0.0:0", &[]);
    house.file("root/file", 1000);
    let (_, port) = server.addr.rsplit_once(':').unwrap();
    let url = format!("kwik://localhost:{port}/file");
    house.get_url(&url, &server.pin, &[]).assert_succeeds();
    house.assert_fetched("file");
}

#[test]
fn a_name_is_decoded_exactly_once() {
    let house = House::new();
    let server = house.server("a", &[]);
    let name = "b c/%41 é?#.bin";
    house.file(format!("root/{name}"), 1000);
    let got = house.get(&server, "b%20c/%2541%20%C3%A9%3F%23.bin", &[]);
    got.assert_succeeds();
    house.assert_fetched(name);
}

#[test]
fn a_fetched_file_replaces_what_was_there_and_only_that() {
    let house = House::new();
    let server = house.server("a", &[]);
    house.file("root/file", 1000);
    std::fs::write(house.path("out/file"), "old").unwrap();
    house
        .get(&server, "nothing", &[])
        .assert_fails(1, "no such file");
    assert_eq!(std::fs::read(house.path("out/file")).unwrap(), b"old");
    house.get(&server, "file", &[]).assert_succeeds();
    house.assert_fetched("file");
}

#[test]
fn many_clients_are_served_at_once() {
    let house = House::new();
    let server = house.server("a", &[]);
    house.file("root/file", 2 << 20);
    let bytes = std::fs::read(house.path("root/file")).unwrap();
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let mut command = get(&server.url("file"), "-", &server.pin);
                let got = run(&mut command, PATIENCE);
                got.assert_succeeds();
                assert!(got.stdout == bytes);
            });
        }
    });
}

#[test]
fn a_cap_holds_for_each_client() {
    let house = House::new();
    // 1 MiB at 8 Mbit/s takes a second.
    let server = house.server("a", &["--rate", "8"]);
    house.file("root/file", 1 << 20);
    let rates: Vec<f64> = thread::scope(|scope| {
        let fetch = |name: &'static str| {
            let (house, server) = (&house, &server);
            move || {
                let output = house.path("out").join(name);
                let mut command = get(&server.url("file"), output, &server.pin);
                let got = run(command.arg("--json"), PATIENCE);
                got.json()["goodput_mbit_s"].as_f64().unwrap()
            }
        };
        let clients = ["x", "y"].map(|name| scope.spawn(fetch(name)));
        clients.map(|client| client.join().unwrap()).into()
    });
    for rate in rates {
        assert!((4.0..9.5).contains(&rate), "{rate}");
    }
}

#[test]
fn the_json_is_one_object_with_every_field() {
    let house = House::new();
    let server = house.server("a", &[]);
    house.file("root/file", 1 << 20);
    let fields = [
        "bytes",
        "seconds",
        "goodput_mbit_s",
        "blake3",
        "kwik_bytes",
        "overhead_pct",
        "grants",
        "regranted_bytes",
        "duplicate_bytes",
        "buffered_bytes_max",
        "aggregation_us",
        "paths",
    ];
    let keys = |json: serde_json::Value| -> BTreeSet<String> {
        json.as_object().unwrap().keys().cloned().collect()
    };
    let mut expected: BTreeSet<String> = fields.map(String::from).into();
    let got = house.get(&server, "file", &["--json", "--quiet"]);
    got.assert_succeeds();
    assert_eq!(got.stderr, "");
    assert_eq!(keys(got.json()), expected);
    let failed = house.get(&server, "nothing", &["--json"]);
    failed.assert_fails(1, "no such file");
    expected.insert("error".into());
    assert_eq!(keys(failed.json()), expected);
}

#[test]
fn an_identity_is_kept_and_shared_by_servers_that_start_at_once() {
    let house = House::new();
    let pins: Vec<String> = thread::scope(|scope| {
        let starts: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| house.server("same", &[]).pin.clone()))
            .collect();
        starts
            .into_iter()
            .map(|start| start.join().unwrap())
            .collect()
    });
    let later = house.server("same", &[]).pin.clone();
    assert!(pins.iter().all(|pin| *pin == later), "{pins:?}");
    assert_ne!(house.server("other", &[]).pin, later);
}

#[test]
fn key_files_are_private_and_a_derived_key_lets_a_secondary_in() {
    use std::os::unix::fs::MetadataExt;

    let house = House::new();
    let master = house.key();
    assert_eq!(house.path("key").metadata().unwrap().mode() & 0o777, 0o600);
    // The pin is known once the server has run.
    let pin = house.server("s", &[]).pin.clone();
    let peer = house.path("peer").to_str().unwrap().to_owned();
    let mut keygen = crate::house::kwik();
    keygen.args(["keygen", "--from", &master, "--for", &pin, &peer]);
    run(&mut keygen, PATIENCE).assert_succeeds();

    house.file("root/file", 4 << 20);
    let secondary = house.server("s", &["--peer-key", &peer, "--rate", "80"]);
    let named = secondary.as_secondary();
    let args = ["--peer-key", &master, "--secondary", &named, "--rate", "40"];
    let primary = house.server("p", &args);
    let got = house.get(&primary, "file", &["--json"]);
    got.assert_succeeds();
    house.assert_fetched("file");
    assert!(got.json()["paths"][1]["bytes"].as_u64().unwrap() > 0);
}

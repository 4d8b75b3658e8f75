//! Several servers, and what becomes of a transfer when one of them is of no use.

use std::net::UdpSocket;

use crate::house::{House, Run, Server};

/// Large and slow enough that all servers have their part.
const SIZE: u64 = 3 << 20;
const RATE: [&str; 2] = ["--rate", "12"];

/// A house with a file, a key, and a primary with one good secondary and one other.
struct Site {
    house: House,
    key: String,
    good: Server,
}

impl Site {
    fn new() -> Self {
        let house = House::new();
        house.file("root/file", SIZE);
        let key = house.key();
        let good = house.server("good", &[&["--peer-key", &key], &RATE[..]].concat());
        Self { house, key, good }
    }

    /// A secondary that serves another folder.
    fn server_of(&self, root: &str) -> Server {
        let args = [&["--peer-key", &self.key], &RATE[..]].concat();
        self.house.server_of(root, "other", "127.0.0.1:0", &args)
    }

    /// Fetches the file from a primary that has the good secondary and this one.
    fn get(&self, other: &str) -> Run {
        let good = self.good.as_secondary();
        let mut args = vec!["--peer-key", &self.key];
        args.extend(["--secondary", &good, "--secondary", other]);
        args.extend(RATE);
        let primary = self.house.server("primary", &args);
        let got = self.house.get(&primary, "file", &["--json"]);
        got.assert_succeeds();
        self.house.assert_fetched("file");
        got
    }
}

/// The part of each server, the primary first.
fn shares(run: &Run) -> Vec<f64> {
    let json = run.json();
    let paths = json["paths"].as_array().expect("a list");
    let share = |path: &serde_json::Value| path["share"].as_f64().expect("a number");
    let shares: Vec<f64> = paths.iter().map(share).collect();
    let sum: f64 = shares.iter().sum();
    assert!((sum - 1.0).abs() < 1e-9, "{shares:?}");
    shares
}

/// The others brought the file, and the summary says that `addr` brought nothing.
fn assert_done_without(run: &Run, addr: &str) {
    let shares = shares(run);
    assert!(shares[0] > 0.1 && shares[1] > 0.1, "{shares:?}");
    assert_eq!(shares[2], 0.0, "{shares:?}");
    let line = run.stderr.lines().find(|line| line.contains(addr));
    let line = line.unwrap_or_else(|| panic!("{addr} is not in {run:?}"));
    assert!(line.contains("brought nothing"), "{line}");
}

#[test]
fn three_processes_bring_one_file() {
    let site = Site::new();
    let other = site.server_of("root");
    let got = site.get(&other.as_secondary());
    for share in shares(&got) {
        assert!(share > 0.1, "{got:?}");
    }
    let json = got.json();
    assert!(json["grants"].as_u64().unwrap() > 1);
    assert!(json["kwik_bytes"].as_u64().unwrap() > 0);
    assert!(json["aggregation_us"]["p50"].as_f64().unwrap() > 0.0);
    let roles: Vec<&str> = json["paths"]
        .as_array()
        .unwrap()
        .iter()
        .map(|path| path["role"].as_str().unwrap())
        .collect();
    assert_eq!(roles, ["primary", "secondary", "secondary"]);
}

#[test]
fn a_secondary_that_is_down_is_done_without() {
    let site = Site::new();
    // Bound and silent.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = silent.local_addr().unwrap().to_string();
    let got = site.get(&format!("{addr},pin={}", "00".repeat(32)));
    assert_done_without(&got, &addr);
}

#[test]
fn a_secondary_with_another_pin_is_done_without() {
    let site = Site::new();
    let other = site.server_of("root");
    let got = site.get(&format!("{},pin={}", other.addr, "00".repeat(32)));
    assert_done_without(&got, &other.addr);
    assert_eq!(got.json()["paths"][2]["state"], "dead");
}

#[test]
fn a_secondary_that_lacks_the_file_is_done_without() {
    let site = Site::new();
    std::fs::create_dir(site.house.path("root2")).unwrap();
    let other = site.server_of("root2");
    let got = site.get(&other.as_secondary());
    assert_done_without(&got, &other.addr);
}

#[test]
fn a_secondary_with_a_file_of_another_size_is_done_without() {
    let site = Site::new();
    site.house.file("root2/file", SIZE - 1);
    let other = site.server_of("root2");
    let got = site.get(&other.as_secondary());
    assert_done_without(&got, &other.addr);
}

#[test]
fn a_secondary_with_another_key_is_done_without() {
    let site = Site::new();
    let wrong = site.house.path("wrong").to_str().unwrap().to_owned();
    let mut keygen = crate::house::kwik();
    crate::house::run(keygen.args(["keygen", &wrong]), crate::house::PATIENCE).assert_succeeds();
    let other = site.house.server("other", &["--peer-key", &wrong]);
    let got = site.get(&other.as_secondary());
    assert_done_without(&got, &other.addr);
    assert_eq!(got.json()["paths"][2]["state"], "dead");
}

#[test]
fn a_secondary_with_other_bytes_is_found_out() {
    let site = Site::new();
    let mut bytes = std::fs::read(site.house.path("root/file")).unwrap();
    bytes.iter_mut().for_each(|byte| *byte ^= 1);
    std::fs::create_dir(site.house.path("root2")).unwrap();
    std::fs::write(site.house.path("root2/file"), bytes).unwrap();
    let other = site.server_of("root2");
    let named = other.as_secondary();
    let args = ["--peer-key", &site.key, "--secondary", &named];
    let primary = site
        .house
        .server("primary", &[&args[..], &RATE[..]].concat());
    let got = site.house.get(&primary, "file", &["--quiet"]);
    got.assert_fails(3, "hash");
    assert!(site.house.fetched().is_empty());
}

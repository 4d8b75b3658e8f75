//! Bad input: one clear line, the exit code, and nothing under the final name.

use std::fs::Permissions;
use std::net::UdpSocket;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Stdio;
use std::thread;

use crate::house::{House, PATIENCE, finish, get, kwik, run};

fn pin() -> String {
    "ab".repeat(32)
}

#[test]
fn what_makes_no_sense_is_a_usage_error() {
    let house = House::new();
    let out = house.path("out/file").to_str().unwrap().to_owned();
    let pin = pin();
    let root = house.path("root").to_str().unwrap().to_owned();
    let secondary = format!("127.0.0.1:4434,pin={pin}");
    let serve = ["serve", "--listen", "127.0.0.1:0", "--root", &root];
    for (args, part) in [
        (vec!["get", "kwik://h/a", "-o", &out], "--pin"),
        (vec!["get", "kwik://h/a", "--pin", &pin], "--output"),
        (vec!["get", "-o", &out, "--pin", &pin], "URL"),
        (
            vec!["get", "http://h/a", "-o", &out, "--pin", &pin],
            "kwik://",
        ),
        (
            vec!["get", "kwik://h", "-o", &out, "--pin", &pin],
            "no file",
        ),
        (
            vec!["get", "kwik://u@h/a", "-o", &out, "--pin", &pin],
            "user",
        ),
        (
            vec!["get", "kwik://h/a?b", "-o", &out, "--pin", &pin],
            "query",
        ),
        (
            vec!["get", "kwik://h/a#b", "-o", &out, "--pin", &pin],
            "fragment",
        ),
        (
            vec!["get", "kwik://h:0/a", "-o", &out, "--pin", &pin],
            "port",
        ),
        (
            vec!["get", "kwik://h/%zz", "-o", &out, "--pin", &pin],
            "percent",
        ),
        (
            vec!["get", "kwik://h/a", "-o", &out, "--pin", "12"],
            "64 hex",
        ),
        (
            vec!["get", "kwik://h/a", "-o", "-", "--pin", &pin, "--json"],
            "stdout",
        ),
        (vec!["serve", "--root", &root], "--listen"),
        (
            [&serve[..], &["--secondary", &secondary]].concat(),
            "--peer-key",
        ),
        ([&serve[..], &["--rate", "0"]].concat(), "--rate"),
        (vec!["keygen"], "FILE"),
        (vec!["demo", "--size", "1"], "4M"),
        (vec!["fly"], "fly"),
        (vec![], "subcommand"),
    ] {
        run(kwik().args(&args), PATIENCE).assert_fails(2, part);
        assert!(house.fetched().is_empty(), "{args:?}");
    }
}

#[test]
fn the_wrong_server_is_not_trusted() {
    let house = House::new();
    let server = house.server("a", &[]);
    house.file("root/file", 1000);
    house
        .get_url(&server.url("file"), &pin(), &[])
        .assert_fails(3, "pin");
    assert!(house.fetched().is_empty());
}

#[test]
fn what_is_not_a_file_below_the_root_is_not_served() {
    let house = House::new();
    let server = house.server("a", &[]);
    house.file("root/sub/file", 10);
    let secret = house.file("secret", 10);
    symlink(&secret, house.path("root/link")).unwrap();
    symlink(house.path("."), house.path("root/up")).unwrap();
    let mkfifo = std::process::Command::new("mkfifo")
        .arg(house.path("root/pipe"))
        .status();
    assert!(mkfifo.unwrap().success());
    let absolute = format!("/{}", secret.display());
    for (path, part) in [
        ("nothing", "no such file"),
        ("sub/file/more", "no such file"),
        ("sub", "not a regular file"),
        ("pipe", "not a regular file"),
        ("../secret", "outside"),
        ("sub/../../secret", "outside"),
        ("%2e%2e/secret", "outside"),
        ("%2e%2e%2fsecret", "outside"),
        ("%252e%252e/secret", "no such file"),
        ("..%5csecret", "no such file"),
        (&absolute, "outside"),
        ("%2Fetc%2Fpasswd", "outside"),
        ("link", "outside"),
        ("up/secret", "outside"),
    ] {
        house.get(&server, path, &[]).assert_fails(1, part);
        assert!(house.fetched().is_empty(), "{path}");
    }
    house.get(&server, "sub/file", &[]).assert_succeeds();
}

#[test]
fn a_primary_that_does_not_answer_is_given_up() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let nobody = {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.local_addr().unwrap()
    };
    let addrs = [silent.local_addr().unwrap(), nobody];
    thread::scope(|scope| {
        for addr in addrs {
            scope.spawn(move || {
                let house = House::new();
                let url = format!("kwik://{addr}/file");
                house
                    .get_url(&url, &pin(), &[])
                    .assert_fails(1, "within 10 s");
                assert!(house.fetched().is_empty());
            });
        }
    });
}

#[test]
fn a_host_that_does_not_exist_is_said_so() {
    let house = House::new();
    let got = house.get_url("kwik://nowhere.invalid/file", &pin(), &[]);
    got.assert_fails(1, "nowhere.invalid");
}

#[test]
fn without_a_place_for_the_file_nothing_is_fetched() {
    let house = House::new();
    let server = house.server("a", &[]);
    house.file("root/file", 10);
    let missing = house.path("missing/file");
    for (output, part) in [
        (missing.to_str().unwrap(), "missing"),
        // A folder in which nobody may make a file.
        ("/proc/kwik-test", "/proc/kwik-test"),
        (house.path("out").to_str().unwrap(), "not a regular file"),
        ("/dev/null", "not a regular file"),
    ] {
        let got = run(&mut get(&server.url("file"), output, &server.pin), PATIENCE);
        got.assert_fails(1, part);
    }
    assert!(house.fetched().is_empty());
}

#[test]
fn a_full_disk_is_a_failure() {
    let house = House::new();
    let server = house.server("a", &[]);
    house.file("root/file", 1 << 20);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let Ok(full) = full else {
        eprintln!("this machine has no /dev/full");
        return;
    };
    let child = get(&server.url("file"), "-", &server.pin)
        .stdout(full)
        .stderr(Stdio::piped())
        .spawn();
    finish(child.unwrap(), PATIENCE).assert_fails(1, "stdout");
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let house = House::new();
    let server = house.server("a", &[]);
    house.file("root/file", 8 << 20);
    let mut child = get(&server.url("file"), "-", &server.pin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let got = finish(child, PATIENCE);
    assert_eq!((got.code, got.stderr.as_str()), (Some(1), ""));
}

#[test]
fn a_server_that_cannot_serve_says_why() {
    let house = House::new();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let holder = UdpSocket::bind(&taken);
    let root = house.path("root").to_str().unwrap().to_owned();
    let file = house.file("plain", 10).to_str().unwrap().to_owned();
    let missing = house.path("missing").to_str().unwrap().to_owned();
    let identity = house.path("identity").to_str().unwrap().to_owned();
    let key = house.key();
    let loose = house.path("loose").to_str().unwrap().to_owned();
    std::fs::copy(&key, &loose).unwrap();
    std::fs::set_permissions(&loose, Permissions::from_mode(0o640)).unwrap();
    let free = "127.0.0.1:0";
    for (listen, root, more, part) in [
        (taken.as_str(), &root, vec![], "cannot listen"),
        (free, &missing, vec![], "missing"),
        (free, &file, vec![], "plain"),
        (free, &root, vec!["--peer-key", &loose], "by others"),
        (free, &root, vec!["--peer-key", &missing], "missing"),
        (free, &root, vec!["--peer-key", &file], "plain"),
    ] {
        let mut command = kwik();
        command.args(["serve", "--listen", listen, "--root", root]);
        command.args(["--identity", &identity]).args(more);
        let got = run(&mut command, PATIENCE);
        got.assert_fails(1, part);
        assert!(got.stdout.is_empty(), "it is not ready: {got:?}");
    }
    drop(holder);
}

#[test]
fn a_key_file_is_never_overwritten() {
    let house = House::new();
    let key = house.key();
    let before = std::fs::read(&key).unwrap();
    run(kwik().args(["keygen", &key]), PATIENCE).assert_fails(1, "never overwritten");
    assert_eq!(std::fs::read(&key).unwrap(), before);
}

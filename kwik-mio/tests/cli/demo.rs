//! The demo, and what it leaves behind: nothing.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::house::{eventually, finish, kwik, names, signal};

const DEMO_MAX: Duration = Duration::from_secs(75);

fn start(temp: &Path, args: &[&str]) -> Child {
    kwik()
        .arg("demo")
        .args(args)
        .env("TMPDIR", temp)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the demo starts")
}

/// Processes that were started with a path in this folder.
fn processes(folder: &Path) -> usize {
    let folder = folder.to_str().expect("text");
    let entries = std::fs::read_dir("/proc").expect("Linux");
    entries
        .filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok())
        .filter(|line| String::from_utf8_lossy(line).contains(folder))
        .count()
}

#[test]
fn all_five_scenarios_hold_and_nothing_stays() {
    let temp = tempfile::tempdir().unwrap();
    let demo = finish(start(temp.path(), &["--size", "16M", "--json"]), DEMO_MAX);
    demo.assert_succeeds();
    let json = demo.json();
    assert_eq!(json["ok"], true);
    let scenarios = json["scenarios"].as_array().unwrap();
    assert_eq!(scenarios.len(), 5);
    for scenario in scenarios {
        assert_eq!(scenario["bytes"], 16 << 20);
        assert_eq!(scenario["identical"], true);
        assert_eq!(scenario["problems"], serde_json::json!([]));
    }
    assert!(scenarios[4]["regranted_bytes"].as_u64().unwrap() > 0);
    assert!(names(temp.path()).is_empty());
    assert_eq!(processes(temp.path()), 0);
}

#[test]
fn an_interrupted_demo_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let child = start(temp.path(), &["--size", "4M"]);
    eventually("the servers run", || processes(temp.path()) >= 2);
    signal(&child, "INT");
    finish(child, Duration::from_secs(10)).assert_fails(130, "interrupted");
    assert!(names(temp.path()).is_empty());
    assert_eq!(processes(temp.path()), 0);
}

#[test]
fn the_servers_of_a_demo_that_is_killed_end_too() {
    let temp = tempfile::tempdir().unwrap();
    let mut child = start(temp.path(), &["--size", "4M"]);
    eventually("the servers run", || processes(temp.path()) >= 2);
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("no server runs", || processes(temp.path()) == 0);
}

//! The command as its users see it.

use std::path::Path;
use std::process::{Command, Output};

use kwik_sim::Scenario;
use kwik_sim::scenario::Server;

/// Runs the command.
fn kwik_sim(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kwik-sim"))
        .args(args)
        .env_remove("RUST_LOG")
        .output()
        .expect("the command starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// What it printed, if all went well.
fn clean(args: &[&str]) -> String {
    let output = kwik_sim(args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
    stdout(&output)
}

fn path(path: &Path) -> &str {
    path.to_str().expect("text")
}

#[test]
fn a_run_ends_with_its_trace_and_repeats() {
    let run = ["run", "--seed", "1", "--scenario", "two-secondaries"];
    let first = clean(&run);
    assert_eq!(first, clean(&run));
    let last = first.lines().last().expect("a line");
    let trace = last.strip_prefix("trace ").expect("the trace");
    assert!(
        trace.len() == 16 && u64::from_str_radix(trace, 16).is_ok(),
        "{last}"
    );
    let other = clean(&["run", "--seed", "2", "--scenario", "two-secondaries"]);
    assert_ne!(other.lines().last(), Some(last));
    assert!(first.contains("path 2  secondary"), "{first}");
}

#[test]
fn a_script_is_lived_like_the_scenario_that_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let (script, page) = (folder.path().join("a.ron"), folder.path().join("a.html"));
    std::fs::write(&script, Scenario::new(5, 1, 50_000).to_text()).expect("written");
    let told = clean(&["run", "--script", path(&script), "--timeline", path(&page)]);
    assert!(
        told.starts_with("seed 5: a primary and 1 secondary"),
        "{told}"
    );
    let page = std::fs::read_to_string(page).expect("a page");
    assert!(page.starts_with("<!doctype html>") && page.contains("everything is read"));
}

#[test]
fn a_swarm_has_one_result_however_many_threads_it_has() {
    let folder = tempfile::tempdir().expect("a folder");
    let ledger = folder.path().join("ledger");
    let swarm = |threads: &str| {
        let ledger = ["--ledger", path(&ledger), "--threads", threads];
        let told = kwik_sim(&[&["swarm", "--seeds", "6", "--from", "3"][..], &ledger].concat());
        // The first line tells how fast it was.
        let result: Vec<_> = stdout(&told).lines().skip(1).map(str::to_owned).collect();
        (told.status.code(), result)
    };
    let one = swarm("1");
    assert_eq!(one, swarm("3"));
    assert!(
        one.1.iter().any(|line| line.starts_with("digest ")),
        "{one:?}"
    );
    let ledger = std::fs::read_to_string(&ledger).expect("a ledger");
    let kept: Vec<_> = ledger.lines().collect();
    assert_eq!(kept.len(), 2);
    let digest = |line: &str| line.split_once("digest=").map(|(_, d)| d.to_owned());
    assert!(
        digest(kept[0]).is_some() && digest(kept[0]) == digest(kept[1]),
        "{kept:?}"
    );
    assert!(kept[0].contains("from=3 count=6 crypto=null"), "{kept:?}");
}

#[test]
fn two_processes_live_the_same() {
    for options in [&[][..], &["--healing"], &["--crypto", "rustls"]] {
        let told = clean(&[&["determinism", "--seeds", "3"], options].concat());
        assert_eq!(told, "3 seeds in two processes: 0 differ\n");
    }
    // What is compared is all that came of a seed, in the world that was meant.
    let told = clean(&["outcomes", "--seeds", "1", "--from", "2"]);
    for part in [
        "ending",
        "failure",
        "trace",
        "datagrams",
        "took",
        "convergence",
        "met",
    ] {
        assert!(told.contains(&format!("{part} ")), "{told}");
    }
    let of = |healing: &[&str]| clean(&[&["outcomes", "--seeds", "20"], healing].concat());
    assert_ne!(of(&[]), of(&["--healing"]));
}

#[test]
fn a_panic_is_a_crash_and_can_be_repeated() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("crowd.ron");
    // No world has so many hosts.
    let crowd = Scenario {
        secondaries: vec![Server::default(); 260],
        ..Scenario::new(1, 0, 1)
    };
    std::fs::write(&script, crowd.to_text()).expect("written");
    let output = kwik_sim(&["run", "--script", path(&script), "--no-shrink"]);
    let told = stdout(&output);
    assert_eq!(output.status.code(), Some(127), "{told}");
    assert!(
        told.contains("FAILED crash at 0.000 s: I11: panicked at "),
        "{told}"
    );
    assert!(told.contains("at most 250 hosts"), "{told}");
    let again = format!("again: kwik-sim run --script {}\n", script.display());
    assert!(told.contains(&again), "{told}");
    assert!(
        told.lines()
            .last()
            .is_some_and(|line| line.starts_with("trace "))
    );
    assert!(output.stderr.is_empty(), "the hook is quiet: {output:?}");
}

#[test]
fn what_makes_no_sense_is_told_in_one_line() {
    for args in [
        &["run"][..],
        &["run", "--seed", "1", "--scenario", "no-such"],
        &["swarm"],
        &["nonsense"],
    ] {
        let output = kwik_sim(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            stderr.starts_with("kwik-sim: ") && stderr.lines().count() == 1,
            "{stderr}"
        );
    }
    let output = kwik_sim(&["run", "--script", "/no/such/file"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[test]
fn the_list_names_what_can_be_run() {
    let list = clean(&["list"]);
    assert!(
        list.lines().count() > 5 && list.contains("secondary-crash"),
        "{list}"
    );
}

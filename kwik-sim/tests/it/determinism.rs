//! The same seed lives the same life: to the byte under the null crypto, and datagram by datagram
//! under TLS, which draws its keys from the system.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Instant;

use kwik_core::wire::{ControlFrame, Joined};
use kwik_sim::host::KwikNode;
use kwik_sim::raw::{Cue, Line, RawPeer, always};
use kwik_sim::{CryptoMode, Report, Setting};

use crate::scenarios::{Terms, play};
use crate::{SECOND, lossy};

/// Set for a process that only tells its traces.
const TELL_TRACES: &str = "KWIK_SIM_TELL_TRACES";

const MODES: [CryptoMode; 2] = [CryptoMode::Null, CryptoMode::Rustls];

fn terms(crypto: CryptoMode, seed: u64) -> Terms {
    Terms {
        seed,
        bytes: 512 << 10,
        link: lossy(10_000),
        crypto,
        limit: 20 * SECOND,
    }
}

/// One life of a seed; which story is told changes from seed to seed.
fn life(crypto: CryptoMode, seed: u64) -> Report {
    let name = match seed % 3 {
        0 => "two-secondaries",
        1 => "all-at-once",
        _ => "secondary-crash",
    };
    let report = play(name, &terms(crypto, seed));
    assert!(report.is_success(), "{crypto:?} {report}");
    report
}

/// A life with a peer that joins, brings nothing and dies, and whose host starts again.
fn life_with_a_raw_peer(crypto: CryptoMode, seed: u64) -> Report {
    let setting = Setting {
        crypto,
        ..Setting::new(seed, 2, 512 << 10).link(lossy(10_000))
    };
    let mut stage = setting.build();
    let script = |line: &mut Line<'_>, cue: &Cue| {
        if matches!(cue, Cue::Frame(ControlFrame::Join(_))) {
            line.send(&ControlFrame::Joined(Joined));
        }
    };
    let idle = RawPeer::server(crypto, setting.identity(2), always(script));
    stage.world.install(stage.secondaries[0], idle);
    stage.run_until_percent(50, 10 * SECOND);
    stage.world.restart(stage.secondaries[0]);
    stage.run_to_end(40 * SECOND);
    let report = stage.report("raw peer");
    assert!(report.is_success(), "{crypto:?} {report}");
    report
}

/// What the clock of std shows at the beginning of a world of this setting: any two differ.
fn base_of(setting: &Setting) -> Instant {
    let mut stage = setting.build();
    let client = stage.client;
    let at = |_: &mut KwikNode, moment: kwik_sim::clock::Moment| moment.now.monotonic;
    stage.world.act(client, at)
}

#[test]
fn the_same_seed_gives_the_same_report_and_trace() {
    let setting = Setting::new(0, 0, 0);
    assert_ne!(base_of(&setting), base_of(&setting), "the worlds' clocks");
    for (crypto, seeds) in MODES.into_iter().zip([24, 6]) {
        for seed in 0..seeds {
            assert_eq!(life(crypto, seed), life(crypto, seed));
        }
        for seed in 0..seeds / 3 {
            let twice = [(); 2].map(|()| life_with_a_raw_peer(crypto, seed));
            assert_eq!(twice[0], twice[1]);
        }
    }
}

/// Two processes have nothing in common but the seed: neither addresses nor the keys of hash tables
/// nor what the system gives as randomness.
#[test]
fn the_same_seed_gives_the_same_trace_in_another_process() {
    let tell = || {
        let mut traces = String::new();
        for (crypto, seeds) in MODES.into_iter().zip([24, 6]) {
            for seed in 0..seeds {
                let hash = life(crypto, seed).trace;
                traces += &format!("{crypto:?} {seed} {hash:016x}\n");
            }
            let hash = life_with_a_raw_peer(crypto, 1).trace;
            traces += &format!("{crypto:?} raw {hash:016x}\n");
        }
        traces
    };
    if let Some(path) = std::env::var_os(TELL_TRACES) {
        std::fs::write(path, tell()).expect("the file can be written");
        return;
    }
    let (module, name) = (
        module_path!(),
        "the_same_seed_gives_the_same_trace_in_another_process",
    );
    let (_, module) = module
        .split_once("::")
        .expect("a module of the test binary");
    let path = std::env::temp_dir().join(format!("kwik-sim-traces-{}", std::process::id()));
    let child = Command::new(std::env::current_exe().expect("this is a program"))
        .args(["--exact", &format!("{module}::{name}")])
        .env(TELL_TRACES, &path)
        .output()
        .expect("it can be run again");
    assert!(child.status.success(), "{child:?}");
    let theirs = std::fs::read_to_string(&path).expect("it has told its traces");
    std::fs::remove_file(&path).expect("the file is ours");
    assert_eq!(theirs, tell());
}

#[test]
fn another_seed_gives_another_trace() {
    for crypto in MODES {
        let traces: BTreeSet<_> = (0..5)
            .map(|seed| play("two-secondaries", &terms(crypto, seed)).trace)
            .collect();
        assert_eq!(traces.len(), 5, "{crypto:?}");
    }
}

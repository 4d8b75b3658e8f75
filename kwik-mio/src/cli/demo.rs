//! `kwik demo`: one file from three server processes on this machine, in five scenarios.
//!
//! Owns the order of the scenarios and everything that has to be gone at the end: processes (in
//! `server`) and a temporary folder. What a scenario has to show is in `scenario`.

mod content;
mod scenario;
mod server;

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kwik_core::ticket::MasterKey;
use serde::Serialize;
use tempfile::TempDir;

use self::scenario::{KILL_AT, Observed, Row, SCENARIOS, Scenario, part};
use self::server::Server;
use super::args::DemoArgs;
use super::failure::{Exit, Failure, because};
use super::get::{Job, Report, Watch, as_f64, fetch};
use super::keygen::{self, Key};
use super::random::random_32;
use super::url::{Host, KwikUrl};
use super::{logging, signal};
use crate::file::FilePath;

/// The whole takes no longer.
const DEMO_MAX: Duration = Duration::from_secs(60);
/// What the primary alone takes, if the cap allows it.
const ALONE: Duration = Duration::from_millis(4500);
/// No cap is higher: slow machines are to reach it with three servers.
const CAP_MAX_MBIT: f64 = 400.0;
/// With less there is nothing to see; with more it takes too long.
const SIZES: std::ops::RangeInclusive<u64> = 4 << 20..=512 << 20;
/// How often a transfer is looked at.
const LOOK: Duration = Duration::from_millis(2);

const FILE_NAME: &str = "file";

/// What all scenarios share.
struct Stage {
    /// Removed at the end, with everything in it.
    folder: TempDir,
    size: u64,
    cap_mbit: f64,
    interrupted: Arc<AtomicBool>,
    deadline: Instant,
}

/// What came of a transfer, and what part had arrived when a server was killed.
type Outcome = (Report, Result<(), Failure>, Option<f64>);

#[derive(Serialize)]
struct Summary {
    bytes: u64,
    cap_mbit_s: f64,
    scenarios: Vec<Row>,
    ok: bool,
}

pub(super) fn run(args: &DemoArgs) -> Result<(), Failure> {
    logging::start("off");
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    signal::on_interrupt(move |_| flag.store(true, Ordering::SeqCst))
        .map_err(because("cannot hear signals"))?;
    let stage = Stage::new(args, interrupted)?;
    let rows = play(&stage, |line| if args.json { Ok(()) } else { print(line) })?;
    let failed = rows.iter().filter(|row| !row.has_passed()).count();
    if args.json {
        let summary = Summary {
            bytes: stage.size,
            cap_mbit_s: stage.cap_mbit,
            ok: failed == 0,
            scenarios: rows,
        };
        let json = serde_json::to_string(&summary);
        print(&json.map_err(|error| Failure::failed(error.to_string()))?)?;
    }
    match failed {
        0 => Ok(()),
        1 => Err(Failure::failed("1 scenario failed")),
        _ => Err(Failure::failed(format!("{failed} scenarios failed"))),
    }
}

fn print(line: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")
        .and_then(|()| stdout.flush())
        .map_err(because("cannot write to stdout"))
}

/// Plays the scenarios one after the other, and tells what came of each as soon as it is known.
fn play(stage: &Stage, tell: impl Fn(&str) -> Result<(), Failure>) -> Result<Vec<Row>, Failure> {
    tell(&format!(
        "{} bytes; every server is capped at {:.0} Mbit/s",
        stage.size, stage.cap_mbit
    ))?;
    tell(&Row::head())?;
    let mut secondaries = [stage.start_secondary(1)?, stage.start_secondary(2)?];
    let mut rows: Vec<Row> = Vec::new();
    for (number, scenario) in (1..).zip(&SCENARIOS) {
        let observed = stage.play(scenario, number, &mut secondaries)?;
        let alone_mbit_s = rows.first().map_or(0.0, |alone| alone.mbit_s);
        let row = Row::new(scenario, number, observed, alone_mbit_s);
        row.lines().iter().try_for_each(|line| tell(line))?;
        rows.push(row);
    }
    Ok(rows)
}

impl Stage {
    fn new(args: &DemoArgs, interrupted: Arc<AtomicBool>) -> Result<Self, Failure> {
        let deadline = Instant::now() + DEMO_MAX;
        let size = match &args.file {
            None => args.size.0,
            Some(file) => {
                let metadata = file.metadata();
                metadata
                    .map_err(because(format!("cannot use {}", file.display())))?
                    .len()
            }
        };
        if !SIZES.contains(&size) {
            return Err(Failure::usage("the demo takes from 4M to 512M"));
        }
        let folder = tempfile::Builder::new()
            .prefix("kwik-demo-")
            .tempdir()
            .map_err(because("cannot make a temporary folder"))?;
        let cap_mbit = as_f64(size) * 8.0 / 1e6 / ALONE.as_secs_f64();
        let stage = Self {
            folder,
            size,
            cap_mbit: cap_mbit.min(CAP_MAX_MBIT),
            interrupted,
            deadline,
        };
        std::fs::create_dir(stage.root()).map_err(because("cannot make a folder"))?;
        match &args.file {
            Some(file) => content::borrow(file, &stage.source())?,
            None => content::generate(&stage.source(), size)?,
        }
        let key = Key::Master(MasterKey::from_bytes(random_32()?));
        keygen::store(&stage.path("key"), &key)?;
        Ok(stage)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn root(&self) -> PathBuf {
        self.path("root")
    }

    fn source(&self) -> PathBuf {
        self.root().join(FILE_NAME)
    }

    fn is_over(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst) || Instant::now() >= self.deadline
    }

    fn start(&self, name: &str, more: Vec<OsString>) -> Result<Server, Failure> {
        let mut args: Vec<OsString> = vec!["--root".into(), self.root().into()];
        args.extend(["--identity".into(), self.path(name).into()]);
        args.extend(["--peer-key".into(), self.path("key").into()]);
        args.extend(["--rate".into(), self.cap_mbit.to_string().into()]);
        args.extend(more);
        let log = self.path(&format!("{name}.log"));
        Server::start(args, &log, || self.is_over())
    }

    fn start_secondary(&self, number: usize) -> Result<Server, Failure> {
        self.start(&format!("secondary-{number}"), Vec::new())
    }

    /// Plays one scenario with a primary of its own.
    fn play(
        &self,
        scenario: &Scenario,
        number: usize,
        secondaries: &mut [Server],
    ) -> Result<Observed, Failure> {
        let used = secondaries.get_mut(..scenario.secondaries);
        let used = used.unwrap_or_default();
        let mut args: Vec<OsString> = Vec::new();
        for secondary in used.iter() {
            args.extend(["--secondary".into(), secondary.as_secondary().into()]);
        }
        if scenario.rotates {
            args.extend(["--spread".into(), "rotate".into()]);
        }
        let primary = self.start("primary", args)?;
        let job = Job {
            url: KwikUrl {
                host: Host::Ip(primary.addr.ip()),
                port: primary.addr.port(),
                path: FilePath::new(FILE_NAME)
                    .map_err(|error| Failure::failed(error.to_string()))?,
            },
            pin: primary.pin,
            output: self.path(&format!("output-{number}")),
        };
        let victim = used.last_mut().filter(|_| scenario.kills);
        let (report, result, killed_at) = self.transfer(&job, victim)?;
        if self.interrupted.load(Ordering::SeqCst) {
            return Err(Failure::interrupted());
        }
        let error = match result {
            Ok(()) => None,
            Err(Failure {
                exit: Exit::Interrupted,
                ..
            }) => Some("it took too long".to_owned()),
            Err(failure) => Some(failure.message.unwrap_or_default()),
        };
        let is_identical = error.is_none() && self.is_identical(&job.output)?;
        // It was compared, and room is dear.
        let _ = std::fs::remove_file(&job.output);
        Ok(Observed {
            report,
            error,
            is_identical,
            killed_at,
        })
    }

    /// Fetches a file, and kills a server on the way.
    fn transfer(&self, job: &Job, mut victim: Option<&mut Server>) -> Result<Outcome, Failure> {
        let watch = Watch::default();
        let mut killed_at = None;
        std::thread::scope(|scope| {
            let fetching = scope.spawn(|| fetch(job, &watch));
            let mut killed = Ok(());
            while !fetching.is_finished() {
                std::thread::sleep(LOOK);
                if self.is_over() {
                    watch.cancel();
                }
                if part(watch.received(), self.size) >= KILL_AT
                    && let Some(victim) = victim.take()
                {
                    killed = victim.kill();
                    killed_at = Some(part(watch.received(), self.size));
                }
            }
            let (report, result) = fetching
                .join()
                .map_err(|_| Failure::failed("the transfer panicked"))?;
            killed.map(|()| (report, result, killed_at))
        })
    }

    fn is_identical(&self, output: &Path) -> Result<bool, Failure> {
        content::is_same(&self.source(), output).map_err(because("cannot compare the files"))
    }
}

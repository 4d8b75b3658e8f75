//! `kwik get`: one file, from however many servers its primary has.
//!
//! Owns what the user sees of a transfer and how it can be interrupted. The transfer itself is in
//! `fetch`.

mod fetch;
mod progress;
mod report;
mod sink;
mod watch;

use std::io::Write;
use std::time::Duration;

pub(super) use self::fetch::{Job, fetch};
use self::progress::Display;
#[cfg(test)]
pub(super) use self::report::PathReport;
pub(super) use self::report::{Report, as_f64};
pub(super) use self::watch::Watch;
use super::args::GetArgs;
use super::failure::{Exit, Failure, because, say};
use super::{logging, signal};

/// An interrupted transfer has so long to end by itself.
const INTERRUPT_MAX: Duration = Duration::from_secs(1);

pub(super) fn run(args: GetArgs) -> Result<(), Failure> {
    if args.json && args.is_to_stdout() {
        return Err(Failure::usage(
            "--json and the content cannot both go to stdout",
        ));
    }
    logging::start("off");
    let watch = Watch::default();
    end_at_signal(&watch)?;
    let job = Job {
        url: args.url,
        pin: args.pin,
        output: args.output,
    };
    let display = (!args.quiet).then(|| Display::start(watch.clone()));
    let (report, result) = fetch(&job, &watch);
    drop(display);
    if result.is_ok() && !args.quiet {
        report.summary().iter().for_each(|line| say(line));
    }
    let printed = if args.json {
        print_json(&report)
    } else {
        Ok(())
    };
    result.and(printed)
}

fn print_json(report: &Report) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", report.to_json()?)
        .and_then(|()| stdout.flush())
        .map_err(because("cannot write to stdout"))
}

/// The first signal cancels the transfer, which cleans up after itself. If it cannot, or at the
/// second one, the process ends.
fn end_at_signal(watch: &Watch) -> Result<(), Failure> {
    let watch = watch.clone();
    let end = |watch: &Watch| {
        watch.clean_up();
        std::process::exit(i32::from(Exit::Interrupted.code()));
    };
    signal::on_interrupt(move |before| {
        if before > 0 {
            end(&watch);
        }
        watch.cancel();
        let watch = watch.clone();
        std::thread::spawn(move || {
            std::thread::sleep(INTERRUPT_MAX);
            end(&watch);
        });
    })
    .map_err(because("cannot hear signals"))
}

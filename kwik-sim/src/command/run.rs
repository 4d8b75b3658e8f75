//! `kwik-sim run`: one scenario, and what happened in it.

use kwik_sim::timeline::recorder::record;
use kwik_sim::timeline::{Chart, render};
use kwik_sim::trial;

use super::args::RunArgs;
use super::exit::{Exit, Stop, because, print};
use super::{failing, story};

pub(super) fn run(args: &RunArgs) -> Result<Exit, Stop> {
    let scenario = args.healing.of(args.source.scenario()?);
    let crypto = args.crypto.mode();
    let (outcome, recording) = record(|| trial::run(&scenario, crypto));
    for line in story::lines(&scenario, &outcome, &recording, args.crypto.name()) {
        print(line)?;
    }
    if let Some(file) = &args.timeline {
        let chart = Chart::new(&scenario, &outcome, &recording);
        std::fs::write(file, render(&args.source.title(), &chart))
            .map_err(because(format!("cannot write {}", file.display())))?;
        print(format_args!("  drawn in {}", file.display()))?;
    }
    if let Some(failure) = &outcome.failure {
        let options = args.source.options() + args.healing.option() + args.crypto.option();
        failing::say(failure, &options)?;
        if !args.no_shrink {
            failing::print_shrunk(&scenario, failure, crypto)?;
        }
    }
    print(format_args!("trace {:016x}", outcome.trace))?;
    Ok(outcome.failure.as_ref().into())
}

//! `kwik-sim shrink`: a smaller scenario that fails in the same way.

use kwik_sim::trial;

use super::args::ShrinkArgs;
use super::exit::{Exit, Stop, print};
use super::failing;

pub(super) fn run(args: &ShrinkArgs) -> Result<Exit, Stop> {
    let scenario = args.healing.of(args.source.scenario()?);
    let crypto = args.crypto.mode();
    let outcome = trial::run(&scenario, crypto);
    match &outcome.failure {
        None => print("nothing to shrink: all went well")?,
        Some(failure) => {
            let options = args.source.options() + args.healing.option() + args.crypto.option();
            failing::say(failure, &options)?;
            failing::print_shrunk(&scenario, failure, crypto)?;
        }
    }
    Ok(outcome.failure.as_ref().into())
}

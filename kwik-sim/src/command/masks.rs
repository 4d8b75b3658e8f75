//! `kwik-sim masks`: every combination of losses at the beginning of a connection.

use kwik_sim::masks;
use kwik_sim::outcome::FailureClass;

use super::args::MasksArgs;
use super::exit::{Exit, Stop, print};
use super::parts::threads;

pub(super) fn run(args: &MasksArgs) -> Result<Exit, Stop> {
    let report = masks::run(args.crypto.mode(), threads(args.threads));
    print(&report)?;
    Ok(if report.is_success() {
        Exit::Clean
    } else {
        Exit::Broken(FailureClass::Liveness)
    })
}

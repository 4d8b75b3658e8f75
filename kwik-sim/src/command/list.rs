//! `kwik-sim list`: the scenarios that have a name.

use kwik_sim::scenario::presets::presets;

use super::exit::{Exit, Stop, print};

pub(super) fn run() -> Result<Exit, Stop> {
    let width = presets().iter().map(|preset| preset.name.len()).max();
    for preset in presets() {
        let width = width.unwrap_or_default();
        print(format_args!("{:width$}  {}", preset.name, preset.summary))?;
    }
    Ok(Exit::Clean)
}

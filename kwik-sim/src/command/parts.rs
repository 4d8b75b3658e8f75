//! The parts of the simulator that the command drives, in one place; and which scenario it is told to
//! live.

use std::num::NonZeroUsize;

use kwik_sim::Scenario;
use kwik_sim::scenario::presets::preset;

use super::args::SourceArgs;
use super::exit::{Stop, because};

impl SourceArgs {
    /// The scenario that is meant.
    pub(super) fn scenario(&self) -> Result<Scenario, Stop> {
        if let Some(file) = &self.script {
            let shown = file.display();
            let text =
                std::fs::read_to_string(file).map_err(because(format!("cannot read {shown}")))?;
            let mut scenario = Scenario::from_text(&text)
                .map_err(|error| Stop::failed(format!("{shown} is no scenario: {error}")))?;
            scenario.seed = self.seed.unwrap_or(scenario.seed);
            if !scenario.is_coherent() {
                let why =
                    "a fault befalls nobody, the primary is not honest, or marks would do harm";
                return Err(Stop::failed(format!("{shown} makes no sense: {why}")));
            }
            return Ok(scenario);
        }
        let seed = self.seed.unwrap_or_default();
        let Some(name) = &self.scenario else {
            return Ok(Scenario::from_seed(seed));
        };
        let preset = preset(name).ok_or_else(|| {
            Stop::usage(format!("no scenario is called {name}; see kwik-sim list"))
        })?;
        Ok((preset.build)(seed))
    }

    /// Its name for people.
    pub(super) fn title(&self) -> String {
        let file = self.script.as_ref().map(|file| file.display().to_string());
        let seed = self.seed.map(|seed| format!("seed {seed}"));
        let names = [self.scenario.clone(), file, seed];
        names.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// The options that name it.
    pub(super) fn options(&self) -> String {
        let seed = self.seed.map(|seed| format!(" --seed {seed}"));
        let name = self
            .scenario
            .as_ref()
            .map(|name| format!(" --scenario {name}"));
        let file = self
            .script
            .as_ref()
            .map(|file| format!(" --script {}", file.display()));
        [seed, name, file].into_iter().flatten().collect()
    }
}

/// As many threads as were asked for, or else as there are cores.
pub(super) fn threads(asked: Option<NonZeroUsize>) -> NonZeroUsize {
    asked
        .or_else(|| std::thread::available_parallelism().ok())
        .unwrap_or(NonZeroUsize::MIN)
}

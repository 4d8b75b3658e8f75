//! The command line.
//!
//! Owns what may be written on it, and the one line that says what is wrong with it.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use kwik_sim::crypto::CryptoMode;
use kwik_sim::{Scenario, atlas};

/// Lives KWIK through, in worlds that follow from a seed.
///
/// Exit codes: 0 all went well; 1 it could not be done, or a long swarm left a cell of the table empty; 2
/// usage; 127 a panic; 128 something did not happen in time; 129 something happened that must not.
#[derive(Debug, Parser)]
#[command(
    name = "kwik-sim",
    version,
    propagate_version = true,
    arg_required_else_help = false
)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Live one scenario through and say what happened
    ///
    /// A scenario that fails is shrunk, and printed as a test to be kept. RUST_LOG sets what is logged to
    /// stderr, under virtual time.
    Run(RunArgs),
    /// Live the scenarios of many seeds through, on all cores
    ///
    /// Stops after 20 failures. The result does not depend on the number of threads.
    Swarm(SwarmArgs),
    /// Live each seed in two processes and compare what came of it
    Determinism(DeterminismArgs),
    /// Print what came of each seed
    #[command(hide = true)]
    Outcomes(DeterminismArgs),
    /// Look for a smaller scenario that fails in the same way
    Shrink(ShrinkArgs),
    /// Lose every combination of the first datagrams of a connection
    Masks(MasksArgs),
    /// Name the scenarios that have a name
    List,
}

// Named, because clap puts nothing into a group by itself if anything is flattened into it.
#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = true, args = ["seed", "scenario", "script"])]
pub(super) struct SourceArgs {
    /// What is left to chance follows from it
    #[arg(long, value_name = "N")]
    pub(super) seed: Option<u64>,
    /// One of `kwik-sim list` instead of the scenario that follows from the seed
    #[arg(long, value_name = "NAME", requires = "seed")]
    pub(super) scenario: Option<String>,
    /// A file with a scenario in its text form; --seed replaces its seed
    #[arg(long, value_name = "FILE", conflicts_with = "scenario")]
    pub(super) script: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,
    #[command(flatten)]
    pub(super) healing: Healing,
    #[command(flatten)]
    pub(super) crypto: Crypto,
    /// Draw what happened, as one page for a browser
    #[arg(long, value_name = "FILE.html")]
    pub(super) timeline: Option<PathBuf>,
    /// Leave a scenario that fails as it is
    #[arg(long)]
    pub(super) no_shrink: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct SwarmArgs {
    /// How many seeds
    #[arg(long, value_name = "N")]
    pub(super) seeds: u64,
    /// The first of them
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub(super) from: u64,
    #[command(flatten)]
    pub(super) healing: Healing,
    #[command(flatten)]
    pub(super) crypto: Crypto,
    /// How many at a time [default: one for each core]
    #[arg(long, value_name = "T")]
    pub(super) threads: Option<NonZeroUsize>,
    /// Append a line about the run to this file
    #[arg(long, value_name = "FILE")]
    pub(super) ledger: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct DeterminismArgs {
    /// How many seeds
    #[arg(long, value_name = "N")]
    pub(super) seeds: u64,
    /// The first of them
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub(super) from: u64,
    #[command(flatten)]
    pub(super) healing: Healing,
    #[command(flatten)]
    pub(super) crypto: Crypto,
}

#[derive(Debug, clap::Args)]
pub(super) struct ShrinkArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,
    #[command(flatten)]
    pub(super) healing: Healing,
    #[command(flatten)]
    pub(super) crypto: Crypto,
}

#[derive(Debug, clap::Args)]
pub(super) struct MasksArgs {
    #[command(flatten)]
    pub(super) crypto: Crypto,
    /// How many at a time [default: one for each core]
    #[arg(long, value_name = "T")]
    pub(super) threads: Option<NonZeroUsize>,
}

#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Healing {
    /// Take away what a session may die of: everything must arrive, in time
    #[arg(long = "healing")]
    is_on: bool,
}

impl Healing {
    /// The scenario as it is meant.
    pub(super) fn of(self, scenario: Scenario) -> Scenario {
        if self.is_on {
            atlas::healing(scenario)
        } else {
            scenario
        }
    }

    pub(super) const fn is_on(self) -> bool {
        self.is_on
    }

    /// As it is written on a command line; nothing if it goes without saying.
    pub(super) const fn option(self) -> &'static str {
        if self.is_on { " --healing" } else { "" }
    }
}

#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Crypto {
    /// How datagrams are protected: `null`, by a tag alone, or `rustls`, by TLS 1.3
    #[arg(long = "crypto", value_enum, default_value_t = CryptoArg::Null)]
    arg: CryptoArg,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CryptoArg {
    Null,
    Rustls,
}

impl Crypto {
    pub(super) const fn mode(self) -> CryptoMode {
        match self.arg {
            CryptoArg::Null => CryptoMode::Null,
            CryptoArg::Rustls => CryptoMode::Rustls,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self.arg {
            CryptoArg::Null => "null",
            CryptoArg::Rustls => "rustls",
        }
    }

    /// As it is written on a command line; nothing if it goes without saying.
    pub(super) const fn option(self) -> &'static str {
        match self.arg {
            CryptoArg::Null => "",
            CryptoArg::Rustls => " --crypto rustls",
        }
    }
}

/// What clap has to say, without its advice.
pub(super) fn usage_line(error: &clap::Error) -> String {
    let rendered = error.render().to_string();
    let paragraph = rendered.lines().take_while(|line| !line.trim().is_empty());
    let line = paragraph.map(str::trim).collect::<Vec<_>>().join(" ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn whatever_names_a_scenario_is_enough() {
        for source in [
            &["--seed", "1"][..],
            &["--seed", "1", "--healing"],
            &["--seed", "1", "--scenario", "two-secondaries"],
            &["--script", "file"],
        ] {
            for command in ["run", "shrink"] {
                let args = [&["kwik-sim", command], source].concat();
                let parsed = Args::try_parse_from(&args);
                assert!(parsed.is_ok(), "{args:?}: {parsed:?}");
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        for (args, part) in [
            (vec!["run"], "--seed"),
            (vec!["run", "--scenario", "crash"], "--seed"),
            (
                vec!["run", "--seed", "1", "--script", "a", "--scenario", "b"],
                "--script",
            ),
            (vec!["run", "--seed", "x"], "'x'"),
            (vec!["run", "--healing"], "--seed"),
            (vec!["swarm"], "--seeds"),
            (vec!["swarm", "--seeds", "1", "--threads", "0"], "--threads"),
            (vec!["swarm", "--seeds", "1", "--crypto", "rot13"], "rot13"),
            (vec!["nonsense"], "nonsense"),
        ] {
            let error = Args::try_parse_from([&["kwik-sim"], &args[..]].concat());
            let line = usage_line(&error.expect_err("a usage error"));
            assert!(line.contains(part), "{args:?}: {line}");
            assert!(!line.contains('\n') && !line.starts_with("error"), "{line}");
        }
    }
}

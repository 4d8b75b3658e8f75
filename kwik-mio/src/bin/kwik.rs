//! The `kwik` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    kwik_mio::cli::run()
}

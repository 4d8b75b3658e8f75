//! The command line.
//!
//! Owns what may be written on it, and the one line that says what is wrong with it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Parser, Subcommand, ValueEnum};

use super::pin::{Pin, SecondaryArg};
use super::url::KwikUrl;

/// Files from several servers at once, over QUIC.
#[derive(Debug, Parser)]
#[command(
    name = "kwik",
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
    /// Serve the files under a directory
    ///
    /// When ready, prints one line: ready addr=IP:PORT pin=HEX. Ends at SIGTERM or SIGINT. RUST_LOG sets
    /// what is logged to stderr (default: kwik_mio=info,warn).
    Serve(ServeArgs),
    /// Fetch a file
    ///
    /// The file appears under its name only when it is whole and its hash is the one that the primary
    /// says. Exit codes: 0 done; 1 failed; 2 usage; 3 the server or the content could not be verified;
    /// 130 interrupted.
    Get(GetArgs),
    /// Make a key file
    ///
    /// Without options: a master key, for a primary and for secondaries that may know it. With --from and
    /// --for: the key of one secondary alone.
    Keygen(KeygenArgs),
    /// See one file arrive from three server processes on this machine
    ///
    /// Takes less than a minute and leaves nothing behind. Exits 0 only if every file arrived whole and
    /// every scenario did what it is there to show.
    Demo(DemoArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct ServeArgs {
    /// Where to listen; port 0 takes any free one
    #[arg(long, value_name = "ADDR:PORT")]
    pub(super) listen: SocketAddr,
    /// The directory whose regular files are served
    #[arg(long, value_name = "DIR")]
    pub(super) root: PathBuf,
    /// Where the server's key and certificate are kept; made if they are not there [default: below
    /// the user's data directory]
    #[arg(long, value_name = "DIR")]
    pub(super) identity: Option<PathBuf>,
    /// Key file of `kwik keygen`, shared by a primary and its secondaries
    #[arg(long, value_name = "FILE")]
    pub(super) peer_key: Option<PathBuf>,
    /// A server with the same files, that writes a part of each transfer; may be repeated
    #[arg(long, value_name = "ADDR:PORT,pin=HEX", requires = "peer_key")]
    pub(super) secondary: Vec<SecondaryArg>,
    /// Most that one client gets from this server, Mbit/s of content [default: no limit]
    #[arg(long, value_name = "MBIT")]
    pub(super) rate: Option<Rate>,
    /// How a transfer is spread: `pull`, to whoever has little left to do, or `rotate`, 64 KiB to
    /// everybody in turn
    #[arg(long, value_enum, default_value_t = SpreadArg::Pull)]
    pub(super) spread: SpreadArg,
    /// End when stdin ends: whoever started the server is gone
    #[arg(long, hide = true)]
    pub(super) exit_with_stdin: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum SpreadArg {
    Pull,
    Rotate,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct GetArgs {
    #[arg(help = "kwik://HOST[:PORT]/path")]
    pub(super) url: KwikUrl,
    /// Where to write the file; `-` for stdout, which is verified only when the exit code is 0
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: PathBuf,
    /// The pin that the server printed when it was ready
    #[arg(long, value_name = "HEX")]
    pub(super) pin: Pin,
    /// Print one JSON object to stdout at the end
    #[arg(long)]
    pub(super) json: bool,
    /// Print nothing to stderr but errors
    #[arg(short, long)]
    pub(super) quiet: bool,
}

impl GetArgs {
    pub(super) fn is_to_stdout(&self) -> bool {
        self.output.as_os_str() == "-"
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct KeygenArgs {
    /// The key file to make; an existing file is left alone
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// The master key to derive from
    #[arg(long, value_name = "MASTER", requires = "pin")]
    pub(super) from: Option<PathBuf>,
    /// The pin of the secondary to derive for
    #[arg(long = "for", value_name = "PIN", requires = "from")]
    pub(super) pin: Option<Pin>,
}

#[derive(Debug, clap::Args)]
pub(super) struct DemoArgs {
    /// How much to transfer, with K, M or G for powers of 1024
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "64M",
        conflicts_with = "file"
    )]
    pub(super) size: Size,
    /// A file to transfer instead
    #[arg(long, value_name = "PATH")]
    pub(super) file: Option<PathBuf>,
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub(super) json: bool,
}

/// A cap on throughput.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rate {
    pub(super) bytes_per_second: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NumberError {
    #[error("a rate is a number of Mbit/s from 0.01 to 1000000")]
    Rate,
    #[error("a size is a number of bytes, with K, M or G for powers of 1024")]
    Size,
}

impl Rate {
    pub(super) const fn from_mbit(mbit: f64) -> Self {
        Self {
            bytes_per_second: mbit * 1e6 / 8.0,
        }
    }
}

impl FromStr for Rate {
    type Err = NumberError;

    fn from_str(text: &str) -> Result<Self, NumberError> {
        let mbit: f64 = text.parse().map_err(|_| NumberError::Rate)?;
        if !(0.01..=1e6).contains(&mbit) {
            return Err(NumberError::Rate);
        }
        Ok(Self::from_mbit(mbit))
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size(pub(super) u64);

impl FromStr for Size {
    type Err = NumberError;

    fn from_str(text: &str) -> Result<Self, NumberError> {
        let (digits, shift) = match text.chars().next_back() {
            Some('K' | 'k') => (&text[..text.len() - 1], 10),
            Some('M' | 'm') => (&text[..text.len() - 1], 20),
            Some('G' | 'g') => (&text[..text.len() - 1], 30),
            Some(_) | None => (text, 0),
        };
        let number: u64 = digits.parse().map_err(|_| NumberError::Size)?;
        let size = number.checked_mul(1 << shift).ok_or(NumberError::Size)?;
        Ok(Self(size))
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

    const PIN: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    fn usage_error(args: &[&str]) -> String {
        let error = Args::try_parse_from([&["kwik"], args].concat()).expect_err("a usage error");
        usage_line(&error)
    }

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        let serve = ["serve", "--listen", "[::1]:0", "--root", "."];
        let secondary = format!("127.0.0.1:4434,pin={PIN}");
        for (args, part) in [
            (vec!["get", "kwik://h/a", "-o", "x"], "--pin"),
            (vec!["get", "kwik://h/a", "--pin", PIN], "--output"),
            (vec!["get", "-o", "x", "--pin", PIN], "<URL>"),
            (
                vec!["get", "kwik://h/a", "-o", "x", "--pin", "12"],
                "64 hex",
            ),
            (vec!["get", "h/a", "-o", "x", "--pin", PIN], "kwik://"),
            (vec!["keygen", "a", "--from", "b"], "--for"),
            (vec!["keygen", "a", "--for", PIN], "--from"),
            (
                [&serve[..], &["--secondary", &secondary]].concat(),
                "--peer-key",
            ),
            ([&serve[..], &["--rate", "0"]].concat(), "Mbit/s"),
            (vec!["demo", "--size", "1X"], "size"),
            (vec!["nonsense"], "nonsense"),
        ] {
            let line = usage_error(&args);
            assert!(line.contains(part), "{args:?}: {line}");
            assert!(!line.contains('\n') && !line.starts_with("error"), "{line}");
        }
    }

    #[test]
    fn sizes_and_rates_are_read_with_their_units() {
        assert_eq!("64M".parse(), Ok(Size(64 << 20)));
        assert_eq!("7".parse(), Ok(Size(7)));
        assert_eq!("99999999999G".parse::<Size>(), Err(NumberError::Size));
        assert_eq!("M".parse::<Size>(), Err(NumberError::Size));
        assert_eq!(
            "8".parse(),
            Ok(Rate {
                bytes_per_second: 1e6
            })
        );
        for text in ["", "-1", "nan", "inf", "1M"] {
            assert_eq!(text.parse::<Rate>(), Err(NumberError::Rate), "{text}");
        }
    }
}

//! Server processes.
//!
//! Owns their lives: each ends with its handle, and should this process end without a word, with
//! the pipe that it reads.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::cli::failure::{Failure, because};
use crate::cli::pin::Pin;

/// A server says that it is ready within this time.
const START_MAX: Duration = Duration::from_secs(10);

/// A `kwik serve` that runs as long as this handle exists.
pub(super) struct Server {
    child: Child,
    pub(super) addr: SocketAddr,
    pub(super) pin: Pin,
}

impl Server {
    /// Starts a server and waits until it is ready, or until `is_over` says that nobody wants it.
    pub(super) fn start(
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
        log: &Path,
        is_over: impl Fn() -> bool,
    ) -> Result<Self, Failure> {
        let cannot_start = || because("cannot start a server");
        let program = std::env::current_exe().map_err(cannot_start())?;
        let log_file = File::create(log).map_err(cannot_start())?;
        let mut child = Command::new(program)
            .arg("serve")
            .args(["--listen", "127.0.0.1:0", "--exit-with-stdin"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log_file)
            .spawn()
            .map_err(cannot_start())?;
        let stdout = child.stdout.take();
        // From here on the child ends if anything goes wrong.
        let mut server = Self {
            child,
            addr: SocketAddr::from(([127, 0, 0, 1], 0)),
            pin: Pin([0; 32]),
        };
        let (say, said) = channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            if let Some(stdout) = stdout
                && BufReader::new(stdout).read_line(&mut line).is_ok()
            {
                // If nobody waits any more, nobody has to know.
                let _ = say.send(line);
            }
        });
        let deadline = Instant::now() + START_MAX;
        let line = loop {
            match said.recv_timeout(Duration::from_millis(50)) {
                Ok(line) => break line,
                Err(RecvTimeoutError::Timeout) if is_over() => return Err(Failure::interrupted()),
                Err(RecvTimeoutError::Timeout) if Instant::now() < deadline => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    return Err(Failure::failed("a server does not become ready"));
                }
            }
        };
        (server.addr, server.pin) = parse_ready(&line).ok_or_else(|| {
            let last = last_line(log);
            Failure::failed(format!("a server did not start: {last}"))
        })?;
        Ok(server)
    }

    /// How a primary names it.
    pub(super) fn as_secondary(&self) -> String {
        format!("{},pin={}", self.addr, self.pin)
    }

    /// Ends it as a crash would: with SIGKILL.
    pub(super) fn kill(&mut self) -> Result<(), Failure> {
        self.child.kill().map_err(because("cannot kill a server"))?;
        self.child.wait().map_err(because("cannot kill a server"))?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error says that it has ended already.
        let _ = self.kill();
    }
}

fn parse_ready(line: &str) -> Option<(SocketAddr, Pin)> {
    let rest = line.trim_end().strip_prefix("ready addr=")?;
    let (addr, pin) = rest.split_once(" pin=")?;
    Some((addr.parse().ok()?, pin.parse().ok()?))
}

/// What a server said last.
fn last_line(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let line = text.lines().last().unwrap_or("it does not say why");
    line.strip_prefix("kwik: ").unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_is_understood() {
        let pin = "ab".repeat(32);
        let (addr, parsed) = parse_ready(&format!("ready addr=[::1]:7 pin={pin}\n")).unwrap();
        assert_eq!(addr, "[::1]:7".parse().unwrap());
        assert_eq!(parsed.to_string(), pin);
        assert!(parse_ready("ready addr=[::1]:7\n").is_none());
        assert!(parse_ready("").is_none());
    }
}

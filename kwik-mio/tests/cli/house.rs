//! A folder for a test, servers in it, and runs of the command.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// No run of the command takes longer, unless a test says so.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The command, logging nothing.
pub(crate) fn kwik() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kwik"));
    command.env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// How a run of the command ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Run {
    /// The run failed with `code`, and said why in one line.
    pub(crate) fn assert_fails(&self, code: i32, part: &str) {
        assert_eq!(self.code, Some(code), "{part}: {self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{part}: {self:?}");
        assert!(self.stderr.starts_with("kwik: "), "{part}: {self:?}");
        assert!(self.stderr.contains(part), "{part}: {self:?}");
    }

    pub(crate) fn assert_succeeds(&self) {
        assert_eq!(self.code, Some(0), "{self:?}");
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).expect("one JSON object")
    }
}

/// Runs a command to its end, or ends it.
pub(crate) fn run(command: &mut Command, patience: Duration) -> Run {
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    finish(child, patience)
}

/// Waits for the end of a process whose stdout and stderr are pipes.
pub(crate) fn finish(mut child: Child, patience: Duration) -> Run {
    let stdout = child.stdout.take().map(drain);
    let stderr = child.stderr.take().map(drain);
    let status = wait(&mut child, patience);
    let collect = |pipe: Option<thread::JoinHandle<Vec<u8>>>| {
        pipe.map_or_else(Vec::new, |pipe| pipe.join().expect("it reads"))
    };
    Run {
        code: status.code(),
        stdout: collect(stdout),
        stderr: String::from_utf8(collect(stderr)).expect("text"),
    }
}

fn drain(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).expect("a pipe can be read");
        bytes
    })
}

/// Waits for the end of a process.
pub(crate) fn wait(child: &mut Child, patience: Duration) -> ExitStatus {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait().expect("it can be waited for") {
            return status;
        }
        if Instant::now() >= deadline {
            child.kill().expect("it can be killed");
            child.wait().expect("it can be waited for");
            panic!("a process did not end within {patience:?}");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Sends a signal by its name.
pub(crate) fn signal(child: &Child, name: &str) {
    let status = Command::new("kill")
        .args(["-s", name, &child.id().to_string()])
        .status();
    assert!(status.expect("kill runs").success());
}

/// Waits until something holds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within time: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A server process. It ends with its handle, or should the test itself die, with its stdin.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) addr: String,
    pub(crate) pin: String,
}

impl Server {
    /// How a primary names it.
    pub(crate) fn as_secondary(&self) -> String {
        format!("{},pin={}", self.addr, self.pin)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("kwik://{}/{path}", self.addr)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error says that it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A folder with `root`, whose files are served, and `out`, where files are fetched to.
pub(crate) struct House {
    folder: TempDir,
}

impl House {
    pub(crate) fn new() -> Self {
        let house = Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
        };
        for name in ["root", "out"] {
            std::fs::create_dir(house.path(name)).expect("a folder");
        }
        house
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a file whose bytes have no pattern that a mistake could hide in.
    pub(crate) fn file(&self, name: impl AsRef<Path>, size: u64) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        let mut bytes = Vec::new();
        let mut state = size.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        while (bytes.len() as u64) < size {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        bytes.truncate(usize::try_from(size).expect("a small file"));
        std::fs::write(&path, bytes).expect("a file can be written");
        path
    }

    /// A server of the folder `root`, called `name`.
    pub(crate) fn server(&self, name: &str, args: &[&str]) -> Server {
        self.server_of("root", name, "127.0.0.1:0", args)
    }

    pub(crate) fn server_of(&self, root: &str, name: &str, listen: &str, args: &[&str]) -> Server {
        let mut child = kwik()
            .args(["serve", "--listen", listen, "--exit-with-stdin", "--root"])
            .arg(self.path(root))
            .arg("--identity")
            .arg(self.path(format!("identity-{name}")))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
        let stdout = child.stdout.take().expect("it is a pipe");
        let mut server = Server {
            child,
            addr: String::new(),
            pin: String::new(),
        };
        let (say, said) = channel();
        thread::spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(stdout).read_line(&mut line);
            drop(say.send(read.map(|_| line)));
        });
        let line = said.recv_timeout(PATIENCE).expect("it becomes ready");
        let line = line.expect("a pipe can be read");
        let ready = line.trim_end().strip_prefix("ready addr=");
        let (addr, pin) = ready
            .and_then(|rest| rest.split_once(" pin="))
            .unwrap_or_else(|| panic!("{name} did not become ready: {line:?}"));
        server.addr = addr.to_owned();
        server.pin = pin.to_owned();
        server
    }

    /// A master key file; its path.
    pub(crate) fn key(&self) -> String {
        let path = self.path("key");
        run(kwik().arg("keygen").arg(&path), PATIENCE).assert_succeeds();
        path.to_str().expect("text").to_owned()
    }

    /// `kwik get` into the folder `out`.
    pub(crate) fn get(&self, server: &Server, path: &str, more: &[&str]) -> Run {
        self.get_url(&server.url(path), &server.pin, more)
    }

    pub(crate) fn get_url(&self, url: &str, pin: &str, more: &[&str]) -> Run {
        let mut command = get(url, self.path("out/file"), pin);
        run(command.args(more), PATIENCE)
    }

    /// The names in the folder `out`.
    pub(crate) fn fetched(&self) -> Vec<String> {
        names(&self.path("out"))
    }

    /// Waits until content has been written to the folder `out`.
    pub(crate) fn await_content(&self) {
        let len = |name: &String| {
            self.path("out")
                .join(name)
                .metadata()
                .map_or(0, |m| m.len())
        };
        eventually("content arrives", || {
            self.fetched().iter().any(|name| len(name) > 0)
        });
    }

    /// The fetched file is the served one, and there is nothing else.
    pub(crate) fn assert_fetched(&self, name: &str) {
        assert_eq!(self.fetched(), ["file"]);
        let served = std::fs::read(self.path("root").join(name)).expect("it is there");
        let fetched = std::fs::read(self.path("out/file")).expect("it is there");
        assert!(served == fetched, "{name}: the bytes differ");
    }
}

/// `kwik get` with the arguments that it always needs.
pub(crate) fn get(url: &str, output: impl AsRef<OsStr>, pin: &str) -> Command {
    let mut command = kwik();
    command.args(["get", url, "--pin", pin, "-o"]).arg(output);
    command
}

pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("it is a folder");
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        let name = entry.expect("it can be read").file_name();
        name.into_string().expect("text")
    };
    let mut names: Vec<String> = entries.map(name).collect();
    names.sort();
    names
}

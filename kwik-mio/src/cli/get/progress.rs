//! The progress of a transfer on a terminal.
//!
//! Owns the display: a line a server, and one for the whole. Looks at the transfer a few times a
//! second; never touches it.

use std::collections::{BTreeMap, VecDeque};
use std::io::IsTerminal;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanDuration, MultiProgress, ProgressBar, ProgressStyle};
use kwik_core::ids::PathId;
use kwik_core::path::{PathInfo, PathRole};

use super::report::{as_f64, state};
use super::watch::Watch;

const REFRESH: Duration = Duration::from_millis(200);
/// Rates are those of the last so many looks.
const LOOKS: usize = 10;

/// A display that goes on until it is dropped.
pub(super) struct Display {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Display {
    /// Shows a transfer, if there is somebody to look at it.
    pub(super) fn start(watch: Watch) -> Option<Self> {
        if !std::io::stderr().is_terminal() {
            return None;
        }
        let (end, ended) = channel();
        let thread = std::thread::spawn(move || {
            let mut screen = Screen::new();
            while ended.recv_timeout(REFRESH) == Err(RecvTimeoutError::Timeout) {
                screen.refresh(&watch, Instant::now());
            }
            screen.clear();
        });
        Some(Self {
            end: Some(end),
            thread: Some(thread),
        })
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // A display that failed is no reason to fail.
            let _ = thread.join();
        }
    }
}

struct Screen {
    lines: MultiProgress,
    whole: ProgressBar,
    whole_rate: Rate,
    servers: BTreeMap<PathId, (ProgressBar, Rate)>,
}

impl Screen {
    fn new() -> Self {
        let lines = MultiProgress::new();
        let whole = lines.add(ProgressBar::no_length().with_style(style()));
        Self {
            lines,
            whole,
            whole_rate: Rate::default(),
            servers: BTreeMap::new(),
        }
    }

    fn refresh(&mut self, watch: &Watch, now: Instant) {
        let paths = watch.client().and_then(|client| client.paths().ok());
        let paths = paths.unwrap_or_default();
        let total: u64 = paths.iter().map(|path| path.received_bytes).sum();
        for path in &paths {
            let (bar, rate) = self.servers.entry(path.path).or_insert_with(|| {
                let bar = ProgressBar::no_length().with_style(style());
                let bar = self.lines.insert_before(&self.whole, bar);
                (bar, Rate::default())
            });
            let rate = rate.look(now, path.received_bytes);
            bar.set_message(server_line(path, rate, total));
        }
        let received = watch.received();
        let rate = self.whole_rate.look(now, received);
        self.whole
            .set_message(whole_line(received, watch.size(), rate));
    }

    fn clear(&self) {
        // If the terminal is gone there is nothing to clear.
        let _ = self.lines.clear();
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn server_line(path: &PathInfo, rate: f64, total: u64) -> String {
    let role = match path.role {
        PathRole::Primary => "primary",
        PathRole::Secondary => "secondary",
    };
    let addr = path
        .addr
        .map_or_else(|| "-".into(), |addr| addr.to_string());
    let share = 100.0 * as_f64(path.received_bytes) / as_f64(total.max(1));
    let state = state(path.phase);
    format!("{role:9} {addr:21} {state:8} {} {share:5.1} %", mbit(rate))
}

fn whole_line(received: u64, size: Option<u64>, rate: f64) -> String {
    let Some(size) = size else {
        return "connecting".into();
    };
    let percent = 100.0 * as_f64(received) / as_f64(size.max(1));
    let left = as_f64(size.saturating_sub(received)) / rate;
    let eta = match Duration::try_from_secs_f64(left) {
        Ok(left) => HumanDuration(left).to_string(),
        Err(_) => "-".into(),
    };
    format!(
        "{percent:5.1} %  {} of {}  {}  ETA {eta}",
        HumanBytes(received),
        HumanBytes(size),
        mbit(rate)
    )
}

fn mbit(bytes_per_second: f64) -> String {
    format!("{:7.1} Mbit/s", bytes_per_second * 8.0 / 1e6)
}

/// How fast a counter has grown lately.
#[derive(Default)]
struct Rate(VecDeque<(Instant, u64)>);

impl Rate {
    /// Takes a look at the counter; returns its growth a second.
    fn look(&mut self, now: Instant, count: u64) -> f64 {
        self.0.push_back((now, count));
        if self.0.len() > LOOKS {
            self.0.pop_front();
        }
        let Some(&(then, before)) = self.0.front() else {
            return 0.0;
        };
        let seconds = now.saturating_duration_since(then).as_secs_f64();
        if seconds > 0.0 {
            as_f64(count.saturating_sub(before)) / seconds
        } else {
            0.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_of_the_last_looks() {
        let mut rate = Rate::default();
        let begin = Instant::now();
        assert_eq!(rate.look(begin, 0), 0.0);
        for second in 1..=20u32 {
            let count = u64::from(second.min(10)) * 1000;
            rate.look(begin + Duration::from_secs(u64::from(second)), count);
        }
        let now = begin + Duration::from_secs(21);
        assert_eq!(rate.look(now, 10_000), 0.0, "nothing came lately");
        assert_eq!(rate.look(now + Duration::from_secs(1), 19_000), 1000.0);
    }

    #[test]
    fn the_line_for_the_whole_says_how_long_it_takes() {
        let line = whole_line(25 << 20, Some(100 << 20), f64::from(25 << 20));
        assert!(
            line.contains("25.0 %") && line.contains("3 seconds"),
            "{line}"
        );
        assert!(whole_line(0, Some(1), 0.0).ends_with("ETA -"));
    }
}

//! The five scenarios, and what each has to show.
//!
//! Owns the conditions under which a scenario has passed. Starts nothing.

use serde::Serialize;

use crate::cli::get::{Report, as_f64};

/// When all three work in rotation, each brings at least this part.
const ROTATION_SHARE_MIN: f64 = 0.1;
/// A server is killed when this part has arrived; 0.2 to 0.8 is allowed.
pub(super) const KILL_AT: f64 = 0.4;

/// One transfer that shows one thing.
pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) secondaries: usize,
    /// In ranges of 64 KiB in rotation.
    pub(super) rotates: bool,
    /// Whether the last secondary is killed on the way.
    pub(super) kills: bool,
    /// So many times as fast as the primary alone, at least. With the same cap for each server the
    /// rates would sum up; this leaves room for a busy machine.
    speedup_min: f64,
}

pub(super) const SCENARIOS: [Scenario; 5] = [
    Scenario {
        name: "primary alone",
        secondaries: 0,
        rotates: false,
        kills: false,
        speedup_min: 0.0,
    },
    Scenario {
        name: "primary and 1 secondary",
        secondaries: 1,
        rotates: false,
        kills: false,
        speedup_min: 1.3,
    },
    Scenario {
        name: "primary and 2 secondaries",
        secondaries: 2,
        rotates: false,
        kills: false,
        speedup_min: 1.6,
    },
    Scenario {
        name: "all three in rotation",
        secondaries: 2,
        rotates: true,
        kills: false,
        speedup_min: 0.0,
    },
    Scenario {
        name: "1 of 2 secondaries killed",
        secondaries: 2,
        rotates: false,
        kills: true,
        speedup_min: 0.0,
    },
];

/// What was seen of a scenario.
pub(super) struct Observed {
    pub(super) report: Report,
    /// Why the transfer failed, if it did.
    pub(super) error: Option<String>,
    /// Whether the file is, byte for byte, the one that is served.
    pub(super) is_identical: bool,
    /// What part had arrived when a server was dead.
    pub(super) killed_at: Option<f64>,
}

/// A line of the table, an object of the JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Row {
    pub(super) scenario: usize,
    pub(super) name: &'static str,
    pub(super) bytes: u64,
    pub(super) seconds: f64,
    pub(super) mbit_s: f64,
    /// Of each server, the primary first.
    pub(super) shares: Vec<f64>,
    pub(super) verified: bool,
    pub(super) identical: bool,
    pub(super) regranted_bytes: u64,
    pub(super) killed_at: Option<f64>,
    /// What it failed to show.
    pub(super) problems: Vec<String>,
}

impl Row {
    /// Judges a scenario. `alone_mbit_s` is the rate of the primary alone.
    pub(super) fn new(
        scenario: &Scenario,
        number: usize,
        observed: Observed,
        alone_mbit_s: f64,
    ) -> Self {
        let Observed {
            report,
            error,
            is_identical,
            killed_at,
        } = observed;
        let mut row = Self {
            scenario: number,
            name: scenario.name,
            bytes: report.bytes,
            seconds: report.seconds,
            mbit_s: report.goodput_mbit_s,
            shares: report.paths.iter().map(|path| path.share).collect(),
            verified: report.blake3.is_some(),
            identical: is_identical,
            regranted_bytes: report.regranted_bytes,
            killed_at,
            problems: Vec::new(),
        };
        match error {
            Some(error) => row.problems.push(error),
            None => row.judge(scenario, alone_mbit_s),
        }
        row
    }

    fn judge(&mut self, scenario: &Scenario, alone_mbit_s: f64) {
        let share_min = if scenario.rotates {
            ROTATION_SHARE_MIN
        } else {
            0.0
        };
        let speedup = self.mbit_s / alone_mbit_s.max(f64::MIN_POSITIVE);
        let killed_well = self.killed_at.is_some_and(|at| (0.2..=0.8).contains(&at));
        let conditions = [
            (self.verified, "the hash was not verified"),
            (self.identical, "the file is not the one that is served"),
            (
                self.shares.len() == scenario.secondaries + 1,
                "not every server took part",
            ),
            (
                self.shares.iter().all(|share| *share > share_min),
                "a server brought too little",
            ),
            (
                scenario.speedup_min == 0.0 || speedup >= scenario.speedup_min,
                "more servers were not faster",
            ),
            (
                !scenario.kills || killed_well,
                "the server was not killed between 20 and 80 %",
            ),
            (
                !scenario.kills || self.regranted_bytes > 0,
                "nothing was granted again",
            ),
        ];
        let failed = conditions.iter().filter(|(holds, _)| !holds);
        self.problems = failed.map(|(_, problem)| (*problem).to_owned()).collect();
    }

    pub(super) fn has_passed(&self) -> bool {
        self.problems.is_empty()
    }

    /// The head of the table.
    pub(super) fn head() -> String {
        format!(
            "{:28} {:>10} {:>8} {:>7}  {:>7} {:>7} {:>7}  {:8} result",
            "scenario", "bytes", "seconds", "Mbit/s", "primary", "sec. 1", "sec. 2", "hash"
        )
    }

    /// A line of the table, and one for each problem.
    pub(super) fn lines(&self) -> Vec<String> {
        let share = |server: usize| match self.shares.get(server) {
            Some(share) => format!("{:.1} %", share * 100.0),
            None => "-".into(),
        };
        let line = format!(
            "{} {:26} {:>10} {:>8.2} {:>7.1}  {:>7} {:>7} {:>7}  {:8} {}",
            self.scenario,
            self.name,
            self.bytes,
            self.seconds,
            self.mbit_s,
            share(0),
            share(1),
            share(2),
            if self.verified { "verified" } else { "-" },
            if self.has_passed() { "ok" } else { "FAIL" },
        );
        let killed = self.killed_at.map(|at| {
            format!(
                "  killed when {:.0} % had arrived; {} bytes were granted again",
                at * 100.0,
                self.regranted_bytes
            )
        });
        let problems = self
            .problems
            .iter()
            .map(|problem| format!("  FAIL: {problem}"));
        [line].into_iter().chain(killed).chain(problems).collect()
    }
}

/// The part of the whole that `bytes` are.
pub(super) fn part(bytes: u64, whole: u64) -> f64 {
    as_f64(bytes) / as_f64(whole.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::get::PathReport;

    fn observed(shares: &[f64]) -> Observed {
        let path = |share: &f64| PathReport {
            id: 0,
            role: "primary",
            addr: None,
            state: "active",
            bytes: 1,
            share: *share,
            rtt_ms: None,
            lost_packets: 0,
        };
        let report = Report {
            goodput_mbit_s: 200.0,
            blake3: Some(String::new()),
            paths: shares.iter().map(path).collect(),
            regranted_bytes: 1,
            ..Report::default()
        };
        Observed {
            report,
            error: None,
            is_identical: true,
            killed_at: Some(0.5),
        }
    }

    fn problems(number: usize, observed: Observed) -> Vec<String> {
        Row::new(&SCENARIOS[number - 1], number, observed, 100.0).problems
    }

    #[test]
    fn a_scenario_that_shows_what_it_should_passes() {
        assert!(problems(1, observed(&[1.0])).is_empty());
        assert!(problems(2, observed(&[0.5, 0.5])).is_empty());
        for number in [3, 4, 5] {
            assert!(problems(number, observed(&[0.4, 0.4, 0.2])).is_empty());
        }
    }

    #[test]
    fn each_condition_is_needed() {
        let thirds = [0.4, 0.4, 0.2];
        let unverified = Observed {
            report: Report {
                blake3: None,
                ..observed(&thirds).report
            },
            ..observed(&thirds)
        };
        let different = Observed {
            is_identical: false,
            ..observed(&thirds)
        };
        let failed = Observed {
            error: Some("no".into()),
            ..observed(&thirds)
        };
        let slow = Observed {
            report: Report {
                goodput_mbit_s: 150.0,
                ..observed(&thirds).report
            },
            ..observed(&thirds)
        };
        let early = Observed {
            killed_at: Some(0.1),
            ..observed(&thirds)
        };
        let never = Observed {
            killed_at: None,
            ..observed(&thirds)
        };
        let lossless = Observed {
            report: Report {
                regranted_bytes: 0,
                ..observed(&thirds).report
            },
            ..observed(&thirds)
        };
        for (number, observed) in [
            (3, unverified),
            (3, different),
            (3, failed),
            (3, slow),
            (3, observed(&[0.5, 0.5])),
            (3, observed(&[0.5, 0.5, 0.0])),
            (4, observed(&[0.46, 0.45, 0.09])),
            (5, early),
            (5, never),
            (5, lossless),
        ] {
            assert_eq!(problems(number, observed).len(), 1, "scenario {number}");
        }
    }
}

//! What is known of a transfer at its end.
//!
//! Owns the JSON of `kwik get --json`, and the summary for people.

use kwik_core::ids::PathId;
use kwik_core::path::{PathInfo, PathPhase, PathRole};
use serde::Serialize;

use crate::blocking::Client;
use crate::cli::failure::Failure;
use crate::stats::IoStats;

/// A transfer at its end. Its JSON is an interface.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(in crate::cli) struct Report {
    /// Bytes of content.
    pub(in crate::cli) bytes: u64,
    /// From the request to the last byte of content.
    pub(in crate::cli) seconds: f64,
    pub(in crate::cli) goodput_mbit_s: f64,
    /// The hash, once it is verified.
    pub(in crate::cli) blake3: Option<String>,
    /// Control frames and segment headers, both ways.
    pub(in crate::cli) kwik_bytes: u64,
    /// `kwik_bytes` per hundred bytes of content.
    pub(in crate::cli) overhead_pct: f64,
    pub(in crate::cli) grants: u64,
    pub(in crate::cli) regranted_bytes: u64,
    pub(in crate::cli) duplicate_bytes: u64,
    pub(in crate::cli) buffered_bytes_max: u64,
    pub(in crate::cli) aggregation_us: Microseconds,
    pub(in crate::cli) paths: Vec<PathReport>,
    /// Bytes of the primary that were its answer, not content.
    #[serde(skip)]
    pub(in crate::cli) answer_bytes: u64,
    /// Why it failed, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) error: Option<String>,
}

/// A distribution of durations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(in crate::cli) struct Microseconds {
    pub(in crate::cli) p50: f64,
    pub(in crate::cli) p99: f64,
    pub(in crate::cli) max: f64,
}

/// One server's part.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::cli) struct PathReport {
    pub(in crate::cli) id: u64,
    pub(in crate::cli) role: &'static str,
    pub(in crate::cli) addr: Option<String>,
    pub(in crate::cli) state: &'static str,
    /// Bytes that it brought first.
    pub(in crate::cli) bytes: u64,
    /// Its part of what all brought; all parts sum to 1.
    pub(in crate::cli) share: f64,
    pub(in crate::cli) rtt_ms: Option<f64>,
    pub(in crate::cli) lost_packets: u64,
}

impl Report {
    /// Takes in what the session knows, as far as it still knows anything.
    pub(super) fn observe(&mut self, client: &Client) {
        if let Ok(stats) = client.stats() {
            self.kwik_bytes = stats.control_bytes;
            self.grants = stats.grants;
            self.regranted_bytes = stats.regranted_bytes;
            self.duplicate_bytes = stats.duplicate_bytes;
            self.buffered_bytes_max = stats.buffered_bytes_max;
        }
        self.aggregation_us = Microseconds::from(client.io_stats());
        if let Ok(paths) = client.paths() {
            self.paths = path_reports(&paths, self.answer_bytes);
        }
        self.goodput_mbit_s = ratio(as_f64(self.bytes) * 8.0 / 1e6, self.seconds);
        self.overhead_pct = ratio(as_f64(self.kwik_bytes) * 100.0, as_f64(self.bytes));
    }

    /// The report on one line.
    pub(in crate::cli) fn to_json(&self) -> Result<String, Failure> {
        serde_json::to_string(self)
            .map_err(|error| Failure::failed(format!("cannot write the report: {error}")))
    }

    /// What people want to know of a transfer that succeeded.
    pub(super) fn summary(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "{} bytes in {:.2} s, {:.1} Mbit/s, verified",
            self.bytes, self.seconds, self.goodput_mbit_s
        )];
        // One server alone needs no table.
        if self.paths.len() > 1 {
            lines.extend(self.paths.iter().map(PathReport::summary));
        }
        lines
    }
}

impl PathReport {
    fn summary(&self) -> String {
        let server = format!("{} {}", self.role, self.addr.as_deref().unwrap_or("-"));
        let part = if self.bytes == 0 {
            "brought nothing".into()
        } else {
            format!("{} bytes, {:.1} %", self.bytes, self.share * 100.0)
        };
        format!("{server} ({}): {part}", self.state)
    }
}

impl From<IoStats> for Microseconds {
    fn from(stats: IoStats) -> Self {
        let micros = |duration: std::time::Duration| (duration.as_secs_f64() * 1e7).round() / 10.0;
        Self {
            p50: micros(stats.aggregation.p50),
            p99: micros(stats.aggregation.p99),
            max: micros(stats.aggregation.max),
        }
    }
}

fn path_reports(paths: &[PathInfo], answer_bytes: u64) -> Vec<PathReport> {
    let content = |path: &PathInfo| match path.path {
        PathId::PRIMARY => path.received_bytes.saturating_sub(answer_bytes),
        _ => path.received_bytes,
    };
    let total: u64 = paths.iter().map(content).sum();
    let share = |path: &PathInfo| match total {
        // Nobody brought a byte of an empty file, but the primary said that it is empty.
        0 if path.path == PathId::PRIMARY => 1.0,
        0 => 0.0,
        total => as_f64(content(path)) / as_f64(total),
    };
    let report = |path: &PathInfo| PathReport {
        id: path.path.0,
        role: match path.role {
            PathRole::Primary => "primary",
            PathRole::Secondary => "secondary",
        },
        addr: path.addr.map(|addr| addr.to_string()),
        state: state(path.phase),
        bytes: content(path),
        share: share(path),
        rtt_ms: path.rtt.map(|rtt| rtt.as_secs_f64() * 1e3),
        lost_packets: path.lost_packets,
    };
    let mut reports: Vec<PathReport> = paths.iter().map(report).collect();
    reports.sort_by_key(|path| path.id);
    reports
}

/// The state of a path in a word.
pub(super) const fn state(phase: PathPhase) -> &'static str {
    match phase {
        PathPhase::Dialing => "dialing",
        PathPhase::Joining => "joining",
        PathPhase::Active => "active",
        PathPhase::Retiring => "retiring",
        PathPhase::Dead => "dead",
        PathPhase::Retired => "retired",
    }
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "for people, who read three digits of it"
)]
pub(in crate::cli) fn as_f64(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(id: u64, bytes: u64) -> PathInfo {
        PathInfo {
            path: PathId(id),
            role: if id == 0 {
                PathRole::Primary
            } else {
                PathRole::Secondary
            },
            phase: if bytes == 0 {
                PathPhase::Dead
            } else {
                PathPhase::Active
            },
            addr: None,
            received_bytes: bytes,
            rtt: None,
            lost_packets: 0,
        }
    }

    #[test]
    fn shares_sum_to_one() {
        for bytes in [[0, 0, 0], [1, 0, 2], [7, 11, 13]] {
            let paths = [path(2, bytes[2]), path(0, bytes[0]), path(1, bytes[1])];
            let reports = path_reports(&paths, 0);
            assert!(reports.iter().map(|path| path.id).eq([0, 1, 2]));
            let sum: f64 = reports.iter().map(|path| path.share).sum();
            assert!((sum - 1.0).abs() < 1e-9, "{bytes:?}: {sum}");
        }
    }

    #[test]
    fn the_answer_of_the_primary_is_no_content() {
        let reports = path_reports(&[path(0, 50), path(1, 7)], 50);
        assert_eq!((reports[0].bytes, reports[1].bytes), (0, 7));
    }

    #[test]
    fn the_summary_names_a_secondary_that_brought_nothing() {
        let report = Report {
            paths: path_reports(&[path(0, 5), path(1, 0)], 0),
            ..Report::default()
        };
        let summary = report.summary().join("\n");
        assert!(
            summary.contains("secondary - (dead): brought nothing"),
            "{summary}"
        );
    }

    #[test]
    fn the_json_has_the_fields_that_were_promised() {
        let report = Report {
            paths: path_reports(&[path(0, 5)], 0),
            ..Report::default()
        };
        let json: serde_json::Value = serde_json::from_str(&report.to_json().unwrap()).unwrap();
        let keys = |value: &serde_json::Value| -> Vec<String> {
            value.as_object().unwrap().keys().cloned().collect()
        };
        let mut expected = [
            "bytes",
            "seconds",
            "goodput_mbit_s",
            "blake3",
            "kwik_bytes",
            "overhead_pct",
            "grants",
            "regranted_bytes",
            "duplicate_bytes",
            "buffered_bytes_max",
            "aggregation_us",
            "paths",
        ];
        expected.sort_unstable();
        assert_eq!(keys(&json), expected);
        let mut expected = [
            "id",
            "role",
            "addr",
            "state",
            "bytes",
            "share",
            "rtt_ms",
            "lost_packets",
        ];
        expected.sort_unstable();
        assert_eq!(keys(&json["paths"][0]), expected);
        assert_eq!(keys(&json["aggregation_us"]), ["max", "p50", "p99"]);
        let failed = Report {
            error: Some("no".into()),
            ..report
        };
        assert!(failed.to_json().unwrap().contains(r#""error":"no""#));
    }
}

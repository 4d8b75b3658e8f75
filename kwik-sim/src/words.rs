//! Scenarios, faults and quantities in words.

use std::fmt;
use std::time::Duration;

use kwik_core::ids::PathId;

use crate::app::{Conduct, Ends, Revokes};
use crate::scenario::{Fault, FaultKind, Scenario, Sharing, Way, When, Who};

/// A number of bytes with a unit.
#[must_use]
pub fn bytes(count: u64) -> String {
    let tenths = |unit: u64| {
        let tenths = (u128::from(count) * 10 + u128::from(unit) / 2) / u128::from(unit);
        format!("{}.{}", tenths / 10, tenths % 10)
    };
    match count {
        0..1024 => format!("{count} B"),
        1024..0x10_0000 => format!("{} KiB", tenths(1 << 10)),
        0x10_0000..0x4000_0000 => format!("{} MiB", tenths(1 << 20)),
        _ => format!("{} GiB", tenths(1 << 30)),
    }
}

/// Seconds to a millisecond.
#[must_use]
pub fn seconds(time: Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}

/// A count and its noun.
#[must_use]
pub fn count(count: usize, noun: &str) -> String {
    match (count, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        (_, None) => format!("{count} {noun}s"),
    }
}

/// A part of a whole in percent.
#[must_use]
pub fn percent(part: u64, whole: u64) -> String {
    let tenths = u128::from(part) * 1000 / u128::from(whole.max(1));
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// What a scenario is, in a line.
#[must_use]
pub fn scenario(scenario: &Scenario) -> String {
    let sharing = match scenario.sharing {
        Sharing::Alone => "written by the primary alone".to_owned(),
        Sharing::Pull => "shared by pull".to_owned(),
        Sharing::Rotate { range_bytes } => {
            format!("shared in rotation by {}", bytes(range_bytes))
        }
        Sharing::Delegate {
            range_bytes,
            revokes,
        } => {
            let taken_back = revokes.map(|Revokes { one_of, after }| {
                format!(", one of {one_of} taken back after {}", seconds(after))
            });
            let taken_back = taken_back.unwrap_or_default();
            format!("delegated by {}{taken_back}", bytes(range_bytes))
        }
        Sharing::Raw { range_bytes } => {
            format!("in open grants of at most {}", bytes(range_bytes))
        }
    };
    let servers = match scenario.secondaries.len() {
        0 => "a primary alone".to_owned(),
        n => format!("a primary and {}", count(n, "secondary")),
    };
    let mut words = format!(
        "{servers}, {} of {} in all, {sharing}",
        count(scenario.asks.len(), "stream"),
        bytes(scenario.wanted()),
    );
    if !scenario.others.is_empty() {
        words += &format!(", {} more", count(scenario.others.len(), "client"));
    }
    if let Some(conduct) = conduct(&scenario.primary.conduct) {
        words += &format!(", the primary {conduct}");
    }
    for (index, secondary) in scenario.secondaries.iter().enumerate() {
        if let Some(conduct) = conduct(&secondary.conduct) {
            words += &format!(", secondary {index} {conduct}");
        }
    }
    for (index, ask) in scenario.asks.iter().enumerate() {
        if let Some(end) = ends(&ask.ends) {
            words += &format!(", answer {index} {end}");
        }
    }
    words
}

/// How an answer ends, if somebody gives it up.
#[must_use]
pub fn ends(ends: &Ends) -> Option<String> {
    Some(match ends {
        Ends::Whole => return None,
        Ends::Stopped { percent, code } => {
            format!("stopped by the client at {percent} % with {code}")
        }
        Ends::Reset { after, code } => {
            format!(
                "given up by the primary after {} with {code}",
                seconds(*after)
            )
        }
        Ends::TakenBack { code } => format!("never asked for: taken back with {code}"),
    })
}

/// What a server does, if it is not what is asked of it and at once.
#[must_use]
pub fn conduct(conduct: &Conduct) -> Option<String> {
    Some(match *conduct {
        Conduct::HONEST => return None,
        Conduct::Honest { open_bytes } => {
            format!("writes {} of an open grant", bytes(open_bytes))
        }
        Conduct::Slow { bytes: size, every } => {
            format!("writes {} every {}", bytes(size), seconds(every))
        }
        Conduct::Refuses(code) => format!("refuses with {code}"),
        Conduct::Mute => "writes nothing".to_owned(),
        Conduct::Lies => "lies".to_owned(),
        Conduct::Hostile(hostility) => format!("is hostile ({hostility:?})"),
    })
}

/// A fault and when it comes.
#[must_use]
pub fn fault(fault: &Fault) -> String {
    let when = match fault.at {
        When::Time(at) => format!("at {}", seconds(at)),
        When::Percent(percent) => format!("at {percent} % read"),
    };
    format!("{when}: {}", kind(&fault.what))
}

/// What a fault is.
#[must_use]
pub fn kind(kind: &FaultKind) -> String {
    match kind {
        FaultKind::Crash(who) => format!("{who} crashes"),
        FaultKind::Restart { who, down } => {
            format!("{who} restarts, down for {}", seconds(*down))
        }
        FaultKind::Pause { who, lasts } => format!("{who} pauses for {}", seconds(*lasts)),
        FaultKind::Cut { server, way, lasts } => {
            format!("link to {server} cut{} for {}", side(*way), seconds(*lasts))
        }
        FaultKind::Outage { lasts } => format!("client cut off for {}", seconds(*lasts)),
        FaultKind::Storm {
            server, way, lasts, ..
        } => format!(
            "storm on the link to {server}{} for {}",
            side(*way),
            seconds(*lasts)
        ),
        FaultKind::BlackHole {
            server,
            payload_max_bytes,
        } => format!("datagrams above {payload_max_bytes} B vanish to and from {server}"),
        FaultKind::Rebind { address: true } => "client gets another address".into(),
        FaultKind::Rebind { address: false } => "client gets another port".into(),
        FaultKind::ClockJump { who, seconds } => {
            format!("wall clock of {who} jumps by {seconds} s")
        }
        FaultKind::Retire(index) => format!("primary retires secondary {index}"),
        FaultKind::AddAgain(index) => format!("primary names secondary {index} again"),
        FaultKind::Poke(who) => format!("application of {who} makes improper calls"),
        FaultKind::Meddle(who) => format!("application of {who} makes unexpected calls"),
    }
}

/// Whom a fault concerns most.
#[must_use]
pub const fn subject(kind: &FaultKind) -> Who {
    match kind {
        FaultKind::Crash(who)
        | FaultKind::Restart { who, .. }
        | FaultKind::Pause { who, .. }
        | FaultKind::ClockJump { who, .. }
        | FaultKind::Poke(who)
        | FaultKind::Meddle(who)
        | FaultKind::Cut { server: who, .. }
        | FaultKind::Storm { server: who, .. }
        | FaultKind::BlackHole { server: who, .. } => *who,
        FaultKind::Outage { .. } | FaultKind::Rebind { .. } => Who::Client,
        FaultKind::Retire(index) | FaultKind::AddAgain(index) => Who::Secondary(*index),
    }
}

/// The path that a server has at first.
#[must_use]
pub const fn first_path(who: Who) -> Option<PathId> {
    match who {
        Who::Client => None,
        Who::Primary => Some(PathId::PRIMARY),
        Who::Secondary(index) => Some(PathId(index as u64 + 1)),
    }
}

const fn side(way: Way) -> &'static str {
    match way {
        Way::Up => " (to the server)",
        Way::Down => " (to the client)",
        Way::Both => "",
    }
}

/// Lines below a heading, each indented.
pub struct Indented<'a>(pub &'a str);

impl fmt::Display for Indented<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = self.0.lines();
        if let Some(first) = lines.next() {
            write!(f, "    {first}")?;
        }
        lines.try_for_each(|line| write!(f, "\n    {line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_rounded_to_a_tenth_of_their_unit() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(10 << 20), "10.0 MiB");
        assert_eq!(bytes(u64::MAX), "17179869184.0 GiB");
        assert_eq!(percent(1, 3), "33.3 %");
        assert_eq!(percent(0, 0), "0.0 %");
        assert_eq!(count(1, "secondary"), "1 secondary");
        assert_eq!(count(2, "secondary"), "2 secondaries");
        assert_eq!(count(0, "stream"), "0 streams");
    }

    #[test]
    fn a_scenario_is_one_line() {
        let text = scenario(&Scenario::new(1, 2, 3 << 20));
        assert_eq!(
            text,
            "a primary and 2 secondaries, 1 stream of 3.0 MiB in all, shared by pull"
        );
        let mut slow = Scenario::new(1, 2, 3 << 20);
        slow.secondaries[1].conduct = Conduct::Slow {
            bytes: 2048,
            every: Duration::from_millis(20),
        };
        assert_eq!(
            scenario(&slow),
            format!("{text}, secondary 1 writes 2.0 KiB every 0.020 s")
        );
        slow.primary.conduct = slow.secondaries[1].conduct;
        assert!(scenario(&slow).contains(", the primary writes 2.0 KiB every"));
        slow.asks[0].ends = Ends::Stopped {
            percent: 40,
            code: 7,
        };
        assert!(scenario(&slow).ends_with(", answer 0 stopped by the client at 40 % with 7"));
        let crash = Fault {
            at: When::Percent(30),
            what: FaultKind::Crash(Who::Secondary(1)),
        };
        assert_eq!(fault(&crash), "at 30 % read: secondary 1 crashes");
    }
}

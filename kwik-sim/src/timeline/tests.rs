//! What a page shows of a real life, and that nothing in it can break out.

use std::time::Duration;

use super::page::{escape, inert};
use super::recorder::{Fact, Recording, record};
use super::*;
use crate::crypto::CryptoMode;
use crate::outcome::Outcome;
use crate::scenario::{Fault, FaultKind, Scenario, When, Who};
use crate::trial;

/// A transfer of which a secondary is lost.
fn crash() -> (Scenario, Outcome, Recording) {
    let mut scenario = Scenario::new(3, 2, 10 << 20);
    scenario.faults.push(Fault {
        at: When::Percent(30),
        what: FaultKind::Crash(Who::Secondary(1)),
    });
    let (outcome, recording) = record(|| trial::run(&scenario, CryptoMode::Null));
    (scenario, outcome, recording)
}

#[test]
fn the_story_of_a_crash_is_told() {
    let (scenario, outcome, recording) = crash();
    let chart = Chart::new(&scenario, &outcome, &recording);
    let line = |kind: &str| {
        let found = chart.story.iter().find(|line| line.kind == kind);
        found.unwrap_or_else(|| panic!("{kind}: {:#?}", chart.story))
    };
    let (fault, death, again, end) = (line("fault"), line("death"), line("again"), line("end"));
    assert_eq!(fault.text, "secondary 1 crashes");
    assert!(
        death.text.starts_with("secondary 1 is given up (path 2); "),
        "{death:?}"
    );
    assert!(
        again.text.contains("what secondary 1 owed is there: "),
        "{again:?}"
    );
    assert!(fault.at < death.at && death.at < again.at && again.at <= end.at);

    // What was lost is what was brought again, by others.
    let stream = &chart.streams[0];
    assert_eq!((chart.streams.len(), stream.size), (1, 10 << 20));
    assert!(!stream.losses.is_empty());
    for loss in &stream.losses {
        let again: u64 = loss.again.iter().map(|(_, bytes)| bytes).sum();
        assert_eq!(again, loss.end - loss.start, "{loss:?}");
        assert!(
            loss.path == 2 && loss.again.iter().all(|(path, _)| *path != 2),
            "{loss:?}"
        );
    }
    assert!(stream.grants.iter().any(|grant| grant.again));
    let total: u64 = chart.paths.iter().map(|path| path.bytes).sum();
    assert_eq!(total, 10 << 20);
    assert_eq!(stream.cursor.last().map(|point| point.1), Some(10 << 20));
    let states: Vec<_> = chart.paths[2].phases.iter().map(|phase| phase.0).collect();
    assert_eq!(states, ["dialing", "joining", "active", "dead"]);
}

/// The recording knows events of kwik-core by their words: whoever changes those is told here.
#[test]
fn every_event_that_a_page_needs_is_heard() {
    let (_, _, recording) = crash();
    let heard = |is: fn(&Fact) -> bool| recording.facts.iter().any(|(_, fact)| is(fact));
    assert!(heard(|fact| matches!(fact, Fact::Established)));
    assert!(heard(|fact| matches!(
        fact,
        Fact::Dialing { addr: Some(_), .. }
    )));
    assert!(heard(|fact| matches!(fact, Fact::Joining(_))));
    assert!(heard(|fact| matches!(fact, Fact::Joined(_))));
    assert!(heard(|fact| matches!(
        fact,
        Fact::PathEnded { retired: false, .. }
    )));
    assert!(heard(|fact| matches!(
        fact,
        Fact::Granted { grant: Some(_), .. }
    )));
    assert!(heard(|fact| matches!(
        fact,
        Fact::Granted { grant: None, .. }
    )));
    assert!(heard(|fact| matches!(fact, Fact::GrantEnded(_))));
    assert!(heard(|fact| matches!(fact, Fact::Lost { .. })));
    assert!(heard(|fact| matches!(fact, Fact::Placed { .. })));
    assert!(heard(|fact| matches!(fact, Fact::Read { .. })));
    assert!(heard(|fact| matches!(fact, Fact::SessionEnded(_))));
    assert!(heard(|fact| matches!(fact, Fact::Fault(_))));

    let mut alone = Scenario::new(1, 1, 100_000);
    alone.sharing = crate::scenario::Sharing::Alone;
    alone.faults.push(Fault {
        at: When::Percent(30),
        what: FaultKind::Retire(0),
    });
    let (_, recording) = record(|| trial::run(&alone, CryptoMode::Null));
    let heard = |is: fn(&Fact) -> bool| recording.facts.iter().any(|(_, fact)| is(fact));
    assert!(heard(|fact| matches!(fact, Fact::PlainRead { .. })));
    assert!(heard(|fact| matches!(fact, Fact::Retiring(_))));
    assert!(heard(|fact| matches!(
        fact,
        Fact::PathEnded { retired: true, .. }
    )));
}

#[test]
fn a_recording_changes_nothing_and_hears_nothing_afterwards() {
    let (scenario, outcome, recording) = crash();
    assert_eq!(trial::run(&scenario, CryptoMode::Null), outcome);
    let (_, after) = record(|| ());
    assert!(after.facts.is_empty() && !recording.facts.is_empty());
    let caught = std::panic::catch_unwind(|| record(|| std::panic::resume_unwind(Box::new(1))));
    assert!(caught.is_err());
    assert_eq!(record(|| 5).0, 5, "a panic ends its recording");
}

#[test]
fn a_page_of_ten_megabytes_is_small_and_needs_no_network() {
    let (scenario, outcome, recording) = crash();
    let page = render("seed 3", &Chart::new(&scenario, &outcome, &recording));
    assert!(page.len() < 1_000_000, "{} bytes", page.len());
    for loads in ["src=", "href=", "@import", "url(http", "fetch("] {
        assert!(!page.contains(loads), "{loads}");
    }
    let namespace = "http://www.w3.org/2000/svg";
    assert_eq!(
        page.matches("http").count(),
        page.matches(namespace).count()
    );
}

#[test]
fn nothing_in_a_page_can_break_out() {
    assert_eq!(escape("<b a='\"'>&"), "&lt;b a=&#39;&quot;&#39;&gt;&amp;");
    let (scenario, mut outcome, recording) = crash();
    outcome.failure = Some(crate::outcome::Failure {
        class: crate::outcome::FailureClass::Correctness,
        rule: "I1",
        detail: "</script><script>alert(1)</script>".into(),
        at: Duration::ZERO,
    });
    let page = render(
        "</title>{{style}}",
        &Chart::new(&scenario, &outcome, &recording),
    );
    assert!(!page.contains("alert(1)</script>"));
    assert!(page.contains("&lt;/title&gt;"));
    assert_eq!(page.matches("</script>").count(), 2);
    let text = "a</script>\u{2028}&";
    let json = serde_json::to_string(text).expect("text");
    assert!(!inert(&json).contains(['<', '>', '&']), "{json}");
    assert_eq!(
        serde_json::from_str(&inert(&json)).ok(),
        Some(text.to_owned())
    );
}

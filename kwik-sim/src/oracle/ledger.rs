//! I3: the books of grants and of bytes.
//!
//! Owns what is compared once all was read: what the primary counts, what each endpoint took from its
//! application, what each path brought, and what was delivered.

use kwik_core::config::Overlap;
use kwik_core::ids::{ByteRange, StreamId};
use kwik_core::ranges::RangeSet;

use super::{Breach, is_restart};
use crate::app::{Accepted, Conduct};
use crate::scenario::{Scenario, Server};
use crate::stage::Stage;

/// Each final status of a grant of the application was one that was to come.
pub(super) fn check_statuses(stage: &Stage) -> Result<(), Breach> {
    if !stage.world.is_up(stage.primary) {
        return Ok(());
    }
    match stage.primary_app().wrong_status() {
        Some(wrong) => Err(Breach::new("I3", wrong)),
        None => Ok(()),
    }
}

/// All of every answer was read, and there was time for the last statuses.
pub(super) fn check_complete(scenario: &Scenario, stage: &mut Stage) -> Result<(), Breach> {
    check_statuses(stage)?;
    check_counts(stage)?;
    check_accepted(scenario, stage)?;
    check_brought(scenario, stage)
}

/// No grant is without a final status, and none has two.
fn check_counts(stage: &mut Stage) -> Result<(), Breach> {
    for stats in stage.primary_stats() {
        if stats.grants_live > 0 {
            let (live, given) = (stats.grants_live, stats.grants_given);
            let detail = format!("{live} of {given} grants have no final status");
            return Err(Breach::new("I3", detail));
        }
        if stats.late_statuses > 0 {
            let late = stats.late_statuses;
            let detail = format!("{late} statuses came behind the final one of their grant");
            return Err(Breach::new("I3", detail));
        }
    }
    if stage.world.is_up(stage.primary) {
        let owed = stage.primary_app().grants_owed();
        if owed > 0 {
            let detail = format!("the application was not told the end of {owed} grants");
            return Err(Breach::new("I3", detail));
        }
    }
    Ok(())
}

/// What endpoints took for a stream lies below its end: nobody was asked for more. And all of the
/// stream was taken from somebody, unless there is one who does not remember, or whom nobody can ask.
fn check_accepted(scenario: &Scenario, stage: &Stage) -> Result<(), Breach> {
    // The names of streams are those of a session, and secondaries do not tell one client from another.
    if !scenario.others.is_empty() {
        return Ok(());
    }
    let all_remember = !scenario.faults.iter().any(|fault| is_restart(&fault.what))
        && (0..stage.secondaries.len()).all(|index| !stage.is_hostile(index));
    for (stream, size, read) in stage.reader().answers() {
        let mut whole = RangeSet::new();
        for (writer, accepted) in writers(stage) {
            let Some(taken) = accepted.of(stream) else {
                continue;
            };
            if let Some(beyond) = taken.last().filter(|last| last.end() > size) {
                let detail = format!(
                    "{writer} gave bytes of stream {stream}, which ends at {size}, up to {}",
                    beyond.end()
                );
                return Err(Breach::new("I3", detail));
            }
            whole.insert_all(taken);
        }
        if all_remember
            && !read.gave_up
            && let Some(nobodys) = first_missing(&whole, stream, size)
        {
            return Err(Breach::new("I3", nobodys));
        }
    }
    Ok(())
}

fn first_missing(whole: &RangeSet, stream: StreamId, size: u64) -> Option<String> {
    let missing = whole.missing_in(ByteRange::new(0, size)?).first()?;
    Some(format!(
        "bytes {missing} of stream {stream} were read and nobody gave them"
    ))
}

/// Those who remember what their endpoints took, in words.
fn writers(stage: &Stage) -> impl Iterator<Item = (String, &Accepted)> {
    let primary = stage.world.is_up(stage.primary).then(|| {
        let sessions = stage.primary_app().accepted();
        sessions.map(|accepted| ("the primary".to_owned(), accepted))
    });
    let lives =
        |&index: &usize| stage.world.is_up(stage.secondaries[index]) && !stage.is_hostile(index);
    let secondaries = (0..stage.secondaries.len()).filter(lives);
    let secondaries = secondaries.map(|index| {
        let accepted = stage.secondary_app(index).accepted();
        (format!("secondary {index}"), accepted)
    });
    primary.into_iter().flatten().chain(secondaries)
}

/// Every byte that was delivered was brought by one path, and where two brought it, they brought the same,
/// although only one of them was read. Under a policy that takes bytes back, some
/// are brought twice; and paths that have ended long ago are forgotten.
fn check_brought(scenario: &Scenario, stage: &mut Stage) -> Result<(), Breach> {
    let Some((stats, paths)) = stage.look_at_client(|client| (client.stats(), client.paths()))
    else {
        return Ok(());
    };
    let brought: u64 = paths.iter().map(|path| path.received_bytes).sum();
    let delivered = stats.delivered_bytes;
    let is_honest =
        |server: &Server| !matches!(server.conduct, Conduct::Lies | Conduct::Hostile(_));
    if stats.conflict_bytes > 0 && !scenario.marks && scenario.secondaries.iter().all(is_honest) {
        let detail = format!("{} bytes of honest servers differ", stats.conflict_bytes);
        return Err(Breach::new("I1", detail));
    }
    let gave_up = stage.reader().answers().any(|(_, _, read)| read.gave_up);
    let may_differ = gave_up || scenario.tuning.overlap != Overlap::FirstWins;
    if brought != delivered && !may_differ {
        let detail = format!("{brought} bytes were brought, {delivered} delivered");
        return Err(Breach::new("I3", detail));
    }
    Ok(())
}

//! Sequences of events that break a protocol of this kind, one test each. Every test fails without
//! the rule that mends its sequence.
//!
//! | room | sequences |
//! |---|---|
//! | `cursor` | one write cursor, holes, open grants and the end of a stream |
//! | `credit` | windows, budgets, carriers and control under load |
//! | `grants` | the life of a grant between three ends |
//! | `dials` | connections that replace others, and how many there may be |
//! | `paths` | dialling, joining, silence and retirement |
//! | `slow` | secondaries that bring little |
//! | `ends` | stop, reset, final sizes and closing, with bytes on their way |
//! | `trust` | forged orders, replays, and copies that differ |

mod credit;
mod cursor;
mod dials;
mod ends;
mod grants;
mod paths;
mod slow;
mod trust;

use super::world::{Setup, World};
use crate::event::{ClientEvent, PathEvent, PrimaryEvent};
use crate::ids::{GrantId, PathId};
use crate::ranges::RangeSet;
use crate::wire::LostReason;

const PATH: PathId = PathId(1);
const OTHER: PathId = PathId(2);

/// Bytes of a stream that the client allows ahead of its reader.
fn window() -> u64 {
    Setup::default().config.client.stream_window_bytes
}

/// A client, a primary, and two secondaries that have joined as [`PATH`] and [`OTHER`].
fn joined() -> World {
    Setup::default().joined()
}

/// What became of a grant of the application: its end, or why it is lost and what is missing.
type Fate = Result<u64, (LostReason, RangeSet)>;

/// The final statuses of a grant that the primary's application was told.
fn fates(world: &mut World, wanted: GrantId) -> Vec<Fate> {
    world.primary(|p, _| {
        let fate = |event: &PrimaryEvent| {
            if let PrimaryEvent::GrantDone { grant, end } = event {
                (*grant == wanted).then_some(Ok(*end))
            } else if let PrimaryEvent::GrantLost {
                grant,
                reason,
                missing,
            } = event
            {
                (*grant == wanted).then(|| Err((*reason, missing.clone())))
            } else {
                None
            }
        };
        p.events.iter().filter_map(fate).collect()
    })
}

/// Whether the path is in use at the client, and was never given up.
fn is_active(world: &mut World, path: PathId) -> bool {
    world.client(|c, _| {
        let told = |event| c.events.contains(&ClientEvent::Path(event));
        told(PathEvent::Active(path))
            && !told(PathEvent::Dead(path))
            && !told(PathEvent::Retired(path))
    })
}

/// Fails the test if a session has closed.
#[track_caller]
fn assert_open(world: &mut World) {
    world.client(|c, _| assert!(!c.session.is_closed(), "{:?}", c.events.last()));
    world.primary(|p, _| assert!(!p.session.is_closed(), "{:?}", p.events.last()));
}

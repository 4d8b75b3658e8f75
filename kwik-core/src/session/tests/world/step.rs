//! What happens in the world, one thing at a time.
//!
//! Owns the choice of what is next: the natural order, in which sockets are drained before timers are
//! believed, or any order that a seed picks.

use std::time::Duration;

use super::{Actor, ActorId, Later, Phase, Role, World};
use crate::carrier::{DownCause, Input};
use crate::ids::ByteRange;
use crate::session::Cx;
use crate::session::tests::net::{ConnId, Item, Parcel, Port, Side};
use crate::session::tests::rng::SplitMix;

impl World {
    /// Lets one thing happen; false if nothing is to happen now. Sockets are drained before timers
    /// are believed.
    pub(super) fn step(&mut self) -> bool {
        let mut kinds: [fn(&mut Self) -> bool; 5] = [
            Self::step_input,
            Self::step_later,
            Self::step_app,
            Self::step_parcel,
            Self::step_timer,
        ];
        if let Some(rng) = &mut self.chance {
            // Now and then some time passes, so that nothing happens at the very same moment.
            if rng.once_in(8) {
                self.elapsed += Duration::from_micros(rng.below(500));
            }
            let turn = rng.index(kinds.len());
            kinds.rotate_left(turn);
        }
        kinds.into_iter().any(|kind| kind(self))
    }

    /// A session is told something.
    pub(super) fn step_input(&mut self) -> bool {
        let mut ends: Vec<_> = self
            .owners
            .iter()
            .map(|(&end, &actor)| (end, actor))
            .collect();
        if let Some(rng) = &mut self.chance {
            let turn = rng.index(ends.len().max(1));
            ends.rotate_left(turn);
        }
        for ((conn, side), actor) in ends {
            if self.actors[actor.0].crashed {
                continue;
            }
            if let Some(input) = self.net.poll_input(conn, side) {
                if matches!(input, Input::Heard(_)) {
                    self.heard.insert((conn, side), self.elapsed);
                }
                self.tell(actor, input);
                return true;
            }
        }
        false
    }

    pub(super) fn step_later(&mut self) -> bool {
        let Some(entry) = self.later.first_entry() else {
            return self.step_quiet();
        };
        if entry.key().0 > self.elapsed {
            return self.step_quiet();
        }
        match entry.remove() {
            Later::Connected {
                actor,
                path,
                site,
                dial,
            } => self.connect(actor, path, site, dial),
            Later::DialFailed {
                actor,
                path,
                dial,
                cause,
            } => {
                if self.answers(actor, path, dial) {
                    self.tell(actor, Input::PathDown { path, cause });
                }
            }
            Later::Heard(conn) => {
                if self.passes(conn) {
                    self.hear_both(conn);
                }
            }
        }
        true
    }

    /// PINGs on quiet connections, and ends of dead ones.
    pub(super) fn step_quiet(&mut self) -> bool {
        let quic = &self.config.quic;
        let (keep_alive, idle) = (quic.keep_alive, quic.idle_timeout);
        let due: Vec<_> = self
            .heard
            .iter()
            .map(|(&end, &heard)| (end, heard))
            .collect();
        for ((conn, side), heard) in due {
            if !matches!(
                self.net.phase(conn, side),
                Phase::AwaitingControl | Phase::Up
            ) {
                continue;
            }
            if self.passes(conn) && heard + keep_alive <= self.elapsed {
                self.hear_both(conn);
                return true;
            }
            if !self.passes(conn) && heard + idle <= self.elapsed {
                self.net.fail(conn, side, DownCause::TimedOut);
                return true;
            }
        }
        false
    }

    pub(super) fn hear_both(&mut self, conn: ConnId) {
        for side in Side::BOTH {
            self.net.hear(conn, side);
            self.heard.insert((conn, side), self.elapsed);
        }
    }

    pub(super) fn step_timer(&mut self) -> bool {
        let now = self.origin + self.elapsed;
        let due = self
            .living()
            .find(|(_, actor)| actor.poll_timeout().is_some_and(|at| at <= now));
        let Some(actor) = due.map(|(id, _)| id) else {
            return false;
        };
        self.tell(actor, Input::Timeout);
        true
    }

    pub(super) fn step_app(&mut self) -> bool {
        let mut actors: Vec<ActorId> = self.living().map(|(id, _)| id).collect();
        if let Some(rng) = &mut self.chance {
            let turn = rng.index(actors.len().max(1));
            actors.rotate_left(turn);
        }
        actors.into_iter().any(|actor| self.act(actor))
    }

    pub(super) fn act(&mut self, id: ActorId) -> bool {
        let (now, chance) = (self.now_of(id), &mut self.chance);
        let Actor {
            role, side, paths, ..
        } = &mut self.actors[id.0];
        let port = &mut Port::new(&mut self.net, paths, *side);
        let cx = &mut Cx {
            now,
            carriers: port,
        };
        let acted = match role {
            Role::Client(app) => app.act(cx, chance),
            Role::Primary(app) => app.act(cx, chance),
            Role::Secondary(app) => app.act(cx, chance),
            Role::Greeting(_) | Role::Script(_) => false,
        };
        if acted {
            self.drain(id);
        }
        acted
    }

    pub(super) fn step_parcel(&mut self) -> bool {
        let mut parcels = self.net.parcels();
        parcels.retain(|parcel| {
            let receiver = self.owners.get(&(parcel.conn, parcel.toward));
            let alive = receiver.is_none_or(|actor| !self.actors[actor.0].crashed);
            alive && !self.holds.iter().flatten().any(|hold| hold.matches(parcel))
        });
        let span = self.limits.span_bytes;
        let chosen = match &mut self.chance {
            Some(rng) if !parcels.is_empty() => {
                let parcel = parcels[rng.index(parcels.len())];
                cut(parcel, |range| part(range, span, rng))
            }
            Some(_) | None => {
                let next = parcels
                    .iter()
                    .find(|parcel| (parcel.conn, parcel.toward) > self.turn);
                let Some(&parcel) = next.or(parcels.first()) else {
                    return false;
                };
                self.turn = (parcel.conn, parcel.toward);
                cut(parcel, |range| head(range, span))
            }
        };
        self.net.deliver(chosen);
        true
    }
}

/// The parcel with less data in it.
fn cut(parcel: Parcel, less: impl FnOnce(ByteRange) -> ByteRange) -> Parcel {
    match parcel.item {
        Item::Data { stream, range } => Parcel {
            item: Item::Data {
                stream,
                range: less(range),
            },
            ..parcel
        },
        Item::Feedback
        | Item::Stop { .. }
        | Item::Reset { .. }
        | Item::Fin { .. }
        | Item::Close => parcel,
    }
}

fn head(range: ByteRange, bytes: u64) -> ByteRange {
    ByteRange::with_len(range.start(), range.len().min(bytes)).expect("within the range")
}

/// A part of a range, of at most `bytes`: its head half of the time, any other.
fn part(range: ByteRange, bytes: u64, rng: &mut SplitMix) -> ByteRange {
    let len = 1 + rng.below(bytes.min(range.len()));
    let ahead = if rng.once_in(2) {
        0
    } else {
        rng.below(range.len() - len + 1)
    };
    ByteRange::with_len(range.start() + ahead, len).expect("within the range")
}

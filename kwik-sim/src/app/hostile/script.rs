//! The life of a hostile secondary's connection.
//!
//! Owns when it turns: until then it is honest, then comes the deed, and afterwards it goes on, with
//! every grant as honestly as its hostility allows.

use std::time::Duration;

use kwik_core::ids::GrantId;
use kwik_core::wire::{ControlFrame, Grant, Joined, Refused, Revoke};

use super::Hostility;
use super::grants::Drip;
use super::writer::Writer;
use crate::content::Content;
use crate::raw::{Cue, Line, Script};
use crate::rng::Chance;

/// How long after JOINED what needs no grant is done at the latest.
const HASTE_MAX_MICROS: u64 = 20_000;

/// Grants that are served before the deed at the most.
const PATIENCE_MAX: u64 = 1;

/// How long the grant of the deed is left waiting at the most.
const DELAY_MAX_MICROS: u64 = 40_000;

/// A hostile secondary on one connection.
pub(super) struct Hostile {
    pub(super) kind: Hostility,
    pub(super) chance: Chance,
    pub(super) writer: Writer,
    /// Grants that it still serves honestly.
    patience: u64,
    has_turned: bool,
    /// The grant with which the deed will be done.
    waiting: Option<Grant>,
    /// The first grant of all.
    pub(super) first: Option<GrantId>,
    /// What is still to be sent of a flood.
    pub(super) flood: Option<Flood>,
    pub(super) drips: Vec<Drip>,
    pub(super) alarm: Option<Duration>,
    pub(super) is_deaf: bool,
    is_silent: bool,
}

/// Segments that are sent as the client gives credit for them.
pub(super) struct Flood {
    pub(super) grant: Grant,
    /// How many were sent.
    pub(super) sent: u64,
    /// How many there are.
    pub(super) total: u64,
}

impl Hostile {
    pub(super) fn new(kind: Hostility, content: Content, chance: Chance) -> Self {
        Self {
            kind,
            chance,
            writer: Writer::new(content),
            // A flood of statuses is about a grant that came before.
            patience: if kind == Hostility::StatusFlood {
                1
            } else {
                chance.between(0, 0, PATIENCE_MAX)
            },
            has_turned: false,
            waiting: None,
            first: None,
            flood: None,
            drips: Vec::new(),
            alarm: None,
            is_deaf: false,
            is_silent: false,
        }
    }

    /// The deed is done now.
    fn turn(&mut self, line: &mut Line<'_>) {
        self.has_turned = true;
        line.note_deed();
    }

    fn on_join(&mut self, line: &mut Line<'_>) {
        if self.kind == Hostility::IgnoresJoin {
            self.turn(line);
        } else if self.kind == Hostility::RefusesJoin {
            let code = self.chance.draw(1) >> 2;
            line.send(&ControlFrame::Refused(Refused { code }));
            self.turn(line);
        } else {
            line.send(&ControlFrame::Joined(Joined));
            if self.kind.needs_no_grant() {
                self.wake_within(line, HASTE_MAX_MICROS);
            }
        }
    }

    fn on_grant(&mut self, line: &mut Line<'_>, grant: &Grant) {
        self.writer.note(grant);
        let is_time = self.patience == 0 && !self.has_turned && self.waiting.is_none();
        self.patience = self.patience.saturating_sub(1);
        self.first.get_or_insert(grant.grant);
        if is_time && self.suits(grant) {
            self.waiting = Some(grant.clone());
            self.wake_within(line, DELAY_MAX_MICROS);
        } else if self.has_turned {
            self.serve(line, grant);
        } else {
            self.writer.fill(line, grant);
        }
    }

    fn wake_within(&mut self, line: &Line<'_>, max_micros: u64) {
        let delay = self.chance.between(3, 0, max_micros);
        self.alarm = Some(line.moment.time + Duration::from_micros(delay));
    }

    fn on_revoke(&mut self, line: &mut Line<'_>, frame: &Revoke) {
        self.drips.retain(|drip| drip.grant != frame.grant);
        if let Some(grant) = self.waiting.take_if(|grant| grant.grant == frame.grant) {
            // The deed needs a grant that lives; there will be others.
            self.alarm = None;
            self.writer.fill(line, &grant);
        }
        self.writer.on_revoke(line, frame);
    }

    fn on_alarm(&mut self, line: &mut Line<'_>) {
        self.alarm = None;
        if let Some(grant) = self.waiting.take() {
            self.turn(line);
            self.deed(line, &grant);
            if !self.spares() {
                self.serve(line, &grant);
            }
        } else if self.kind == Hostility::ClosesAtOnce {
            self.turn(line);
            line.close(self.chance.draw(2) >> 2);
        } else if self.kind == Hostility::GoesSilentAfterJoin {
            self.turn(line);
            self.is_silent = true;
        } else {
            self.drip(line);
        }
    }
}

impl Script for Hostile {
    fn on_cue(&mut self, line: &mut Line<'_>, cue: &Cue) {
        match cue {
            Cue::Up if self.kind == Hostility::WritesBeforeJoined => {
                self.turn(line);
                self.write_unasked(line);
            }
            Cue::Frame(ControlFrame::Join(_)) => self.on_join(line),
            Cue::Frame(ControlFrame::Grant(grant)) => self.on_grant(line, grant),
            Cue::Frame(ControlFrame::Revoke(frame)) => self.on_revoke(line, frame),
            Cue::Frame(ControlFrame::MaxOffset(frame)) => self.writer.on_max_offset(line, frame),
            Cue::Room => {
                self.writer.pump(line);
                self.go_on(line);
            }
            Cue::Alarm => self.on_alarm(line),
            Cue::Up | Cue::Frame(_) => {}
        }
    }

    fn alarm(&self) -> Option<Duration> {
        self.alarm
    }

    fn is_deaf(&self) -> bool {
        self.is_deaf
    }

    fn is_silent(&self) -> bool {
        self.is_silent
    }
}

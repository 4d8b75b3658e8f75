//! A secondary that brings its grants in pieces, with as many gaps as a path may leave.

use std::collections::VecDeque;
use std::rc::Rc;

use kwik_core::ids::{ByteRange, GrantId};
use kwik_core::wire::{ControlFrame, Grant, Joined, SegmentHeader, SegmentOwner};
use kwik_sim::host::Program;
use kwik_sim::raw::{Cue, End, Line, RawPeer, Script};
use kwik_sim::{CryptoMode, Setting};

/// Grants that a primary of the simulator gives a path at a time.
pub(crate) const GRANTS: u64 = 4;

/// Gaps that are left in each of them: together nearly the 2048 that a path may leave.
pub(crate) const GAPS_PER_GRANT: u64 = 510;

/// Of the pieces of a grant, those of a single byte.
const SINGLE_BYTES: u64 = 255;

/// Brings all of every grant but one byte in `GAPS_PER_GRANT` places.
#[derive(Default)]
struct Perforator {
    /// Pieces that found no room yet.
    owed: VecDeque<(GrantId, ByteRange)>,
}

/// The program of such a secondary.
pub(crate) fn perforator(setting: &Setting) -> Program {
    let identity = setting.identity(2);
    assert_eq!(setting.crypto, CryptoMode::Rustls);
    let casting = Rc::new(|| {
        let perforator: Box<dyn Script> = Box::new(Perforator::default());
        perforator
    });
    RawPeer::server(setting.crypto, identity, casting)
}

impl Script for Perforator {
    fn on_cue(&mut self, line: &mut Line<'_>, cue: &Cue) {
        match cue {
            Cue::Frame(ControlFrame::Join(_)) => line.send(&ControlFrame::Joined(Joined)),
            Cue::Frame(ControlFrame::Grant(grant)) => self.owed.extend(pieces(grant)),
            Cue::Up | Cue::Frame(_) | Cue::Room | Cue::Alarm => {}
        }
        while let Some(&(grant, piece)) = self.owed.front() {
            let Some(carrier) = line.open() else { return };
            let header = SegmentHeader {
                owner: SegmentOwner::Grant(grant),
                offset: piece.start(),
            };
            let length = usize::try_from(piece.len()).expect("a piece is short");
            let bytes = [&header.encode()[..], &vec![7; length]].concat();
            assert_eq!(line.write(carrier, &bytes), Some(bytes.len()));
            line.end(carrier, End::Finish);
            self.owed.pop_front();
        }
    }
}

/// The pieces of a grant: single bytes at first, then longer ones that are equally long.
fn pieces(grant: &Grant) -> impl Iterator<Item = (GrantId, ByteRange)> {
    let (id, range) = (grant.grant, grant.extent.range());
    let singles = (0..SINGLE_BYTES).map(move |n| (range.start() + 1 + 2 * n, 1));
    let rest = range.start() + 1 + 2 * SINGLE_BYTES;
    let step = (range.end() - rest) / (GAPS_PER_GRANT - SINGLE_BYTES);
    let longer =
        (SINGLE_BYTES..GAPS_PER_GRANT).map(move |n| (rest + (n - SINGLE_BYTES) * step, step - 1));
    singles
        .chain(longer)
        .filter_map(move |(start, length)| Some((id, ByteRange::with_len(start, length)?)))
}

//! What a hostile secondary does with every grant from its turn on.

use std::time::Duration;

use kwik_core::ids::{ByteRange, GrantId, StreamId};
use kwik_core::wire::{
    ControlFrame, Grant, GrantRefused, RANGES_PER_FRAME_MAX, Ranges, SegmentHeader, SegmentOwner,
};

use super::Hostility;
use super::deeds::done;
use super::script::Hostile;
use super::writer::to_usize;
use crate::raw::{Carrier, End, Line};

/// How often a drip falls.
const DRIP_INTERVAL: Duration = Duration::from_secs(1);

/// Gaps that a sieve leaves in a grant: few enough to be suffered in all grants of a path.
const SIEVE_HOLES: u64 = 60;

/// A grant that is filled drop by drop.
pub(super) struct Drip {
    pub(super) grant: GrantId,
    stream: StreamId,
    carrier: Carrier,
    next: u64,
    end: u64,
}

impl Hostile {
    /// Serves a grant as its hostility has it.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "whoever has done what it had to do is honest again"
    )]
    pub(super) fn serve(&mut self, line: &mut Line<'_>, grant: &Grant) {
        let (id, range) = (grant.grant, grant.extent.range());
        match self.kind {
            Hostility::DoneTwice => {
                line.send(&done(id, [range], false));
                self.writer.fill(line, grant);
            }
            Hostility::DoneLies => line.send(&done(id, [range], false)),
            Hostility::DoneEmpty => line.send(&done(id, [], false)),
            Hostility::RefuseAfterWrite => {
                self.write_half(line, grant, End::Finish);
                line.send(&ControlFrame::GrantRefused(GrantRefused {
                    grant: id,
                    code: 7,
                }));
            }
            Hostility::HoldsHeader => {
                if let Some(carrier) = line.open() {
                    let held = self.chance.between(grant.grant.0, 1, 15);
                    line.write(carrier, &header(grant)[..to_usize(held)]);
                }
            }
            Hostility::ResetsSegments => self.write_half(line, grant, End::Reset),
            Hostility::Stalls => self.write_half(line, grant, End::Open),
            Hostility::Sieves => self.sieve(line, grant),
            Hostility::RepeatsBytes => {
                self.write_part(line, grant, range, End::Finish);
                self.writer.fill(line, grant);
            }
            Hostility::DripFeeds => self.begin_drip(line, grant),
            _ => self.writer.fill(line, grant),
        }
    }

    fn write_half(&self, line: &mut Line<'_>, grant: &Grant, end: End) {
        let range = grant.extent.range();
        let half = ByteRange::with_len(range.start(), range.len().min(2 << 20) / 2);
        self.write_part(line, grant, half.unwrap_or(range), end);
    }

    /// Writes the right bytes for a part of a grant, as far as there are credit and room.
    fn write_part(&self, line: &mut Line<'_>, grant: &Grant, part: ByteRange, end: End) {
        let limit = part.end().min(self.writer.credit(grant.stream));
        let len = limit.saturating_sub(part.start()).min(1 << 20);
        if len == 0 {
            return;
        }
        let Some(carrier) = line.open() else { return };
        let body = self.writer.bytes(grant.stream, part.start(), to_usize(len));
        line.write(carrier, &[&header(grant)[..], &body].concat());
        line.end(carrier, end);
    }

    /// Writes single bytes with wide gaps between them, and says so.
    fn sieve(&self, line: &mut Line<'_>, grant: &Grant) {
        let range = grant.extent.range();
        let limit = range.end().min(self.writer.credit(grant.stream));
        let step = to_usize(range.len() / SIEVE_HOLES).max(2);
        let mut written = Ranges::new();
        for offset in (range.start()..limit).step_by(step) {
            let Some(carrier) = line.open() else { break };
            let owner = SegmentOwner::Grant(grant.grant);
            let byte = self.writer.bytes(grant.stream, offset, 1);
            let header = SegmentHeader { owner, offset };
            line.write(carrier, &[&header.encode()[..], &byte].concat());
            line.end(carrier, End::Finish);
            written.extend(ByteRange::with_len(offset, 1));
        }
        // One frame takes so many ranges.
        for (index, part) in written.chunks(RANGES_PER_FRAME_MAX).enumerate() {
            let more = (index + 1) * RANGES_PER_FRAME_MAX < written.len();
            line.send(&done(grant.grant, part.iter().copied(), more));
        }
    }

    fn begin_drip(&mut self, line: &mut Line<'_>, grant: &Grant) {
        let Some(carrier) = line.open() else { return };
        line.write(carrier, &header(grant));
        let range = grant.extent.range();
        self.drips.push(Drip {
            grant: grant.grant,
            stream: grant.stream,
            carrier,
            next: range.start(),
            end: range.end(),
        });
        self.drip(line);
    }

    /// Every grant gets its next byte.
    pub(super) fn drip(&mut self, line: &mut Line<'_>) {
        self.alarm = Some(line.moment.time + DRIP_INTERVAL);
        for drip in &mut self.drips {
            let limit = drip.end.min(self.writer.credit(drip.stream));
            if drip.next < limit {
                let byte = self.writer.bytes(drip.stream, drip.next, 1);
                line.write(drip.carrier, &byte);
                drip.next += 1;
            }
        }
    }
}

fn header(grant: &Grant) -> [u8; SegmentHeader::LEN] {
    SegmentHeader {
        owner: SegmentOwner::Grant(grant.grant),
        offset: grant.extent.range().start(),
    }
    .encode()
}

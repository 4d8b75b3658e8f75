//! What a hostile secondary does once, when a grant is there to do it with.

use bytes::Bytes;
use kwik_core::ids::{ByteRange, GrantId, PathId, SessionId};
use kwik_core::wire::{
    Aggregate, ControlFrame, Decoder, FinalSize, Grant, GrantDone, GrantOutcome, GrantRefused,
    GrantStatus, Hello, Joined, MaxOffset, PathStatus, PathStatusState, Ranges, RetirePath, Revoke,
    SegmentHeader, SegmentOwner, StreamDone, Welcome,
};

use super::script::{Flood, Hostile};
use super::writer::to_usize;
use super::{Consequence, Hostility};
use crate::raw::{End, Line};

/// The most bytes that a segment may have.
const SEGMENT_BYTES_MAX: u64 = 1 << 20;

/// Ranges that may be listed in one frame, and in one list.
const RANGES_PER_FRAME: u64 = 128;
const RANGES_PER_LIST_MAX: u64 = 16_384;

/// Gaps that a client suffers in the grants of a path, and some more.
const GAPS: u64 = 2100;

/// Bytes that are written where they do not belong.
const STRAY_BYTES: u64 = 100;

impl Hostile {
    /// Whether the deed can be done with this grant.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "most can be done with any grant"
    )]
    pub(super) fn suits(&self, grant: &Grant) -> bool {
        let (range, credit) = (grant.extent.range(), self.writer.credit(grant.stream));
        match self.kind {
            Hostility::OutsideBefore => range.start() >= STRAY_BYTES,
            Hostility::OutsideStraddling => range.len() >= STRAY_BYTES,
            Hostility::OutsideAfter | Hostility::FarAhead => !grant.extent.is_open(),
            Hostility::BeyondCredit => range.end() > credit,
            Hostility::LongSegment => {
                let written = range.start() + SEGMENT_BYTES_MAX + 1;
                written <= range.end().min(credit)
            }
            Hostility::Perforates => range.len() > 2 * GAPS,
            Hostility::DoneEndless => range.len() > 2 * RANGES_PER_LIST_MAX + 2,
            kind => !kind.needs_no_grant(),
        }
    }

    /// Whether the grant of the deed is left alone: filled, it might end before the deed arrives.
    pub(super) fn spares(&self) -> bool {
        matches!(
            self.kind.consequence(),
            Consequence::PathDies(_) | Consequence::PathMayDie(_)
        )
    }

    /// Does it.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "what is not done once is done with every grant: see `serve`"
    )]
    pub(super) fn deed(&mut self, line: &mut Line<'_>, grant: &Grant) {
        match self.kind {
            Hostility::MalformedFrame => line.send_bytes(&self.malformed()),
            Hostility::TruncatedFrame => line.send_bytes(&self.truncated()),
            Hostility::OverlongFrame => line.send_bytes(&self.overlong()),
            Hostility::WrongRole => line.send(&self.another_roles(grant)),
            Hostility::JoinsTwice => line.send(&ControlFrame::Joined(Joined)),
            Hostility::ControlFlood => send_flood(line),
            Hostility::StatusFlood => self.send_statuses(line),
            Hostility::DeafFlood => {
                self.is_deaf = true;
                send_flood(line);
            }
            Hostility::NeverReads => self.is_deaf = true,
            Hostility::StopsControl => line.stop_control(),
            Hostility::FinsControl => line.end_control(End::Finish),
            Hostility::ResetsControl => line.end_control(End::Reset),
            Hostility::OpensBidi => {
                assert_eq!(line.open_bidi(), None, "a client gives no credit for it");
            }
            Hostility::DoneUnknown | Hostility::RefusesUnknown | Hostility::UnknownGrant => {
                self.name_unknown(line, grant);
            }
            Hostility::DoneElsewhere => {
                let far = self.chance.between(1, 1 << 40, 1 << 61);
                let ranges = [grant.extent.range(), range(far, far + 1)];
                line.send(&done(grant.grant, ranges, false));
            }
            Hostility::DoneEndless => send_endless(line, grant),
            Hostility::EmptySegments => self.begin_flood(line, grant, 2000),
            Hostility::HeadlessSegments => self.begin_flood(line, grant, 500),
            Hostility::Perforates => self.begin_flood(line, grant, GAPS),
            Hostility::BadHeader
            | Hostility::PrimaryHeader
            | Hostility::OutsideBefore
            | Hostility::OutsideAfter
            | Hostility::OutsideStraddling
            | Hostility::FarAhead
            | Hostility::BeyondCredit
            | Hostility::LongSegment => self.write_stray(line, grant),
            _ => {}
        }
    }

    /// Bytes under a grant that nobody can have been given yet.
    pub(super) fn write_unasked(&self, line: &mut Line<'_>) {
        let owner = SegmentOwner::Grant(GrantId(self.chance.between(1, 0, 3)));
        line.segment(SegmentHeader { owner, offset: 0 }, &[0; 100]);
    }

    /// A segment that no honest server writes.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a long segment is what is left of those that `deed` names"
    )]
    fn write_stray(&self, line: &mut Line<'_>, grant: &Grant) {
        let range = grant.extent.range();
        let header = SegmentHeader {
            owner: SegmentOwner::Grant(grant.grant),
            offset: range.start(),
        };
        let at = |offset: u64| SegmentHeader { offset, ..header };
        let stray = self.chance.between(1, 1, STRAY_BYTES);
        let (header, len) = match self.kind {
            Hostility::BadHeader => {
                let mut bytes = self.chance.bytes(1);
                bytes[0] |= 0xc0;
                return line.uni(&bytes, End::Finish);
            }
            Hostility::PrimaryHeader => {
                let owner = SegmentOwner::Primary(grant.stream);
                (SegmentHeader { owner, ..header }, stray)
            }
            Hostility::OutsideBefore => (at(range.start() - stray), stray),
            Hostility::OutsideAfter => (at(range.end()), stray),
            Hostility::OutsideStraddling => (at(range.end() - stray), stray + 1),
            Hostility::FarAhead => (at((1 << 62) - self.chance.between(2, 1, 1 << 20)), stray),
            Hostility::BeyondCredit => (at(range.end() - 1), 1),
            _ => {
                let limit = range.end().min(self.writer.credit(grant.stream));
                (header, limit - range.start())
            }
        };
        let body = self
            .writer
            .bytes(grant.stream, header.offset, to_usize(len));
        line.segment(header, &body);
    }

    fn name_unknown(&self, line: &mut Line<'_>, grant: &Grant) {
        let unknown = GrantId(grant.grant.0 + self.chance.between(1, 1 << 20, 1 << 40));
        let offset = grant.extent.range().start();
        if self.kind == Hostility::UnknownGrant {
            let owner = SegmentOwner::Grant(unknown);
            let body = self.writer.bytes(grant.stream, offset, 100);
            line.segment(SegmentHeader { owner, offset }, &body);
        } else if self.kind == Hostility::DoneUnknown {
            line.send(&done(unknown, [], false));
        } else {
            line.send(&ControlFrame::GrantRefused(GrantRefused {
                grant: unknown,
                code: 1,
            }));
        }
    }

    fn begin_flood(&mut self, line: &mut Line<'_>, grant: &Grant, total: u64) {
        self.flood = Some(Flood {
            grant: grant.clone(),
            sent: 0,
            total,
        });
        self.go_on(line);
    }

    /// Sends on a flood of segments, as far as the client gives credit.
    pub(super) fn go_on(&mut self, line: &mut Line<'_>) {
        let Some(flood) = &mut self.flood else { return };
        while flood.sent < flood.total {
            let grant = &flood.grant;
            // Single bytes leave gaps.
            let offset = grant.extent.range().start() + 1 + flood.sent * 2;
            let owner = SegmentOwner::Grant(grant.grant);
            let mut bytes = SegmentHeader { owner, offset }.encode().to_vec();
            let mut end = End::Finish;
            if self.kind == Hostility::Perforates {
                bytes.extend_from_slice(&self.writer.bytes(grant.stream, offset, 1));
            } else if self.kind == Hostility::HeadlessSegments {
                bytes.truncate(to_usize(flood.sent % 16));
                if flood.sent.is_multiple_of(3) {
                    end = End::Reset;
                }
            }
            let Some(carrier) = line.open() else { return };
            // A part of them would do as well.
            line.write(carrier, &bytes);
            line.end(carrier, end);
            flood.sent += 1;
        }
        self.flood = None;
    }

    /// About a grant that came before: it has ended, or GRANT_DONE was said of it.
    fn send_statuses(&self, line: &mut Line<'_>) {
        let Some(grant) = self.first else { return };
        let frame = done(grant, [], false).encode();
        line.send_bytes(&frame.repeat(20_000));
    }
}

/// Frames.
impl Hostile {
    /// Random bytes behind a type that has a meaning, as long as they have none.
    fn malformed(&self) -> Vec<u8> {
        let candidate = |ordinal: u64| {
            let (mut bytes, draw) = (vec![0], self.chance.draw(ordinal));
            bytes[0] = [0x01, 0x10, 0x14, 0x20, 0x30, 0x32, 0x33, 0x34][to_usize(draw % 8)];
            let payload = self.chance.bytes(ordinal);
            let len = usize::from(payload[0] % 32);
            bytes.push(payload[0] % 32);
            bytes.extend_from_slice(&payload[..len]);
            bytes
        };
        let is_malformed = |bytes: &Vec<u8>| {
            let mut decoder = Decoder::new();
            decoder.push(Bytes::from(bytes.clone()));
            decoder.poll_frame().is_err()
        };
        let mut candidates = (1..).map(candidate);
        let found = candidates.find(is_malformed);
        found.expect("most random bytes mean nothing")
    }

    /// A frame of a secondary, with the length that it would have without its end.
    fn truncated(&self) -> Vec<u8> {
        let whole = done(GrantId(1 << 40), [range(7, 1 << 30)], false).encode();
        let payload = &whole[2..];
        let len = self.chance.between(1, 0, payload.len() as u64 - 1);
        let kept = &payload[..to_usize(len)];
        let len = u8::try_from(len).expect("a short frame");
        [&[whole[0], len], kept].concat()
    }

    /// The announcement of a frame of a known or an unknown type.
    fn overlong(&self) -> Vec<u8> {
        let kind: &[u8] = if self.chance.draw(1).is_multiple_of(2) {
            &[0x34]
        } else {
            &[0x7f, 0xfe]
        };
        let length = self.chance.between(2, 4097, 1 << 40);
        // A varint of eight bytes.
        let length = (length | 0xc0 << 56).to_be_bytes();
        [kind, &length].concat()
    }

    /// A frame that is never a secondary's to send.
    fn another_roles(&self, grant: &Grant) -> ControlFrame {
        let (stream, id) = (grant.stream, grant.grant);
        let outcome = GrantOutcome::Done { end: 10 };
        let path = PathId(self.chance.between(2, 1, 2));
        let frames = [
            ControlFrame::Welcome(Welcome {
                session: SessionId([0; 16]),
            }),
            ControlFrame::Hello(Hello {
                join_key_thumbprint: [0; 32],
            }),
            ControlFrame::RetirePath(RetirePath { path }),
            ControlFrame::Aggregate(Aggregate {
                stream,
                plain_end: 0,
                final_size: None,
            }),
            ControlFrame::FinalSize(FinalSize { stream, size: 1 }),
            ControlFrame::MaxOffset(MaxOffset { stream, offset: 0 }),
            ControlFrame::StreamDone(StreamDone { stream }),
            ControlFrame::PathStatus(PathStatus {
                path,
                state: PathStatusState::Dead,
            }),
            ControlFrame::GrantStatus(GrantStatus { grant: id, outcome }),
            ControlFrame::Revoke(Revoke { grant: id, end: 0 }),
            ControlFrame::Grant(grant.clone()),
        ];
        let drawn = self.chance.draw(1) % frames.len() as u64;
        frames[to_usize(drawn)].clone()
    }
}

/// 100 000 frames that nobody has to understand.
fn send_flood(line: &mut Line<'_>) {
    line.send_bytes(&[0x7f, 0xff, 3, 1, 2, 3].repeat(100_000));
}

/// More ranges than any list may have.
fn send_endless(line: &mut Line<'_>, grant: &Grant) {
    let mut at = grant.extent.range().start();
    for _ in 0..=RANGES_PER_LIST_MAX / RANGES_PER_FRAME {
        let starts = (0..RANGES_PER_FRAME).map(|index| at + index * 2);
        let ranges: Ranges = starts.map(|start| range(start, start + 1)).collect();
        line.send(&done(grant.grant, ranges, true));
        at += RANGES_PER_FRAME * 2;
    }
}

pub(super) fn done(
    grant: GrantId,
    written: impl IntoIterator<Item = ByteRange>,
    more: bool,
) -> ControlFrame {
    ControlFrame::GrantDone(GrantDone {
        grant,
        written: written.into_iter().collect(),
        more,
    })
}

fn range(start: u64, end: u64) -> ByteRange {
    ByteRange::new(start, end).expect("ordered")
}

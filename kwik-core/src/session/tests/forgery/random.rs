//! Frames and headers that are well formed and otherwise arbitrary, with small numbers, so that they
//! hit what exists.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::ids::{ByteRange, GrantId, PathId, StreamId};
use crate::session::tests::rng::SplitMix;
use crate::wire::{
    AddPath, Aggregate, ControlFrame, Extent, FinalSize, Grant, GrantDone, GrantOutcome,
    GrantRefused, GrantStatus, Hole, LostReason, MaxOffset, PathStatus, PathStatusState, Ranges,
    Raw, Refused, RetirePath, Revoke, Sealed, SegmentHeader, SegmentOwner, StreamDone,
};

/// A source of frames.
pub(super) struct Frames(SplitMix);

impl Frames {
    pub(super) fn new(seed: u64) -> Self {
        Self(SplitMix::new(seed ^ 0x0f0f_0f0f))
    }

    pub(super) fn once_in(&mut self, n: u64) -> bool {
        self.0.once_in(n)
    }

    fn path(&mut self) -> PathId {
        PathId(1 + self.0.below(3))
    }

    fn grant(&mut self) -> GrantId {
        GrantId(self.0.below(6))
    }

    fn stream(&mut self) -> StreamId {
        // The first few of either side, and never the control carrier.
        StreamId([1, 1, 1, 4, 5, 8][self.0.index(6)])
    }

    fn offset(&mut self) -> u64 {
        match self.0.below(8) {
            0 => 0,
            1 => (1 << 62) - 1,
            2 => self.0.below(1 << 40),
            _ => self.0.below(30_000),
        }
    }

    fn range(&mut self) -> ByteRange {
        let start = self.0.below(30_000);
        ByteRange::with_len(start, 1 + self.0.below(5000)).expect("small")
    }

    fn ranges(&mut self) -> Ranges {
        let mut at = 0;
        let mut ranges = SmallVec::new();
        for _ in 0..self.0.below(5) {
            at += 1 + self.0.below(4000);
            let len = 1 + self.0.below(4000);
            ranges.push(ByteRange::with_len(at, len).expect("small"));
            at += len;
        }
        ranges
    }

    fn sealed(&mut self) -> Sealed {
        Sealed {
            seq: self.0.below(9),
            bytes: Bytes::from_static(&[0; 20]),
        }
    }

    fn outcome(&mut self) -> GrantOutcome {
        match self.0.below(3) {
            0 => GrantOutcome::Progress {
                present: self.offset(),
            },
            1 => GrantOutcome::Done { end: self.offset() },
            _ => GrantOutcome::Lost {
                reason: LostReason::Short,
                end: self.offset(),
                missing: self.ranges(),
                more: self.once_in(4),
            },
        }
    }

    /// Any frame but those that begin a session.
    pub(super) fn frame(&mut self) -> ControlFrame {
        let (path, stream, grant) = (self.path(), self.stream(), self.grant());
        match self.0.below(15) {
            0 => ControlFrame::PathStatus(PathStatus {
                path,
                state: [
                    PathStatusState::Active,
                    PathStatusState::Dead,
                    PathStatusState::Retired,
                ][self.0.index(3)],
            }),
            1 => ControlFrame::GrantStatus(GrantStatus {
                grant,
                outcome: self.outcome(),
            }),
            2 => ControlFrame::Hole(Hole {
                stream,
                ranges: self.ranges(),
            }),
            3 => ControlFrame::StreamDone(StreamDone { stream }),
            4 => ControlFrame::MaxOffset(MaxOffset {
                stream,
                offset: self.offset(),
            }),
            5 => ControlFrame::AddPath(AddPath {
                path: PathId(self.0.below(9)),
                addrs: std::iter::once(([203, 0, 113, 3], 4433).into()).collect(),
                server_name: "kwik.test".to_owned(),
                pin: [102; 32],
                ticket: Bytes::from_static(b"ticket"),
            }),
            6 => ControlFrame::RetirePath(RetirePath { path }),
            7 => ControlFrame::Aggregate(Aggregate {
                stream,
                plain_end: self.0.below(3) * 10,
                final_size: self.once_in(4).then(|| self.offset()),
            }),
            8 => ControlFrame::FinalSize(FinalSize {
                stream,
                size: self.offset(),
            }),
            9 => {
                let extent = if self.once_in(4) {
                    Extent::Open {
                        start: self.offset(),
                    }
                } else {
                    Extent::Fixed(self.range())
                };
                let grant = GrantId(self.0.below(40));
                let max_offset = self.offset();
                let sealed = self.sealed();
                ControlFrame::Grant(Grant {
                    grant,
                    path,
                    stream,
                    extent,
                    max_offset,
                    sealed,
                })
            }
            10 => ControlFrame::Revoke(Revoke {
                grant,
                end: self.offset(),
            }),
            11 => ControlFrame::Raw(Raw {
                path,
                sealed: self.sealed(),
            }),
            12 => ControlFrame::Refused(Refused { code: 1 }),
            13 => ControlFrame::GrantRefused(GrantRefused { grant, code: 1 }),
            _ => ControlFrame::GrantDone(GrantDone {
                grant,
                written: self.ranges(),
                more: self.once_in(4),
            }),
        }
    }

    /// A segment of either kind, or the beginning of one.
    pub(super) fn segment(&mut self) -> (SegmentHeader, Bytes) {
        let owner = if self.once_in(2) {
            SegmentOwner::Grant(self.grant())
        } else {
            SegmentOwner::Primary(self.stream())
        };
        let header = SegmentHeader {
            owner,
            offset: self.offset(),
        };
        let len = self.0.index(3000);
        (header, Bytes::from(vec![0xee; len]))
    }
}

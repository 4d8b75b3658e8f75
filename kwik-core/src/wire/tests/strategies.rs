//! Arbitrary frames that obey the protocol.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use proptest::prelude::*;

use super::super::varint::VARINT_MAX;
use super::super::*;
use crate::ids::{ByteRange, GrantId, OFFSET_LIMIT, PathId, SessionId, StreamId};

/// Values of every length, and those at the borders of the lengths.
pub(super) fn varint() -> BoxedStrategy<u64> {
    prop_oneof![
        0..64_u64,
        0..1_u64 << 14,
        0..1_u64 << 30,
        0..=VARINT_MAX,
        prop::sample::select(vec![
            63,
            64,
            16_383,
            16_384,
            (1 << 30) - 1,
            1 << 30,
            VARINT_MAX
        ]),
    ]
    .boxed()
}

fn path() -> BoxedStrategy<PathId> {
    varint().prop_map(|id| PathId(id.max(1))).boxed()
}

fn grant() -> impl Strategy<Value = GrantId> {
    varint().prop_map(GrantId)
}

fn stream() -> BoxedStrategy<StreamId> {
    varint()
        .prop_map(|id| StreamId((id & !0b10).max(1)))
        .boxed()
}

fn range() -> impl Strategy<Value = ByteRange> {
    (varint(), varint()).prop_filter_map("a range", |(start, len)| {
        ByteRange::with_len(start, len.max(1))
    })
}

/// Up to `max` ranges, ascending and disjoint; some touch.
pub(super) fn ranges(max: usize) -> impl Strategy<Value = Ranges> {
    let steps = prop::collection::vec((prop_oneof![Just(0), varint()], varint()), 0..=max);
    (steps, any::<bool>()).prop_map(|(steps, wide)| {
        // Narrow steps, or the list soon ends at the largest offset.
        let shift = if wide { 0 } else { 40 };
        let mut base = 0_u64;
        let mut ranges = Ranges::new();
        for (gap, len) in steps {
            let next =
                ByteRange::with_len(base.saturating_add(gap >> shift), (len >> shift).max(1));
            let Some(range) = next else { break };
            base = range.end();
            ranges.push(range);
        }
        ranges
    })
}

fn list() -> BoxedStrategy<Ranges> {
    ranges(RANGES_PER_FRAME_MAX).boxed()
}

fn addr() -> impl Strategy<Value = SocketAddr> {
    let ip = prop_oneof![
        any::<[u8; 4]>().prop_map(|ip| IpAddr::V4(Ipv4Addr::from(ip))),
        any::<[u8; 16]>().prop_map(|ip| IpAddr::V6(Ipv6Addr::from(ip))),
    ];
    (ip, any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

fn bytes(max: usize) -> impl Strategy<Value = Bytes> {
    let len = prop_oneof![8 => 0..100.min(max), 1 => 0..=max];
    len.prop_flat_map(|len| prop::collection::vec(any::<u8>(), len))
        .prop_map(Bytes::from)
}

fn sealed() -> BoxedStrategy<Sealed> {
    (varint(), bytes(SEALED_MAX_BYTES))
        .prop_map(|(seq, bytes)| Sealed { seq, bytes })
        .boxed()
}

fn lost_reason() -> BoxedStrategy<LostReason> {
    prop_oneof![
        Just(LostReason::Path),
        varint().prop_map(LostReason::Refused),
        Just(LostReason::NotStarted),
        Just(LostReason::Revoked),
        Just(LostReason::Short),
        Just(LostReason::Gone),
        Just(LostReason::Limit),
        Just(LostReason::Conflict),
    ]
    .boxed()
}

fn outcome() -> BoxedStrategy<GrantOutcome> {
    prop_oneof![
        varint().prop_map(|present| GrantOutcome::Progress { present }),
        varint().prop_map(|end| GrantOutcome::Done { end }),
        (lost_reason(), varint(), list(), any::<bool>()).prop_map(
            |(reason, end, missing, more)| {
                GrantOutcome::Lost {
                    reason,
                    end,
                    missing,
                    more,
                }
            }
        ),
    ]
    .boxed()
}

fn add_path() -> BoxedStrategy<AddPath> {
    let name = "[a-zäß.-]{1,100}";
    let addrs = prop::collection::vec(addr(), 1..=ADDRS_MAX);
    (
        path(),
        addrs,
        name,
        any::<[u8; 32]>(),
        bytes(TICKET_MAX_BYTES),
    )
        .prop_map(|(path, addrs, server_name, pin, ticket)| AddPath {
            path,
            addrs: addrs.into(),
            server_name,
            pin,
            ticket,
        })
        .boxed()
}

fn extent() -> BoxedStrategy<Extent> {
    prop_oneof![
        range().prop_map(Extent::Fixed),
        varint().prop_map(|start| Extent::Open { start }),
    ]
    .boxed()
}

fn join() -> BoxedStrategy<Join> {
    let proof = (any::<[u8; 32]>(), any::<[u8; 32]>());
    let proof =
        proof.prop_map(|(a, b)| std::array::from_fn(|at| if at < 32 { a[at] } else { b[at - 32] }));
    (
        any::<[u8; 16]>(),
        path(),
        bytes(TICKET_MAX_BYTES),
        any::<[u8; 32]>(),
        proof,
    )
        .prop_map(|(session, path, ticket, join_key, proof)| Join {
            session: SessionId(session),
            path,
            ticket,
            join_key,
            proof,
        })
        .boxed()
}

/// Any frame.
pub(super) fn frame() -> BoxedStrategy<ControlFrame> {
    prop_oneof![from_client(), from_primary(), from_secondary()].boxed()
}

fn from_client() -> BoxedStrategy<ControlFrame> {
    let state = prop::sample::select(vec![
        PathStatusState::Active,
        PathStatusState::Dead,
        PathStatusState::Retired,
    ]);
    prop_oneof![
        any::<[u8; 32]>()
            .prop_map(|join_key_thumbprint| Hello {
                join_key_thumbprint
            })
            .prop_map(ControlFrame::Hello),
        (path(), state)
            .prop_map(|(path, state)| ControlFrame::PathStatus(PathStatus { path, state })),
        (grant(), outcome())
            .prop_map(|(grant, outcome)| ControlFrame::GrantStatus(GrantStatus { grant, outcome })),
        (stream(), list()).prop_map(|(stream, ranges)| ControlFrame::Hole(Hole { stream, ranges })),
        stream().prop_map(|stream| ControlFrame::StreamDone(StreamDone { stream })),
        (stream(), varint())
            .prop_map(|(stream, offset)| ControlFrame::MaxOffset(MaxOffset { stream, offset })),
        join().prop_map(ControlFrame::Join),
    ]
    .boxed()
}

fn from_primary() -> BoxedStrategy<ControlFrame> {
    let final_size = prop::option::of(varint());
    prop_oneof![
        any::<[u8; 16]>().prop_map(|id| ControlFrame::Welcome(Welcome {
            session: SessionId(id)
        })),
        add_path().prop_map(ControlFrame::AddPath),
        path().prop_map(|path| ControlFrame::RetirePath(RetirePath { path })),
        (stream(), varint(), final_size).prop_map(|(stream, plain_end, final_size)| {
            ControlFrame::Aggregate(Aggregate {
                stream,
                plain_end,
                final_size,
            })
        }),
        (stream(), varint())
            .prop_map(|(stream, size)| ControlFrame::FinalSize(FinalSize { stream, size })),
        (grant(), path(), stream(), extent(), varint(), sealed()).prop_map(
            |(grant, path, stream, extent, max_offset, sealed)| {
                ControlFrame::Grant(Grant {
                    grant,
                    path,
                    stream,
                    extent,
                    max_offset,
                    sealed,
                })
            },
        ),
        (grant(), varint()).prop_map(|(grant, end)| ControlFrame::Revoke(Revoke { grant, end })),
        (path(), sealed()).prop_map(|(path, sealed)| ControlFrame::Raw(Raw { path, sealed })),
    ]
    .boxed()
}

fn from_secondary() -> BoxedStrategy<ControlFrame> {
    prop_oneof![
        Just(ControlFrame::Joined(Joined)),
        varint().prop_map(|code| ControlFrame::Refused(Refused { code })),
        (grant(), varint())
            .prop_map(|(grant, code)| ControlFrame::GrantRefused(GrantRefused { grant, code })),
        (grant(), list(), any::<bool>()).prop_map(|(grant, written, more)| {
            ControlFrame::GrantDone(GrantDone {
                grant,
                written,
                more,
            })
        }),
    ]
    .boxed()
}

/// Any segment header.
pub(super) fn header() -> impl Strategy<Value = SegmentHeader> {
    let owner = prop_oneof![
        grant().prop_map(SegmentOwner::Grant),
        stream().prop_map(SegmentOwner::Primary),
    ];
    (owner, varint()).prop_map(|(owner, offset)| SegmentHeader { owner, offset })
}

/// The longest frames of their kinds.
pub(super) fn longest() -> Vec<ControlFrame> {
    // Gaps and lengths of eight bytes each.
    let step = OFFSET_LIMIT / 2 / RANGES_PER_FRAME_MAX as u64 - 1;
    let list: Ranges = (0..RANGES_PER_FRAME_MAX as u64)
        .map(|n| ByteRange::with_len((2 * n + 1) * step, step).expect("below the limit"))
        .collect();
    let (path, stream, grant) = (
        PathId(VARINT_MAX),
        StreamId(VARINT_MAX & !0b10),
        GrantId(VARINT_MAX),
    );
    let sealed = Sealed {
        seq: VARINT_MAX,
        bytes: Bytes::from(vec![7; SEALED_MAX_BYTES]),
    };
    let ticket = Bytes::from(vec![7; TICKET_MAX_BYTES]);
    let half = OFFSET_LIMIT / 2;
    vec![
        ControlFrame::Grant(Grant {
            grant,
            path,
            stream,
            extent: Extent::Fixed(ByteRange::with_len(half, half).expect("below the limit")),
            max_offset: OFFSET_LIMIT,
            sealed: sealed.clone(),
        }),
        ControlFrame::Raw(Raw { path, sealed }),
        ControlFrame::GrantStatus(GrantStatus {
            grant,
            outcome: GrantOutcome::Lost {
                reason: LostReason::Refused(VARINT_MAX),
                end: OFFSET_LIMIT,
                missing: list.clone(),
                more: true,
            },
        }),
        ControlFrame::Hole(Hole {
            stream,
            ranges: list.clone(),
        }),
        ControlFrame::GrantDone(GrantDone {
            grant,
            written: list,
            more: false,
        }),
        ControlFrame::AddPath(AddPath {
            path,
            addrs: (0..ADDRS_MAX)
                .map(|_| SocketAddr::from(([7_u16; 8], 4433)))
                .collect(),
            server_name: "a".repeat(SERVER_NAME_MAX_BYTES),
            pin: [7; 32],
            ticket: ticket.clone(),
        }),
        ControlFrame::Join(Join {
            session: SessionId([7; 16]),
            path,
            ticket,
            join_key: [7; 32],
            proof: [7; 64],
        }),
    ]
}

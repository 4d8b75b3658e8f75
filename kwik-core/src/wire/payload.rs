//! What each frame's payload consists of, in the order of the tables in [`super::frame`].
//!
//! Owns the forms of the fields and the checks of their values.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use smallvec::SmallVec;

use super::codec::{Kind, Reader, Writer};
use super::frame::*;
use super::segment::is_application_stream;
use super::{
    ADDRS_MAX, RANGES_PER_FRAME_MAX, SEALED_MAX_BYTES, SERVER_NAME_MAX_BYTES, TICKET_MAX_BYTES,
    WireError,
};
use crate::ids::{ByteRange, GrantId, PathId, SessionId, StreamId};

/// A frame's payload as fields.
pub(super) trait Payload: Sized {
    const KIND: Kind;
    fn put(&self, out: &mut dyn Writer);
    fn get(input: &mut Reader<'_>) -> Result<Self, WireError>;
}

const FAMILY_V4: u8 = 4;
const FAMILY_V6: u8 = 6;
const EXTENT_FIXED: u64 = 0;
const EXTENT_OPEN: u64 = 1;

// client → primary

impl Payload for Hello {
    const KIND: Kind = Kind::new(0x01, "HELLO");

    fn put(&self, out: &mut dyn Writer) {
        out.put_bytes(&self.join_key_thumbprint);
    }

    fn get(input: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            join_key_thumbprint: input.array("thumbprint")?,
        })
    }
}

impl Payload for PathStatus {
    const KIND: Kind = Kind::new(0x02, "PATH_STATUS");

    fn put(&self, out: &mut dyn Writer) {
        out.put_varint(self.path.0);
        out.put_varint(match self.state {
            PathStatusState::Active => 0,
            PathStatusState::Dead => 1,
            PathStatusState::Retired => 2,
        });
    }

    fn get(input: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            path: get_path(input)?,
            state: match input.varint("state")? {
                0 => PathStatusState::Active,
                1 => PathStatusState::Dead,
                2 => PathStatusState::Retired,
                _ => return Err(input.invalid("state")),
            },
        })
    }
}

impl Payload for GrantStatus {
    const KIND: Kind = Kind::new(0x03, "GRANT_STATUS");

    fn put(&self, out: &mut dyn Writer) {
        out.put_varint(self.grant.0);
        match &self.outcome {
            GrantOutcome::Progress { present } => {
                out.put_varint(0);
                out.put_varint(*present);
            }
            GrantOutcome::Done { end } => {
                out.put_varint(1);
                out.put_varint(*end);
            }
            GrantOutcome::Lost {
                reason,
                end,
                missing,
                more,
            } => {
                out.put_varint(2);
                put_lost_reason(*reason, out);
                out.put_varint(*end);
                out.put_varint(u64::from(*more));
                put_ranges(missing, out);
            }
        }
    }

    fn get(input: &mut Reader<'_>) -> Result<Self, WireError> {
        let grant = GrantId(input.varint("grant")?);
        let outcome = match input.varint("outcome")? {
            0 => GrantOutcome::Progress {
                present: input.varint("present")?,
            },
            1 => GrantOutcome::Done {
                end: input.varint("end")?,
            },
            2 => {
                let reason = get_lost_reason(input)?;
                let end = input.varint("end")?;
                let more = input.flag("more")?;
                GrantOutcome::Lost {
                    reason,
                    end,
                    missing: get_ranges(input)?,
                    more,
                }
            }
            _ => return Err(input.invalid("outcome")),
        };
        Ok(Self { grant, outcome })
    }
}

impl Payload for Hole {
    const KIND: Kind = Kind::new(0x04, "HOLE");

    fn put(&self, out: &mut dyn Writer) {
        out.put_varint(self.stream.0);
        put_ranges(&self.ranges, out);
    }

    fn get(input: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            stream: get_stream(input)?,
            ranges: get_ranges(input)?,
        })
    }
}

impl Payload for StreamDone {
    const KIND: Kind = Kind::new(0x05, "STREAM_DONE");

    fn put(&self, out: &mut dyn Writer) {
        out.put_varint(self.stream.0);
    }

    fn get(input: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            stream: get_stream(input)?,
        })
    }
}

// client → primary and secondary

impl Payload for MaxOffset {
    const KIND: Kind = Kind::new(0x06, "MAX_OFFSET");

    fn put(&self, out: &mut dyn Writer) {
        out.put_varint(self.stream.0);
        out.put_varint(self.offset);
    }

    fn get(input: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            stream: get_stream(input)?,
            offset: input.varint("offset")?,
        })
    }
}

// primary → client

impl Payload for Welcome {
    const KIND: Kind = Kind::new(0x10, "WELCOME");

    fn put(&self, out: &mut dyn Writer) {
        out.put_bytes(&self.session.0);
    }

    fn get(input: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            session: SessionId(input.array("session")?),
        })
    }
}

impl Payload for AddPath {
    const KIND: Kind = Kind::new(0x11, "ADD_PATH");

    fn put(&self, out: &mut dyn Writer) {
        out.put_varint(self.path.0);
        out.put_varint(self.addrs.len() as u64);
        for addr in &self.addrs {
            put_addr(*addr, out);
        }
        out.put_sized(self.server_name.as_bytes());
        out.put_bytes(&self.pin);
        out.put_sized(&self.ticket);
    }

    fn get(input: &mut Reader<'_>) -> Result<Self, WireError> {
        let path = get_path(input)?;
        let count = input.count("addresses", ADDRS_MAX)?;
        if count == 0 {
            return Err(input.invalid("addresses"));
        }
        let addrs = (0..count)
            .map(|_| get_addr(input))
            .collect::<Result<SmallVec<_>, _>>()?;
        Ok(Self {
            path,
            addrs,
            server_name: get_server_name(input)?,
            pin: input.array("pin")?,
            ticket: get_ticket(input)?,
        })
    }
}

impl Payload for RetirePath {
    const KIND: Kind = Kind::new(0x12, "RETIRE_PATH");

    fn put(&self, out: &mut dyn Writer) {
        out.put_varint(self.path.0);
    }

    fn get(input: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            path: get_path(input)?,
        })
    }
}

impl Payload for Aggregate {
    const KIND: Kind = Kind::new(0x13, "AGGREGATE");

    fn put(&self, out: &mut dyn Writer) {
        out.put_varint(self.stream.0);
        out.put_varint(self.plain_end);
        out.put_varint(u64::from(self.final_size.is_some()));
        if let Some(size) = self.final_size {
            out.put_varint(size);
        }
    }

    fn get(input: &mut Reader<'_>) -> Result<Self, WireError> {
        let stream = get_stream(input)?;
        let plain_end = input.varint("plain end")?;
        let sized = input.flag("size known")?;
        Ok(Self {
            stream,
            plain_end,
            final_size: sized.then(|| input.varint("final size")).transpose()?,
        })
    }
}

impl Payload for FinalSize {
    const KIND: Kind = Kind::new(0x14, "FINAL_SIZE");

    fn put(&self, out: &mut dyn Writer) {
        out.put_varint(self.stream.0);
        out.put_varint(self.size);
    }

    fn get(input: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            stream: get_stream(input)?,
            size: input.varint("size")?,
        })
    }
}

// primary → client → secondary

impl Payload for Grant {
    const KIND: Kind = Kind::large(0x20, "GRANT");

    fn put(&self, out: &mut dyn Writer) {
        out.put_varint(self.grant.0);
        out.put_varint(self.path.0);
        out.put_varint(self.stream.0);
        match self.extent {
            Extent::Fixed(range) => {
                out.put_varint(EXTENT_FIXED);
                out.put_varint(range.start());
                out.put_varint(range.len());
            }
            Extent::Open { start } => {
                out.put_varint(EXTENT_OPEN);
                out.put_varint(start);
            }
        }
        out.put_varint(self.max_offset);
        put_sealed(&self.sealed, out);
    }

    fn get(input: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            grant: GrantId(input.varint("grant")?),
            path: get_path(input)?,
            stream: get_stream(input)?,
            extent: match input.varint("extent")? {
                EXTENT_FIXED => Extent::Fixed(get_range(input, 0)?),
                EXTENT_OPEN => Extent::Open {
                    start: input.varint("start")?,
                },
                _ => return Err(input.invalid("extent")),
            },
            max_offset: input.varint("max offset")?,
            sealed: get_sealed(input)?,
        })
    }
}

impl Payload for Revoke {
    const KIND: Kind = Kind::new(0x21, "REVOKE");

    fn put(&self, out: &mut dyn Writer) {
        out.put_varint(self.grant.0);
        out.put_varint(self.end);
    }

    fn get(input: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            grant: GrantId(input.varint("grant")?),
            end: input.varint("end")?,
        })
    }
}

impl Payload for Raw {
    const KIND: Kind = Kind::large(0x22, "RAW");

    fn put(&self, out: &mut dyn Writer) {
        out.put_varint(self.path.0);
        put_sealed(&self.sealed, out);
    }

    fn get(input: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            path: get_path(input)?,
            sealed: get_sealed(input)?,
        })
    }
}

// client → secondary

impl Payload for Join {
    const KIND: Kind = Kind::new(0x30, "JOIN");

    fn put(&self, out: &mut dyn Writer) {
        out.put_bytes(&self.session.0);
        out.put_varint(self.path.0);
        out.put_sized(&self.ticket);
        out.put_bytes(&self.join_key);
        out.put_bytes(&self.proof);
    }

    fn get(input: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            session: SessionId(input.array("session")?),
            path: get_path(input)?,
            ticket: get_ticket(input)?,
            join_key: input.array("join key")?,
            proof: input.array("proof")?,
        })
    }
}

// secondary → client

impl Payload for Joined {
    const KIND: Kind = Kind::new(0x31, "JOINED");

    fn put(&self, _: &mut dyn Writer) {}

    fn get(_: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self)
    }
}

impl Payload for Refused {
    const KIND: Kind = Kind::new(0x32, "REFUSED");

    fn put(&self, out: &mut dyn Writer) {
        out.put_varint(self.code);
    }

    fn get(input: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            code: input.varint("code")?,
        })
    }
}

impl Payload for GrantRefused {
    const KIND: Kind = Kind::new(0x33, "GRANT_REFUSED");

    fn put(&self, out: &mut dyn Writer) {
        out.put_varint(self.grant.0);
        out.put_varint(self.code);
    }

    fn get(input: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            grant: GrantId(input.varint("grant")?),
            code: input.varint("code")?,
        })
    }
}

impl Payload for GrantDone {
    const KIND: Kind = Kind::new(0x34, "GRANT_DONE");

    fn put(&self, out: &mut dyn Writer) {
        out.put_varint(self.grant.0);
        out.put_varint(u64::from(self.more));
        put_ranges(&self.written, out);
    }

    fn get(input: &mut Reader<'_>) -> Result<Self, WireError> {
        let grant = GrantId(input.varint("grant")?);
        let more = input.flag("more")?;
        Ok(Self {
            grant,
            written: get_ranges(input)?,
            more,
        })
    }
}

// Fields.

/// A secondary path: the path of the primary is named by no frame [PATH-1].
fn get_path(input: &mut Reader<'_>) -> Result<PathId, WireError> {
    match PathId(input.varint("path")?) {
        PathId::PRIMARY => Err(input.invalid("path")),
        path => Ok(path),
    }
}

fn get_stream(input: &mut Reader<'_>) -> Result<StreamId, WireError> {
    let stream = StreamId(input.varint("stream")?);
    if is_application_stream(stream) {
        Ok(stream)
    } else {
        Err(input.invalid("stream"))
    }
}

/// A distance from `base` to the start, and a length that is not 0 [CTL-8].
fn get_range(input: &mut Reader<'_>, base: u64) -> Result<ByteRange, WireError> {
    let (gap, len) = (input.varint("range")?, input.varint("range")?);
    base.checked_add(gap)
        .and_then(|start| ByteRange::with_len(start, len))
        .filter(|range| !range.is_empty())
        .ok_or_else(|| input.invalid("range"))
}

fn put_ranges(ranges: &Ranges, out: &mut dyn Writer) {
    out.put_varint(ranges.len() as u64);
    let mut base = 0;
    for range in ranges {
        out.put_varint(range.start().saturating_sub(base));
        out.put_varint(range.len());
        base = range.end();
    }
}

fn get_ranges(input: &mut Reader<'_>) -> Result<Ranges, WireError> {
    let count = input.count("number of ranges", RANGES_PER_FRAME_MAX)?;
    let mut ranges = Ranges::with_capacity(count);
    let mut base = 0;
    for _ in 0..count {
        let range = get_range(input, base)?;
        base = range.end();
        ranges.push(range);
    }
    Ok(ranges)
}

fn put_lost_reason(reason: LostReason, out: &mut dyn Writer) {
    out.put_varint(match reason {
        LostReason::Path => 0,
        LostReason::Refused(_) => 1,
        LostReason::NotStarted => 2,
        LostReason::Revoked => 3,
        LostReason::Short => 4,
        LostReason::Gone => 5,
        LostReason::Limit => 6,
        LostReason::Conflict => 7,
    });
    if let LostReason::Refused(code) = reason {
        out.put_varint(code);
    }
}

fn get_lost_reason(input: &mut Reader<'_>) -> Result<LostReason, WireError> {
    Ok(match input.varint("reason")? {
        0 => LostReason::Path,
        1 => LostReason::Refused(input.varint("code")?),
        2 => LostReason::NotStarted,
        3 => LostReason::Revoked,
        4 => LostReason::Short,
        5 => LostReason::Gone,
        6 => LostReason::Limit,
        7 => LostReason::Conflict,
        _ => return Err(input.invalid("reason")),
    })
}

fn put_addr(addr: SocketAddr, out: &mut dyn Writer) {
    match addr.ip() {
        IpAddr::V4(ip) => {
            out.put_bytes(&[FAMILY_V4]);
            out.put_bytes(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.put_bytes(&[FAMILY_V6]);
            out.put_bytes(&ip.octets());
        }
    }
    out.put_bytes(&addr.port().to_be_bytes());
}

fn get_addr(input: &mut Reader<'_>) -> Result<SocketAddr, WireError> {
    let [family] = input.array("address")?;
    let ip = match family {
        FAMILY_V4 => IpAddr::V4(Ipv4Addr::from(input.array::<4>("address")?)),
        FAMILY_V6 => IpAddr::V6(Ipv6Addr::from(input.array::<16>("address")?)),
        _ => return Err(input.invalid("address")),
    };
    Ok(SocketAddr::new(
        ip,
        u16::from_be_bytes(input.array("address")?),
    ))
}

fn get_server_name(input: &mut Reader<'_>) -> Result<String, WireError> {
    let bytes = input.sized("server name", SERVER_NAME_MAX_BYTES)?;
    match std::str::from_utf8(bytes) {
        Ok(name) if !name.is_empty() => Ok(name.to_owned()),
        Ok(_) | Err(_) => Err(input.invalid("server name")),
    }
}

fn get_ticket(input: &mut Reader<'_>) -> Result<Bytes, WireError> {
    // A copy: it lingers until the path has joined and must not pin a receive buffer.
    input
        .sized("ticket", TICKET_MAX_BYTES)
        .map(Bytes::copy_from_slice)
}

fn put_sealed(sealed: &Sealed, out: &mut dyn Writer) {
    out.put_varint(sealed.seq);
    out.put_sized(&sealed.bytes);
}

fn get_sealed(input: &mut Reader<'_>) -> Result<Sealed, WireError> {
    Ok(Sealed {
        seq: input.varint("sequence number")?,
        // A copy, for the same reason: it may wait for a join.
        bytes: input
            .sized("sealed message", SEALED_MAX_BYTES)
            .map(Bytes::copy_from_slice)?,
    })
}

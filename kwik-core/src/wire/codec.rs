//! Control frames as bytes: `type varint, length varint, payload` [CTL-1].
//!
//! Owns the code points, the limit of each frame, and the reader and writer of fields. What a
//! payload consists of is [`super::payload`]'s.

use bytes::{BufMut, Bytes, BytesMut};

use super::frame::*;
use super::payload::Payload;
use super::varint::{self, VARINT_LEN_MAX};
use super::{FRAME_MAX_BYTES, LARGE_FRAME_MAX_BYTES, WireError};

/// What is known of a frame type before its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) code: u64,
    pub(super) name: &'static str,
    pub(super) payload_max: usize,
}

/// How the payload of a known type is decoded.
type Decode = fn(&mut Reader<'_>) -> Result<ControlFrame, WireError>;

/// The code point, name and decoder of every frame.
pub(super) const KINDS: [(Kind, Decode); 19] = [
    (Hello::KIND, |r| Hello::get(r).map(ControlFrame::Hello)),
    (PathStatus::KIND, |r| {
        PathStatus::get(r).map(ControlFrame::PathStatus)
    }),
    (GrantStatus::KIND, |r| {
        GrantStatus::get(r).map(ControlFrame::GrantStatus)
    }),
    (Hole::KIND, |r| Hole::get(r).map(ControlFrame::Hole)),
    (StreamDone::KIND, |r| {
        StreamDone::get(r).map(ControlFrame::StreamDone)
    }),
    (MaxOffset::KIND, |r| {
        MaxOffset::get(r).map(ControlFrame::MaxOffset)
    }),
    (Welcome::KIND, |r| {
        Welcome::get(r).map(ControlFrame::Welcome)
    }),
    (AddPath::KIND, |r| {
        AddPath::get(r).map(ControlFrame::AddPath)
    }),
    (RetirePath::KIND, |r| {
        RetirePath::get(r).map(ControlFrame::RetirePath)
    }),
    (Aggregate::KIND, |r| {
        Aggregate::get(r).map(ControlFrame::Aggregate)
    }),
    (FinalSize::KIND, |r| {
        FinalSize::get(r).map(ControlFrame::FinalSize)
    }),
    (Grant::KIND, |r| Grant::get(r).map(ControlFrame::Grant)),
    (Revoke::KIND, |r| Revoke::get(r).map(ControlFrame::Revoke)),
    (Raw::KIND, |r| Raw::get(r).map(ControlFrame::Raw)),
    (Join::KIND, |r| Join::get(r).map(ControlFrame::Join)),
    (Joined::KIND, |r| Joined::get(r).map(ControlFrame::Joined)),
    (Refused::KIND, |r| {
        Refused::get(r).map(ControlFrame::Refused)
    }),
    (GrantRefused::KIND, |r| {
        GrantRefused::get(r).map(ControlFrame::GrantRefused)
    }),
    (GrantDone::KIND, |r| {
        GrantDone::get(r).map(ControlFrame::GrantDone)
    }),
];

impl Kind {
    pub(super) const fn new(code: u64, name: &'static str) -> Self {
        Self {
            code,
            name,
            payload_max: FRAME_MAX_BYTES,
        }
    }

    /// One that carries a sealed message.
    pub(super) const fn large(code: u64, name: &'static str) -> Self {
        Self {
            code,
            name,
            payload_max: LARGE_FRAME_MAX_BYTES,
        }
    }
}

/// What stands before a payload.
#[derive(Clone, Copy)]
pub(super) struct Head {
    /// `None`: a type that this version does not know.
    pub(super) known: Option<(Kind, Decode)>,
    /// Bytes of the head itself.
    pub(super) len: usize,
    /// Bytes of the payload behind it.
    pub(super) payload_len: usize,
}

impl Head {
    /// Longest head.
    pub(super) const LEN_MAX: usize = 2 * VARINT_LEN_MAX;

    /// The head at the front of `bytes`; `None` if it is not whole.
    ///
    /// # Errors
    ///
    /// A payload longer than its type allows [CTL-4].
    pub(super) fn decode(bytes: &[u8]) -> Result<Option<Self>, WireError> {
        let Some((code, rest)) = varint::decode(bytes) else {
            return Ok(None);
        };
        let Some((length, rest)) = varint::decode(rest) else {
            return Ok(None);
        };
        let known = KINDS.into_iter().find(|(kind, _)| kind.code == code);
        let (name, max) = match known {
            Some((kind, _)) => (kind.name, kind.payload_max),
            None => ("a frame of unknown type", FRAME_MAX_BYTES),
        };
        match usize::try_from(length) {
            Ok(payload_len) if payload_len <= max => Ok(Some(Self {
                known,
                len: bytes.len().saturating_sub(rest.len()),
                payload_len,
            })),
            Ok(_) | Err(_) => Err(WireError::TooLong {
                frame: name,
                length,
            }),
        }
    }
}

/// Decodes a payload of a known type. What follows its fields is ignored [CTL-6]: extensions may
/// say more there, on which the known fields never depend [EXT-3].
pub(super) fn decode_payload(
    (kind, decode): (Kind, Decode),
    payload: &[u8],
) -> Result<ControlFrame, WireError> {
    decode(&mut Reader {
        frame: kind.name,
        rest: payload,
    })
}

impl ControlFrame {
    /// The whole frame: type, length and payload.
    ///
    /// A list longer than [`RANGES_PER_FRAME_MAX`](super::RANGES_PER_FRAME_MAX) makes a frame that
    /// no peer accepts: [`split_ranges`](super::split_ranges) first.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let (kind, payload_len) = (self.kind(), self.payload_len());
        let mut out = BytesMut::with_capacity(self.encoded_len());
        out.put_varint(kind.code);
        out.put_varint(payload_len as u64);
        self.put(&mut out);
        out.freeze()
    }

    /// The exact length of [`Self::encode`].
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let (kind, payload_len) = (self.kind(), self.payload_len());
        let mut head = Count(0);
        head.put_varint(kind.code);
        head.put_varint(payload_len as u64);
        head.0.saturating_add(payload_len)
    }

    /// As the protocol calls it, for logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.kind().name
    }

    fn payload_len(&self) -> usize {
        let mut count = Count(0);
        self.put(&mut count);
        count.0
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Hello(_) => Hello::KIND,
            Self::PathStatus(_) => PathStatus::KIND,
            Self::GrantStatus(_) => GrantStatus::KIND,
            Self::Hole(_) => Hole::KIND,
            Self::StreamDone(_) => StreamDone::KIND,
            Self::MaxOffset(_) => MaxOffset::KIND,
            Self::Welcome(_) => Welcome::KIND,
            Self::AddPath(_) => AddPath::KIND,
            Self::RetirePath(_) => RetirePath::KIND,
            Self::Aggregate(_) => Aggregate::KIND,
            Self::FinalSize(_) => FinalSize::KIND,
            Self::Grant(_) => Grant::KIND,
            Self::Revoke(_) => Revoke::KIND,
            Self::Raw(_) => Raw::KIND,
            Self::Join(_) => Join::KIND,
            Self::Joined(_) => Joined::KIND,
            Self::Refused(_) => Refused::KIND,
            Self::GrantRefused(_) => GrantRefused::KIND,
            Self::GrantDone(_) => GrantDone::KIND,
        }
    }

    fn put(&self, out: &mut dyn Writer) {
        match self {
            Self::Hello(payload) => payload.put(out),
            Self::PathStatus(payload) => payload.put(out),
            Self::GrantStatus(payload) => payload.put(out),
            Self::Hole(payload) => payload.put(out),
            Self::StreamDone(payload) => payload.put(out),
            Self::MaxOffset(payload) => payload.put(out),
            Self::Welcome(payload) => payload.put(out),
            Self::AddPath(payload) => payload.put(out),
            Self::RetirePath(payload) => payload.put(out),
            Self::Aggregate(payload) => payload.put(out),
            Self::FinalSize(payload) => payload.put(out),
            Self::Grant(payload) => payload.put(out),
            Self::Revoke(payload) => payload.put(out),
            Self::Raw(payload) => payload.put(out),
            Self::Join(payload) => payload.put(out),
            Self::Joined(payload) => payload.put(out),
            Self::Refused(payload) => payload.put(out),
            Self::GrantRefused(payload) => payload.put(out),
            Self::GrantDone(payload) => payload.put(out),
        }
    }
}

/// Takes the bytes of fields: into a buffer, or only counting them, so that a length is exact
/// without being said twice.
pub(super) trait Writer {
    fn put_bytes(&mut self, bytes: &[u8]);

    fn put_varint(&mut self, value: u64) {
        let (form, len) = varint::encode(value);
        let (_, counted) = form.split_at(VARINT_LEN_MAX.saturating_sub(len));
        self.put_bytes(counted);
    }

    /// A length and so many bytes.
    fn put_sized(&mut self, bytes: &[u8]) {
        self.put_varint(bytes.len() as u64);
        self.put_bytes(bytes);
    }
}

impl Writer for BytesMut {
    fn put_bytes(&mut self, bytes: &[u8]) {
        self.put_slice(bytes);
    }
}

/// How many bytes were put.
struct Count(usize);

impl Writer for Count {
    fn put_bytes(&mut self, bytes: &[u8]) {
        self.0 = self.0.saturating_add(bytes.len());
    }
}

/// The fields of one payload that are still to be read.
pub(super) struct Reader<'a> {
    frame: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn varint(&mut self, field: &'static str) -> Result<u64, WireError> {
        let (value, rest) = varint::decode(self.rest).ok_or_else(|| self.short(field))?;
        self.rest = rest;
        Ok(value)
    }

    /// A varint at most `max`.
    pub(super) fn count(&mut self, field: &'static str, max: usize) -> Result<usize, WireError> {
        match usize::try_from(self.varint(field)?) {
            Ok(count) if count <= max => Ok(count),
            Ok(_) | Err(_) => Err(self.invalid(field)),
        }
    }

    pub(super) fn flag(&mut self, field: &'static str) -> Result<bool, WireError> {
        Ok(self.count(field, 1)? == 1)
    }

    pub(super) fn array<const N: usize>(
        &mut self,
        field: &'static str,
    ) -> Result<[u8; N], WireError> {
        let (array, rest) = self
            .rest
            .split_first_chunk()
            .ok_or_else(|| self.short(field))?;
        self.rest = rest;
        Ok(*array)
    }

    /// A length, at most `max`, and so many bytes.
    pub(super) fn sized(&mut self, field: &'static str, max: usize) -> Result<&'a [u8], WireError> {
        let len = self.count(field, max)?;
        let (bytes, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or_else(|| self.short(field))?;
        self.rest = rest;
        Ok(bytes)
    }

    /// The payload ended within a field [CTL-7].
    pub(super) const fn short(&self, field: &'static str) -> WireError {
        WireError::Short {
            frame: self.frame,
            field,
        }
    }

    /// A value without a meaning [CTL-7]: new ones need a new version [EXT-4].
    pub(super) const fn invalid(&self, field: &'static str) -> WireError {
        WireError::Invalid {
            frame: self.frame,
            field,
        }
    }
}

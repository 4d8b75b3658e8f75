//! The control frames: what they carry. `payload` puts them into bytes.

use bytes::Bytes;
use smallvec::SmallVec;
use std::net::SocketAddr;

use crate::ids::{ByteRange, GrantId, PathId, SessionId, StreamId};

/// A list of ranges, lowest first and disjoint. Longer lists span several frames.
pub type Ranges = SmallVec<[ByteRange; 4]>;

/// A message on a control carrier ([`protocol`](crate::protocol) §5).
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "each variant is named like its documented payload"
)]
pub enum ControlFrame {
    // client → primary
    Hello(Hello),
    PathStatus(PathStatus),
    GrantStatus(GrantStatus),
    Hole(Hole),
    StreamDone(StreamDone),
    // client → primary and secondary
    MaxOffset(MaxOffset),
    // primary → client
    Welcome(Welcome),
    AddPath(AddPath),
    RetirePath(RetirePath),
    Aggregate(Aggregate),
    FinalSize(FinalSize),
    // primary → client → secondary
    Grant(Grant),
    Revoke(Revoke),
    Raw(Raw),
    // client → secondary
    Join(Join),
    // secondary → client
    Joined(Joined),
    Refused(Refused),
    GrantRefused(GrantRefused),
    GrantDone(GrantDone),
}

/// First frame of a client to a primary.
///
/// HELLO, 0x01:
///
/// | field               | form     | rule                             |
/// |---------------------|----------|----------------------------------|
/// | join key thumbprint | 32 bytes | SHA-256 of the join key [JOIN-1] |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// SHA-256 of the public key with which the client will prove its joins.
    pub join_key_thumbprint: [u8; 32],
}

/// A path changed its state at the client.
///
/// PATH_STATUS, 0x02:
///
/// | field | form   | rule                                 |
/// |-------|--------|--------------------------------------|
/// | path  | varint | not 0 [PATH-1]                       |
/// | state | varint | 0 active, 1 dead, 2 retired [PATH-9] |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathStatus {
    /// Which.
    pub path: PathId,
    /// Its new state.
    pub state: PathStatusState,
}

/// The state of a path, as told to the primary. One opaque code for every failure: what the client
/// sees of a network is not the primary's to learn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathStatusState {
    /// The secondary accepted the join (0).
    Active,
    /// It was never reached, refused, fell silent, or broke the protocol (1).
    Dead,
    /// It was retired as the primary asked (2).
    Retired,
}

/// What became of a grant so far.
///
/// GRANT_STATUS, 0x03:
///
/// | field   | form   | rule                                 |
/// |---------|--------|--------------------------------------|
/// | grant   | varint | given before [GRANT-1]               |
/// | outcome | varint | 0 progress, 1 done, 2 lost [GRANT-3] |
/// | present | varint | progress only [GRANT-15]             |
/// | reason  | varint | lost only, 0 to 7                    |
/// | code    | varint | lost with reason 1 only              |
/// | end     | varint | done and lost only [GRANT-19]        |
/// | more    | 0 or 1 | lost only [CTL-9]                    |
/// | missing | ranges | lost only [CTL-8] [GRANT-19]         |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantStatus {
    /// Which.
    pub grant: GrantId,
    /// What.
    pub outcome: GrantOutcome,
}

/// Progress, or the one final status of a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrantOutcome {
    /// So many bytes of the range are present at the client (0).
    Progress {
        /// Bytes.
        present: u64,
    },
    /// Final: all bytes up to `end` are present (1) [GRANT-19].
    Done {
        /// Where the grant ended.
        end: u64,
    },
    /// Final: these bytes of the range are not present, and nobody is to bring them (2).
    Lost {
        /// Why.
        reason: LostReason,
        /// Where the grant ended [GRANT-19].
        end: u64,
        /// Exactly the missing bytes.
        missing: Ranges,
        /// Another frame continues the list; only the last one makes the status final.
        more: bool,
    },
}

/// Why a grant is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostReason {
    /// The path is dead, retired, or was never there (0).
    Path,
    /// The secondary refused it (1); the code is its own.
    Refused(u64),
    /// No byte came in time (2).
    NotStarted,
    /// The primary took it back (3).
    Revoked,
    /// The secondary ended it short of its range (4).
    Short,
    /// The stream is gone at the client (5).
    Gone,
    /// A limit of the client was reached (6).
    Limit,
    /// A copy differed under the policy `Reject` (7).
    Conflict,
}

/// Ranges that the reader waits for and that no grant covers.
///
/// HOLE, 0x04:
///
/// | field  | form   | rule             |
/// |--------|--------|------------------|
/// | stream | varint | [STR-1] [STR-6]  |
/// | ranges | ranges | [CTL-8] [END-10] |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The stream.
    pub stream: StreamId,
    /// The missing bytes.
    pub ranges: Ranges,
}

/// The client has every byte of an aggregated stream.
///
/// STREAM_DONE, 0x05:
///
/// | field  | form   | rule                      |
/// |--------|--------|---------------------------|
/// | stream | varint | its size was said [END-5] |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamDone {
    /// The stream.
    pub stream: StreamId,
}

/// A server may write below this offset of an aggregated stream.
///
/// MAX_OFFSET, 0x06:
///
/// | field  | form   | rule                                        |
/// |--------|--------|---------------------------------------------|
/// | stream | varint | [STR-1] [STR-6]                             |
/// | offset | varint | a lower one than before is ignored [FLOW-1] |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaxOffset {
    /// The stream.
    pub stream: StreamId,
    /// One past the last byte that may be written.
    pub offset: u64,
}

/// First frame of a primary.
///
/// WELCOME, 0x10:
///
/// | field   | form     | rule            |
/// |---------|----------|-----------------|
/// | session | 16 bytes | random [SESS-3] |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The session's name.
    pub session: SessionId,
}

/// A secondary to connect to.
///
/// ADD_PATH, 0x11:
///
/// | field       | form             | rule                                                |
/// |-------------|------------------|-----------------------------------------------------|
/// | path        | varint           | higher than any before [PATH-1]                     |
/// | addresses   | count, addresses | 1 to 8; family 4 or 6, IP, big-endian port [PATH-3] |
/// | server name | length, bytes    | UTF-8, 1 to 255 bytes [PATH-3]                      |
/// | pin         | 32 bytes         | [CONN-2]                                            |
/// | ticket      | length, bytes    | at most 512 bytes [JOIN-2]                          |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddPath {
    /// The name of the path; higher than any before.
    pub path: PathId,
    /// 1 to 8 addresses, best first.
    pub addrs: SmallVec<[SocketAddr; 2]>,
    /// The name sent in the TLS handshake; 1 to 255 bytes.
    pub server_name: String,
    /// SHA-256 of the SubjectPublicKeyInfo of the secondary's certificate.
    pub pin: [u8; 32],
    /// What the client shows the secondary; opaque to it, at most 512 bytes.
    pub ticket: Bytes,
}

/// No more grants go to a path; it closes when those it has are final.
///
/// RETIRE_PATH, 0x12:
///
/// | field | form   | rule                           |
/// |-------|--------|--------------------------------|
/// | path  | varint | named before [PATH-1] [PATH-8] |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetirePath {
    /// Which.
    pub path: PathId,
}

/// A stream's new bytes travel in segments from now on.
///
/// AGGREGATE, 0x13:
///
/// | field      | form   | rule                  |
/// |------------|--------|-----------------------|
/// | stream     | varint | plain so far [AGG-1]  |
/// | plain end  | varint | [AGG-2]               |
/// | size known | 0 or 1 |                       |
/// | final size | varint | only if known [END-1] |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aggregate {
    /// The stream.
    pub stream: StreamId,
    /// Bytes that travel on the stream's own carrier; segments begin here.
    pub plain_end: u64,
    /// The final size, if it is known already.
    pub final_size: Option<u64>,
}

/// Where a stream ends. Said once.
///
/// FINAL_SIZE, 0x14:
///
/// | field  | form   | rule               |
/// |--------|--------|--------------------|
/// | stream | varint | aggregated [AGG-1] |
/// | size   | varint | [END-2] [END-3]    |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalSize {
    /// The stream.
    pub stream: StreamId,
    /// Its length in bytes.
    pub size: u64,
}

/// The right of a path to write a range of a stream, and the sealed order to do it.
///
/// GRANT, 0x20:
///
/// | field           | form          | rule                                |
/// |-----------------|---------------|-------------------------------------|
/// | grant           | varint        | higher than any before [GRANT-1]    |
/// | path            | varint        | named before [PATH-1]               |
/// | stream          | varint        | aggregated [AGG-1]                  |
/// | extent          | varint        | 0 fixed, 1 open [GRANT-2]           |
/// | start           | varint        | at or above the plain end [GRANT-2] |
/// | length          | varint        | fixed only; at least 1              |
/// | max offset      | varint        | [FLOW-4]                            |
/// | sequence number | varint        | [SEAL-4]                            |
/// | command         | length, bytes | at most 16 448 bytes [SEAL-1]       |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The name of the grant; higher than any before.
    pub grant: GrantId,
    /// Whose right it is.
    pub path: PathId,
    /// Of which stream.
    pub stream: StreamId,
    /// Which bytes.
    pub extent: Extent,
    /// Below which offset it may write now. 0 from the primary; the client fills it in.
    pub max_offset: u64,
    /// The command, sealed for the secondary; at most 16 KiB + 64 bytes.
    pub sealed: Sealed,
}

/// The range of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Exactly these bytes; not empty.
    Fixed(ByteRange),
    /// From this offset on; the secondary says where it ends.
    Open {
        /// The first byte.
        start: u64,
    },
}

impl Extent {
    /// The bytes that may be written; an open extent reaches to the end of all offsets.
    #[must_use]
    pub const fn range(self) -> ByteRange {
        match self {
            Self::Fixed(range) => range,
            Self::Open { start } => ByteRange::from(start),
        }
    }

    /// Whether the end is not known.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Open { .. })
    }
}

/// An end-to-end sealed payload: its sequence number and the ciphertext with its tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Sequence number of the seal; each is accepted once.
    pub seq: u64,
    /// Ciphertext and 16-byte tag.
    pub bytes: Bytes,
}

/// A grant shrinks.
///
/// REVOKE, 0x21:
///
/// | field | form   | rule                   |
/// |-------|--------|------------------------|
/// | grant | varint | given before [GRANT-1] |
/// | end   | varint | [GRANT-8]              |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoke {
    /// Which.
    pub grant: GrantId,
    /// Nothing is to be written from here on; 0 takes all of it back.
    pub end: u64,
}

/// A sealed message that belongs to no stream.
///
/// RAW, 0x22:
///
/// | field           | form          | rule                          |
/// |-----------------|---------------|-------------------------------|
/// | path            | varint        | named before [PATH-1]         |
/// | sequence number | varint        | [SEAL-4]                      |
/// | message         | length, bytes | at most 16 448 bytes [SEAL-1] |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// For whom.
    pub path: PathId,
    /// The message; at most 16 KiB + 64 bytes.
    pub sealed: Sealed,
}

/// First frame of a client to a secondary.
///
/// JOIN, 0x30:
///
/// | field    | form          | rule                        |
/// |----------|---------------|-----------------------------|
/// | session  | 16 bytes      | [SESS-3]                    |
/// | path     | varint        | not 0 [PATH-1]              |
/// | ticket   | length, bytes | at most 512 bytes [JOIN-4]  |
/// | join key | 32 bytes      | Ed25519 public key [JOIN-1] |
/// | proof    | 64 bytes      | [JOIN-3]                    |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// The session.
    pub session: SessionId,
    /// The path.
    pub path: PathId,
    /// As it came in ADD_PATH.
    pub ticket: Bytes,
    /// The client's Ed25519 public key.
    pub join_key: [u8; 32],
    /// Its signature over the TLS exporter of this connection.
    pub proof: [u8; 64],
}

/// The secondary accepted the join.
///
/// JOINED, 0x31; no fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined;

/// The secondary turned the join down; it closes the connection.
///
/// REFUSED, 0x32:
///
/// | field | form   | rule     |
/// |-------|--------|----------|
/// | code  | varint | [JOIN-8] |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// An application error code.
    pub code: u64,
}

/// The secondary will not fill a grant.
///
/// GRANT_REFUSED, 0x33:
///
/// | field | form   | rule                         |
/// |-------|--------|------------------------------|
/// | grant | varint | forwarded before             |
/// | code  | varint | the application's [GRANT-16] |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantRefused {
    /// Which.
    pub grant: GrantId,
    /// A code of the application.
    pub code: u64,
}

/// The secondary writes no more for a grant. Ends nothing by itself: the bytes may still be on
/// their way.
///
/// GRANT_DONE, 0x34:
///
/// | field   | form   | rule              |
/// |---------|--------|-------------------|
/// | grant   | varint | forwarded before  |
/// | more    | 0 or 1 | [CTL-9]           |
/// | written | ranges | [CTL-8] [GRANT-6] |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantDone {
    /// Which.
    pub grant: GrantId,
    /// What was handed to QUIC.
    pub written: Ranges,
    /// Another frame continues the list.
    pub more: bool,
}

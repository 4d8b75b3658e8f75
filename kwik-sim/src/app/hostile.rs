//! A secondary that breaks the protocol.
//!
//! Owns what it does ([`Hostility`]), and what an honest client must do about it
//! ([`Hostility::consequence`]). It joins like an honest one, understands what it is told, and writes
//! the right bytes for its grants until the moment comes. It has the identity of its host, so that
//! the client has every reason to believe it; what the endpoint would never do it does with a
//! [`RawPeer`].

mod deeds;
mod grants;
mod script;
mod writer;

use std::rc::Rc;

use kwik_core::error::code;
use serde::{Deserialize, Serialize};

use crate::content::Content;
use crate::crypto::CryptoMode;
use crate::host::Program;
use crate::identity::Identity;
use crate::raw::{RawPeer, Script};
use crate::rng::{Chance, Purpose};

/// What a hostile secondary does once: with one of the first grants that it can be done with, unless
/// something else is said. What is drawn, such as the moment, follows from the seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Hostility {
    // On the control carrier.
    /// A frame of random bytes that cannot be decoded.
    MalformedFrame,
    /// A frame whose payload ends within a field.
    TruncatedFrame,
    /// A frame that is announced to be longer than any may be.
    OverlongFrame,
    /// A frame that is another role's to send, such as the end of a stream.
    WrongRole,
    /// JOINED once more.
    JoinsTwice,
    /// 100 000 frames of an unknown type.
    ControlFlood,
    /// 20 000 frames about grants that have ended.
    StatusFlood,
    /// A flood, and from then on nothing is read from the control carrier.
    DeafFlood,
    /// It reads nothing from the control carrier any more.
    NeverReads,
    /// STOP_SENDING for the control carrier.
    StopsControl,
    /// The end of the control carrier.
    FinsControl,
    /// A reset of the control carrier.
    ResetsControl,
    // About grants.
    /// A segment for a grant that was never given.
    UnknownGrant,
    /// GRANT_DONE for a grant that was never given.
    DoneUnknown,
    /// GRANT_REFUSED for a grant that was never given.
    RefusesUnknown,
    /// GRANT_DONE twice for every grant.
    DoneTwice,
    /// GRANT_DONE for whole grants of which nothing was written, from the moment on.
    DoneLies,
    /// GRANT_DONE with nothing in it, at once, from the moment on.
    DoneEmpty,
    /// GRANT_DONE with ranges far outside the grant besides its own.
    DoneElsewhere,
    /// GRANT_DONE with a list of ranges that never ends.
    DoneEndless,
    /// GRANT_REFUSED after half of the grant was written, from the moment on.
    RefuseAfterWrite,
    // In segments.
    /// Bytes just before the grant.
    OutsideBefore,
    /// Bytes just behind the grant.
    OutsideAfter,
    /// Bytes that begin within the grant and go on behind it.
    OutsideStraddling,
    /// Bytes near the end of all offsets.
    FarAhead,
    /// A byte of the grant, beyond the credit.
    BeyondCredit,
    /// More than 1 MiB in one segment, all of it within the grant.
    LongSegment,
    /// A header that means nothing.
    BadHeader,
    /// The header of a segment of the primary.
    PrimaryHeader,
    /// 2000 segments without a byte.
    EmptySegments,
    /// 500 segments that end within their header, in either way.
    HeadlessSegments,
    /// A segment that stays open within its header, for every grant from the moment on.
    HoldsHeader,
    /// Every segment is reset behind half of its bytes, from the moment on.
    ResetsSegments,
    /// Single bytes with gaps between them.
    Perforates,
    /// Of each grant, from the moment on, a byte here and there, and then GRANT_DONE.
    Sieves,
    /// Every byte twice, which is allowed.
    RepeatsBytes,
    /// Half of each grant and no more, from the moment on.
    Stalls,
    /// One byte a second of each grant, from the moment on.
    DripFeeds,
    // With the connection.
    /// It tries to open a bidirectional stream.
    OpensBidi,
    /// It refuses to be joined.
    RefusesJoin,
    /// It does not answer JOIN.
    IgnoresJoin,
    /// It writes a segment before it has said JOINED.
    WritesBeforeJoined,
    /// It closes the connection a moment after JOINED.
    ClosesAtOnce,
    /// It sends no datagram any more, a moment after JOINED.
    GoesSilentAfterJoin,
}

/// What an honest client must do about a hostile secondary. Whatever it is, the session, the other
/// paths and the bytes of the streams take no harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consequence {
    /// The client closes the path with this code (`protocol.md` §9); no other ends it. If what was
    /// abused, a grant or the session, has ended before the deed arrives, nothing happens.
    PathDies(u64),
    /// The client may close the path, with this code and no other.
    PathMayDie(u64),
    /// The secondary itself ends the path.
    PathLeaves,
    /// The path lives on. Grants may be lost.
    Harmless,
}

impl Hostility {
    /// All of them.
    pub const ALL: [Self; 44] = [
        Self::MalformedFrame,
        Self::TruncatedFrame,
        Self::OverlongFrame,
        Self::WrongRole,
        Self::JoinsTwice,
        Self::ControlFlood,
        Self::StatusFlood,
        Self::DeafFlood,
        Self::NeverReads,
        Self::StopsControl,
        Self::FinsControl,
        Self::ResetsControl,
        Self::UnknownGrant,
        Self::DoneUnknown,
        Self::RefusesUnknown,
        Self::DoneTwice,
        Self::DoneLies,
        Self::DoneEmpty,
        Self::DoneElsewhere,
        Self::DoneEndless,
        Self::RefuseAfterWrite,
        Self::OutsideBefore,
        Self::OutsideAfter,
        Self::OutsideStraddling,
        Self::FarAhead,
        Self::BeyondCredit,
        Self::LongSegment,
        Self::BadHeader,
        Self::PrimaryHeader,
        Self::EmptySegments,
        Self::HeadlessSegments,
        Self::HoldsHeader,
        Self::ResetsSegments,
        Self::Perforates,
        Self::Sieves,
        Self::RepeatsBytes,
        Self::Stalls,
        Self::DripFeeds,
        Self::OpensBidi,
        Self::RefusesJoin,
        Self::IgnoresJoin,
        Self::WritesBeforeJoined,
        Self::ClosesAtOnce,
        Self::GoesSilentAfterJoin,
    ];

    /// What the client must do about it.
    #[must_use]
    pub const fn consequence(self) -> Consequence {
        use Consequence::{Harmless, PathDies, PathLeaves, PathMayDie};
        match self {
            Self::MalformedFrame | Self::TruncatedFrame | Self::OverlongFrame | Self::BadHeader => {
                PathDies(code::ENCODING)
            }
            Self::WrongRole
            | Self::JoinsTwice
            | Self::StopsControl
            | Self::FinsControl
            | Self::ResetsControl
            | Self::PrimaryHeader => PathDies(code::UNEXPECTED),
            Self::UnknownGrant
            | Self::DoneUnknown
            | Self::RefusesUnknown
            | Self::OutsideBefore
            | Self::OutsideAfter
            | Self::OutsideStraddling
            | Self::FarAhead
            | Self::WritesBeforeJoined => PathDies(code::GRANT),
            Self::DoneEndless | Self::Perforates | Self::LongSegment => {
                PathDies(code::EXCESSIVE_LOAD)
            }
            Self::RefusesJoin | Self::IgnoresJoin | Self::GoesSilentAfterJoin => {
                PathDies(code::PATH_ENDED)
            }
            // The reader may have gone on meanwhile.
            Self::BeyondCredit => PathMayDie(code::FLOW_CONTROL),
            // Only if there is very much to be said to it.
            Self::NeverReads | Self::DeafFlood => PathMayDie(code::EXCESSIVE_LOAD),
            Self::ClosesAtOnce => PathLeaves,
            Self::ControlFlood
            | Self::StatusFlood
            | Self::DoneTwice
            | Self::DoneLies
            | Self::DoneEmpty
            | Self::DoneElsewhere
            | Self::RefuseAfterWrite
            | Self::EmptySegments
            | Self::HeadlessSegments
            | Self::HoldsHeader
            | Self::ResetsSegments
            | Self::Sieves
            | Self::RepeatsBytes
            | Self::Stalls
            | Self::DripFeeds
            | Self::OpensBidi => Harmless,
        }
    }

    /// Whether it has nothing to do with a grant.
    const fn needs_no_grant(self) -> bool {
        matches!(
            self,
            Self::RefusesJoin
                | Self::IgnoresJoin
                | Self::WritesBeforeJoined
                | Self::ClosesAtOnce
                | Self::GoesSilentAfterJoin
        )
    }

    /// The program of a host that does it, in the world of this seed.
    #[must_use]
    pub fn program(
        self,
        crypto: CryptoMode,
        identity: Identity,
        content: Content,
        (seed, ordinal): (u64, u64),
    ) -> Program {
        let chance = Chance::new(seed, Purpose::Hostility, ordinal);
        let casting = Rc::new(move || -> Box<dyn Script> {
            Box::new(script::Hostile::new(self, content, chance))
        });
        RawPeer::server(crypto, identity, casting)
    }
}

//! What a hand-played primary and a hand-played client need to be believed: keys, tickets, seals.

use std::collections::BTreeMap;

use bytes::Bytes;
use smallvec::smallvec;

use super::content::content;
use super::world::{World, span};
use crate::carrier::DownCause;
use crate::ids::{ByteRange, GrantId, PathId, SessionId, StreamId};
use crate::ticket::{JoinKey, MasterKey, Sealer, Ticket};
use crate::wire::{
    AddPath, Aggregate, ControlFrame, Extent, FinalSize, Grant, Join, MaxOffset, Raw,
    SegmentHeader, SegmentOwner, Welcome,
};

/// The master key of every world.
pub(super) fn master() -> MasterKey {
    MasterKey::from_bytes([7; 32])
}

/// The name that hand-played primaries give their session.
pub(super) const SESSION: SessionId = SessionId([9; 16]);

/// A primary that a test plays: it makes frames that an honest client and honest secondaries accept.
pub(super) struct HandPrimary {
    thumbprint: [u8; 32],
    sealers: BTreeMap<PathId, Sealer>,
    next_grant: u64,
}

impl HandPrimary {
    /// Welcomes the client of `world`, whose primary is hand-played.
    pub(super) fn welcome(world: &mut World) -> Self {
        world.settle();
        let hello = world.script(0, |s, _| s.next_frame(PathId::PRIMARY));
        let Some(ControlFrame::Hello(hello)) = hello else {
            panic!("a client says HELLO first")
        };
        Self::send(world, &ControlFrame::Welcome(Welcome { session: SESSION }));
        let sealers = BTreeMap::new();
        Self {
            thumbprint: hello.join_key_thumbprint,
            sealers,
            next_grant: 0,
        }
    }

    pub(super) fn send(world: &mut World, frame: &ControlFrame) {
        world.script(0, |s, cx| s.send(PathId::PRIMARY, frame, cx.carriers));
    }

    /// ADD_PATH of the secondary at a site, under any path id.
    pub(super) fn add_path_frame(&mut self, world: &World, site: usize, path: PathId) -> AddPath {
        let host = &world.sites[site];
        let peer = master().peer_key(&host.pin);
        self.sealers.insert(path, Sealer::new(&peer, SESSION, path));
        let issued = world.now().unix_seconds;
        let ticket = Ticket {
            session: SESSION,
            path,
            issued_unix_seconds: issued,
            expires_unix_seconds: issued + 60,
            join_key_thumbprint: self.thumbprint,
        };
        AddPath {
            path,
            addrs: smallvec![host.addr],
            server_name: "kwik.test".to_owned(),
            pin: host.pin,
            ticket: peer.issue(&ticket),
        }
    }

    /// Names the secondary at a site; the path has the number of the site.
    pub(super) fn add_path(&mut self, world: &mut World, site: usize) -> PathId {
        let path = PathId(site as u64);
        let frame = self.add_path_frame(world, site, path);
        Self::send(world, &ControlFrame::AddPath(frame));
        path
    }

    pub(super) fn grant_frame(&mut self, path: PathId, stream: StreamId, extent: Extent) -> Grant {
        let grant = GrantId(self.next_grant);
        self.next_grant += 1;
        let sealer = self.sealers.get_mut(&path).expect("the path was added");
        let sealed = sealer.seal_grant(grant, stream, extent, b"write it");
        Grant {
            grant,
            path,
            stream,
            extent,
            max_offset: 0,
            sealed,
        }
    }

    /// Grants a range.
    pub(super) fn grant(
        &mut self,
        world: &mut World,
        path: PathId,
        stream: StreamId,
        range: (u64, u64),
    ) -> GrantId {
        let extent = Extent::Fixed(span(range.0, range.1));
        let frame = self.grant_frame(path, stream, extent);
        Self::send(world, &ControlFrame::Grant(frame.clone()));
        frame.grant
    }

    pub(super) fn raw_frame(&mut self, path: PathId, message: &[u8]) -> Raw {
        let sealer = self.sealers.get_mut(&path).expect("the path was added");
        Raw {
            path,
            sealed: sealer.seal_raw(message),
        }
    }

    pub(super) fn aggregate(world: &mut World, stream: StreamId, plain_end: u64) {
        Self::send(
            world,
            &ControlFrame::Aggregate(Aggregate {
                stream,
                plain_end,
                final_size: None,
            }),
        );
    }

    pub(super) fn final_size(world: &mut World, stream: StreamId, size: u64) {
        Self::send(world, &ControlFrame::FinalSize(FinalSize { stream, size }));
    }

    /// Opens a stream, with its preamble, on which nothing plain follows.
    pub(super) fn open_stream(world: &mut World) -> StreamId {
        world.script(0, |s, cx| {
            let carrier = cx
                .carriers
                .open_bidi(PathId::PRIMARY)
                .expect("up")
                .expect("credit");
            s.write(carrier, Bytes::from_static(&[0]), cx.carriers);
            StreamId(carrier.stream)
        })
    }

    /// Writes a range of its own as one segment.
    pub(super) fn segment(world: &mut World, stream: StreamId, range: (u64, u64)) {
        let range = span(range.0, range.1);
        let header = SegmentHeader {
            owner: SegmentOwner::Primary(stream),
            offset: range.start(),
        };
        let body = content(stream, range);
        world.script(0, |s, cx| {
            s.segment(PathId::PRIMARY, header, &body, true, cx.carriers)
        });
    }

    /// Everything that the client has said since it was last asked.
    pub(super) fn frames(world: &mut World) -> Vec<ControlFrame> {
        world.script(0, |s, _| s.frames(PathId::PRIMARY))
    }
}

/// The key of hand-played clients.
pub(super) fn join_key() -> JoinKey {
    JoinKey::from_seed(&[5; 32])
}

/// A ticket for a hand-played client, to be issued with the key of a secondary.
pub(super) fn ticket(world: &World, path: PathId) -> Ticket {
    let issued = world.now().unix_seconds;
    Ticket {
        session: SESSION,
        path,
        issued_unix_seconds: issued,
        expires_unix_seconds: issued + 60,
        join_key_thumbprint: join_key().thumbprint(),
    }
}

/// A join that a secondary accepts, if the ticket is one of its own.
pub(super) fn join(ticket: Bytes, path: PathId, exporter: &[u8; 32]) -> Join {
    let proof = join_key().prove(exporter, &ticket);
    Join {
        session: SESSION,
        path,
        ticket,
        join_key: join_key().public_key(),
        proof,
    }
}

pub(super) fn max_offset(stream: StreamId, offset: u64) -> ControlFrame {
    ControlFrame::MaxOffset(MaxOffset { stream, offset })
}

/// One segment of a secondary.
pub(super) fn granted(grant: GrantId, range: ByteRange) -> SegmentHeader {
    SegmentHeader {
        owner: SegmentOwner::Grant(grant),
        offset: range.start(),
    }
}

/// A secondary that a test plays.
pub(super) struct HandSecondary {
    site: usize,
    /// What the client calls it.
    pub(super) path: PathId,
}

impl HandSecondary {
    /// Named by the honest primary, and joined.
    pub(super) fn join(world: &mut World, site: usize) -> Self {
        world.sites[site].scripted = true;
        let path = world.add_path(site);
        Self::accept(world, site, path)
    }

    /// Accepts the join of a path that was named before.
    pub(super) fn accept(world: &mut World, site: usize, path: PathId) -> Self {
        world.settle();
        let hand = Self { site, path };
        let frames = hand.frames(world);
        assert!(matches!(frames[..], [ControlFrame::Join(_)]), "{frames:?}");
        hand.send(world, &ControlFrame::Joined(crate::wire::Joined));
        world.settle();
        hand
    }

    pub(super) fn send(&self, world: &mut World, frame: &ControlFrame) {
        world.script(self.site, |s, cx| {
            s.send(PathId::PRIMARY, frame, cx.carriers)
        });
    }

    pub(super) fn send_bytes(&self, world: &mut World, bytes: Bytes) {
        world.script(self.site, |s, cx| {
            s.write_control(PathId::PRIMARY, bytes, cx.carriers)
        });
    }

    /// What the client has said since it was last asked.
    pub(super) fn frames(&self, world: &mut World) -> Vec<ControlFrame> {
        world.script(self.site, |s, _| s.frames(PathId::PRIMARY))
    }

    /// Writes a segment whose bytes are a test's own.
    pub(super) fn segment(&self, world: &mut World, header: SegmentHeader, body: &Bytes) {
        world.script(self.site, |s, cx| {
            s.segment(PathId::PRIMARY, header, body, true, cx.carriers)
        });
    }

    /// Writes the true content of a range under a grant.
    pub(super) fn write(
        &self,
        world: &mut World,
        grant: GrantId,
        stream: StreamId,
        range: (u64, u64),
    ) {
        let range = span(range.0, range.1);
        self.segment(world, granted(grant, range), &content(stream, range));
    }

    /// Writes something else there.
    pub(super) fn lie(&self, world: &mut World, grant: GrantId, range: (u64, u64)) {
        let range = span(range.0, range.1);
        let len = usize::try_from(range.len()).expect("fits into memory");
        self.segment(world, granted(grant, range), &Bytes::from(vec![0xee; len]));
    }

    /// Why the client closed the connection, if it did.
    pub(super) fn down(&self, world: &mut World) -> Option<DownCause> {
        world.script(self.site, |s, _| s.down(PathId::PRIMARY).cloned())
    }

    /// Everything that came on carriers other than control.
    pub(super) fn carriers(&self, world: &mut World) -> usize {
        world.script(self.site, |s, _| s.carriers().len())
    }
}

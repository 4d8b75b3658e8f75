//! Calls that are allowed, and that nobody expects.
//!
//! Owns a choice of calls that do change something: grants are taken back or given up, streams are
//! opened for nothing, segments begun and left, sessions begun and closed at once. Whoever is concerned
//! must get over it, and a second call of the same kind changes nothing more.

use std::net::SocketAddr;

use bytes::Bytes;
use kwik_core::carrier::DialTarget;
use kwik_core::endpoint::{self, Endpoint};
use kwik_core::error::{Misuse, StreamError};
use kwik_core::ids::{GrantId, SessionHandle, StreamId};

use super::past::Past;
use crate::clock::Moment;
use crate::identity::SERVER_NAME;

/// Grants that are looked for. Most lives have fewer.
const GRANTS: u64 = 256;

/// Meddles with a session, whatever its role. `ordinal` varies what it is done to.
///
/// # Panics
///
/// If a call is refused that may not be, or the second one of a kind is not.
pub fn everything(
    endpoint: &mut Endpoint,
    moment: Moment,
    session: SessionHandle,
    (past, ordinal): (&Past, u64),
) {
    if past.is_closed {
        return;
    }
    let now = moment.now;
    if let Some(mut view) = endpoint.client(now, session) {
        client(&mut view);
    }
    if let Some(mut view) = endpoint.primary(now, session) {
        primary(&mut view, past, ordinal);
    }
    if let Some(mut view) = endpoint.secondary(now, session) {
        secondary(&mut view, ordinal);
    }
}

/// Begins a session with nobody, or with itself, and closes it at once.
///
/// # Panics
///
/// If a call on it is not refused as it is documented.
pub fn connect_and_close(endpoint: &mut Endpoint, moment: Moment, own: SocketAddr, ordinal: u64) {
    let now = moment.now;
    let nobody = SocketAddr::from(([192, 0, 2, 77], 443));
    let target = DialTarget {
        addr: if ordinal.is_multiple_of(2) {
            own
        } else {
            nobody
        },
        server_name: SERVER_NAME.to_owned(),
        pin: [0; 32],
    };
    let stray = endpoint
        .connect(now, target)
        .expect("a name and an address");
    assert!(endpoint.primary(now, stray).is_none() && endpoint.secondary(now, stray).is_none());
    let mut view = endpoint.client(now, stray).expect("it has begun");
    assert_eq!(view.open_stream(), Ok(None), "it is not connected");
    assert_eq!(view.accept_stream(), None);
    assert_eq!(view.session_id(), None);
    assert_eq!(view.paths().len(), 1);
    view.close(1);
    view.close(2);
    assert_eq!(view.open_stream(), Err(Misuse::Closed));
    let written = view.write(StreamId(4), &mut data());
    assert!(matches!(written, Err(StreamError::SessionLost(_))));
    endpoint.close(now, stray, 3);
}

fn data() -> Bytes {
    Bytes::from_static(b"of no use")
}

/// Asks for a stream and thinks better of it.
fn client(view: &mut endpoint::Client<'_>) {
    let Ok(Some(stream)) = view.open_stream() else {
        return;
    };
    view.reset(stream, 1).expect("just opened");
    let ended = Misuse::Finished(stream);
    assert_eq!(view.reset(stream, 2), Err(ended.clone()));
    assert_eq!(view.finish(stream), Err(ended.clone().into()));
    assert_eq!(view.write(stream, &mut data()), Err(ended.into()));
}

/// Takes grants back, its own and those of plans, and begins to write what others are to.
fn primary(view: &mut endpoint::Primary<'_>, past: &Past, ordinal: u64) {
    let mut live = 0;
    for grant in (0..GRANTS).map(GrantId) {
        if view.revoke(grant).is_ok() {
            assert_eq!(view.revoke(grant), Ok(()), "its final status follows");
            live += 1;
        }
        if live > ordinal % 4 {
            break;
        }
    }
    for &stream in past.sent.difference(&past.settled) {
        let Ok(segment) = view.open_segment_at(stream, ordinal % 1000) else {
            continue;
        };
        assert_eq!(view.finish_segment(segment), Ok(()));
        assert_eq!(view.finish_segment(segment), Ok(()), "it is left as it is");
        let unknown = Misuse::UnknownSegment(segment);
        assert_eq!(
            view.write_segment(segment, &mut data()),
            Err(unknown.into())
        );
    }
}

/// Gives some grants up, begun or not.
fn secondary(view: &mut endpoint::Secondary<'_>, ordinal: u64) {
    for grant in (ordinal % 3..GRANTS).step_by(3).map(GrantId) {
        let ended = match grant.0 % 2 {
            0 => view.finish_grant(grant),
            _ => view.refuse_grant(grant, 1),
        };
        if ended.is_err() {
            break;
        }
        let unknown = Misuse::UnknownGrant(grant);
        assert_eq!(view.open_segment(grant), Err(unknown.into()));
        assert_eq!(view.finish_grant(grant), Ok(()), "it is left as it is");
        assert_eq!(view.refuse_grant(grant, 2), Ok(()), "it is left as it is");
    }
}

//! What an endpoint calls its sessions.

use super::stage::{CLIENT, PRIMARY, SESSION, Stage};
use super::*;

/// [SESS-3]: keys are derived with the name of a session, and two sessions with one name would seal
/// twice with one key and number.
#[test]
fn no_two_sessions_of_a_primary_have_one_name() {
    let mut stage = Stage::new(&Config::default(), Duration::from_millis(5));
    let (now, target) = (stage.wire.now(), stage.primary_target());
    let second = stage
        .endpoint(CLIENT)
        .connect(now, target)
        .expect("dialled");
    stage.run(Duration::from_millis(100));
    let now = stage.wire.now();
    let names = [SESSION, second].map(|session| {
        let client = stage.endpoint(CLIENT).client(now, session).expect("open");
        let name = client.session_id().expect("connected");
        let primary = stage.endpoint(PRIMARY).primary(now, session);
        assert_eq!(primary.expect("open").session_id(), name);
        name
    });
    assert_ne!(names[0], names[1]);
    assert_ne!(names[0], SessionId([0; 16]));
}

//! The dials of a client over QUIC, while datagrams get lost.

use super::stage::{CLIENT, PRIMARY, SECONDARY, SESSION, Stage};
use super::*;
use crate::event::PathEvent;
use crate::quic::tests::wire::Losses;

impl Stage {
    fn add_path(&mut self) -> PathId {
        let (now, spec) = (self.wire.now(), self.secondary.clone());
        let mut primary = self.endpoint(PRIMARY).primary(now, SESSION).expect("open");
        primary.add_path(spec).expect("added")
    }

    fn retire(&mut self, path: PathId) {
        let now = self.wire.now();
        let mut primary = self.endpoint(PRIMARY).primary(now, SESSION).expect("open");
        primary.retire_path(path).expect("active");
    }

    /// Whether something happened to the path since it was last asked for.
    fn takes(&mut self, event: PathEvent) -> bool {
        let events = std::mem::take(&mut self.driven(CLIENT).events);
        let wanted = EventKind::Client(ClientEvent::Path(event));
        events.iter().any(|event| event.kind == wanted)
    }

    /// Names the secondary, loses these of the first datagrams between it and the client, and tells
    /// how long it took until the path was active.
    fn dial_losing(&mut self, lost: [u64; 2], limit: Duration) -> Option<Duration> {
        self.wire.losses = Some(Losses::new((CLIENT, SECONDARY), lost));
        let path = self.add_path();
        let began = self.wire.elapsed();
        while self.wire.elapsed() - began < limit {
            self.run(Duration::from_millis(50));
            if self.takes(PathEvent::Active(path)) {
                let took = self.wire.elapsed() - began;
                self.retire(path);
                self.run(Duration::from_secs(61));
                assert!(self.takes(PathEvent::Retired(path)));
                return Some(took);
            }
        }
        None
    }
}

/// Dials once for each pattern of losing the first six datagrams in each direction that is `wanted`.
#[track_caller]
fn assert_all_are_overcome(delay: Duration, wanted: impl Fn([u64; 2]) -> bool) {
    let config = Config::default();
    let limit = config.client.dial.dial_deadline * 3;
    let mut stage = Stage::new(&config, delay);
    let all = (0..64).flat_map(|to| (0..64).map(move |from| [to, from]));
    for lost in all.filter(|lost| wanted(*lost)) {
        let took = stage.dial_losing(lost, limit);
        assert!(took.is_some(), "{lost:x?} is not overcome");
    }
}

/// [PATH-5]
#[test]
fn a_path_comes_up_whichever_of_its_first_datagrams_get_lost() {
    assert_all_are_overcome(Duration::from_millis(10), |_| true);
}

/// [PATH-5] [SESS-1]: on a longer way, some losses make a handshake go on for more than ten seconds,
/// hearing something all the time. The server closes the connection then, and the client must not have
/// waited for that.
#[test]
fn a_handshake_that_goes_on_and_on_is_replaced_before_the_server_closes_it() {
    assert_all_are_overcome(Duration::from_millis(100), |[_, from]| from & 7 == 7);
}

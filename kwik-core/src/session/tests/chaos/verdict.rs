//! What must have come of it when all is calm again.

use super::Chaos;
use crate::ids::StreamId;

impl Chaos {
    /// What there is to know about a stream that did not come to its end.
    fn report(&mut self, stream: StreamId) -> String {
        let found = format!("{:?}", self.streams[&stream]);
        let elapsed = self.world.elapsed();
        let client = self.world.client(|c, cx| {
            let paths = c.session.paths(cx.carriers);
            format!(
                "{:#?}\n{:?}\n{paths:?}",
                c.readers.get(&stream),
                c.session.stats()
            )
        });
        let events = self.world.primary(|p, _| {
            let from = p.events.len().saturating_sub(40);
            format!("{}\n{:?}", p.describe(), &p.events[from..])
        });
        let nets: Vec<String> = self
            .world
            .conns()
            .into_iter()
            .map(|(path, conn)| format!("{path}: {:?}", self.world.net.describe(conn)))
            .collect();
        format!("{elapsed:?} {found}\n{client}\n{events}\n{nets:#?}")
    }

    pub(super) fn has_ended(&mut self, stream: StreamId) -> bool {
        let given_up = self.streams[&stream].given_up;
        given_up
            || self
                .world
                .client(|c, _| c.readers.get(&stream).is_some_and(|r| r.end.is_some()))
    }

    pub(super) fn check(&mut self) {
        let ids: Vec<StreamId> = self.streams.keys().copied().collect();
        for stream in ids {
            let found = &self.streams[&stream];
            let (given_up, top) = (found.given_up, found.top);
            let reader = self.world.client(|c, _| {
                c.readers
                    .get(&stream)
                    .map(|reader| (reader.end.clone(), reader.offset))
            });
            match reader {
                Some((Some(Err(error)), _)) => {
                    assert!(
                        given_up,
                        "stream {stream}: {error}, {found:?}",
                        found = self.streams[&stream]
                    );
                }
                Some((end, offset)) if !given_up => {
                    let report = if end.is_none() {
                        self.report(stream)
                    } else {
                        String::new()
                    };
                    assert_eq!(
                        end,
                        Some(Ok(())),
                        "stream {stream} at {offset} of {top}: {report}"
                    );
                    assert_eq!(offset, top, "stream {stream}");
                }
                Some(_) => {}
                None => assert!(given_up, "stream {stream} was never seen"),
            }
        }
        for (grant, (_, ended)) in &self.grants {
            assert!(ended, "grant {grant} has no final status");
        }
        for (path, conn) in self.world.living_conns() {
            let open = self.world.net.segments_in_use(conn);
            assert!(
                open.is_empty(),
                "path {path} leaks {open:?}: {:#?}",
                self.world.net.describe(conn)
            );
        }
        let honest = self.world.violations();
        assert_eq!(honest, [""; 0], "nobody broke the protocol");
        self.world.client(|c, _| {
            let stats = c.session.stats();
            assert_eq!(stats.conflict_bytes, 0, "a byte is a function of its place");
        });
    }
}

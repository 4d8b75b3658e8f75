//! The five scenarios, each under many schedules: whatever the order in which things arrive, the
//! client reads every byte once, at its place, and then the end.

use std::time::Duration;

use bytes::Bytes;

use super::content::content;
use super::world::{Setup, World, span};
use crate::event::{ClientEvent, PathEvent, PrimaryEvent, StreamEvent};
use crate::ids::{PathId, StreamId};
use crate::plan::{PlanSpec, Spread};

/// Schedules of each scenario.
const SEEDS: u64 = 50;
const SIZE: u64 = (512 << 10) + 4321;
const REQUEST_BYTES: u64 = 300;
/// Long after everything should be over, in virtual time.
const PATIENCE: Duration = Duration::from_secs(60);

/// A transfer that has begun: the client asked, and the primary answers on a stream of its own.
struct Transfer {
    world: World,
    stream: StreamId,
}

impl Transfer {
    /// The primary spreads the content over itself and the secondaries, or writes it alone.
    fn begin(secondaries: usize, seed: u64, spread: Option<Spread>) -> Self {
        let mut world = Setup {
            secondaries,
            seed: Some(seed),
            ..Setup::default()
        }
        .build();
        world.settle();
        let request = world.client(|c, cx| {
            let stream = c
                .session
                .open_stream(cx.carriers)
                .expect("open")
                .expect("credit");
            let mut data = content(stream, span(0, REQUEST_BYTES));
            while !data.is_empty() {
                c.session
                    .write(stream, &mut data, cx.carriers)
                    .expect("open");
            }
            c.session.finish(stream, cx.carriers).expect("open");
            c.read(stream, u64::MAX);
            stream
        });
        world.settle();
        world.primary(|p, _| assert_eq!(p.requests.get(&request), Some(&(REQUEST_BYTES, true))));
        for site in 1..=secondaries {
            world.add_path(site);
        }
        let stream = world.open_stream();
        match spread {
            None => world.write(stream, (0, SIZE), true),
            Some(spread) => {
                let spec = PlanSpec {
                    command: Bytes::from_static(b"that file"),
                    spread,
                };
                world.primary(|p, cx| {
                    p.session
                        .plan(cx.now, stream, span(0, SIZE), spec, cx.carriers)
                        .expect("a fresh stream can be planned");
                    p.session
                        .finish(cx.now, stream, cx.carriers)
                        .expect("all is planned");
                });
            }
        }
        Self { world, stream }
    }

    fn run_to_the_end(&mut self) {
        let stream = self.stream;
        let whole = self
            .world
            .advance_until(PATIENCE, |world| world.is_whole(stream, SIZE));
        assert!(whole, "{}", self.report());
        self.world.advance(Duration::from_secs(1));
        let finished = PrimaryEvent::Stream(StreamEvent::Finished(stream));
        let told = self.world.primary(|p, _| p.events.contains(&finished));
        assert!(
            told,
            "the primary hears that all arrived: {}",
            self.report()
        );
    }

    /// Nothing is left behind on the connections that live.
    fn assert_clean(&mut self, paths: impl IntoIterator<Item = u64>) {
        for path in paths {
            self.world.assert_no_carrier_leaks(PathId(path));
        }
        self.world.client(|c, _| {
            let stats = c.session.stats();
            assert_eq!((stats.buffered_bytes, stats.conflict_bytes), (0, 0));
            let window = Setup::default().config.client.stream_window_bytes;
            assert!(
                stats.buffered_bytes_max <= window,
                "{}",
                stats.buffered_bytes_max
            );
        });
    }

    /// First copies by path, the primary first.
    fn shares(&mut self) -> Vec<u64> {
        let infos = self.world.client(|c, cx| c.session.paths(cx.carriers));
        let mut shares: Vec<_> = infos
            .iter()
            .map(|info| (info.path, info.received_bytes))
            .collect();
        shares.sort_unstable();
        shares.into_iter().map(|(_, bytes)| bytes).collect()
    }

    fn report(&mut self) -> String {
        let elapsed = self.world.elapsed();
        let shares = self.shares();
        self.world.client(|c, _| {
            let readers = &c.readers;
            format!(
                "after {elapsed:?}: {shares:?}, {readers:?}, {:?}",
                c.session.stats()
            )
        })
    }
}

fn for_all_seeds(scenario: impl Fn(u64)) {
    for seed in 0..SEEDS {
        let run = std::panic::AssertUnwindSafe(|| scenario(seed));
        if let Err(panic) = std::panic::catch_unwind(run) {
            eprintln!("seed {seed} failed");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn a_primary_alone_is_plain_quic() {
    for_all_seeds(|seed| {
        let mut transfer = Transfer::begin(0, seed, None);
        transfer.run_to_the_end();
        transfer.assert_clean([0]);
        assert_eq!(transfer.shares(), [SIZE]);
        let stats = transfer.world.client(|c, _| c.session.stats());
        assert!(
            stats.control_bytes < 100,
            "HELLO and WELCOME alone: {}",
            stats.control_bytes
        );
    });
}

#[test]
fn one_secondary_takes_its_share() {
    for_all_seeds(|seed| {
        let mut transfer = Transfer::begin(1, seed, Some(Spread::Pull));
        transfer.run_to_the_end();
        transfer.assert_clean([0, 1]);
        let shares = transfer.shares();
        assert_eq!(shares.iter().sum::<u64>(), SIZE);
        assert!(shares.iter().all(|&bytes| bytes > 0), "{shares:?}");
    });
}

#[test]
fn two_secondaries_take_their_shares() {
    for_all_seeds(|seed| {
        let mut transfer = Transfer::begin(2, seed, Some(Spread::Pull));
        transfer.run_to_the_end();
        transfer.assert_clean([0, 1, 2]);
        let shares = transfer.shares();
        assert_eq!(shares.iter().sum::<u64>(), SIZE);
        assert!(shares.iter().all(|&bytes| bytes > 0), "{shares:?}");
    });
}

#[test]
fn all_write_at_once_in_small_ranges() {
    for_all_seeds(|seed| {
        let spread = Spread::Rotate {
            range_bytes: 64 << 10,
        };
        let mut transfer = Transfer::begin(2, seed, Some(spread));
        transfer.run_to_the_end();
        transfer.assert_clean([0, 1, 2]);
        let shares = transfer.shares();
        assert_eq!(shares.iter().sum::<u64>(), SIZE);
        assert!(shares.iter().all(|&bytes| bytes >= SIZE / 10), "{shares:?}");
    });
}

#[test]
fn a_secondary_that_dies_in_mid_transfer_is_made_up_for() {
    for_all_seeds(|seed| {
        let mut transfer = Transfer::begin(
            2,
            seed,
            Some(Spread::Rotate {
                range_bytes: 32 << 10,
            }),
        );
        let stream = transfer.stream;
        // It dies once both secondaries have brought something, with bytes of its grants missing.
        let working = transfer.world.settle_until(|world| {
            let brings = world
                .find_conn(PathId(1))
                .is_some_and(|conn| world.net.brings_segments(conn));
            brings && world.read_to(stream) > SIZE / 5
        });
        assert!(working, "{}", transfer.report());
        transfer.world.crash(1);
        transfer.run_to_the_end();
        transfer.assert_clean([0, 2]);
        assert_eq!(transfer.shares().iter().sum::<u64>(), SIZE);
        transfer.world.client(|c, _| {
            assert!(
                c.session.stats().regranted_bytes > 0,
                "what it owed came from others"
            );
            assert!(
                c.events
                    .contains(&ClientEvent::Path(PathEvent::Dead(PathId(1))))
            );
        });
    });
}

//! What every plan comes to, whoever fails and when.

use proptest::prelude::*;

use super::*;

/// Who writes what, the reader, and the window before it.
struct World {
    planner: Planner,
    candidates: Vec<Candidate>,
    given: Vec<Assignment>,
    present: RangeSet,
    total: u64,
    window: u64,
}

impl World {
    fn new(total: u64, window: u64, spread: Spread, candidates: Vec<Candidate>) -> Self {
        Self {
            planner: Planner::new(range(0, total), spread),
            candidates,
            given: Vec::new(),
            present: RangeSet::new(),
            total,
            window,
        }
    }

    fn window_end(&self) -> u64 {
        let read = self.present.first().filter(|first| first.start() == 0);
        read.map_or(0, ByteRange::end) + self.window
    }

    /// Deals all that can be dealt, and judges it.
    fn deal(&mut self) -> Result<Vec<Assignment>, TestCaseError> {
        let window_end = self.window_end();
        let dealt = deal(&mut self.planner, window_end, &self.candidates);
        for next in &dealt {
            prop_assert!(!next.range.is_empty());
            prop_assert!(next.range.end() <= window_end, "beyond the window");
            prop_assert!(!self.present.overlaps(next.range), "given although present");
            for other in &self.given {
                prop_assert!(!other.range.overlaps(next.range), "given twice");
            }
            prop_assert!(self.candidates.iter().any(|c| c.writer == next.writer));
            self.given.push(*next);
        }
        Ok(dealt)
    }

    fn succeed(&mut self, which: usize) {
        let given = self.given.remove(which);
        self.present.insert(given.range);
        self.planner.on_done(given.writer, given.range);
    }

    /// The first `kept` bytes of an assignment come, the rest does not.
    fn fail(&mut self, which: usize, kept: u64, loss: Loss) {
        let given = self.given.remove(which);
        let cut = given.range.start() + kept.min(given.range.len() - 1);
        self.present.insert(range(given.range.start(), cut));
        let missing = RangeSet::from(range(cut, given.range.end()));
        self.planner
            .on_lost(given.writer, given.range, &missing, loss);
    }

    fn kill(&mut self, writer: Writer) {
        self.candidates
            .retain(|candidate| candidate.writer != writer);
        while let Some(which) = self.given.iter().position(|given| given.writer == writer) {
            self.fail(which, 0, Loss::Barren);
        }
    }
}

fn spreads() -> impl Strategy<Value = Spread> {
    prop_oneof![
        Just(Spread::Pull),
        (1u64..300).prop_map(|kib| Spread::Rotate {
            range_bytes: kib * KIB
        }),
    ]
}

fn rates() -> impl Strategy<Value = Vec<Option<u64>>> {
    prop::collection::vec(prop::option::of(1u64..100 * MIB), 1..5)
}

fn candidates(rates: &[Option<u64>]) -> Vec<Candidate> {
    let mut list = everybody(rates.len() as u64 - 1);
    list.iter_mut()
        .zip(rates)
        .for_each(|(candidate, rate)| candidate.pace = pace(*rate));
    list
}

/// What happens to the assignments, one after the other: which of them, and whether it fails.
fn fates() -> impl Strategy<Value = Vec<(prop::sample::Index, Option<u64>)>> {
    let loss = prop_oneof![4 => Just(None), 1 => (0u64..MIB).prop_map(Some)];
    prop::collection::vec((any::<prop::sample::Index>(), loss), 1..40)
}

proptest! {
    #[test]
    fn everything_is_given_exactly_once_while_nothing_is_lost(
        spread in spreads(),
        rates in rates(),
        total in 1u64..20 * MIB,
        window in 1000u64..10 * MIB,
        picks in prop::collection::vec(any::<prop::sample::Index>(), 1..20),
    ) {
        let mut world = World::new(total, window, spread, candidates(&rates));
        let mut given_bytes = 0;
        for pick in picks.iter().cycle().take(100_000) {
            given_bytes += world.deal()?.iter().map(|next| next.range.len()).sum::<u64>();
            if world.given.is_empty() {
                break;
            }
            world.succeed(pick.index(world.given.len()));
        }
        prop_assert!(world.planner.is_done(), "it does not end");
        prop_assert!(world.present.contains(range(0, total)));
        prop_assert_eq!(given_bytes, total);
    }

    #[test]
    fn what_is_lost_is_given_again_and_it_ends(
        spread in spreads(),
        rates in rates(),
        total in 1u64..10 * MIB,
        window in 100 * KIB..10 * MIB,
        fates in fates(),
    ) {
        let mut world = World::new(total, window, spread, candidates(&rates));
        let (mut given_bytes, mut lost_bytes) = (0, 0);
        // The primary itself never fails: it is the last resort.
        for (pick, kept) in fates.iter().cycle().take(100_000) {
            given_bytes += world.deal()?.iter().map(|next| next.range.len()).sum::<u64>();
            if world.given.is_empty() {
                break;
            }
            let which = pick.index(world.given.len());
            match kept.filter(|_| world.given[which].writer != Writer::Own) {
                None => world.succeed(which),
                Some(kept) => {
                    let before = world.present.bytes();
                    let len = world.given[which].range.len();
                    let loss = if kept == 0 { Loss::Barren } else { Loss::Excused };
                    world.fail(which, kept, loss);
                    lost_bytes += len - (world.present.bytes() - before);
                }
            }
        }
        prop_assert!(world.planner.is_done(), "it does not end");
        prop_assert!(world.present.contains(range(0, total)));
        prop_assert_eq!(given_bytes, world.total + lost_bytes, "exactly what was lost again");
    }

    #[test]
    fn no_writer_starves_and_a_killed_one_costs_nothing_but_its_share(
        spread in spreads(),
        paths in 1u64..6,
        killed_after in 1usize..30,
    ) {
        let total = 64 * MIB;
        let mut world = World::new(total, 8 * MIB, spread, everybody(paths));
        let mut shares = BTreeMap::new();
        for step in 0..100_000 {
            for next in world.deal()? {
                *shares.entry(next.writer).or_insert(0) += next.range.len();
            }
            if world.given.is_empty() {
                break;
            }
            if step == killed_after {
                world.kill(path(1));
            } else if !world.given.is_empty() {
                // Everybody finishes one range a round.
                world.succeed(0);
            }
        }
        prop_assert!(world.planner.is_done());
        for candidate in &world.candidates {
            let share = shares.get(&candidate.writer).copied().unwrap_or(0);
            prop_assert!(share * (paths + 1) * 4 > total, "{:?} starved", candidate.writer);
        }
    }
}

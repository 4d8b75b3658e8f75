//! Many seeds on all cores, and what came of them together.
//!
//! Owns the order in which results count: that of the seeds, whoever finished first, so that a swarm
//! has one result however many threads it has. Never prints.

mod tally;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;

pub use self::tally::{Cell, Column, Table, Tally};

/// Lives all seeds on so many threads, and shows `each` what came of them in the order of the seeds,
/// until it breaks off. What a thread did beyond that point is dropped.
///
/// # Panics
///
/// If `live` does.
pub fn in_order<T: Send>(
    seeds: Range<u64>,
    threads: NonZeroUsize,
    live: impl Fn(u64) -> T + Sync,
    mut each: impl FnMut(u64, T) -> ControlFlow<()>,
) {
    let next = AtomicU64::new(seeds.start);
    let is_over = AtomicBool::new(false);
    let (sender, results) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..threads.get() {
            let sender = sender.clone();
            let (next, is_over, live) = (&next, &is_over, &live);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !(seeds.start..seeds.end).contains(&seed)
                        || sender.send((seed, live(seed))).is_err()
                    {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut early = BTreeMap::new();
        let mut due = seeds.start;
        for (seed, result) in results {
            early.insert(seed, result);
            while let Some(result) = early.remove(&due) {
                if each(due, result).is_break() {
                    is_over.store(true, Ordering::Relaxed);
                    return;
                }
                due += 1;
            }
        }
    });
}

#[cfg(test)]
mod tests;

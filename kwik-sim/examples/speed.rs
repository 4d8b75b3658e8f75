//! How many small worlds a second: what the null crypto is for, and whether it still is.
//!
//! ```text
//! cargo run --release -p kwik-sim --example speed
//! ```

use std::time::{Duration, Instant};

use kwik_sim::{CryptoMode, Setting};

/// Each figure is the best of so many rounds: what else the machine does only makes it worse.
const ROUNDS: usize = 5;
const WORLDS_PER_ROUND: u64 = 200;

#[expect(clippy::print_stdout, reason = "that is what it is for")]
fn main() {
    println!("worlds a second         null   rustls    ratio");
    row("building, 3 servers", |crypto, seed| {
        drop(setting(crypto, seed, 2, 0).build());
    });
    for (kib, secondaries) in [(1, 0), (64, 0), (256, 0), (64, 2), (256, 2)] {
        let name = format!("{kib:4} KiB, {} servers", secondaries + 1);
        row(&name, |crypto, seed| {
            let mut stage = setting(crypto, seed, secondaries, kib << 10).build();
            stage.run_to_end(Duration::from_secs(20));
            assert!(stage.report("speed").is_success(), "{crypto:?} {seed}");
        });
    }
}

fn setting(crypto: CryptoMode, seed: u64, secondaries: usize, bytes: u64) -> Setting {
    Setting {
        crypto,
        ..Setting::new(seed, secondaries, bytes)
    }
}

/// Lets both live, turn by turn, so that both have the machine at its worst and at its best.
#[expect(clippy::print_stdout, reason = "that is what it is for")]
fn row(name: &str, live: impl Fn(CryptoMode, u64)) {
    let mut best = [f64::INFINITY; 2];
    for _ in 0..ROUNDS {
        for (best, crypto) in best.iter_mut().zip([CryptoMode::Null, CryptoMode::Rustls]) {
            let took = seconds(|| (0..WORLDS_PER_ROUND).for_each(|seed| live(crypto, seed)));
            *best = best.min(took);
        }
    }
    let [null, rustls] = best.map(|best| WORLDS_PER_ROUND as f64 / best);
    println!("{name:20} {null:8.0} {rustls:8.0} {:8.2}", null / rustls);
}

#[expect(
    clippy::disallowed_methods,
    reason = "the real time is what is measured"
)]
fn seconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

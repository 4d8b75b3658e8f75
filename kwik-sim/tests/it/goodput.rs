//! How much of what the servers can bring arrives, when they bring it together.

use std::time::Duration;

use kwik_sim::app::Delivery;
use kwik_sim::stage::{Setting, Stage};

use crate::SECOND;

const BYTES: u64 = 30 << 20;

/// When so many percent had arrived, read or not: the reader waits at holes and then jumps.
fn at_percent(stage: &mut Stage, percent: u64) -> Duration {
    while stage.arrived_bytes() < BYTES * percent / 100 {
        assert!(stage.world.time() < 20 * SECOND, "{percent} % in time");
        stage.world.run_for(Duration::from_millis(1));
    }
    stage.world.time()
}

/// Mbit/s of content between 10 % and 90 %: the handshakes, the slow starts and the last ranges are
/// a matter of latency, not of goodput.
fn goodput(setting: &Setting) -> f64 {
    let mut stage = setting.build();
    let start = at_percent(&mut stage, 10);
    let end = at_percent(&mut stage, 90);
    stage.run_to_end(20 * SECOND);
    let report = stage.report("goodput");
    assert!(report.is_success(), "{report}");
    let goodput = BYTES as f64 * 0.8 * 8.0 / (end - start).as_secs_f64() / 1e6;
    eprintln!("{goodput:.1} Mbit/s; {report}");
    goodput
}

/// Each server is behind 100 Mbit/s. What one alone gets out of its link is the measure: headers and
/// a congestion controller that probes for the end of a queue cost it some percent too.
#[test]
fn three_servers_bring_nine_tenths_of_what_they_bring_alone() {
    let alone = goodput(&Setting::new(1, 0, BYTES).delivery(Delivery::Plain));
    assert!(alone > 90.0, "alone {alone:.1} Mbit/s");
    let together: f64 = (1..=3)
        .map(|seed| goodput(&Setting::new(seed, 2, BYTES)))
        .sum();
    let part = together / 3.0 / (3.0 * alone);
    assert!(part >= 0.9, "{part:.3} of 3 x {alone:.1} Mbit/s");
}

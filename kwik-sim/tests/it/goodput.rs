//! How much of the links' sum arrives.

use std::time::Duration;

use kwik_sim::scenario::{Setting, Stage};

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

/// Three servers behind 100 Mbit/s each. Measured between 10 % and 90 %: the handshakes, the slow
/// starts and the last ranges are a matter of latency, not of goodput.
#[test]
fn three_servers_reach_nine_tenths_of_the_sum_of_their_links() {
    let mut stage = Setting::new(1, 2, BYTES).build();
    let start = at_percent(&mut stage, 10);
    let end = at_percent(&mut stage, 90);
    let bits = BYTES as f64 * 0.8 * 8.0;
    let goodput = bits / (end - start).as_secs_f64() / 1e6;
    stage.run_to_end(20 * SECOND);
    let report = stage.report("goodput");
    eprintln!("{goodput:.1} Mbit/s of 300; {report}");
    assert!(report.is_success(), "{report}");
    assert!(goodput >= 270.0, "{goodput:.1} Mbit/s of 300; {report}");
}

//! Honest servers to which their bytes come slowly: nobody is blamed, and nobody is woken in vain.

use std::time::Duration;

use kwik_core::event::PathEvent;
use kwik_core::ids::PathId;
use kwik_sim::app::{Conduct, Delivery, Hostility, Pace};
use kwik_sim::{CryptoMode, Scenario, Setting, Stage, trial};

use crate::SECOND;

const MIB: u64 = 1 << 20;

/// Writes so many bytes a second, in steps of 10 ms.
const fn slow(bytes_per_second: u64) -> Conduct {
    Conduct::Slow {
        bytes: bytes_per_second / 100,
        every: Duration::from_millis(10),
    }
}

fn is_unharmed(stage: &mut Stage) {
    let report = stage.report("slow writer");
    assert!(report.is_success(), "{report}");
    assert_eq!(stage.world.fault(), None);
    let events = stage.reader().path_events().iter();
    let deaths = events.filter(|(_, event)| matches!(event, PathEvent::Dead(_)));
    assert_eq!(deaths.count(), 0, "{report}");
    for index in 0..2 {
        assert_eq!(stage.secondary_app(index).errors(), []);
    }
}

#[test]
fn a_transfer_with_slow_writers_completes_and_they_bring_their_part() {
    let deliveries = [
        Setting::new(0, 0, 0).delivery,
        Delivery::Delegate {
            range_bytes: 64 << 10,
        },
    ];
    for (seed, delivery) in (1..).zip(deliveries) {
        let mut setting = Setting::new(seed, 2, MIB).delivery(delivery);
        setting.secondaries = vec![slow(200_000), slow(50_000)];
        let mut stage = setting.build();
        stage.run_to_end(60 * SECOND);
        is_unharmed(&mut stage);
        let report = stage.report("slow writer");
        for path in [1, 2] {
            let part = report.shares.iter().find(|(p, _)| *p == PathId(path));
            assert!(part.is_some_and(|(_, bytes)| *bytes > 0), "{report}");
        }
    }
}

#[test]
fn a_slow_writer_brings_no_more_than_it_has() {
    let delivery = Delivery::Delegate { range_bytes: MIB };
    let mut setting = Setting::new(1, 2, 4 * MIB).delivery(delivery);
    setting.secondaries = vec![slow(200_000); 2];
    let mut stage = setting.build();
    let mut arrived = 0;
    for second in 1..=5 {
        stage.world.run_for(SECOND);
        let paths = stage.paths();
        let path = paths.iter().find(|path| path.path == PathId(1));
        let now = path.map_or(0, |path| path.received_bytes);
        // What is granted in between costs no more than a step.
        assert!(now - arrived <= 204_000, "in second {second}");
        assert!(second == 1 || now - arrived >= 180_000, "{}", now - arrived);
        arrived = now;
    }
}

#[test]
fn a_writer_that_is_blocked_is_not_woken() {
    let rest = Pace::Rest {
        after: 64 << 10,
        length: 20 * SECOND,
    };
    let delivery = Delivery::Delegate { range_bytes: MIB };
    // It is asked for far more than the reader's window lets anybody send.
    let mut setting = Setting::new(1, 2, 8 * MIB).delivery(delivery).pace(rest);
    setting.config.client.stream_window_bytes = 4 * MIB;
    setting.secondaries = vec![slow(1_000_000); 2];
    let mut stage = setting.build();
    stage.world.run_for(10 * SECOND);
    assert_eq!(stage.reader().bytes(), 64 << 10);
    let wake_ups = |stage: &Stage| [0, 1].map(|index| stage.secondary_app(index).wake_ups());
    let before = wake_ups(&stage);
    let blocked = [0, 1].map(|index| stage.secondary_app(index).is_blocked());
    assert_eq!(blocked, [true; 2], "{:?}", stage.paths());
    let mut turns = 0;
    let secondaries = stage.secondaries.clone();
    while stage.world.step(15 * SECOND).is_some() {
        let turned = stage.world.turned().iter();
        turns += turned.filter(|host| secondaries.contains(host)).count();
    }
    assert_eq!(wake_ups(&stage), before, "woken while blocked");
    // What QUIC needs to know that a peer is there, and to hear that it knows.
    assert!(turns <= 60, "{turns} turns in five seconds");
    stage.run_to_end(60 * SECOND);
    is_unharmed(&mut stage);
    assert!(wake_ups(&stage)[0] > before[0]);
}

#[test]
fn a_slow_primary_writes_no_more_than_it_has_and_its_secondaries_the_rest() {
    let range_bytes = 32 << 10;
    let deliveries = [
        (Delivery::Plain, 0),
        (Setting::new(0, 0, 0).delivery, 2),
        (Delivery::Delegate { range_bytes }, 2),
        (Delivery::Raw { range_bytes }, 2),
    ];
    for (delivery, secondaries) in deliveries {
        let mut setting = Setting::new(1, secondaries, MIB).delivery(delivery);
        setting.primary = slow(100_000);
        let mut stage = setting.build();
        let mut last = 0;
        while stage.reader().done_at().is_none() {
            assert!(stage.world.time() < 30 * SECOND, "{delivery:?}");
            stage.world.run_for(SECOND);
            let paths = stage.paths();
            let by_it = paths.iter().find(|path| path.path == PathId(0));
            let by_it = by_it.map_or(0, |path| path.received_bytes);
            assert!(by_it - last <= 102_000, "{delivery:?}: {}", by_it - last);
            last = by_it;
        }
        let report = stage.report("slow primary");
        assert!(report.is_success(), "{delivery:?}: {report}");
        assert_eq!(stage.primary_app().errors(), []);
        assert!(last > 50_000, "{delivery:?}: {report}");
        let seconds = stage.world.time().as_secs();
        match secondaries {
            0 => assert!((10..13).contains(&seconds), "{seconds} s"),
            _ => assert!(last < MIB, "{delivery:?}: {report}"),
        }
    }
}

#[test]
fn a_primary_that_is_slow_and_blocked_is_not_woken() {
    let rest = Pace::Rest {
        after: 64 << 10,
        length: 20 * SECOND,
    };
    let mut setting = Setting::new(1, 0, 8 * MIB).delivery(Delivery::Plain);
    setting.primary = slow(2_000_000);
    let mut stage = setting.pace(rest).build();
    stage.world.run_for(10 * SECOND);
    assert_eq!(stage.reader().bytes(), 64 << 10);
    let (mut turns, primary) = (0, stage.primary);
    while stage.world.step(15 * SECOND).is_some() {
        turns += u32::from(stage.world.turned().contains(&primary));
    }
    assert!(turns <= 30, "{turns} turns in five seconds");
    stage.run_to_end(60 * SECOND);
    let report = stage.report("slow primary");
    assert!(report.is_success(), "{report}");
}

/// What is missing comes back in many small pieces, one after the other.
#[test]
fn a_slow_primary_fills_many_small_holes_as_fast_as_a_large_one() {
    let mut scenario = Scenario::new(205_786, 1, 256 << 10);
    scenario.primary.conduct = Conduct::Slow {
        bytes: 50_000,
        every: Duration::from_millis(50),
    };
    scenario.secondaries[0].conduct = Conduct::Hostile(Hostility::Perforates);
    let outcome = trial::run(&scenario, CryptoMode::Null);
    assert_eq!(outcome.failure, None);
}

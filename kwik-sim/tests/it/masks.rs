//! Patterns of losses at the beginning of a dial.

use std::num::NonZeroUsize;

use kwik_sim::crypto::CryptoMode;
use kwik_sim::{Setting, masks};

use crate::SECOND;

const TWO: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

/// Few patterns are worse than these: nothing but losses, in one direction or in both, and every run of
/// them from the first datagram on. All 4096 are tried by `kwik-sim masks`.
#[test]
fn a_path_comes_up_whatever_is_lost_of_its_first_datagrams() {
    let is_run = |mask: u64| (mask + 1).is_power_of_two();
    let report = masks::run_some(CryptoMode::Null, TWO, |up, down| is_run(up) && is_run(down));
    assert_eq!(report.runs, 49);
    assert!(report.is_success(), "{report}");
    assert!(report.worst > SECOND, "nothing was lost: {report}");
}

/// [PATH-5]: the primary is dialled like a secondary. The loss of half a handshake alone would cost
/// more than half a minute.
#[test]
fn a_session_comes_about_whatever_is_lost_of_its_first_datagrams() {
    let mut worst = std::time::Duration::ZERO;
    for (up, down) in (0..64).flat_map(|up| (0..64).map(move |down| (up, down))) {
        let mut stage = Setting::new(1, 0, 1).build();
        let (client, primary) = (stage.client, stage.primary);
        stage.world.link(client, primary).spec_mut().drop_first = up;
        stage.world.link(primary, client).spec_mut().drop_first = down;
        stage.run_to_end(31 * SECOND);
        let report = stage.report("lossy beginning");
        assert!(
            report.is_success(),
            "{up:06b} up, {down:06b} down: {report}"
        );
        worst = worst.max(report.done_at.unwrap_or_default());
    }
    assert!(worst > SECOND, "nothing was lost: {worst:?}");
    eprintln!("the slowest took {worst:?}");
}

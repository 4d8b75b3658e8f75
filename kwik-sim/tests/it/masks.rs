//! Patterns of losses at the beginning of a dial.

use std::num::NonZeroUsize;

use kwik_sim::crypto::CryptoMode;
use kwik_sim::masks;

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

//! What the tests of this room share.

use std::time::Instant;

/// A fixed point to count from: the core reads no clock, its tests neither.
#[expect(
    clippy::disallowed_methods,
    reason = "any instant will do as an origin"
)]
pub(super) fn any_instant() -> Instant {
    Instant::now()
}

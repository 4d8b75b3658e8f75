//! Whether a writer keeps what it is given.
//!
//! Owns the count, over all plans. What a failure is, who hears of the losses decides.

/// So many failures are pardoned, unless nothing else was brought meanwhile.
const PARDONED: u64 = 2;
/// Beyond these, so many ranges have to be brought for each failure: one costs the reader seconds, and
/// must stay an exception.
const RANGES_PER_FAILURE: u64 = 64;

/// What a writer has brought and failed to bring.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Standing {
    brought: u64,
    failed: u64,
    failed_in_a_row: u64,
}

impl Standing {
    /// It brought all of a range.
    pub(crate) fn on_brought(&mut self) {
        self.brought = self.brought.saturating_add(1);
        self.failed_in_a_row = 0;
    }

    /// It brought nothing of a range, or a part and let the reader wait for the rest.
    pub(crate) fn on_failed(&mut self) {
        self.failed = self.failed.saturating_add(1);
        self.failed_in_a_row = self.failed_in_a_row.saturating_add(1);
    }

    /// Whether others are to be preferred. What it brings then, if there are no others, counts for it.
    pub(crate) fn is_demoted(&self) -> bool {
        let is_usual = self.failed.saturating_mul(RANGES_PER_FAILURE) > self.brought;
        self.failed_in_a_row > PARDONED || self.failed > PARDONED && is_usual
    }
}

//! SIGINT and SIGTERM.
//!
//! Owns the thread that hears them.

use std::io;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// From now on the process does not end at SIGINT or SIGTERM, but `act` is called at each, with the
/// number of those before.
pub(super) fn on_interrupt(mut act: impl FnMut(u32) + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::Builder::new()
        .name("kwik-signals".into())
        .spawn(move || {
            for (before, _) in (0..).zip(signals.forever()) {
                act(before);
            }
        })?;
    Ok(())
}

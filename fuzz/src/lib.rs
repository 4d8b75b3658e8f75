//! Bodies of the fuzz targets: what must hold for any bytes at all.
//!
//! Each is an ordinary function, so that the corpus is replayed on stable by `cargo test`; the
//! targets themselves are built by `cargo fuzz` alone. A violated claim is a panic.

mod aggregate;
mod codec;
mod scenario;

pub use aggregate::aggregate_diff;
pub use codec::codec;
pub use scenario::pair_script;

//! `cargo +nightly fuzz run aggregate_diff`: see [`kwik_fuzz::aggregate_diff`].
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: &[u8]| kwik_fuzz::aggregate_diff(input));

#[cfg(not(fuzzing))]
fn main() {}

//! `cargo +nightly fuzz run codec`: see [`kwik_fuzz::codec`].
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: &[u8]| kwik_fuzz::codec(input));

#[cfg(not(fuzzing))]
fn main() {}

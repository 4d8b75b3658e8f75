//! `cargo +nightly fuzz run pair_script`: see [`kwik_fuzz::pair_script`].
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: &[u8]| kwik_fuzz::pair_script(input));

#[cfg(not(fuzzing))]
fn main() {}

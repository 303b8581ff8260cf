//! libFuzzer's bytes for the target `name`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| zonefold_fuzz::name::run(data));

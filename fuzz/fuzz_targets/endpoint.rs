//! libFuzzer's bytes for the target `endpoint`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| zonefold_fuzz::endpoint::run(data));

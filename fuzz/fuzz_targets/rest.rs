//! libFuzzer's bytes for the target `rest`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| zonefold_fuzz::rest::run(data));

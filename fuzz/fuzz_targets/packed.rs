//! libFuzzer's bytes for the target `packed`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| zonefold_fuzz::packed::run(data));

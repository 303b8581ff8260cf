//! libFuzzer's bytes for the target `values`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| zonefold_fuzz::values::run(data));

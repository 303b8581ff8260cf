//! libFuzzer's bytes for the target `record_set`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| zonefold_fuzz::record_set::run(data));

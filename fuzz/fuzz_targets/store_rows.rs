//! libFuzzer's bytes for the target `store_rows`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| zonefold_fuzz::store_rows::run(data));

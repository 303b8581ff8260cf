//! libFuzzer's bytes for the target `callers`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| zonefold_fuzz::callers::run(data));

//! libFuzzer's bytes for the target `identifiers`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| zonefold_fuzz::identifiers::run(data));

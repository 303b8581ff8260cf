//! libFuzzer's bytes for the target `config`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| zonefold_fuzz::config::run(data));

//! libFuzzer's bytes for the target `agent`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| zonefold_fuzz::agent::run(data));

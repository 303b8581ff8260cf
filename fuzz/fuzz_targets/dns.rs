//! libFuzzer's bytes for the target `dns`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| zonefold_fuzz::dns::run(data));

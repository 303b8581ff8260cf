//! libFuzzer's bytes for the target `refusal`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| zonefold_fuzz::refusal::run(data));

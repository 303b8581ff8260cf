//! libFuzzer's bytes for the target `statuses`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| zonefold_fuzz::statuses::run(data));

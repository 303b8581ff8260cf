//! libFuzzer's bytes for the target `emulator_request`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| zonefold_fuzz::emulator_request::run(data));

//! libFuzzer's bytes for the target `ingest`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| zonefold_fuzz::ingest::run(data));

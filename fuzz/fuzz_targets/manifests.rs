//! libFuzzer's bytes for the target `manifests`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| zonefold_fuzz::manifests::run(data));

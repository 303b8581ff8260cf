//! libFuzzer's bytes for the target `route53_answer`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| zonefold_fuzz::route53_answer::run(data));

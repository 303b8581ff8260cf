#!/bin/sh
# Cargo calls this in the place of rustc (RUSTC_WRAPPER). The crates under test get the counters and traced comparisons that
# libFuzzer is steered by; all others are compiled as ever, so that the build of the tests is used again.
rustc=$1
shift
case $CARGO_CRATE_NAME in
zonefold | zonefold_fuzz | aws_sdk_route53 | aws_smithy_xml | granit_parser | hickory_proto | postcard | roxmltree | serde_saphyr | xmlparser)
  exec "$rustc" "$@" -C passes=sancov-module \
    -C llvm-args=-sanitizer-coverage-level=4 \
    -C llvm-args=-sanitizer-coverage-inline-8bit-counters \
    -C llvm-args=-sanitizer-coverage-pc-table \
    -C llvm-args=-sanitizer-coverage-trace-compares
  ;;
esac
exec "$rustc" "$@"

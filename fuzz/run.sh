#!/usr/bin/env bash
# Builds and runs the fuzz targets.
#
#   fuzz/run.sh build               compile all of them
#   fuzz/run.sh run [TARGET...]     run each up to RUNS executions in all (default 10,000,000), going on where it was
#   fuzz/run.sh table               what has been run
#   fuzz/run.sh seed                write the seeds into the committed corpus
#   fuzz/run.sh keep [TARGET...]    add the smallest inputs that reach what the corpus does not
#
# No sanitizer: the crate forbids unsafe code, so there is nothing for one to find in it, and half the speed to lose.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly target_dir=${CARGO_TARGET_DIR:-$PWD/../target}
readonly work=$target_dir/fuzz
readonly runs=${RUNS:-10000000}
# After each slice the count is noted, and the corpus is read anew.
readonly slice=${SLICE:-1000000}
readonly most_kept=${MOST_KEPT:-48}
readonly most_kept_bytes=4096

targets() { sed -n 's|^path = "fuzz_targets/\(.*\)\.rs"$|\1|p' Cargo.toml; }

build() {
  CARGO_TARGET_DIR=$target_dir RUSTC_WRAPPER=$PWD/instrument.sh CARGO_INCREMENTAL=0 \
    "${CARGO:-cargo}" build --locked --bins
}

# The longest input of a target: enough for what it reads, and no more.
max_len() {
  case $1 in
  name | identifiers) echo 300 ;;
  values | refusal | rest | dns) echo 512 ;;
  packed | statuses | store_rows | endpoint) echo 1024 ;;
  *) echo 2048 ;;
  esac
}

# The words of the seeds: without a sanitizer nobody tells libFuzzer what bytes are compared with.
dictionary() {
  { grep -ohaE '[A-Za-z0-9_./:*-]{2,40}' "corpus/$1"/* || true; } | sort -u | awk 'NR <= 600 { print "\"" $0 "\"" }' >"$work/$1.dict"
}

executed() { awk '{ sum += $1 } END { print sum + 0 }' "$work/$1.slices" 2>/dev/null || echo 0; }

run_target() {
  local target=$1 left log status
  mkdir -p "$work/$target" "artifacts/$target"
  dictionary "$target"
  while left=$((runs - $(executed "$target"))) && [ "$left" -gt 0 ]; do
    log=$work/$target.log
    status=0
    # Seconds of processor time: others may be at work on the machine.
    TIMEFORMAT='%U'
    { time "$target_dir/debug/$target" -runs=$((left < slice ? left : slice)) -max_len="$(max_len "$target")" -timeout=60 \
      -rss_limit_mb=2048 -dict="$work/$target.dict" -artifact_prefix="artifacts/$target/" -print_final_stats=1 \
      "$work/$target" "corpus/$target" >"$log" 2>&1; } 2>"$work/$target.seconds" || status=$?
    # Executions and seconds; those of the corpus, which is read first, count as well.
    printf '%s %s\n' "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -n 1 | grep . || echo 0)" \
      "$(tail -n 1 "$work/$target.seconds")" >>"$work/$target.slices"
    if [ "$status" -ne 0 ]; then
      tail -n 30 "$log"
      echo "fuzz: $target failed; its input lies in fuzz/artifacts/$target, and $log says more" >&2
      return 1
    fi
  done
}

table() {
  printf '%-16s %14s %10s %8s %8s\n' target executions per_second crashes corpus
  for target in $(targets); do
    awk -v target="$target" -v crashes="$(find "artifacts/$target" -type f 2>/dev/null | wc -l)" \
      -v corpus="$(find "$work/$target" -type f 2>/dev/null | wc -l)" '
      { runs += $1; seconds += $2 }
      END { printf "%-16s %14d %10d %8d %8d\n", target, runs, seconds ? runs / seconds : 0, crashes, corpus }
    ' "$work/$target.slices" 2>/dev/null || printf '%-16s %14d\n' "$target" 0
  done
}

# A minimal set that reaches everything is far larger than what one wants to look through; the smallest of it will do.
keep() {
  local target=$1 merged
  merged=$work/$target.merged
  rm -rf "$merged"
  mkdir -p "$merged"
  "$target_dir/debug/$target" -set_cover_merge=1 -max_len=$most_kept_bytes "$merged" "corpus/$target" "$work/$target" >"$work/$target.keep.log" 2>&1
  find "$merged" -type f -size -$((most_kept_bytes / 1024))k -printf '%s %p\n' | sort -n | awk -v most="$most_kept" '
    { lines[NR] = $2 }
    # Spread over all sizes: the smallest are errors, the largest are whole documents.
    END { step = NR > most ? NR / most : 1; for (at = 1; at <= NR; at += step) print lines[int(at)] }
  ' | while read -r file; do cp "$file" "corpus/$target/"; done
}

command=${1:-run}
shift || true
mkdir -p "$work"
case $command in
build) build ;;
run)
  build
  failed=0
  # shellcheck disable=SC2046
  for target in ${*:-$(targets)}; do run_target "$target" || failed=1; done
  table
  exit "$failed"
  ;;
one)
  for target in "$@"; do run_target "$target"; done
  ;;
table) table ;;
seed)
  (cd .. && "${CARGO:-cargo}" test --locked --test it -- --ignored fuzz::the_seeds_are_written)
  ;;
keep)
  # shellcheck disable=SC2046
  for target in ${*:-$(targets)}; do keep "$target"; done
  ;;
*)
  sed -n '2,/^set/p' run.sh | sed -n 's/^# \{0,1\}//p' >&2
  exit 2
  ;;
esac

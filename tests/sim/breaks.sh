#!/usr/bin/env bash
# Breaks the code on purpose, one way at a time, and shows within how many simulated runs each is noticed.
#
#   tests/sim/breaks.sh            all of tests/sim/breaks/*.patch
#   tests/sim/breaks.sh NAME ...   these
#   tests/sim/breaks.sh --check    only whether each still applies to the files as they are
#
# Each patch begins with a line of what it breaks and one `Expect:` with the invariants that should tell. One that only a kind of
# further events can show (tests/sim/extra) says so in a line `With:`; runs without it are left out and not counted. The last commit is what
# is broken, in a checkout of its own; what is compiled stays in the repository's target folder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
repository=$PWD
most_runs=${MOST_RUNS:-2000}
from=${FROM:-1}
profile=${PROFILE:-dev}

patches=()
check=no
for argument in "$@"; do
  case $argument in
    --check) check=yes ;;
    *) patches+=("tests/sim/breaks/${argument%.patch}.patch") ;;
  esac
done
if [ ${#patches[@]} -eq 0 ]; then
  patches=(tests/sim/breaks/*.patch)
fi

if [ "$check" = yes ]; then
  wrong=0
  for patch in "${patches[@]}"; do
    grep -q '^Expect: ' "$patch" || { echo "$patch does not say what to expect"; wrong=1; }
    git apply --check "$patch" || { echo "$patch no longer applies: make it anew"; wrong=1; }
  done
  [ $wrong -eq 0 ] && echo "${#patches[@]} deliberate breaks apply"
  exit $wrong
fi

checkout=$(mktemp -d)
trap 'git worktree remove --force "$checkout/tree" 2>/dev/null || true; rm -rf "$checkout"' EXIT
git worktree add --quiet --detach "$checkout/tree" HEAD
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$repository/target}

missed=0
echo '| break | runs until caught | by | expected |'
echo '|---|---|---|---|'
for patch in "${patches[@]}"; do
  name=$(basename "$patch" .patch)
  expected=$(sed -n 's/^Expect: //p' "$patch")
  git -C "$checkout/tree" checkout --quiet -- .
  git -C "$checkout/tree" apply "$repository/$patch"
  summary=$checkout/$name.json
  read -ra only <<<"${expected// / --only }"
  read -ra with <<<"$(sed -n 's/^With: /--with /p' "$patch")"
  # A run that fails is what is wanted, where it is expected.
  (cd "$checkout/tree" && cargo test --quiet --locked --profile "$profile" --test sim -- \
    run --from "$from" --seeds "$most_runs" --jobs 1 --only "${only[@]}" "${with[@]}" --output json) >"$summary" 2>"$checkout/$name.log" || true
  if ! grep -q '"runs"' "$summary"; then
    cat "$checkout/$name.log" >&2
    echo "| $name | it does not compile or run | | $expected |"
    missed=1
    continue
  fi
  runs=$(sed -n 's/^ *"runs": \([0-9]*\),*$/\1/p' "$summary")
  by=$(sed -n 's/^ *"broken": "\([a-z_]*\)",*$/\1/p' "$summary" | sort -u | paste -sd' ')
  if [ -z "$by" ]; then
    missed=1
    runs="not in $runs"
  fi
  echo "| $name | $runs | $by | $expected |"
done
exit $missed

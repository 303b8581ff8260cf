#!/usr/bin/env bash
# Installs what the tests need: a C compiler, a PostgreSQL server, dig, and the packages of a virtual environment in .cache/python.
# Whatever is there already is left as it is. System packages come from apt, Python packages from pip's index, nothing else.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly venv=.cache/python
readonly requirements=tests/requirements.txt

fail() { # reason, remedy
  printf 'setup: %s\n       %s\n' "$1" "$2" >&2
  exit 1
}

has_cc() { command -v cc >/dev/null; }
has_dig() { command -v dig >/dev/null; }
has_venv() { python3 -c 'import ensurepip, venv' >/dev/null 2>&1; }
has_postgres() {
  command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null
}

# Each line: the check that the part is there, the packages of Debian that bring it, and what it is.
readonly parts=(
  'has_cc|gcc libc6-dev|a C compiler, for SQLite and ring'
  'has_postgres|postgresql|a PostgreSQL server'
  'has_dig|bind9-dnsutils|dig'
  'has_venv|python3 python3-venv|Python with venv'
)

check_rust() {
  command -v cargo >/dev/null || fail 'cargo is not installed' 'install Rust as https://rustup.rs says, then run this again'
  local component
  for component in fmt clippy; do
    cargo "$component" --version >/dev/null 2>&1 ||
      fail "cargo $component does not run" 'run: rustup component add rustfmt clippy'
  done
}

install_system_parts() {
  local line check packages what missing=() wanted=()
  for line in "${parts[@]}"; do
    IFS='|' read -r check packages what <<<"$line"
    "$check" && continue
    missing+=("$what")
    read -ra packages <<<"$packages"
    wanted+=("${packages[@]}")
  done
  [ "${#missing[@]}" -eq 0 ] && return

  local list
  list=$(printf '%s; ' "${missing[@]}")
  if ! command -v apt-get >/dev/null; then
    fail "missing: ${list%; }" 'apt-get is not here: install them with the package manager of this system, then run this again'
  fi
  if [ "$(id -u)" -ne 0 ]; then
    fail "missing: ${list%; }" "run: sudo apt-get update && sudo apt-get install --no-install-recommends ${wanted[*]}"
  fi
  echo "setup: installing ${wanted[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get -qq update </dev/null ||
    fail 'apt-get update failed; its reason stands above' 'mend the package sources or the network, then run this again'
  apt-get -qq install --yes --no-install-recommends "${wanted[@]}" </dev/null >/dev/null ||
    fail 'apt-get install failed; its reason stands above' "install by hand: ${wanted[*]}"
  for line in "${parts[@]}"; do
    IFS='|' read -r check packages what <<<"$line"
    "$check" || fail "$what is still not found after installing $packages" 'look at PATH: another installation may hide it'
  done
}

install_python_parts() {
  # The copy is written last, so an installation that was interrupted is made again.
  if cmp -s "$requirements" "$venv/installed.txt" && "$venv/bin/python" -c 'import microburst, ministack' 2>/dev/null; then
    return
  fi
  echo 'setup: installing ministack and microburst'
  rm -rf "$venv"
  mkdir -p "$(dirname "$venv")"
  python3 -m venv "$venv" ||
    fail "python3 cannot make a virtual environment in $venv" 'install python3-venv, or look at the free space of the disk'
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --requirement "$requirements" ||
    fail "pip cannot install $requirements; its reason stands above" \
      'it needs a Python package index: look at the network, at PIP_INDEX_URL and at pip config list'
  cp "$requirements" "$venv/installed.txt"
}

check_rust
install_system_parts
install_python_parts

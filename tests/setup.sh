#!/usr/bin/env bash
# Installs what the tests need: a C compiler, a PostgreSQL server, dig, etcd, Node, the packages of a virtual environment in .cache/python,
# an identity provider in .cache/oidc, and in .cache/kubernetes an API server and kubectl, built from their Go modules. Whatever is there
# already is left as it is. System packages come from apt, Python packages from pip's index, those of Node from npm's registry, Go modules from
# the module proxy, each as this machine is configured for it; nothing comes from anywhere else.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly venv=.cache/python
readonly requirements=tests/requirements.txt
readonly kubernetes=.cache/kubernetes
readonly oidc=.cache/oidc
# The Go toolchain for machines that have none, as the module proxy serves it: its version, and what its archives must be.
readonly go_version=go1.26.8
readonly go_sha256_amd64=30c2b1bf7dcc88d3eb0a1364e47ddd9128edb3110a30e8a0ef61cd5856b31de7
readonly go_sha256_arm64=02b36b6787b3ac767668f630e2998df45a3b1f9ffee08d1bf3ef6487cd658d99

fail() { # reason, remedy
  printf 'setup: %s\n       %s\n' "$1" "$2" >&2
  exit 1
}

has_cc() { command -v cc >/dev/null; }
has_dig() { command -v dig >/dev/null; }
has_etcd() { command -v etcd >/dev/null; }
has_venv() { python3 -c 'import ensurepip, venv' >/dev/null 2>&1; }
has_node() { command -v npm >/dev/null && node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 18 ? 1 : 0)'; }
has_postgres() {
  command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null
}

# Each line: the check that the part is there, the packages of Debian that bring it, and what it is.
readonly parts=(
  'has_cc|gcc libc6-dev|a C compiler, for SQLite and ring'
  'has_postgres|postgresql|a PostgreSQL server'
  'has_dig|bind9-dnsutils|dig'
  'has_venv|python3 python3-venv|Python with venv'
  'has_etcd|etcd-server|etcd'
  'has_node|nodejs npm|Node 18 or newer, with npm'
)

check_rust() {
  command -v cargo >/dev/null || fail 'cargo is not installed' 'install Rust 1.95 or newer with rustup, then run this again'
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

# The packages of the lock file and no others; they run no scripts of their own when they are installed.
install_oidc_provider() {
  if cmp -s tests/oidc/package-lock.json "$oidc/installed.json"; then
    return
  fi
  echo 'setup: installing oidc-provider'
  rm -rf "$oidc"
  mkdir -p "$oidc"
  cp tests/oidc/package.json tests/oidc/package-lock.json "$oidc/"
  (cd "$oidc" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null) ||
    fail "npm cannot install tests/oidc/package-lock.json; its reason stands above" \
      'it needs a registry of Node packages: look at the network and at npm config list'
  # Written last, so an installation that was interrupted is made again.
  cp tests/oidc/package-lock.json "$oidc/installed.json"
}

# Prints the module proxy that this machine is configured for: GOPROXY of the environment, or of the file of `go env -w`.
module_proxy() {
  local configured=${GOPROXY-} file=${GOENV-${XDG_CONFIG_HOME:-${HOME-}/.config}/go/env}
  if [ -z "$configured" ] && [ -r "$file" ]; then
    configured=$(sed -n 's/^GOPROXY=//p' "$file" | tail -n 1)
  fi
  local proxy
  for proxy in ${configured//[,|]/ }; do
    case $proxy in http*) printf '%s\n' "$proxy"; return ;; esac
  done
}

# Sets `go` to a Go that can build Kubernetes: since 1.21 each fetches the version that a module asks for by itself.
find_go() {
  go=$(command -v go || true)
  if [ -n "$go" ] && "$go" version | grep -Eq ' go1\.(2[1-9]|[3-9][0-9])'; then
    return
  fi
  go=$PWD/.cache/$go_version/bin/go
  [ -x "$go" ] && return
  local machine sha256 proxy
  proxy=$(module_proxy)
  [ -n "$proxy" ] ||
    fail 'there is no Go 1.21 or newer, and no Go module proxy is configured from which one could be fetched' \
      'install Go, or set GOPROXY to the module proxy of your network, then run this again'
  case $(uname -sm) in
    'Linux x86_64') machine=linux-amd64 sha256=$go_sha256_amd64 ;;
    'Linux aarch64') machine=linux-arm64 sha256=$go_sha256_arm64 ;;
    *) fail "there is no Go 1.21 or newer, and no archive of it is known for $(uname -sm)" 'install Go, then run this again' ;;
  esac
  echo "setup: fetching $go_version"
  python3 - "$go_version.$machine" "$sha256" ".cache/$go_version" "$proxy" <<'PYTHON' ||
import hashlib, io, os, shutil, sys, urllib.request, zipfile

version, sha256, target, proxy = sys.argv[1:]
with urllib.request.urlopen(f"{proxy.rstrip('/')}/golang.org/toolchain/@v/v0.0.1-{version}.zip", timeout=60) as answer:
    archive = answer.read()
if hashlib.sha256(archive).hexdigest() != sha256:
    sys.exit("the archive is not the one that was expected")
unpacked = f"{target}.new"
shutil.rmtree(unpacked, ignore_errors=True)
zipfile.ZipFile(io.BytesIO(archive)).extractall(unpacked)
tree = f"{unpacked}/golang.org/toolchain@v0.0.1-{version}"
# Archives of modules keep no rights.
for folder in [f"{tree}/bin", *(path for path, _, _ in os.walk(f"{tree}/pkg/tool"))]:
    for name in os.listdir(folder):
        os.chmod(f"{folder}/{name}", 0o755)
os.rename(tree, target)
shutil.rmtree(unpacked)
PYTHON
    fail 'Go cannot be fetched; the reason stands above' 'install Go 1.21 or newer, or look at the network and at GOPROXY, then run this again'
}

# What Kubernetes is built from: the same text, the same binaries.
kubernetes_sources() { (cd tests/kubernetes && sha256sum go.mod go.sum */main.go crds/go.mod crds/go.sum); }

# The CRDs as their authors publish them.
fetch_crds() { # module, folder
  local tree
  tree=$(cd tests/kubernetes/crds && GOTOOLCHAIN=auto GOFLAGS=-mod=readonly GOWORK=off "$go" mod download -json "$1" |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["Dir"])') ||
    fail "the module $1 cannot be fetched; the reason stands above" 'it needs a Go module proxy: look at the network and at GOPROXY'
  rm -rf "${kubernetes:?}/crds/$2"
  mkdir -p "$kubernetes/crds/$2"
  install -m 644 "$tree"/config/crd/standard/*.yaml "$kubernetes/crds/$2/"
}

install_kubernetes() {
  if cmp -s <(kubernetes_sources) "$kubernetes/built.txt"; then
    return
  fi
  find_go
  echo 'setup: building kube-apiserver and kubectl; this takes about ten minutes, once'
  mkdir -p "$kubernetes"
  # Settings of the machine for other projects must not change what is built.
  (
    export GOTOOLCHAIN=auto GOFLAGS=-mod=readonly GOWORK=off
    cd tests/kubernetes && version=$("$go" list -m -f '{{.Version}}' k8s.io/kubernetes) &&
      "$go" build -trimpath -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$version" -o "../../$kubernetes/" ./...
  ) ||
    fail 'Kubernetes cannot be built; the reason stands above' 'it needs a Go module proxy and about 4 GB: look at the network, at GOPROXY and at the disk'
  fetch_crds sigs.k8s.io/external-dns external-dns
  fetch_crds sigs.k8s.io/gateway-api gateway-api
  # Written last, so a build that was interrupted is made again.
  kubernetes_sources >"$kubernetes/built.txt"
}

check_rust
install_system_parts
install_python_parts
install_oidc_provider
install_kubernetes

#!/bin/bash
# Everything a change must pass; people run it before pushing, and `.ci/run` runs it on a bare machine.
#
#   .ci/check.sh
#
# Needs, besides Rust: python3 with venv (for the readers of the shards) and cargo-deny. Where one is
# missing its step is skipped with a line that says so, and fails under CI=true.
set -euo pipefail
cd "$(dirname "$0")/.."

skipped=()

step() { # name, command...: runs the command, says its name before and its seconds after
  local name=$1 began=$SECONDS
  shift
  printf '\n== %s\n' "$name"
  "$@"
  printf '== %s: %d s\n' "$name" "$((SECONDS - began))"
}

skip() { # name, what is missing
  if [ "${CI:-}" = true ]; then
    printf '== %s cannot run: %s\n' "$1" "$2" >&2
    exit 1
  fi
  printf '\n== %s skipped: %s\n' "$1" "$2"
  skipped+=("$1")
}

# The journey test reads the shards back with the interpreter named in M3W_PYTHON. The environment
# is kept under the target folder and made anew when the requirements change.
python_readers() {
  local folder
  folder=$(realpath -m "${CARGO_TARGET_DIR:-target}")/python-readers
  if ! cmp -s .ci/requirements.txt "$folder/requirements.txt"; then
    rm -rf "$folder"
    python3 -m venv "$folder"
    "$folder/bin/pip" install --quiet --disable-pip-version-check --requirement .ci/requirements.txt
    cp .ci/requirements.txt "$folder/requirements.txt"
  fi
  export M3W_PYTHON=$folder/bin/python
}

# The advisory database is a git repository elsewhere, which a machine with only package registries
# cannot reach; everything else is judged from the lock file and the manifests.
dependencies() {
  local checks=(bans licenses sources)
  if timeout 60 cargo deny fetch db >/dev/null 2>&1; then
    checks+=(advisories)
  else
    echo "the advisory database cannot be reached: advisories are not checked"
  fi
  # Doubled versions are other people's choices: allowed here, listed by a plain `cargo deny check`.
  cargo deny --locked check --allow duplicate "${checks[@]}"
}

documentation() {
  RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
}

step "format" cargo fmt --all --check
if cargo deny --version >/dev/null 2>&1; then
  step "dependencies: licences, sources, direction" dependencies
else
  skip "dependencies" "cargo-deny is missing (cargo install cargo-deny --locked --version 0.20.2)"
fi
step "clippy" cargo clippy --workspace --all-targets --locked -- -D warnings
if python3 -c 'import ensurepip, venv' 2>/dev/null; then
  step "python readers" python_readers
else
  skip "python readers" "python3 with venv is missing (Debian: apt-get install python3-venv)"
fi
step "tests" cargo test --workspace --locked
step "documentation" documentation

printf '\nall checks passed in %d s\n' "$SECONDS"
if [ ${#skipped[@]} -gt 0 ]; then
  printf 'skipped: %s\n' "${skipped[@]}"
fi

#!/bin/sh
# Fuzzes `align` for SECONDS (default 600) from the pages of the tests.
#
#     dom_align/fuzz/run.sh [SECONDS [LIBFUZZER_OPTION...]]
#
# With a nightly compiler `cargo fuzz run align` does the same. The stable one has all that is
# needed but the address sanitizer, of which code without `unsafe` has little to gain: the flags
# below make LLVM count which branches were taken, which is what steers libFuzzer.
set -eu
cd "$(dirname "$0")"
seconds=${1:-600}
[ $# -eq 0 ] || shift
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares"
# A named target keeps the flags from build scripts, which do not link the fuzzer.
host=$(rustc -vV | sed -n 's/^host: //p')
cargo build --release --target "$host" --bin align
target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
mkdir -p corpus/align artifacts/align
exec "$target/$host/release/align" -max_total_time="$seconds" -max_len=4096 -timeout=2 \
    -rss_limit_mb=1024 -dict=html.dict -artifact_prefix=artifacts/align/ "$@" \
    corpus/align ../tests/pages

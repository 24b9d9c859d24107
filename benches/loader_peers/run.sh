#!/bin/sh
# The loader beside those of other trainers on the same rows of 256 tokens and 5 JPEGs, in one run:
#
#     benches/loader_peers/run.sh CORPUS WORK [ROWS]
#
# CORPUS is any corpus with pictures of 256 px; WORK a folder for the rows. The Python that PYTHON
# names (default python3) needs `datasets`, `webdataset`, pyarrow, numpy and Pillow; the one that
# STREAMING_PYTHON names needs `mosaicml-streaming`, which wants other versions of those, and is left
# out where there is none. All run on one thread; rates are samples a second of processor time, and
# of the clock. A row "not decoded" is one whose pictures are handed out as they are stored.
set -eu
corpus=$1 work=$2 rows=${3:-2000}
cd "$(dirname "$0")/../.."
cargo build --release --quiet --locked --workspace --example loader_speed
speed() { target/release/examples/loader_speed "$@"; }
[ -f "$work/rows.parquet" ] || speed make "$corpus" "$work" "$rows"
echo "| loader | samples a processor second | samples a second |"
echo "|---|---|---|"
speed run "$work"
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1
"${PYTHON:-python3}" benches/loader_peers/peers.py "$work" datasets webdataset pyarrow
if [ -n "${STREAMING_PYTHON:-}" ]; then
  "$STREAMING_PYTHON" benches/loader_peers/peers.py "$work" streaming
fi

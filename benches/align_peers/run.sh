#!/bin/sh
# `align` beside its peers on the same pages, in one run:
#
#     benches/align_peers/run.sh MANIFEST.jsonl PAGES_DIR [ROUNDS]
#
# The manifest has lines {"id", "url" | "base"}; a page is PAGES_DIR/<id>.html or <id>.html.gz.
# Builds the program here (dom_smoothie, scraper, html5ever; a workspace of its own), and runs trafilatura
# if the Python that PYTHON names (default python3) has it.
set -eu
manifest=$(realpath "$1") pages=$(realpath "$2") rounds=${3:-5}
cd "$(dirname "$0")"
cargo build --release --quiet
cargo run --release --quiet -- "$manifest" "$pages" "$rounds"
python=${PYTHON:-python3}
if "$python" -c 'import trafilatura' 2>/dev/null; then
    "$python" trafilatura_pages.py "$manifest" "$pages"
else
    echo "no trafilatura in $python: pip install trafilatura lxml_html_clean" >&2
fi

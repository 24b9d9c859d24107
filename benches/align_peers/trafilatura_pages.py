"""Runs trafilatura over a folder of pages and prints its speed as a row of the table of align-peers.

    python trafilatura_pages.py MANIFEST.jsonl PAGES_DIR [PAGES]

Time is CPU time of the process; pages are read and decompressed before. PAGES says how many, spread
evenly (default 200: it is slow).
"""

import gzip
import json
import sys
import time
from pathlib import Path

import trafilatura

manifest, folder = Path(sys.argv[1]), Path(sys.argv[2])
wanted = int(sys.argv[3]) if len(sys.argv) > 3 else 200

ids = [json.loads(line)["id"] for line in manifest.open()]
pages = []
for page_id in ids[:: max(1, len(ids) // wanted)]:
    packed, plain = folder / f"{page_id}.html.gz", folder / f"{page_id}.html"
    pages.append(gzip.decompress(packed.read_bytes()) if packed.exists() else plain.read_bytes())

trafilatura.extract(pages[0], include_images=True)
start = time.process_time()
for page in pages:
    trafilatura.extract(page, include_images=True)
seconds = time.process_time() - start
megabytes = sum(map(len, pages)) / 1e6
name = f"trafilatura {trafilatura.__version__}, {len(pages)} pages"
print(f"| {name} | {len(pages) / seconds:.0f} | {megabytes / seconds:.1f} | |")

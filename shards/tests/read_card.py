"""Reads a corpus through its descriptions: the dataset card with `datasets`, Croissant with its own reader.

    pip install datasets mlcroissant pillow
    python shards/tests/read_card.py CORPUS

CORPUS holds what `m3w card` wrote. Exit code 1 where a row of the manifest is not found.
"""

import json
import pathlib
import sys
import tempfile

import datasets
import mlcroissant

corpus = pathlib.Path(sys.argv[1])
manifest = json.loads((corpus / "manifest.json").read_text())
described = mlcroissant.Dataset(jsonld=str(corpus / "croissant.json"))
failed = False
for kind in ("documents", "sequences"):
    wanted = sum(file["rows"] for file in manifest[kind])
    records = sum(1 for _ in described.records(f"{kind}-records"))
    with tempfile.TemporaryDirectory() as cache:
        loaded = len(datasets.load_dataset(str(corpus), kind, split="train", cache_dir=cache))
    print(f"{kind}: {wanted} rows, Croissant {records}, datasets {loaded}")
    failed |= not wanted == records == loaded
sys.exit(failed)

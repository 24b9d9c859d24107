"""Reads a corpus with the readers its users have, and compares what they see.

    pip install pyarrow duckdb polars datasets pillow
    python shards/tests/read_shards.py DIRECTORY

DIRECTORY holds shards of documents, of sequences or both, in any folders. Every reader opens them
without options; images must decode by themselves in `datasets`, to the sizes recorded beside them.
Prints one line per reader and kind of shard. Exit code 1 where two readers differ or none was
found.
"""

import io
import pathlib
import sys
import tempfile

import datasets
import duckdb
import PIL.Image
import polars
import pyarrow.parquet

failures = []


def check(holds, message):
    if not holds:
        failures.append(message)
        print(f"MISMATCH {message}", file=sys.stderr)


def find(directory):
    """The shards by kind, as their own metadata tells."""
    kinds = {}
    for path in sorted(pathlib.Path(directory).rglob("*.parquet")):
        metadata = pyarrow.parquet.read_metadata(path).metadata or {}
        if kind := metadata.get(b"m3w.kind"):
            kinds.setdefault(kind.decode(), []).append(str(path))
    return kinds


def pictures(images):
    """How many pictures a column of lists holds, and their bytes in all."""
    found = [image["bytes"] for row in images for image in row or [] if image is not None]
    return len(found), sum(map(len, found))


def read_with_pyarrow(paths):
    tables = [pyarrow.parquet.read_table(path) for path in paths]
    ids = [row for table in tables for row in table["id"].to_pylist()]
    return ids, pictures(row for table in tables for row in table["images"].to_pylist())


def read_with_polars(paths):
    frame = polars.read_parquet(paths)
    return frame["id"].to_list(), pictures(frame["images"].to_list())


def read_with_duckdb(paths):
    rows = duckdb.sql(f"select id, images from read_parquet({paths!r})").fetchall()
    return [row[0] for row in rows], pictures(row[1] for row in rows)


def read_with_datasets(paths, kind):
    with tempfile.TemporaryDirectory() as cache:
        rows = datasets.load_dataset("parquet", data_files=paths, split="train", cache_dir=cache)
        ids, count = [], 0
        for row in rows:
            ids.append(row["id"])
            for index, image in enumerate(row["images"]):
                if image is None:
                    continue
                count += 1
                is_decoded = isinstance(image, PIL.Image.Image)
                check(is_decoded, f"datasets, {row['id']}: image {index} is {type(image)}")
                if is_decoded and kind == "documents":
                    metadata = row["image_metadata"][index]
                    check(
                        image.size == (metadata["width"], metadata["height"]),
                        f"datasets, {row['id']}: image {index} is {image.size}",
                    )
        # Streaming goes another way through the library.
        stream = datasets.load_dataset("parquet", data_files=paths, split="train", streaming=True)
        streamed = [row["id"] for row in stream]
        check(streamed == ids, f"datasets, {kind}: streaming sees other rows")
    return ids, count


def check_documents(paths):
    """Exactly one of text and image is set at each place."""
    for path in paths:
        table = pyarrow.parquet.read_table(path, columns=["id", "texts", "images"])
        for row in table.to_pylist():
            for text, image in zip(row["texts"], row["images"], strict=True):
                check((text is None) != (image is None), f"{path}, {row['id']}: both or neither")


def check_sequences(paths):
    """The tokens have the length that the metadata states, and pictures decode."""
    for path in paths:
        metadata = pyarrow.parquet.read_metadata(path).metadata
        length = int(metadata[b"m3w.sequence_length"])
        for row in pyarrow.parquet.read_table(path).to_pylist():
            check(len(row["tokens"]) == length, f"{path}, {row['id']}: {len(row['tokens'])} tokens")
            check(
                sum(row["frames_per_image"]) == len(row["images"]),
                f"{path}, {row['id']}: {len(row['images'])} frames",
            )
            for image in row["images"]:
                PIL.Image.open(io.BytesIO(image["bytes"])).load()


def main(directory):
    kinds = find(directory)
    check(kinds, f"{directory}: no shards found")
    for kind, paths in kinds.items():
        ids, images = read_with_pyarrow(paths)
        print(f"{kind}: pyarrow {len(ids)} rows, {images[0]} images, {images[1]} image bytes")
        for name, read in [("polars", read_with_polars), ("duckdb", read_with_duckdb)]:
            other_ids, other_images = read(paths)
            print(f"{kind}: {name} {len(other_ids)} rows, {other_images[0]} images")
            check((other_ids, other_images) == (ids, images), f"{name}, {kind}: other rows")
        other_ids, count = read_with_datasets(paths, kind)
        print(f"{kind}: datasets {len(other_ids)} rows, {count} images decoded")
        check((other_ids, count) == (ids, images[0]), f"datasets, {kind}: other rows")
        {"documents": check_documents, "sequences": check_sequences}[kind](paths)
    return 1 if failures else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))

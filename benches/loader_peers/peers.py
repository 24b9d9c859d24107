"""The readers of other trainers on the rows that `loader_speed make` wrote; see run.sh."""

import io
import itertools
import json
import sys
import tarfile
import time
from pathlib import Path

import datasets
import numpy
import pyarrow.parquet
import webdataset
from PIL import Image

folder = Path(sys.argv[1])
shard = folder / "rows.parquet"
datasets.disable_progress_bars()


def tar():
    """The same rows as a webdataset tar: tokens.npy and five JPEGs a sample."""
    path = folder / "rows.tar"
    if not path.exists():
        with tarfile.open(path, "w") as out:
            for row in pyarrow.parquet.read_table(shard).to_pylist():
                tokens = io.BytesIO()
                numpy.save(tokens, numpy.array(row["tokens"], dtype=numpy.uint32))
                members = [("tokens.npy", tokens.getvalue())]
                members += [(f"{n}.jpg", image["bytes"]) for n, image in enumerate(row["images"])]
                for extension, held in members:
                    member = tarfile.TarInfo(f"{row['id']:0>7}.{extension}")
                    member.size = len(held)
                    out.addfile(member, io.BytesIO(held))
    return str(path)


def pixels(image):
    """A picture as every one of these trainers needs it: f32, channels first, normalised."""
    array = numpy.asarray(image.convert("RGB"), dtype=numpy.float32) / 255
    return ((array - 0.5) / 0.5).transpose(2, 0, 1)


def measure(name, rows):
    wall, processor, count = time.perf_counter(), time.process_time(), 0
    for _ in rows:
        count += 1
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    print(f"| {name} | {count / processor:.0f} | {count / wall:.0f} |", flush=True)


def hugging_face(is_streaming, is_decoded, is_shuffled=False):
    rows = datasets.load_dataset("parquet", data_files=str(shard), split="train", streaming=is_streaming)
    if not is_decoded:
        rows = rows.cast_column("images", [datasets.Image(decode=False)])
    if is_shuffled:
        rows = rows.shuffle(seed=0, **({"buffer_size": 1000} if is_streaming else {}))
    for row in rows:
        yield [pixels(image) for image in row["images"]] if is_decoded else row


def web(is_decoded):
    rows = webdataset.WebDataset(tar(), shardshuffle=False).shuffle(1000)
    for row in rows:
        if is_decoded:
            images = [pixels(Image.open(io.BytesIO(row[f"{n}.jpg"]))) for n in range(5)]
            yield numpy.load(io.BytesIO(row["tokens.npy"])), images
        else:
            yield row


def pyarrow_rows():
    for batch in pyarrow.parquet.ParquetFile(shard).iter_batches(100):
        yield from batch.to_pylist()


tar()
measure("datasets, map style, decoded", hugging_face(False, True))
measure("datasets, streaming, decoded", hugging_face(True, True))
measure("webdataset, shuffled, decoded", web(True))
measure("datasets, map style, not decoded", hugging_face(False, False))
measure("datasets, streaming, shuffled, not decoded", hugging_face(True, False, True))
measure("webdataset, shuffled, not decoded", web(False))
measure("pyarrow, not decoded", pyarrow_rows())

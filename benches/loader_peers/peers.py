"""The readers of other trainers on the rows that `loader_speed make` wrote; see run.sh.

    peers.py WORK [NAME...]

runs those named, of `datasets`, `webdataset`, `pyarrow` and `streaming`: all unless told.
"""

import io
import sys
import tarfile
import time
from pathlib import Path

import numpy
import pyarrow.parquet
from PIL import Image

folder = Path(sys.argv[1])
names = sys.argv[2:] or ["datasets", "webdataset", "pyarrow", "streaming"]
shard = folder / "rows.parquet"


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
    import datasets

    datasets.disable_progress_bars()
    rows = datasets.load_dataset("parquet", data_files=str(shard), split="train", streaming=is_streaming)
    if not is_decoded:
        rows = rows.cast_column("images", [datasets.Image(decode=False)])
    if is_shuffled:
        rows = rows.shuffle(seed=0, **({"buffer_size": 1000} if is_streaming else {}))
    for row in rows:
        yield [pixels(image) for image in row["images"]] if is_decoded else row


def web(is_decoded):
    import webdataset

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


def mds():
    """The same rows as MosaicML shards: tokens and five JPEGs a sample."""
    from streaming import MDSWriter

    path = folder / "rows.mds"
    if not path.exists():
        columns = {"tokens": "ndarray:uint32"} | {f"image_{n}": "bytes" for n in range(5)}
        with MDSWriter(out=str(path), columns=columns) as out:
            for batch in pyarrow.parquet.ParquetFile(shard).iter_batches(100):
                for row in batch.to_pylist():
                    sample = {"tokens": numpy.array(row["tokens"], dtype=numpy.uint32)}
                    images = enumerate(row["images"])
                    out.write(sample | {f"image_{n}": image["bytes"] for n, image in images})
    return str(path)


def mosaic(is_decoded):
    from streaming import StreamingDataset
    from streaming.base.util import clean_stale_shared_memory

    clean_stale_shared_memory()
    rows = StreamingDataset(local=mds(), shuffle=True, batch_size=1)
    for row in rows:
        if is_decoded:
            images = [pixels(Image.open(io.BytesIO(row[f"image_{n}"]))) for n in range(5)]
            yield row["tokens"], images
        else:
            yield row


if "datasets" in names:
    measure("datasets, map style, decoded", hugging_face(False, True))
    measure("datasets, streaming, decoded", hugging_face(True, True))
    measure("datasets, map style, not decoded", hugging_face(False, False))
    measure("datasets, streaming, shuffled, not decoded", hugging_face(True, False, True))
if "webdataset" in names:
    tar()
    measure("webdataset, shuffled, decoded", web(True))
    measure("webdataset, shuffled, not decoded", web(False))
if "pyarrow" in names:
    measure("pyarrow, not decoded", pyarrow_rows())
if "streaming" in names:
    mds()
    measure("mosaicml-streaming, shuffled, decoded", mosaic(True))
    measure("mosaicml-streaming, shuffled, not decoded", mosaic(False))

"""Reads the exports of a corpus with the readers they are for, and compares them with its documents.

    pip install pyarrow datasets pillow webdataset
    python shards/tests/read_exports.py CORPUS FORMAT EXPORT [FORMAT EXPORT ...]

FORMAT is a name that `m3w export --to` takes, EXPORT the folder it wrote. Prints a line for each.
MDS is read by the package `mosaicml-streaming` where it is installed; it wants gigabytes, so
elsewhere a few lines stand in for it that read what the format says.
Exit code 1 where a text, a picture or a place differs.
"""

import base64
import importlib.util
import io
import json
import pathlib
import re
import struct
import sys
import tempfile

import datasets
import PIL.Image
import pyarrow.parquet
import webdataset

failures = []


def check(holds, message):
    if not holds:
        failures.append(message)
        print(f"MISMATCH {message}", file=sys.stderr)


def documents(corpus):
    """Each document as its id and a list of texts (str) and pictures (dict)."""
    manifest = json.loads((corpus / "manifest.json").read_text())
    for entry in manifest["documents"]:
        for row in pyarrow.parquet.read_table(corpus / entry["path"]).to_pylist():
            elements = [
                text if text is not None else {**metadata, "bytes": image["bytes"]}
                for text, image, metadata in zip(
                    row["texts"], row["images"], row["image_metadata"], strict=True
                )
            ]
            yield row["id"], elements


def escaped(text):
    for word, harmless in (
        ("<image>", "< image>"),
        ("<|endofchunk|>", "<| endofchunk|>"),
        ("<|endoftext|>", "<| endoftext|>"),
    ):
        text = text.replace(word, harmless)
    return text


def samples(folder):
    """The samples of all tars, as a trainer's reader yields them."""
    tars = sorted(str(path) for path in folder.glob("*.tar"))
    return list(webdataset.WebDataset(tars, shardshuffle=False, empty_check=False))


def check_obelics(pages, folder):
    files = sorted(str(path) for path in folder.glob("*.parquet"))
    with tempfile.TemporaryDirectory() as cache:
        rows = list(datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=cache))
    check(len(rows) == len(pages), f"{len(rows)} rows for {len(pages)} documents")
    for (name, elements), row in zip(pages, rows):
        metadata = json.loads(row["metadata"])
        check(json.loads(row["general_metadata"])["url"], f"{name}: no URL")
        check(len(elements) == len(row["texts"]) == len(row["images"]), f"{name}: other length")
        for element, text, image, known in zip(elements, row["texts"], row["images"], metadata):
            if isinstance(element, str):
                check((text, image, known) == (element, None, None), f"{name}: {text!r}")
            elif isinstance(image, PIL.Image.Image):
                check(image.size == (element["width"], element["height"]), f"{name}: {image.size}")
            else:
                check((image, text) == (element["url"], None), f"{name}: {str(image)[:200]}")
                check(known["src"] == element["url"], f"{name}: {known}")
    return len(rows)


def check_open_flamingo(pages, folder):
    """The text that OpenFlamingo makes of a sample has each image before the words after it."""
    found = {sample["__key__"]: json.loads(sample["json"]) for sample in samples(folder)}
    pages = [(name, elements) for name, elements in pages if any(isinstance(e, dict) for e in elements)]
    check(len(found) == len(pages), f"{len(found)} samples for {len(pages)} documents with images")
    for name, elements in pages:
        info = found[name]
        pictures = [element for element in elements if isinstance(element, dict)]
        if "is_gpt" in info:
            text = re.sub(r"_!_IMAGE\d+_!_", "<image>", info["example"])
            encoded = [info["image_map"][f"_!_IMAGE{n + 1}_!_"]["base64_image"] for n in range(len(pictures))]
        else:
            sentences = info["text_list"]
            chosen = [row.index(1.0) for row in info["similarity_matrix"]]
            check(len(set(chosen)) == len(chosen), f"{name}: two images for one sentence")
            check(chosen == [image["matched_text_index"] for image in info["image_info"]], name)
            for place in chosen:
                sentences[place] = f"<image>{sentences[place]}"
            text = " ".join(sentences)
            encoded = [image["image_base64"] for image in info["image_info"]]
        wanted = " ".join("<image>" if isinstance(e, dict) else escaped(e) for e in elements)
        plain = lambda words: re.sub(r"\s*<image>\s*", "<image>", words.replace("\n", " ")).strip()
        check(plain(text) == plain(wanted), f"{name}: {plain(text)[:200]!r} for {plain(wanted)[:200]!r}")
        held = [base64.b64decode(image) for image in encoded]
        check(held == [picture["bytes"] for picture in pictures], f"{name}: other pictures")
    return len(found)


def check_webdataset(pages, folder):
    found = samples(folder)
    pictures = [element for _, elements in pages for element in elements if isinstance(element, dict)]
    known = {picture["bytes"]: picture for picture in pictures}
    captioned = [picture for picture in pictures if picture["caption"] or picture["alt"]]
    check(len(found) >= len(captioned), f"{len(found)} pairs for {len(captioned)} pictures with words")
    for sample in found:
        (extension,) = {"jpg", "png", "webp", "gif"} & sample.keys()
        picture = known.get(sample[extension])
        check(picture is not None, f"{sample['__key__']}: another picture")
        caption = sample["txt"].decode()
        check(json.loads(sample["json"])["caption"] == caption, f"{sample['__key__']}: {caption}")
        PIL.Image.open(io.BytesIO(sample[extension])).load()
    return len(found)


def mds_samples(folder):
    """The samples of MosaicML shards, pictures encoded."""
    index = json.loads((folder / "index.json").read_text())
    for shard in index["shards"]:
        data = (folder / shard["raw_data"]["basename"]).read_bytes()
        check(len(data) == shard["raw_data"]["bytes"], f"{shard['raw_data']}: {len(data)} bytes")
        number = lambda place: struct.unpack_from("<I", data, place)[0]
        check(number(0) == shard["samples"], f"{shard['raw_data']}: {number(0)} samples")
        check(number(4 * number(0) + 4) == len(data), f"{shard['raw_data']}: bytes behind the last")
        for sample in range(number(0)):
            start = number(4 * sample + 4)
            columns = shard["column_names"]
            place = start + 4 * len(columns)
            row = {}
            for column, name in enumerate(columns):
                length = number(start + 4 * column)
                row[name] = data[place : place + length]
                place += length
            check(place == number(4 * sample + 8), f"{shard['raw_data']}: sample {sample} is short")
            row["images"] = mds_list(row["images"])
            row["texts"] = json.loads(row["texts"])
            yield row | {"id": row["id"].decode(), "url": row["url"].decode()}


def mds_list(data):
    _, count = struct.unpack_from("<II", data)
    lengths = struct.unpack_from(f"<{count}I", data, 8)
    held, place = [], 8 + 4 * count
    for length in lengths:
        held.append(data[place : place + length])
        place += length
    return held


def streamed_samples(folder):
    """The same by the reader that the format is for."""
    import streaming.base.format.mds.encodings as encodings
    from streaming import StreamingDataset

    # What a picture was encoded as shows only before it is decoded.
    encodings.JPEG.decode = lambda self, data: data
    return list(StreamingDataset(local=str(folder), shuffle=False, batch_size=1, validate_hash="sha256"))


def check_mds(pages, folder):
    has_reader = importlib.util.find_spec("streaming") is not None
    found = streamed_samples(folder) if has_reader else list(mds_samples(folder))
    check(len(found) == len(pages), f"{len(found)} samples for {len(pages)} documents")
    for (name, elements), sample in zip(pages, found):
        check(sample["id"] == name and sample["url"], f"{name}: {sample['id']}, {sample['url']}")
        texts = [element if isinstance(element, str) else None for element in elements]
        check(sample["texts"] == texts, f"{name}: {sample['texts']}")
        pictures = [element["bytes"] for element in elements if isinstance(element, dict)]
        check(sample["images"] == pictures, f"{name}: other pictures")
    return len(found)


CHECKS = {
    "obelics": check_obelics,
    "obelics-images": check_obelics,
    "openflamingo": check_open_flamingo,
    "openflamingo-text": check_open_flamingo,
    "webdataset": check_webdataset,
    "mds": check_mds,
}


def main(corpus, *exports):
    pages = list(documents(pathlib.Path(corpus)))
    for form, folder in zip(exports[::2], exports[1::2], strict=True):
        print(f"{form}: {CHECKS[form](pages, pathlib.Path(folder))} samples")
    return 1 if failures else 0


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))

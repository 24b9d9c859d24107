"""Reads the exports of a corpus with the readers they are for, and compares them with its documents.

    pip install pyarrow datasets pillow webdataset
    python shards/tests/read_exports.py CORPUS FORMAT EXPORT [FORMAT EXPORT ...]

FORMAT is a name that `m3w export --to` takes, EXPORT the folder it wrote. Prints a line for each.
Exit code 1 where a text, a picture or a place differs.
"""

import base64
import io
import json
import pathlib
import re
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


CHECKS = {
    "obelics": check_obelics,
    "obelics-images": check_obelics,
    "openflamingo": check_open_flamingo,
    "openflamingo-text": check_open_flamingo,
    "webdataset": check_webdataset,
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

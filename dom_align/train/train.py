#!/usr/bin/env python3
"""Trains the weights of m3w-dom-align (src/weights.rs) and states what they score on other sites.

    python3 -m pip install lightgbm==4.7.0 numpy
    cargo run --release -p m3w-dom-align --example measure -- TRUTH PAGES OUT
    python3 train.py blocks --truth TRUTH --evaluate EVALUATE --out OUT
    cargo run --release -p m3w-dom-align --example measure -- TRUTH PAGES OUT OUT/likelihoods.f32
    python3 train.py images --truth TRUTH --evaluate EVALUATE --out OUT --weights ../src/weights.rs

TRUTH has a JSON object a page: `id`, `url`, `text` (what people say is the content; null: unknown) and
`interleaved` (text and images in order; absent: unknown). EVALUATE is the scorer of that format, from which
tokens, shingles and the alignment of two texts are taken. TRUTH of about a thousand pages takes some minutes.

A block's label is the share of its words that the truth holds at that place. A page counts by how much of its
text a block is, so that the loss is close to the mean of the pages' F1. The sites are dealt into five folds by a
hash of their registered domain; what is printed is the score of pages whose site the trees have not seen.
The images are trained on such likelihoods of the blocks too, as they meet them on a page that is new.
"""
import argparse
import hashlib
import importlib.util
import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import lightgbm
import numpy

FOLDS = 5
THRESHOLD_SHARE = 0.75      # as in src/likely.rs
MIN_REPEATED_WORDS = 20     # as there
# An image weighs what it is of its page's images, of at least so many; a gallery is not to outweigh an article.
MIN_IMAGES = 4
NO_LEVEL = 40
COMMON = dict(verbose=-1, max_bin=63, lambda_l2=5.0, num_threads=2, seed=1, deterministic=True)
BLOCKS = dict(COMMON, objective="cross_entropy", learning_rate=0.07, num_leaves=28, min_data_in_leaf=60,
              feature_fraction=0.35, bagging_fraction=0.7, bagging_freq=1)
BLOCK_TREES = 160
IMAGES = dict(COMMON, objective="binary", learning_rate=0.08, num_leaves=8, min_data_in_leaf=40,
              feature_fraction=0.3, bagging_fraction=0.7, bagging_freq=1)
IMAGE_TREES = 70
IMAGE_THRESHOLDS = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)


def fold_of(page):
    host = urlsplit(page.get("url") or "").hostname
    if host:
        parts = host.split(".")
        is_double = re.search(r"\.(co|com|org|gov|ac|edu|net)\.\w\w$", host)
        site = ".".join(parts[-3:] if is_double else parts[-2:])
    else:
        site = re.sub(r"-?\d+$", "", page["id"])
    return int(hashlib.sha256(site.encode()).hexdigest(), 16) % FOLDS


def read(out, stem, lines):
    names = json.loads((out / f"{stem}names.json").read_text())
    values = numpy.fromfile(out / f"{stem}values.f32", dtype="<f4").reshape(-1, len(names))
    pages = [json.loads(line) for line in (out / lines).open(encoding="utf-8")]
    return names, values, pages


def block_labels(scorer, truth, blocks):
    """For each block the share of its tokens that the truth holds."""
    wanted = scorer.tokens(truth["text"])
    mapping = scorer.align(wanted, [token for block in blocks for token in block])
    shingles = set(scorer.shingles(wanted))
    labels, at = [], 0
    for block in blocks:
        label = sum(at + i in mapping for i in range(len(block))) / max(1, len(block))
        at += len(block)
        if len(block) >= 8:     # a text that the page repeats may be aligned elsewhere
            held = [tuple(block[i:i + 4]) in shingles for i in range(len(block) - 3)]
            label = max(label, sum(held) / len(held))
        labels.append(label)
    return labels


def chosen(likelihoods, words):
    """As `Likelihoods::of` in src/likely.rs."""
    order = numpy.argsort(-likelihoods)
    hits, taken = numpy.cumsum((likelihoods * words)[order]), numpy.cumsum(words[order])
    best = (2 * hits / (taken + hits[-1])).max()
    return likelihoods >= best / 2 * THRESHOLD_SHARE


def without_repeats(keep, blocks):
    """As `repeated` in src/likely.rs."""
    said, out = set(), []
    for is_kept, block in zip(keep, blocks):
        is_kept = is_kept and (len(block) < MIN_REPEATED_WORDS or tuple(block) not in said)
        if is_kept:
            said.add(tuple(block))
        out.append(is_kept)
    return out


def is_unreadable(names, values):
    """Blocks that are hidden and not folded: as `is_folded` in src/names.rs."""
    level = lambda name: values[:, names.index(name)]
    hidden = level("in hidden")
    near = lambda name: abs(level(name) - hidden) <= 2
    folded = near("fold") | near("in role panel") | (level("in details") < NO_LEVEL)
    folded &= (level("overlay") > hidden + 2) & (level("nav") > hidden + 2)
    return (hidden < NO_LEVEL) & ~folded


def out_of_fold(parameters, trees, values, labels, weights, folds, may_train):
    """Likelihoods from trees that have not seen the fold, and the trees trained on all."""
    likelihoods = numpy.zeros(len(labels))
    train = lambda rows: lightgbm.train(
        parameters, lightgbm.Dataset(values[rows], labels[rows], weight=weights[rows]), trees)
    for fold in range(FOLDS):
        likelihoods[folds == fold] = train(may_train & (folds != fold)).predict(values[folds == fold])
    return likelihoods, train(may_train)


def train_blocks(scorer, truth, out):
    names, values, pages = read(out, "", "blocks.jsonl")
    labels, words, weights, folds, spans = [], [], [], [], []
    for page in pages:
        wanted = truth[page["id"]]
        blocks = [scorer.tokens(text) for text in page["texts"]]
        held = numpy.array([len(block) for block in blocks])
        known = wanted.get("text") is not None
        label = numpy.array(block_labels(scorer, wanted, blocks) if known else [numpy.nan] * len(blocks))
        size = max(30, float((held * label).sum())) if known and len(blocks) else 30
        spans.append((wanted, blocks, len(labels)))
        labels.extend(label)
        words.extend(held)
        weights.extend(1000 * (numpy.minimum(1, (held + 1) / size) + 0.0005))
        folds.extend([fold_of(wanted)] * len(blocks))
    labels, words, weights, folds = map(numpy.array, (labels, words, weights, folds))
    unreadable = is_unreadable(names, values)
    likelihoods, trees = out_of_fold(BLOCKS, BLOCK_TREES, values, labels, weights, folds,
                                     ~numpy.isnan(labels) & ~unreadable)
    likelihoods[unreadable] = 0
    scores = {}
    rules = values[:, names.index("rule")] == 0
    for wanted, blocks, start in spans:
        if wanted.get("text") is None or not blocks or wanted["set"] in scorer.TOOL_MADE:
            continue
        rows = slice(start, start + len(blocks))
        shingles = scorer.shingles(scorer.tokens(wanted["text"]))
        taken = without_repeats(chosen(likelihoods[rows], numpy.maximum(words[rows], 1)), blocks)
        for tag, keep in (("trees", taken), ("rules", rules[rows])):
            taken = scorer.shingles([token for block, is_kept in zip(blocks, keep) if is_kept for token in block])
            hits = sum((shingles & taken).values())
            f1 = scorer.prf(hits, taken.total() - hits, shingles.total() - hits)[2]
            for group in ("all", wanted.get("page_type") or wanted["set"], f"fold {fold_of(wanted)}"):
                scores.setdefault((group, tag), []).append(f1)
    for group in sorted({group for group, _ in scores}):
        mean = {tag: numpy.mean(scores[group, tag]) for tag in ("rules", "trees")}
        print(f"{group:15} {len(scores[group, 'trees']):4}  rules {mean['rules']:.4f}  trees {mean['trees']:.4f}")
    likelihoods.astype("<f4").tofile(out / "likelihoods.f32")
    trees.save_model(out / "blocks.txt")


def train_images(scorer, truth, out):
    names, values, pages = read(out, "image_", "images.jsonl")
    labels, weights, folds, spans = [], [], [], []
    for page in pages:
        wanted = truth[page["id"]]
        base = wanted.get("base") or wanted.get("url") or ""
        key = lambda url: scorer.norm_url(url, base)
        images = [item for item in wanted.get("interleaved") or () if item.get("image")]
        owners = {}
        for number, item in enumerate(images):
            for url in (item["image"], *item.get("same_as", ())):
                owners.setdefault(key(url), set()).add(number)
        optional = {key(url) for url in wanted.get("images_optional", ())}
        owned = [owners.get(key(urls[0])) for urls in page["images"]]
        counts = [bool(owner) or (bool(key(urls[0])) and key(urls[0]) not in optional)
                  for owner, urls in zip(owned, page["images"])]
        known = wanted.get("interleaved") is not None
        if known and wanted["set"] not in scorer.TOOL_MADE:
            spans.append((len(labels), owned, counts, len(images)))
        labels.extend(float(bool(owner)) if known and is_counted else numpy.nan
                      for owner, is_counted in zip(owned, counts))
        weights.extend([50 * (1 / max(MIN_IMAGES, len(images)) + 0.02)] * len(owned))
        folds.extend([fold_of(wanted)] * len(owned))
    labels, weights, folds = map(numpy.array, (labels, weights, folds))
    likelihoods, trees = out_of_fold(IMAGES, IMAGE_TREES, values, labels, weights, folds, ~numpy.isnan(labels))

    def report(tag, keep):
        right, wrong, missed, pages_f1 = 0, 0, 0, []
        for start, owned, counts, images in spans:
            found, false = set(), 0
            for owner, is_counted, is_kept in zip(owned, counts, keep[start:start + len(owned)]):
                free = (owner or set()) - found
                if is_kept and is_counted:
                    found.update([min(free)] if free else [])
                    false += not free
            right, wrong, missed = right + len(found), wrong + false, missed + images - len(found)
            if images:
                pages_f1.append(scorer.prf(len(found), false, images - len(found))[2])
        print(f"{tag:14} img_f1 {scorer.prf(right, wrong, missed)[2]:.4f}  img_f1_page {numpy.mean(pages_f1):.4f}")

    report("rules", values[:, names.index("rule")] == 0)
    for threshold in IMAGE_THRESHOLDS:
        report(f"trees {threshold}", likelihoods >= threshold)
    trees.save_model(out / "images.txt")


def written(model):
    """A model as Rust: a tree a line, nodes in preorder."""
    lines = []
    for tree in model.dump_model()["tree_info"]:
        nodes = []

        def write(node):
            if "leaf_value" in node:
                nodes.append(f"(255, {node['leaf_value']:.4}, 0)")
                return
            place = len(nodes)
            nodes.append("")
            write(node["left_child"])
            right = len(nodes) - place
            write(node["right_child"])
            # Six digits are what every f32 keeps.
            nodes[place] = f"({node['split_feature']}, {node['threshold']:.6}, {right})"

        write(tree["tree_structure"])
        lines.append("    &[" + ", ".join(nodes) + "],")
    return "\n".join(re.sub(r"(, -?\d+)(?=, )", r"\1.0", line) for line in lines)


HEAD = """//! Weights of the trees in `forest`; written by `train/train.py`, which says how. Do not edit.

use crate::forest::Tree;

/// Measures of a block that the trees know.
#[cfg(test)]
pub(crate) const BLOCK_MEASURES: usize = {block_measures};

/// Measures of an image that the trees know.
#[cfg(test)]
pub(crate) const IMAGE_MEASURES: usize = {image_measures};

/// Likelihood from which an image is kept: the best mean F1 of pages on sites not trained on.
pub(crate) const IMAGE_THRESHOLD: f32 = {threshold};

#[rustfmt::skip]
pub(crate) static BLOCKS: [Tree; {block_trees}] = [
{blocks}
];

#[rustfmt::skip]
pub(crate) static IMAGES: [Tree; {image_trees}] = [
{images}
];
"""


def write_weights(out, threshold, path):
    blocks, images = (lightgbm.Booster(model_file=out / f"{name}.txt") for name in ("blocks", "images"))
    path.write_text(HEAD.format(
        block_measures=blocks.num_feature(), image_measures=images.num_feature(), threshold=threshold,
        block_trees=blocks.num_trees(), image_trees=images.num_trees(),
        blocks=written(blocks), images=written(images)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("blocks", "images", "write"))
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--evaluate", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threshold", type=float, default=0.3)
    parser.add_argument("--weights", type=Path)
    arguments = parser.parse_args()
    spec = importlib.util.spec_from_file_location("evaluate", arguments.evaluate)
    scorer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(scorer)
    truth = {page["id"]: page for page in scorer.read_jsonl(str(arguments.truth))}
    if arguments.step == "blocks":
        train_blocks(scorer, truth, arguments.out)
    elif arguments.step == "images":
        train_images(scorer, truth, arguments.out)
    if arguments.weights:
        write_weights(arguments.out, arguments.threshold, arguments.weights)


if __name__ == "__main__":
    main()

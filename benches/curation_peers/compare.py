#!/usr/bin/env python3
"""The measures of texts beside datatrove's: values, decisions and time, in one run.

    cargo build --release --workspace --example text_measures
    compare.py target/release/examples/text_measures TEXTS...

Needs `datatrove`, nltk and spacy (PyPI). TEXTS are Parquet files of our documents, or files with one
JSON string, or one JSON object with a field `text`, on each line. Both sides run on one thread; our time is the whole
program's, datatrove's that of its two Gopher filters, FineWeb's and C4's on the same texts, each of
which stops at the first rule that drops a text, while ours measures all. Both are processor time.

OBELICS' measures are compared with its program's expressions, written anew here over our reading of a
letter (in scripts whose vowels are signs on letters Python has another one: `special_characters` and
`punctuation` differ there); the time of those is not counted on datatrove's side. Sentences are told otherwise by each side
(C4's rule), so only what follows from their number is compared.
"""
import collections
import json
import math
import re
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np
from datatrove.data import Document
from datatrove.pipeline.filters import C4QualityFilter, FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter
from datatrove.pipeline.filters import gopher_repetition_filter as repetition
from datatrove.pipeline.filters.gopher_quality_filter import STOP_WORDS
from datatrove.utils.text import PUNCTUATION_SET, TERMINAL_PUNCTUATION, split_into_words

GOPHER = GopherQualityFilter()
REPETITION = GopherRepetitionFilter()
FINEWEB = FineWebQualityFilter()
C4 = C4QualityFilter()
UNSPLIT = C4QualityFilter(min_num_sentences=-1)


def texts_of(path):
    if path.endswith(".parquet"):
        import pyarrow.parquet as parquet

        for texts in parquet.read_table(path, columns=["texts"]).column("texts").to_pylist():
            yield "\n\n".join(text for text in texts if text)
        return
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield row if isinstance(row, str) else row["text"] or ""


def ratio(part, whole):
    return part / whole if whole else 0.0


def measures(text):
    """Every value, by datatrove's own functions where it has them and by its expressions otherwise."""
    words = split_into_words(text, "en")
    counted = [word for word in words if any(c not in PUNCTUATION_SET for c in word)]
    lines = text.splitlines()
    values = [
        len(counted),
        float(np.mean([len(word) for word in counted])) if counted else 0.0,
        ratio(text.count("#"), len(words)),
        ratio(text.count("...") + text.count("…"), len(words)),
        ratio(sum(line.lstrip().startswith(("•", "-")) for line in lines), len(lines)),
        ratio(sum(line.rstrip().endswith(("...", "…")) for line in lines), len(lines)),
        ratio(sum(any(c.isalpha() for c in word) for word in words), len(words)),
        len(set(STOP_WORDS) & set(words)),
    ]
    split = REPETITION._line_splitter.split(text)
    paragraphs = REPETITION.paragraph_exp.split(text.strip())
    for pieces in (split, paragraphs):
        count, characters = repetition.find_duplicates(pieces)
        values += [ratio(count, len(pieces)) if text else 0.0, ratio(characters, len(text))]
    for n in (2, 3, 4):
        grams = repetition.get_n_grams(words, n)
        values.append(ratio(repetition.find_top_duplicate(grams), len(text)) if grams else 0.0)
    for n in range(5, 11):
        values.append(ratio(repetition.find_all_duplicate(words, n), len(text)))
    full = [line for line in text.split("\n") if line.strip()]
    if full:
        values += [
            sum(line.endswith(tuple(TERMINAL_PUNCTUATION)) for line in full) / len(full),
            sum(len(line) <= 30 for line in full) / len(full),
            ratio(repetition.find_duplicates(full)[1], len(text.replace("\n", ""))),
            ratio(text.count("\n"), len(words)),
        ]
    else:
        values += [0.0] * 4
    return values + c4(text) + obelics(text)


def c4(text):
    """Which lines stay, by its own filter on each line: `True`, or what drops the whole text."""
    lines = text.splitlines()
    counts = collections.Counter()
    for line in lines:
        document = Document(text=line, id="0")
        outcome = UNSPLIT.filter(document)
        counts["kept" if outcome is True and document.text.strip() else outcome] += 1
    lorem = counts[(False, "lorem_ipsum")]
    return [ratio(counts["kept"], len(lines)), lorem, counts[(False, "curly_bracket")], None]


def is_letter(c):
    return c.isalpha() if c.isascii() else c.isalpha() or "\u0300" <= c <= "\u036f"


def stripped(word):
    at = [index for index, c in enumerate(word) if is_letter(c)]
    return word[at[0] : at[-1] + 1].lower() if at else ""


def obelics(text):
    words = [word for word in map(stripped, text.split()) if word]
    grams = collections.Counter(text[at : at + 10] for at in range(len(text) - 9))
    often = sorted((count for count in grams.values() if count > 1), reverse=True)
    frequent = sum(often[: math.isqrt(len(grams))])
    fives = collections.Counter(tuple(words[at : at + 5]) for at in range(len(words) - 4))
    repeated = sum(count for count in fives.values() if count > 1)
    tokens = re.findall(r"[\w']+|[,;:?!.]", text)
    return [
        len(words),
        ratio(frequent, sum(grams.values())),
        ratio(repeated, sum(fives.values())),
        ratio(sum(not is_letter(c) for c in text), len(text)),
        None,
        ratio(sum(token in ",;:?!." for token in tokens), len(tokens)),
    ]


def decisions(text):
    def kept(rule):
        # C4's filter rewrites the text.
        document = Document(text=text, id="0")
        outcome = rule.filter(document)
        return outcome if isinstance(outcome, bool) else outcome[0]

    return [kept(rule) for rule in (GOPHER, REPETITION, FINEWEB, C4)]


def our_decisions(v):
    if v["words"] == 0:
        return [False] * 4
    gopher = (
        50 <= v["words"] <= 100_000
        and 3 <= v["mean_word_length"] <= 10
        and v["hashes_per_word"] <= 0.1
        and v["ellipses_per_word"] <= 0.1
        and v["bullet_lines"] <= 0.9
        and v["ellipsis_lines"] <= 0.3
        and v["alphabetic_words"] >= 0.8
        and v["stop_words"] >= 2
    )
    limits = dict(duplicate_lines=0.3, duplicate_line_characters=0.2, duplicate_paragraphs=0.3)
    limits |= dict(duplicate_paragraph_characters=0.2, top_2_gram=0.2, top_3_gram=0.18, top_4_gram=0.16)
    limits |= {f"duplicate_{n}_grams": 0.2 - n / 100 for n in range(5, 11)}
    repeated = all(v[name] <= limit + 1e-12 for name, limit in limits.items())
    fineweb = (
        v["sentence_ends"] >= 0.12
        and v["short_lines"] <= 0.67
        and v["duplicate_characters"] <= 0.01
        and v["breaks_per_word"] <= 0.3
    )
    c4 = v["lorem_ipsum"] == 0 and v["curly_brackets"] == 0 and v["c4_sentences"] >= 5
    return [gopher, repeated, fineweb, c4]


def main():
    program, *paths = sys.argv[1:]
    texts = [text for path in paths for text in texts_of(path) if text.strip()]
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.writelines(json.dumps(text) + "\n" for text in texts)
        file.flush()
        run = subprocess.run([program, file.name], check=True, capture_output=True, text=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    ours_seconds = used.ru_utime + used.ru_stime
    names, *ours = map(json.loads, run.stdout.splitlines())
    theirs = [measures(text) for text in texts]
    began = time.process_time()
    decided = [decisions(text) for text in texts]
    seconds = time.process_time() - began

    print(f"{len(texts)} texts, {sum(map(len, texts)) / len(texts):.0f} characters each")
    for index, name in enumerate(names):
        if theirs[0][index] is None:
            continue
        unequal = [
            (abs(a[index] - b[index]), at)
            for at, (a, b) in enumerate(zip(ours, theirs))
            if not math.isclose(a[index], b[index], rel_tol=1e-9, abs_tol=1e-12)
        ]
        worst = max(unequal, default=(0, None))
        print(f"{name:32} unequal {len(unequal):5}  largest difference {worst[0]:.3g} at {worst[1]}")
    mine = [our_decisions(dict(zip(names, values))) for values in ours]
    for index, name in enumerate(("gopher quality", "gopher repetition", "fineweb", "c4")):
        unequal = [at for at, (a, b) in enumerate(zip(mine, decided)) if a[index] != b[index]]
        kept = sum(one[index] for one in decided)
        print(f"{name:32} keeps {kept:5}, decides otherwise on {len(unequal)} {unequal[:5]}")
    print(f"ours {len(texts) / ours_seconds:.0f} texts/s, datatrove {len(texts) / seconds:.1f} texts/s: ", end="")
    print(f"{seconds / ours_seconds:.1f} times as fast")


main()

#!/usr/bin/env python3
"""The measures of `m3w score` beside the published implementations: values and processor time.

    compare.py target/release/m3w [--seed N] [--count N] [--nltk-data DIR] [--vqa-eval vqa_metric.py [--vqa-rules R]]
    compare.py --goldens tests/goldens/scores.json --vqa-eval vqa_metric.py

The second makes the goldens of the tests: little files with what the published implementations say.
Needs Java, and from PyPI pycocoevalcap, scikit-learn, nltk. DIR/corpora/wordnet has WordNet's database
files as `nltk.download("wordnet")` puts them there. `vqa_metric.py` is OpenFlamingo's, from its package
`open_flamingo.eval`; LAVIS' `common/vqa_tools/vqa_eval.py` has the rules `earlier`. Inputs are drawn
anew from the seed: captions and answers with contractions, numbers, abbreviations, punctuation, tags,
other scripts, and nothing at all. Both sides read the same files. Times are those of whole programs, ours
and a Python that does only this.
"""
import argparse
import json
import math
import os
import random
import resource
import subprocess
import sys
import tempfile

WORDS = """a an the dog cat man woman riding red two three 2 10 1990s '90s 3.5 1/2 1,000 12:30 p.m. U.S. etc.
Mr. Dr. Inc. No. e.g. I I'm don't can't cannot it's dogs' o'clock gonna wanna 'em 'til T-shirt well-known AT&T
&amp; <b> </b> ( ) [ ] { } " '' ` ' ... . ! ?! , ; : - -- _ / \\ * # @you #tag :) 555-1234 (555) café naïve 日本
“quoted” ‘x’ – … ½ £5 $5 20% http://a.com/b?c=1 foo.com a@b.com file.txt x.y OK! 24/7 he/she O'Brien Jan.
wont dont isnt youre none zero one ten TEN A An THE -5 5. .5 st. é ü ß İ 👍 ♥ and-or""".split()
PLAIN = "a man dog cat woman on street riding with red ball in the park big small two people".split()


def sentence(rnd):
    pool = PLAIN if rnd.random() < 0.7 else WORDS
    words = [rnd.choice(pool if rnd.random() < 0.9 else WORDS) for _ in range(rnd.randint(0, 12))]
    text = "".join(word + rnd.choice([" "] * 8 + ["", ". ", ", ", "  "]) for word in words)
    return text.strip() + rnd.choice(["", ".", " .", ""])


def answer(rnd):
    if rnd.random() < 0.02:
        return "".join(rnd.choice("ab.,-?!/ 1'\t\n") for _ in range(rnd.randint(0, 90)))
    return " ".join(rnd.choice(PLAIN + WORDS) for _ in range(rnd.randint(0, 3)))


def processor_seconds(who=resource.RUSAGE_CHILDREN):
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def ours(program, metric, folder, *arguments):
    before = processor_seconds()
    out = os.path.join(folder, "ours.jsonl")
    run = [program, "score", "--metric", metric, "--json", "--predictions", folder + "/p.json"]
    run += ["--references", folder + "/r.json", *arguments]
    if metric in ("cider", "vqa", "ndcg", "wups"):
        run += ["--per-example", out]
    done = subprocess.run(run, stdout=subprocess.PIPE, check=True)
    seconds = processor_seconds() - before
    each = []
    if "--per-example" in run:
        each = [json.loads(line)["score"] for line in open(out, encoding="utf-8")]
    return json.loads(done.stdout)["score"], each, seconds


def theirs(metric, folder, arguments):
    """The reference in a Python of its own, so that its time is its own too."""
    before = processor_seconds()
    run = [sys.executable, __file__, "--reference", metric, folder, *map(str, arguments)]
    done = subprocess.run(run, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    seconds = processor_seconds() - before
    value, each = json.loads(done.stdout.decode().strip().split("\n")[-1])
    return value, each, seconds


def reference(metric, folder, *arguments):
    predictions = json.load(open(folder + "/p.json", encoding="utf-8"))
    references = json.load(open(folder + "/r.json", encoding="utf-8"))
    if metric == "cider":
        from pycocoevalcap.cider.cider import Cider
        from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

        captions = {}
        for row in references["annotations"]:
            captions.setdefault(row["image_id"], []).append(row)
        said = {row["image_id"]: [row] for row in predictions}
        tokenizer = PTBTokenizer()
        value, each = Cider().compute_score(tokenizer.tokenize(captions), tokenizer.tokenize(said))
        return value, list(each)
    if metric == "vqa":
        import importlib.util

        spec = importlib.util.spec_from_file_location("vqa_metric", arguments[0])
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        people = {row["question_id"]: dict(row, question_type="", answer_type="") for row in references["annotations"]}
        said = {row["question_id"]: row for row in predictions}
        evaluation = module.VQAEval(None, None, n=12)
        evaluation.vqa, evaluation.vqaRes = argparse.Namespace(qa=people), argparse.Namespace(qa=said)
        evaluation.updateProgress = lambda progress: None
        evaluation.evaluate(list(people))
        return evaluation.accuracy["overall"], [evaluation.evalQA[row] for row in people]
    if metric == "roc-auc":
        from sklearn.metrics import roc_auc_score

        labels = [row["label"] for row in references]
        return roc_auc_score(labels, [row["score"] for row in predictions]), []
    if metric == "ndcg":
        from sklearn.metrics import ndcg_score

        depth = {"all": None, "relevant": 0}.get(arguments[0], arguments[0])
        each = []
        for said, row in zip(predictions, references):
            relevance = row["gt_relevance"]
            k = sum(value > 0 for value in relevance) if depth == 0 else depth and int(depth)
            each.append(ndcg_score([relevance], [said["scores"]], k=k) if k != 0 else 0.0)
        return sum(each) / len(each), each
    if metric == "wups":
        import nltk

        nltk.data.path.append(arguments[0])
        from nltk.corpus import wordnet

        threshold = float(arguments[1])

        def near(one, other):
            if one == other:
                return 1.0
            first, second = wordnet.synsets(one), wordnet.synsets(other)
            if not first or not second:
                return 0.0
            value = first[0].wup_similarity(second[0]) or 0.0
            return 0.1 * value if value < threshold else value

        def one_sided(words, others):
            product, found = 1.0, False
            for word in words:
                most = max([near(word, other) for other in others], default=0)
                if most:
                    product, found = product * most, True
            return product if found else 0.0

        each = []
        for id, said in predictions.items():
            words, others = said.split(), references[id].split()
            each.append(min(one_sided(words, others), one_sided(others, words)))
        return sum(each) / len(each), each
    raise SystemExit(metric)


def write(folder, predictions, references):
    json.dump(predictions, open(folder + "/p.json", "w", encoding="utf-8"))
    json.dump(references, open(folder + "/r.json", "w", encoding="utf-8"))


def inputs(metric, rnd, count, wordnet):
    if metric == "cider":
        images = list(range(count))
        rnd.shuffle(images)
        rows = [{"image_id": image, "caption": sentence(rnd)} for image in images for _ in range(rnd.randint(1, 6))]
        return (
            [{"image_id": image, "caption": sentence(rnd)} for image in images],
            {"images": [{"id": image} for image in images], "annotations": rows},
        )
    if metric == "vqa":
        said, rows = [], []
        for question in range(count):
            pool = [answer(rnd) for _ in range(rnd.randint(1, 4))]
            people = [{"answer": rnd.choice(pool), "answer_id": n + 1} for n in range(rnd.choice([10, 10, 1, 5]))]
            rows.append({"question_id": question, "answers": people})
            said.append({"question_id": question, "answer": rnd.choice(pool + [answer(rnd)])})
        return said, {"annotations": rows}
    if metric == "roc-auc":
        scores = [rnd.choice([rnd.random(), round(rnd.random(), 1)]) for _ in range(count)]
        return (
            [{"id": n, "score": score} for n, score in enumerate(scores)],
            [{"id": n, "label": n if n < 2 else int(rnd.random() < 0.3)} for n in range(count)],
        )
    if metric == "ndcg":
        said, rows = [], []
        for image in range(count):
            size = rnd.randint(2, 100)
            said.append({"image_id": image, "scores": [round(rnd.random(), rnd.choice([1, 6])) for _ in range(size)]})
            levels = rnd.choice([[0, 0.2, 0.4, 1], [0], [0, 0, 0, 1]])
            rows.append({"image_id": image, "gt_relevance": [rnd.choice(levels) for _ in range(size)]})
        return said, rows
    if metric == "wups":
        words = [line.split()[0] for part in ("noun", "verb", "adj", "adv") for line in open(f"{wordnet}/index.{part}") if line[0] != " "]
        plain = [word for word in words if word.isalpha()]
        common = "dog dogs cat man men woman children ran running sit sitting ball red blue happy quickly park better wolves".split()

        def phrase():
            pick = lambda: rnd.choice(common if rnd.random() < 0.5 else plain) + rnd.choice(["", "", "", "s"])
            return " ".join(pick() for _ in range(rnd.randint(1, 4)))

        return ({str(n): phrase() for n in range(count)}, {str(n): phrase() for n in range(count)})
    raise SystemExit(metric)


def compare(program, name, metric, data, our_arguments, their_arguments):
    with tempfile.TemporaryDirectory() as folder:
        write(folder, *data)
        value, each, seconds = ours(program, metric, folder, *our_arguments)
        their_value, their_each, their_seconds = theirs(metric, folder, their_arguments)
        off = [abs(a - b) for a, b in zip(each, their_each)]
        assert len(each) == len(their_each), (len(each), len(their_each))
        most = max([abs(value - their_value), *off])
        print(
            f"{name:<22} {value:.9f} {their_value:.9f}  most apart {most:.1e}  "
            f"{seconds:.3f} s, {their_seconds:.3f} s: {their_seconds / seconds:.0f} times"
        )
        if most > 1e-6:
            for place, distance in enumerate(off):
                if distance > 1e-6:
                    print("  first apart:", place, each[place], their_each[place])
                    break
        return most <= 1e-6


def main():
    if sys.argv[1] == "--reference":
        print()
        print(json.dumps(reference(*sys.argv[2:])))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", nargs="?")
    parser.add_argument("--goldens")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--nltk-data")
    parser.add_argument("--vqa-eval")
    parser.add_argument("--vqa-rules", default="openflamingo")
    options = parser.parse_args()
    rnd = random.Random(options.seed)
    wordnet = options.nltk_data and options.nltk_data + "/corpora/wordnet"
    draw = lambda metric, count=options.count: inputs(metric, rnd, count, wordnet)
    if options.goldens:
        goldens = []
        for metric, ours, theirs_arguments in [
            ("cider", [], []),
            ("vqa", ["openflamingo"], [options.vqa_eval]),
            ("roc-auc", [], []),
            ("ndcg", ["relevant"], ["relevant"]),
            ("ndcg", ["all"], ["all"]),
        ]:
            with tempfile.TemporaryDirectory() as folder:
                data = draw(metric, 40)
                write(folder, *data)
                score, each, _ = theirs(metric, folder, theirs_arguments)
            golden = {"metric": metric, "arguments": ours, "score": score, "each": each}
            goldens.append(golden | {"predictions": data[0], "references": data[1]})
        with open(options.goldens, "w", encoding="utf-8") as file:
            file.write("[\n" + ",\n".join(json.dumps(golden) for golden in goldens) + "\n]\n")
        return
    equal = [compare(options.program, "cider", "cider", draw("cider"), [], [])]
    if options.vqa_eval:
        rules = ["--vqa-rules", options.vqa_rules]
        equal.append(compare(options.program, "vqa", "vqa", draw("vqa"), rules, [options.vqa_eval]))
    equal.append(compare(options.program, "roc-auc", "roc-auc", draw("roc-auc", 20 * options.count), [], []))
    for depth in ("relevant", "all", "5"):
        data = draw("ndcg")
        equal.append(compare(options.program, f"ndcg, {depth}", "ndcg", data, ["--depth", depth], [depth]))
    if wordnet:
        for threshold in (0.0, 0.9):
            arguments = ["--wordnet", wordnet, "--threshold", str(threshold)]
            data = draw("wups")
            name = f"wups, {threshold}"
            equal.append(compare(options.program, name, "wups", data, arguments, [options.nltk_data, threshold]))
    sys.exit(0 if all(equal) else 1)


if __name__ == "__main__":
    main()

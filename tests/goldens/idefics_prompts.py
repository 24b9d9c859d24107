"""Makes idefics_prompts.json: prompts as `transformers`' IdeficsProcessor encodes them.

    pip install transformers==4.45.2 sentencepiece protobuf pillow torch==2.8.0
    python idefics_prompts.py

A small tokenizer of LLaMA's kind, with the tokens of Idefics (`base`) and of what was taught to talk
(`talking`): its `tokenizer.json`, prompts as lists of texts and pictures (null), and their ids.
"""

import json
import pathlib
import tempfile

import sentencepiece
from PIL import Image
from tokenizers import normalizers
from transformers import LlamaTokenizerFast
from transformers.models.idefics.image_processing_idefics import IdeficsImageProcessor
from transformers.models.idefics.processing_idefics import IdeficsProcessor

WORDS = """User: What is in this image? Describe this image.
Assistant: An image of two kittens in grass. And who is that? A dog wearing funny glasses.
"""
PICTURE = Image.new("RGB", (8, 8))
END = "<end_of_utterance>"
ADDED = ["<fake_token_around_image>", "<image>"]
PROMPTS = [
    ["User:", None, "Describe this image.\nAssistant: An image of two kittens in grass.\n", None, None,
     " Describe this image.\nAssistant: "],
    ["User: What is in this image?", None, "A dog"],
    ["Who is", "that?"],
]
# Where ends are written they are not put in.
MARKED = [["User: What", None, END, "\nAssistant: a dog" + END, "\nUser: two é" + END]]


def main():
    found = {}
    for kind, added in [("base", ADDED), ("talking", [*ADDED, END])]:
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            (folder / "words.txt").write_text(WORDS * 20)
            sentencepiece.SentencePieceTrainer.train(
                input=str(folder / "words.txt"), model_prefix=str(folder / "words"), vocab_size=330,
                model_type="bpe", byte_fallback=True, character_coverage=1.0, unk_id=0, bos_id=1,
                eos_id=2, pad_id=-1, normalization_rule_name="identity",
                remove_extra_whitespaces=False, minloglevel=2)
            tokenizer = LlamaTokenizerFast(vocab_file=str(folder / "words.model"))
        # As in the published file.
        tokenizer.backend_tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        tokenizer.add_special_tokens({"additional_special_tokens": added, "pad_token": "<unk>"})
        pictures = IdeficsImageProcessor(image_size=8, image_mean=[0] * 3, image_std=[1] * 3)
        processor = IdeficsProcessor(pictures, tokenizer)

        def encoded(prompt, **options):
            pieces = [PICTURE if piece is None else piece for piece in prompt]
            return processor([pieces], return_tensors="pt", **options)["input_ids"][0].tolist()

        prompts = [{"pieces": prompt, "ids": encoded(prompt)} for prompt in PROMPTS]
        if kind == "talking":
            prompts += [{"pieces": prompt, "ids": encoded(prompt, add_end_of_utterance_token=False)}
                        for prompt in MARKED]
        found[kind] = {"tokenizer": json.loads(tokenizer.backend_tokenizer.to_str()),
                       "prompts": prompts}
    pathlib.Path("idefics_prompts.json").write_text(
        json.dumps(found, ensure_ascii=False, separators=(",", ":")) + "\n")


main()

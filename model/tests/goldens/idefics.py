"""Makes idefics.safetensors: tiny random Idefics models and what `transformers` computes.

    pip install torch==2.8.0 transformers==4.45.2 safetensors pillow
    python idefics.py

Versions before 4.36 let text that belongs to no picture average over all of its row; later ones keep what it
reads away by a gate. `NAME.averaging.*` is what came out with that gate held open, as before; 4.33.3 gives
the same.

Each model stands under its own prefix: `NAME.weight.*` under the names of its published files;
`NAME.tokens` padded behind their text, `NAME.pixels` and `NAME.image_index` (the picture of each token,
0 for none), `NAME.logits`; `NAME.loss_mask` (targets), `NAME.loss`, and for some `NAME.gradient.*`;
`NAME.prompts`, of which the first `NAME.padding` tokens are none, what they are continued by alone
(`NAME.greedy`) and in three beams (`NAME.beams`), up to `NAME.stop`, and -1 behind it. The metadata has the
configuration of each as JSON. `picture` is what `pixels` are made of.
"""

import json

import numpy
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import IdeficsConfig, IdeficsForVisionText2Text
from transformers.models.idefics.image_processing_idefics import IdeficsImageProcessor
from transformers.models.idefics.modeling_idefics import IdeficsGatedCrossAttentionLayer
from transformers.models.idefics.processing_idefics import (
    image_attention_mask_for_packed_input_ids,
    incremental_to_binary_attention_mask,
)

PAD, BEGIN, END, VOCABULARY, SIDE, SLOTS, NEW = 0, 1, 2, 19, 8, 2, 6


def config(layers, every, added, alphas, norms, latent_norms):
    return IdeficsConfig(
        vocab_size=VOCABULARY, additional_vocab_size=added, hidden_size=16, intermediate_size=28,
        num_hidden_layers=layers, num_attention_heads=2, alpha_type=alphas, rms_norm_eps=1e-5,
        cross_layer_interval=every, qk_layer_norms=norms, use_resampler=True, pad_token_id=PAD,
        vision_config=dict(embed_dim=12, image_size=SIDE, intermediate_size=20, patch_size=4,
                           num_hidden_layers=2, num_attention_heads=2),
        perceiver_config=dict(use_resampler=True, resampler_n_latents=3, resampler_depth=2,
                              resampler_n_heads=2, resampler_head_dim=5,
                              qk_layer_norms_perceiver=latent_norms))


# As the published models are, and what their settings allow.
MODELS = {
    "published": (config(4, 2, 3, "float", True, True), True),
    "vectors": (config(2, 1, 2, "vector", True, False), True),
    "bare": (config(2, 1, 2, "float", False, False), False),
    "one_table": (config(2, 2, 0, "vector", False, True), False),
}


class Tokenizer:
    """As much of one as masks are made with."""

    eos_token_id = END

    def __init__(self, image):
        self.image = image

    def convert_tokens_to_ids(self, _):
        return self.image


class Gate:
    """Lets through what text reads that belongs to no picture, where it is held open."""

    is_held_open = False

    @classmethod
    def put_in(cls):
        forward = IdeficsGatedCrossAttentionLayer.forward

        def gated(self, hidden_states, cross_attention_gate=None, **options):
            if cls.is_held_open:
                cross_attention_gate = torch.ones_like(cross_attention_gate)
            return forward(self, hidden_states, cross_attention_gate=cross_attention_gate, **options)

        IdeficsGatedCrossAttentionLayer.forward = gated


def masks(tokens, image):
    seen, _ = image_attention_mask_for_packed_input_ids(tokens, Tokenizer(image), "pt")
    index = torch.where(seen < SLOTS, seen + 1, 0).to(torch.uint8)
    return index, incremental_to_binary_attention_mask(seen, "pt", num_classes=SLOTS)


def drawn(model, generator):
    # Away from the values that models start at, under which some parts do nothing.
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "alpha" in name:
                parameter.copy_(noise)
            elif "embed" in name or "latents" == name.split(".")[-1]:
                parameter.copy_(noise)
            elif parameter.dim() > 1:
                parameter.copy_(1.3 * noise * parameter[0].numel() ** -0.5)
            else:
                parameter.add_(0.2 * noise)
    return model.eval()


def filled(rows, behind):
    length = max(map(len, rows))
    fill = [[PAD] * (length - len(row)) for row in rows]
    rows = [row + fill if behind else fill + row for row, fill in zip(rows, fill)]
    return torch.tensor(rows), torch.tensor([len(fill) for fill in fill])


def main():
    Gate.put_in()
    generator = torch.Generator().manual_seed(11)
    tensors, configs = {}, {}
    for name, (settings, has_gradients) in MODELS.items():
        model = drawn(IdeficsForVisionText2Text(settings), generator)
        model.requires_grad_(True)
        around, image = (19, 20) if settings.additional_vocab_size else (17, 18)
        for key, value in model.state_dict().items():
            tensors[f"{name}.weight.{key}"] = value.contiguous().clone()

        # Text before a picture, two that share a mark, one more than there are slots; text behind an
        # end; no picture at all.
        shown = [around, image, around]
        tokens, padding = filled([
            [BEGIN, 5, *shown, 6, 7, *shown, image, around, 8, 9, 4],
            [BEGIN, *shown, image, around, 10, 11, END, 12, 13],
            [BEGIN, 14, 3, 15],
        ], behind=True)
        pixels = torch.randn(len(tokens), SLOTS, 3, SIDE, SIDE, generator=generator)
        pixels[2] = 0
        attention = (torch.arange(tokens.shape[1]) < (tokens.shape[1] - padding)[:, None]).long()
        index, image_mask = masks(tokens, image)
        targets = (attention == 1) & (tokens != image)
        targets[:, 0] = False
        tensors[f"{name}.tokens"] = tokens
        tensors[f"{name}.padding_behind"] = padding
        tensors[f"{name}.pixels"] = pixels
        tensors[f"{name}.image_index"] = index
        tensors[f"{name}.loss_mask"] = targets.to(torch.uint8)
        for prefix, is_held_open in [(name, False), (f"{name}.averaging", True)]:
            Gate.is_held_open = is_held_open
            model.zero_grad()
            # The faster attention has no gradient to speak of where all scores are masked: it keeps the
            # logarithm of their sum, in which the sum is lost.
            with sdpa_kernel(SDPBackend.MATH):
                output = model(input_ids=tokens, attention_mask=attention, pixel_values=pixels,
                               image_attention_mask=image_mask,
                               labels=torch.where(targets, tokens, -100))
                output.loss.backward()
            tensors[f"{prefix}.logits"] = output.logits.detach().contiguous()
            tensors[f"{prefix}.loss"] = output.loss.detach()
            for key, value in model.named_parameters() if has_gradients else []:
                if not is_held_open or "cross_attn" in key:
                    gradient = torch.zeros_like(value) if value.grad is None else value.grad
                    tensors[f"{prefix}.gradient.{key}"] = gradient.contiguous().clone()

        prompts, padding = filled([
            [BEGIN, 5, *shown, 6, *shown, 7, 8],
            [BEGIN, *shown, image, around, 10],
            [BEGIN, 14, 3],
            [BEGIN, 9, *shown, 4, 12],
        ], behind=False)
        pixels = torch.randn(len(prompts), SLOTS, 3, SIDE, SIDE, generator=generator)
        pixels[2], pixels[3, 1] = 0, 0
        attention = (torch.arange(prompts.shape[1]) >= padding[:, None]).long()
        _, image_mask = masks(prompts, image)

        def continued(**options):
            with torch.no_grad():
                found = model.generate(
                    input_ids=prompts, attention_mask=attention, pixel_values=pixels,
                    image_attention_mask=image_mask, max_new_tokens=NEW, do_sample=False,
                    pad_token_id=PAD, length_penalty=0.0, **options)
            new = torch.full((len(prompts), NEW), -1)
            found = found[:, prompts.shape[1]:]
            new[:, :found.shape[1]] = found
            return new

        # What ends some of them early, and none at once.
        Gate.is_held_open = False
        free = continued(eos_token_id=None)
        stop = next(token for token in free[:, 2:].flatten().tolist() if token not in free[:, :1])
        for prefix, is_held_open in [(name, False), (f"{name}.averaging", True)]:
            Gate.is_held_open = is_held_open
            for key, beams in [("greedy", 1), ("beams", 3)]:
                new = continued(eos_token_id=stop, num_beams=beams)
                new[(new == stop).cumsum(1) > 0] = -1
                tensors[f"{prefix}.{key}"] = new
        Gate.is_held_open = False
        tensors[f"{name}.prompts"] = prompts
        tensors[f"{name}.padding"] = padding
        tensors[f"{name}.prompt_pixels"] = pixels
        tensors[f"{name}.stop"] = torch.tensor(stop)
        tensors[f"{name}.special"] = torch.tensor([image, around])
        configs[name] = json.dumps(settings.to_dict())
        print(name, sum(p.numel() for p in model.parameters()), tensors[f"{name}.greedy"].tolist(),
              tensors[f"{name}.beams"].tolist(), tensors[f"{name}.loss"].item())

    picture = torch.randint(0, 256, (9, 15, 3), generator=generator, dtype=torch.uint8)
    processor = IdeficsImageProcessor(
        image_size=6, image_mean=[0.48145466, 0.4578275, 0.40821073],
        image_std=[0.26862954, 0.26130258, 0.27577711])
    tensors["picture"] = picture
    tensors["pixels"] = processor([Image.fromarray(picture.numpy())])[0].contiguous().float()
    save_file(tensors, "idefics.safetensors", metadata=configs)


main()

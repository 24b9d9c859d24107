"""Makes gguf/*.gguf, tiny random language models, and gguf.safetensors: what `transformers` computes of them.

    pip install torch==2.8.0 transformers==4.45.2 gguf==0.19.0 safetensors
    python gguf.py

The files are written as converters do: names and keys of the `gguf` package, the rows of LLaMA's
queries and keys and of GPT-NeoX's queries, keys and values in an order of their own, GPT-2's maps as
`[out, in]`. `transformers` runs with the weights that the package reads back. `NAME.tokens`,
`NAME.logits` and `NAME.names.KIND` (see `type_of`) are kept; `types.gguf` has a tensor of random blocks of each type, and
`types.KIND` what they stand for.
"""

import os
import re
import sys

# Beside this script lies a folder of the package's name.
sys.path.pop(0)

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from gguf.quants import dequantize, quant_shape_to_byte_shape, quantize
from safetensors.torch import save_file
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MptConfig,
    MptForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

VOCABULARY, LENGTH = 29, 9
RANDOM = np.random.default_rng(6)
HERE = os.path.dirname(os.path.abspath(__file__))

# Where a block of random bytes has numbers of 16 bits, which must be finite.
HALVES = {
    Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2], Type.Q8_0: [0],
    Type.Q2_K: [80, 82], Type.Q3_K: [108], Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208],
}


def random_blocks(shape, kind):
    """Bytes of random blocks: the package makes none of 256 numbers itself."""
    numbers, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = RANDOM.integers(0, 256, (int(np.prod(shape)) // numbers, size), dtype=np.uint8)
    for at in HALVES[kind]:
        scales = RANDOM.uniform(2e-5, 3e-4, len(blocks)).astype(np.float16)
        blocks[:, at:at + 2] = scales.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(quant_shape_to_byte_shape(shape, kind))


def stored(values, kind):
    """The bytes of a tensor, and the numbers they stand for."""
    if kind in (Type.F32, Type.F16):
        values = values.astype(np.float32 if kind == Type.F32 else np.float16)
        return values, values.astype(np.float32)
    if gguf.GGML_QUANT_SIZES[kind][0] == 256:
        data = random_blocks(values.shape, kind)
    else:
        data = quantize(values.astype(np.float32), kind)
    return data, dequantize(data, kind)


def paired(heads):
    """From a head's halves to pairs, and back, along the first axis."""
    def there(values):
        shape = values.shape
        return values.reshape(heads, 2, -1, *shape[1:]).swapaxes(1, 2).reshape(shape)

    def back(values):
        shape = values.shape
        return values.reshape(heads, -1, 2, *shape[1:]).swapaxes(1, 2).reshape(shape)

    return there, back


def apart(heads):
    """From each head's queries, keys and values to all queries above all keys above all values."""
    def there(values):
        shape = values.shape
        return values.reshape(heads, 3, -1, *shape[1:]).swapaxes(0, 1).reshape(shape)

    def back(values):
        shape = values.shape
        return values.reshape(3, heads, -1, *shape[1:]).swapaxes(0, 1).reshape(shape)

    return there, back


SAME = (lambda values: values,) * 2
TURNED = (lambda values: np.ascontiguousarray(values.T),) * 2


def order(arch, name, config):
    if arch == "llama" and ".attn_q." in name:
        return paired(config.num_attention_heads)
    if arch == "llama" and ".attn_k." in name:
        return paired(config.num_key_value_heads)
    if arch == "gptneox" and ".attn_qkv." in name:
        return apart(config.num_attention_heads)
    if arch == "gpt2" and re.search(r"(attn_qkv|attn_output|ffn_up|ffn_down)\.weight", name):
        return TURNED
    return SAME


def keys(writer, config, arch):
    get = lambda *names: next(getattr(config, n) for n in names if getattr(config, n, None))
    width = get("hidden_size", "n_embd", "d_model")
    heads = get("num_attention_heads", "n_head", "n_heads")
    writer.add_context_length(get("max_position_embeddings", "n_positions", "max_seq_len"))
    writer.add_embedding_length(width)
    writer.add_block_count(get("num_hidden_layers", "n_layer", "n_layers"))
    writer.add_head_count(heads)
    inner = getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None)
    writer.add_feed_forward_length(inner or 4 * width)
    if arch in ("llama", "qwen2"):
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        writer.add_rope_freq_base(config.rope_theta)
    else:
        writer.add_layer_norm_eps(getattr(config, "layer_norm_eps", 1e-5))
    if arch == "llama":
        writer.add_rope_dimension_count(width // heads)
        if config.rope_scaling:
            writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
            writer.add_rope_scaling_factor(config.rope_scaling["factor"])
    if arch == "gptneox":
        writer.add_rope_dimension_count(int(config.rotary_pct * (width // heads)))
        writer.add_parallel_residual(config.use_parallel_residual)
    if arch == "mpt":
        writer.add_max_alibi_bias(config.attn_config.alibi_bias_max)
    # As converters do, though it is not read.
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"token {at}" for at in range(VOCABULARY)])
    writer.add_token_scores([0.0] * VOCABULARY)


def llama(**changes):
    return LlamaForCausalLM(LlamaConfig(**dict(dict(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, intermediate_size=64, max_position_embeddings=48), **changes)))


def type_of(matrices, other=Type.F32):
    """A name's type, by the first of `matrices` whose part is in it; vectors stay as they are."""
    def choose(name, shape):
        if len(shape) < 2:
            return Type.F32
        return next((kind for part, kind in matrices.items() if part in name), other)
    return choose


MODELS = {
    "llama_f32": ("llama", lambda: llama(
        hidden_size=24, num_attention_heads=6, intermediate_size=40, rope_theta=500000.0,
        rope_scaling={"type": "linear", "factor": 2.0}), type_of({})),
    "llama_q8_0": ("llama", lambda: llama(tie_word_embeddings=True, attention_bias=True),
                   type_of({}, Type.Q8_0)),
    "llama_k": ("llama", lambda: llama(
        hidden_size=256, num_attention_heads=8, num_hidden_layers=1, intermediate_size=32),
        type_of({"attn_q.": Type.Q4_K, "attn_k": Type.Q5_K, "attn_v": Type.Q6_K,
                 "attn_output": Type.Q2_K, "ffn_up": Type.Q4_K, "ffn_gate": Type.Q3_K,
                 "ffn_down": Type.Q4_0, "token_embd": Type.F16, "output.": Type.Q6_K})),
    "qwen2": ("qwen2", lambda: Qwen2ForCausalLM(Qwen2Config(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, intermediate_size=64, max_position_embeddings=48)),
        type_of({"ffn": Type.BF16}, Type.F16)),
    "gpt2": ("gpt2", lambda: GPT2LMHeadModel(GPT2Config(
        vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=48)),
        type_of({"attn_qkv": Type.Q8_0, "attn_output": Type.Q4_1, "ffn_up": Type.Q5_0,
                 "ffn_down": Type.Q5_1, "token_embd": Type.Q8_0})),
    "gptneox": ("gptneox", lambda: GPTNeoXForCausalLM(GPTNeoXConfig(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=64, max_position_embeddings=48, rotary_pct=0.5)), type_of({}, Type.Q8_0)),
    "mpt": ("mpt", lambda: MptForCausalLM(MptConfig(
        vocab_size=VOCABULARY, d_model=32, n_heads=4, n_layers=2, max_seq_len=48)),
        type_of({}, Type.Q8_0)),
}


def write(name, arch, model, choose):
    path = os.path.join(HERE, "gguf", f"{name}.gguf")
    writer = gguf.GGUFWriter(path, arch)
    keys(writer, model.config, arch)
    architecture = next(a for a, n in gguf.MODEL_ARCH_NAMES.items() if n == arch)
    names = gguf.get_tensor_name_map(architecture, 2)
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    weights = model.state_dict()
    for key, value in weights.items():
        is_buffer = key.endswith((".attn.bias", "masked_bias", "inv_freq", ".attention.bias"))
        if is_buffer or (tied and key == "lm_head.weight"):
            continue
        own = names.get_name(key, try_suffixes=(".weight", ".bias"))
        there, back = order(arch, own, model.config)
        data, values = stored(there(value.numpy()), choose(own, value.shape))
        writer.add_tensor(own, data, raw_dtype=choose(own, value.shape))
        value.copy_(torch.from_numpy(np.ascontiguousarray(back(values))))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_types(kept):
    writer = gguf.GGUFWriter(os.path.join(HERE, "gguf", "types.gguf"), "types")
    for kind in HALVES:
        data = random_blocks((3, 256), kind)
        kept[f"types.{kind.name}"] = torch.from_numpy(dequantize(data, kind))
        writer.add_tensor(kind.name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@torch.no_grad()
def main():
    generator = torch.Generator().manual_seed(6)
    kept = {}
    for name, (arch, make, choose) in MODELS.items():
        model = make().eval()
        # Away from the values that models start at, under which some parts do nothing.
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() > 1:
                parameter.copy_(noise * parameter.shape[-1] ** -0.5)
            else:
                parameter.add_(0.2 * noise)
        write(name, arch, model, choose)
        tokens = torch.randint(0, VOCABULARY, (2, LENGTH), generator=generator)
        kept[f"{name}.tokens"] = tokens
        kept[f"{name}.logits"] = model(input_ids=tokens).logits.contiguous()
    write_types(kept)
    save_file(kept, os.path.join(HERE, "gguf.safetensors"))


main()

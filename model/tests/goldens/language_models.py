"""Makes language_models.safetensors: tiny random language models and what `transformers` computes.

    pip install torch==2.8.0 transformers==4.33.3 safetensors
    python language_models.py

Each model stands under its own prefix: `NAME.weight.*` under the names of its published files,
`NAME.tokens` and `NAME.padding` (tokens of padding before each row's text), `NAME.logits`; the
metadata has the configuration of each as JSON. What is computed at padding means nothing.
"""

import json

import torch
from safetensors.torch import save_file
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTJConfig,
    GPTJForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MptConfig,
    MptForCausalLM,
    OPTConfig,
    OPTForCausalLM,
)

VOCABULARY, LENGTH, PADDING = 23, 8, [0, 3]


def neox(**changes):
    return GPTNeoXForCausalLM(GPTNeoXConfig(
        vocab_size=VOCABULARY, hidden_size=24, num_hidden_layers=2, num_attention_heads=3,
        intermediate_size=40, max_position_embeddings=32, **changes))


def opt(**changes):
    return OPTForCausalLM(OPTConfig(
        vocab_size=VOCABULARY, hidden_size=24, num_hidden_layers=2, num_attention_heads=3,
        ffn_dim=40, max_position_embeddings=32, pad_token_id=1, dropout=0.0, **changes))


MODELS = {
    "gpt_neox_parallel": lambda: neox(rotary_pct=0.5),
    "gpt_neox_sequential": lambda: neox(
        rotary_pct=1.0, use_parallel_residual=False, hidden_act="gelu_new", layer_norm_eps=1e-3),
    "mpt": lambda: MptForCausalLM(MptConfig(
        vocab_size=VOCABULARY, d_model=24, n_heads=4, n_layers=2, max_seq_len=32)),
    "opt": opt,
    "opt_350m": lambda: opt(do_layer_norm_before=False, word_embed_proj_dim=16),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=24, num_hidden_layers=2, num_attention_heads=6,
        num_key_value_heads=2, intermediate_size=40, max_position_embeddings=32,
        rope_scaling={"type": "linear", "factor": 2.0})),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(
        vocab_size=VOCABULARY, n_embd=24, n_layer=2, n_head=3, n_inner=40, n_positions=32)),
    "gptj": lambda: GPTJForCausalLM(GPTJConfig(
        vocab_size=VOCABULARY, n_embd=24, n_layer=2, n_head=3, n_inner=40, n_positions=32,
        rotary_dim=4)),
}


def main():
    generator = torch.Generator().manual_seed(6)
    tensors, configs = {}, {}
    for name, make in MODELS.items():
        model = make().eval()
        with torch.no_grad():
            # Away from the values that models start at, under which some parts do nothing.
            for parameter in model.parameters():
                noise = torch.randn(parameter.shape, generator=generator)
                if parameter.dim() > 1:
                    parameter.copy_(noise * parameter.shape[-1] ** -0.5)
                else:
                    parameter.add_(0.2 * noise)
            tokens = torch.randint(2, VOCABULARY, (len(PADDING), LENGTH), generator=generator)
            mask = torch.ones_like(tokens)
            for row, padding in enumerate(PADDING):
                tokens[row, :padding], mask[row, :padding] = 1, 0
            inputs = dict(input_ids=tokens, attention_mask=mask)
            if name == "gpt2":
                inputs["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
            logits = model(**inputs).logits
        output = model.get_output_embeddings()
        tied = output.weight.data_ptr() == model.get_input_embeddings().weight.data_ptr()
        for key, value in model.state_dict().items():
            is_buffer = key.endswith(("inv_freq", ".attn.bias", "masked_bias"))
            if not is_buffer and not (tied and key == "lm_head.weight"):
                tensors[f"{name}.weight.{key}"] = value.contiguous().clone()
        tensors[f"{name}.tokens"] = tokens.to(torch.int64)
        tensors[f"{name}.logits"] = logits.contiguous()
        configs[name] = json.dumps(model.config.to_dict(), default=str)
    tensors["padding"] = torch.tensor(PADDING)
    save_file(tensors, "language_models.safetensors", metadata=configs)


main()

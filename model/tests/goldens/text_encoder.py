"""Makes text_encoder.safetensors: a tiny random BERT and what `transformers` computes with it.

    pip install torch==2.8.0 transformers==4.33.3 safetensors
    python text_encoder.py

Two captions, the second shorter; of each the mean over its own tokens, mapped and divided by its
length. The table of which of two sentences a token is in holds zeros: it has no use here.
"""

import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertModel

generator = torch.Generator().manual_seed(8)
model = BertModel(
    BertConfig(vocab_size=19, hidden_size=24, num_hidden_layers=2, num_attention_heads=3,
               intermediate_size=48, max_position_embeddings=9),
    add_pooling_layer=False,
).eval()
with torch.no_grad():
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if "token_type" in name:
            parameter.zero_()
        elif parameter.dim() > 1:
            parameter.copy_(noise * parameter.shape[-1] ** -0.5)
        else:
            parameter.add_(0.2 * noise)
    projection = torch.randn(16, 24, generator=generator)
    tokens = torch.randint(0, 19, (2, 7), generator=generator)
    mask = torch.tensor([[1] * 7, [1] * 4 + [0] * 3])
    hidden = model(input_ids=tokens, attention_mask=mask).last_hidden_state
    mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    mapped = mean @ projection.T
    output = mapped / mapped.norm(dim=1, keepdim=True)
weights = {
    f"text_encoder.{name}": value.contiguous()
    for name, value in model.state_dict().items()
    if "token_type" not in name and not name.endswith("_ids")
}
weights["text_projection.weight"] = projection
save_file(dict(weights, tokens=tokens, output=output.contiguous()), "text_encoder.safetensors")

"""Makes classifier.safetensors: a tiny random classifier of pictures and what `transformers` computes.

    pip install torch==2.8.0 transformers==4.33.3 safetensors
    python classifier.py

`weight.*` are the tensors of its published file, `pixels` two pictures, `logits` the answers; the
metadata has its configuration as JSON.
"""

import json

import torch
from safetensors.torch import save_file
from transformers import ViTConfig, ViTForImageClassification

torch.manual_seed(11)
config = ViTConfig(hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=3,
                   patch_size=4, image_size=12, id2label={0: "normal", 1: "nsfw", 2: "drawing"})
model = ViTForImageClassification(config).eval()
with torch.no_grad():
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape)
        scale = parameter[0].numel() ** -0.5 if parameter.dim() > 1 else 0.2
        parameter.add_(noise * scale)
    pixels = torch.randn(2, 3, 12, 12)
    logits = model(pixel_values=pixels).logits
tensors = {f"weight.{key}": value.contiguous().clone() for key, value in model.state_dict().items()}
tensors |= {"pixels": pixels, "logits": logits.contiguous()}
save_file(tensors, "classifier.safetensors", metadata={"config": json.dumps(config.to_dict(), default=str)})

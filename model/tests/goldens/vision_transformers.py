"""Makes vision_transformers.safetensors: tiny random vision encoders and what `transformers` computes.

    pip install torch==2.8.0 transformers==4.45.2 safetensors pillow
    python vision_transformers.py

Each encoder stands under its own prefix: `NAME.weight.*` under the names of its published files,
`NAME.tokens` (the last layer's patch tokens) and `NAME.normal` (those behind the last norm); the
metadata has the configuration of each as JSON. `picture` is what SigLIP's pictures are cut from.
"""

import json

import numpy
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, CLIPVisionModel, SiglipVisionConfig, SiglipVisionModel

SIZES = dict(hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=3,
             patch_size=4)
MODELS = {
    "clip": lambda: CLIPVisionModel(CLIPVisionConfig(image_size=12, **SIZES)),
    # A side that patches do not fill.
    "siglip": lambda: SiglipVisionModel(SiglipVisionConfig(image_size=14, **SIZES)),
}

generator = torch.Generator().manual_seed(9)
tensors, configs = {}, {}
for name, make in MODELS.items():
    model = make().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() > 1:
                parameter.copy_(noise * parameter[0].numel() ** -0.5)
            else:
                parameter.add_(0.2 * noise)
        side = model.config.image_size
        pixels = torch.randn(2, 3, side, side, generator=generator)
        output = model(pixel_values=pixels, output_hidden_states=True)
        tokens = output.hidden_states[-1]
        if name == "clip":
            tokens = tokens[:, 1:]
        normal = model.vision_model.post_layernorm(tokens)
    for key, value in model.state_dict().items():
        if not key.endswith("position_ids"):
            tensors[f"{name}.weight.{key}"] = value.contiguous().clone()
    tensors[f"{name}.pixels"] = pixels
    tensors[f"{name}.tokens"] = tokens.contiguous()
    tensors[f"{name}.normal"] = normal.contiguous()
    configs[name] = json.dumps(model.config.to_dict(), default=str)

picture = torch.randint(0, 256, (9, 15, 3), generator=generator, dtype=torch.uint8)
small = Image.fromarray(picture.numpy()).resize((6, 6), Image.Resampling.BICUBIC)
small = torch.from_numpy(numpy.array(small)).permute(2, 0, 1).float() / 255
tensors["picture"] = picture
tensors["squeezed"] = ((small - 0.5) / 0.5).contiguous()
save_file(tensors, "vision_transformers.safetensors", metadata=configs)

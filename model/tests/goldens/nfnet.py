"""Makes nfnet.safetensors: a tiny random NFNet and what `timm` computes.

    pip install torch==2.8.0 timm==1.0.31 safetensors
    python nfnet.py

The choices are those of `dm_nfnet_f0` to `f6`, the sizes smaller; the picture's side becomes odd on
the way. `output` is that of the last stage.
"""

import torch
from safetensors.torch import save_file
from timm.models.nfnet import NfCfg, NormFreeNet

config = NfCfg(
    depths=(1, 2, 1, 2), channels=(16, 24, 32, 32), stem_type="deep_quad", stem_chs=16,
    group_size=4, bottle_ratio=0.5, extra_conv=True, gamma_in_act=True, same_padding=True,
    skipinit=True, num_features=48, act_layer="gelu", attn_layer="se",
    attn_kwargs=dict(rd_ratio=0.5))
model = NormFreeNet(config, num_classes=3).eval()
generator = torch.Generator().manual_seed(6)
with torch.no_grad():
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if name.endswith("gain"):
            parameter.copy_(1 + 0.2 * noise)
        elif parameter.dim() > 1:
            parameter.copy_(noise * parameter[0].numel() ** -0.5)
        else:
            parameter.copy_(0.1 * noise)
    pixels = torch.randn(2, 3, 40, 40, generator=generator)
    output = model.stages(model.stem(pixels))
tensors = {f"weight.{name}": value.contiguous() for name, value in model.state_dict().items()}
save_file(dict(tensors, pixels=pixels, output=output.contiguous()), "nfnet.safetensors")

"""Makes the PyTorch checkpoints beside it.

    pip install torch==2.8.0
    python checkpoints.py

All hold the same tensors: `perceiver.latents` is 0, 1, 2, … as [3, 4]; `counts` is whole numbers.
"""

from collections import OrderedDict

import torch

latents = torch.arange(12, dtype=torch.float32).reshape(3, 4)
gate = torch.tensor([0.5], dtype=torch.bfloat16)


def state(prefix="", gated="lang_encoder.transformer.blocks.1.gated_cross_attn_layer"):
    wide = torch.cat([latents, latents + 100])
    return OrderedDict({
        f"{prefix}perceiver.latents": latents,
        # Laid out by columns, as a transposed weight is.
        f"{prefix}turned": latents.t().contiguous().t(),
        # A part of a storage that another tensor shares.
        f"{prefix}part": wide[3:],
        f"{prefix}whole": wide,
        f"{prefix}{gated}.attn_gate": gate,
        f"{prefix}half": latents.half(),
        f"{prefix}double": latents.double(),
        f"{prefix}counts": torch.tensor([3, -4], dtype=torch.int64),
    })


torch.save(state(), "plain.pt")
# The archive's entries are called after the file: the first one's record is as long as what stands
# between directory and end, 76 bytes.
torch.save(state(), "name_of_21_characters.pt")
optimizer = {"state": {0: {"step": torch.tensor(2.0), "exp_avg": latents}}, "param_groups": [
    {"lr": 1e-4, "betas": (0.9, 0.999), "amsgrad": False, "maximize": None, "params": [0]}]}
first = "lang_encoder.gated_cross_attn_layers.1"
torch.save({"epoch": 7, "model_state_dict": state("module.", first),
            "optimizer_state_dict": optimizer, "lr_scheduler_state_dict": {"last_epoch": 1}},
           "training.pt")
torch.save(state(), "old.pt", _use_new_zipfile_serialization=False)


class Call:
    """Calls a function when it is read."""

    def __reduce__(self):
        return (print, ("this must not be printed",))


torch.save({"perceiver.latents": latents, "extra": Call()}, "call.pt")

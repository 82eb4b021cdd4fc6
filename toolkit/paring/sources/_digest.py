"""One number that names a model's weights."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def digest(model: nn.Module) -> str:
    """SHA-256 over the state dict in order of its names: name, dtype, shape and bytes of each tensor."""
    import torch

    total = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        total.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        plain = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        total.update(plain.numpy().data)
    return total.hexdigest()

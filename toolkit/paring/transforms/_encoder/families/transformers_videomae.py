"""transformers' VideoMAE (VideoMAEModel, VideoMAEForVideoClassification), arXiv 2203.12602.

A plain ViT over all tubes of all frames at once, without a class token: token (t * rows + i) * columns + j.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..block import BlockParts
from . import Site
from .transformers_vit import TransformersEncoder, split_vit


def locate(model: nn.Module) -> Site | None:
    """The encoder of the first VideoMAEModel inside `model`."""
    modules = dict(model.named_modules())
    for path, module in modules.items():
        encoder: Any = getattr(module, "encoder", None)
        if type(encoder).__name__ != "VideoMAEEncoder" or type(module).__name__ != "VideoMAEModel":
            continue
        parent = modules[path.rpartition(".")[0]] if path else None
        return Site(
            parent=module,
            name="encoder",
            path=f"{path}.encoder".lstrip("."),
            blocks=list(encoder.layer),
            split=_split,
            wrap=TransformersEncoder,
            prefix=0,
            class_token=False,
            reasons=tuple(_reasons(parent)),
            grid=_grid(module),
            mean_follows=getattr(parent, "fc_norm", None) is not None,
        )
    return None


def _reasons(parent: Any) -> list[str]:
    if type(parent).__name__ == "VideoMAEForPreTraining":
        return ["VideoMAEForPreTraining rebuilds every tube from the encoder's tokens: none may go"]
    return []


def _grid(module: Any) -> tuple[int, int, int]:
    patches = module.embeddings.patch_embeddings
    rows, columns = (
        side // patch for side, patch in zip(patches.image_size, patches.patch_size, strict=True)
    )
    return module.config.num_frames // patches.tubelet_size, rows, columns


def _split(layer: Any) -> BlockParts:
    """Queries and values have their bias apart from their layers, and keys have none."""
    inner = layer.attention.attention
    parts = split_vit(layer)
    return parts._replace(query=_biased(parts.query, inner.q_bias), value=_biased(parts.value, inner.v_bias))


def _biased(linear: nn.Linear, bias: torch.Tensor | None) -> nn.Linear:
    if bias is not None:
        linear.bias = nn.Parameter(bias.detach().clone())
    return linear

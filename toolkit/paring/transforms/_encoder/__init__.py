"""The encoder of a vision, audio or video transformer as one trunk, whatever the model's family."""

from __future__ import annotations

from torch import nn

from .block import Attended, Block
from .families import locate
from .tokens import Tokens, take
from .trunk import Record, Trunk, find

__all__ = [
    "Attended",
    "Block",
    "Record",
    "Tokens",
    "Trunk",
    "find",
    "open_encoder",
    "take",
    "why_not",
]

KNOWN = (
    "timm VisionTransformer (ViT, DeiT, CLIP, DINOv2), transformers ViT, DeiT, DINOv2, CLIP vision, AST,"
    " Whisper's encoder, VideoMAE"
)


def why_not(model: nn.Module) -> list[str]:
    """Why the encoder of `model` cannot be opened; empty when it can."""
    if find(model) is not None:
        return []
    site = locate(model)
    if site is None:
        return [f"no vision transformer encoder found in {type(model).__name__}; known: {KNOWN}"]
    return list(site.reasons)


def open_encoder(model: nn.Module) -> Trunk:
    """Replace the model's own stack of blocks by a trunk that computes the same, and return it.

    Raises:
        ValueError: the model has no encoder that any family knows.
    """
    trunk = find(model)
    if trunk is not None:
        return trunk
    reasons = why_not(model)
    site = locate(model)
    if reasons or site is None:
        raise ValueError("; ".join(reasons))
    parts = [site.split(block) for block in site.blocks]
    trunk = Trunk(parts, site.prefix, site.class_token, site.grid, site.mean_follows)
    trunk.train(model.training)
    setattr(site.parent, site.name, site.wrap(trunk))
    return trunk

"""Vision transformers of common widths and few blocks, at random weights: quick to export, for speed only."""

from __future__ import annotations

from typing import Any

from timm.models.vision_transformer import VisionTransformer


def _vit(width: int, heads: int, depth: int, **options: Any) -> VisionTransformer:
    model = VisionTransformer(embed_dim=width, num_heads=heads, depth=depth, **options)
    model.input_shape = (3, 224, 224)
    return model


def tiny() -> VisionTransformer:
    """DeiT-tiny's blocks, six of twelve."""
    return _vit(192, 3, 6)


def small() -> VisionTransformer:
    """ViT-small's blocks, four of twelve."""
    return _vit(384, 6, 4)

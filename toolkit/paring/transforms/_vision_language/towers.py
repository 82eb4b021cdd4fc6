"""transformers' vision towers that a LLaVA may have, opened: CLIP's, SigLIP's and DINOv2's."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .._encoder import Block, Trunk
from .._encoder.block import BlockParts
from .._encoder.families.transformers_vit import split_clip, split_dinov2
from .tower import Tower

DINOV2 = "Dinov2Model"
TOWERS = {"CLIPVisionModel": 1, "SiglipVisionModel": 0, DINOV2: 1}  # tokens before the patches


class Embedding(nn.Module):
    """CLIP's embeddings with the norm behind them."""

    def __init__(self, embeddings: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.embeddings, self.norm = embeddings, norm

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """[B, 3, H, W] -> [B, N, C]."""
        return self.norm(self.embeddings(pixels))


class PlacedEmbedding(nn.Module):
    """DINOv2's embeddings for images of one size, its positions interpolated once.

    Args:
        embeddings: transformers'.
        size: (height, width) of the images, in pixels.
    """

    def __init__(self, embeddings: Any, size: tuple[int, int]) -> None:
        super().__init__()
        self.projection: nn.Conv2d = embeddings.patch_embeddings.projection
        first, (rows, columns) = embeddings.cls_token, grid_of(embeddings.patch_size, size)
        with torch.no_grad():
            like = first.new_empty(1, 1 + rows * columns, first.shape[2])
            places = embeddings.interpolate_pos_encoding(like, *size)
            self.first = nn.Parameter(first + places[:, :1])  # [1, 1, C]
            self.places = nn.Parameter(places[:, 1:].clone())  # [1, rows * columns, C]

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """[B, 3, H, W] -> [B, 1 + rows * columns, C]."""
        patches = self.projection(pixels).flatten(2).transpose(1, 2) + self.places
        return torch.cat([self.first.expand(len(patches), -1, -1), patches], 1)


def grid_of(patch: int, size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of whole patches."""
    return size[0] // patch, size[1] // patch


def layers_reasons(model: Any) -> list[str]:
    """Why the features of a known tower's layers cannot be taken."""
    stated, depth = model.config.vision_feature_layer, model.config.vision_config.num_hidden_layers
    layers = [stated] if isinstance(stated, int) else stated
    if isinstance(layers, (list, tuple)) and layers and all(_is_state(layer, depth) for layer in layers):
        return []
    return [
        f"vision_feature_layer is {stated}: its tower's hidden states are {-depth - 1} to {depth}, and one of"
        " them or a list is needed"
    ]


def _is_state(layer: object, depth: int) -> bool:
    return isinstance(layer, int) and -depth - 1 <= layer <= depth


def feature_layers(model: Any) -> tuple[int, ...]:
    """The hidden states that are features, counted from 0: state k is what k layers give."""
    stated, depth = model.config.vision_feature_layer, model.config.vision_config.num_hidden_layers
    layers = [stated] if isinstance(stated, int) else stated
    return tuple(layer if layer >= 0 else depth + 1 + layer for layer in layers)


def tower_of(model: Any, size: tuple[int, int] | None = None) -> Tower:
    """The vision tower up to the last of the selected layers.

    Args:
        model: a LLaVA whose tower and layers are known.
        size: (height, width) of prepared images; None is the tower's own.

    Raises:
        ValueError: its tower has positions for another size alone, or an image has not one patch.
    """
    tower, config = model.model.vision_tower, model.config
    kind = type(tower).__name__
    prefix, vision, own = TOWERS[kind], config.vision_config, int(config.vision_config.image_size)
    size, grid = size or (own, own), grid_of(vision.patch_size, size or (own, own))
    if (kind != DINOV2 and size != (own, own)) or min(grid) < 1:
        raise ValueError(f"images of {size[0]} x {size[1]} pixels do not fit its {kind} for {own} x {own}")
    embedding, parts = _opened(kind, tower, size)
    layers = feature_layers(model)
    used = max(layers)
    return Tower(
        embedding,
        Trunk(parts[:used], prefix, prefix > 0, grid),
        [Block(part) for part in parts[used:]] if prefix else [],
        config.vision_feature_select_strategy == "full",
        size,
        layers,
    )


def _opened(kind: str, tower: Any, size: tuple[int, int]) -> tuple[nn.Module, list[BlockParts]]:
    """What embeds pixels, and every layer in parts."""
    if kind == DINOV2:
        return PlacedEmbedding(tower.embeddings, size), [split_dinov2(layer) for layer in tower.encoder.layer]
    vision = tower.vision_model
    parts = [split_clip(layer) for layer in vision.encoder.layers]
    if kind == "SiglipVisionModel":
        return vision.embeddings, parts
    return Embedding(vision.embeddings, vision.pre_layrnorm), parts

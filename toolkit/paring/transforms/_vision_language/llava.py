"""transformers' LLaVA and LLaVA-NeXT: their parts, and why they cannot be opened."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .. import _decoder
from .model import VisionLanguage
from .tiles import Untile, tiling_of
from .tower import Tower
from .towers import TOWERS, layers_reasons, tower_of

NAME, NEXT = "LlavaForConditionalGeneration", "LlavaNextForConditionalGeneration"


class Projector(nn.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, first: nn.Linear, activation: nn.Module, second: nn.Linear) -> None:
        super().__init__()
        self.first, self.activation, self.second = first, activation, second

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """[B, n, C] -> [B, n, C of the language model]."""
        return self.second(self.activation(self.first(features)))


def reasons_of(model: Any) -> list[str]:
    """Why `model` cannot be opened; empty when it can."""
    if type(model).__name__ not in (NAME, NEXT):
        return [f"{type(model).__name__} is no vision-language model that is known; known: {NAME}, {NEXT}"]
    config, kind = model.config, type(model.model.vision_tower).__name__
    reasons = []
    if kind not in TOWERS:
        reasons.append(f"its vision tower is {kind}; known: {', '.join(TOWERS)}")
    else:
        reasons += layers_reasons(model)
    prefix, strategy = TOWERS.get(kind), config.vision_feature_select_strategy
    if strategy == "default" and prefix == 0:
        reasons.append("vision_feature_select_strategy 'default' needs a class token, which its tower lacks")
    if type(model).__name__ == NEXT and prefix and strategy == "full":
        reasons.append("vision_feature_select_strategy 'full' puts class tokens among the tiles' patches")
    return reasons + _decoder.why_not(language_model(model))


def open_llava(model: Any, image_size: tuple[int, int] | None = None) -> VisionLanguage:
    """The parts of a model that `reasons_of` has nothing against.

    Args:
        model: transformers' own.
        image_size: (height, width) of LLaVA-NeXT's images, None is its largest canvas; of another's
            prepared images where its tower has positions for every size, None is the config's.
    """
    inner = model.model
    projector = inner.multi_modal_projector
    tiled = type(model).__name__ == NEXT
    tower = tower_of(model, None if tiled else image_size)
    return VisionLanguage(
        tower,
        Projector(projector.linear_1, projector.act, projector.linear_2),
        _decoder.open_decoder(language_model(model)),
        int(model.config.image_token_id),
        _untile(model, tower, image_size) if tiled else None,
    )


def _untile(model: Any, tower: Tower, image_size: tuple[int, int] | None) -> Untile:
    canvases = model.config.image_grid_pinpoints
    largest = max(canvases, key=lambda canvas: int(canvas[0]) * int(canvas[1]))
    image = image_size or (int(largest[0]), int(largest[1]))
    rows, columns = tower.trunk.grid or (0, 0)
    tiling = tiling_of(image, canvases, tower.size[0], (int(rows), int(columns)))
    return Untile(tiling, model.model.image_newline.detach())


def language_model(model: Any) -> nn.Module:
    """The language model with its head in transformers' own class for it, over the same weights."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        causal = AutoModelForCausalLM.from_config(model.config.text_config)
    causal.model, causal.lm_head = model.model.language_model, model.lm_head
    return causal

"""What a manifest tells of a model's mixtures: the tokens that each expert gets, layer by layer."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from .data import ImageData, Preprocess
from .transforms import _mixture

IMAGES = 64  # over which routers are asked what they prefer
BATCH = 16


def expert_shares(
    model: nn.Module, example: torch.Tensor, data: ImageData | None, preprocess: Preprocess
) -> list[dict[str, Any]]:
    """One entry a mixture: `layer`, `experts`, `tokens`, `alpha`, `costs`, `preferred`.

    Args:
        model: empty answer where it has no mixture.
        example: [B, C, H, W], which says how many tokens there are.
        data: images over which the routers' own preference is counted; None leaves it out.
        preprocess: of the images.
    """
    if not _mixture.mixtures(model):
        return []
    images = [example[:1]]
    if data is not None:
        step = max(1, len(data.images) // IMAGES)
        chosen = torch.from_numpy(preprocess.apply(data.images[::step][:IMAGES]))
        images = [chosen[start : start + BATCH] for start in range(0, len(chosen), BATCH)]
    with _mixture.routing(model) as routed, torch.inference_mode():
        for batch in images:
            model(batch)
    return [asdict(share) for share in _mixture.expert_shares(model, routed, data is not None)]

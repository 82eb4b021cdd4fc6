"""Which patches survived, and which merged into which: the decisions of a transformed model."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn

from ._encoder import find


class TokenMap(NamedTuple):
    """What every token step of one forward pass decided.

    Attributes:
        owner: [B, stages, P] int64; for each patch the index of the token that holds it after the
            stage, -1 when it was dropped. Patches with one index were merged or fused.
        stage_names: ("block 4", ...).
        fused: [stages] the index of the token that holds the inattentive patches, -1 where there is none.
        margin: [B] by how little the closest decision was made, relative to the scores.
    """

    owner: torch.Tensor
    stage_names: tuple[str, ...]
    fused: tuple[int, ...]
    margin: torch.Tensor


def trace(model: nn.Module, pixels: torch.Tensor) -> tuple[Any, TokenMap | None]:
    """The model's own outputs and its token map; None where no token step is in the model."""
    trunk = find(model)
    if trunk is None:
        return model(pixels), None
    with trunk.recording() as record:
        outputs = model(pixels)
    if not record.stages:
        return outputs, None
    owners = [stage.owner[:, trunk.prefix :] for stage in record.stages if stage.owner is not None]
    steps = [step for block in trunk.opened() for step in block.steps()]
    fused = tuple(
        stage.x.shape[1] - 1 if getattr(step, "inattentive", "drop") != "drop" else -1
        for stage, step in zip(record.stages, steps, strict=True)
    )
    margin = record.stages[-1].margin
    assert margin is not None
    return outputs, TokenMap(torch.stack(owners, 1), tuple(record.stage_names), fused, margin)


class WithTokenMap(nn.Module):
    """A model with one more output, `token_map` [B, stages, P] int64."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """[B, C, H, W] -> the model's outputs, then the token map."""
        outputs, token_map = trace(self.model, pixels)
        plain = (outputs,) if isinstance(outputs, torch.Tensor) else tuple(outputs)
        return plain if token_map is None else (*plain, token_map.owner)


def tokens_per_layer(model: nn.Module, pixels: torch.Tensor) -> list[int] | None:
    """How many tokens each block's MLP sees for an input of this size; None without an opened encoder."""
    trunk = find(model)
    if trunk is None:
        return None
    counts: list[int] = []
    handle = trunk.register_forward_pre_hook(lambda module, arguments: counts.append(arguments[0].shape[1]))
    try:
        with torch.inference_mode():
            model(pixels[:1])
    finally:
        handle.remove()
    return trunk.tokens_per_layer(counts[0])

"""Which patches survived, and which merged into which: the decisions of a transformed model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import nn

from ._encoder import find


@runtime_checkable
class Deciding(Protocol):
    """A module that is no step and yet makes discrete choices: another source of ties."""

    def decision_gap(self, x: torch.Tensor) -> torch.Tensor:
        """[B] by how little the closest choice for the module's input was made, relative to the scores."""


class TokenMap(NamedTuple):
    """What every token step of one forward pass decided.

    Attributes:
        owner: [B, stages, P] int64; for each patch the index of the token that holds it after the
            stage, -1 when it was dropped. Patches with one index were merged or fused.
        stage_names: ("block 4", ...).
        fused: [stages] the index of the token that holds the inattentive patches, -1 where there is none.
        margin: [B] by how little the closest decision was made, relative to the scores.

    A model that chooses without token steps has a map of no stages: its margin is all that it tells.
    """

    owner: torch.Tensor
    stage_names: tuple[str, ...]
    fused: tuple[int, ...]
    margin: torch.Tensor


def trace(model: nn.Module, pixels: torch.Tensor) -> tuple[Any, TokenMap | None]:
    """The model's own outputs and its token map; None where nothing in the model chooses."""
    trunk = find(model)
    if trunk is None:
        return model(pixels), None
    with trunk.recording() as record, _gaps(model) as gaps:
        outputs = model(pixels)
    if not record.stages:
        return outputs, _without_steps(gaps) if gaps else None
    owners = [stage.owner[:, trunk.prefix :] for stage in record.stages if stage.owner is not None]
    steps = [step for block in trunk.opened() for step in block.steps()]
    fused = tuple(
        stage.x.shape[1] - 1 if getattr(step, "inattentive", "drop") != "drop" else -1
        for stage, step in zip(record.stages, steps, strict=True)
    )
    margin = record.stages[-1].margin
    assert margin is not None
    margin = torch.stack([margin, *gaps]).amin(0)
    return outputs, TokenMap(torch.stack(owners, 1), tuple(record.stage_names), fused, margin)


def _without_steps(gaps: list[torch.Tensor]) -> TokenMap:
    margin = torch.stack(gaps).amin(0)
    return TokenMap(torch.zeros(len(margin), 0, 0, dtype=torch.int64), (), (), margin)


@contextmanager
def _gaps(model: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Inside, a forward pass adds the gap of each module that decides."""
    found: list[torch.Tensor] = []

    def look(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        assert isinstance(module, Deciding)
        found.append(module.decision_gap(inputs[0]))

    with ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, Deciding):
                stack.callback(module.register_forward_pre_hook(look).remove)
        yield found


class WithTokenMap(nn.Module):
    """A model with one more output, `token_map` [B, stages, P] int64."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """[B, C, H, W] -> the model's outputs, then the token map."""
        outputs, token_map = trace(self.model, pixels)
        plain = (outputs,) if isinstance(outputs, torch.Tensor) else tuple(outputs)
        return plain if token_map is None or not token_map.stage_names else (*plain, token_map.owner)


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

"""What the blocks of an encoder put out, of two models side by side."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import torch
from torch import nn

from ..transforms._encoder import find
from ..transforms._encoder.families import locate
from ..transforms._spikes.bipolar import find as find_spiking


class BlockOutputs:
    """Collects every block's output [B, N, C] in a forward pass. A context: it hangs on the model inside.

    Attributes:
        prefix: leading tokens that are no patches.
        known: whether the model has blocks that are known.
    """

    def __init__(self, model: nn.Module) -> None:
        trunk, coded, self.prefix = find(model), find_spiking(model), 0
        blocks: list[nn.Module] = []
        if trunk is not None:
            blocks, self.prefix = list(trunk.blocks), trunk.prefix
        elif coded is not None:  # it has as many tokens as the original: no prefix is asked for
            blocks = list(coded.blocks)
        else:
            site = locate(model)
            if site is not None:
                blocks, self.prefix = site.blocks, site.prefix
        self.known, self._found = bool(blocks), list[torch.Tensor]()
        self._handles = [block.register_forward_hook(self._keep) for block in blocks]

    def _keep(self, block: nn.Module, arguments: Any, output: Any) -> None:
        while not isinstance(output, torch.Tensor):  # a trunk's block: (tokens, stages); transformers': (x,)
            output = output[0]
        self._found.append(output)

    def take(self) -> list[torch.Tensor]:
        """The outputs since the last call."""
        found, self._found = self._found, []
        return found

    def __enter__(self) -> BlockOutputs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()


def feature_loss(own: list[torch.Tensor], others: list[torch.Tensor], prefix: int) -> torch.Tensor:
    """Mean over the blocks of |own - other|^2 / |other|^2, each [B, N, C]; 1 is as bad as zeros.

    Where a block of `own` has another number of tokens, the `prefix` leading tokens are compared, or
    without any the tokens' mean.
    """
    losses = []
    for mine, other in zip(own, others, strict=True):
        if mine.shape != other.shape:
            mine, other = _comparable(mine, prefix), _comparable(other, prefix)
        losses.append((mine - other).square().mean() / other.square().mean())
    return torch.stack(losses).mean()


def _comparable(tokens: torch.Tensor, prefix: int) -> torch.Tensor:
    return tokens[:, :prefix] if prefix else tokens.mean(1, keepdim=True)

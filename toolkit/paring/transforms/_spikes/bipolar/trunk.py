"""A stack of blocks in its two forms, and the exchange of one for the other inside a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from ..._shift.surgery import replaced
from .block import SpikeBlock
from .neuron import Neurons
from .time import OnePass, Steps, Time


class _Stack(nn.Module):
    def __init__(self, blocks: Iterable[SpikeBlock], steps: int) -> None:
        super().__init__()
        self.blocks, self.steps = nn.ModuleList(blocks), steps

    def opened(self) -> list[SpikeBlock]:
        """The blocks, with their type."""
        return [block for block in self.blocks if isinstance(block, SpikeBlock)]

    def neurons(self) -> dict[str, Neurons]:
        """Every layer of neurons by its path below, in the order in which they run."""
        return {name: module for name, module in self.named_modules() if isinstance(module, Neurons)}

    def over(self, x: torch.Tensor, time: Time) -> torch.Tensor:
        """All blocks, one after the other."""
        for block in self.blocks:
            x = block(x, time)
        return x


class QuantisedTrunk(_Stack):
    """The form that is trained: x [B, N, C] -> [B, N, C] in one pass over codes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, N, C] -> [B, N, C]."""
        return self.over(x, OnePass())


class SpikingTrunk(_Stack):
    """T steps of spikes: x [B, N, C], a current at the first step -> the sum of what leaves, [B, N, C].

    What follows in the model (the last norm, the head) reads that sum.
    """

    _time: Steps | None

    def __init__(self, blocks: Iterable[SpikeBlock], steps: int) -> None:
        """Raises ValueError where there would be no step."""
        if steps < 1:
            raise ValueError(f"steps: {steps}, expected at least 1")
        super().__init__(blocks, steps)
        self._time, self._each = None, False  # by `running`

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, N, C] -> [B, N, C], from reset neurons."""
        if self._time is not None:
            leaving = self.over(self._time.entering(x), self._time)
            return self._time.sums(leaving) if self._each else self._sum(leaving)
        # One image after the other: over T steps the values of several fall out of the caches.
        parts = [x] if torch.compiler.is_exporting() else x.split(1)
        time = Steps(self.steps)
        return torch.cat([self._sum(self.over(time.entering(part), time)) for part in parts])

    def _sum(self, leaving: torch.Tensor) -> torch.Tensor:
        return leaving.unflatten(0, (self.steps, -1)).sum(0)

    @contextmanager
    def running(self, time: Steps, each: bool = False) -> Iterator[None]:
        """Inside, the blocks run by `time`, of as many steps as the trunk, on all images at once.

        With `each` the sums until every step leave, [T * B, N, C], so that the model answers for each.
        """
        assert time.steps == self.steps
        self._time, self._each = time, each
        try:
            yield
        finally:
            self._time, self._each = None, False


def find(model: nn.Module) -> SpikingTrunk | QuantisedTrunk | None:
    """The stack inside `model`, in either form."""
    kinds = (SpikingTrunk, QuantisedTrunk)
    return next((module for module in model.modules() if isinstance(module, kinds)), None)


def quantised(model: nn.Module) -> nn.Module:
    """Every `SpikingTrunk` as a `QuantisedTrunk` over the same blocks. The model given is changed."""
    return _exchanged(model, SpikingTrunk, QuantisedTrunk)


def spiking(model: nn.Module) -> nn.Module:
    """Every `QuantisedTrunk` as a `SpikingTrunk` over the same blocks. The model given is changed."""
    return _exchanged(model, QuantisedTrunk, SpikingTrunk)


def _exchanged(model: nn.Module, kind: type[_Stack], other: type[_Stack]) -> nn.Module:
    def made(path: str, old: nn.Module) -> nn.Module:
        assert isinstance(old, _Stack)
        return other(old.opened(), old.steps).train(old.training)

    return replaced(model, lambda path, module: isinstance(module, kind), made)

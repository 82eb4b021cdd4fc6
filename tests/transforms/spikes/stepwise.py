"""Spiking blocks one step at a time, with everything that a chip would keep: an independent reference."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from paring.transforms._spikes.bipolar import Neurons


class OneStep:
    """How a block runs one step; what each operation keeps lies in a list, in the order of the operations."""

    def __init__(self) -> None:
        self.kept: list[dict[str, Any]] = []
        self.at = 0
        self.spikes: list[torch.Tensor] = []

    def again(self) -> None:
        """The next step."""
        self.at, self.spikes = 0, []

    def state(self) -> dict[str, Any]:
        if self.at == len(self.kept):
            self.kept.append({})
        self.at += 1
        return self.kept[self.at - 1]

    def function(self, place: nn.Module, f: Any, x: torch.Tensor) -> torch.Tensor:
        state = self.state()
        state["total"] = state.get("total", 0) + x
        before, state["value"] = state.get("value", 0), f(state["total"])
        return state["value"] - before

    def weights(self, layer: nn.Linear, x: torch.Tensor, unit: torch.Tensor) -> torch.Tensor:
        state = self.state()
        added = (x @ layer.weight.T) * unit
        if "begun" not in state and layer.bias is not None:
            added = added + layer.bias
        state["begun"] = True
        return added

    def product(self, place: nn.Module, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """In three products, as SpikeZIP-TF has it."""
        state = self.state()
        state["a"], state["b"] = state.get("a", 0) + a, state.get("b", 0) + b
        return state["a"] @ b + a @ state["b"] - a @ b

    def fire(self, neurons: Neurons, x: torch.Tensor, unit: Any = 1.0) -> torch.Tensor:
        state, threshold = self.state(), neurons.threshold
        if not state:
            state.update(membrane=torch.full_like(x, 0.5) * threshold, tracer=torch.zeros_like(x))
        state["membrane"] = state["membrane"] + x * unit
        up = (state["membrane"] >= threshold) & (state["tracer"] < neurons.highest)
        down = (state["membrane"] < 0) & (state["tracer"] > neurons.lowest)
        spikes = up.to(x.dtype) - down.to(x.dtype)
        state["membrane"] = state["membrane"] - threshold * spikes
        state["tracer"] = state["tracer"] + spikes
        self.spikes.append(spikes)
        return spikes

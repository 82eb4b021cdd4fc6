"""What a block's operations are: in one pass over codes, or over T steps of spikes.

Over steps every value [T * B, ...], time first, is what comes *in addition* at each step; the sum over the
steps stands for the value of the one pass (SpikeZIP-TF, https://arxiv.org/abs/2406.03470):

- weights add W s_t for spikes s_t, and the bias at the first step;
- a product of two spike trains adds S_a(t) b_t + a_t S_b(t-1), which sums to S_a(t) S_b(t), S being all
  spikes so far: the paper's spiking attention in two products in place of three, one operand spikes in each;
- a function adds f(X_t) - f(X_(t-1)), X_t being all that came, and f(X_0) counted as 0: softmax, layer norm
  and GELU in the form of differences.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import nn

from .neuron import Neurons

Unit = torch.Tensor | float
Function = Callable[[torch.Tensor], torch.Tensor]


class Place(nn.Module):
    """Where a block has an operation without weights of its own: a product, a softmax."""


class Time(Protocol):
    """How a block runs. `place` is the block's own module for the operation, and tells where it is."""

    def function(self, place: nn.Module, f: Function, x: torch.Tensor) -> torch.Tensor:
        """f of all that came; a token's value follows from that token alone, or an attention row's."""

    def weights(self, layer: nn.Linear, x: torch.Tensor, unit: torch.Tensor) -> torch.Tensor:
        """The layer on unit * x."""

    def product(self, place: nn.Module, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """[..., N, D] by [..., D, M]."""

    def fire(self, neurons: Neurons, x: torch.Tensor, unit: Unit = 1.0) -> torch.Tensor:
        """Codes or spikes of unit * x."""


class OnePass:
    """The quantised form: values [B, ...], what neurons give are codes."""

    def function(self, place: nn.Module, f: Function, x: torch.Tensor) -> torch.Tensor:
        """See `Time`."""
        return f(x)

    def weights(self, layer: nn.Linear, x: torch.Tensor, unit: torch.Tensor) -> torch.Tensor:
        """See `Time`."""
        return nn.functional.linear(x, layer.weight * unit, layer.bias)

    def product(self, place: nn.Module, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """See `Time`."""
        return a @ b

    def fire(self, neurons: Neurons, x: torch.Tensor, unit: Unit = 1.0) -> torch.Tensor:
        """See `Time`."""
        return neurons.codes(x, unit)


class Steps:
    """The spiking form: additions [T * B, ...] at each of T steps, layer after layer over all steps at once.

    For a network without cycles that is what step after step gives, a spike of one layer reaching the next
    within the same step.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def entering(self, x: torch.Tensor) -> torch.Tensor:
        """[B, ...] -> [T * B, ...]: all of it as a current at the first step, nothing later."""
        return torch.cat([x, x.new_zeros(((self.steps - 1) * x.shape[0], *x.shape[1:]))])

    def sums(self, x: torch.Tensor) -> torch.Tensor:
        """All that came until each step."""
        return x.unflatten(0, (self.steps, -1)).cumsum(0).flatten(0, 1)

    def function(self, place: nn.Module, f: Function, x: torch.Tensor) -> torch.Tensor:
        """See `Time`."""
        values = f(self.sums(x)).unflatten(0, (self.steps, -1))
        return torch.cat([values[:1], values[1:] - values[:-1]]).flatten(0, 1)

    def weights(self, layer: nn.Linear, x: torch.Tensor, unit: torch.Tensor) -> torch.Tensor:
        """See `Time`."""
        added = nn.functional.linear(x, layer.weight * unit)
        if layer.bias is None:
            return added
        batch = x.shape[0] // self.steps
        return torch.cat([added[:batch] + layer.bias, added[batch:]])

    def product(self, place: nn.Module, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """See `Time`."""
        return self.sums(a) @ b + a @ (self.sums(b) - b)

    def fire(self, neurons: Neurons, x: torch.Tensor, unit: Unit = 1.0) -> torch.Tensor:
        """See `Time`."""
        return neurons.spikes(x, self.steps, unit)

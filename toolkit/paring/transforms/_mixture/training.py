"""Training a mixture: every expert answers every token, and the gates choose with a gradient.

The release's router learns nothing: its top-1 gate is always 1, and its balancing loss is switched off. Here
tokens are dispatched as in the artifact, and the weight of expert i is

- straight through: w_i = [i is chosen] + p_i - stop(p_i), of value 0 or 1; dL/dp_i = dL/dy . E_i(x) for all
  experts, so that the router learns where their answers differ;
- probability: w_i = [i is chosen] p_i, the gradient of the chosen gate alone.

Both are differentiable in p, and p in the router's weights.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import one_hot

from .._shift import ShiftLinear, TrainableShiftLinear
from .._shift import frozen as without_latents
from .._shift.surgery import replaced
from .balance import latency_aware_loss
from .dispatch import counts, split
from .layer import MixtureLinear


class TrainableMixtureLinear(MixtureLinear):
    """A `MixtureLinear` whose router gets a gradient. Its output is that of the layer it freezes to.

    Attributes:
        balance: the latency-aware loss of the last forward pass in training mode, not yet weighted.
    """

    balance: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, N, K] -> [B, N, M]."""
        scores = self.router(x)
        gates = scores.softmax(-1)
        self.balance = latency_aware_loss(gates, self.plan.alpha) if self.training else None
        weights = self._weights(scores, gates)
        answers = torch.stack([expert(x) for expert in self.experts.values()], dim=-1)  # [B, N, M, E]
        return (answers * weights[:, :, None]).sum(-1)

    def _weights(self, scores: torch.Tensor, gates: torch.Tensor) -> torch.Tensor:
        """[B, N, E] of each expert's answer."""
        numbers = counts(self.plan.shares, scores.shape[1])
        place = split(scores.detach(), numbers).place
        ends = [sum(numbers[:expert]) for expert in range(1, len(numbers))]
        # Not by a table of owners: building one makes a GPU wait for the host in every layer.
        owner = torch.stack([(place >= end).long() for end in ends]).sum(0)  # [B, N]
        chosen = one_hot(owner, len(numbers)).to(gates.dtype)
        if self.plan.gate == "probability":
            return chosen * gates
        return chosen + (gates - gates.detach())


def trainable(model: nn.Module) -> nn.Module:
    """Replace each `MixtureLinear` by its trainable form, in place; its shift experts get latent weights.

    A shift expert starts at the weights of the mixture's linear expert, where there is one and codes were not
    trained before: the codes of both are the same.
    """

    def made(path: str, layer: nn.Module) -> nn.Module:
        assert isinstance(layer, MixtureLinear)
        experts = {name: _with_latent(expert, layer) for name, expert in layer.experts.items()}
        return TrainableMixtureLinear(experts, layer.router, layer.plan).train(layer.training)

    return replaced(model, lambda path, module: type(module) is MixtureLinear, made)


def _with_latent(expert: nn.Module, mixture: MixtureLinear) -> nn.Module:
    if not isinstance(expert, ShiftLinear):
        return expert
    found = TrainableShiftLinear(expert)
    linear = next((one for one in mixture.experts.values() if type(one) is nn.Linear), None)
    if linear is not None:
        from_float = TrainableShiftLinear(expert, linear.weight)
        if torch.equal(from_float.weight, found.weight):
            found = from_float
    return found.train(expert.training)


def frozen(model: nn.Module) -> nn.Module:
    """Replace each trainable form by its `MixtureLinear`, in place. The outputs stay the same."""

    def made(path: str, layer: nn.Module) -> nn.Module:
        assert isinstance(layer, TrainableMixtureLinear)
        experts = {name: without_latents(expert) for name, expert in layer.experts.items()}
        return MixtureLinear(experts, layer.router, layer.plan).train(layer.training)

    return replaced(model, lambda path, module: isinstance(module, TrainableMixtureLinear), made)


def auxiliary_loss(model: nn.Module) -> torch.Tensor:
    """The mixtures' latency-aware losses in the last forward pass, weighted and added up: a scalar.

    Zero where there are none, or where that pass was not in training mode.
    """
    losses = [
        layer.plan.balance_weight * layer.balance
        for layer in model.modules()
        if isinstance(layer, TrainableMixtureLinear) and layer.balance is not None
    ]
    if losses:
        return torch.stack(losses).sum()
    return next(model.parameters()).new_zeros(())

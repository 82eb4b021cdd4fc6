"""One pre-norm transformer block whose every weight and product reads codes, or spikes.

Neurons stand where SpikeZIP-TF has quantisers (https://arxiv.org/abs/2406.03470): behind both
norms, queries, keys, values, softmax, the attention's mixture, the activation, and both additions to the
residual.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from ..._encoder.block import Attention, Block
from .neuron import Neurons
from .time import Place, Time

PLACES = ("normed1", "query", "key", "value", "attended", "mixed", "added1", "normed2", "active", "added2")
ACTIVATIONS = ("act", "activation", "activation_fn")


def activation_of(mlp: nn.Module) -> nn.Module | None:
    """What stands between `fc1` and `fc2`; None in an MLP of another form."""
    children: Mapping[str, nn.Module | None] = mlp._modules
    others = [
        name
        for name, child in children.items()
        if name not in ("fc1", "fc2", *ACTIVATIONS)
        and child is not None
        and not isinstance(child, (nn.Identity, nn.Dropout))
    ]
    linear = all(type(children.get(name)) is nn.Linear for name in ("fc1", "fc2"))
    found = next((children[name] for name in ACTIVATIONS if children.get(name) is not None), None)
    return found if linear and not others else None


def _linear(layer: object) -> nn.Linear:
    assert isinstance(layer, nn.Linear)
    return layer


class SpikeBlock(nn.Module):
    """x = x + output(mix(softmax(scores(q, k)), v)); x = x + fc2(act(fc1(norm2 x))), neurons between."""

    def __init__(self, block: Block, levels: int) -> None:
        """`block`: opened, and of what `refusals` lets pass; its parts are taken."""
        super().__init__()
        attention, mlp = block.attention, block.mlp
        assert isinstance(attention, Attention)
        activation = activation_of(mlp)
        assert activation is not None
        self.norm1, self.norm2 = block.norm1, block.norm2
        self.query, self.key = attention.query, attention.key
        self.value, self.output = attention.value, attention.output
        self.query_norm, self.key_norm = attention.query_norm, attention.key_norm
        self.heads, self.scale = attention.heads, attention.scale
        self.fc1, self.activation, self.fc2 = _linear(mlp.fc1), activation, _linear(mlp.fc2)
        self.scores, self.softmax, self.mix = Place(), Place(), Place()
        self.neurons = nn.ModuleDict({place: Neurons(levels) for place in PLACES})

    def at(self, place: str) -> Neurons:
        """The neurons at one of PLACES."""
        found = self.neurons[place]
        assert isinstance(found, Neurons)
        return found

    def forward(self, x: torch.Tensor, time: Time) -> torch.Tensor:
        """[B, N, C] in one pass, or what is added at each step, [T * B, N, C]."""
        x = self._attended(x, time)
        normed, active = self.at("normed2"), self.at("active")
        y = time.fire(normed, time.function(self.norm2, self.norm2, x))
        y = time.weights(self.fc1, y, normed.threshold)
        y = time.fire(active, time.function(self.activation, self.activation, y))
        return self._added(x, time.weights(self.fc2, y, active.threshold), "added2", time)

    def _attended(self, x: torch.Tensor, time: Time) -> torch.Tensor:
        normed, attended, mixed = self.at("normed1"), self.at("attended"), self.at("mixed")
        y = time.fire(normed, time.function(self.norm1, self.norm1, x))
        queries = self._head("query", self.query, self.query_norm, y, time)
        keys = self._head("key", self.key, self.key_norm, y, time)
        values = self._head("value", self.value, None, y, time)
        unit = self.at("query").threshold * self.at("key").threshold * self.scale
        scores = time.product(self.scores, queries, keys.transpose(2, 3))  # [B, H, N, N]
        shares = time.function(self.softmax, lambda sums: (sums * unit).softmax(-1), scores)
        mixture = time.product(self.mix, time.fire(attended, shares), values)  # [B, H, N, D]
        unit = attended.threshold * self.at("value").threshold
        y = time.fire(mixed, mixture.transpose(1, 2).flatten(2), unit)
        return self._added(x, time.weights(self.output, y, mixed.threshold), "added1", time)

    def _head(
        self, place: str, layer: nn.Linear, norm: nn.Module | None, y: torch.Tensor, time: Time
    ) -> torch.Tensor:
        """[B, N, C] -> codes or spikes [B, H, N, D]."""
        found = time.weights(layer, y, self.at("normed1").threshold)
        found = found.unflatten(2, (self.heads, -1)).transpose(1, 2)
        if norm is not None:
            found = time.function(norm, norm, found)
        return time.fire(self.at(place), found)

    def _added(self, x: torch.Tensor, y: torch.Tensor, place: str, time: Time) -> torch.Tensor:
        neurons = self.at(place)
        return x + time.fire(neurons, y) * neurons.threshold

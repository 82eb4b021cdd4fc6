"""ShiftAddViT: a mixture of multiplication and shift. You et al., https://arxiv.org/abs/2306.06446

A linear layer becomes several experts made of the same weights, by default the layer itself and one of
power-of-two weights, and a router that gives each token to one of them. Each expert takes a fixed share of a
sample's tokens, by default in inverse proportion to its latency, so that shapes are static and the experts
work for equally long. Latencies are those that `paring mixture-costs` measured on the target; without them,
the constants of the authors' code stand in, and the artifact says so. The router is random until it is
trained: `paring recover` does that, with the latency-aware loss.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from torch import nn

from ._encoder import open_encoder, why_not
from ._mixture import PRIMITIVES, Plan, auxiliary_loss, frozen, trainable
from ._mixture.choice import KINDS, assumed, chosen, inverse, mixable, mixed, relative, shape_key
from ._mixture.layer import GATES
from ._shift.choice import named, nearest, skeleton
from ._shift.surgery import replaced
from .traits import Traits

__all__ = ["TRAITS", "Config", "apply", "auxiliary_loss", "check", "frozen", "trainable"]

TRAITS = Traits(
    title="ShiftAddViT: mixture of primitives",
    paper="https://arxiv.org/abs/2306.06446",
    mechanism="arithmetic",
    training_free=False,
    static_shape=True,
)
NAMES = f"each one of {', '.join(KINDS)}, or a pattern of module paths such as *.3.mlp.fc1"


@dataclass(frozen=True)
class Config:
    """Which layers become mixtures, of what, and who gets how many tokens."""

    experts: tuple[str, ...] = field(
        default=("linear", "shift"),
        metadata={"help": f"primitives, each one of {', '.join(PRIMITIVES)}"},
    )
    layers: tuple[str, ...] = field(default=("mlp",), metadata={"help": f"layers that are mixed, {NAMES}"})
    exclude: tuple[str, ...] = field(default=(), metadata={"help": "layers that stay, named the same way"})
    shares: tuple[float, ...] = field(
        default=(),
        metadata={
            "help": "of a sample's tokens, one an expert; by default in inverse proportion to the latencies",
            "unit": "1",
            "minimum": 0.0,
            "maximum": 1.0,
        },
    )
    latency_ms: dict[str, tuple[float, ...]] = field(
        default_factory=dict,
        metadata={
            "help": "of the experts, by a layer's shape as in 96x384 (inputs x outputs): what `paring"
            " mixture-costs` measured. Shapes that are not here get 6 for linear and 4 for shift, the"
            " constants of the authors' code",
            "unit": "ms",
            "minimum": 0.0,
            "maximum": 1e6,
        },
    )
    measured_on: str | None = field(
        default=None, metadata={"help": "where and how latency_ms was measured; `paring mixture-costs` says"}
    )
    gate: str = field(
        default="straight_through",
        metadata={
            "help": "what an answer is multiplied by: 1, with the gradient of the gate's probability, or"
            " the probability itself, as in the paper",
            "choices": GATES,
        },
    )
    balance_weight: float = field(
        default=0.01,
        metadata={
            "help": "of the latency-aware loss in recovery", "unit": "1", "minimum": 0.0, "maximum": 100.0
        },
    )  # fmt: skip

    def plan(self, layer: nn.Linear) -> Plan:
        """What is decided for one layer."""
        shape = shape_key(layer)
        costs = self.latency_ms.get(shape)
        source = "assumed" if costs is None else "given" if self.measured_on is None else "measured"
        costs = costs or assumed(self.experts)
        shares = relative(self.shares) if self.shares else inverse(costs)
        return Plan(shares, relative(costs), source, shape, self.gate, self.balance_weight)


def check(model: nn.Module, config: Config) -> list[str]:
    """Reasons why the layers asked for cannot become mixtures."""
    reasons = why_not(model) or list(_wrong(config))
    if reasons:
        return reasons
    layers = mixable(skeleton(model))
    kind = type(model).__name__
    if not layers:
        return [f"the encoder of {kind} has no linear layer left to mix"]
    for key in ("layers", "exclude"):
        for name in getattr(config, key):
            if not named((name,), layers):
                reasons.append(
                    f"{key}: {name!r} names no layer in the encoder of {kind}; {nearest(name, layers)}"
                )
    if not reasons and not chosen(layers, config.layers, config.exclude):
        reasons.append(f"exclude leaves no layer of {kind}")
    return reasons + list(_unused(config, layers))


def _wrong(config: Config) -> Iterator[str]:
    """What is wrong whatever the model."""
    known, count = ", ".join(PRIMITIVES), len(config.experts)
    for name in config.experts:
        if name not in PRIMITIVES:
            near = difflib.get_close_matches(name, PRIMITIVES, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {known}"
            yield f"experts: {name!r} is no primitive; {hint}"
    if count < 2 or len(set(config.experts)) < count:
        yield f"experts: at least two different ones are needed, of {known}"
    if config.shares and (len(config.shares) != count or abs(sum(config.shares) - 1) > 1e-3):
        yield f"shares: {count} numbers that add up to 1 are needed, one an expert, not {list(config.shares)}"
    for key, costs in config.latency_ms.items():
        if len(costs) != count or min(costs) <= 0:
            yield f"latency_ms.{key}: {count} positive numbers are needed, one an expert, not {list(costs)}"


def _unused(config: Config, layers: Mapping[str, nn.Linear]) -> Iterator[str]:
    shapes = {shape_key(layer) for layer in layers.values()}
    for key in sorted(set(config.latency_ms) - shapes):
        yield f"latency_ms: no layer has the shape {key!r}; there are {', '.join(sorted(shapes))}"


def apply(model: nn.Module, config: Config) -> nn.Module:
    """Replace the chosen layers. The model given is changed and returned, its encoder opened."""
    open_encoder(model)
    layers = mixable(model)
    paths = chosen(layers, config.layers, config.exclude)

    def made(path: str, layer: nn.Module) -> nn.Module:
        assert isinstance(layer, nn.Linear)
        return mixed(path, layer, config.experts, config.plan(layer))

    return replaced(model, lambda path, module: path in paths, made)

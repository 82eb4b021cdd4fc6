"""ShiftAddViT: linear layers with power-of-two weights. You et al., https://arxiv.org/abs/2306.06446

W = scale * sign * 2^p, p an integer, so that a multiplication by a weight is a shift: y = x W^T + bias. The
weights are rounded in the log domain (DeepShift, https://arxiv.org/abs/1905.13298) to codes of 4 bits (zero,
and 7 powers of either sign) or 5 (15 powers); the paper's have 5 bits and no scale. A second term, the code
of what the first left, makes a layer nearly exact. Convolutions without overlap (1x1, patch embeddings) are
linear layers too. `paring shift-layers` measures which layers bear it. Accuracy falls until it is recovered
by training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from ._opening import canonical
from ._shift import Form, frozen, shifted, trainable
from ._shift.choice import KINDS, candidates, matches, named, nearest, skeleton
from ._shift.layer import is_patchwise
from ._shift.surgery import replaced
from .traits import Traits

__all__ = ["TRAITS", "Config", "apply", "check", "frozen", "trainable"]

TRAITS = Traits(
    title="ShiftAddViT: power-of-two weights",
    paper="https://arxiv.org/abs/2306.06446",
    mechanism="arithmetic",
    training_free=False,
    static_shape=False,  # it counts no tokens: the image size may stay open
)
NAMES = f"each one of {', '.join(KINDS)}, or a pattern of module paths such as *.blocks.0.mlp.*"


@dataclass(frozen=True)
class Config:
    """Which layers shift, and how their weights are coded."""

    bits: int = field(
        default=4,
        metadata={"help": "of a weight: sign and exponent", "unit": "bit", "minimum": 4, "maximum": 5},
    )
    scale: str = field(
        default="channel",
        metadata={
            "help": "what shares a scale: the whole tensor, an output channel, or group_size weights of one",
            "choices": ("tensor", "channel", "group"),
        },
    )
    group_size: int = field(
        default=32, metadata={"help": "weights that share a scale, with scale: group", "minimum": 1}
    )
    fit: str = field(
        default="error",
        metadata={
            "help": "how scales are chosen: least squared error, or the largest weight at 2^0",
            "choices": ("error", "largest"),
        },
    )
    terms: int = field(
        default=1, metadata={"help": "powers of two that are summed for a weight", "minimum": 1, "maximum": 2}
    )
    layers: tuple[str, ...] = field(default=("mlp",), metadata={"help": f"layers that shift, {NAMES}"})
    exclude: tuple[str, ...] = field(default=(), metadata={"help": "layers that stay, named the same way"})
    two_term: tuple[str, ...] = field(
        default=(), metadata={"help": "layers of those that take two terms, named the same way"}
    )

    def form(self, two: bool = False) -> Form:
        """The form of a layer's weights; `two` where two_term names it."""
        group = self.group_size if self.scale == "group" else 0
        return Form(self.bits, self.scale, group, 2 if two else self.terms, self.fit)


def check(model: nn.Module, config: Config) -> list[str]:
    """Reasons why the layers asked for cannot shift."""
    reasons = [
        f"{path}.weight holds values that are not finite"
        for path, layer in candidates(model).items()
        if isinstance(layer.weight, nn.Parameter)
        and not layer.weight.is_meta
        and not layer.weight.isfinite().all()
    ]
    layers = candidates(skeleton(model))
    if not layers:
        return [*reasons, f"{type(model).__name__} has no linear layer left whose weights could be coded"]
    for key in ("layers", "exclude", "two_term"):
        for name in getattr(config, key):
            if not named((name,), layers):
                hint = nearest(name, layers)
                reasons.append(f"{key}: {name!r} names no layer of {type(model).__name__}; {hint}")
    chosen = named(config.layers, layers) - named(config.exclude, layers)
    if not chosen and not reasons:
        reasons.append(f"exclude leaves no layer of {type(model).__name__}")
    return reasons + list(_misfits({path: layers[path] for path in sorted(chosen)}, config))


def _misfits(layers: Mapping[str, nn.Module], config: Config) -> Iterator[str]:
    for path, layer in layers.items():
        if not isinstance(layer, nn.Linear) and not is_patchwise(layer):
            what = f"{path} is a {type(layer).__name__} whose kernel is not its stride, or with padding"
            yield f"{what}, dilation or groups; add {path!r} to exclude"
        elif config.scale == "group":
            columns = _weight(layer)[0].numel()
            if columns % config.group_size:
                fits = max(size for size in range(1, config.group_size + 1) if columns % size == 0)
                wanted = f"{path} has {columns} inputs, no multiple of group_size {config.group_size}"
                yield f"{wanted}; {fits} fits"


def _weight(layer: nn.Module) -> torch.Tensor:
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    return weight


def apply(model: nn.Module, config: Config) -> nn.Module:
    """Replace the chosen layers. The model given is changed and returned, its encoder or decoder opened."""
    model = canonical(model)
    layers = candidates(model)
    chosen = named(config.layers, layers) - named(config.exclude, layers)

    def made(path: str, layer: nn.Module) -> nn.Module:
        return shifted(layer, config.form(any(matches(name, path, layer) for name in config.two_term)))

    return replaced(model, lambda path, module: path in chosen, made)

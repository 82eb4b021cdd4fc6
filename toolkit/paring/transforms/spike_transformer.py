"""A transformer as spikes, equal to its quantised form. SpikeZIP-TF, https://arxiv.org/abs/2406.03470

Every value that weights or an attention product read gets a quantiser; the spiking network has an ST-BIF
neuron (bipolar spikes, a tracer of those fired) in its place, that ends at the quantiser's code once nothing
fires any more. Softmax, layer norm and GELU compute the difference that each step makes; the embedding enters
as a current at the first step; the last norm and the head read what has left after T steps. Thresholds are
fitted to images layer by layer (least squared error), and trained with the weights in `paring recover`, in
the quantised form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from ._encoder import Trunk, open_encoder
from ._shift.surgery import replaced
from ._spikes.bipolar import QuantisedTrunk, SpikeBlock, SpikingTrunk, find, quantised, spiking
from ._spikes.bipolar.fitting import fitted, fitted_to_tokens
from ._spikes.bipolar.refusals import refusals
from ._spikes.bipolar.settling import last_spikes
from ._spikes.ranges import not_finite, out_of_range
from .traits import Traits

TRAITS = Traits(
    title="Exact conversion of a transformer to spikes: bipolar neurons that end at a quantiser's codes",
    paper="https://arxiv.org/abs/2406.03470",
    mechanism="spikes",
    training_free=True,
    static_shape=True,
    fp16=False,  # codes are rounded sums: fp16 would round more of them to the other side
)
LONGEST = 128  # steps that are tried for an image that does not settle


@dataclass(frozen=True)
class Config:
    """How many steps, and how fine the codes are."""

    steps: int = field(
        default=32,
        metadata={
            "help": "T; fewer than it takes to settle give other answers than the quantised form",
            "unit": "steps",
            "minimum": 1,
        },
    )
    levels: int = field(
        default=16,
        metadata={
            "help": "codes of a layer of neurons; more are finer, and take more steps to settle",
            "minimum": 3,
            "maximum": 256,
        },
    )


def check(model: nn.Module, config: Config) -> list[str]:
    """Reasons why `model` does not become a spiking transformer: module paths, and the nearest that would."""
    return out_of_range(config) + not_finite(model) or refusals(model)


def apply(model: nn.Module, config: Config) -> nn.Module:
    """The spiking form of `model`, fitted to normally distributed tokens until `calibrate` sees images."""
    trunk = open_encoder(model)
    blocks = [SpikeBlock(block, config.levels) for block in trunk.opened()]
    whole = QuantisedTrunk(blocks, config.steps).train(model.training)
    fitted_to_tokens(whole, trunk)
    return spiking(replaced(model, lambda path, module: isinstance(module, Trunk), lambda *_: whole))


def calibrate(
    model: nn.Module, batches: Sequence[torch.Tensor], original: nn.Module | None = None
) -> nn.Module:
    """Fit every threshold to images.

    Args:
        model: what `apply` gave.
        batches: images [B, C, H, W], as the model takes them; a hundred do.
        original: not needed.

    Raises:
        ValueError: it is no spiking transformer; or values that are not finite reach some neurons.
    """
    if find(model) is None:
        raise ValueError(f"expected what apply gave, not a {type(model).__name__} without spiking blocks")
    return spiking(fitted(quantised(model), batches))


def notes(model: nn.Module, images: torch.Tensor) -> list[str]:
    """Whether T steps suffice on images [B, C, H, W], and how many would where they do not."""
    trunk = find(model)
    if not isinstance(trunk, SpikingTrunk):
        return []
    steps = trunk.steps
    firing = sum(last >= steps for last in last_spikes(model, images, steps))
    if not firing:
        return []
    told = (
        f"spike_transformer: after {steps} steps neurons still fire on {firing} of {len(images)} images"
        " tried, so answers are not yet those of the quantised form"
    )
    while steps < LONGEST:
        steps = min(2 * steps, LONGEST)
        last = max(last_spikes(model, images, steps))
        if last < steps:
            return [f"{told}; their last spike falls at step {last}: steps must be more than that"]
    return [f"{told}; they still do after {steps}"]


def trainable(model: nn.Module) -> nn.Module:
    """The quantised form, thresholds and weights to be trained. The model given is changed and returned."""
    return quantised(model)


def frozen(model: nn.Module) -> nn.Module:
    """The spiking form again. The model given is changed and returned."""
    return spiking(model)

"""A trained network as integrate-and-fire neurons. Rueckauer et al. 2017, https://doi.org/10.3389/fnins.2017.00682

ReLU and ReLU6, as modules or functions, become neurons that fire 0 or 1 at each of T steps; the rate of a
neuron stands for the activation, its threshold for the activation at full rate. Convolutions (depthwise ones
too), linear layers, batch norm (folded), average pooling, flattening and sums stay; max pooling is written as
sums of rectified differences. Thresholds are the largest activation, a percentile (Rueckauer) or those of
the least squared error over T steps; membranes start at half a threshold; layer after layer, thresholds are
then fitted to the currents that arrive, and biases make up for the mean error (Li et al. 2021,
https://arxiv.org/abs/2106.06984). In `paring recover` rates are trained by
quantise-clip-floor-shift (Bu et al. 2022, https://arxiv.org/abs/2303.04347), or as they fire (Yu et al. 2024,
https://arxiv.org/abs/2410.11488).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from ._spikes import SpikingNetwork
from ._spikes.coding import CODINGS
from ._spikes.conversion import Wanted, converted, why_not
from ._spikes.inputs import UNKNOWN, input_shape, normal_inputs
from ._spikes.lifting import NotTraced, traced
from ._spikes.neuron import RESETS
from ._spikes.ranges import not_finite, out_of_range
from ._spikes.thresholds import PER, RULES, Neurons
from ._spikes.training import TRAININGS, frozen, trainable
from .traits import Traits

__all__ = ["TRAITS", "Config", "apply", "calibrate", "check", "frozen", "trainable"]

TRAITS = Traits(
    title="ANN to SNN: rectifiers become integrate-and-fire neurons over T steps",
    paper="https://doi.org/10.3389/fnins.2017.00682",
    mechanism="spikes",
    training_free=True,
    static_shape=True,
    fp16=False,  # membranes add up rounding over the steps, until spikes fall elsewhere
)
TOLD = 6  # kinds of operations that a refusal names


@dataclass(frozen=True)
class Config:
    """How many steps, which neurons, and what is fitted."""

    steps: int = field(default=32, metadata={"help": "T", "unit": "steps", "minimum": 1})
    threshold: str = field(
        default="mse",
        metadata={
            "help": "'mse': the least squared error of the rates over T steps, with compensate from the"
            " currents that arrive; 'max': the largest activation; 'percentile': one that few exceed",
            "choices": RULES,
        },
    )
    percentile: float = field(
        default=99.9,
        metadata={"help": "with threshold: percentile", "unit": "%", "minimum": 50.0, "maximum": 100.0},
    )
    per: str = field(default="channel", metadata={"help": "what shares a threshold", "choices": PER})
    reset: str = field(
        default="soft",
        metadata={
            "help": "after a spike: 'soft' subtracts the threshold, 'hard' starts from 0",
            "choices": RESETS,
        },
    )
    initial: float = field(
        default=0.5,
        metadata={
            "help": "the membrane before the first step; 0.5 rounds rates to the nearest, 0 rounds them down",
            "unit": "thresholds",
            "minimum": 0.0,
            "maximum": 1.0,
        },
    )
    coding: str = field(
        default="constant",
        metadata={
            "help": "of the input: 'constant', the same current at each step; 'rate', seeded Bernoulli"
            " spikes; 'latency', one graded spike a value, the sooner the larger",
            "choices": CODINGS,
        },
    )
    seed: int = field(
        default=0, metadata={"help": "of the rate coding, and of what is fitted without images", "minimum": 0}
    )
    compensate: bool = field(
        default=True, metadata={"help": "let biases make up for each layer's mean error on the images"}
    )
    max_pool: str = field(
        default="rewrite",
        metadata={
            "help": "'rewrite': max pooling as sums of rectified differences, a layer of neurons for each"
            " further value of a window and axis; 'refuse' it",
            "choices": ("rewrite", "refuse"),
        },
    )
    levels: int | None = field(
        default=None,
        metadata={"help": "of the rates that `paring recover` trains, if even; by default T", "minimum": 2},
    )
    training: str = field(
        default="even",
        metadata={
            "help": "rates in `paring recover`: 'even', as with constant currents; 'fired', as the neurons"
            " fire over T steps: T passes more for each step of training, and what is trained is what runs",
            "choices": TRAININGS,
        },
    )
    input_shape: tuple[int, ...] | None = field(
        default=None,
        metadata={"help": "of one input, as in [3, 224, 224], where the model does not say", "minimum": 1},
    )

    def wanted(self) -> Wanted:
        """As the conversion takes it."""
        neurons = Neurons(self.steps, self.threshold, self.percentile, self.per, self.reset, self.initial)
        rewrite = self.max_pool == "rewrite"
        fitted = Wanted(neurons, self.coding, self.seed, self.compensate, rewrite)
        return replace(fitted, levels=self.levels, training=self.training)


def check(model: nn.Module, config: Config) -> list[str]:
    """Reasons why `model` does not become a spiking network: module paths, and the nearest that would."""
    reasons = out_of_range(config)
    name = type(model).__name__
    if any(isinstance(module, SpikingNetwork) for module in model.modules()):
        reasons.append(f"{name} spikes already")
    reasons += not_finite(model)
    shape = input_shape(model, config.input_shape)
    if reasons or shape is None:
        return reasons or [f"{name}: {UNKNOWN}"]
    try:
        found = why_not(traced(model, shape), config.wanted())
    except NotTraced as error:
        return [f"{name}: {error}"]
    return _shortened(name, found)


def _shortened(name: str, reasons: list[str]) -> list[str]:
    """One line for each kind of reason, with the first place, and how many more there are."""
    kinds = Counter(reason.partition("(")[2] or reason for reason in reasons)
    first = {reason.partition("(")[2] or reason: reason for reason in reversed(reasons)}
    lines = []
    for kind, count in list(kinds.items())[:TOLD]:
        more = f", and {count - 1} more of this kind" if count > 1 else ""
        lines.append(f"{name}: {first[kind]}{more}")
    if len(kinds) > TOLD:
        lines.append(f"{len(kinds) - TOLD} more kinds of operations; `paring spike-coverage` lists them all")
    return lines


def apply(model: nn.Module, config: Config) -> nn.Module:
    """The spiking network of `model`, fitted to normally distributed inputs until `calibrate` sees images.

    It takes inputs of the same shape as `model`, and gives the mean over T steps of its last layer's output.
    """
    shape = input_shape(model, config.input_shape)
    assert shape is not None  # `check` says so
    return converted(model, normal_inputs(shape, config.seed), config.wanted())


def calibrate(
    model: nn.Module, batches: Sequence[torch.Tensor], original: nn.Module | None = None
) -> nn.Module:
    """Fit thresholds and biases to images.

    Args:
        model: what `apply` gave.
        batches: images [B, C, H, W], as the model takes them; a few hundred do.
        original: the model before `apply`, which is converted anew.

    Raises:
        ValueError: without the original; or the images have another shape than the network's inputs.
    """
    if not isinstance(model, SpikingNetwork) or original is None:
        raise ValueError("expected what apply gave, and the model before it as original")
    given = tuple(batches[0].shape[1:])
    if given != model.input_shape:
        own = list(model.input_shape)
        raise ValueError(f"calibration images are {list(given)}, expected {own}, the model's own shape")
    return converted(original, batches, model.wanted)

"""Which threshold a layer's neurons get: the activation that stands for one spike at every step.

- max: the largest activation of the calibration images (Diehl et al. 2015).
- percentile: one that only few exceed, as outliers slow all others down (Rueckauer et al. 2017, 99.9 %).
- mse: where the neurons' rates over T steps are nearest to the activations, squared (as in Li et al. 2021,
  https://arxiv.org/abs/2106.06984). The fewer the steps, the lower it lies.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .rates import constant_rate

RULES = ("mse", "max", "percentile")
PER = ("channel", "layer")
GRID = 60  # candidates of the search, in even steps up to the largest activation
LEAST = 1e-3  # of a layer's largest threshold: below, a channel that was silent would fire at every step


@dataclass(frozen=True)
class Neurons:
    """What is asked of the neurons; see the fields of `spike_convert.Config`."""

    steps: int
    rule: str = "mse"
    percentile: float = 99.9
    per: str = "channel"
    reset: str = "soft"
    initial: float = 0.5

    @property
    def hard(self) -> bool:
        """Whether the reset is hard."""
        return self.reset == "hard"


@dataclass(frozen=True)
class Activations:
    """What a rectifier saw on the calibration images.

    Attributes:
        samples: [C, S] inputs, before it; some of them.
        largest: [C] of its outputs.
        mean: [C] of its outputs, over images and positions.
        ceiling: where it clips, or None.
    """

    samples: torch.Tensor
    largest: torch.Tensor
    mean: torch.Tensor
    ceiling: float | None = None

    def outputs(self) -> torch.Tensor:
        """[C, S] what it gave for the samples."""
        return self.samples.clamp(0, self.ceiling)


def threshold_of(seen: Activations, wanted: Neurons) -> torch.Tensor:
    """The threshold, [] or [C] by `wanted.per`, finite and above 0."""
    samples, largest = seen.samples, seen.largest
    if wanted.per == "layer":
        samples, largest = samples.reshape(1, -1), largest.amax().reshape(1)
    if wanted.rule == "max":
        found = largest
    elif wanted.rule == "percentile":
        found = torch.quantile(_thinned(samples).clamp_min(0), wanted.percentile / 100, dim=1)
    else:
        found = _least_error(_thinned(samples), largest, seen.ceiling, wanted)
    if seen.ceiling is not None:
        found = found.clamp_max(seen.ceiling)
    alive = found[found > 0]
    silent = alive.mean() if len(alive) else torch.tensor(1.0)  # it never fired: any threshold keeps it so
    found = torch.where(found > 0, found, silent).clamp_min(LEAST * float(found.max()))
    return found.reshape(()) if wanted.per == "layer" else found


def _thinned(samples: torch.Tensor, most: int = 1 << 18) -> torch.Tensor:
    """[C, S] with S small enough for a search."""
    return samples[:, :: max(1, -(-samples.shape[1] // most))]


def _least_error(
    samples: torch.Tensor, largest: torch.Tensor, ceiling: float | None, wanted: Neurons
) -> torch.Tensor:
    """[C] the candidate whose rates are nearest to the activations."""
    exact = samples.clamp(0, ceiling)
    best, least = largest.clone(), torch.full_like(largest, float("inf"))
    for number in range(GRID, 0, -1):
        threshold = (largest * number / GRID).clamp_min(torch.finfo(samples.dtype).tiny)
        rate = constant_rate(
            samples, threshold[:, None], wanted.initial * threshold[:, None], wanted.steps, wanted.hard
        )
        error = (rate * threshold[:, None] - exact).square().mean(1)
        better = error < least
        best, least = torch.where(better, threshold, best), torch.where(better, error, least)
    return best

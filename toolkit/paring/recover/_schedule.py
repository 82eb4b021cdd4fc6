"""How long and how fast: stages, each with a linear warm-up and a cosine decay."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..recipe import Recipe, Recover
from ..recipe._recover import Stage, reached


@dataclass(frozen=True)
class Span:
    """One stage: steps `start` to `end` (exclusive) of the whole training.

    Attributes:
        applied: how many of the recipe's transforms are in the model.
        learning_rate: the largest.
        warmup: share of the steps in which the rate rises, 0 to 1.
        final: share of the learning rate that is left at the end, 0 to 1.
    """

    start: int
    end: int
    applied: int
    learning_rate: float
    warmup: float
    final: float

    def rate(self, step: int) -> float:
        """The learning rate at `step`, counted from the first step of the whole training."""
        steps, at = self.end - self.start, step - self.start
        rising = max(1, int(steps * self.warmup))
        if at < rising:
            return self.learning_rate * (at + 1) / rising
        share = (at - rising) / max(1, steps - rising)
        cosine = 0.5 * (1 + math.cos(math.pi * share))
        return self.learning_rate * (self.final + (1 - self.final) * cosine)


def spans(recipe: Recipe, wanted: Recover, per_epoch: int, begun: int = 0) -> tuple[Span, ...]:
    """The stages of a recipe, one after the other.

    Args:
        recipe: whose transforms the stages name.
        wanted: its `recover`, or the usual.
        per_epoch: steps of one pass over the training images.
        begun: so many of the transforms are recovered already, and stages that train no others are left out.
    """
    stages = wanted.stages or (Stage(),)
    counts = reached(stages, [step.name for step in recipe.transforms])
    found: list[Span] = []
    for stage, applied in zip(stages, counts, strict=True):
        if applied <= begun:
            continue
        start = found[-1].end if found else 0
        rate = stage.learning_rate or wanted.learning_rate
        end = start + _steps(stage, wanted, per_epoch)
        found.append(Span(start, end, applied, rate, wanted.warmup, wanted.final_rate))
    return tuple(found)


def _steps(stage: Stage, wanted: Recover, per_epoch: int) -> int:
    """A stage's own steps or epochs, else those of all stages, else one epoch."""
    for part in (stage, wanted):
        if part.steps is not None:
            return part.steps
        if part.epochs is not None:
            return max(1, round(part.epochs * per_epoch))
    return per_epoch

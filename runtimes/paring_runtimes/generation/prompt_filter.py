"""Long prompts made shorter: early layers score tokens, the best are read (GemFilter, arXiv 2409.17422)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from paring_runtimes.errors import InputError
from paring_runtimes.generation.filter_layers import FilterLayers, read_scores
from paring_runtimes.generation.language_model import FilterModel
from paring_runtimes.generation.options import Options

if TYPE_CHECKING:
    from numpy.typing import NDArray


class PromptFilter:
    """The filter with the pins of one call.

    Args:
        layers: its graphs.
        options: the call's, for its pins and its number of tokens.

    Raises:
        InputError: more tokens are pinned than stay.
    """

    def __init__(self, layers: FilterLayers, options: Options) -> None:
        self._layers = layers
        self.k = layers.facts.k if options.filter_k is None else options.filter_k
        self.pins = pins(layers.facts, options)
        if sum(self.pins) > self.k:
            raise InputError(
                f"pin_first, pin_last: {sum(self.pins)} tokens are pinned, but only {self.k} stay"
            )

    def columns(self, prompt: Sequence[int]) -> tuple[int, ...]:
        """Return the places of the tokens that stay, ascending; all of a prompt of k tokens or fewer."""
        if len(prompt) <= self.k:
            return tuple(range(len(prompt)))
        (scores,) = read_scores(self._layers, np.array([prompt], np.int64))
        return best(scores, self.k, self.pins)


def best(scores: NDArray[Any], k: int, pins: tuple[int, int] = (0, 0)) -> tuple[int, ...]:
    """Return the places of the k highest scores [S], ascending; of equal scores the earlier stays.

    `pins` leading and last places stay whatever their score.
    """
    ranked = scores.astype(np.float32)
    ranked[: pins[0]] = ranked[len(ranked) - pins[1] :] = np.inf
    return tuple(np.sort(np.argsort(-ranked, kind="stable")[:k]).tolist())


def pins(model: FilterModel, options: Options) -> tuple[int, int]:
    """Return how many leading and last tokens stay anyway: the call's, else the artifact's."""
    first = model.pin_first if options.pin_first is None else options.pin_first
    last = model.pin_last if options.pin_last is None else options.pin_last
    return first, last

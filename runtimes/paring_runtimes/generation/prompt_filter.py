"""Long prompts made shorter: a graph says which tokens the model reads (GemFilter, arXiv 2409.17422)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paring_runtimes.engines import NativeSession
from paring_runtimes.errors import ArtifactError, InputError
from paring_runtimes.generation.language_model import FilterModel
from paring_runtimes.generation.options import Options

if TYPE_CHECKING:
    from numpy.typing import NDArray

_INPUTS = {"input_ids", "pin_first", "pin_last"}
_OUTPUTS = {"columns", "scores"}  # of the artifact's own k; of any other


class PromptFilter:
    """The filter with the pins of one call. The native session may be shared by threads.

    Args:
        native: the open graph.
        model: how many tokens stay, unless the call says otherwise.
        options: the call's, for its pins and its number of tokens.

    Raises:
        InputError: more tokens are pinned than stay.
    """

    def __init__(self, native: NativeSession, model: FilterModel, options: Options) -> None:
        self._native = native
        self.k = model.k if options.filter_k is None else options.filter_k
        self._own = self.k == model.k
        self.pins = pins(model, options)
        if sum(self.pins) > self.k:
            raise InputError(
                f"pin_first, pin_last: {sum(self.pins)} tokens are pinned, but only {self.k} stay"
            )

    def columns(self, prompt: Sequence[int]) -> tuple[int, ...]:
        """Return the places of the tokens that stay, ascending; all of a prompt of k tokens or fewer."""
        if len(prompt) <= self.k:
            return tuple(range(len(prompt)))
        feeds: dict[str, NDArray[Any]] = {"input_ids": np.array([prompt], np.int64)}
        for name, count in zip(("pin_first", "pin_last"), self.pins, strict=True):
            feeds[name] = np.array([count], np.int64)
        (found,) = self._native.run(["columns" if self._own else "scores"], feeds)
        return tuple(found[0].tolist()) if self._own else best(found[0], self.k, self.pins)


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


def check_filter(path: Path, native: NativeSession) -> None:
    """Check that a graph takes and gives what the filter feeds and reads.

    Raises:
        ArtifactError: a name differs.
    """
    taken, given = {spec.name for spec in native.inputs}, {spec.name for spec in native.outputs}
    if taken != _INPUTS or not given >= _OUTPUTS:
        raise ArtifactError(
            f"{path}: not the graph of a prompt filter: it takes {', '.join(sorted(taken))} and gives"
            f" {', '.join(sorted(given))}; expected {', '.join(sorted(_INPUTS))} and"
            f" {', '.join(sorted(_OUTPUTS))}"
        )

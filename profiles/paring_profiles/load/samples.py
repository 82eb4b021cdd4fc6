"""The samples that queries ask about: made before the run, put together into batches within it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from paring_profiles import inputs
from paring_profiles.load.result import LoadSettings
from paring_runtimes.errors import InputError
from paring_runtimes.manifest import TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST, MOST_BYTES = 64, 64 << 20
_ORDER = 4096
Shapes = dict[str, tuple[int, ...]]


class Samples:
    """Different random samples, drawn anew for each query: an engine that remembers answers gains nothing.

    Raises:
        InputError: a model whose batch is fixed at another number than 1, or at 1 where calls of `batch`
            samples are needed; see also `inputs.concrete_shapes`.
    """

    def __init__(self, specs: Sequence[TensorSpec], settings: LoadSettings, batch: int, path: object) -> None:
        shapes = _single(specs, settings, path)
        self._axes = _batch_axes(specs, shapes, settings, batch, path)
        made = [inputs.make(specs, shapes, settings.seed, settings.values)]
        size = sum(array.nbytes for array in made[0].values())
        count = max(1, min(MOST, MOST_BYTES // max(size, 1)))
        made += [
            inputs.make(specs, shapes, settings.seed + number, settings.values) for number in range(1, count)
        ]
        self._made = made
        order = np.random.default_rng(settings.seed).integers(0, count, _ORDER)
        self._order: list[int] = order.tolist()

    def feeds(self, first: int, count: int) -> dict[str, NDArray[Any]]:
        """Return the inputs of `count` samples, beginning with the run's sample number `first`."""
        chosen = [self._made[self._order[(first + i) % _ORDER]] for i in range(count)]
        if count == 1:
            return chosen[0]
        return {
            name: np.concatenate([one[name] for one in chosen], axis=axis) if axis is not None else array
            for (name, axis), array in zip(self._axes.items(), chosen[0].values(), strict=True)
        }


def _single(specs: Sequence[TensorSpec], settings: LoadSettings, path: object) -> Shapes:
    """Return the inputs' shapes for one sample."""
    try:
        return inputs.concrete_shapes(specs, 1, settings.dims, path)
    except InputError as error:
        fixed = [spec for spec in specs if spec.shape and isinstance(spec.shape[0], int)]
        if not fixed or fixed[0].shape[0] == 1:
            raise
        raise InputError(
            f"{path}: its batch is fixed (input {fixed[0].name!r}, shape {list(fixed[0].shape)}), and load "
            "comes in single samples: export it with a dynamic batch, or with one of 1"
        ) from error


def _batch_axes(
    specs: Sequence[TensorSpec], single: Shapes, settings: LoadSettings, batch: int, path: object
) -> dict[str, int | None]:
    """Return where each input holds the batch: the axis that grows with it."""
    if batch == 1:
        return dict.fromkeys(single)
    double = inputs.concrete_shapes(specs, 2, settings.dims, path)
    return {name: _grown(shape, double[name]) for name, shape in single.items()}


def _grown(one: tuple[int, ...], two: tuple[int, ...]) -> int | None:
    return next((axis for axis, (a, b) in enumerate(zip(one, two, strict=True)) if a != b), None)

"""What a session accepts: names, dtypes, ranks, sizes, symbolic sizes that agree.

The check runs before every call, so its good path is one short loop; what was wrong is worked out
and worded only once something is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from paring_runtimes.errors import InputError
from paring_runtimes.manifest import TensorSpec
from paring_runtimes.suggest import near_miss

if TYPE_CHECKING:
    from numpy.typing import NDArray


class FeedCheck:
    """Checks feeds against the inputs of one model.

    A bare ONNX file gives one shape, (), for a scalar and for an unknown rank: `scalars_known` says
    that () means a scalar, as it does in a manifest. Otherwise such an input is the engine's to judge.
    """

    def __init__(self, specs: tuple[TensorSpec, ...], scalars_known: bool) -> None:
        self._specs = {spec.name: spec for spec in specs}
        self._plan = [
            (s.name, np.dtype(s.dtype), len(s.shape) if s.shape or scalars_known else None, s.shape)
            for s in specs
        ]

    def __call__(self, feeds: Mapping[str, NDArray[Any]]) -> None:
        """Check feeds.

        Raises:
            InputError: says what was expected, what was given, and what to do.
        """
        if len(feeds) != len(self._plan):
            self.names(feeds)
        sizes: dict[str, int] = {}
        for name, dtype, rank, dims in self._plan:
            array = feeds.get(name)
            if not isinstance(array, np.ndarray) or array.dtype != dtype:
                self._refuse_array(feeds, name)
            shape = array.shape
            if len(shape) != rank and rank is not None:
                self._refuse_shape(name, shape)
            for given, dim in zip(shape, dims, strict=False):
                if given != dim and (
                    dim.__class__ is int or sizes.setdefault(dim, given) != given  # type: ignore[arg-type]
                ):
                    self._refuse_shape(name, shape, feeds)

    def names(self, given: Mapping[str, object]) -> None:
        """Check the names alone.

        Raises:
            InputError: an unknown or a missing name.
        """
        for name in given:
            if name not in self._specs:
                raise InputError(f"no input {name!r}{near_miss(name, self._specs)}; expected {self._told()}")
        for name in self._specs:
            if name not in given:
                raise InputError(f"input {name!r} is missing; expected {self._told()}")

    def spec(self, name: str) -> TensorSpec:
        """Return the spec of one input; the name is known to be right."""
        return self._specs[name]

    def _refuse_array(self, feeds: Mapping[str, object], name: str) -> NoReturn:
        self.names(feeds)
        array, dtype = feeds[name], self._specs[name].dtype
        if not isinstance(array, np.ndarray):
            kind = f"{type(array).__module__}.{type(array).__qualname__}".removeprefix("builtins.")
            raise InputError(
                f"input {name!r}: expected a numpy array of {dtype}, given a {kind}; "
                f"pass np.asarray(x, dtype=np.{dtype})"
            )
        raise InputError(f"input {name!r}: expected {dtype}, given {array.dtype}; pass x.astype(np.{dtype})")

    def _refuse_shape(
        self, name: str, shape: tuple[int, ...], feeds: Mapping[str, NDArray[Any]] | None = None
    ) -> NoReturn:
        dims = self._specs[name].shape
        expected = f"input {name!r}: expected shape {shape_text(dims)}, given {shape_text(shape)}"
        if len(shape) != len(dims):
            fits = len(shape) == len(dims) - 1 and _fits(shape, dims[1:])
            advice = "; pass x[np.newaxis] for a batch of one" if fits else ""
            raise InputError(f"{expected}: {len(dims)} dimensions, not {len(shape)}{advice}")
        for axis, (given, dim) in enumerate(zip(shape, dims, strict=True)):
            if isinstance(dim, int) and given != dim:
                fits = sorted(map(str, shape)) == sorted(map(str, dims))
                advice = "; the dimensions may be in another order" if fits else ""
                raise InputError(f"{expected}: dimension {axis} must be {dim}{advice}")
        raise InputError(f"{expected}; {self._disagreement(feeds or {})}")

    def _disagreement(self, feeds: Mapping[str, NDArray[Any]]) -> str:
        """Word the first symbolic dimension that has two sizes."""
        seen: dict[str, tuple[int, str]] = {}
        for name, spec in self._specs.items():
            for given, dim in zip(feeds[name].shape, spec.shape, strict=False):
                if isinstance(dim, int):
                    continue
                size, owner = seen.setdefault(dim, (given, name))
                if size != given:
                    return (
                        f"{dim!r} must be one size: it is {size} in input {owner!r} and {given} "
                        f"in input {name!r}"
                    )
        raise AssertionError("asked for a disagreement where there is none")

    def _told(self) -> str:
        specs = self._specs.values()
        return ", ".join(f"{s.name!r} {s.dtype} {shape_text(s.shape)}" for s in specs) or "no input"


def shape_text(shape: tuple[int | str, ...]) -> str:
    """Return "(batch, 3, 224, 224)"."""
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def _fits(shape: tuple[int, ...], dims: tuple[int | str, ...]) -> bool:
    return all(isinstance(d, str) or d == size for size, d in zip(shape, dims, strict=True))

"""Seeded inputs of the right dtype and shape for any model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from paring_runtimes.errors import InputError
from paring_runtimes.manifest import TensorSpec
from paring_runtimes.suggest import near_miss

if TYPE_CHECKING:
    from numpy.typing import NDArray


def concrete_shapes(
    specs: Sequence[TensorSpec], batch_size: int, dims: Mapping[str, int], path: object
) -> dict[str, tuple[int, ...]]:
    """Return every input's shape with its symbolic sizes filled in.

    The batch is the symbolic first dimension of the first input that has one, wherever its name
    occurs. Sizes named in `dims` are taken from there.

    Raises:
        InputError: a model of another fixed batch, or a symbolic size that `dims` does not give.
    """
    batch_name = _batch_name(specs, dims)
    if batch_name is None:
        _check_fixed_batch(specs, batch_size, path)
    sizes = dict(dims) if batch_name is None else {**dims, batch_name: batch_size}
    return {spec.name: tuple(_size(d, sizes, spec, path) for d in spec.shape) for spec in specs}


def _batch_name(specs: Sequence[TensorSpec], dims: Mapping[str, int]) -> str | None:
    firsts = [spec.shape[0] for spec in specs if spec.shape]
    return next((d for d in firsts if isinstance(d, str) and d not in dims), None)


def _check_fixed_batch(specs: Sequence[TensorSpec], batch_size: int, path: object) -> None:
    first = next((spec for spec in specs if spec.shape and isinstance(spec.shape[0], int)), None)
    if first is not None and first.shape[0] != batch_size:
        raise InputError(
            f"{path}: its batch is fixed at {first.shape[0]} (input {first.name!r}, shape "
            f"{list(first.shape)}), and batch size {batch_size} was asked for; ask for "
            f"{first.shape[0]}, or export it with a dynamic batch"
        )


def _size(dim: int | str, sizes: Mapping[str, int], spec: TensorSpec, path: object) -> int:
    if isinstance(dim, int):
        return dim
    if dim not in sizes:
        raise InputError(
            f"{path}: input {spec.name!r} has the symbolic size {dim!r} in {list(spec.shape)}; "
            f"give it a value in `dims`, such as {{{dim!r}: 224}}"
        )
    return sizes[dim]


def make(
    specs: Sequence[TensorSpec],
    shapes: Mapping[str, tuple[int, ...]],
    seed: int,
    values: Mapping[str, float] | None = None,
) -> dict[str, NDArray[Any]]:
    """Return one array an input. The same seed, position, dtype and shape give the same values.

    Inputs named in `values` hold that number everywhere.

    Raises:
        InputError: a name in `values` that no input has.
    """
    given = values or {}
    names = [spec.name for spec in specs]
    for name in given:
        if name not in names:
            raise InputError(f"values: no input {name!r}{near_miss(name, names)}; there are {names}")
    return {
        spec.name: np.full(shapes[spec.name], given[spec.name], spec.dtype)
        if spec.name in given
        else fill(spec, shapes[spec.name], np.random.default_rng([seed, position]))
        for position, spec in enumerate(specs)
    }


def fill(spec: TensorSpec, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[Any]:
    """Return a random array: standard normal floats, bytes over their range, other integers 0 or 1.

    0 and 1 are valid in every vocabulary and as every index. Masks are all ones: nothing masked.
    """
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "b" or "mask" in spec.name.lower():
        return np.ones(shape, dtype=dtype)
    if dtype.kind == "f":
        return np.asarray(rng.standard_normal(shape), dtype=dtype)
    if dtype in (np.dtype("uint8"), np.dtype("int8")):
        return rng.integers(0, np.iinfo(dtype).max, size=shape, dtype=dtype, endpoint=True)
    return rng.integers(0, 2, size=shape, dtype=dtype)

"""Events: which neuron sent a spike at which step of which sample. Sparse, so a quiet layer costs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from paring_runtimes.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Events:
    """Spikes of T steps and B samples, in rows: row t * B + b holds step t of sample b.

    Attributes:
        shape: (T, B, ...), the dense form's shape.
        start: int64 [T * B + 1]; row r is `index[start[r]:start[r + 1]]`.
        index: int32, flat in the shape of one sample. One neuron may be there twice: two events, which add.
        value: float32, the size of each event; None where all are 1.
    """

    shape: tuple[int, ...]
    start: NDArray[np.int64]
    index: NDArray[np.int32]
    value: NDArray[np.float32] | None = None

    @property
    def steps(self) -> int:
        """T."""
        return self.shape[0]

    @property
    def batch(self) -> int:
        """B."""
        return self.shape[1]

    @property
    def size(self) -> int:
        """Neurons of one sample."""
        return int(np.prod(self.shape[2:], dtype=np.int64))

    @property
    def count(self) -> int:
        """Events of all rows."""
        return len(self.index)

    def dense(self) -> NDArray[np.float32]:
        """Return float32 [T, B, ...]; events of one neuron at one step add up."""
        rows = np.repeat(np.arange(len(self.start) - 1), np.diff(self.start))
        flat = np.zeros((len(self.start) - 1) * self.size, np.float32)
        np.add.at(flat, rows * self.size + self.index, np.float32(1) if self.value is None else self.value)
        return flat.reshape(self.shape)

    def between(self, first: int, last: int) -> Events:
        """Return the steps first, ..., last - 1. Nothing is copied but the rows' starts."""
        rows = self.start[first * self.batch : last * self.batch + 1]
        part = slice(rows[0], rows[-1])
        value = None if self.value is None else self.value[part]
        return Events((last - first, *self.shape[1:]), rows - rows[0], self.index[part], value)

    def reshaped(self, feature: tuple[int, ...]) -> Events:
        """Return the same events of samples that have another shape and as many neurons."""
        return Events((*self.shape[:2], *feature), self.start, self.index, self.value)

    def scaled(self, factor: float | NDArray[np.float32]) -> Events:
        """Return the events with their sizes times `factor`, a number or one for each neuron (flat)."""
        by = np.asarray(factor, np.float32)
        each = np.full(self.count, by) if by.ndim == 0 else by[self.index]
        return Events(self.shape, self.start, self.index, each if self.value is None else self.value * each)

    def check(self) -> None:
        """Check what somebody else made.

        Raises:
            InputError: rows, indices or values do not fit together.
        """
        rows = self.steps * self.batch
        if len(self.start) != rows + 1 or self.start[0] != 0 or self.start[-1] != self.count:
            raise InputError(
                f"events: start must be {rows + 1} rows' starts from 0 to {self.count}; given "
                f"{len(self.start)}, from {self.start[0]} to {self.start[-1]}"
            )
        if (np.diff(self.start) < 0).any():
            raise InputError("events: start must not decrease")
        if self.start.dtype != np.int64 or self.index.dtype != np.int32:
            raise InputError(
                f"events: expected start int64 and index int32, given {self.start.dtype}, {self.index.dtype}"
            )
        if self.count and (self.index.min() < 0 or self.index.max() >= self.size):
            raise InputError(
                f"events: index from {self.index.min()} to {self.index.max()}; a sample of shape "
                f"{self.shape[2:]} has {self.size}"
            )
        if self.value is not None and (
            self.value.shape != self.index.shape
            or self.value.dtype != np.float32
            or not np.isfinite(self.value).all()
        ):
            raise InputError("events: value must be one finite float32 for each event")


def from_dense(array: NDArray[Any]) -> Events:
    """Return the nonzero elements of [T, B, ...] as events; values are kept unless all are 1."""
    steps, batch = array.shape[:2]
    flat = array.reshape(steps * batch, -1)
    rows, index = np.nonzero(flat)
    start = np.zeros(steps * batch + 1, np.int64)
    np.cumsum(np.bincount(rows, minlength=steps * batch), out=start[1:])
    value = flat[rows, index].astype(np.float32)
    ones = bool((value == 1).all())
    return Events(array.shape, start, index.astype(np.int32), None if ones else value)


def no_events(shape: tuple[int, ...]) -> Events:
    """Return T steps and B samples without any."""
    return Events(shape, np.zeros(shape[0] * shape[1] + 1, np.int64), np.zeros(0, np.int32))


def joined(parts: Sequence[Events]) -> Events:
    """Return parts of the same batch, one after the other in time."""
    first = parts[0]
    if len(parts) == 1:
        return first
    starts, offset = [np.zeros(1, np.int64)], 0
    for part in parts:
        starts.append(part.start[1:] + offset)
        offset += part.count
    value = None
    if any(part.value is not None for part in parts):
        sizes = [np.ones(p.count, np.float32) if p.value is None else p.value for p in parts]
        value = np.concatenate(sizes)
    shape = (sum(part.steps for part in parts), *first.shape[1:])
    return Events(shape, np.concatenate(starts), np.concatenate([part.index for part in parts]), value)

"""What goes along an edge during a chunk of steps: events, real values, or real values that stay the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from paring_runtimes.spiking.events import Events, from_dense, joined

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Dense:
    """float32 [T, B, ...]."""

    array: NDArray[np.float32]


@dataclass(frozen=True)
class Constant:
    """float32 [B, ...], the same at every step."""

    array: NDArray[np.float32]


Signal: TypeAlias = "Events | Dense | Constant"


def as_dense(signal: Signal, steps: int) -> NDArray[np.float32]:
    """Return [T, B, ...]; of a constant, one array seen T times."""
    if isinstance(signal, Events):
        return signal.dense()
    if isinstance(signal, Dense):
        return signal.array
    return np.broadcast_to(signal.array, (steps, *signal.array.shape))


def as_events(signal: Events | Dense) -> Events:
    """Return the nonzero elements as events."""
    return signal if isinstance(signal, Events) else from_dense(signal.array)


def one_step(signal: Signal, step: int) -> Signal:
    """Return what the signal is at one step."""
    if isinstance(signal, Events):
        return signal.between(step, step + 1)
    return signal if isinstance(signal, Constant) else Dense(signal.array[step : step + 1])


def in_time(parts: Sequence[Signal]) -> Signal:
    """Return single steps put one after the other."""
    first = parts[0]
    if all(isinstance(part, Events) for part in parts):
        return joined([part for part in parts if isinstance(part, Events)])
    if isinstance(first, Constant) and all(part is first for part in parts):
        return first
    return Dense(np.concatenate([as_dense(part, 1) for part in parts]))


def total(signals: Sequence[Signal], steps: int) -> Signal:
    """Return the sum of at least one signal."""
    if len(signals) == 1:
        return signals[0]
    if all(isinstance(signal, Constant) for signal in signals):
        return Constant(
            np.sum([s.array for s in signals if isinstance(s, Constant)], axis=0, dtype=np.float32)
        )
    if all(isinstance(signal, Events) for signal in signals):
        return _merged([signal for signal in signals if isinstance(signal, Events)])
    sums = np.array(as_dense(signals[0], steps), np.float32)
    for signal in signals[1:]:
        sums += as_dense(signal, steps)
    return Dense(sums)


def _merged(parts: Sequence[Events]) -> Events:
    """Return the events of all parts, row by row."""
    rows = np.concatenate([np.repeat(np.arange(len(p.start) - 1), np.diff(p.start)) for p in parts])
    order = np.argsort(rows, kind="stable")
    value = None
    if any(part.value is not None for part in parts):
        sizes = [np.ones(p.count, np.float32) if p.value is None else p.value for p in parts]
        value = np.concatenate(sizes)[order]
    start = np.sum([part.start for part in parts], axis=0)
    return Events(parts[0].shape, start, np.concatenate([p.index for p in parts])[order], value)

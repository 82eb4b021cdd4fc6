"""When each query was due, taken by a worker, and answered."""

from __future__ import annotations

import time

import numpy as np

from paring_profiles.statistics import Series

_AT_ONCE = 1 << 14


class Timeline:
    """Moments by query, s from the run's begin; NaN for what did not happen.

    The arrays are there, and touched, before the run: what grows within it is not ours.

    Args:
        queries: how many there will be; more make the arrays longer.
        samples_per_query: each query asks about.
    """

    def __init__(self, queries: int, samples_per_query: int = 1) -> None:
        self._due, self._taken, self._done = (np.full(max(queries, 1), np.nan) for _ in range(3))
        self.samples_per_query = samples_per_query
        self.count = 0
        self.calls: dict[int, int] = {}
        self.hopeless = False  # ended early: more queries were over the bound than it may be
        self.begin_s = time.perf_counter()  # of the run; its moments count from there
        self.seconds = 0.0

    def start(self) -> None:
        """The run begins now."""
        self.begin_s = time.perf_counter()

    def now_s(self) -> float:
        """Return the time since the run's begin, s."""
        return time.perf_counter() - self.begin_s

    def schedule(self, due: Series) -> None:
        """Say when all queries are due."""
        self._due[: len(due)] = due
        self.count = len(due)

    def add(self, due_s: float, done_s: float) -> None:
        """A query that a worker took as soon as it was due."""
        if self.count == len(self._due):
            for name in ("_due", "_taken", "_done"):
                setattr(self, name, np.concatenate([getattr(self, name), np.full(_AT_ONCE, np.nan)]))
        self._due[self.count] = self._taken[self.count] = due_s
        self._done[self.count] = done_s
        self.count += 1

    def answer(self, first: int, count: int, taken_s: float, done_s: float) -> None:
        """Queries of the schedule that one call answered; several threads may tell of different ones."""
        self._taken[first : first + count] = taken_s
        self._done[first : first + count] = done_s

    def called(self, samples: int) -> None:
        """Count a call of the engine with so many samples; by one thread at a time."""
        self.calls[samples] = self.calls.get(samples, 0) + 1

    @property
    def due(self) -> Series:
        """Moments due, s."""
        return self._due[: self.count]

    @property
    def taken(self) -> Series:
        """Moments taken by a worker, s."""
        return self._taken[: self.count]

    @property
    def done(self) -> Series:
        """Moments answered, s."""
        return self._done[: self.count]

    def answered(self) -> int:
        """Return how many queries were answered."""
        return int(np.count_nonzero(~np.isnan(self.done)))

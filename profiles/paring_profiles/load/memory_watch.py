"""Memory of this process over a run, and whether it grows with the queries."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import TracebackType

import numpy as np
import psutil

from paring_profiles.load.parts import student
from paring_profiles.load.result import Memory, MemoryPoint
from paring_profiles.statistics import Series

PARTS = 12  # of a run, with as many queries each
WARM_PARTS = 2  # of them left out: pools fill up once
FEWEST_A_PART = 3  # readings
_PERIOD_S, _PSS_PERIOD_S = 0.05, 0.5
_COST_SHARE = 0.005  # of the time that readings may take
_SMAPS = Path("/proc/self/smaps_rollup")
_FLOOR_BYTES = 256 << 10
METHOD = (
    f"resident memory by psutil; growth is the mean step between the medians of {PARTS - WARM_PARTS} parts "
    f"of the run with as many queries each, after {WARM_PARTS} parts that are left out, with Student's "
    f"interval; less than {_FLOOR_BYTES >> 10} KiB in all is not told from what watching takes"
)


@dataclass
class _Clock:
    """When something is read next: so seldom that reading takes little time."""

    period_s: float
    next_s: float = 0.0

    @contextmanager
    def reading(self) -> Iterator[None]:
        began_s, used_s = time.perf_counter(), time.thread_time()
        yield
        cost_s = time.thread_time() - used_s
        self.next_s = began_s + max(self.period_s, cost_s / _COST_SHARE)


class MemoryWatch:
    """Reads memory in a thread: `with MemoryWatch() as watch: ...`, then `points`.

    PSS, which Linux counts page by page, is read seldom enough to take half a percent of the time.
    """

    def __init__(self) -> None:
        self._points: list[tuple[float, int, int | None]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="paring-memory", daemon=True)
        self._process = psutil.Process()
        self._pss_clock = _Clock(_PSS_PERIOD_S)

    def __enter__(self) -> MemoryWatch:
        """Begin to read."""
        self._read()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop reading."""
        self._stop.set()
        self._thread.join()
        self._pss_clock.next_s = 0.0
        self._read()

    def points(self, begin_s: float) -> list[MemoryPoint]:
        """Return what was read, in seconds from a moment of `time.perf_counter`."""
        return [MemoryPoint(round(at_s - begin_s, 4), rss, pss) for at_s, rss, pss in self._points]

    def _watch(self) -> None:
        clock = _Clock(_PERIOD_S)
        while not self._stop.wait(max(0.0, clock.next_s - time.perf_counter())):
            self._read(clock)

    def _read(self, clock: _Clock | None = None) -> None:
        at_s, rss, pss = time.perf_counter(), 0, None
        with (clock or _Clock(_PERIOD_S)).reading():
            rss = int(self._process.memory_info().rss)
        if at_s >= self._pss_clock.next_s:
            with self._pss_clock.reading():
                pss = _pss_bytes()
        self._points.append((at_s, rss, pss))


def _pss_bytes() -> int | None:
    """Return the proportional set size; None where the system does not tell."""
    try:
        lines = _SMAPS.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), None)


def summarise(points: list[MemoryPoint], done_s: Series) -> Memory:
    """Return whether memory grew with the queries.

    A single step, or one that dies away, is no growth: the steps between parts must be alike.

    Args:
        points: of the run.
        done_s: when each query was answered, s from the run's begin.
    """
    done = np.sort(done_s[~np.isnan(done_s)])
    levels = _levels(points, done)
    if levels is None:
        return Memory(None, None, False, METHOD, points)
    steps = np.array([after - before for before, after in pairwise(levels)])
    a_part = len(done) / PARTS
    growth = float(steps.mean()) / a_part
    half = student(len(steps) - 1) * float(steps.std(ddof=1)) / math.sqrt(len(steps)) / a_part
    grows = growth - half > 0 and float(steps.sum()) > _FLOOR_BYTES
    return Memory(growth, (growth - half, growth + half), grows, METHOD, points)


def _levels(points: list[MemoryPoint], done: Series) -> list[float] | None:
    """Return the median of each part that counts; None where a part has too few readings."""
    if len(done) < PARTS:
        return None
    at_s = np.array([point.at_s for point in points])
    part = np.searchsorted(done, at_s) * PARTS // len(done)
    inside = (at_s >= 0) & (at_s <= done[-1])
    rss = np.array([point.rss_bytes for point in points], dtype=float)
    found = []
    for number in range(WARM_PARTS, PARTS):
        own = rss[inside & (part == number)]
        if len(own) < FEWEST_A_PART:
            return None
        found.append(float(np.median(own)))
    return found

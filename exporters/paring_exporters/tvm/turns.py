"""Times of calls that are measured in turn, so that no side bears the other's waiting threads."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np


def turn_ms(call: Callable[[], object], seconds: float, settle_seconds: float) -> float:
    """Run untimed until the threads of the side before sleep, then return the median of calls."""
    end = time.perf_counter() + settle_seconds
    while time.perf_counter() < end:
        call()
    return median_ms(call, seconds)


def median_ms(call: Callable[[], object], seconds: float) -> float:
    """The median of at least three calls in so many seconds, after one that is not timed."""
    call()
    times: list[int] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        begin = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - begin)
    return round(float(np.median(times)) / 1e6, 6)

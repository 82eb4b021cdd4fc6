"""Models that are opened anew while they are timed, and what can be concluded from that.

Two openings of one model differ by up to a few per cent: where weights and activations come to lie decides
which of them share sets of a cache. All calls of one opening have the same luck, so that more calls only
make an interval narrower around it [1]. What is timed is therefore opened several times; intervals are made
of openings, not of calls [2]. Which model is opened first matters too: every order is followed by its
reverse, and its effect is taken out of the spread.

[1] Mytkowicz et al., Producing wrong data without doing anything obviously wrong!, ASPLOS 2009.
[2] Kalibera and Jones, Rigorous benchmarking in reasonable time, ISMM 2013.
"""

from __future__ import annotations

import dataclasses
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from paring_profiles.result import Settings
from paring_profiles.statistics import Series, student
from paring_runtimes.errors import InputError

FEWEST = 4  # two in each order
LEVEL = 0.01
SMALLEST = 0.005  # of a time: what the layout of one process can make of nothing, in all its openings alike
Opened = TypeVar("Opened")
_OPENING_SHARE = 0.5


@dataclass(frozen=True)
class Against:
    """A baseline against a candidate: baseline / candidate.

    `p_value` is of a difference of 0.5 % or less, two-sided.
    """

    ratio: float
    ci95: tuple[float, float]
    p_value: float

    @property
    def verdict(self) -> str:
        """ "faster" or "slower" only where chance alone would say so once in a hundred times."""
        if self.p_value > LEVEL:
            return "no difference shown"
        return "faster" if self.ratio > 1 else "slower"


def how_many(settings: Settings, seconds: float) -> int:
    """How often to open what takes `seconds` each time: an even number, smaller where that takes too long."""
    affordable = int(_OPENING_SHARE * settings.max_seconds / max(seconds, 1e-9))
    return max(FEWEST, min(settings.openings, affordable // 2 * 2))


def orders(count: int, openings: int, seed: int) -> list[list[int]]:
    """In which order `count` models are opened, time and again; each order is followed by its reverse."""
    shuffler = random.Random(seed)
    found: list[list[int]] = []
    while len(found) < openings:
        order = shuffler.sample(range(count), count)
        found += [order, order[::-1]]
    return found[:openings]


def in_order(order: Sequence[int], opened: Callable[[int], Opened]) -> list[Opened]:
    """Open models in an order; return what was opened by number."""
    found = {index: opened(index) for index in order}
    return [found[index] for index in range(len(order))]


@dataclass(frozen=True)
class Opening:
    """One of several times that models are opened. `settings`: what is timed in it, a share of all."""

    settings: Settings
    number: int
    of: int

    def tell(self, say: Callable[[float], None], done: float) -> None:
        """Say how much of all is done when so much of this opening is, 0 to 1."""
        say((self.number + min(done, 1.0)) / self.of)


def open_anew(
    count: int, settings: Settings, reopen: Callable[[list[int]], Opened]
) -> Iterator[tuple[Opening, Opened]]:
    """Open `count` models time and again: what is then to be timed in each opening, and what was opened.

    Args:
        reopen: opens them anew, in the order given, and warms them up.
    """
    order, openings, number = orders(count, settings.openings, settings.seed), settings.openings, 0
    while number < openings:
        begin = time.perf_counter()
        opened = reopen(order[number])
        if number == 0:
            openings = how_many(settings, time.perf_counter() - begin)
        share = dataclasses.replace(
            settings,
            min_runs=-(-settings.min_runs // openings),
            min_seconds=settings.min_seconds / openings,
            max_seconds=settings.max_seconds / openings,
            seed=settings.seed + number,
        )
        yield Opening(share, number, openings), opened
        number += 1


def check(settings: Settings) -> None:
    """Check how often models are to be opened.

    Raises:
        InputError: not so.
    """
    if settings.openings < FEWEST or settings.openings % 2:
        raise InputError(f"openings: expected an even number of at least {FEWEST}, given {settings.openings}")


def against(every: Sequence[Sequence[Series]], index: int, seed: int) -> Against:
    """Compare the first model, the baseline, with another.

    Args:
        every: of each model, of each opening, one value a round, in which all had their turn.
        index: the other model.
        seed: of the orders in which they were opened.
    """
    logs = np.log([np.median(one / other) for one, other in zip(every[0], every[index], strict=True)])
    first = np.array([one.index(0) < one.index(index) for one in orders(len(every), len(logs), seed)])
    sides = [logs[first], logs[~first]]
    freedom = len(logs) - 2
    left = sum(float(np.square(side - side.mean()).sum()) for side in sides)
    return _against(float(logs.mean()), math.sqrt(left / freedom / len(logs)), freedom)


def apart(baseline_ms: Sequence[float], candidate_ms: Sequence[float]) -> Against:
    """Compare two models that were timed apart, by the medians of their openings (Welch's test)."""
    sides = [[math.log(value) for value in side] for side in (baseline_ms, candidate_ms)]
    errors = [_error(side) for side in sides]
    parts = sum(error**4 / (len(side) - 1) for error, side in zip(errors, sides, strict=True))
    error = math.hypot(*errors)
    freedom = error**4 / parts if parts else float(min(map(len, sides)) - 1)
    return _against(float(np.mean(sides[0]) - np.mean(sides[1])), error, freedom)


def median_interval(median: float, openings_ms: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval around a median of all calls, by the medians of the openings."""
    logs = [math.log(value) for value in openings_ms]
    half = student(0.0, len(logs) - 1)[1] * _error(logs)
    return median * math.exp(-half), median * math.exp(half)


def _error(logs: Sequence[float]) -> float:
    """The standard error of the mean."""
    return float(np.std(logs, ddof=1)) / math.sqrt(len(logs))


def _against(difference: float, error: float, freedom: float) -> Against:
    beyond = max(0.0, abs(difference) - SMALLEST)
    # Openings that agree to the last bit leave nothing to chance.
    t = beyond / error if error else (math.inf if beyond else 0.0)
    p_value, quantile = student(t, freedom)
    half = quantile * error
    return Against(math.exp(difference), (math.exp(difference - half), math.exp(difference + half)), p_value)

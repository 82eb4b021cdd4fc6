"""Latency: warm up, then time candidates in turns, in random order, in one process."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from paring_profiles import openings
from paring_profiles.result import Latency, Settings
from paring_profiles.statistics import Series, block_length, median_ci95, percentile

Call = Callable[[], object]

MAX_ROUNDS = 10_000  # enough for any interval here, and a profile stays a file of a few MB
_WARMUP_WINDOW = 5
_WARMUP_CLOSENESS = 0.03
_WARMUP_MAX_SECONDS = 10.0
_CALLS_AFTER_OPENING = 3
_LINGER_MAX_SECONDS = 0.4
_LINGER_STEP_SECONDS = 0.01
_LINGER_BUSY_SHARE = 0.1


@dataclass(frozen=True)
class Warmup:
    """How a candidate warmed up. `linger_s`: how long its threads stayed busy after a call."""

    runs: int
    settled: bool
    linger_s: float


@dataclass
class Turns:
    """What was timed of one candidate: one value a round, and every call in order, ms."""

    rounds_ms: list[float] = field(default_factory=list)
    samples_ms: list[float] = field(default_factory=list)
    timed_s: float = 0.0


def time_call(call: Call) -> float:
    """Return the time of one call, ms."""
    begin = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - begin) / 1e6


def warm_up(call: Call, max_seconds: float = _WARMUP_MAX_SECONDS) -> Warmup:
    """Call until the median of the last five calls is within 3 % of that of the five before."""
    times: list[float] = []
    deadline = time.perf_counter() + min(max_seconds, _WARMUP_MAX_SECONDS)
    settled = False
    while not settled and (len(times) < 2 or time.perf_counter() < deadline):
        times.append(time_call(call))
        settled = _settled(times)
    return Warmup(len(times), settled, linger(call))


def warm_again(call: Call) -> None:
    """Call what was opened anew until it has planned its memory."""
    for _ in range(_CALLS_AFTER_OPENING):
        call()


def _settled(times: list[float]) -> bool:
    if len(times) < 2 * _WARMUP_WINDOW:
        return False
    last = float(np.median(times[-_WARMUP_WINDOW:]))
    before = float(np.median(times[-2 * _WARMUP_WINDOW : -_WARMUP_WINDOW]))
    return abs(last - before) <= _WARMUP_CLOSENESS * before


def linger(call: Call) -> float:
    """Return how long this process stays busy after a call, s; 0 when its threads sleep at once.

    Engines let their threads spin for a while in wait of the next call (ONNX Runtime's: some 65 ms
    each). When another candidate's turn comes meanwhile, they take its cores away.
    """
    call()
    begin = time.perf_counter()
    while (waited := time.perf_counter() - begin) < _LINGER_MAX_SECONDS:
        busy = time.process_time()
        step = time.perf_counter()
        time.sleep(_LINGER_STEP_SECONDS)
        share = (time.process_time() - busy) / (time.perf_counter() - step)
        if share < _LINGER_BUSY_SHARE:
            return waited
    return _LINGER_MAX_SECONDS


def interleave(
    calls: Sequence[Call],
    settings: Settings,
    settle_s: float = 0.0,
    progress: Callable[[float], None] | None = None,
) -> list[Turns]:
    """Time candidates in rounds: in each, every candidate has one turn, in random order.

    With `settle_s` 0 a turn is an untimed call, which brings the candidate's weights back into the
    caches that the one before has filled with its own, then a timed one. Otherwise a candidate first
    runs untimed for that long, until the threads of the one before have gone to sleep, and is then timed
    for as long; the turn's value is the median of its calls.

    Ends when every candidate has `min_runs` calls and `min_seconds` of timed calls; at
    `max_seconds`; or after 10,000 rounds. At least one round is timed.
    """
    order = list(range(len(calls)))
    shuffler = random.Random(settings.seed)
    turns = [Turns() for _ in calls]
    begin = told = time.perf_counter()
    with without_collection():
        for _ in range(MAX_ROUNDS):
            shuffler.shuffle(order)
            for index in order:
                _take_turn(calls[index], turns[index], settle_s)
            now = time.perf_counter()
            done = share_done(turns, settings, now - begin)
            if progress is not None and now - told > 0.5:
                told = now
                progress(done)
            if done >= 1:
                break
    return turns


def _take_turn(call: Call, turn: Turns, settle_s: float) -> None:
    times: list[float] = []
    settled = time.perf_counter() + settle_s
    call()
    while time.perf_counter() < settled:
        call()
    end = time.perf_counter() + settle_s
    while not times or time.perf_counter() < end:
        times.append(time_call(call))
    turn.samples_ms.extend(times)
    turn.timed_s += sum(times) / 1e3
    turn.rounds_ms.append(float(np.median(times)) if len(times) > 1 else times[0])


def share_done(turns: list[Turns], settings: Settings, elapsed_s: float) -> float:
    """Return how far the measurement is, 0 to 1: by its slower goal, or by `max_seconds`."""
    runs = min(len(turn.samples_ms) for turn in turns) / max(settings.min_runs, 1)
    goal = max(settings.min_seconds, 1e-9)
    seconds = min(turn.timed_s for turn in turns)
    return max(min(runs, seconds / goal), elapsed_s / settings.max_seconds)


@contextmanager
def without_collection() -> Iterator[None]:
    """Keep Python's garbage collector out of the timed part."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def summarise(
    samples_ms: Series,
    batch_size: int,
    warmup_runs: int,
    seed: int,
    method: str,
    openings_ms: Sequence[float] = (),
) -> Latency:
    """Return the statistics of one candidate's calls at one batch size.

    Without `openings_ms`, the medians of several openings, the median's interval is that of one opening.
    """
    refused: dict[str, str] = {}
    values: dict[str, float | None] = {}
    for rank in (90, 99):
        values[f"p{rank}_ms"], reason = percentile(samples_ms, rank)
        if reason is not None:
            refused[f"p{rank}_ms"] = reason
    p50 = float(np.median(samples_ms))
    if openings_ms:
        ci95 = openings.median_interval(p50, openings_ms)
        interval = f"intervals (t) by the medians of {len(openings_ms)} openings of the model"
    else:
        ci95 = median_ci95(samples_ms, seed)
        interval = f"intervals from a block bootstrap (blocks of {block_length(samples_ms)})"
    return Latency(
        batch_size=batch_size,
        samples_ms=[round(float(t), 6) for t in samples_ms],
        warmup_runs=warmup_runs,
        p50_ms=p50,
        p50_ci95_ms=ci95,
        p90_ms=values["p90_ms"],
        p99_ms=values["p99_ms"],
        mean_ms=float(samples_ms.mean()),
        std_ms=float(samples_ms.std(ddof=1)) if len(samples_ms) > 1 else 0.0,
        min_ms=float(samples_ms.min()),
        throughput_per_s=batch_size / p50 * 1e3,
        refused=refused,
        method=f"{method}, {interval}",
        openings_ms=[round(one, 6) for one in openings_ms],
    )


def summarise_openings(
    turns: Sequence[Turns], batch_size: int, warmup_runs: int, seed: int, method: str
) -> Latency:
    """Return the statistics of one candidate's calls, opening by opening."""
    samples = np.concatenate([one.samples_ms for one in turns])
    medians = [float(np.median(one.samples_ms)) for one in turns]
    return summarise(samples, batch_size, warmup_runs, seed, method, medians)

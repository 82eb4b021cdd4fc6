"""What made a measurement noisy, in sentences. Quiet measurements give none."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import psutil

from paring_profiles.statistics import Series

_SPREAD_LIMIT = 0.10  # 1.4826 MAD / median: the standard deviation that outliers cannot bend
_VARIATION_LIMIT = 0.30  # standard deviation / mean: outliers count
_DRIFT_LIMIT = 0.05
_OTHERS_LIMIT = 0.10  # cores
_STEAL_LIMIT = 0.01
_FEWEST_ROUNDS = 20
_LOOK_S = 5.0
_CPU_STAT = (Path("/sys/fs/cgroup/cpu.stat"), Path("/sys/fs/cgroup/cpu/cpu.stat"))


def in_series(series: Series, name: str) -> list[str]:
    """Return what is wrong with one candidate's latencies, in the order measured."""
    said = []
    if len(series) < _FEWEST_ROUNDS:
        return [f"{name}: only {len(series)} rounds were timed, too few to judge their noise."]
    median = float(np.median(series))
    spread = 1.4826 * float(np.median(np.abs(series - median))) / median
    variation = float(series.std() / series.mean())
    if spread > _SPREAD_LIMIT:
        said.append(f"{name}: latencies spread by {spread:.0%} of their median (robust deviation).")
    if variation > _VARIATION_LIMIT:
        said.append(
            f"{name}: rare slow calls: the standard deviation is {variation:.0%} of the mean "
            f"and the robust one {spread:.0%}."
        )
    half = len(series) // 2
    drift = float(np.median(series[half:]) / np.median(series[:half])) - 1
    if abs(drift) > _DRIFT_LIMIT and abs(drift) > spread / np.sqrt(half) * 4:
        way = "slower" if drift > 0 else "faster"
        said.append(f"{name}: drift: the second half of the calls was {abs(drift):.0%} {way}.")
    return said


@dataclass(frozen=True)
class Reading:
    """Counters since boot (or since the process began), s; `throttled` is a count."""

    wall: float
    ours: float
    busy: float
    steal: float
    total: float
    throttled: int


def take_reading() -> Reading:
    """Read the counters now."""
    times = psutil.cpu_times()
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    steal = getattr(times, "steal", 0.0)
    idle = times.idle + getattr(times, "iowait", 0.0)
    return Reading(
        wall=time.perf_counter(),
        ours=time.process_time(),
        busy=total - idle - steal,
        steal=steal,
        total=total,
        throttled=_throttled(),
    )


def _throttled() -> int:
    """Return how often this control group was stopped for having used up its quota."""
    for path in _CPU_STAT:
        if path.is_file():
            counts = dict(line.split() for line in path.read_text().splitlines())
            return int(counts.get("nr_throttled", 0))
    return 0


class Watch:
    """Watches the machine over the timed part: `with Watch() as watch: ...`, then `sentences`."""

    def __enter__(self) -> Watch:
        """Take the counters."""
        self._begin = take_reading()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the counters again."""
        self._end = take_reading()

    def sentences(self, threads: int, cores: float) -> list[str]:
        """Return what other processes, the hypervisor and the control group did meanwhile."""
        return between(self._begin, self._end, threads, cores)


def between(begin: Reading, end: Reading, threads: int, cores: float) -> list[str]:
    """Return what two readings of the counters say about the time between them.

    Other processes count when they leave fewer cores than the threads measured, and half a core for
    what coordinates them.
    """
    others = others_cores(begin, end)
    stolen = (end.steal - begin.steal) / max(end.total - begin.total, 1e-9)
    stops = end.throttled - begin.throttled
    said = []
    if others > _OTHERS_LIMIT and cores - others < threads + 0.5:
        said.append(f"Other processes used {others:.2f} cores during the timed part.")
    if stolen > _STEAL_LIMIT:
        said.append(f"The hypervisor gave {stolen:.0%} of the CPU time to other guests.")
    if stops > 0:
        said.append(f"The control group's CPU quota stopped this process {stops} times.")
    return said


def others_cores(begin: Reading, end: Reading) -> float:
    """Return how many cores all other processes used between two readings, on average."""
    busy = (end.busy - begin.busy) - (end.ours - begin.ours)
    return busy / max(end.wall - begin.wall, 1e-9)


def wait_until_quiet(threads: int, cores: float, patience_s: float) -> bool:
    """Wait until `between` has nothing to say of a few seconds; return whether that came to be in time."""
    deadline, before = time.perf_counter() + patience_s, take_reading()
    while True:
        time.sleep(max(0.0, min(_LOOK_S, deadline - time.perf_counter())))
        after = take_reading()
        if not between(before, after, threads, cores):
            return True
        if after.wall >= deadline:
            return False
        before = after


def in_surroundings(threads: int, usable_cores: float, load_1m: float | None, cores: int | None) -> list[str]:
    """Return what is wrong with the machine before anything is timed."""
    said = []
    if threads > usable_cores:
        said.append(f"{threads} threads were asked for and {usable_cores:g} cores may be used.")
    if load_1m is not None and cores is not None and load_1m > cores:
        said.append(f"The load average was {load_1m:.1f} on {cores} cores before the measurement.")
    return said

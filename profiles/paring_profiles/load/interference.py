"""What disturbed a run, in sentences: other processes, the hypervisor, quotas, threads that strayed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

import numpy as np
import psutil

from paring_profiles import noise
from paring_profiles.load import pinning
from paring_profiles.load.timeline import Timeline

_OTHERS_LIMIT = 0.05  # of each pinned CPU
_LATE_LIMIT_MS = 1.0


class Interference:
    """Watches the machine over a run, and apart the CPUs that the run has for itself.

    Args:
        threads: that compute.
        cores: of the machine.
        cpus: that the run is pinned to; empty for none.
    """

    def __init__(self, threads: int, cores: float, cpus: Sequence[int]) -> None:
        self._threads, self._cores, self._cpus = threads, cores, tuple(cpus)
        self._watch = noise.Watch()

    def __enter__(self) -> Interference:
        """Take the counters."""
        self._begin = (time.perf_counter(), time.process_time(), _busy_s(self._cpus))
        self._watch.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the counters again."""
        self._watch.__exit__(kind, error, trace)
        self._end = (time.perf_counter(), time.process_time(), _busy_s(self._cpus))

    def sentences(self) -> list[str]:
        """Return what happened meanwhile."""
        said = self._watch.sentences(self._threads, self._cores)
        if not self._cpus:
            return said
        wall, ours, busy = (after - before for before, after in zip(self._begin, self._end, strict=True))
        share = (busy - ours) / max(wall * len(self._cpus), 1e-9)
        if share > _OTHERS_LIMIT:
            said.append(
                f"Other processes used {share:.0%} of the CPUs {pinning.shown(self._cpus)} that the run is "
                "pinned to."
            )
        return said


def late_takers(timeline: Timeline, workers: int) -> list[str]:
    """Return whether workers that had nothing to do took queries late: then something held the CPUs."""
    taken = ~np.isnan(timeline.taken)
    due, late_ms = timeline.due[taken], (timeline.taken - timeline.due)[taken] * 1e3
    done = np.sort(timeline.done[taken])
    busy = np.arange(len(due)) - np.searchsorted(done, due, side="right")  # queries before it, unanswered
    late_ms = late_ms[busy < workers]
    if not len(late_ms) or (p99_ms := float(np.percentile(late_ms, 99))) <= _LATE_LIMIT_MS:
        return []
    return [
        f"Idle workers took 1 % of their queries more than {p99_ms:.1f} ms late, at most "
        f"{late_ms.max():.1f} ms: something else held the CPUs."
    ]


def _busy_s(cpus: Sequence[int]) -> float:
    """Return how long these CPUs have worked since the boot, s."""
    if not cpus:
        return 0.0
    every = psutil.cpu_times(percpu=True)
    found = 0.0
    for cpu in cpus:
        times = every[cpu]
        idle = times.idle + getattr(times, "iowait", 0.0) + getattr(times, "steal", 0.0)
        twice = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
        found += sum(times) - idle - twice
    return found

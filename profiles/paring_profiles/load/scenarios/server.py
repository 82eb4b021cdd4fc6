"""Server: single samples arrive by a Poisson process, whether or not those before are answered.

The moments of arrival are drawn before the run, and a latency counts from there to the answer: what a query
waits while others are answered is its latency too, and a stall is charged to every query that arrived in it
(no coordinated omission). Workers take queries themselves, in order, as soon as they are due: there is no
thread in between that could fall behind.
"""

from __future__ import annotations

import threading
import time

import numpy as np

from paring_profiles.load.arrivals import poisson
from paring_profiles.load.result import LoadSettings
from paring_profiles.load.scenarios import Plan, Say
from paring_profiles.load.system import Instance, System
from paring_profiles.load.timeline import Timeline

TITLE = "Server"
WHAT = "single samples arrive at random (Poisson), whether or not those before are answered"
RANK = 99.0
BY_RATE = True
OVER = 10  # with fewer queries a bound is kept only far below the rate at which it is broken
_AWAKE_S = 1.2e-4  # the system wakes sleepers 50 to 90 µs late: the last of a wait is spent awake


def refuse(settings: LoadSettings) -> str | None:
    """Return why these settings do not suit it, or None."""
    if settings.find_qps and settings.latency_bound_ms is None:
        return "the greatest rate is looked for within a bound: give --latency-bound, such as 15ms"
    if not settings.find_qps and settings.qps is None:
        return "give the rate of arrivals (--qps), or --find-qps and --latency-bound"
    return None


def batch(settings: LoadSettings) -> int:
    """Return how many samples a call of the engine has, at most."""
    return settings.batch or 1


def run(system: System, settings: LoadSettings, plan: Plan, say: Say) -> Timeline:
    """Answer all queries that arrive within `plan.seconds`, and `plan.queries` at least."""
    due = poisson(plan.qps, plan.seconds, plan.queries, plan.seed)
    timeline = Timeline(len(due))
    timeline.schedule(due)
    queue = _Queue(due, system, timeline, settings, plan)

    def answer(_number: int, instance: Instance) -> None:
        while (taken := queue.take()) is not None:
            first, count, taken_s = taken
            instance.call(first, count)
            done_s = timeline.now_s()
            timeline.answer(first, count, taken_s, done_s)
            queue.judge(done_s - due[first : first + count])
            say(first / len(due))

    system.work(answer)
    answered = timeline.done[~np.isnan(timeline.done)]
    timeline.seconds = float(answered.max()) if len(answered) else 0.0
    return timeline


class _Queue:
    """Hands out queries in order, each not before it is due, and those that are waiting together."""

    def __init__(
        self, due: np.ndarray, system: System, timeline: Timeline, settings: LoadSettings, plan: Plan
    ) -> None:
        self._due, self._system, self._timeline = due, system, timeline
        self._batch, self._max_seconds = plan.batch, settings.max_seconds
        self._bound_s = None if settings.latency_bound_ms is None else settings.latency_bound_ms / 1e3
        self._most_over = plan.most_over
        self._next, self._over = 0, 0
        self._lock, self._judging = threading.Lock(), threading.Lock()
        timeline.start()

    def take(self) -> tuple[int, int, float] | None:
        """Wait for the next query, return its number, how many are taken, and when; None at the end.

        Whoever waits holds the lock: other idle workers queue up behind, and the next query is theirs.
        """
        with self._lock:
            first = self._next
            if first >= len(self._due):
                return None
            until_s = min(float(self._due[first]), self._max_seconds)
            while (left_s := until_s - self._timeline.now_s()) > 0 and not self._system.stopped.is_set():
                if left_s > _AWAKE_S:
                    time.sleep(min(left_s - _AWAKE_S, 0.1))
            now_s = self._timeline.now_s()
            if self._system.stopped.is_set() or now_s >= self._max_seconds:
                return None
            waiting = int(np.searchsorted(self._due, now_s, side="right")) - first
            count = max(1, min(self._batch, waiting))
            self._next = first + count
            self._timeline.called(count)
            return first, count, now_s

    def judge(self, latencies_s: np.ndarray) -> None:
        """End the run where more queries are over the bound than may be."""
        if self._most_over is None or self._bound_s is None:
            return
        with self._judging:
            self._over += int(np.count_nonzero(latencies_s > self._bound_s))
            if self._over > self._most_over:
                self._timeline.hopeless = True
                self._system.stopped.set()

"""Multi-stream: N samples a query, answered when all are; the next query when the one before is answered.

A query's samples are shared out among the workers, as evenly as they go. Its latency is that of its slowest
sample, with the time it takes to wake the workers.
"""

from __future__ import annotations

import threading

from paring_profiles.load.result import LoadSettings
from paring_profiles.load.scenarios import Plan, Say
from paring_profiles.load.system import Instance, System
from paring_profiles.load.timeline import Timeline

TITLE = "Multi-stream"
WHAT = "several samples a query; the next query comes when all of the one before are answered"
RANK = 99.0
BY_RATE = False
OVER = 1


def refuse(settings: LoadSettings) -> str | None:
    """Return why these settings do not suit it, or None."""
    if settings.samples_per_query < settings.workers:
        return f"{settings.samples_per_query} samples a query leave some of {settings.workers} workers idle"
    return None


def batch(settings: LoadSettings) -> int:
    """Return how many samples a call of the engine has, at most: a worker's share of a query."""
    return min(
        settings.batch or settings.samples_per_query, -(-settings.samples_per_query // settings.workers)
    )


def run(system: System, settings: LoadSettings, plan: Plan, say: Say) -> Timeline:
    """Ask until there are enough queries and enough time has gone."""
    samples, workers = settings.samples_per_query, len(system.instances)
    timeline = Timeline(max(plan.queries, plan.likely), samples)
    edges = [samples * number // workers for number in range(workers + 1)]
    timeline.start()
    due_s, going = 0.0, True

    def begin() -> None:  # in one worker's thread, while the others wait
        nonlocal due_s
        due_s = timeline.now_s()

    def end() -> None:
        nonlocal going
        now_s = timeline.now_s()
        timeline.add(due_s, now_s)
        timeline.seconds = now_s
        say(min(timeline.count / plan.queries, now_s / max(plan.seconds, 1e-9)))
        enough = timeline.count >= plan.queries and now_s >= plan.seconds
        going = not (enough or now_s >= settings.max_seconds or system.stopped.is_set())

    ready, answered = threading.Barrier(workers, begin), threading.Barrier(workers, end)
    counting = threading.Lock()

    def ask(number: int, instance: Instance) -> None:
        while going:
            ready.wait()
            for first in range(edges[number], edges[number + 1], plan.batch):
                count = min(plan.batch, edges[number + 1] - first)
                instance.call(timeline.count * samples + first, count)
                with counting:
                    timeline.called(count)
            answered.wait()

    def let_go() -> None:
        ready.abort()
        answered.abort()

    system.work(ask, let_go)
    return timeline

"""Offline: all samples are there at once; what counts is how many are answered a second."""

from __future__ import annotations

import threading

import numpy as np

from paring_profiles.load.result import LoadSettings
from paring_profiles.load.scenarios import Plan, Say
from paring_profiles.load.system import Instance, System
from paring_profiles.load.timeline import Timeline

TITLE = "Offline"
WHAT = "all samples are there at once"
RANK = None
BY_RATE = False
OVER = 1


def refuse(_settings: LoadSettings) -> str | None:
    """Return None: it takes any settings."""
    return None


def batch(settings: LoadSettings) -> int:
    """Return how many samples a call of the engine has, at most."""
    return settings.batch or 1


def run(system: System, settings: LoadSettings, plan: Plan, say: Say) -> Timeline:
    """Answer `plan.queries` samples at least, and as many as take `plan.seconds` by the warm-up's pace."""
    total = max(plan.queries, plan.likely)
    timeline = Timeline(total)
    timeline.schedule(np.zeros(total))
    lock = threading.Lock()
    timeline.start()
    taken = 0

    def answer(_number: int, instance: Instance) -> None:
        nonlocal taken
        while not system.stopped.is_set():
            with lock:
                first, count = taken, min(plan.batch, total - taken)
                taken += count
                if count > 0:
                    timeline.called(count)
            taken_s = timeline.now_s()
            if count <= 0 or taken_s >= settings.max_seconds:
                return
            instance.call(first, count)
            timeline.answer(first, count, taken_s, timeline.now_s())
            say(first / total)

    system.work(answer)
    answered = timeline.done[~np.isnan(timeline.done)]
    timeline.seconds = float(answered.max()) if len(answered) else 0.0
    return timeline

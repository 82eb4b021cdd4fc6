"""Single stream: one sample a query, the next query when the one before is answered."""

from __future__ import annotations

from paring_profiles.load.result import LoadSettings
from paring_profiles.load.scenarios import Plan, Say
from paring_profiles.load.system import Instance, System
from paring_profiles.load.timeline import Timeline

TITLE = "Single stream"
WHAT = "one sample a query; the next query comes when the one before is answered"
RANK = 90.0
BY_RATE = False
OVER = 1


def refuse(settings: LoadSettings) -> str | None:
    """Return why these settings do not suit it, or None."""
    if settings.workers > 1:
        return f"one query is there at a time, and {settings.workers} workers were asked for; take 1"
    if (settings.batch or 1) > 1:
        return f"a query is one sample, and calls of {settings.batch} were asked for; take --batch 1"
    return None


def batch(_settings: LoadSettings) -> int:
    """Return how many samples a call of the engine has, at most."""
    return 1


def run(system: System, settings: LoadSettings, plan: Plan, say: Say) -> Timeline:
    """Ask until there are enough queries and enough time has gone."""
    timeline = Timeline(max(plan.queries, plan.likely))

    def ask(_number: int, instance: Instance) -> None:
        timeline.start()
        count, now_s = 0, 0.0
        while not system.stopped.is_set():
            due_s = timeline.now_s()
            instance.call(count, 1)
            now_s = timeline.now_s()
            timeline.add(due_s, now_s)
            timeline.called(1)
            count += 1
            say(min(count / plan.queries, now_s / max(plan.seconds, 1e-9)))
            if (count >= plan.queries and now_s >= plan.seconds) or now_s >= settings.max_seconds:
                break
        timeline.seconds = now_s

    system.work(ask)
    return timeline

"""Scenarios: how queries come. One file a scenario, found by its file name.

A scenario's module has

- `TITLE`, its name in reports, and `WHAT`, how queries come, in words;
- `RANK`, the percentile that it is judged by, None for throughput alone;
- `OVER`, how many queries may be over a bound in a run of the usual number of queries;
- `BY_RATE`, whether queries arrive at a rate, so that a bound can be kept or not;
- `refuse(settings)`, None or why these settings do not suit it;
- `batch(settings)`, how many samples a call of the engine has at most;
- `run(system, settings, plan, say)`, which makes the load and returns a `Timeline`.

They follow MLPerf's inference rules (https://github.com/mlcommons/inference_policies), which ask for ten
minutes and fixed data sets beside: figures of here are no MLPerf results.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

from paring_profiles.load.result import LoadSettings
from paring_profiles.load.system import System
from paring_profiles.load.timeline import Timeline
from paring_runtimes.errors import InputError
from paring_runtimes.suggest import near_miss

Say = Callable[[float], None]  # told the share that is done


@dataclass(frozen=True)
class Plan:
    """Of one run.

    Attributes:
        queries: at least (offline: samples).
        seconds: at least.
        likely: queries that `seconds` will take, by the warm-up's pace.
        batch: samples in a call of the engine, at most.
        qps: of server.
        most_over: of server: end as hopeless when more queries are over the bound; None to go on.
        seed: of arrivals.
    """

    queries: int
    seconds: float
    likely: int
    batch: int = 1
    qps: float = 0.0
    most_over: int | None = None
    seed: int = 0


class Scenario(Protocol):
    """A module of this folder."""

    TITLE: str
    WHAT: str
    RANK: float | None
    BY_RATE: bool
    OVER: int

    def refuse(self, settings: LoadSettings) -> str | None:
        """Return why these settings do not suit it, or None."""
        ...

    def batch(self, settings: LoadSettings) -> int:
        """Return how many samples a call of the engine has, at most."""
        ...

    def run(self, system: System, settings: LoadSettings, plan: Plan, say: Say) -> Timeline:
        """Make the load."""
        ...


def scenarios() -> dict[str, Scenario]:
    """Return every scenario by name, in alphabetical order."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return {name: cast(Scenario, importlib.import_module(f"{__name__}.{name}")) for name in names}


def find(name: str) -> Scenario:
    """Return a scenario.

    Raises:
        InputError: there is none of that name.
    """
    known = scenarios()
    if name not in known:
        raise InputError(f"scenario: no {name!r}{near_miss(name, known)}; known: {', '.join(known)}")
    return known[name]

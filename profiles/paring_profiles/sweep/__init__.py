"""A sweep's results: the format, the front with its uncertainty, the recommendation. No search is in here.

::

    from paring_profiles.sweep import read_sweep

    sweep = read_sweep("OUT")
    for standing in sweep.front:
        print(sweep.trial(standing.trial).params, standing.place, standing.probability)
"""

from __future__ import annotations

from paring_profiles.sweep.choose import Miss, Recommendation, recommend
from paring_profiles.sweep.constraints import Constraint, constraints
from paring_profiles.sweep.front import front, pack_answers, unpack_answers
from paring_profiles.sweep.names import MEASURED_ENERGY, MEASURES, MODELLED_ENERGY, Named, resolve
from paring_profiles.sweep.result import (
    IMPOSSIBLE,
    Baseline,
    Measure,
    Objective,
    Standing,
    Sweep,
    SweepSettings,
    Trial,
)
from paring_profiles.sweep.store import read_sweep, write_sweep

__all__ = [
    "IMPOSSIBLE",
    "MEASURED_ENERGY",
    "MEASURES",
    "MODELLED_ENERGY",
    "Baseline",
    "Constraint",
    "Measure",
    "Miss",
    "Named",
    "Objective",
    "Recommendation",
    "Standing",
    "Sweep",
    "SweepSettings",
    "Trial",
    "constraints",
    "front",
    "pack_answers",
    "read_sweep",
    "recommend",
    "resolve",
    "unpack_answers",
    "write_sweep",
]

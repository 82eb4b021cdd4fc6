"""Load tests: MLPerf's scenarios over sessions, cold and warm starts, memory and energy meanwhile.

::

    from paring_profiles.load import LoadSettings, load_test

    found = load_test(["vit/"], LoadSettings(scenarios=("server",), qps=200.0, latency_bound_ms=15.0))
    print(found.runs[0].verdict, found.runs[0].latency.at(99.0))
"""

from __future__ import annotations

from paring_profiles.load.result import LoadResult, LoadRun, LoadSettings
from paring_profiles.load.run import load_test
from paring_profiles.load.scenarios import scenarios

__all__ = ["LoadResult", "LoadRun", "LoadSettings", "load_test", "scenarios"]

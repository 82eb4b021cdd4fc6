"""Time by operator, from ONNX Runtime's own profile of runs that are not timed otherwise."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import paring_runtimes
from paring_profiles.result import OperatorTime

_WARMUP_RUNS = 3
_RUNS = 10


def measure(
    path: str | Path, feeds: Mapping[str, Any], threads: int, runs: int = _RUNS
) -> list[OperatorTime]:
    """Return the time of each kind of operator, ms a call of the model, longest first.

    The graph is the optimised one, so its operators are ONNX Runtime's (fused ones among them).
    Profiling costs time itself: the shares are what to read, not the sum.

    Raises:
        EngineError: the engine cannot run or profile the model.
    """
    with tempfile.TemporaryDirectory(prefix="paring-") as folder:
        with paring_runtimes.load(
            path, threads=threads, verify=False, profile_to=Path(folder) / "operators"
        ) as session:
            for _ in range(_WARMUP_RUNS + runs):
                session.run(dict(feeds))
            file = session.end_profiling()
        return aggregate(json.loads(Path(file).read_text(encoding="utf-8")), _WARMUP_RUNS)


def aggregate(events: Iterable[Mapping[str, Any]], skip: int) -> list[OperatorTime]:
    """Sum the kernels of a profile by operator, without those of the first `skip` model runs."""
    kept = list(events)
    runs = sorted((e for e in kept if e["name"] == "model_run"), key=lambda e: float(e["ts"]))
    if len(runs) <= skip:
        return []
    begin = float(runs[skip]["ts"])
    time_us: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for event in kept:
        if event["name"].endswith("_kernel_time") and float(event["ts"]) >= begin:
            time_us[event["args"]["op_name"]] += event["dur"]
            calls[event["args"]["op_name"]] += 1
    count, total = len(runs) - skip, time_us.total() or 1
    return [
        OperatorTime(name, round(calls[name] / count), spent / count / 1e3, spent / total)
        for name, spent in time_us.most_common()
    ]

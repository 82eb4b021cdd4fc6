"""ONNX Runtime: the file of `SessionOptions.enable_profiling`, events as in Chrome's traces, microseconds.

https://onnxruntime.ai/docs/performance/tune-performance/profiling-tools.html. `model_run` is a whole call;
`..._kernel_time` an operator in it. Profiling itself costs time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paring_profiles.operators import aggregate
from paring_runtimes.errors import ArtifactError

from ._row import Imported, finite, median_row, read_json

TITLE = "ONNX Runtime's profile"
HELP = "the JSON file of ONNX Runtime's enable_profiling"
_EXPECTED = "an array of events, some of them named 'model_run', as ONNX Runtime's profiler writes it"
_BY = "measured by ONNX Runtime, while profiling"
_WARMUP = 1  # the first call is left out: it allocates


def rows(path: Path) -> list[Imported]:
    """Whole calls, and the time of each kind of operator in one.

    Raises:
        ArtifactError: not such a file.
    """
    told = read_json(path, _EXPECTED)
    events = [e for e in told if isinstance(e, dict) and "name" in e] if isinstance(told, list) else []
    runs = sorted((e for e in events if e["name"] == "model_run"), key=lambda e: float(e["ts"]))
    if not runs:
        raise ArtifactError(f"{path}: expected {_EXPECTED}")
    skip = _WARMUP if len(runs) > _WARMUP else 0
    kernels = [e for e in events if e["name"].endswith("_kernel_time")]
    providers = sorted({str(e.get("args", {}).get("provider")) for e in kernels})
    known: dict[str, Any] = {
        "context": {"providers": ", ".join(providers), "left out": f"the first {skip} of {len(runs)} calls"},
        "unknown": ["model", "machine", "batch size", "threads", "how many calls were warm-up"],
    }
    times = [finite(run.get("dur"), path, "model_run: dur") / 1e3 for run in runs[skip:]]
    found = [median_row("whole call", times, _BY, **known)]
    for one in aggregate(events, skip):
        statistic = f"mean of {len(times)} runs"
        row = Imported(
            one.op_type, "operator time", one.time_ms, "ms", statistic, _BY, None, len(times), **known
        )
        found.append(row)
    return found

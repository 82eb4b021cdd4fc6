"""Peak memory and load time of one artifact, each in a fresh process of its own.

`python -m paring_profiles.memory` is that process: it prints one line of JSON. What counts is the
resident memory beyond what Python, numpy and the engine's library take before the artifact is
opened; file pages that the engine maps count once they are touched.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from paring_profiles.child import answer_of
from paring_runtimes.artifact import read_manifest
from paring_runtimes.engines import engines

if TYPE_CHECKING:
    from paring_runtimes import Session

_RUNS = 3
_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class MemoryUse:
    """What one process needed.

    Attributes:
        peak_bytes: peak resident growth over load and a few runs.
        load_ms: time to open the artifact, its integrity check included.
    """

    peak_bytes: int
    load_ms: float


def measure(
    path: str | Path,
    batch_size: int,
    threads: int,
    dims: Mapping[str, int] | None = None,
    seed: int = 0,
    engine: str | None = None,
    values: Mapping[str, float] | None = None,
) -> MemoryUse:
    """Open and run an artifact in a process of its own, on its own engine or the one named.

    `dims` and `values` are as in `Settings`.

    Raises:
        EngineError: that process failed; the message ends with what it said.
    """
    request = {"batch_size": batch_size, "threads": threads, "dims": dict(dims or {}), "seed": seed}
    request |= {"engine": engine, "values": dict(values or {})}
    return measure_apart(path, request)


def measure_apart(path: str | Path, request: Mapping[str, Any]) -> MemoryUse:
    """As `measure`; with "prompt_tokens" a language model answers, by `generation.run`."""
    request = {**request, "path": str(Path(path).resolve())}
    command = [sys.executable, "-m", "paring_profiles.memory", json.dumps(request)]
    answer = answer_of(command, path, "measuring its memory", _environment())
    return MemoryUse(peak_bytes=int(answer["peak_bytes"]), load_ms=float(answer["load_ms"]))


def _environment() -> dict[str, str]:
    """Return this process's environment, in which the child finds the same packages."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


def _resident_bytes() -> int:
    return int(psutil.Process().memory_info().rss)


def _forget_peak() -> None:
    """Make Linux count the peak from here: it begins with what imports took for a moment."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak_bytes() -> int:
    """Return the peak resident memory of this process.

    Linux's `ru_maxrss` would not do: it is inherited from the process that started this one.
    """
    if _STATUS.exists():
        line = next(x for x in _STATUS.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def measure_here(request: Mapping[str, Any]) -> MemoryUse:
    """Measure in this process; only meaningful in a fresh one."""
    import paring_runtimes

    engine = request.get("engine")
    with suppress(ImportError):  # `load` says what is missing
        importlib.import_module(library(request["path"], engine))  # no part of loading an artifact
    before = _resident_bytes()
    _forget_peak()
    begin = time.perf_counter_ns()
    with paring_runtimes.load(request["path"], engine=engine, threads=request["threads"]) as session:
        load_ms = (time.perf_counter_ns() - begin) / 1e6
        if "prompt_tokens" in request:
            _answer(session, request)
        else:
            _run(session, request)
    return MemoryUse(max(0, _peak_bytes() - before), load_ms)


def library(path: str, engine: str | None) -> str:
    """The module that an engine's library is imported by: `LIBRARY` of the engine, or its name."""
    known = engines()
    if engine is None and Path(path).is_dir():
        form = read_manifest(path).format
        engine = next((name for name, module in known.items() if set(module.FORMATS) == {form}), None)
    return str(getattr(known.get(engine or ""), "LIBRARY", engine or "onnxruntime"))


def _run(session: Session, request: Mapping[str, Any]) -> None:
    from paring_profiles import inputs

    shapes = inputs.concrete_shapes(session.inputs, request["batch_size"], request["dims"], request["path"])
    feeds = inputs.make(session.inputs, shapes, request["seed"], request.get("values"))
    for _ in range(_RUNS):
        session.run(feeds)


def _answer(session: Session, request: Mapping[str, Any]) -> None:
    from paring_profiles.generation.run import AnswerRun
    from paring_profiles.result import Settings

    told = {key: request[key] for key in ("seed", "new_tokens", "text", "image")}
    run = AnswerRun(session, request["batch_size"], request["prompt_tokens"], Settings(**told))
    for _ in range(_RUNS - 1):
        run()


if __name__ == "__main__":
    use = measure_here(json.loads(sys.argv[1]))
    print(json.dumps({"peak_bytes": use.peak_bytes, "load_ms": use.load_ms}))

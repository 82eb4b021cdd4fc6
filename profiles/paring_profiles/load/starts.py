"""Cold and warm starts: from the start of a fresh process to its first answer."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import paring_runtimes
from paring_profiles import inputs, memory, onnx_graph
from paring_profiles.child import answer_of
from paring_profiles.load import page_cache
from paring_profiles.load.result import LoadSettings, Start, Starts

_CHILD = Path(__file__).with_name("first_answer.py")
_DROPPED = 0.02  # what may stay of an artifact: a page that is read at that moment
METHOD = (
    "fresh processes, cold and warm in turns; from just before the process is made, by the monotonic clock; "
    "imports are Python, numpy, the runtime and the engine's library, loading checks the artifact's digests; "
    "cold means that the artifact's own pages were dropped, Python's and the engine's files stay in the cache"
)


def measure(path: Path, engine: str | None, settings: LoadSettings) -> Starts:
    """Start processes in turns, `settings.starts` of each kind. No session of the artifact may be open.

    Raises:
        EngineError: a process failed; the message ends with what it said.
        InputError: inputs that cannot be made, see `inputs`.
    """
    files = _files(path)
    why_not = page_cache.why_not()
    cold: list[Start] = []
    warm: list[Start] = []
    cached = None
    with tempfile.TemporaryDirectory(prefix="paring-start-") as folder:
        request = _request(path, engine, settings, Path(folder) / "feeds.npz")
        _start(path, request)  # what is in the page cache once stays there
        for _ in range(settings.starts):
            if why_not is None:
                cached, why_not = _drop(files)
            if why_not is None:
                cold.append(_start(path, request))
            warm.append(_start(path, request))
    return Starts([] if why_not else cold, warm, cached, why_not, METHOD)


def _files(path: Path) -> list[Path]:
    """Return the files that an artifact, or a bare model, is read from."""
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    beside = onnx_graph.external_files(onnx_graph.open_graph(path)) if path.suffix == ".onnx" else []
    return [path, *(path.parent / name for name in beside)]


def _drop(files: Sequence[Path]) -> tuple[float | None, str | None]:
    """Drop pages; return the share that stayed, and why that is no cold start."""
    page_cache.drop(files)
    try:
        stayed = page_cache.cached_share(files)
    except OSError as error:
        return None, f"whether pages were dropped cannot be told: {error.strerror}"
    if stayed > _DROPPED:
        return stayed, (
            f"{stayed:.0%} of the artifact's pages stay in memory: its file system keeps them there, or "
            "another process has them open"
        )
    return stayed, None


def _request(path: Path, engine: str | None, settings: LoadSettings, feeds: Path) -> dict[str, object]:
    """Write one sample's inputs, and return what a fresh process is told."""
    with paring_runtimes.load(path, engine=engine, threads=settings.threads) as session:
        shapes = inputs.concrete_shapes(session.inputs, 1, settings.dims, path)
        made: dict[str, Any] = inputs.make(session.inputs, shapes, settings.seed, settings.values)
        np.savez(feeds, **made)
    where = path.resolve()
    return {
        "path": str(where),
        "engine": engine,
        "threads": settings.threads,
        "library": memory.library(str(where), engine),
        "feeds": str(feeds),
    }


def _start(path: Path, request: dict[str, object]) -> Start:
    command = [sys.executable, str(_CHILD), json.dumps(request)]
    begin = time.monotonic_ns()
    at = answer_of(command, path, "opening it in a fresh process")
    return Start(
        imports_ms=(at["imported"] - begin) / 1e6,
        load_ms=(at["loaded"] - at["imported"]) / 1e6,
        first_ms=(at["answered"] - at["asked"]) / 1e6,
    )

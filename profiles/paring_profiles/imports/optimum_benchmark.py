"""optimum-benchmark: `benchmark_report.json`, or `benchmark.json` with the configuration beside the report.

https://github.com/huggingface/optimum-benchmark, `benchmark/report.py` and `trackers/`: a target ("forward",
"prefill", "decode", ...) holds memory, latency (seconds), throughput, energy (kWh) and efficiency, or null.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paring_runtimes.errors import ArtifactError

from ._row import Imported, finite, median_row, read_json

TITLE = "optimum-benchmark"
HELP = "benchmark.json or benchmark_report.json of optimum-benchmark"
_BY = "measured by optimum-benchmark"
# CodeCarbon adds what it reads from counters to what it estimates, and does not tell which is which.
_ENERGY = "CodeCarbon's sum: measured and modelled parts are not told apart"
_EXPECTED = "targets such as 'forward', each an object with 'latency'"
_MEMORY = {
    "max_ram": "peak RAM",
    "max_global_vram": "peak GPU memory",
    "max_process_vram": "peak GPU memory, own",
}


def rows(path: Path) -> list[Imported]:
    """Every figure of every target.

    Raises:
        ArtifactError: not such a file.
    """
    told = read_json(path, _EXPECTED)
    if not isinstance(told, dict):
        raise ArtifactError(f"{path}: expected {_EXPECTED}")
    config = told.get("config") if "report" in told else None
    report = told.get("report", told)
    if not isinstance(report, dict) or not any(_is_target(one) for one in report.values()):
        raise ArtifactError(f"{path}: expected {_EXPECTED}")
    context = _context(config) if isinstance(config, dict) else {}
    unknown = ["warm-up", *([] if context else ["machine", "backend", "batch size"])]
    return [
        row
        for target, held in report.items()
        if _is_target(held)
        for row in _target(path, target, held, context, unknown)
    ]


def _is_target(held: Any) -> bool:
    parts = held.values() if isinstance(held, dict) and "latency" in held else [0]
    return all(part is None or isinstance(part, dict) for part in parts)


def _target(
    path: Path, name: str, held: dict[str, Any], context: dict[str, str], unknown: list[str]
) -> list[Imported]:
    known: dict[str, Any] = {"context": context, "unknown": unknown}
    found = []
    if latency := held.get("latency"):
        found.append(_latency(path, name, latency, known))
    if throughput := held.get("throughput"):
        value = finite(throughput.get("value"), path, f"{name}.throughput.value")
        unit = str(throughput.get("unit"))
        found.append(Imported(name, "throughput", value, unit, "items / mean latency", _BY, **known))
    memory = held.get("memory") or {}
    for key, what in _MEMORY.items():
        if memory.get(key) is not None:
            value = finite(memory[key], path, f"{name}.memory.{key}")
            found.append(Imported(name, what, value, str(memory.get("unit")), "largest", _BY, **known))
    if energy := held.get("energy"):
        value = finite(energy.get("total"), path, f"{name}.energy.total")
        found.append(Imported(name, "energy", value, str(energy.get("unit")), "total", _ENERGY, **known))
    return found


def _latency(path: Path, name: str, latency: dict[str, Any], known: dict[str, Any]) -> Imported:
    if latency.get("unit") != "s":
        raise ArtifactError(f"{path}: {name}.latency.unit: expected 's', given {latency.get('unit')!r}")
    values = latency.get("values")
    if isinstance(values, list) and values:
        series = [1e3 * finite(one, path, f"{name}.latency.values") for one in values]
        return median_row(name, series, _BY, **known)
    median = 1e3 * finite(latency.get("p50"), path, f"{name}.latency.p50")
    count = latency.get("count")
    return Imported(name, "latency", median, "ms", f"median of {count} runs", _BY, None, count, **known)


def _context(config: dict[str, Any]) -> dict[str, str]:
    """Backend, model, device, machine, batch size: what the configuration tells."""
    backend, scenario = config.get("backend") or {}, config.get("scenario") or {}
    environment = config.get("environment") or {}
    shapes = scenario.get("input_shapes") or {}
    found = {
        "backend": backend.get("name"),
        "model": backend.get("model"),
        "device": backend.get("device"),
        "batch size": shapes.get("batch_size"),
        "cpu": environment.get("cpu"),
        "gpu": environment.get("gpu"),
    }
    return {key: str(value) for key, value in found.items() if value}

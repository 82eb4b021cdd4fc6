"""What is imported, as plain data."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from paring_profiles.statistics import median_ci95
from paring_runtimes.errors import ArtifactError

KIND, SCHEMA_VERSION = "imported results", 1
_FEWEST = 10  # values for an interval
_DEVICE = ("device", "cpu", "gpu", "providers", "target")  # of a context


@dataclass(frozen=True)
class Imported:
    """One figure of another tool.

    Attributes:
        name: what it is of: a target, a workload, a model.
        quantity: "latency", "throughput", "memory", "energy", "accuracy", ...
        value, unit: the figure; units as the tool means them, times in ms.
        statistic: "median of 120 runs", "mean", "smallest mean of 64 candidates", ...
        provenance: "measured by ...", "counted by ...", or what the tool leaves open.
        interval95: of the median, from the tool's own values; None where it keeps only a summary.
        runs: how many values there are; None where that is not told.
        context: what the file tells besides: backend, device, shapes.
        unknown: what it does not tell, and a comparison would need.
    """

    name: str
    quantity: str
    value: float
    unit: str
    statistic: str
    provenance: str
    interval95: tuple[float, float] | None = None
    runs: int | None = None
    context: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)

    @property
    def device(self) -> str:
        """What it ran on, as far as the file tells; "" where it does not."""
        return ", ".join(self.context[key].strip() for key in _DEVICE if key in self.context)


@dataclass(frozen=True)
class Results:
    """A file of another tool, read. Not measured by paring."""

    peer: str
    title: str
    file: str
    rows: list[Imported]

    @property
    def source(self) -> str:
        """The mark that every row carries where it is shown."""
        return f"{self.title}, {Path(self.file).name}: not measured by paring"


def median_row(name: str, values_ms: list[float], provenance: str, **known: Any) -> Imported:
    """Latency from a tool's own values: the median, with an interval where they are enough."""
    series = np.asarray(values_ms, np.float64)
    interval = median_ci95(series, seed=0) if len(series) >= _FEWEST else None
    return Imported(
        name=name,
        quantity="latency",
        value=float(np.median(series)),
        unit="ms",
        statistic=f"median of {len(series)} runs",
        provenance=provenance,
        interval95=interval,
        runs=len(series),
        **known,
    )


def read_json(path: Path, expected: str) -> Any:
    """A JSON file.

    Raises:
        ArtifactError: not readable or not JSON; `expected` says what would be right.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ArtifactError(f"{path}: not JSON ({error}); expected {expected}") from error


def finite(value: Any, path: Path, what: str) -> float:
    """A number of a file.

    Raises:
        ArtifactError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise ArtifactError(f"{path}: {what}: expected a finite number, given {value!r:.60}")
    return float(value)


def write_results(results: Results, path: Path) -> Path:
    """Write what was read as JSON, whole or not at all."""
    told = {"kind": KIND, "schema_version": SCHEMA_VERSION, **dataclasses.asdict(results)}
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    draft = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(told, file, indent=1, allow_nan=False, ensure_ascii=False)
        draft.chmod(0o644)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return path


def read_results(path: Path) -> Results:
    """Read what `write_results` wrote.

    Raises:
        ArtifactError: another file.
    """
    told = read_json(path, f"a file of `paring import -o`, of kind {KIND!r}")
    if not isinstance(told, dict) or told.pop("kind", None) != KIND:
        raise ArtifactError(f"{path}: expected a file of `paring import -o`, of kind {KIND!r}")
    version = told.pop("schema_version", None)
    if version != SCHEMA_VERSION:
        raise ArtifactError(f"{path}: its schema is {version}; this version reads {SCHEMA_VERSION}")
    try:
        rows = [
            Imported(**{**row, "interval95": tuple(row["interval95"]) if row["interval95"] else None})
            for row in told.pop("rows")
        ]
        return Results(rows=rows, **told)
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{path}: not whole: {error}") from None

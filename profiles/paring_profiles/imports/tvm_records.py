"""TVM: tuning records of MetaSchedule's JSON database (`database_tuning_record.json`), a line each.

https://github.com/apache/tvm, `src/s_tir/meta_schedule/database/`: [workload, [trace, seconds of the runs,
target, arguments]]; 1e10 seconds stand for a candidate that could not be measured.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from paring_runtimes.errors import ArtifactError

from ._row import Imported

TITLE = "TVM's tuning records"
HELP = "database_tuning_record.json of TVM's MetaSchedule"
_EXPECTED = "lines of [workload, [trace, run_secs, target, args_info]]"
_FAILED_SECONDS = 1e10


def rows(path: Path) -> list[Imported]:
    """The fastest record of every workload.

    Raises:
        ArtifactError: not such a file.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror})") from error
    records: dict[int, list[tuple[float, Any, Any]]] = {}
    for number, line in enumerate(lines, 1):
        if line.strip():
            workload, seconds, target, arguments = _record(path, number, line)
            measured = [one for one in seconds if one < _FAILED_SECONDS]
            held = records.setdefault(workload, [])
            if measured:
                held.append((sum(measured) / len(measured), target, arguments))
    if not records:
        raise ArtifactError(f"{path}: no record in it; expected {_EXPECTED}")
    return [_best(workload, held) for workload, held in sorted(records.items()) if held]


def _record(path: Path, number: int, line: str) -> tuple[int, list[float], Any, Any]:
    try:
        workload, (_trace, seconds, target, arguments) = json.loads(line)
        return int(workload), [float(one) for one in seconds or ()], target, arguments
    except (ValueError, TypeError) as error:
        raise ArtifactError(f"{path}, line {number}: expected {_EXPECTED} ({error})") from None


def _best(workload: int, held: list[tuple[float, Any, Any]]) -> Imported:
    seconds, target, arguments = min(held, key=lambda one: one[0])
    context = {"target": json.dumps(target) if isinstance(target, dict) else str(target)}
    if isinstance(arguments, list):
        context["arguments"] = ", ".join(_argument(one) for one in arguments)
    return Imported(
        name=f"workload {workload}",
        quantity="operator time",
        value=1e3 * seconds,
        unit="ms",
        statistic=f"smallest mean of {len(held)} measured candidates",
        provenance="measured by TVM while tuning",
        context=context,
        unknown=["machine", "runs a mean", "that the smallest of many means is below the true one"],
    )


def _argument(told: Any) -> str:
    """["TENSOR", "float32", [1, 64]] as float32[1, 64]."""
    if isinstance(told, list) and len(told) == 3 and told[0] == "TENSOR":
        return f"{told[1]}{told[2]}"
    return json.dumps(told)

"""What a plan file says of itself before anything of it is loaded, and what was written beside it."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path

from paring_runtimes.errors import EngineError

Version = tuple[int, ...]

# The first four bytes; bytes 24 to 27 are the version, as trtexec --getPlanVersionOnly reads it.
_TAGS = {b"ftrt": "tensorrt", b"vtrt": "tensorrt_rtx"}
_HEADER_BYTES, _VERSION_AT = 28, 24


@dataclass(frozen=True)
class PlanFacts:
    """What was written beside a plan, `engine.json` beside `engine.plan`. Without it, the strictest holds.

    Attributes:
        version_compatible: later releases of the same major version run it, the lean runtime too.
        excludes_lean_runtime: it does not carry a runtime of its own version.
        stripped: it holds no weights: they are put in from the ONNX file of this name beside it.
        dimensions: names of the dimensions by tensor.
    """

    version_compatible: bool = False
    excludes_lean_runtime: bool = False
    stripped: str | None = None
    dimensions: dict[str, list[str]] | None = None


def plan_version(path: Path) -> tuple[str, Version]:
    """Return which library a plan is for, and the version of it that built the plan.

    Raises:
        EngineError: it is no plan.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER_BYTES)
    except OSError as error:
        raise EngineError(f"{path}: cannot be read ({error.strerror})") from None
    library = _TAGS.get(head[:4])
    if library is None or len(head) < _HEADER_BYTES:
        raise EngineError(f"{path}: not an engine of TensorRT (it does not begin like one)")
    return library, tuple(head[_VERSION_AT:_HEADER_BYTES])


def plan_facts(path: Path) -> PlanFacts:
    """Return what stands in the JSON file beside a plan; the defaults where there is none.

    Raises:
        EngineError: the file is there and is wrong.
    """
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return PlanFacts()
    try:
        told = json.loads(beside.read_text(encoding="utf-8"))
        return PlanFacts(**{one.name: told[one.name] for one in fields(PlanFacts) if one.name in told})
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise EngineError(f"{beside}: not what was written beside an engine: {error}") from None


def dotted(version: Version) -> str:
    """Return "11.4.0.106"."""
    return ".".join(str(part) for part in version)

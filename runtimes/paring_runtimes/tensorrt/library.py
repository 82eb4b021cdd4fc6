"""Which of TensorRT's Python modules runs a plan: `tensorrt`, `tensorrt_lean` or `tensorrt_rtx`.

A plan runs on the release that built it. One that was built version-compatible also runs on later releases of
its major version, on the full runtime and on the lean one, which is what a product would carry.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from paring_runtimes.errors import EngineError, MissingExtraError
from paring_runtimes.tensorrt.plan import PlanFacts, Version, dotted

MODULES = ("tensorrt", "tensorrt_lean", "tensorrt_rtx")
EXTRA = "tensorrt"


def installed() -> tuple[str, ...]:
    """Return which of the modules are here; none is imported."""
    return tuple(name for name in MODULES if importlib.util.find_spec(name) is not None)


def imported(name: str) -> Any:
    """Import one of the modules.

    Raises:
        EngineError: it is installed and does not import: its native libraries are missing, say.
    """
    try:
        return importlib.import_module(name)
    except Exception as error:  # ImportError, OSError of a native library, FileNotFoundError on Windows
        text = " ".join(str(error).split())
        raise EngineError(f"{name} is installed but does not import: {text}") from error


def chosen(path: Path, family: str, built: Version, facts: PlanFacts, asked: str | None = None) -> Any:
    """Return the module that runs this plan.

    Args:
        path: the plan, for errors.
        family: which library the plan is for, "tensorrt" or "tensorrt_rtx".
        built: the version that built it.
        facts: what was written beside it.
        asked: the module to use, where the caller names one.

    Raises:
        MissingExtraError: none of the modules is installed.
        EngineError: none that is installed runs this plan.
    """
    here = [name for name in installed() if asked in (None, name)]
    fitting = [name for name in here if name.startswith("tensorrt_rtx") == (family == "tensorrt_rtx")]
    if not fitting:
        if family == "tensorrt_rtx":
            raise MissingExtraError("running an engine of TensorRT for RTX", "tensorrt-rtx")
        raise MissingExtraError("running a TensorRT engine", EXTRA)
    found = {name: imported(name) for name in fitting}
    for name, module in found.items():
        if runs(name, numbers(module.__version__), built, facts):
            return module
    have = ", ".join(f"{name} {module.__version__}" for name, module in found.items())
    raise EngineError(
        f"{path}: built with TensorRT {dotted(built)}, and {have} is installed: build it again with that, or"
        f" pip install {family}=={dotted(built)}; engines built with export.tensorrt.version_compatible"
        " run on later releases of their major version"
    )


def runs(name: str, here: Version, built: Version, facts: PlanFacts) -> bool:
    """Whether the release `here` of the module `name` runs a plan that release `built` made."""
    if facts.version_compatible and family_of(name) == "tensorrt":
        return here[0] == built[0] and here >= built
    return name != "tensorrt_lean" and here == built


def family_of(name: str) -> str:
    """The library whose plans a module runs."""
    return "tensorrt_rtx" if name == "tensorrt_rtx" else "tensorrt"


def numbers(version: str) -> Version:
    """(11, 4, 0, 106) of "11.4.0.106"; what follows a plus or a "post" is left out."""
    parts = []
    for part in version.partition("+")[0].split("."):
        if not part.isdigit():
            break
        parts.append(int(part))
    return tuple(parts[:4])


def log_of(trt: Any) -> Any:
    """Return a logger of TensorRT that keeps what went wrong in `errors` and prints nothing."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                self.errors.append(" ".join(msg.split()))

        def said(self) -> str:
            """The last errors as one line."""
            text = "; ".join(self.errors[-3:]) or "TensorRT gave no reason"
            self.errors.clear()
            return text if len(text) <= 600 else f"{text[:600]}..."

    return Log()

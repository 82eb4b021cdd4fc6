"""Which points cannot be, as far as is known before anything is made: engine, format and precision clash.

Such a point costs nothing and is none of the trials that were asked for.
"""

from __future__ import annotations

from paring.recipe import Recipe
from paring_runtimes.engines import engines

ONNX = "onnx"


def why_never(recipe: Recipe, engine: str) -> str | None:
    """Why a point, its recipe and the engine that would run it, is not begun; None where nothing says so."""
    wanted = recipe.export.format
    runs = engines()[engine].FORMATS if engine in engines() else {}
    if wanted not in runs:
        listed = f"runs {', '.join(runs)}, not {wanted}" if runs else f"is none: no engine runs {wanted}"
        return f"engine {engine} {listed}"
    missing = engines()[engine].why_not()
    if missing is not None:
        return f"engine {engine}: {missing}"
    if wanted == ONNX:  # it takes all; asking the exporters would load PyTorch
        return None
    return _of_format(recipe)


def _of_format(recipe: Recipe) -> str | None:
    from paring.quantizing import scheme_of
    from paring_exporters import exporters

    export = recipe.export
    exporter = exporters()[export.format]
    reason: str | None = exporter.why_not()
    if reason is None and hasattr(exporter, "refusal"):
        reason = exporter.refusal(export)
    if reason is None and scheme_of(recipe) is not None:
        reason = f"{export.format}: export.precision {export.precision} is a form of ONNX"
    return reason

"""The public Python API: the commands as functions. Every heavy import waits until its call."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paring_runtimes.errors import MissingExtraError

if TYPE_CHECKING:
    from paring_profiles import SideBySide
    from paring_profiles.history import Row
    from paring_profiles.report import ReportPaths
    from paring_profiles.result import Profile

    from .pipeline import Converted
    from .recipe import Recipe

PathLike = str | os.PathLike[str]
EXTRAS = {
    "torch": "torch", "torchvision": "torch", "safetensors": "torch", "timm": "torch",
    "transformers": "torch", "optimum": "torch", "PIL": "torch",
    "gguf": "gguf", "accelerate": "recover", "peft": "recover",
    "onnx": "onnx", "onnxscript": "onnx", "onnxslim": "onnx", "onnx_ir": "onnx",
    "onnxruntime": "ort", "tvm": "tvm", "tvm_ffi": "tvm",
    "scipy": "report", "jinja2": "report", "matplotlib": "report", "cpuinfo": "report",
    "optuna": "sweep", "fsspec": "sweep", "ray": "ray",
}  # fmt: skip


@contextmanager
def extras(what: str) -> Iterator[None]:
    """Inside, a missing optional package becomes the one line that names its extra."""
    try:
        yield
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        raise MissingExtraError(what, extra) from error


def convert(
    model: str | Recipe,
    output: PathLike,
    *,
    transforms: Sequence[str | Mapping[str, Any]] | None = None,
    recovered: PathLike | None = None,
    allow: Sequence[str] = (),
    overwrite: bool = False,
    progress: Callable[[str], None] = lambda stage: None,
    **recipe: Any,
) -> Converted:
    """Convert a model into an artifact folder at `output`; the untransformed one goes to `output`-baseline.

    Args:
        model: a model's spec ("timm:NAME", "hf:PATH", "py:FILE.py:FACTORY"), or a whole recipe.
        output: the artifact's folder; it must not exist unless `overwrite`.
        transforms: steps as in a recipe, for example `[{"token_prune": {"keep_ratio": 0.7}}]`.
        recovered: a folder of `paring recover`, whose weights the transformed model takes.
        allow: "pickle" or "remote-code".
        overwrite: replace an artifact that is there.
        progress: told each stage, in words.
        recipe: the recipe's other keys (`export`, `verify`, `data`, `gates`, `weights`, `seed`).

    Raises:
        ParingError: see `paring_runtimes.errors`; nothing is left behind.
    """
    with extras("converting a model"):
        from .pipeline import convert as run
        from .recipe import Recipe, build_recipe

        if not isinstance(model, Recipe):
            values = {"model": model, "transforms": list(transforms or []), **recipe}
            model = build_recipe(values)
        return run(
            model,
            Path(output),
            recovered=None if recovered is None else Path(recovered),
            allow=frozenset(allow),
            overwrite=overwrite,
            progress=progress,
        )


def profile(paths: Sequence[PathLike], **settings: Any) -> Profile:
    """Measure artifacts in turn in one process; the first is the baseline.

    Args:
        paths: artifact folders or ONNX files.
        settings: fields of `paring_profiles.result.Settings`, and `names`, `progress`.

    Raises:
        ParingError: an artifact cannot be run.
    """
    with extras("profiling"):
        from paring_profiles import profile as run
        from paring_profiles.result import Settings

        extra = {key: settings.pop(key) for key in ("names", "progress") if key in settings}
        return run([Path(path) for path in paths], Settings(**settings), **extra)


def compare(profiles: Sequence[PathLike | Profile]) -> SideBySide:
    """Put recorded profiles side by side; the first candidate of the first is the baseline."""
    with extras("comparing"):
        from paring_profiles import compare as run

        return run([p if not isinstance(p, os.PathLike) else Path(p) for p in profiles])


def history(store: PathLike | None = None, **wanted: Any) -> list[Row]:
    """Rows of stored profiles, newest first: one a run, candidate and case.

    Args:
        store: the store's file; by default the environment's `PARING_STORE`, or the user's own.
        wanted: fields of `paring_profiles.history.Selection`: `since`, `names`, `case`, `latest`, ...

    Raises:
        ParingError: the store cannot be read.
    """
    with extras("reading the store"):
        from paring_profiles.history import Selection, default_place, query

        return query(default_place() if store is None else Path(store), Selection(**wanted))


def report(found: Profile, folder: PathLike, **options: Any) -> ReportPaths:
    """Write `report.html`, `report.md` and `profile.json` into `folder`."""
    with extras("writing a report"):
        from paring_profiles.report import write

        return write(found, Path(folder), **options)


def headline(found: Profile) -> str:
    """The report's first sentence."""
    with extras("writing a report"):
        from paring_profiles.report import headline as sentence

        return sentence(found)

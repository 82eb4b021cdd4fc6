"""From a module to what TensorRT takes: checked ONNX and a build kit, and an engine where there is a GPU."""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from paring.transforms.token_map import trace
from paring_runtimes import TensorSpec
from paring_runtimes.cuda.driver import why_no_bindings, why_no_gpu
from paring_runtimes.errors import ExportError

from ..formats import onnx as onnx_format
from ..given.graph import Feeds, GraphRequest
from ..given.parity import references
from ..parity import TIE_MARGIN, TOLERANCES
from ..request import Exported, Request
from .builder import BuildError, build_engine
from .kit import CACHE, ENGINE, FOLDER, SCRIPT, write_kit
from .lint import Report, lint
from .lint.repairs import repaired
from .options import BuildOptions
from .profiles import Profile, profiles, schedule

_SEEDS = 8  # tried until no choice of tokens is a tie
_STORED_BATCH = 3  # images of a stored call, where a profile takes as many
_STORED_CALLS = 2  # of a graph from elsewhere


def export(model: nn.Module, request: Request, folder: Path) -> Exported:
    """Write ONNX, repair and hold it against the release, write the kit, and build where that is possible.

    Raises:
        ExportError: the release does not take the model, or TensorRT does not build it.
    """
    options = request.tensorrt or BuildOptions()
    done = onnx_format.export(model, request, folder)
    graph, repairs, report = _checked(done.entry, options)
    ranges = profiles(done.inputs[0], request.example.shape, request.dynamic, request.size_step, options)
    counts = schedule(graph, ranges)
    told = {"lint": [asdict(finding) for finding in report.findings], "schedule": counts}
    samples = _samples(model, request, ranges)
    kit = write_kit(
        folder, done.entry, (done.inputs, done.outputs), ranges, options, samples,
        TOLERANCES[request.precision], told,
    )  # fmt: skip
    facts = {
        "release": options.release, "table": report.table, "repairs": list(repairs),
        "lint": told["lint"], "profiles": ranges, "schedule": counts,
    }  # fmt: skip
    return _built(done, folder, kit, ranges, options, facts)


def export_graph(request: GraphRequest, folder: Path) -> Exported:
    """The same of a graph from elsewhere. Profiles span the sizes that are tried.

    Raises:
        ExportError: the release does not take the graph, or TensorRT does not build it.
    """
    options, given = request.tensorrt or BuildOptions(), request.graph
    done = onnx_format.export_graph(request, folder)
    graph, repairs, report = _checked(done.entry, options)
    ranges = _spanned(given.inputs, request.feeds)
    counts = schedule(graph, ranges)
    told = {"lint": [asdict(finding) for finding in report.findings], "schedule": counts}
    stored = request.feeds[:_STORED_CALLS]
    samples: dict[str, np.ndarray] = {}
    for number, (feeds, values) in enumerate(zip(stored, references(given, stored), strict=True)):
        samples |= {f"{number}/{name}": array for name, array in (*feeds.items(), *values.items())}
    kit = write_kit(
        folder, done.entry, (done.inputs, done.outputs), ranges, options, samples,
        TOLERANCES["fp32"], told,
    )  # fmt: skip
    facts = {
        "release": options.release, "table": report.table, "repairs": list(repairs),
        "lint": told["lint"], "profiles": ranges, "schedule": counts,
    }  # fmt: skip
    return _built(done, folder, kit, ranges, options, facts)


def _spanned(specs: Sequence[TensorSpec], feeds: Sequence[Feeds]) -> list[Profile]:
    """One profile from the smallest to the largest of the sizes tried; none where every shape is fixed."""
    if all(isinstance(size, int) for spec in specs for size in spec.shape):
        return []

    def sizes(name: str) -> dict[str, list[int]]:
        rows = np.array([one[name].shape for one in feeds])
        return {"min": rows.min(0).tolist(), "opt": rows[0].tolist(), "max": rows.max(0).tolist()}

    return [{spec.name: sizes(spec.name) for spec in specs}]


def _checked(entry: Path, options: BuildOptions) -> tuple[onnx.ModelProto, tuple[str, ...], Report]:
    """The graph, repaired in its file where that is safe, and what the lint says of it.

    Raises:
        ExportError: the release refuses it; every reason is told.
    """
    graph = onnx.load(entry, load_external_data=False)
    changed, repairs = repaired(graph)
    if repairs:
        onnx.save(changed, entry)  # references to external data stay as they are
    report = lint(changed, options.release)
    if report.errors:
        lines = "; ".join(finding.line() for finding in report.errors[:5])
        more = f"; and {len(report.errors) - 5} more" if len(report.errors) > 5 else ""
        raise ExportError(f"TensorRT {options.release} does not take this model: {lines}{more}")
    return changed, repairs, report


def _samples(model: nn.Module, request: Request, ranges: list[Profile]) -> dict[str, np.ndarray]:
    """Inputs, and what PyTorch makes of them, of shapes that the profiles take."""
    shapes = [] if ranges else [tuple(request.example.shape)]
    for profile in ranges:
        least, most = profile[request.input_name]["min"], profile[request.input_name]["max"]
        shapes += [tuple(least), (min(_STORED_BATCH, most[0]), *most[1:])]
    found: dict[str, np.ndarray] = {}
    for number, shape in enumerate(dict.fromkeys(shapes)):
        pixels, values = _decided(model.eval(), shape, request.precision)
        found[f"{number}/{request.input_name}"] = pixels
        for name, value in zip(request.output_names, values, strict=True):
            found[f"{number}/{name}"] = value
    return found


def _decided(model: nn.Module, shape: tuple[int, ...], precision: str) -> tuple[np.ndarray, list[np.ndarray]]:
    """Random inputs on which no choice of tokens is a tie, or the clearest of a few; and the outputs."""
    best: tuple[float, np.ndarray, list[np.ndarray]] | None = None
    for seed in range(_SEEDS):
        pixels = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
        with torch.inference_mode():
            outputs, seen = trace(model, torch.from_numpy(pixels))
        values = (outputs,) if isinstance(outputs, torch.Tensor) else tuple(outputs)
        margin = float("inf") if seen is None else float(seen.margin.min())
        if best is None or margin > best[0]:
            best = (margin, pixels, [value.numpy() for value in values])
        if margin > TIE_MARGIN[precision]:
            break
    assert best is not None
    return best[1], best[2]


def _built(
    done: Exported,
    folder: Path,
    kit: Path,
    ranges: list[Profile],
    options: BuildOptions,
    facts: dict[str, Any],
) -> Exported:
    """The engine as the artifact's entry where it can be built and run here; otherwise ONNX, and why."""
    cannot_run = why_no_gpu() or why_no_bindings()
    cannot_build = _why_not_built(options, cannot_run)
    notes = list(done.facts.get("notes", ()))
    if cannot_build is not None:
        facts["engine"] = f"not built: {cannot_build}"
        notes.append(
            f"TensorRT's engine is not built: {cannot_build}. The artifact is ONNX, and a build kit: on a"
            f" machine with a GPU, python {FOLDER}/{SCRIPT} --out ENGINE"
        )
        return Exported(done.entry, done.inputs, done.outputs,
                        {**done.facts, "tensorrt": facts, "notes": notes}, done.program, "onnx")  # fmt: skip
    trt = importlib.import_module(options.library)
    try:
        engine = build_engine(trt, done.entry, ranges, asdict(options))
    except BuildError as error:
        raise ExportError(f"{trt.__name__} {trt.__version__}: {error}") from None
    runs = cannot_run is None
    target = (folder if runs else kit) / ENGINE
    target.write_bytes(engine.plan)
    dimensions = {spec.name: [str(size) for size in spec.shape] for spec in (*done.inputs, *done.outputs)}
    beside = json.dumps({**engine.facts, "dimensions": dimensions}, indent=1)
    target.with_suffix(".json").write_text(beside + "\n", encoding="utf-8")
    if engine.timing_cache:
        target.with_name(CACHE).write_bytes(engine.timing_cache)
    facts["engine"] = f"built by {trt.__name__} {trt.__version__}, {len(engine.plan)} bytes"
    if not runs:
        notes.append(f"{FOLDER}/{ENGINE} is built, and neither run nor verified: {cannot_run}")
    entry, form = (target, "tensorrt") if runs else (done.entry, "onnx")
    return Exported(entry, done.inputs, done.outputs,
                    {**done.facts, "tensorrt": facts, "notes": notes}, done.program, form)  # fmt: skip


def _why_not_built(options: BuildOptions, cannot_run: str | None) -> str | None:
    if importlib.util.find_spec(options.library) is None:
        return (
            f"{options.library} is not installed: pip install 'paring[{options.library.replace('_', '-')}]'"
        )
    return None if options.library == "tensorrt_rtx" else cannot_run  # RTX's builder needs no GPU

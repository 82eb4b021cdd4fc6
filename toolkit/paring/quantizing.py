"""The last step of a conversion into integers: quantise the exported graph, and measure what that costs.

The export was compared with PyTorch in fp32 before, so a difference from here on is rounding. It is told as
it is, on the same inputs: signal-to-noise ratio and top-1 agreement with the artifact's own fp32 graph.
Whether it matters is for the accuracy on real images, which gates hold.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import paring_runtimes
from paring_exporters.onnx_graph.quantize import PRECISIONS, Scheme, quantise
from paring_exporters.parity import Case, signal_to_noise_db
from paring_runtimes.errors import RecipeError

from .recipe import Recipe
from .sources import LoadedModel


def scheme_of(recipe: Recipe) -> Scheme | None:
    """How the recipe wants integers; None where it wants none."""
    export = recipe.export
    if export.precision not in PRECISIONS:
        return None
    return Scheme(export.precision, **dict(export.quantize))


def check_integers(recipe: Recipe, source: object) -> None:
    """Check that what the recipe asks for can be in integers.

    Raises:
        RecipeError: a kind of model or a format that cannot, or calibration images are missing.
    """
    scheme = scheme_of(recipe)
    if scheme is None:
        return
    where = f"export.precision {scheme.precision}"
    if not isinstance(source, LoadedModel):
        raise RecipeError(f"{where}: {recipe.model} does not answer images alone; fp32 and fp16 are for it")
    if recipe.export.format != "onnx":
        raise RecipeError(f"{where} is a form of ONNX; export.format is {recipe.export.format}")
    if scheme.precision == "int8_static" and recipe.calibration is None:
        raise RecipeError(
            f"{where} needs images to fit its steps to: calibration: {{source: ..., limit: 256}}"
        )


def quantised(
    entry: Path, scheme: Scheme, batches: Sequence[np.ndarray], cases: Iterable[Case], outputs: Sequence[str]
) -> dict[str, Any]:
    """Quantise the graph at `entry`; what was done and what it cost, for the manifest.

    Args:
        entry: the fp32 graph, which is replaced.
        scheme: how.
        batches: calibration inputs.
        cases: what both are compared on.
        outputs: names; the first is the logits.

    Raises:
        ExportError: see `paring_exporters.onnx_graph.quantize.quantise`.
    """
    with tempfile.TemporaryDirectory() as scratch:
        for file in (entry, entry.with_name(f"{entry.name}.data")):
            if file.is_file():
                shutil.copy(file, scratch)
        done = quantise(entry, scheme, batches)
        ratios, same = list[float](), list[bool]()
        with (
            paring_runtimes.load(Path(scratch) / entry.name) as plain,
            paring_runtimes.load(entry) as rounded,
        ):
            name = plain.inputs[0].name
            for case in cases:
                expected = plain.run({name: case.pixels}, [outputs[0]])[outputs[0]]
                actual = rounded.run({name: case.pixels}, [outputs[0]])[outputs[0]]
                ratios += [signal_to_noise_db(*pair) for pair in zip(expected, actual, strict=True)]
                flat = (expected.reshape(len(expected), -1), actual.reshape(len(actual), -1))
                same += (flat[0].argmax(1) == flat[1].argmax(1)).tolist()
    return {
        "precision": scheme.precision,
        **done,
        "snr_db": {"median": float(np.median(ratios)), "least": float(np.min(ratios))},
        "top1_agreement": float(np.mean(same)),
        "samples": len(same),
        "calibration_samples": sum(len(batch) for batch in batches),
    }

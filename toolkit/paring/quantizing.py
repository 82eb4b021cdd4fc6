"""The last step of a conversion into another precision: rewrite the exported graph, and measure the cost.

The export was compared with PyTorch in fp32 before, so a difference from here on is rounding. It is told as
it is, on the same inputs: signal-to-noise ratio and top-1 agreement with the artifact's own fp32 graph.
Whether it matters is for the accuracy on real images, which gates hold.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import paring_runtimes
from paring_exporters.onnx_graph.quantize import CALIBRATED, MEASURED_ON, PRECISIONS, Scheme, quantise
from paring_exporters.parity import Case, signal_to_noise_db
from paring_runtimes import Session
from paring_runtimes.errors import ExportError, RecipeError

from .recipe import Recipe
from .sources import LoadedModel

COMPARED_IMAGES = 64  # on which a precision's cost is told
MEASURED_BATCH, MEASURED_IMAGES = 8, 64  # a graph that measures computes every node twice
NO_KERNELS = "bf16"  # ONNX Runtime's CPU provider has none
NOTES = {
    "bf16": "bf16: ONNX Runtime's CPU provider cannot run model.onnx; its answers were computed here in fp32"
    " with every value rounded to bf16 that the graph has in bf16",
    "fp8": "fp8: ONNX Runtime's CPU provider rounds to fp8 and multiplies in fp32: its answers are measured"
    " here, no speed",
    "fp16": "fp16: ONNX Runtime's CPU provider multiplies in fp32: what is measured of it here is no GPU's"
    " speed; the signal-to-noise ratio is with every value rounded that the graph has in fp16",
}


def scheme_of(recipe: Recipe) -> Scheme | None:
    """What the recipe wants done to the exported graph; None where the export itself is all.

    fp16 of formats other than ONNX is the exporter's own.
    """
    export = recipe.export
    if export.precision not in PRECISIONS or (export.precision == "fp16" and export.format != "onnx"):
        return None
    return Scheme(export.precision, **dict(export.quantize))


def check_precision(recipe: Recipe, source: object) -> None:
    """Check that what the recipe asks for can be in its precision.

    Raises:
        RecipeError: a kind of model or a format that cannot, or calibration images are missing.
    """
    scheme = scheme_of(recipe)
    where = f"export.precision {recipe.export.precision}"
    if scheme is None or (scheme.precision == "fp16" and not isinstance(source, LoadedModel)):
        return
    if not isinstance(source, LoadedModel):
        raise RecipeError(f"{where}: {recipe.model} does not answer images alone; fp32 and fp16 are for it")
    if recipe.export.format != "onnx":
        raise RecipeError(
            f"{where} is a form of ONNX; export.format is {recipe.export.format}: convert to onnx first, then"
            f" that file, -m onnx:OUT/model.onnx -s export.format={recipe.export.format}"
        )
    if scheme.precision in CALIBRATED and recipe.calibration is None:
        raise RecipeError(
            f"{where} needs images to fit its steps to: calibration: {{source: ..., limit: 256}}"
        )


@contextmanager
def answering(entry: Path, precision: str) -> Iterator[Session]:
    """A session that answers as the graph at `entry` does, simulated where its kernels are missing."""
    if precision != NO_KERNELS:
        with paring_runtimes.load(entry) as session:
            yield session
        return
    with tempfile.TemporaryDirectory() as scratch, paring_runtimes.load(rounding(entry, scratch)) as session:
        yield session


def rounding(entry: Path, folder: str) -> Path:
    """A graph in `folder` that computes as a GPU does what the 16-bit graph at `entry` says."""
    import onnx

    from paring_exporters.onnx_graph.half_graph import simulated

    made = Path(folder) / "simulated.onnx"
    onnx.save(simulated(onnx.load(str(entry))), made)
    return made


def quantised(
    entry: Path, scheme: Scheme, images: Sequence[np.ndarray], cases: Sequence[Case], outputs: Sequence[str]
) -> dict[str, Any]:
    """Rewrite the graph at `entry`; what was done and what it cost, for the manifest.

    Args:
        entry: the fp32 graph, which is replaced.
        scheme: how.
        images: calibration inputs, in batches.
        cases: what both are compared on where there are no images; fp16 and bf16 are measured on them too.
        outputs: names; the first is the logits.

    Raises:
        ExportError: see `paring_exporters.onnx_graph.quantize.quantise`; or the result is not finite.
    """
    half = scheme.precision in MEASURED_ON
    with tempfile.TemporaryDirectory() as scratch:
        for file in (entry, entry.with_name(f"{entry.name}.data")):
            if file.is_file():
                shutil.copy(file, scratch)
        looked_at = _measured(images, cases) if half else list(images)
        done = quantise(entry, scheme, looked_at)
        shown = rounding(entry, scratch) if half else entry
        with (
            paring_runtimes.load(Path(scratch) / entry.name) as plain,
            paring_runtimes.load(shown) as rounded,
        ):
            real = [Case("calibration images", batch) for batch in _few(images)]
            cost = _cost(plain, rounded, real or cases, outputs[0], scheme.precision)
    return {
        "precision": scheme.precision,
        **done,
        **cost,
        "compared_on": "calibration images" if images else "random inputs",
        "calibration_samples": min(sum(map(len, images)), MEASURED_IMAGES if half else np.inf),
    }


def _few(images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Some images, in batches; steps fitted to images cut off what random inputs reach."""
    pixels = np.concatenate(images)[:COMPARED_IMAGES] if images else np.zeros((0, 1), np.float32)
    return [pixels[at : at + MEASURED_BATCH] for at in range(0, len(pixels), MEASURED_BATCH)]


def _measured(images: Sequence[np.ndarray], cases: Sequence[Case]) -> list[np.ndarray]:
    """Images, some of them, then the inputs of the comparison."""
    pixels = np.concatenate(images)[:MEASURED_IMAGES] if images else np.zeros((0, 1), np.float32)
    batches = [pixels[at : at + MEASURED_BATCH] for at in range(0, len(pixels), MEASURED_BATCH)]
    return [*batches, *(case.pixels for case in cases)]


def _cost(
    plain: Session, rounded: Session, cases: Sequence[Case], output: str, precision: str
) -> dict[str, Any]:
    """How far the second session's output is from the first's."""
    ratios, same = list[float](), list[bool]()
    name = plain.inputs[0].name
    for case in cases:
        expected = plain.run({name: case.pixels}, [output])[output]
        actual = rounded.run({name: case.pixels}, [output])[output]
        if np.isfinite(expected).all() and not np.isfinite(actual).all():
            raise ExportError(
                f"{precision}: {output} is not finite on the input {case.name!r}, in fp32 it is; give"
                " calibration images that are like the real ones, or name nodes in export.quantize.exclude"
            )
        ratios += [signal_to_noise_db(*pair) for pair in zip(expected, actual, strict=True)]
        flat = (expected.reshape(len(expected), -1), actual.reshape(len(actual), -1))
        same += (flat[0].argmax(1) == flat[1].argmax(1)).tolist()
    return {
        "snr_db": {"median": float(np.median(ratios)), "least": float(np.min(ratios))},
        "top1_agreement": float(np.mean(same)),
        "samples": len(same),
    }

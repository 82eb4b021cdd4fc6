"""Does an artifact compute what the graph that it was made from does, by ONNX Runtime, in the file as given?

The tolerance is that of fp32 in `paring_exporters.parity`: |actual - expected| <= atol + rtol |expected| for
every element of every output; whole numbers must be equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

import paring_runtimes
from paring_runtimes import Session
from paring_runtimes.errors import EngineError, ExportError, InputError

from ..non_finite import first_non_finite
from ..parity import TOLERANCES, signal_to_noise_db
from .graph import Feeds, GivenGraph


@dataclass(frozen=True)
class GraphCase:
    """How one set of inputs came out, the worst over the outputs."""

    name: str
    max_abs: float
    snr_db: float
    cosine: float
    argmax_agreement: float
    passed: bool
    worst_output: str
    difference: str = ""


@dataclass(frozen=True)
class GraphParity:
    """The whole comparison. `samples` are sets of inputs."""

    passed: bool
    atol: float
    rtol: float
    max_abs: float
    least_snr_db: float
    min_cosine: float
    top1_agreement: float
    samples: int
    cases: tuple[GraphCase, ...]
    ties: int = 0

    def as_dict(self) -> dict[str, Any]:
        """JSON form, for the manifest, whose numbers are finite."""
        told = {**asdict(self), "tolerance": {"atol": self.atol, "rtol": self.rtol}}
        told["least_snr_db"] = _finite(self.least_snr_db)
        for case in told["cases"]:
            case["snr_db"], case["max_abs"] = _finite(case["snr_db"]), _finite(case["max_abs"])
        return told

    def failure(self) -> str | None:
        """What failed first, in words; None when nothing did."""
        bad = next((case for case in self.cases if not case.passed), None)
        if bad is None:
            return None
        return f"inputs {bad.name}, output {bad.worst_output}: {bad.difference}"


def references(graph: GivenGraph, feeds: Iterable[Feeds]) -> list[dict[str, np.ndarray]]:
    """What the file as it was given makes of each set of inputs, with fixed ones fed to it.

    Raises:
        ExportError: ONNX Runtime does not open the file, or not run it on these inputs.
    """
    given = list(feeds)
    try:
        with paring_runtimes.load(graph.file, engine="onnxruntime") as session:
            return [session.run({**one, **graph.constants}) for one in given]
    except (EngineError, InputError) as error:
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in given[0].items())
        raise ExportError(
            f"{graph.file} does not run as it is, so that nothing can be compared with it: {error}. If the"
            f" inputs tried ({shapes}) are at fault, give real ones: verify.inputs=[FILE.npz]"
        ) from error


def compare(
    expected: Iterable[dict[str, np.ndarray]],
    artifact: Session,
    feeds: Iterable[Feeds],
    atol: float | None = None,
    rtol: float | None = None,
    progress: Callable[[str], None] = lambda name: None,
) -> GraphParity:
    """Run the artifact on every set of inputs.

    Args:
        expected: what the given file computed of them, see `references`.
        artifact: what was made of it.
        feeds: the sets of inputs.
        atol, rtol: in place of fp32's own.
        progress: told each set.
    """
    own = TOLERANCES["fp32"]
    limits = (own[0] if atol is None else atol, own[1] if rtol is None else rtol)
    cases = []
    for wanted, one in zip(expected, feeds, strict=True):
        name = ", ".join(f"{key} {list(array.shape)}" for key, array in one.items())
        progress(name)
        cases.append(_case(name, wanted, artifact.run(one, list(wanted)), limits))
    return GraphParity(
        passed=all(case.passed for case in cases),
        atol=limits[0],
        rtol=limits[1],
        max_abs=max(case.max_abs for case in cases),
        least_snr_db=min(case.snr_db for case in cases),
        min_cosine=min(case.cosine for case in cases),
        top1_agreement=float(np.mean([case.argmax_agreement for case in cases])),
        samples=len(cases),
        cases=tuple(cases),
    )


def _case(
    name: str, expected: dict[str, np.ndarray], actual: dict[str, np.ndarray], limits: tuple[float, float]
) -> GraphCase:
    told = {key: _difference(value, actual[key], limits) for key, value in expected.items()}
    worst = next((key for key, said in told.items() if said), next(iter(told)))
    shaped = {key: value for key, value in expected.items() if actual[key].shape == value.shape}
    gaps = [_gap(value, actual[key]) for key, value in shaped.items()]
    first = next(iter(expected))
    alike = (_best(expected[first]) == _best(actual[first])).mean() if first in shaped else 0.0
    whole = len(shaped) == len(expected)
    return GraphCase(
        name=name,
        max_abs=max((gap[0] for gap in gaps), default=0.0) if whole else float("inf"),
        snr_db=min((gap[1] for gap in gaps), default=float("inf")) if whole else float("-inf"),
        cosine=min((gap[2] for gap in gaps), default=1.0) if whole else -1.0,
        argmax_agreement=float(alike),
        passed=not any(told.values()),
        worst_output=worst,
        difference=told[worst],
    )


def _difference(expected: np.ndarray, actual: np.ndarray, limits: tuple[float, float]) -> str:
    """In words what leaves the limits; empty where nothing does."""
    if expected.shape != actual.shape or expected.dtype != actual.dtype:
        return (
            f"{actual.dtype} {list(actual.shape)}, where the given graph gives {expected.dtype}"
            f" {list(expected.shape)}"
        )
    if expected.dtype.kind != "f":
        count = int((expected != actual).sum())
        return f"{count} of {expected.size} whole numbers differ" if count else ""
    said = first_non_finite(expected, actual)
    if said:
        return said.replace("PyTorch", "the given graph")
    close = np.isclose(actual, expected, atol=limits[0], rtol=limits[1], equal_nan=False)
    if close.all():
        return ""
    gap = np.abs(actual.astype(np.float64) - expected.astype(np.float64))
    return (
        f"max abs {gap[~close].max():.3g}, {int((~close).sum())} of {close.size} elements outside atol"
        f" {limits[0]:g} + rtol {limits[1]:g} (verify.atol and verify.rtol say others)"
    )


def _gap(expected: np.ndarray, actual: np.ndarray) -> tuple[float, float, float]:
    """The largest difference, the signal-to-noise ratio [dB] and the cosine, of arrays of one shape."""
    if not expected.size or not np.isfinite(expected).all() or not np.isfinite(actual).all():
        same = not first_non_finite(expected, actual)
        return (0.0, float("inf"), 1.0) if same else (float("inf"), float("-inf"), -1.0)
    wanted, got = expected.astype(np.float64), actual.astype(np.float64)
    norms = np.linalg.norm(wanted) * np.linalg.norm(got)
    cosine = float((wanted * got).sum() / norms) if norms else float(np.array_equal(wanted, got))
    return float(np.abs(wanted - got).max()), signal_to_noise_db(wanted, got), cosine


def _best(array: np.ndarray) -> np.ndarray:
    return array.argmax(-1) if array.ndim and array.shape[-1] else array


def _finite(number: float) -> float | None:
    return number if np.isfinite(number) else None

"""Fit the constants to profiles; cross-validation says how far off a model is that was not among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paring_profiles import inputs
from paring_profiles.compare import differences
from paring_profiles.onnx_graph import input_specs, open_graph
from paring_profiles.result import Candidate, Profile
from paring_profiles.store import read
from paring_runtimes import read_manifest
from paring_runtimes.errors import InputError, MissingExtraError

from .model import FittedModel, HeldOut
from .work import FEATURES, Work, group, work

FEWEST = 6  # variants
FOLDS = 5


@dataclass(frozen=True)
class Point:
    """One variant at one batch size.

    Attributes:
        variant: its name.
        done: its work.
        operators_s: seconds by group, from ONNX Runtime's own profile.
        latency_s: median of a whole call.
    """

    variant: str
    batch_size: int
    done: Work
    operators_s: dict[str, float]
    latency_s: float


@dataclass(frozen=True)
class _Constants:
    prices: dict[str, dict[str, float]]
    scale: float
    fixed_s: float

    def seconds(self, done: Work) -> float:
        return self.scale * _operators(self.prices, done) + self.fixed_s


def points(profiles: Sequence[str | Path]) -> tuple[list[Point], Profile]:
    """What profiles measured, with the work of each model; and the first profile.

    Raises:
        ArtifactError: a file is no profile.
        InputError: profiles of different machines or settings, operators that were not timed, a name that
            stands for two models, or a model that is no longer where it was measured.
    """
    opened = [(str(path), read(path)) for path in profiles]
    if not opened:
        raise InputError("calibrate-model: expected at least one profile, given none")
    first = opened[0][1]
    found: list[Point] = []
    known: dict[str, str] = {}
    for name, profile in opened:
        differ = differences(first, profile)
        if differ:
            raise InputError(f"{name}: measured otherwise than {opened[0][0]}: {', '.join(differ)}")
        for candidate in profile.candidates:
            if known.setdefault(candidate.name, candidate.path) != candidate.path:
                raise InputError(f"{name}: {candidate.name!r} is another model in an earlier profile")
            found += _of(candidate, profile, name)
    return found, first


def _of(candidate: Candidate, profile: Profile, name: str) -> list[Point]:
    path = Path(candidate.path)
    if path.is_dir():
        path = path / read_manifest(path).entry
    if not path.is_file():
        raise InputError(f"{name}: {candidate.name}: {path} is no longer there; its graph is needed")
    specs, dims = input_specs(open_graph(path)), profile.settings.dims
    batches = [latency.batch_size for latency in candidate.latency]
    shapes = [inputs.concrete_shapes(specs, batch, dims, path) for batch in batches]
    found = []
    for latency, done in zip(candidate.latency, work(path, *shapes), strict=True):
        timed = candidate.operators.get(str(latency.batch_size))
        if not timed:
            raise InputError(f"{name}: {candidate.name}: its operators were not timed")
        by_group: dict[str, float] = {}
        for one in timed:
            kind = group(one.op_type)
            by_group[kind] = by_group.get(kind, 0.0) + one.time_ms / 1e3
        found.append(Point(candidate.name, latency.batch_size, done, by_group, latency.p50_ms / 1e3))
    return found


def fit(
    found: Sequence[Point], profile: Profile, name: str, sources: Sequence[str], seed: int = 0
) -> FittedModel:
    """Fit all points; cross-validate by variant, all batch sizes of one held out together.

    Raises:
        InputError: too few variants.
        MissingExtraError: scipy is not installed.
    """
    variants = sorted({point.variant for point in found})
    if len(variants) < FEWEST:
        raise InputError(f"calibrate-model: expected at least {FEWEST} variants, given {len(variants)}")
    order = np.random.default_rng(seed).permutation(len(variants))
    held_out = []
    for fold in range(FOLDS):
        left = {variants[at] for at in order[fold::FOLDS]}
        constants = _fit([point for point in found if point.variant not in left])
        held_out += [
            HeldOut(one.variant, one.batch_size, 1e3 * one.latency_s, 1e3 * constants.seconds(one.done))
            for one in found
            if one.variant in left
        ]
    errors = [one.error for one in held_out]
    constants = _fit(found)
    return FittedModel(
        name=name,
        machine=profile.machine.cpu,
        threads=profile.settings.threads,
        engine=f"ONNX Runtime {profile.tools.get('onnxruntime', 'of unknown version')}",
        constants=constants.prices,
        scale=constants.scale,
        fixed_s=constants.fixed_s,
        ranges=_ranges(found),
        folds=FOLDS,
        held_out=held_out,
        median_error=float(np.median(errors)),
        p90_error=float(np.quantile(errors, 0.9)),
        profiles=list(sources),
    )


def _fit(found: Sequence[Point]) -> _Constants:
    """Each group to its operators' times, then the sum of all to whole latencies; relative errors count."""
    prices = {}
    for kind in sorted({kind for point in found for kind in point.done}):
        rows = [point for point in found if point.operators_s.get(kind, 0.0) > 0 and kind in point.done]
        if not rows:  # ONNX Runtime ran none of them as operators
            prices[kind] = dict.fromkeys(FEATURES, 0.0)
            continue
        features = np.array([[point.done[kind][name] for name in FEATURES] for point in rows])
        times = np.array([point.operators_s[kind] for point in rows])
        prices[kind] = dict(zip(FEATURES, map(float, _least_squares(features, times)), strict=True))
    sums = np.array([[_operators(prices, point.done), 1.0] for point in found])
    scale, fixed = _least_squares(sums, np.array([point.latency_s for point in found]))
    return _Constants(prices, float(scale), float(fixed))


def _operators(prices: dict[str, dict[str, float]], done: Work) -> float:
    return sum(
        price * done.get(kind, {}).get(feature, 0.0)
        for kind, held in prices.items()
        for feature, price in held.items()
    )


def _least_squares(features: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Non-negative least squares of relative errors; [points, features] and [points]."""
    try:
        from scipy.optimize import nnls
    except ImportError as error:
        raise MissingExtraError("fitting a latency model", "report") from error
    relative = features / times[:, None]
    size = np.linalg.norm(relative, axis=0)
    size[size == 0] = 1.0  # a feature that no point has keeps a price of zero
    found: NDArray[np.float64] = nnls(relative / size, np.ones(len(times)))[0] / size
    return found


def _ranges(found: Sequence[Point]) -> dict[str, dict[str, tuple[float, float]]]:
    kinds = sorted({kind for point in found for kind in point.done})
    ranges = {}
    for kind in kinds:
        held = {
            feature: [point.done.get(kind, {}).get(feature, 0.0) for point in found] for feature in FEATURES
        }
        ranges[kind] = {feature: (min(values), max(values)) for feature, values in held.items()}
    return ranges

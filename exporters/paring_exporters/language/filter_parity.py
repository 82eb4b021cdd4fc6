"""Do the filter's graphs, as the runtime drives them, choose what PyTorch chooses on the whole prompt?

A choice is discrete: where a column's score lies within rounding error of the k-th score, two correct
implementations may differ. `margin` is the widest gap between the score of a column lost and of one won in
its place, relative to the row's largest score; it may be TIE_MARGIN at most. Scores are compared too, by the
tolerances of logits.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from paring.transforms._decoder import Decoder
from paring.transforms._gem_filter import pooled, select
from paring.transforms.gem_filter import Config, filter_layer, layer_scores
from paring_runtimes.generation.filter_layers import FilterLayers, read_scores
from paring_runtimes.generation.in_place_cache import CHUNK
from paring_runtimes.generation.prompt_filter import best

from ..parity import TIE_MARGIN, TOLERANCES
from .parity import Prompt

Choice = tuple[np.ndarray, np.ndarray]  # scores [B, S] fp32, and the columns that stay [B, K]


def choose(layers: FilterLayers, ids: np.ndarray, k: int, pin: tuple[int, int]) -> Choice:
    """Read prompts [B, S] as a runtime does and keep the k best tokens of each row."""
    scores = read_scores(layers, ids)
    return scores, np.array([best(row, k, pin) for row in scores])


@dataclass(frozen=True)
class FilterCase:
    """How the filter came out on one batch of prompts of one length."""

    name: str
    batch: int
    length: int
    pin_first: int
    pin_last: int
    max_abs: float  # of the scores
    max_rel: float  # of the scores, to the row's largest
    ties: int  # rows whose columns differ, within the margin
    margin: float  # 0 where no column differs
    passed: bool


def lengths_for(k: int, most: int) -> list[int]:
    """Prompt lengths that try the filter: below k, at k, just above and far above it, more than a chunk."""
    wanted = {max(1, k // 2), k, k + 1, 2 * k + 9, CHUNK + 9}
    return sorted({min(length, most) for length in wanted})


def compare(
    decoder: Decoder,
    config: Config,
    layers: FilterLayers,
    batches: tuple[int, ...],
    precision: str,
    atol: float | None = None,
    rtol: float | None = None,
) -> tuple[list[FilterCase], list[Prompt]]:
    """Run the filter in PyTorch and in ONNX Runtime on random prompts, with its own pins and others.

    Args:
        decoder: the reference, in fp32.
        config: the filter's.
        layers: what was exported.
        batches: numbers of rows, in turn.
        precision: which tolerance applies.
        atol, rtol: of the scores, in place of the precision's own.

    Returns:
        The cases, and what the exported filter kept of each, as prompts of the second pass.
    """
    cases, kept = [], []
    own = TOLERANCES[precision]
    tolerance = (own[0] if atol is None else atol, own[1] if rtol is None else rtol)
    free = min(config.k, 3)
    pins = {(config.pin_first, config.pin_last), (free // 2, free - free // 2)}
    for length in lengths_for(config.k, decoder.max_positions):
        for index, pin in enumerate(sorted(pins)):
            batch = batches[index % len(batches)]
            rng = np.random.default_rng((length, *pin))
            ids = rng.integers(0, decoder.vocabulary, (batch, length))
            scores, columns = expected(decoder, config, ids, pin)
            found = choose(layers, ids, config.k, pin)
            case = _case((scores, columns), found, pin, tolerance, TIE_MARGIN[precision])
            cases.append(case)
            chosen = np.take_along_axis(ids, found[1], axis=1)
            kept.append(Prompt(f"filtered, {case.name}", chosen, np.full(batch, chosen.shape[1], np.int64)))
    return cases, kept


def failure(cases: list[FilterCase]) -> str | None:
    """What failed first, in words; None when nothing did."""
    bad = next((case for case in cases if not case.passed), None)
    if bad is None:
        return None
    return (
        f"{bad.name}: scores differ by {bad.max_abs:.3g} ({bad.max_rel:.3g} of the largest),"
        f" {bad.ties} of {bad.batch} rows keep other tokens, whose scores differ by up to {bad.margin:.3g}"
    )


def expected(decoder: Decoder, config: Config, ids: np.ndarray, pin: tuple[int, int]) -> Choice:
    """PyTorch's choice on whole prompts [B, S]."""
    count = ids.shape[1]
    with torch.inference_mode():
        layer = filter_layer(config, len(decoder.layers))
        scores = pooled(layer_scores(decoder, torch.from_numpy(ids), None, [layer])[0], config.kernel)
        pinned = ((0, pin[0]), (max(0, count - pin[1]), count))
        return scores.numpy(), select(scores, config.k, pinned).numpy()


def _case(
    wanted: Choice, found: Choice, pin: tuple[int, int], tolerance: tuple[float, float], allowed: float
) -> FilterCase:
    scores, columns = wanted
    batch, length = scores.shape
    scale = np.abs(scores).max(axis=1, keepdims=True) + 1e-12
    gap = np.abs(found[0] - scores)
    same_shape = found[1].shape == columns.shape
    relative = scores / scale
    relative[:, : pin[0]] = relative[:, length - pin[1] :] = np.inf
    rows = zip(relative, columns, found[1], strict=True)
    margins = [_margin(*row) for row in rows] if same_shape else [np.inf]
    return FilterCase(
        name=f"batch {batch}, length {length}, pins {pin[0]} and {pin[1]}",
        batch=batch,
        length=length,
        pin_first=pin[0],
        pin_last=pin[1],
        max_abs=float(gap.max()),
        max_rel=float((gap / scale).max()),
        ties=int((found[1] != columns).any(axis=1).sum()) if same_shape else batch,
        margin=float(max(margins)),
        passed=bool((gap <= tolerance[0] + tolerance[1] * scale).all() and max(margins) <= allowed),
    )


def _margin(scores: np.ndarray, expected: np.ndarray, actual: np.ndarray) -> float:
    """How far apart the columns that differ lie; columns out of order, or a lost pin, are infinitely far."""
    if len(set(actual.tolist())) < len(actual) or (np.diff(actual) < 0).any():
        return float("inf")
    if np.array_equal(expected, actual):
        return 0.0
    lost, won = np.setdiff1d(expected, actual), np.setdiff1d(actual, expected)
    return float(scores[lost].max() - scores[won].min())  # the k-th score lies between


def as_dict(config: Config, cases: list[FilterCase]) -> dict[str, Any]:
    """For the manifest's `parity.filter`."""
    return {
        "passed": all(case.passed for case in cases),
        "k": config.k,
        "samples": sum(case.batch for case in cases),
        "ties": sum(case.ties for case in cases),
        "margin": max(case.margin for case in cases),
        "max_abs": max(case.max_abs for case in cases),
        "max_rel": max(case.max_rel for case in cases),
        "cases": [asdict(case) for case in cases],
    }

"""Does an artifact compute what its PyTorch model computes? The tolerances, argued here and only here.

An output passes when |actual - expected| <= atol + rtol * |expected| for every element: both
tolerances added, never either-or.

- fp32: atol 1e-5, rtol 1e-4, the pair that ONNX Runtime's own operator tests use. Two correct fp32
  implementations differ by the order of their sums.
- fp16: atol 0.0025, rtol 0.001, ONNX Runtime's pair for fp16, against an **fp32** reference: ONNX
  Runtime's CPU provider computes fp16 models in fp32, so its fp16 results are no reference.
- arithmetic that rounds activations (shift layers in integers): each sample's outputs reach a signal-to-noise
  ratio of 30 dB. A sum that differs by fp32 rounding may send an activation to the next of 255 steps, and the
  layers after it carry that on, so that no elementwise tolerance holds. In a deep model such steps add up to
  what the rounding itself costs: a ViT-S whose layers all shift, computed by PyTorch in fp32 and in fp64,
  comes within 31 dB of itself, as near as it comes to the model that rounds nothing. So where that ratio is
  less than 33 dB, a sample is held to 3 dB below it (two roundings that have nothing in common differ by
  twice the noise of one), but never to less than 20 dB: an error of arithmetic (a wrong sign, scale or zero
  point) ends below.

Token selection is a discrete decision. Where the scores of the last token kept and the first one
dropped are closer than rounding error, two correct implementations may choose differently, and
the outputs then differ by more than any tolerance. Such a sample (`margin` below TIE_MARGIN) is
counted as a tie when it differs; it still counts for top-1 agreement. More ties than MAX_TIES of the
samples fail the comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from .non_finite import first_non_finite

TOLERANCES = {"fp32": (1e-5, 1e-4), "fp16": (0.0025, 0.001)}
TIE_MARGIN = {"fp32": 1e-5, "fp16": 2e-2}
MAX_TIES = {"fp32": 0.25, "fp16": 0.75}
MIN_SNR_DB = 30.0
LEAST_SNR_DB = 20.0  # below it lie errors of arithmetic
TWO_ROUNDINGS_DB = 3.0  # twice the noise of one

Outputs = Mapping[str, np.ndarray]


class Limits(NamedTuple):
    """How close samples must come: the tolerances, or in place of them ratios [dB] by output, each [B]."""

    atol: float
    rtol: float
    min_snr_db: Mapping[str, np.ndarray] | None = None


@dataclass(frozen=True)
class Case:
    """One batch of inputs. `margin` [B] is filled by the reference."""

    name: str
    pixels: np.ndarray  # [B, C, H, W] float32


@dataclass(frozen=True)
class CaseResult:
    """How one case came out, the worst over its outputs. Ties are left out of max_abs, max_rel, cosine."""

    name: str
    batch: int
    image_size: tuple[int, int]
    max_abs: float
    max_rel: float
    cosine: float
    top1_agreement: float
    ties: int
    passed: bool
    worst_output: str
    non_finite: str = ""  # the first value that is not finite and should be another, in words


@dataclass(frozen=True)
class Parity:
    """The whole comparison."""

    passed: bool
    precision: str
    atol: float
    rtol: float
    max_abs: float
    max_rel: float
    min_cosine: float
    top1_agreement: float
    samples: int
    ties: int
    cases: tuple[CaseResult, ...]
    min_snr_db: float | None = None  # the least that was held in place of the tolerances

    def as_dict(self) -> dict[str, Any]:
        """JSON form, for the manifest."""
        return {**asdict(self), "tolerance": {"atol": self.atol, "rtol": self.rtol}}

    def failure(self) -> str | None:
        """What failed first, in words; None when nothing did."""
        bad = next((case for case in self.cases if not case.passed), None)
        if bad is not None:
            where = f"case {bad.name} (batch {bad.batch}, {bad.image_size[0]}x{bad.image_size[1]}), output"
            if bad.non_finite:
                return f"{where} {bad.non_finite}"
            found = f"max abs {bad.max_abs:.3g}, max rel {bad.max_rel:.3g}, cosine {bad.cosine:.6f}"
            if self.min_snr_db is not None:
                least = f"below {self.min_snr_db:g} dB"
                return f"{where} {bad.worst_output}: signal-to-noise ratio {least} ({found})"
            allowed = f"atol {self.atol:g} + rtol {self.rtol:g}"
            return f"{where} {bad.worst_output}: {found}; allowed {allowed}"
        if not self.passed:
            return f"{self.ties} of {self.samples} samples were ties, {MAX_TIES[self.precision]:.0%} allowed"
        return None


def cases(
    channels: int,
    image_sizes: Iterable[tuple[int, int]],
    batch_sizes: Iterable[int],
    seeds: Iterable[int],
) -> list[Case]:
    """Random inputs over every batch size, image size and seed, then the hard ones."""
    sizes, batches = list(image_sizes), list(batch_sizes)
    found = []
    for height, width in sizes:
        for batch in batches:
            for seed in seeds:
                shape = (batch, channels, height, width)
                noise = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
                found.append(Case(f"normal, seed {seed}", noise))
    hard = (min(batches), channels, *sizes[0])
    checker = np.indices(hard).sum(0) % 2
    rng = np.random.default_rng(0)
    return [
        *found,
        Case("zeros", np.zeros(hard, np.float32)),
        Case("constant", np.full(hard, 0.5, np.float32)),
        Case("extremes", np.where(checker, 8.0, -8.0).astype(np.float32)),
        Case("large noise", (rng.standard_normal(hard) * 8).astype(np.float32)),
    ]


def compare(
    reference: Callable[[np.ndarray], tuple[Outputs, np.ndarray | None]],
    artifact: Callable[[np.ndarray], Outputs],
    inputs: Iterable[Case],
    precision: str,
    atol: float | None = None,
    rtol: float | None = None,
    progress: Callable[[str], None] = lambda name: None,
    unrounded: Callable[[np.ndarray], Outputs] | None = None,
) -> Parity:
    """Run both on every case.

    Args:
        reference: pixels -> outputs by name, and each sample's selection margin [B] or None.
        artifact: pixels -> outputs by name.
        inputs: the cases.
        precision: which tolerance applies.
        atol, rtol: in place of the precision's own.
        progress: told the name of each case.
        unrounded: of a reference that rounds activations, the same model without: pixels -> outputs by name.
            Each sample is then held to a signal-to-noise ratio, and to no tolerance.
    """
    own = TOLERANCES[precision]
    atol, rtol = own[0] if atol is None else atol, own[1] if rtol is None else rtol
    results, held = list[CaseResult](), list[float]()
    for case in inputs:
        progress(case.name)
        expected, margin = reference(case.pixels)
        actual = artifact(case.pixels)
        ratios = None if unrounded is None else _least_ratios(unrounded(case.pixels), expected)
        held += [] if ratios is None else [float(own.min()) for own in ratios.values()]
        limits = Limits(atol, rtol, ratios)
        results.append(_result(case, expected, actual, margin, limits, precision))
    samples, ties = sum(r.batch for r in results), sum(r.ties for r in results)
    return Parity(
        passed=all(r.passed for r in results) and ties <= MAX_TIES[precision] * samples,
        precision=precision,
        atol=atol,
        rtol=rtol,
        max_abs=max(r.max_abs for r in results),
        max_rel=max(r.max_rel for r in results),
        min_cosine=min(r.cosine for r in results),
        top1_agreement=sum(r.top1_agreement * r.batch for r in results) / samples,
        samples=samples,
        ties=ties,
        cases=tuple(results),
        min_snr_db=min(held, default=None),
    )


def _least_ratios(unrounded: Outputs, rounded: Outputs) -> dict[str, np.ndarray]:
    """By output, [B] the ratio [dB] that each sample is held to, from what the rounding itself costs."""
    found = {}
    for name, value in rounded.items():
        own = np.array([signal_to_noise_db(*pair) for pair in zip(unrounded[name], value, strict=True)])
        found[name] = (own - TWO_ROUNDINGS_DB).clip(LEAST_SNR_DB, MIN_SNR_DB)
    return found


def _result(
    case: Case,
    expected: Outputs,
    actual: Outputs,
    margin: np.ndarray | None,
    limits: Limits,
    precision: str,
) -> CaseResult:
    batch = len(case.pixels)
    tied = np.zeros(batch, bool) if margin is None else margin < TIE_MARGIN[precision]
    differing = {name: _differs(name, expected[name], actual[name], limits) for name in expected}
    excused = tied & np.any(list(differing.values()), axis=0)
    judged = ~excused
    worst = max(differing, key=lambda name: (differing[name] & judged).sum())
    absolute, relative, cosine = 0.0, 0.0, 1.0
    for name, value in expected.items():
        a, r, c = _distances(value[judged], actual[name][judged])
        absolute, relative, cosine = max(absolute, a), max(relative, r), min(cosine, c)
    first = next(iter(expected))
    told = {name: _non_finite(value, actual[name]) for name, value in expected.items()}
    return CaseResult(
        name=case.name,
        batch=batch,
        image_size=(case.pixels.shape[2], case.pixels.shape[3]),
        max_abs=absolute,
        max_rel=relative,
        cosine=cosine,
        top1_agreement=_agreement(expected[first], actual[first]),
        ties=int(excused.sum()),
        passed=not any((found & judged).any() for found in differing.values()),
        worst_output=worst,
        non_finite=next((f"{name}: {said}" for name, said in told.items() if said), ""),
    )


def _non_finite(expected: np.ndarray, actual: np.ndarray) -> str:
    return first_non_finite(expected, actual) if expected.shape == actual.shape else ""


def _differs(name: str, expected: np.ndarray, actual: np.ndarray, limits: Limits) -> np.ndarray:
    """[B] whether a sample leaves the limits. A shape or NaN that differs leaves them."""
    if expected.shape != actual.shape:
        return np.ones(len(expected), bool)
    if limits.min_snr_db is not None:
        found = [signal_to_noise_db(*pair) for pair in zip(expected, actual, strict=True)]
        return ~(np.array(found) >= limits.min_snr_db[name])
    close = np.isclose(actual, expected, atol=limits.atol, rtol=limits.rtol)
    return ~close.reshape(len(expected), -1).all(axis=1)


def _distances(expected: np.ndarray, actual: np.ndarray) -> tuple[float, float, float]:
    if expected.shape != actual.shape:
        return float("inf"), float("inf"), -1.0
    if not expected.size:
        return 0.0, 0.0, 1.0
    if first_non_finite(expected, actual):
        return float("inf"), float("inf"), -1.0
    finite = np.isfinite(expected)  # what is not is equal in both
    wanted, got = (np.where(finite, value, 0).astype(np.float64) for value in (expected, actual))
    gap = np.abs(got - wanted)
    norms = np.linalg.norm(wanted) * np.linalg.norm(got)
    cosine = float((wanted * got).sum() / norms) if norms else float(np.array_equal(wanted, got))
    # Relative to the sample's largest value: near a zero crossing an element's own size means nothing.
    scale = np.abs(wanted).reshape(len(wanted), -1).max(axis=1) + 1e-12
    relative = gap.reshape(len(gap), -1).max(axis=1) / scale
    return float(gap.max()), float(relative.max()), cosine


def _agreement(expected: np.ndarray, actual: np.ndarray) -> float:
    if expected.shape != actual.shape:
        return 0.0
    flat = expected.reshape(len(expected), -1), actual.reshape(len(actual), -1)
    return float((flat[0].argmax(1) == flat[1].argmax(1)).mean())


def signal_to_noise_db(expected: np.ndarray, actual: np.ndarray) -> float:
    """10 log10 of the power of `expected` over the power of the difference, in dB."""
    wanted = expected.astype(np.float64)
    noise = np.square(actual.astype(np.float64) - wanted).sum()
    return float(10 * np.log10(np.square(wanted).sum() / noise)) if noise else float("inf")

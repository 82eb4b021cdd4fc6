"""Do the exported graphs compute what the decoder computes? Prompts, then steps over the cache.

Tolerances are those of `paring_exporters.parity`, for fp32 and for fp16 against an fp32 reference. Two
things differ. A row of logits is judged by its own largest value, |actual - expected| <= atol + rtol *
max |expected|: a logit near zero is a sum of thousands of products of size one and more, and means
nothing by itself, for softmax sees only its distance from the largest. And in fp16 rtol is multiplied by
sqrt(layers): a layer rounds the residual stream twice, each time by up to 2^-11, together the 0.001 of one
operator; roundings of L layers are independent and add up as sqrt(L).

The tokens of the steps are those that the decoder finds most likely, for the graphs too, so that one
different choice does not make all later steps incomparable.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import torch

from paring.transforms._decoder import Decoder
from paring.transforms._decoder.memory import KeyValue

from ..non_finite import first_non_finite
from ..parity import TOLERANCES


@dataclass(frozen=True)
class Prompt:
    """One batch of prompts of differing length, padded on the left."""

    name: str
    ids: np.ndarray  # [B, L] int64
    lengths: np.ndarray  # [B] int64, at least 1


class Runner(Protocol):
    """A graph with its cache."""

    def prompt(self, prompt: Prompt) -> np.ndarray:
        """Logits of the last tokens [B, V]; the cache is that of this prompt from now on."""

    def step(self, ids: np.ndarray) -> np.ndarray:
        """Logits [B, V] after one more token a row, ids [B]."""


@dataclass(frozen=True)
class LanguageCase:
    """How one graph came out on one prompt and its steps, the worst of them."""

    graph: str
    name: str
    batch: int
    length: int
    steps: int
    max_abs: float
    max_rel: float  # to the row's largest logit
    cosine: float
    top1_agreement: float
    passed: bool
    worst_step: int  # 0 is the prompt
    non_finite: str = ""  # the first logit that is not finite and should be another, in words


@dataclass(frozen=True)
class LanguageParity:
    """The whole comparison. A sample is one row of logits."""

    passed: bool
    precision: str
    atol: float
    rtol: float
    max_abs: float
    max_rel: float
    min_cosine: float
    top1_agreement: float
    samples: int
    cases: tuple[LanguageCase, ...]
    ties: int = 0

    def as_dict(self) -> dict[str, Any]:
        """JSON form, for the manifest."""
        return {**asdict(self), "tolerance": {"atol": self.atol, "rtol": self.rtol}}

    def failure(self) -> str | None:
        """What failed first, in words; None when nothing did."""
        bad = next((case for case in self.cases if not case.passed), None)
        if bad is None:
            return None
        where = f"step {bad.worst_step}" if bad.worst_step else "the prompt"
        if bad.non_finite:
            return f"{bad.graph}, case {bad.name}, {where}: logits [step, row, token] {bad.non_finite}"
        return (
            f"{bad.graph}, case {bad.name}, {where}: max abs {bad.max_abs:.3g}, max rel {bad.max_rel:.3g},"
            f" cosine {bad.cosine:.6f}; allowed atol {self.atol:g} + rtol {self.rtol:g} of the largest logit"
        )


def prompts(
    vocabulary: int, batch_sizes: tuple[int, ...], lengths: tuple[int, ...], seeds: tuple[int, ...]
) -> list[Prompt]:
    """Random ids over every batch size, length and seed; rows of a batch have differing lengths."""
    found = []
    for batch in batch_sizes:
        for length in lengths:
            for seed in seeds:
                rng = np.random.default_rng((seed, batch, length))
                own = np.maximum(1, length - np.arange(batch) * length // (batch + 1))
                ids = rng.integers(0, vocabulary, (batch, length))
                found.append(Prompt(f"seed {seed}, batch {batch}, length {length}", ids, own))
    return found


def compare(
    decoder: Decoder,
    runners: dict[str, Callable[[], Runner]],
    inputs: list[Prompt],
    steps: int,
    precision: str,
    atol: float | None = None,
    rtol: float | None = None,
    progress: Callable[[str], None] = lambda name: None,
) -> LanguageParity:
    """Run the decoder and every graph on every prompt and `steps` more tokens.

    Args:
        decoder: the reference, in fp32.
        runners: what makes a graph's runner, by the graph's name.
        inputs: the prompts.
        steps: how many tokens follow each.
        precision: which tolerance applies.
        atol, rtol: in place of the precision's own.
        progress: told the name of each case.
    """
    own = tolerances(precision, len(decoder.layers))
    tolerance = (own[0] if atol is None else atol, own[1] if rtol is None else rtol)
    cases = []
    for prompt in inputs:
        progress(prompt.name)
        expected = list(reference(decoder, prompt, steps))
        chosen = [logits.argmax(1) for logits in expected[:-1]]
        for name, make in runners.items():
            runner = make()
            actual = [runner.prompt(prompt), *(runner.step(ids) for ids in chosen)]
            cases.append(case_of(name, prompt, expected, actual, tolerance))
    return summary(cases, precision, tolerance)


def summary(cases: list[LanguageCase], precision: str, tolerance: tuple[float, float]) -> LanguageParity:
    """The comparison from its cases."""
    weights = [case.batch * (case.steps + 1) for case in cases]
    agreed = sum(case.top1_agreement * weight for case, weight in zip(cases, weights, strict=True))
    return LanguageParity(
        passed=all(case.passed for case in cases),
        precision=precision,
        atol=tolerance[0],
        rtol=tolerance[1],
        max_abs=max(case.max_abs for case in cases),
        max_rel=max(case.max_rel for case in cases),
        min_cosine=min(case.cosine for case in cases),
        top1_agreement=agreed / sum(weights),
        samples=sum(weights),
        cases=tuple(cases),
    )


def tolerances(precision: str, layers: int) -> tuple[float, float]:
    """(atol, rtol) of a decoder; see the module's docstring."""
    atol, rtol = TOLERANCES[precision]
    return atol, rtol * math.sqrt(layers) if precision == "fp16" else rtol


def left_mask(prompt: Prompt) -> np.ndarray:
    """[B, L] int64: 1 where a token is real."""
    length = prompt.ids.shape[1]
    return (np.arange(length) >= length - prompt.lengths[:, None]).astype(np.int64)


def positions_of(mask: np.ndarray) -> np.ndarray:
    """[B, L] int64: places in the text, 0 for padding."""
    counted: np.ndarray = np.maximum(mask.cumsum(1) - 1, 0)
    return counted


def reference(decoder: Decoder, prompt: Prompt, steps: int) -> Iterator[np.ndarray]:
    """The decoder's logits [B, V] after the prompt and after each of `steps` greedy tokens."""
    mask = torch.from_numpy(left_mask(prompt))
    ids, positions = torch.from_numpy(prompt.ids), torch.from_numpy(positions_of(mask.numpy()))
    past: list[KeyValue] = []
    with torch.inference_mode():
        for _ in range(steps + 1):
            logits, past = decoder(ids, mask, positions, past)
            last = logits[:, -1]
            yield last.numpy()
            ids, positions = last.argmax(1, keepdim=True), positions[:, -1:] + 1
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)


def case_of(
    graph: str,
    prompt: Prompt,
    expected: list[np.ndarray],
    actual: list[np.ndarray],
    tolerance: tuple[float, float],
) -> LanguageCase:
    """How one graph came out: logits [B, V] after the prompt and after each step."""
    wanted = np.stack(expected).astype(np.float64)  # [steps + 1, B, V]
    found = np.stack(actual).astype(np.float64)
    with np.errstate(invalid="ignore"):  # what is not finite makes NaN, and fails
        gap = np.abs(found - wanted).max(axis=2)
        scale = np.abs(wanted).max(axis=2) + 1e-12
        excess = gap / (tolerance[0] + tolerance[1] * scale)  # at most 1 passes; NaN does not
        norms = np.linalg.norm(wanted, axis=2) * np.linalg.norm(found, axis=2) + 1e-12
        cosines = (wanted * np.nan_to_num(found, posinf=0, neginf=0)).sum(axis=2) / norms
        relative = gap / scale
    return LanguageCase(
        graph=graph,
        name=prompt.name,
        batch=len(prompt.ids),
        length=prompt.ids.shape[1],
        steps=len(expected) - 1,
        max_abs=float(gap.max()),
        max_rel=float(relative.max()),
        cosine=float(cosines.min()),
        top1_agreement=float((wanted.argmax(2) == found.argmax(2)).mean()),
        passed=bool((excess <= 1).all()),
        worst_step=int(np.nan_to_num(excess, nan=np.inf).max(axis=1).argmax()),
        non_finite=first_non_finite(wanted, found),
    )

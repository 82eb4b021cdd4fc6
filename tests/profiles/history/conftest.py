"""Stored profiles of one small model, made without measuring."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paring_profiles.result import Candidate, Comparison, Latency, Machine, Profile, Settings

MACHINE = Machine("A CPU", 2, 4, 8_200_000_000, "Linux-6.1.0-x86_64", "CPython 3.11", 0.1, False)
START = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
Make = Callable[..., Profile]


def latency(p50_ms: float, batch_size: int = 1, half: float = 0.002) -> Latency:
    """100 samples, and an interval of the median that is `half` of it to both sides."""
    samples = [float(t) for t in p50_ms * np.random.default_rng(0).normal(1, 0.01, size=100)]
    ci95 = (p50_ms * (1 - half), p50_ms * (1 + half))
    throughput = batch_size / p50_ms * 1e3
    return Latency(batch_size, samples, 10, p50_ms, ci95, p50_ms, None, p50_ms, 0.1, p50_ms, throughput)


def candidate(name: str, digest: str, p50_ms: Sequence[float], **changed: Any) -> Candidate:
    """One latency a batch size: 1, 2, ..."""
    timed = [latency(value, batch) for batch, value in enumerate(p50_ms, 1)]
    macs = {str(one.batch_size): 100 * one.batch_size for one in timed}
    made = Candidate(
        name, f"/models/{name}", "onnx", 1000, 5, macs, [], None, 4_000_000, 1.5, timed, {}, "timm:x",
        [], {"model": "timm:x"}, None, None, artifact_digest=digest * 64, engine="onnxruntime 1.32.0",
    )  # fmt: skip
    return dataclasses.replace(made, **changed)


@pytest.fixture
def make() -> Make:
    """Return `make(day, p50_ms, digest=..., **more)`: one candidate, or a baseline before it."""

    def one(
        day: float,
        *p50_ms: float,
        digest: str = "a",
        name: str = "vit",
        baseline: float | None = None,
        machine: Machine = MACHINE,
        settings: Settings = Settings(),  # noqa: B008  frozen
        tools: dict[str, str] | None = None,
        noise: Sequence[str] = (),
        **changed: Any,
    ) -> Profile:
        candidates = [candidate(name, digest, p50_ms, **changed)]
        comparisons = []
        if baseline is not None:
            candidates.insert(0, candidate("base", "b", [baseline]))
            ratio = baseline / p50_ms[0]
            told = (ratio, (ratio * 0.998, ratio * 1.002), None, None, "faster")
            comparisons = [Comparison("base", name, 1, *told)]
        created = (START + timedelta(days=day)).isoformat(timespec="seconds")
        versions = tools or {"onnxruntime": "1.32.0"}
        return Profile(created, machine, settings, versions, candidates, comparisons, list(noise))

    return one


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store's place, where nothing is yet."""
    return tmp_path / "kept" / "history.sqlite"

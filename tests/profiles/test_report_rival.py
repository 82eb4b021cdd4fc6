"""An int8 model that ONNX Runtime's own quantiser made, beside an artifact that shifts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from paring_profiles import Profile, Settings, profile
from paring_profiles.report import html, markdown
from paring_profiles.report.rival import against_int8
from paring_profiles.result import OperatorTime

SHIFTED = [{"name": "shift_linear", "config": {}}]
MULTIPLIES = {"1": [OperatorTime("DynamicQuantizeMatMul", 1, 0.1, 1.0)]}


@pytest.fixture
def rivals(recorded: Profile) -> Profile:
    """ "base" (10 ms) shifts; "small" (5 ms) is int8."""
    base, small = recorded.candidates
    shifted = replace(base, transforms=SHIFTED, size_bytes=2_000_000)
    return replace(recorded, candidates=[shifted, replace(small, operators=MULTIPLIES, size_bytes=4_000_000)])


def test_a_faster_int8_model_is_told(rivals: Profile) -> None:
    (told,) = against_int8(rivals)
    assert told.startswith("int8 wins here: small is 2.0")
    assert "faster than base at batch 1 (95 % interval " in told
    assert "measured" in told
    assert "what it saves is size: 2.00 MB against 4.00 MB" in told
    assert "int8 wins here" in markdown.render(rivals)
    assert "int8 wins here" in html.render(rivals).replace("\u00a0", " ")


def test_nothing_is_told_without_a_reason(rivals: Profile, recorded: Profile) -> None:
    shifted, int8 = rivals.candidates
    assert against_int8(recorded) == []
    assert against_int8(replace(rivals, candidates=[shifted, recorded.candidates[1]])) == []
    slow = replace(int8, latency=[replace(shifted.latency[0], samples_ms=[20.0] * 100)])
    assert against_int8(replace(rivals, candidates=[shifted, slow])) == []
    packed = replace(int8, transforms=SHIFTED)  # paring's own integer form of shifts is no int8 baseline
    assert against_int8(replace(rivals, candidates=[shifted, packed])) == []


def test_what_the_quantiser_makes_is_known_by_its_operators(mlp: Callable[..., Path]) -> None:
    quantisation = pytest.importorskip("onnxruntime.quantization")
    plain = mlp(4, "plain.onnx")
    quantised = plain.with_name("int8.onnx")
    quantisation.quantize_dynamic(plain, quantised)
    quick = Settings(threads=1, min_runs=8, min_seconds=0.0, max_seconds=5.0)
    found = profile([plain, quantised], quick)
    first, second = found.candidates
    fast = replace(
        second, latency=[replace(second.latency[0], samples_ms=[1e-6] * 8, openings_ms=[1e-6] * 4)]
    )
    told = against_int8(replace(found, candidates=[replace(first, transforms=SHIFTED), fast]))
    assert len(told) == 1
    assert "int8 is " in told[0]

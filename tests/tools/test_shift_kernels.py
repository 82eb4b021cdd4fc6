"""The shift kernels' benchmark on a small layer: its sides agree on shapes, its arithmetic is right."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

for needed in ("tvm", "onnxruntime", "torch"):
    pytest.importorskip(needed)

BENCH = Path(__file__).parents[2] / "tools" / "bench" / "shift_kernels.py"


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("shift_kernels", BENCH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["shift_kernels"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("bits", [4, 5])
def test_every_side_runs(bench: ModuleType, bits: int) -> None:
    shape = bench.ShiftShape(2, 64, 32, bits)
    calls = bench.sides(shape, bench.Schedule(2), bench.host_target(1), 1)
    assert next(iter(calls)) == bench.OURS
    assert len(calls) == 5
    for call in calls.values():
        call()


def test_a_missed_goal_is_told(bench: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    one_row, more = bench.ShiftShape(1, 64, 32), bench.ShiftShape(4, 64, 32)
    times = {bench.OURS: np.full(8, 1.0), bench.FOUR_BITS: np.full(8, 1.5), "ORT fp32": np.full(8, 4.0)}
    assert not bench.tell(one_row, times)
    assert capsys.readouterr().out.count("GOAL MISSED") == 1
    assert bench.tell(more, times)
    assert not bench.tell(more, {**times, bench.FOUR_BITS: np.full(8, 0.9)})


def test_limits_count_bytes_and_products(bench: ModuleType) -> None:
    text = bench.limits(bench.ShiftShape(1, 4096, 4096), 0.1, 500.0, 100.0)
    assert "8.42 MB (84.2 GB/s)" in text  # half a byte a weight, four an activation
    assert "17 M products (168 G/s)" in text
    assert "84% of the bandwidth limit" in text

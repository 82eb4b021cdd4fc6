"""Every check of the GPU lane as a test, and the lane itself where there is no GPU."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from paring_runtimes.cuda.driver import why_no_gpu

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools" / "gpu"))
CHECKS = importlib.import_module("checks").checks()
COMMAND = [sys.executable, str(ROOT / "tools" / "gpu" / "verify")]


@pytest.mark.gpu
@pytest.mark.parametrize("check", CHECKS, ids=[check.name for check in CHECKS])
def test_check(check: Any) -> None:
    missing = check.needs()
    if missing is not None:
        pytest.skip(missing)
    assert isinstance(check.run(), dict)


def test_every_check_has_its_own_name() -> None:
    names = [check.name for check in CHECKS]
    assert len(names) == len(set(names))
    files = {path.stem for path in (ROOT / "tools" / "gpu" / "checks").glob("[!_]*.py")}
    assert {"cuda_layer", "kernels", "onnxruntime_gpu", "tensorrt_engine"} <= files


@pytest.mark.skipif(why_no_gpu() is None, reason="there is a GPU here")
def test_without_a_gpu_every_check_says_why_it_is_not_run(tmp_path: Path) -> None:
    done = subprocess.run([*COMMAND, "-o", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "gpu.json").read_text())
    assert [one["name"] for one in report["checks"]] == [check.name for check in CHECKS]
    assert {one["state"] for one in report["checks"]} == {"not run"}
    assert all(one["reason"].strip() and "\n" not in one["reason"] for one in report["checks"])
    assert f"{len(CHECKS)} not run" in (tmp_path / "gpu.txt").read_text()


def test_a_check_that_fails_is_told_and_fails_the_lane(tmp_path: Path) -> None:
    """The lane's own code, with a check that is wrong."""
    loader = importlib.machinery.SourceFileLoader("verify_lane", COMMAND[1])
    lane = importlib.util.module_from_spec(importlib.util.spec_from_loader("verify_lane", loader))
    loader.exec_module(lane)

    def wrong() -> dict[str, Any]:
        raise AssertionError("3 is not 4")

    check = importlib.import_module("checks").Check
    failed = lane.ran(check("wrong", lambda: None, wrong))
    assert failed["state"] == "failed"
    assert "3 is not 4" in lane.line(failed)
    passed = lane.ran(check("right", lambda: None, lambda: {"latency_ms": 1.5}))
    assert passed["state"] == "passed"
    assert "latency_ms 1.5" in lane.line(passed)
    assert lane.ran(check("none", lambda: "no scale", wrong))["reason"] == "no scale"

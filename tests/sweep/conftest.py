"""A recipe of a small network, a space over it, and a pool that runs jobs in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from paring.recipe import build_recipe
from paring.sweep import Plan, parse_space
from paring.sweep.jobs import Job, Outcome, job_from, outcome_from
from paring.sweep.work import work

SPACE = """
keys:
  export.precision: {choices: [fp32, int8]}
  export.opset: {choices: [18, 20], when: {export.precision: fp32}}
engine: [onnxruntime]
"""


class HerePool:
    """Does each job at once, in this process, which has PyTorch loaded already."""

    slots = 1

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self._done: list[tuple[int, Outcome]] = []

    @property
    def busy(self) -> int:
        return len(self._done)

    def submit(self, number: int, job: Job, timeout_s: float) -> None:
        told = job_from(json.loads(json.dumps(job.as_dict())))  # as it crosses to a process
        self.jobs.append(told)
        found = work(told)
        self._done.append((number, outcome_from(json.loads(json.dumps(found, default=vars)))))

    def wait(self) -> tuple[int, Outcome]:
        return self._done.pop(0)

    def close(self) -> None:
        self._done.clear()


@pytest.fixture(autouse=True)
def own_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The lock of the machine is this test's own: it waits for no sweep that runs here besides."""
    monkeypatch.setattr("paring.sweep.locks._place", lambda: tmp_path / "machine.lock")
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # of the processes that it starts
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")  # Ray's sockets have short names


@pytest.fixture
def here() -> type[HerePool]:
    """Makes pools that do each job at once, in this process."""
    return HerePool


@pytest.fixture
def plan(factories: Path, tmp_path: Path) -> Callable[..., Plan]:
    """Makes a plan over the small convolutional network; keywords are the plan's fields."""

    def make(space: str = SPACE, model: str = "convnet", **fields: object) -> Plan:
        recipe = build_recipe(
            {
                "model": f"py:{factories}:{model}",
                "data": {"source": "embedded", "limit": 40},
                "verify": {"batch_sizes": [1], "seeds": [0]},
            }
        )
        told = {
            "objectives": ("latency", "accuracy"),
            "output": tmp_path / "sweep",
            "sampler": "grid",
            "min_runs": 8,
            "min_seconds": 0.0,
            "final": 0,
            **fields,
        }
        return Plan(recipe=recipe, space=parse_space(space, recipe), **told)

    return make

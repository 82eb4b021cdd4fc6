"""Real processes, killed in the middle: the sweep's own, and a worker of a Ray cluster."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from paring.recipe import dump_recipe, recipe_yaml
from paring.sweep import Plan, run
from paring.sweep.apart import run_apart
from paring.sweep.jobs import Job, Outcome, Shelf, Subject, outcome_from
from paring.sweep.locks import measuring
from paring_profiles.sweep import Sweep, read_sweep

pytestmark = pytest.mark.slow
pytest.importorskip("optuna")
SPACE = "keys:\n  export.precision: {choices: [fp32, int8]}\n  export.opset: {choices: [18, 20]}\n"
PATIENCE_S = 600


def states(folder: Path) -> dict[int, str]:
    """Of each trial that is written down."""
    found = {}
    for file in (folder / "trials").glob("[0-9]*.json"):
        told = json.loads(file.read_text())
        found[told["number"]] = told["state"]
    return found


def when(condition: Callable[[], bool]) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def test_a_sweep_killed_in_the_middle_goes_on_and_loses_nothing(
    plan: Callable[..., Plan], tmp_path: Path
) -> None:
    made = plan(SPACE)
    (tmp_path / "recipe.yaml").write_text(recipe_yaml(made.recipe))
    (tmp_path / "space.yaml").write_text(SPACE)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "paring", "sweep", "recipe.yaml", "--space", "space.yaml", "-o", "out"]
    command += ["--sampler", "grid", "--min-runs", "8", "--min-seconds", "0", "--threads", "1"]
    begun = subprocess.Popen(command, cwd=tmp_path)
    try:
        when(lambda: "running" in states(out).values() and "complete" in states(out).values())
        workers = psutil.Process(begun.pid).children(recursive=True)
        os.kill(begun.pid, signal.SIGKILL)
    finally:
        begun.kill()
        begun.wait()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive
    assert read_sweep(out).state == "running"  # whole, and can be read
    ended = {n: (out / "trials" / f"{n}.json").read_text() for n, s in states(out).items() if s == "complete"}
    [cut] = [number for number, state in states(out).items() if state == "running"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=PATIENCE_S)
    found = read_sweep(out)
    assert (found.state, found.resumed) == ("complete", 1)
    assert [trial.number for trial in found.trials] == [0, 1, 2, 3]
    assert {trial.state for trial in found.trials} == {"complete"}
    assert found.trial(cut).attempts == 2
    for number, text in ended.items():
        before = json.loads(text)
        assert before["measures"] == dataclasses.asdict(found.trial(number))["measures"]
    assert not list((out / "artifacts").glob(".*"))


def test_a_ray_worker_killed_in_the_middle_loses_its_trial_only(
    plan: Callable[..., Plan], here: Callable[[], Any], tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    from paring.sweep.ray_pool import RayPool

    made = plan(SPACE, objectives=("size", "accuracy"))
    killed = list[int]()

    def kill_one() -> None:
        when(lambda: list(states(made.output).values()).count("running") == 2)
        mine = psutil.Process().children(recursive=True)
        jobs = [p for p in mine if "-m paring.sweep" in " ".join(p.cmdline())]
        worker = jobs[0].parent()
        assert worker is not None
        killed.append(worker.pid)
        worker.kill()

    killer = threading.Thread(target=kill_one)
    killer.start()
    said: list[str] = []
    storage = (tmp_path / "store").as_uri()
    found = run(made, said.append, lambda: RayPool("local:2"), storage, str(tmp_path / "cache"))
    killer.join()
    assert killed
    assert {trial.state for trial in found.trials} == {"complete"}
    assert sorted(trial.attempts for trial in found.trials) == [1, 1, 1, 2]
    assert any("tried again" in sentence for sentence in said)
    assert all(trial.worker.startswith("ray worker ") for trial in found.trials)
    assert all(str(trial.artifact).startswith(storage) for trial in found.trials)
    assert not list((made.output / "artifacts").iterdir())
    alone = run(plan(SPACE, objectives=("size", "accuracy"), output=tmp_path / "alone"), make_pool=here)
    assert front_of(found) == front_of(alone)


def test_a_job_that_waits_for_the_machine_longer_than_its_limit_is_done_all_the_same(
    plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_s, held_s = 30.0, 35.0
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    made, subject = plan(SPACE), Subject("0" * 64, "onnxruntime")
    job = Job("baseline", Shelf(str(tmp_path / "shelf")), made.settings(), subject, dump_recipe(made.recipe))
    lock = tmp_path / f"paring-sweep-{os.getuid()}.lock"
    monkeypatch.setattr("paring.sweep.locks._place", lambda: lock)
    found: list[Outcome] = []

    def run_it() -> None:
        found.append(outcome_from(run_apart(job.as_dict(), limit_s)))

    with measuring():
        runner = threading.Thread(target=run_it)
        runner.start()
        time.sleep(held_s)
        assert not found
    runner.join()
    assert found[0].state == "complete"
    assert found[0].seconds > limit_s


def front_of(sweep: Sweep) -> set[tuple[str, str]]:
    """The points of the front, whatever their numbers."""
    return {
        (json.dumps(sweep.trial(one.trial).params, sort_keys=True), one.place)
        for one in sweep.front
        if one.place != "dominated"
    }

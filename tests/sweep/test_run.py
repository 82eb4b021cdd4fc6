"""Whole sweeps of small networks, and what becomes of trials that cannot be."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from paring.sweep import Plan, run
from paring.sweep.apart import run_apart
from paring.sweep.jobs import Job, Shelf, Subject, outcome_from
from paring.sweep.shelf import find, folder_of, publish
from paring_profiles.sweep import read_sweep, recommend
from paring_profiles.sweep.tables import markdown, to_csv
from paring_runtimes.errors import InputError, IntegrityError, RecipeError

pytest.importorskip("optuna")


def test_a_sweep_measures_its_points_and_goes_on_where_it_stopped(
    plan: Callable[..., Plan], here: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paring.sweep.final_round.PATIENCE_S", 0.0)
    made = plan(final=4, trials=2)
    pool = here()
    first = run(made, make_pool=lambda: pool)
    assert [trial.state for trial in first.trials] == ["complete"] * 2
    assert [job.kind for job in pool.jobs][:1] == ["baseline"]
    for trial in first.trials:
        assert {"latency_relative", "latency_p50_ms", "drop", "size_bytes"} <= set(trial.measures)
        assert (made.output / str(trial.artifact) / "manifest.json").is_file()
        assert trial.right is not None
    pool = here()
    whole = run(dataclasses.replace(made, trials=9), make_pool=lambda: pool)
    assert whole.points == 3
    assert sorted(trial.number for trial in whole.trials) == [0, 1, 2]
    assert "baseline" not in [job.kind for job in pool.jobs]
    assert whole.trials[0].measures == first.trials[0].measures  # not measured again
    assert whole.resumed == 1
    assert read_sweep(made.output) == whole
    finalists = [trial for trial in whole.trials if trial.final]
    assert len(finalists) >= 2
    assert all(trial.measures["latency_relative"].round == "trial" for trial in finalists)
    assert all(trial.final["latency_relative"].round == "final" for trial in finalists)
    assert recommend(whole, ["drop<=50pp"], "size", "point").trial is not None
    assert "size_bytes" in to_csv(whole)
    assert "## The front" in markdown(whole)


def test_what_cannot_be_is_a_trial_with_its_reason(
    plan: Callable[..., Plan], here: Callable[[], Any]
) -> None:
    space = """
transforms: {dropping: {none: [], prune: [token_prune]}}
keys:
  export.precision: {choices: [fp32, int8_static]}
"""
    found = run(plan(space), make_pool=here)
    states = {(t.params["dropping"], t.params["export.precision"]): t for t in found.trials}
    assert states["none", "fp32"].state == "complete"
    assert states["prune", "fp32"].state == "refused"
    assert "token_prune" in states["prune", "fp32"].reason
    assert "calibration" in states["none", "int8_static"].reason
    assert {one.trial for one in found.front} == {states["none", "fp32"].number}


def test_a_variant_that_loses_far_too_much_is_pruned_before_it_is_exported(
    plan: Callable[..., Plan], here: Callable[[], Any], tmp_path: Path
) -> None:
    space = "transforms: {shift: {none: [], mlp: [{shift_linear: {bits: 4}}]}}"
    # No network loses more than all: a limit below that of any prunes what is transformed, and that alone.
    found = run(plan(space, model="vit", prune_drop=-1.0, prune_images=40), make_pool=here)
    states = {trial.params["shift"]: trial for trial in found.trials}
    assert states["none"].state == "complete"
    assert (states["mlp"].state, states["mlp"].stage) == ("pruned", "prune")
    assert "first 40 images" in states["mlp"].reason
    assert states["mlp"].artifact is None
    assert len(list((tmp_path / "sweep" / "artifacts").iterdir())) == 1


@pytest.mark.slow
def test_energy_is_modelled_by_name_and_the_same_for_every_engine(
    plan: Callable[..., Plan], here: Callable[[], Any]
) -> None:
    pytest.importorskip("tvm")
    space = """
keys:
  export.precision: {choices: [fp32, int8]}
engine: [onnxruntime, tvm]
"""
    pool, said = here(), list[str]()
    found = run(plan(space, objectives=("energy", "latency")), said.append, lambda: pool)
    plain = {t.engine: t for t in found.trials if t.params["export.precision"] == "fp32"}
    energies = [plain[name].measures["energy_modelled_uj"] for name in ("onnxruntime", "tvm")]
    assert energies[0].value == energies[1].value
    assert [one.provenance for one in energies] == ["modelled"] * 2
    assert energies[1].method.endswith("of the same model as ONNX")
    (never,) = (trial for trial in found.trials if trial.state == "impossible")
    assert never.engine == "tvm"
    assert "int8" in never.reason
    assert "3 trials: 3 complete, and 1 point that cannot be" in markdown(found)
    assert said[-1].startswith("3/3")


def test_a_plan_that_cannot_be_is_refused_before_anything_is_made(plan: Callable[..., Plan]) -> None:
    for wrong, kind, says in (
        (plan(objectives=("latancy",)), InputError, "did you mean 'latency'"),
        (plan(sampler="gird"), InputError, "did you mean 'grid'"),
        (plan(trials=0), InputError, "at least 1"),
    ):
        with pytest.raises(kind, match=says):
            run(wrong)
        assert not wrong.output.exists()
    speaking = plan()
    told = speaking.recipe.model_copy(update={"model": "embedded:spike-gpt"})
    with pytest.raises(
        RecipeError, match="embedded:spike-gpt answers prompts, and a sweep is of models that"
    ):
        run(dataclasses.replace(speaking, recipe=told))
    assert not speaking.output.exists()
    without = plan()
    recipe = without.recipe.model_copy(update={"data": None})
    with pytest.raises(RecipeError, match="needs labelled images"):
        run(dataclasses.replace(without, recipe=recipe))


def job_of(made: Plan, factory: str, tmp_path: Path) -> Job:
    from paring.recipe import dump_recipe

    file = tmp_path / "own.py"
    file.write_text(factory, encoding="utf-8")
    told = dump_recipe(made.recipe) | {"model": f"py:{file}:own"}
    subject = Subject("0" * 64, "onnxruntime")
    return Job("trial", Shelf(str(tmp_path / "shelf")), made.settings(), subject, told, subject)


def test_a_process_that_is_killed_is_lost_alone(plan: Callable[..., Plan], tmp_path: Path) -> None:
    job = job_of(plan(), "import os\ndef own():\n    os.kill(os.getpid(), 9)\n", tmp_path)
    found = outcome_from(run_apart(job.as_dict(), 600))
    assert (found.state, found.lost) == ("failed", True)
    assert "SIGKILL" in found.reason


def test_a_crash_and_a_time_limit_are_told(plan: Callable[..., Plan], tmp_path: Path) -> None:
    crash = job_of(plan(), "def own():\n    raise OSError('no such thing')\n", tmp_path)
    found = outcome_from(run_apart(crash.as_dict(), 600))
    assert found.state in ("refused", "failed")
    assert "no such thing" in found.reason
    slow = outcome_from(run_apart(crash.as_dict(), 0.2))
    assert slow.state == "failed"
    assert "not done after 0 s of its own" in slow.reason


def test_a_job_ends_with_the_process_that_started_it(plan: Callable[..., Plan], tmp_path: Path) -> None:
    job = job_of(plan(), "import time\ndef own():\n    time.sleep(600)\n", tmp_path)
    script = (
        "import json, sys; from paring.sweep.apart import run_apart; run_apart(json.load(sys.stdin), 600)"
    )
    import subprocess
    import sys

    parent = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, text=True)
    assert parent.stdin is not None
    parent.stdin.write(json.dumps(job.as_dict()))
    parent.stdin.close()
    children: list[psutil.Process] = []
    deadline = time.monotonic() + 60
    while not children and time.monotonic() < deadline:
        children = psutil.Process(parent.pid).children()
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert children
    assert not alive


def test_shared_storage_holds_artifacts_whole_or_not_at_all(convnet_artifact: Path, tmp_path: Path) -> None:
    import shutil

    url = (tmp_path / "store").as_uri()
    ours, theirs = Shelf(str(tmp_path / "a"), url), Shelf(str(tmp_path / "b"), url)
    key = "ab" * 32
    assert find(theirs, key) is None
    shutil.copytree(convnet_artifact, folder_of(ours, key))
    assert publish(ours, key) == f"{url}/{key[:16]}.json"
    found = find(theirs, key)
    assert found is not None
    assert {p.name for p in found.iterdir()} == {p.name for p in convnet_artifact.iterdir()}
    # A writer that was killed before the last file leaves nothing that a reader finds.
    (tmp_path / "store" / f"{key[:16]}.json").unlink()
    assert find(Shelf(str(tmp_path / "c"), url), key) is None
    publish(ours, key)
    [folder] = [p for p in (tmp_path / "store").glob(f"{key[:16]}-*") if (p / "model.onnx").is_file()][-1:]
    for copy in (tmp_path / "store").glob(f"{key[:16]}-*"):
        with (copy / "model.onnx").open("ab") as file:
            file.write(b"x")
    with pytest.raises(IntegrityError):
        find(Shelf(str(tmp_path / "d"), url), key)
    assert not folder_of(Shelf(str(tmp_path / "d"), url), key).exists()
    assert folder.exists()


def test_two_measurements_never_overlap() -> None:
    from paring.sweep.locks import converting, measuring

    inside, most = [0], [0]

    def measure() -> None:
        with measuring():
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.02)
            inside[0] -= 1

    def convert() -> None:
        with converting():
            assert inside[0] == 0
            time.sleep(0.02)
            assert inside[0] == 0

    threads = [threading.Thread(target=t) for t in (measure, convert, measure, convert)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert most[0] == 1

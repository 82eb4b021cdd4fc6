"""Tuning of whole models: the budget, the database that is kept, and what is used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import paring_runtimes
from paring_exporters.formats import tvm as exporter
from paring_exporters.request import Request
from paring_exporters.tune_options import TuneOptions
from paring_exporters.tvm.target import host_target
from paring_exporters.tvm_graph.kernels.dense import Dense, Tiling, tiling_for
from paring_exporters.tvm_graph.tuning import Tuner, candidates
from paring_exporters.tvm_graph.tuning_database import FILE, Database, Duel, Timing
from paring_runtimes.errors import InputError

LAYER = Dense((7,), 24, 32, None)


def tuner(folder: Path, seconds: float = 900.0) -> Tuner:
    return Tuner(host_target(1), TuneOptions(seconds, str(folder)))


def test_what_was_measured_is_kept_and_not_measured_again(tmp_path: Path) -> None:
    first = tuner(tmp_path)
    chosen = first.tiling(LAYER)
    lines = (tmp_path / FILE).read_text().splitlines()
    (kernel,) = first.facts()["kernels"]
    assert first.facts()["measured"] == kernel["trials"] == len(candidates(LAYER, host_target(1)))
    assert first.facts()["spent_s"] > 0
    again = tuner(tmp_path)
    assert again.tiling(LAYER) == chosen
    assert again.facts()["measured"] == 0
    assert (tmp_path / FILE).read_text().splitlines() == lines
    times = [record["median_ms"] for record in map(json.loads, lines) if record["kind"] == "Timing"]
    assert len(times) == kernel["trials"]
    assert min(times) > 0


def test_what_a_kill_left_out_is_measured_then(tmp_path: Path) -> None:
    tuner(tmp_path).tiling(LAYER)
    file = tmp_path / FILE
    kept = [
        line for line in file.read_text().splitlines(keepends=True) if json.loads(line)["kind"] == "Timing"
    ]
    file.write_text("".join(kept[:3]) + kept[3][:20])
    again = tuner(tmp_path)
    again.tiling(LAYER)
    assert again.facts()["measured"] == len(kept) - 3


def test_a_spent_budget_leaves_kernels_as_they_are(tmp_path: Path) -> None:
    spent = tuner(tmp_path, 1e-9)
    assert spent.tiling(LAYER) == tiling_for(host_target(1))
    assert spent.facts()["measured"] == 0
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize(("low", "used"), [(1.02, True), (0.98, False)])
def test_a_tiling_is_used_only_if_it_won_in_turn(low: float, used: bool, tmp_path: Path) -> None:
    measuring = tuner(tmp_path)
    measuring.tiling(LAYER)
    (kernel,) = (found["kernel"] for found in measuring.facts()["kernels"])
    target, other = measuring._name, candidates(LAYER, host_target(1))[-1]
    database = Database(tmp_path)
    database.add(Timing(target, kernel, other, 1e-9))  # the fastest by far
    database.add(Duel(target, kernel, other, tiling_for(host_target(1)), 1.1, low, 1.2))
    again = tuner(tmp_path)
    assert again.tiling(LAYER) == (other if used else tiling_for(host_target(1)))


def test_a_damaged_database_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"kind": "Timing"}\n')
    with pytest.raises(InputError, match=f"{FILE}:1: no record"):
        Database(tmp_path)
    with pytest.raises(InputError, match=f"{FILE}:1"):
        tuner(tmp_path)


def test_a_tuned_model_answers_as_pytorch_and_says_what_was_found(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(24, 48), nn.GELU(), nn.Linear(48, 10)).eval()
    (tmp_path / "out").mkdir()
    options = TuneOptions(30.0, str(tmp_path / "kept"), batch=2)
    request = Request(torch.randn(2, 5, 24), threads=1, tune=options)
    made = exporter.export(model, request, tmp_path / "out")
    tuning = made.facts["tuning"]
    assert tuning["budget_s"] == 30.0
    assert 0 < tuning["spent_s"] < 60
    assert [kernel["kernel"].split(", ")[1] for kernel in tuning["kernels"]] == ["24 -> 48", "48 -> 10"]
    assert all("batch 2 of an open one" in kernel["kernel"] for kernel in tuning["kernels"])
    assert json.loads(json.dumps(tuning)) == tuning
    x = torch.randn(3, 5, 24)
    with paring_runtimes.load(made.entry) as session, torch.inference_mode():
        found = session.run({"pixel_values": x.numpy()})["logits"]
        np.testing.assert_allclose(found, model(x).numpy(), atol=1e-5)


def test_another_cpu_is_not_tuned_and_that_is_told(tmp_path: Path) -> None:
    options = TuneOptions(5.0, str(tmp_path / "kept"))
    request = Request(torch.randn(2, 3), target="portable", threads=1, tune=options)
    made = exporter.export(nn.Linear(3, 4), request, tmp_path)
    assert any("not tuned" in note for note in made.facts["notes"])
    assert not (tmp_path / "kept").exists()


def test_the_cache_is_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert TuneOptions().folder() == tmp_path / "paring" / "tvm"
    assert TuneOptions(database="here").folder() == Path("here")


def test_tilings_are_told_apart_in_the_database(tmp_path: Path) -> None:
    database = Database(tmp_path)
    database.add(Timing("t", "k", Tiling(6, 16, 2, 48), 1.5))
    again = Database(tmp_path)
    assert again.timing("t", "k", Tiling(6, 16, 2, 48)) == Timing("t", "k", Tiling(6, 16, 2, 48), 1.5)
    assert again.timing("t", "k", Tiling(6, 16, 2, 96)) is None

"""`paring calibrate-model`: from real measurements to what `paring ledger` predicts, with its error."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import paring
from paring_profiles.calibrated import read_model, work
from paring_profiles.result import Profile
from paring_profiles.store import read, write

Run = Callable[..., str]
DEPTHS = ((1, 3, 8), (2, 4, 7))  # of two runs of `paring profile`; none has a depth of 6


def deep(folder: Path, depth: int) -> Path:
    """A model of that many products of 64 x 64."""
    rng = np.random.default_rng(depth)
    nodes = [
        helper.make_node("MatMul", [f"y{i}" if i else "x", f"w{i}"], [f"y{i + 1}"]) for i in range(depth)
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info(f"y{depth}", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(rng.standard_normal((64, 64)).astype(np.float32) / 8, f"w{i}")
            for i in range(depth)
        ],
    )
    path = folder / f"deep{depth}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(path))
    return path


@pytest.fixture(scope="module")
def profiles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Measured just now: six models in two profiles, at two batch sizes."""
    folder = tmp_path_factory.mktemp("measured")
    found = []
    for number, depths in enumerate(DEPTHS):
        made = paring.profile(
            [deep(folder, depth) for depth in depths],
            batch_sizes=(1, 16), threads=1, openings=4, min_runs=3, min_seconds=0.0, energy="none",
        )  # fmt: skip
        found.append(write(made, folder / f"profile{number}.json"))
    return found


def test_a_prediction_carries_the_error_of_held_out_models(
    profiles: list[Path], ran: Run, tmp_path: Path
) -> None:
    file, unseen = tmp_path / "own.yaml", deep(tmp_path, 6)
    told = json.loads(ran("calibrate-model", *profiles, "-o", file, "--json"))
    model = read_model(file)
    assert (model.variants, len(model.held_out), model.profiles) == (6, 12, [str(p) for p in profiles])
    assert told["median_error"] == model.median_error
    measured = {
        (one.name, latency.batch_size): latency.p50_ms
        for path in profiles
        for one in read(path).candidates
        for latency in one.latency
    }
    assert {(one.variant, one.batch_size): one.measured_ms for one in model.held_out} == pytest.approx(
        measured
    )
    errors = [abs(one.predicted_ms / one.measured_ms - 1) for one in model.held_out]
    assert model.median_error == pytest.approx(np.median(errors))

    predicted = json.loads(ran("ledger", unseen, "--device", file, "-b", 16, "--json"))
    (one,) = predicted["devices"]["predictions"]
    (done,) = work(unseen, {"x": (16, 64)})
    assert one["milliseconds"] == pytest.approx(1e3 * model.seconds(done))
    assert one["milliseconds"] > 0
    assert (one["median_error"], one["p90_error"], one["variants"]) == (
        model.median_error,
        model.p90_error,
        6,
    )
    assert one["provenance"] == "modelled: fitted to measurements"
    shown = ran("ledger", unseen, "--device", file, "-b", 16)
    assert f"{one['milliseconds']:.3f}" in shown
    assert f"{model.median_error:.1%}" in shown
    beyond = ran("ledger", deep(tmp_path, 20), "--device", file, "-b", 16)
    assert "refused" in beyond
    assert "it would extrapolate" in " ".join(beyond.split())


def test_the_command_tells_every_held_out_point(profiles: list[Path], ran: Run, tmp_path: Path) -> None:
    shown = ran("calibrate-model", *profiles, "-o", tmp_path / "own.yaml")
    assert shown.startswith("6 variants on ")
    for depths in DEPTHS:
        assert all(f"deep{depth}" in shown for depth in depths)
    few = ran("calibrate-model", profiles[0], "-o", tmp_path / "few.yaml")
    assert few.startswith("exit 2: ")
    assert "expected at least 6 variants, given 3" in few
    assert not (tmp_path / "few.yaml").exists()


def test_what_is_no_profile(recorded: Profile, ran: Run, tmp_path: Path) -> None:
    own = write(recorded, tmp_path / "own.json")
    (tmp_path / "text.json").write_text("{}")
    out = tmp_path / "own.yaml"
    assert "text.json" in ran("calibrate-model", tmp_path / "text.json", "-o", out)
    assert "none.json" in ran("calibrate-model", tmp_path / "none.json", "-o", out)
    said = ran("calibrate-model", own, "-o", out)
    assert "base: /models/base is no longer there; its graph is needed" in said
    assert "expected a .yaml file" in ran("calibrate-model", own, "-o", tmp_path / "own.json")
    assert not out.exists()


def test_profiles_of_two_machines_or_without_operators(
    profiles: list[Path], ran: Run, tmp_path: Path
) -> None:
    profile = read(profiles[1])
    machine = dataclasses.replace(profile.machine, cpu="Another CPU")
    other = write(dataclasses.replace(profile, machine=machine), tmp_path / "other.json")
    said = ran("calibrate-model", profiles[0], other, "-o", tmp_path / "own.yaml")
    assert said.startswith("exit 2: ")
    assert "measured otherwise than" in said
    assert "cpu" in said.lower()
    bare = [dataclasses.replace(one, operators={}) for one in profile.candidates]
    path = write(dataclasses.replace(profile, candidates=bare), tmp_path / "bare.json")
    assert "its operators were not timed" in ran(
        "calibrate-model", profiles[0], path, "-o", tmp_path / "o.yaml"
    )

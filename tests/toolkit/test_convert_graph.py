"""`paring convert -m onnx:FILE`, `inspect` and `profile` of graphs that others made."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from typer.testing import CliRunner

import paring_runtimes
from paring.cli import app
from paring.pipeline import convert
from paring.recipe import build_recipe
from paring_runtimes.errors import ExportError, RecipeError

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


def write_gate(file: Path) -> Path:
    """[batch, 4] -> [batch, 3]: x W where `loud` is 1, its negative otherwise."""
    weight = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    value = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    same = helper.make_graph([helper.make_node("Identity", ["z"], ["y"])], "same", [], [value])
    less = helper.make_graph([helper.make_node("Neg", ["z"], ["y"])], "less", [], [value])
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["z"]),
            helper.make_node("Equal", ["loud", "one"], ["is_loud"]),
            helper.make_node("If", ["is_loud"], ["y"], name="gate", then_branch=same, else_branch=less),
        ],
        "gate",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4]),
            helper.make_tensor_value_info("loud", TensorProto.INT64, []),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [
            onnx.numpy_helper.from_array(weight, "w"),
            helper.make_tensor("one", TensorProto.INT64, [], [1]),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
    return file


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    return write_gate(tmp_path / "gate.onnx")


def test_a_graph_becomes_an_artifact_that_says_how_it_was_checked(gate: Path, tmp_path: Path) -> None:
    done = convert(build_recipe({"model": f"onnx:{gate}?loud=1"}), tmp_path / "out")
    manifest = done.manifest
    assert manifest.parity is not None
    assert manifest.parity["passed"]
    assert manifest.parity["samples"] == 6  # three batches, two seeds
    assert manifest.graph["parameters"] == 12
    assert manifest.export["fixed"] == {"loud": 1}
    assert done.baseline is None
    with paring_runtimes.load(tmp_path / "out") as session:
        assert [spec.name for spec in session.inputs] == ["x"]


def test_inputs_of_a_file_are_what_is_compared(gate: Path, tmp_path: Path) -> None:
    for number in (0, 1):
        np.savez(tmp_path / f"{number}.npz", x=np.eye(4, dtype=np.float32), loud=np.array(number))
    files = [str(tmp_path / f"{number}.npz") for number in (0, 1)]
    recipe = build_recipe({"model": f"onnx:{gate}", "verify": {"inputs": files}})
    manifest = convert(recipe, tmp_path / "out").manifest
    assert manifest.parity is not None
    assert [case["name"] for case in manifest.parity["cases"]] == ["x [4, 4], loud []"] * 2


@pytest.mark.slow
def test_tvm_compiles_what_is_decided(gate: Path, tmp_path: Path) -> None:
    pytest.importorskip("tvm")
    recipe = build_recipe({"model": f"onnx:{gate}?loud=0", "export": {"format": "tvm"}})
    manifest = convert(recipe, tmp_path / "out").manifest
    assert manifest.entry == "model.so"
    with (
        paring_runtimes.load(tmp_path / "out") as session,
        paring_runtimes.load(gate, engine="onnxruntime") as given,
    ):
        x = np.random.default_rng(9).standard_normal((3, 4)).astype(np.float32)
        wanted = given.run({"x": x, "loud": np.array(0)})["y"]
        np.testing.assert_allclose(session.run({"x": x})["y"], wanted, atol=1e-5)


def test_tensorrt_gets_a_kit_with_the_sizes_that_were_tried(gate: Path, tmp_path: Path) -> None:
    recipe = build_recipe({"model": f"onnx:{gate}?loud=1", "export": {"format": "tensorrt"}})
    manifest = convert(recipe, tmp_path / "out").manifest
    (profile,) = manifest.export["tensorrt"]["profiles"]
    assert profile["x"] == {"min": [1, 4], "opt": [1, 4], "max": [5, 4]}
    stored = np.load(tmp_path / "out" / "tensorrt" / "samples.npz")
    assert set(stored.files) == {"0/x", "0/y", "1/x", "1/y"}


@pytest.mark.parametrize(
    ("keys", "error", "message"),
    [
        ({"transforms": ["token_prune"]}, RecipeError, "token_prune: no transform reaches into"),
        ({"data": {"source": "embedded"}}, RecipeError, "data: .* not measured on data"),
        ({"export": {"precision": "int8"}}, RecipeError, "export.precision int8: "),
        ({"export": {"format": "nir"}}, ExportError, "of graphs: onnx, tensorrt, tvm"),
    ],
)
def test_what_a_finished_graph_cannot_have_is_refused(
    gate: Path, tmp_path: Path, keys: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        convert(build_recipe({"model": f"onnx:{gate}", **keys}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_inspect_tells_what_a_file_holds(gate: Path) -> None:
    ran = CliRunner().invoke(app(), ["inspect", str(gate), "--json"])
    assert ran.exit_code == 0, ran.output
    told = json.loads(ran.stdout)
    assert told["operators"] == {"MatMul": 1, "Equal": 1, "If": 1, "Identity": 1, "Neg": 1}
    assert told["nodes_in_branches"] == 2
    assert told["parameters"] == 12


@pytest.mark.skipif(not LIGHT.is_dir(), reason="this onnx ships no light models")
def test_a_network_of_the_model_zoo_is_converted(tmp_path: Path) -> None:
    recipe = build_recipe({"model": f"onnx:{LIGHT / 'light_squeezenet.onnx'}", "verify": {"seeds": [0]}})
    manifest = convert(recipe, tmp_path / "out").manifest
    assert manifest.parity is not None
    assert manifest.parity["passed"]
    assert manifest.export["nodes"]["cleaned"] < manifest.export["nodes"]["given"]

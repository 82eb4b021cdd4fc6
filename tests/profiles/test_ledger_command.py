"""`paring ledger --device`, `paring import` and `paring compare --imported` as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from paring_profiles.calibrated import FittedModel, HeldOut, write_model
from paring_profiles.calibrated.work import FEATURES
from paring_profiles.store import write


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """[batch, 8] by [8, 4]."""
    values = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="layer")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, "w")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(made, str(tmp_path / "model.onnx"))
    return tmp_path / "model.onnx"


def test_a_bound_and_energies_in_ratios(model, ran) -> None:
    told = json.loads(ran("ledger", model, "--device", "eyeriss", "--device", "hailo8", "-b", 3, "--json"))
    eyeriss, hailo = told["devices"]["bounds"]
    assert eyeriss["peak_ms"] == pytest.approx(1e3 * 2 * 3 * 8 * 4 / 0.084e12)
    assert (hailo["precision"], hailo["bandwidth_ms"]) == ("int8", None)
    assert hailo["provenance"] == "modelled: a lower bound"
    assert told["devices"]["relative_energy"][0]["operations"] == 96
    assert told["model"]["counts"]["mac"] == 96


def test_a_fitted_model_predicts_or_refuses(model, ran, tmp_path) -> None:
    held = [HeldOut(f"v{i}", 1, 1.0, 1.1) for i in range(6)]
    prices, ranges = {"product": {"calls": 1e-3}}, {"product": dict.fromkeys(FEATURES, (0.0, 100.0))}
    ranges["product"]["bytes"] = (0.0, 1e4)
    fitted = FittedModel("own", "A CPU", 1, "E", prices, 1.0, 0.0, ranges, 5, held, 0.1, 0.1, ["p.json"])
    path = write_model(fitted, tmp_path / "own.yaml")
    shown = ran("ledger", model, "--device", path, "-b", 3)
    assert "1.000" in shown
    assert "10.0%" in shown
    told = json.loads(ran("ledger", model, "--device", path, "-b", 4, "--json"))
    (one,) = told["devices"]["predictions"]
    assert one["milliseconds"] is None
    assert one["refused"] == "it would extrapolate: product macs 128, fitted from 0 to 100"


def test_no_such_device(model, ran) -> None:
    assert ran("ledger", model, "--device", "t3").startswith("exit 2: error: no modelled device 't3'")


def test_imported_results_stand_beside_ours(ran, tmp_path, recorded) -> None:
    (tmp_path / "times.json").write_text(json.dumps([{"latencyMs": 2.0, "computeMs": 1.0}] * 3))
    shown = ran("import", tmp_path / "times.json", "--from", "trtexec", "-o", tmp_path / "kept.json")
    assert "imported: not measured by paring" in shown
    own = write(recorded, tmp_path / "profile.json")
    both = json.loads(ran("compare", own, "--imported", tmp_path / "kept.json", "--json"))
    assert both["imported"][0]["rows"][0]["provenance"] == "measured by trtexec"
    assert len(both["rows"]) == 2
    assert "not told: model, GPU" in ran("compare", own, "--imported", tmp_path / "kept.json")

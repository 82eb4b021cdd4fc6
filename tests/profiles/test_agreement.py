"""Outputs of one model on two engines or in two formats, against each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import paring_runtimes
from paring_profiles.agreement import SAMPLES, agreement, of_outputs, same_source
from paring_profiles.result import Settings
from paring_runtimes.engines import engines
from paring_runtimes.errors import EngineError


def test_of_outputs_counts_what_differs() -> None:
    wanted = {"y": np.array([[3.0, 4.0], [1.0, 0.0]], np.float32)}
    found = {"y": np.array([[3.0, 4.0], [1.0, 1.5]], np.float32)}
    near = of_outputs([(wanted, found)])
    assert near.max_abs == pytest.approx(1.5)
    assert near.snr_db == pytest.approx(10 * np.log10(26 / 2.25))
    assert near.argmax_alike == 0.5
    equal = of_outputs([(wanted, wanted)] * 3)
    assert (equal.max_abs, equal.snr_db, equal.argmax_alike, equal.samples) == (0, None, 1, 3)
    with pytest.raises(EngineError, match=r"'y': shapes \(2, 2\) and \(2, 1\) differ"):
        of_outputs([(wanted, {"y": wanted["y"][:, :1]})])


def write_product(file: Path, factor: float) -> Path:
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in ("x", "y")]
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1], [factor])
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "w"], ["y"])], "product", infos[:1], infos[1:], [weight]
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
    return file


def test_two_files_are_two_models_and_one_file_is_one(tmp_path: Path) -> None:
    two, three = (write_product(tmp_path / f"{n}.onnx", n) for n in (2, 3))
    with paring_runtimes.load(two) as one, paring_runtimes.load(two) as again:
        assert same_source(one, again)
        near = agreement(one, again, 2, Settings(), two)
        assert near is not None
        assert (near.max_abs, near.samples) == (0, SAMPLES)
        with paring_runtimes.load(three) as other:
            assert not same_source(one, other)
            far = agreement(one, other, 2, Settings(), three)
            assert far is not None
            assert far.snr_db == pytest.approx(10 * np.log10(4), abs=1e-4)


@pytest.mark.skipif(
    engines()["openvino"].why_not() is not None,
    reason="paring[openvino] is not installed",
)
def test_profile_tells_how_near_another_engine_comes(tmp_path: Path) -> None:
    from paring_profiles import profile
    from paring_profiles.report import markdown

    file = write_product(tmp_path / "m.onnx", 2)
    quick = Settings(min_runs=3, min_seconds=0.01, max_seconds=1, threads=1)
    found = profile([file, file], quick, engines=["onnxruntime", "openvino"])
    assert found.candidates[0].agreement is None
    near = found.candidates[1].agreement
    assert near is not None
    assert near.max_abs < 1e-5
    assert "Outputs against the baseline's" in markdown.render(found)

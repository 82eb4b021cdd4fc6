"""What the command line says of energy where there is no meter: "not measured", with reasons."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from paring.cli import doctor_command
from paring_profiles.meters import meters


@pytest.fixture(autouse=True)
def nothing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No meter, whatever this machine has; GPUs cannot be taken away."""
    monkeypatch.setenv("PARING_SYSFS", str(tmp_path / "no-sys"))
    monkeypatch.setenv("COLUMNS", "200")
    if any(found.why_not is None for found in meters().values()):
        pytest.skip("this machine has a meter that is no file")


@pytest.fixture
def product(tmp_path: Path) -> Path:
    """A model of one product."""
    weight = numpy_helper.from_array(np.ones((8, 8), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [weight],
    )
    path = tmp_path / "product.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(path))
    return path


def test_a_profile_and_a_comparison_say_not_measured(paring_command, product: Path, tmp_path: Path) -> None:
    few = ("--threads", 1, "--min-runs", 5, "--min-seconds", 0)
    ran = paring_command("profile", product, *few, "-o", tmp_path / "out")
    assert ran.code == 0
    table = ran.out[ran.out.index("energy an inference") :]
    row = next(line for line in table.splitlines() if "product" in line).split("│")
    assert row[3].strip() == "not measured"
    assert float(row[8]) > 0  # modelled, in its own column
    for name in meters():
        assert f"meter     {name}: " in ran.out
    data = json.loads((tmp_path / "out" / "profile.json").read_text())
    assert data["candidates"][0]["energy"] == "not measured"
    assert {state["name"] for state in data["meters"]} == set(meters())
    compared = paring_command("compare", tmp_path / "out" / "profile.json")
    assert "not measured" in compared.out
    assert "recorded energy an inference" in compared.out


def test_a_meter_that_is_not_there_is_an_error(paring_command, product: Path) -> None:
    ran = paring_command("profile", product, "--energy", "rapl")
    assert ran.code == 2
    assert "the meter rapl is not there: no RAPL zones in" in ran.err.replace("\n", " ")


def test_meters_are_listed_with_what_they_measure_and_why_not(paring_command) -> None:
    rows = json.loads(paring_command("list", "meters", "--json").out)["meters"]
    told = {row["name"]: row for row in rows}
    assert "61 µJ, new every millisecond" in told["rapl"]["about"]
    assert all(row["why_not"] for row in rows)


def test_the_doctor_tells_of_meters() -> None:
    assert doctor_command._energy_meters in doctor_command.CHECKS
    found = doctor_command._energy_meters()
    assert found.state == "missing"
    assert found.detail.startswith("energy is not measured\n")
    assert "rapl: no RAPL zones in" in found.detail
    assert "modprobe intel_rapl_msr" in (found.mend or "")

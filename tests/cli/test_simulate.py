"""`paring simulate` and `paring list chips` as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paring_runtimes.nir import Graph, write
from paring_runtimes.nir import nodes as nir

pytest.importorskip("numba")
pytest.importorskip("matplotlib")


def ran(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "paring", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The nearest class mean, by neurons whose rates are the scores: no good network, but far from chance."""
    from paring.data import ImageData, load_data

    data = load_data("embedded")
    assert isinstance(data, ImageData)
    pixels = data.images.reshape(len(data.images), -1) / 255
    means = np.stack([pixels[data.labels == k].mean(0) for k in range(10)])
    centre = means.mean(0)
    weights = (means - centre).astype(np.float32)
    bias = ((centre @ centre - (means**2).sum(1)) / 2 + 10).astype(np.float32)
    nodes: dict[str, Any] = {
        "input": nir.Input((1, 28, 28)),
        "flatten": nir.Flatten(0, -1, (1, 28, 28)),
        "means": nir.Affine(weights, bias),
        "spikes": nir.IF(np.ones(10, np.float32), np.full(10, 60.0, np.float32)),
        "output": nir.Output((10,)),
    }
    names = list(nodes)
    file = tmp_path_factory.mktemp("nir") / "means.nir"
    write(file, Graph(nodes, tuple(pairwise(names)), {"steps": 16, "coding": "constant"}))
    return file


def test_a_report_and_figures(network: Path, tmp_path: Path) -> None:
    told = ran(
        "simulate", network, "--chip", "loihi", "--data", "embedded", "--limit", 60, "--steps", "16,64",
        "--threads", 1, "-o", tmp_path / "out",
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith("Loihi, modelled: ")
    assert "On one 45 nm process the spiking network costs" in told.stdout
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "simulation.html", "simulation.json", "simulation.md",
    }  # fmt: skip
    data = json.loads((tmp_path / "out" / "simulation.json").read_text())
    assert data["samples"] == 60
    best = data["points"][-1]
    assert best["accuracy"] > 0.5  # ten classes
    assert 7000 < best["counts"]["macs"]["means"] <= 7840  # weights that round to 0 are no connections


def test_as_json(network: Path) -> None:
    told = ran(
        "simulate", network, "--chip", "loihi2", "--data", "embedded", "--limit", 10, "--steps", "4",
        "--coding", "rate", "--threads", 1, "--json",
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    data = json.loads(told.stdout)
    (point,) = data["points"]
    assert point["energy_nj"]["total"] is None
    assert point["counts"]["synops"]["means"] > 0
    assert data["coding"]["name"] == "rate"


@pytest.mark.parametrize(
    ("change", "code", "told"),
    [
        (
            {"--chip": "loihi3"},
            2,
            "no chip 'loihi3' (did you mean 'loihi'?); known: generic_45nm, loihi, loihi2",
        ),
        ({"--steps": "0"}, 2, "steps: 0; expected whole numbers of at least 1, such as 4,8,16,32"),
        ({"--steps": "four"}, 2, "--steps four: expected whole numbers with commas"),
        ({"--coding": "morse"}, 2, "coding 'morse'; expected one of constant, rate, latency"),
        ({"--data": "nowhere"}, 2, "data 'nowhere': unknown kind 'nowhere'"),
        ({"--mean": "grey"}, 2, "--mean grey: expected numbers with commas"),
        ({"--chip": "xylo_audio3"}, 4, "the network: inputs of the chip: needs 784, the chip has 16"),
        ({"--chip": "truenorth"}, 4, "spikes: input lines for one neuron: needs 1,568, the chip has 256"),
        ({"--chip": "mine.yaml"}, 2, "mine.yaml: cannot be read"),
    ],
)
def test_what_a_user_does_wrong(network: Path, change: dict[str, str], code: int, told: str) -> None:
    asked = {"--chip": "loihi", "--data": "embedded", "--limit": "4", "--steps": "4", **change}
    ended = ran("simulate", network, *(word for pair in asked.items() for word in pair))
    assert ended.returncode == code, ended.stderr
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr


def test_weights_that_are_not_numbers(network: Path, tmp_path: Path) -> None:
    import h5py

    file = tmp_path / "bad.nir"
    file.write_bytes(network.read_bytes())
    with h5py.File(file, "r+") as held:
        held["node/nodes/means/weight"][3, 5] = np.nan
    ended = ran("simulate", file, "--chip", "loihi", "--data", "embedded", "--limit", 4)
    assert ended.returncode in (2, 4)
    assert "means" in ended.stderr
    assert "NaN" in ended.stderr or "finite" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_not_a_graph_and_not_a_spiking_artifact(tmp_path: Path) -> None:
    file = tmp_path / "text.nir"
    file.write_text("not a graph")
    ended = ran("simulate", file, "--chip", "loihi", "--data", "embedded")
    assert ended.returncode == 2
    assert "text.nir" in ended.stderr
    assert "Traceback" not in ended.stderr
    missing = ran("simulate", tmp_path / "nothing", "--chip", "loihi", "--data", "embedded")
    assert missing.returncode == 5
    assert "nothing" in missing.stderr


def test_the_chips_are_listed() -> None:
    found = json.loads(ran("list", "chips", "--json").stdout)["chips"]
    assert [row["name"] for row in found][:2] == ["generic_45nm", "loihi"]
    assert "energy and time modelled" in next(row["about"] for row in found if row["name"] == "loihi")

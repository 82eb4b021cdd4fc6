"""`paring convert` to NIR: the spiking network as a graph, its original as ONNX, both run without PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
for package in ("h5py", "numba", "onnx", "onnxruntime"):
    pytest.importorskip(package)

import paring_runtimes  # noqa: E402
from paring.pipeline import convert  # noqa: E402
from paring.recipe import Recipe, load_recipe  # noqa: E402
from paring_exporters.nir_graph import export as exporting  # noqa: E402
from paring_runtimes.errors import ParityError  # noqa: E402

MODEL = """
import torch
from torch import nn


class Small(nn.Module):
    input_shape = (1, 8, 8)

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Linear(16, 3)

    def forward(self, x):
        x = torch.relu(self.norm(self.conv(x)))
        return self.head(nn.functional.avg_pool2d(x, 4).flatten(1))
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "recipe.yaml").write_text(
        f"model: py:{tmp_path / 'model.py'}:Small\n"
        "transforms:\n  - spike_convert: {steps: 4}\n"
        "export: {format: nir}\n"
    )
    return load_recipe(tmp_path / "recipe.yaml")


def test_the_graph_and_its_original_are_artifacts(recipe: Recipe, tmp_path: Path) -> None:
    made = convert(recipe, tmp_path / "out")
    manifest = made.manifest
    assert (manifest.format, manifest.entry) == ("nir", "graph.nir")
    assert set(manifest.files) == {"graph.nir"}
    assert manifest.export["spikes"]["differing"] == 0
    assert manifest.export["steps"] == 4
    assert manifest.parity is not None
    assert manifest.parity["passed"]
    image = np.random.default_rng(0).standard_normal((3, 1, 8, 8), dtype=np.float32)
    with paring_runtimes.load(tmp_path / "out") as session:
        (spiking,) = session.run({session.inputs[0].name: image}).values()
    assert made.baseline is not None
    assert paring_runtimes.read_manifest(made.baseline).format == "onnx"
    with paring_runtimes.load(made.baseline) as session:
        (original,) = session.run({session.inputs[0].name: image}).values()
    assert spiking.shape == original.shape == (3, 3)
    assert np.corrcoef(spiking.ravel(), original.ravel())[0, 1] > 0.9


def test_nothing_is_left_of_a_graph_that_fires_otherwise(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*arguments: object) -> None:
        raise ParityError("one neuron fires otherwise")

    monkeypatch.setattr(exporting, "agreement", refused)
    with pytest.raises(ParityError, match="one neuron"):
        convert(recipe, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"model.py", "recipe.yaml"}

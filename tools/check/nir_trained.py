"""Two small networks trained on images of Fashion-MNIST and converted to spikes, for `nir_readers`.

One threshold a layer, hard reset, no pooling and no flattening: what every reader of NIR could read. 1,500 of
the packaged images train, the rest are asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from torch import nn

from paring.transforms import spike_convert
from paring_exporters.formats import nir as exporter
from paring_exporters.request import Request
from paring_runtimes.nir import Graph, read

TRAINED, EPOCHS, STEPS = 1500, 15, 16


@dataclass(frozen=True)
class Trained:
    """A graph, inputs [B, ...] and their labels [B], and how many the network itself gets right."""

    name: str
    graph: Graph
    images: np.ndarray
    labels: np.ndarray
    correct: float


def trained(folder: Path, count: int) -> list[Trained]:
    """Both networks, written to `folder` by the exporter; `count` images to ask for."""
    with np.load(str(files("paring.assets") / "fashion_test_2000.npz"), allow_pickle=False) as data:
        images = torch.from_numpy(data["images"]).float()[:, None] / 255
        labels = torch.from_numpy(data["labels"]).long()
    torch.manual_seed(0)
    mlp = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))
    cnn = nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 10, 7)
    )
    given = (("trained MLP", mlp, images.flatten(1)), ("trained CNN", cnn, images))
    return [_one(name, model, x, labels, folder, count) for name, model, x in given]


def _one(
    name: str, model: nn.Sequential, x: torch.Tensor, labels: torch.Tensor, folder: Path, count: int
) -> Trained:
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(EPOCHS):
        for some in torch.randperm(TRAINED).split(50):
            loss = nn.functional.cross_entropy(model(x[some]).flatten(1), labels[some])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()
    config = spike_convert.Config(
        steps=STEPS,
        per="layer",
        reset="hard",
        initial=0.0,
        threshold="percentile",
        input_shape=tuple(x.shape[1:]),
    )
    network = spike_convert.apply(model, config)
    place = folder / name.replace(" ", "_")
    place.mkdir()
    found = exporter.export(network, Request(x[:2]), place)
    asked, right = x[TRAINED : TRAINED + count], labels[TRAINED : TRAINED + count]
    with torch.inference_mode():
        correct = (network(asked).flatten(1).argmax(1) == right).float().mean().item()
    return Trained(name, read(found.entry), asked.numpy(), right.numpy(), correct)

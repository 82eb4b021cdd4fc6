"""A small task: squares in one of four corners, and a small ViT that has learnt it."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from paring.sources import load_model

torch.set_num_threads(1)
sys.path.insert(0, str(Path(__file__).parent))

SIDE, CLASSES = 28, 4
# One tiny ViT of conftest.py's: [B, 1, 28, 28] -> [B, 10], 16 patches, 2 blocks, width 48.
PRUNE = {"token_prune": {"keep_ratio": 0.25, "blocks": [1]}}


def corners(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Grey images [N, 28, 28] uint8: noise, and a dim square in the corner that is the label."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    images = rng.integers(0, 90, (count, SIDE, SIDE))
    for image, label in zip(images, labels, strict=True):
        row, column = 3 + 14 * (label // 2) + rng.integers(0, 4), 3 + 14 * (label % 2) + rng.integers(0, 4)
        image[row : row + 5, column : column + 5] += 60
    return images.astype(np.uint8), labels.astype(np.int64)


@pytest.fixture(scope="session")
def task(tmp_path_factory: pytest.TempPathFactory, factories: Path) -> Path:
    """A folder: `train.npz`, `test.npz`, and the weights of a ViT that has learnt it, `vit.safetensors`."""
    folder = tmp_path_factory.mktemp("corners")
    for name, count, seed in (("train", 512, 1), ("test", 200, 2)):
        images, labels = corners(count, seed)
        np.savez(folder / f"{name}.npz", images=images, labels=labels)
    model = load_model(f"py:{factories}:vit").model
    assert model is not None
    learn(model, *corners(512, 1))
    save_file(model.state_dict(), folder / "vit.safetensors")
    return folder


def learn(model: nn.Module, images: np.ndarray, labels: np.ndarray) -> None:
    inputs = torch.from_numpy(images)[:, None].float() / 255
    targets = torch.from_numpy(labels)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(0)
    model.train()
    for _ in range(300):
        chosen = torch.randint(0, len(inputs), (64,), generator=generator)
        loss = nn.functional.cross_entropy(model(inputs[chosen]), targets[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()


@pytest.fixture(scope="session")
def first_values(task: Path, factories: Path) -> dict[str, Any]:
    """A recipe's values: prune hard, recover for 30 steps."""
    return {
        "model": f"py:{factories}:vit",
        "weights": str(task / "vit.safetensors"),
        "transforms": [PRUNE],
        "data": {"source": f"npz:{task / 'test.npz'}", "channels": 1},
        "recover": {
            "data": {"source": f"npz:{task / 'train.npz'}"},
            "steps": 30,
            "batch_size": 32,
            "learning_rate": 1e-3,
            "augment": [],
        },
        "verify": {"batch_sizes": [1, 2], "seeds": [0]},
    }


@pytest.fixture
def values(first_values: dict[str, Any]) -> dict[str, Any]:
    """The same, for a test to change."""
    return copy.deepcopy(first_values)

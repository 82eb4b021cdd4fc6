"""Read Fashion-MNIST (Debian package `dataset-fashion-mnist`, Expat licence) from its IDX files."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import torch

FOLDER = Path("/usr/share/datasets/fashion-mnist")
CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def read_split(split: str, folder: Path = FOLDER) -> tuple[np.ndarray, np.ndarray]:
    """Images [N, 28, 28] uint8 and labels [N] uint8 of `train` or `t10k`."""
    images = gzip.decompress((folder / f"{split}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((folder / f"{split}-labels-idx1-ubyte.gz").read_bytes())
    return (
        np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28),
        np.frombuffer(labels, np.uint8, offset=8),
    )


def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Flip half of the images left to right and shift each by up to 2 pixels. [B, 28, 28] uint8."""
    count = len(images)
    flip = torch.rand(count, generator=generator) < 0.5
    images = torch.where(flip[:, None, None], images.flip(2), images)
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2))
    offsets = torch.randint(0, 5, (2, count), generator=generator)
    steps = torch.arange(28)
    rows = offsets[0][:, None] + steps
    columns = offsets[1][:, None] + steps
    return padded[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]

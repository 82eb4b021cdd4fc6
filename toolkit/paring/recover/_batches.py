"""Batches that follow from (seed, step) alone: a training that goes on later sees the same ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

Images = npt.NDArray[np.uint8]
ORDER, AUGMENT, DROPOUT = range(3)  # what a random number is for
SHIFT = 14  # images move by up to 1/14 of their side: 2 of 28 pixels


class Batch(NamedTuple):
    """Inputs [B, C, H, W] float32 and labels [B] int64."""

    pixels: torch.Tensor
    labels: torch.Tensor


@dataclass
class Order:
    """Shuffled batches of places, one shuffle an epoch; what is left over waits for another epoch.

    Attributes:
        count: of the places.
        size: of a batch.
    """

    count: int
    size: int
    seed: int
    _known: tuple[int, npt.NDArray[np.int64]] | None = field(default=None, init=False, repr=False)

    @property
    def per_epoch(self) -> int:
        """Batches of one pass."""
        return self.count // self.size

    def __call__(self, step: int) -> npt.NDArray[np.int64]:
        """The places of batch `step`, [size]."""
        epoch, at = divmod(step, self.per_epoch)
        if self._known is None or self._known[0] != epoch:
            order = generator(self.seed, epoch, ORDER).permutation(self.count)
            self._known = (epoch, order.astype(np.int64))
        return self._known[1][at * self.size : (at + 1) * self.size]


@dataclass
class Batches:
    """Training images in shuffled batches.

    Attributes:
        images: [N, H, W, C] uint8; they become float a batch at a time.
        labels: [N] int64.
        preprocess: [B, H, W, C] uint8 -> [B, C, H', W'] float32.
        batch_size: over all processes.
        augment: of "shift" and "flip".
        rank, world: this process takes the images rank, rank + world, ... of each batch.
    """

    images: Images
    labels: npt.NDArray[np.int64]
    preprocess: Callable[[Images], npt.NDArray[np.float32]]
    batch_size: int
    augment: Sequence[str] = ()
    seed: int = 0
    rank: int = 0
    world: int = 1
    _order: Order = field(init=False, repr=False)
    _ready: tuple[int, Batch] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self._order = Order(len(self.images), self.batch_size, self.seed)

    @property
    def per_epoch(self) -> int:
        """Batches of one pass over the images."""
        return self._order.per_epoch

    def __call__(self, step: int) -> Batch:
        """This process's part of batch `step`."""
        if self._ready is None or self._ready[0] != step:
            self.prepare(step)
        assert self._ready is not None
        return self._ready[1]

    def prepare(self, step: int) -> None:
        """Make batch `step` ahead of its use."""
        chosen = self._order(step)
        mine = slice(self.rank, None, self.world)
        images = augmented(self.images[chosen], self.augment, generator(self.seed, step, AUGMENT), mine)
        labels = torch.from_numpy(self.labels[chosen][mine])
        self._ready = step, Batch(torch.from_numpy(self.preprocess(images)), labels)


def generator(seed: int, step: int, purpose: int) -> np.random.Generator:
    """Random numbers that depend on nothing else."""
    return np.random.default_rng([seed, step, purpose])


def torch_seed(seed: int, step: int) -> int:
    """A seed for PyTorch's own generator: dropout, and weights that a transform draws."""
    return int(np.random.SeedSequence([seed, step, DROPOUT]).generate_state(1, np.uint64)[0]) >> 1


def augmented(
    images: Images, kinds: Sequence[str], rng: np.random.Generator, part: slice = slice(None)
) -> Images:
    """Flip half of the images left to right, shift each by up to 1/14 of its side; black comes in.

    Args:
        images: [B, H, W, C] uint8.
        kinds: of "shift" and "flip".
        rng: drawn from for every image, whichever are wanted.
        part: the images that are wanted.
    """
    count, height, width, _ = images.shape
    flips = np.asarray(rng.random(count) < 0.5)
    reach = max(1, min(height, width) // SHIFT)
    moves = rng.integers(0, 2 * reach + 1, (2, count))
    images, flips, moves = images[part], flips[part], moves[:, part]
    if "flip" in kinds:
        images = np.where(flips[:, None, None, None], images[:, :, ::-1], images)
    if "shift" in kinds:
        padded = np.pad(images, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
        rows = moves[0][:, None] + np.arange(height)  # [B, H]
        columns = moves[1][:, None] + np.arange(width)  # [B, W]
        index = np.arange(len(images))[:, None, None]
        images = padded[index, rows[:, :, None], columns[:, None, :]]
    return images

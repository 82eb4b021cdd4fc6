"""Batches follow from (seed, step), whoever asks and when."""

from __future__ import annotations

import numpy as np
import torch

from paring.recover._batches import AUGMENT, Batches, augmented, generator, torch_seed

IMAGES = np.random.default_rng(0).integers(0, 256, (50, 28, 28, 1)).astype(np.uint8)
LABELS = np.arange(50)


def plain(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float32).transpose(0, 3, 1, 2)


def test_an_epoch_has_every_image_at_most_once() -> None:
    batches = Batches(IMAGES, LABELS, plain, 8, seed=3)
    assert batches.per_epoch == 6
    first = torch.cat([batches(step).labels for step in range(6)])
    second = torch.cat([batches(step).labels for step in range(6, 12)])
    assert len(set(first.tolist())) == len(set(second.tolist())) == 48
    assert first.tolist() != second.tolist()


def test_a_batch_does_not_depend_on_those_before() -> None:
    everything = ("shift", "flip")
    one, other = (Batches(IMAGES, LABELS, plain, 8, everything, seed=3) for _ in range(2))
    for step in range(9):
        one(step)
    assert torch.equal(one(9).pixels, other(9).pixels)
    assert torch.equal(one(9).labels, other(9).labels)
    third = Batches(IMAGES, LABELS, plain, 8, everything, seed=4)
    assert not torch.equal(one(9).pixels, third(9).pixels)


def test_processes_share_a_batch_without_changing_it() -> None:
    whole = Batches(IMAGES, LABELS, plain, 8, ("shift", "flip"))(2)
    for rank in range(2):
        part = Batches(IMAGES, LABELS, plain, 8, ("shift", "flip"), rank=rank, world=2)(2)
        assert torch.equal(part.pixels, whole.pixels[rank::2])
        assert torch.equal(part.labels, whole.labels[rank::2])


def test_augmentation_moves_and_flips_and_nothing_else() -> None:
    marked = np.zeros((400, 28, 28, 1), np.uint8)
    marked[:, 10, 4] = 255
    moved = augmented(marked, ("shift", "flip"), generator(0, 0, AUGMENT))
    rows, columns = moved[..., 0].max(2).argmax(1), moved[..., 0].max(1).argmax(1)
    assert (moved.reshape(400, -1) > 0).sum(1).tolist() == [1] * 400
    assert set(rows.tolist()) == {8, 9, 10, 11, 12}  # two pixels of 28 either way
    assert set(columns.tolist()) == {2, 3, 4, 5, 6} | {21, 22, 23, 24, 25}
    assert 150 < int((columns > 14).sum()) < 250
    np.testing.assert_array_equal(augmented(marked, (), generator(0, 0, AUGMENT)), marked)


def test_seeds_differ() -> None:
    found = {torch_seed(seed, step) for seed in range(5) for step in range(200)}
    assert len(found) == 1000
    assert all(0 <= seed < 1 << 63 for seed in found)

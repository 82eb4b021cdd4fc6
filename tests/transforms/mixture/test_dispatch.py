"""Tokens to experts: exact numbers, the right tokens, sample by sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_run
import pytest
import torch

from paring.transforms._encoder import take
from paring.transforms._mixture.dispatch import counts, split


@pytest.mark.parametrize(
    ("shares", "tokens", "expected"),
    [
        ((0.4, 0.6), 100, (40, 60)),
        ((0.4, 0.6), 101, (40, 61)),
        ((0.5, 0.5), 1, (1, 0)),
        ((1 / 3, 1 / 3, 1 / 3), 10, (3, 4, 3)),
        ((0.0, 1.0), 7, (0, 7)),
    ],
)
def test_counts_add_up(shares: tuple[float, ...], tokens: int, expected: tuple[int, ...]) -> None:
    assert counts(shares, tokens) == expected


def test_counts_are_within_one_of_their_share() -> None:
    shares = (0.13, 0.44, 0.09, 0.34)
    for tokens in range(1, 300):
        found = counts(shares, tokens)
        assert sum(found) == tokens
        assert all(abs(n - share * tokens) < 1 for n, share in zip(found, shares, strict=True))


def loop(scores: torch.Tensor, numbers: tuple[int, ...]) -> list[set[int]]:
    """One sample [N, E]: experts choose in turn, written as it is said."""
    left, groups = list(range(len(scores))), []
    for expert, number in enumerate(numbers[:-1]):
        lead = {t: (scores[t, expert] - scores[t, expert + 1 :].max()).item() for t in left}
        taken = sorted(left, key=lambda t: (-lead[t], t))[:number]
        groups.append(set(taken))
        left = [t for t in left if t not in taken]
    return [*groups, set(left)]


@pytest.mark.parametrize("numbers", [(8, 12), (0, 20), (20, 0), (5, 9, 6), (3, 4, 6, 7)])
def test_a_split_is_that_of_the_loop(numbers: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    scores = torch.randn(3, 20, len(numbers))
    found = split(scores, numbers)
    for sample, order in zip(scores, found.order, strict=True):
        assert [set(part.tolist()) for part in order.split(numbers)] == loop(sample, numbers)
    assert torch.equal(found.order.gather(1, found.place), torch.arange(20).expand(3, -1))


def test_equal_scores_go_in_order_of_index() -> None:
    assert split(torch.zeros(1, 6, 2), (2, 4)).order[0].tolist() == [0, 1, 2, 3, 4, 5]
    assert split(torch.zeros(1, 6, 2), (2, 4)).gap.item() == 0


def test_the_gap_is_that_of_the_closest_choice() -> None:
    scores = torch.tensor([[[4.0, 0], [1.5, 0], [1, 0], [-2, 0]]])
    assert split(scores, (2, 2)).gap.item() == pytest.approx(0.5 / 4)
    assert split(scores, (0, 4)).gap.item() == torch.inf


@pytest.mark.parametrize("numbers", [(8, 12), (5, 9, 6)])
def test_it_exports_without_shapes_that_depend_on_values(numbers: tuple[int, ...], tmp_path: Path) -> None:
    def there_and_back(scores: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = split(scores, numbers)
        return take(x, found.order), take(take(x, found.order), found.place)

    torch.manual_seed(0)
    example = torch.randn(2, 20, len(numbers)), torch.randn(2, 20, 5)
    scores, x = torch.randn(7, 20, len(numbers)), torch.randn(7, 20, 5)
    scores[3] = 0  # ties
    ordered, same = onnx_run.run(there_and_back, example, (scores, x), tmp_path)
    np.testing.assert_array_equal(same, x.numpy())
    np.testing.assert_array_equal(ordered, there_and_back(scores, x)[0].numpy())

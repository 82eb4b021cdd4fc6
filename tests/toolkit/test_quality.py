"""The intervals against formulas written out and against exact binomial tails."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from paring.data import ImageData, Preprocess
from paring.quality import correct, paired_interval, quality

Z = 1.959963984540054
DATA: Any = SimpleNamespace(digest="abc")


def answers(both: int, lost: int, won: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays of right and wrong, with so many pairs of each kind."""
    before = [True] * (both + lost) + [False] * (won + neither)
    after = [True] * both + [False] * lost + [True] * won + [False] * neither
    return np.array(before), np.array(after)


def binomial_tail(count: int, successes: int, share: float) -> float:
    """P(X >= successes)"""
    return sum(
        math.comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(successes, count + 1)
    )


def clopper_pearson(right: int, count: int) -> tuple[float, float]:
    """The exact 95 % interval, by bisection of the binomial tails."""

    def solve(tail: Any, wanted: float) -> float:
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if tail(middle) < wanted else (low, middle)
        return low

    lower = 0.0 if right == 0 else solve(lambda p: binomial_tail(count, right, p), 0.025)
    upper = 1.0 if right == count else solve(lambda p: binomial_tail(count, right + 1, p), 0.975)
    return lower, upper


def wilson(right: int, count: int) -> tuple[float, float]:
    share = right / count
    middle = (share + Z**2 / (2 * count)) / (1 + Z**2 / count)
    half = Z * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2)) / (1 + Z**2 / count)
    return middle - half, middle + half


@pytest.mark.parametrize(("right", "count"), [(0, 20), (20, 20), (1, 30), (37, 50), (1790, 2000)])
def test_an_accuracy_has_wilsons_interval(right: int, count: int) -> None:
    given = np.arange(count) < right
    found = quality(given, given, DATA, "images")
    assert found.before == pytest.approx(right / count)
    assert found.before_ci95 == pytest.approx(wilson(right, count), abs=1e-9)
    assert found.after_ci95 == found.before_ci95
    exact = clopper_pearson(min(right, 200), min(count, 200)) if count <= 200 else None
    if exact is not None:  # Wilson's is a little narrower, and near it
        assert found.before_ci95 == pytest.approx(exact, abs=0.06)


@pytest.mark.parametrize("cells", [(80, 10, 5, 5), (50, 0, 0, 0), (1700, 60, 40, 200), (3, 3, 3, 3)])
def test_the_drop_has_the_interval_of_bonett_and_price(cells: tuple[int, int, int, int]) -> None:
    before, after = answers(*cells)
    count, lost, won = sum(cells), (cells[1] + 1), (cells[2] + 1)
    p, q = lost / (count + 2), won / (count + 2)
    half = Z * math.sqrt((p + q - (p - q) ** 2) / (count + 2))
    assert paired_interval(before, after) == pytest.approx((p - q - half, p - q + half))
    found = quality(before, after, DATA, "images")
    assert found.drop == pytest.approx((cells[1] - cells[2]) / count)
    assert found.drop_ci95[0] < found.drop < found.drop_ci95[1]


def test_the_drops_interval_covers_what_it_promises() -> None:
    rng = np.random.default_rng(0)
    shares, trials, count = (0.75, 0.08, 0.05, 0.12), 2000, 200
    covered = 0
    for cells in rng.multinomial(count, shares, trials):
        low, high = paired_interval(*answers(*cells))
        covered += low <= shares[1] - shares[2] <= high
    assert 0.935 < covered / trials < 0.985


def test_agreement_on_each_image_narrows_the_drop() -> None:
    same = paired_interval(*answers(90, 2, 2, 6))
    scattered = paired_interval(*answers(84, 8, 8, 0))
    assert same[1] - same[0] < scattered[1] - scattered[0]


def test_the_baselines_record_holds_no_drop() -> None:
    before, after = answers(8, 1, 0, 1)
    found = quality(before, after, DATA, "images")
    alone = found.of_baseline()
    assert alone["after"] == found.before == 0.9
    assert alone["after_ci95"] == found.before_ci95
    assert not {"before", "drop", "drop_ci95"} & set(alone)
    assert alone["data_digest"] == found.as_dict()["data_digest"] == "abc"


class Brightest:
    """A session whose logits are the means of ten bands of rows."""

    outputs = (SimpleNamespace(name="logits"),)

    def __init__(self, batch: int | str = "batch") -> None:
        self.inputs = (SimpleNamespace(name="pixels", shape=(batch, 1, 10, 4)),)
        self.batches: list[int] = []

    def run(self, feeds: dict[str, np.ndarray], names: list[str]) -> dict[str, np.ndarray]:
        pixels = feeds["pixels"]
        self.batches.append(len(pixels))
        return {names[0]: pixels.reshape(len(pixels), 10, -1).mean(-1)}


@pytest.mark.parametrize(("batch", "batches"), [("batch", [10, 10, 3]), (8, [8, 8, 8]), (1, [1] * 23)])
def test_answers_are_counted_over_batches_of_any_size(batch: int | str, batches: list[int]) -> None:
    labels = np.arange(23) % 10
    images = np.zeros((23, 10, 4, 1), np.uint8)
    images[np.arange(23), labels] = 255
    labels[3] = 9  # one label that the image does not show
    data = ImageData(images=images, labels=labels, class_names=(), licence="none", digest="d")
    session: Any = Brightest(batch)
    right = correct(session, data, Preprocess(channels=1), 10)
    assert session.batches == batches
    assert right.tolist() == [index != 3 for index in range(23)]

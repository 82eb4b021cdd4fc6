"""The latency-aware loss against figures worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from paring.transforms._mixture.balance import importance_loss, load_loss, squared_variation


def one_hot_gates(first: int, second: int) -> torch.Tensor:
    return torch.tensor([[1.0, 0.0]] * first + [[0.0, 1.0]] * second)


@pytest.mark.parametrize(("numbers", "expected"), [((40, 60), 0.0), ((50, 50), 0.08)])
def test_alpha_six_to_four_is_content_with_forty_to_sixty(numbers: tuple[int, int], expected: float) -> None:
    # 50:50 -> 30 and 20: unbiased variance 50, mean 25; biased it would be 0.04.
    assert importance_loss(one_hot_gates(*numbers), (0.6, 0.4)).item() == pytest.approx(expected, abs=1e-6)


def test_scale_does_not_matter() -> None:
    values = torch.tensor([1.0, 2.0, 6.0])
    torch.testing.assert_close(squared_variation(values), squared_variation(values * 7))
    assert squared_variation(values).item() == pytest.approx(7 / 9)


def test_load_is_the_probability_of_reaching_the_largest_noisy_gate() -> None:
    gates, noise = torch.tensor([[0.7, 0.3], [0.4, 0.6]]), torch.tensor([[0.1, 0.2], [-0.1, 0.0]])
    reached = [0.8, 0.6]

    def above(value: float) -> float:
        return 0.5 * math.erfc(value / 0.5 / math.sqrt(2))

    load = [sum(above(reached[x] - gates[x, i].item()) for x in range(2)) for i in range(2)]
    expected = squared_variation(torch.tensor([load[0] * 0.6, load[1] * 0.4]))
    torch.testing.assert_close(load_loss(gates, (0.6, 0.4), noise), expected)

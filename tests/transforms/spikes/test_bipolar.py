"""ST-BIF neurons, products and functions of spikes, against integer and float64 references."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from paring.transforms._spikes.bipolar import Neurons, bipolar_fire
from paring.transforms._spikes.bipolar.fitting import fit
from paring.transforms._spikes.bipolar.time import OnePass, Place, Steps

RANGES = [(0, 15), (-8, 7), (-1, 14), (-2, 2)]


def fired(currents: list[float], lowest: int, highest: int) -> list[int]:
    """One neuron of threshold 1 by its equation, in Python's own numbers."""
    membrane, tracer, found = 0.5, 0, []
    for current in currents:
        membrane += current
        spike = 1 if membrane >= 1 and tracer < highest else -1 if membrane < 0 and tracer > lowest else 0
        membrane, tracer = membrane - spike, tracer + spike
        found.append(spike)
    return found


def layer(threshold: float, lowest: int, highest: int) -> Neurons:
    neurons = Neurons(highest - lowest + 1).double()
    neurons.set(torch.tensor(threshold, dtype=torch.float64), lowest)
    return neurons


def test_spikes_by_hand() -> None:
    """2.25 fires twice, is taken back by -3, held by the tracer at -1, and later given again."""
    current = torch.tensor([2.25, 0, 0, -3, 0, 0, -1.25, 0, 4, 0, 0, 0])[:, None]
    one, low, high = torch.tensor(1.0), torch.tensor(-1.0), torch.tensor(2.0)
    spikes = bipolar_fire(current, one, low, high)[:, 0].int().tolist()
    assert spikes == [1, 1, 0, -1, -1, -1, 0, 0, 1, 1, 1, 0]
    assert spikes == fired(current[:, 0].tolist(), -1, 2)


@pytest.mark.parametrize(("lowest", "highest"), RANGES)
def test_the_operator_is_the_equation(lowest: int, highest: int) -> None:
    generator = torch.Generator().manual_seed(lowest + 20)
    currents = torch.randint(-24, 25, (40, 60), generator=generator) / 8  # equality fires: exact in binary
    spikes = bipolar_fire(
        currents, torch.tensor(1.0), torch.tensor(float(lowest)), torch.tensor(float(highest))
    )
    for number in range(60):
        assert spikes[:, number].int().tolist() == fired(currents[:, number].tolist(), lowest, highest)
    traced = spikes.cumsum(0)
    assert traced.min() == lowest
    assert traced.max() == highest


@pytest.mark.parametrize(("lowest", "highest"), RANGES)
def test_settled_neurons_hold_the_quantisers_code(lowest: int, highest: int) -> None:
    """Whatever the order of arrival, also far beyond the range on the way and at the end."""
    generator = torch.Generator().manual_seed(3)
    came = torch.randn(30, 500, generator=generator, dtype=torch.float64) * torch.linspace(0.1, 8, 500)
    neurons = layer(0.7, lowest, highest)
    silence = torch.zeros(80, 500, dtype=torch.float64)
    spikes = neurons.spikes(torch.cat([came, silence]), 110)
    assert not spikes[-1].any()
    wanted = [
        min(max(math.floor(value / neurons.threshold.item() + 0.5), lowest), highest)
        for value in came.sum(0).tolist()
    ]
    assert spikes.sum(0).int().tolist() == wanted == neurons.codes(came.sum(0)).int().tolist()
    assert {lowest, highest} <= set(wanted)


def test_batches_and_units() -> None:
    """Time is merged with the batch, time first; a unit scales what comes."""
    neurons = layer(0.5, -4, 3)
    current = torch.randn(6, 3, 2, 5, dtype=torch.float64)
    together = neurons.spikes(current.flatten(0, 1), 6, unit=0.25).unflatten(0, (6, 3))
    for number in range(3):
        alone = neurons.spikes(current[:, number] * 0.25, 6)
        assert torch.equal(alone, together[:, number])


def ternary(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randint(-1, 2, shape, generator=generator).double()


def test_products_of_spikes_sum_to_the_product_exactly_at_every_step() -> None:
    generator, steps = torch.Generator().manual_seed(0), Steps(9)
    a, b = ternary(generator, 9 * 2, 3, 4, 5), ternary(generator, 9 * 2, 3, 5, 7)
    added = steps.product(Place(), a, b)
    assert torch.equal(steps.sums(added), steps.sums(a) @ steps.sums(b))
    sa, sb = (steps.sums(x).unflatten(0, (9, 2)) for x in (a, b))
    at, bt = (x.unflatten(0, (9, 2)) for x in (a, b))
    paper = sa @ bt + at @ sb - at @ bt  # as SpikeZIP-TF has it
    assert torch.equal(added.unflatten(0, (9, 2)), paper)


def test_functions_sum_to_their_value_and_biases_come_once() -> None:
    generator, steps = torch.Generator().manual_seed(0), Steps(7)
    x = torch.randn(7 * 2, 3, 4, generator=generator, dtype=torch.float64)
    softmax = steps.function(Place(), lambda sums: sums.softmax(-1), x)
    torch.testing.assert_close(steps.sums(softmax), steps.sums(x).softmax(-1), rtol=0, atol=1e-12)
    linear = nn.Linear(4, 5).double()
    with torch.no_grad():
        added = steps.weights(linear, x, torch.tensor(0.5, dtype=torch.float64))
        total = added.unflatten(0, (7, 2)).sum(0)
        torch.testing.assert_close(total, linear(0.5 * x.unflatten(0, (7, 2)).sum(0)))
    entered = steps.entering(x[:2])
    assert torch.equal(entered[:2], x[:2])
    assert not entered[2:].any()


@pytest.mark.parametrize(("lowest", "levels"), [(0, 16), (-8, 16), (-1, 8)])
def test_fitting_finds_a_grid(lowest: int, levels: int) -> None:
    """Values on a grid are given back nearly as they are, in the range that holds them."""
    codes = torch.arange(lowest, lowest + levels).repeat(50).float()
    neurons = Neurons(levels)
    fit(neurons, codes * 0.3)
    assert neurons.lowest.item() == lowest
    back = neurons.codes(codes * 0.3) * neurons.threshold.detach()
    assert float((back - codes * 0.3).detach().abs().max()) < 0.02


def test_fitting_lets_outliers_saturate() -> None:
    values = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    values[0] = 40.0
    neurons = Neurons(16)
    fit(neurons, values)
    assert 0.25 < neurons.threshold.item() < 0.5  # the least squared error of 16 even steps is at 0.335


def test_silence_is_fitted_and_what_is_not_finite_is_not() -> None:
    neurons = Neurons(16)
    fit(neurons, torch.zeros(9))
    assert neurons.threshold.item() == 1
    with pytest.raises(ValueError, match="not finite"):
        fit(neurons, torch.tensor([1.0, float("nan")]))


def test_gradients_are_those_of_learned_steps() -> None:
    """LSQ, arXiv 1902.08153, Eq. 3 and 5, and the chain rule of the logarithm."""
    neurons = layer(0.5, -2, 5)
    x = torch.tensor([0.6, -0.3, 9.0, -9.0], dtype=torch.float64, requires_grad=True)
    (neurons.codes(x) * neurons.threshold).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1, 1, 0, 0]
    by_step = (1 - 1.2) + (-1 - -0.6) + 5 - 2
    assert neurons.log_threshold.grad is not None
    assert neurons.log_threshold.grad.item() == pytest.approx(0.5 * by_step)


def test_codes_in_one_pass_are_whole_numbers() -> None:
    found = OnePass().fire(layer(0.3, -8, 7), torch.randn(50, dtype=torch.float64))
    assert torch.equal(found, found.round())

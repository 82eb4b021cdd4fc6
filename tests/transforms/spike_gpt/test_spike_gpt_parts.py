"""Neurons and decayed averages of SpikeGPT: known values, both forms, gradients."""

from __future__ import annotations

import pytest
import torch

from paring.transforms._spike_gpt.neuron import Spike, fire, leaky, reverse_scan
from paring.transforms._spike_gpt.wkv import EMPTY, wkv, wkv_step

Sums = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def empty(batch: int, width: int) -> Sums:
    return torch.full((batch, width), EMPTY), torch.zeros(batch, width), torch.zeros(batch, width)


def test_neurons_on_values_worked_out_by_hand() -> None:
    currents = torch.tensor([1.5, 1.5, 1.5, 0.2, 3.0, -1.0, 2.5])[None, :, None]
    spikes, left = leaky(currents, torch.zeros(1, 1))
    assert spikes.flatten().tolist() == [0, 1, 0, 0, 1, 0, 1]
    assert left.item() == 0
    _, before = leaky(currents[:, :6], torch.zeros(1, 1))
    assert before.item() == -0.5


def test_a_constant_current_at_twice_the_threshold_fires_at_every_token() -> None:
    assert leaky(torch.full((1, 9, 1), 2.0), torch.zeros(1, 1))[0].all()
    assert leaky(torch.full((1, 8, 1), 1.99), torch.zeros(1, 1))[0].flatten().tolist() == [0, 1] * 4


def test_neurons_of_a_sequence_are_those_of_its_tokens_bit_for_bit() -> None:
    currents = torch.randn(3, 200, 7, generator=torch.Generator().manual_seed(0)) * 2
    spikes, left = leaky(currents, torch.full((3, 7), 0.3))
    membrane, each = torch.full((3, 7), 0.3), []
    for current in currents.unbind(1):
        fired, membrane = fire(membrane, current)
        each.append(fired)
    assert torch.equal(spikes, torch.stack(each, 1))
    assert torch.equal(left, membrane)


def test_the_neurons_gradient_is_that_of_the_equations_one_by_one() -> None:
    currents = torch.randn(2, 37, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 3
    weight = torch.randn(2, 37, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    ours, theirs = currents.clone().requires_grad_(), currents.clone().requires_grad_()
    (leaky(ours, torch.zeros(2, 5, dtype=torch.float64))[0] * weight).sum().backward()
    membrane, total = torch.zeros(2, 5, dtype=torch.float64), torch.zeros(())
    for place in range(37):
        charged = membrane + (theirs[:, place] - membrane) / 2
        fired = Spike.apply(charged - 1)
        membrane = (1 - fired) * charged
        total = total + (fired * weight[:, place]).sum()
    total.backward()
    assert ours.grad is not None
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("length", [1, 2, 7, 64])
def test_a_reverse_scan_is_its_loop(length: int) -> None:
    factor, value = torch.randn(
        2, 2, length, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3)
    )
    wanted, after = [], torch.zeros(2, 3, dtype=torch.float64)
    for place in reversed(range(length)):
        after = value[:, place] + factor[:, place] * after
        wanted.insert(0, after)
    torch.testing.assert_close(reverse_scan(factor, value), torch.stack(wanted, 1), rtol=1e-12, atol=1e-12)


def test_averages_on_values_worked_out_by_hand() -> None:
    key = torch.tensor([0.5, -1.0, 2.0, 0.1])[None, :, None]
    value = torch.tensor([1.0, 2.0, -1.0, 3.0])[None, :, None]
    found, _ = wkv(torch.exp(torch.tensor([-0.5])), torch.tensor([0.3]), key, value, empty(1, 1))
    wanted = torch.tensor([1.0, 1.231475, -0.741880, -0.211279])
    torch.testing.assert_close(found.flatten(), wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_averages_of_a_sequence_are_those_of_its_places_whatever_the_keys(scale: float) -> None:
    rng = torch.Generator().manual_seed(4)
    key, value = torch.randn(2, 2, 150, 6, generator=rng)
    key = key * scale  # exp of this would overflow
    decay, bonus = torch.rand(6, generator=rng), torch.randn(6, generator=rng)
    found, last = wkv(decay, bonus, key, value, empty(2, 6))
    state, each = empty(2, 6), []
    for place in range(150):
        average, state = wkv_step(decay, bonus, key[:, place], value[:, place], state)
        each.append(average)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found, torch.stack(each, 1), rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(last, state, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_the_averages_gradients_are_numerical_ones() -> None:
    rng = torch.Generator().manual_seed(5)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=rng)

    state = drawn(2, 3), drawn(2, 3), drawn(2, 3).abs()
    given = [drawn(3).abs(), drawn(3), drawn(2, 6, 3), drawn(2, 6, 3)]
    for one in given:
        one.requires_grad_()
    assert torch.autograd.gradcheck(lambda *parts: wkv(*parts, state)[0], given)


def test_a_spike_has_the_slope_of_an_arc_tangent() -> None:
    distance = torch.tensor([-0.5, 0.0, 0.5], requires_grad=True)
    Spike.apply(distance).sum().backward()
    assert distance.grad is not None
    slope = 1 / (1 + (torch.pi * torch.tensor([0.5, 0.0, 0.5])) ** 2)
    torch.testing.assert_close(distance.grad, slope)

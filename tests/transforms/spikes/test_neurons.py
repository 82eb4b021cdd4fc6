"""Integrate-and-fire neurons: rates with numbers, and both resets."""

from __future__ import annotations

import itertools

import pytest
import torch

from paring.transforms._spikes import IntegrateFire, integrate_fire
from paring.transforms._spikes.rates import constant_rate


def rate(value: float, initial: float, steps: int, hard: bool = False, threshold: float = 1.0) -> float:
    current = torch.full((steps, 1), value)
    levels = torch.tensor(threshold), torch.tensor(initial)
    return integrate_fire(current, *levels, hard, 0.0).mean().item()


@pytest.mark.parametrize(
    ("value", "floored", "rounded"), [(0.3, 0.25, 0.25), (0.5, 0.5, 0.5), (0.99, 0.875, 1.0), (1.4, 1.0, 1.0)]
)
def test_rates_over_eight_steps(value: float, floored: float, rounded: float) -> None:
    assert rate(value, 0.0, 8) == floored
    assert rate(value, 0.5, 8) == rounded


@pytest.mark.parametrize(("initial", "share"), [(0.0, 1.0), (0.5, 0.5)])
def test_the_error_is_a_step_at_most(initial: float, share: float) -> None:
    values = torch.linspace(0, 1, 101)
    for steps in (4, 8, 16, 32):
        current = values.expand(steps, -1)
        found = integrate_fire(current, torch.tensor(1.0), torch.tensor(initial), False, 0.0).mean(0)
        assert (found - values).abs().max() <= share / steps + 1e-5


def test_from_zero_the_error_does_not_grow_when_the_steps_double() -> None:
    values = torch.linspace(0.003, 0.997, 71)
    errors = []
    for steps in (4, 8, 16, 32, 64):
        current = values.expand(steps, -1)
        found = integrate_fire(current, torch.tensor(1.0), torch.tensor(0.0), False, 0.0).mean(0)
        errors.append((found - values).abs())
    for before, after in itertools.pairwise(errors):
        assert (after <= before + 1e-5).all()


def test_equality_fires_and_the_reset_says_what_is_left() -> None:
    current = torch.tensor([1.5, -1.0, 0.5, 0.0, 3.0])[:, None]
    one, zero = torch.tensor(1.0), torch.tensor(0.0)
    # v: 1.5 fires, .5; -.5; 0; 0; 3 fires
    assert integrate_fire(current, one, zero, False, 0.0).flatten().tolist() == [1, 0, 0, 0, 1]
    steady = torch.ones(4, 1)
    assert integrate_fire(steady, one, zero, False, 0.0).flatten().tolist() == [1, 1, 1, 1]
    # 0.75: soft reset carries what is over on, hard reset throws it away
    assert rate(0.75, 0.0, 8) == 0.75
    assert rate(0.75, 0.0, 8, hard=True) == 0.5


def test_the_closed_form_is_what_the_neurons_do() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(500, generator=generator) * 3 - 0.5
    threshold, initial = torch.tensor(0.8), torch.tensor(0.3)
    for steps in (1, 5, 16):
        for hard in (False, True):
            current = values.double().expand(steps, -1)
            fired = integrate_fire(current, threshold.double(), initial.double(), hard, 0.0).mean(0)
            told = constant_rate(values.double(), threshold.double(), initial.double(), steps, hard)
            torch.testing.assert_close(fired, told)


def test_a_layer_takes_time_first_and_has_a_threshold_for_each_channel() -> None:
    threshold = torch.tensor([1.0, 2.0]).reshape(2, 1, 1)
    layer = IntegrateFire(threshold, torch.zeros_like(threshold), steps=4)
    spikes = layer(torch.ones(4 * 3, 2, 5, 5)).unflatten(0, (4, 3))
    assert spikes.shape == (4, 3, 2, 5, 5)
    assert spikes[:, 0, 0, 0, 0].tolist() == [1, 1, 1, 1]
    assert spikes[:, 0, 1, 0, 0].tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": 0}, "steps: 0, expected at least 1"),
        ({"reset": "leaky"}, "'leaky', expected one of soft, hard"),
        ({"threshold": torch.tensor([1.0, 0.0])}, "threshold: 0 is among them"),
        ({"threshold": torch.tensor(float("nan"))}, "threshold: nan"),
    ],
)
def test_what_no_neuron_has_is_refused(change: dict[str, object], said: str) -> None:
    given = {"threshold": torch.tensor(1.0), "initial": torch.tensor(0.0), "steps": 4, "reset": "soft"}
    with pytest.raises(ValueError, match=said):
        IntegrateFire(**{**given, **change})  # type: ignore[arg-type]
